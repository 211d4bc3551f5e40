//! SD cards, eMMC and SDIO functions.
//!
//! | device | part | from |
//! |---|---|---|
//! | card (`mmc` bus, `MMC_TYPE` is SD or MMC) | `VID_` (2 digits), `OID_` (4) | `manfid`, `oemid` |
//! | | `PID_`, `REV_n.m` | `MMC_NAME` (0 to 5, of eMMC 6 characters); `hwrev`, `fwrev`, of eMMC both halves of `prv` |
//! | SDIO function (`sdio` bus) | `VID_`, `PID_` (4 digits) | `SDIO_ID=02D0:4324` |
//! | | `CLASS_` | `SDIO_CLASS=07`, if it is not 0 |
//!
//! | device | hardware ids | compatible ids |
//! |---|---|---|
//! | card | `SD\VID_v&OID_o&PID_p&REV_n.m`, `SD\VID_v&OID_o&PID_p` | `SD\CLASS_STORAGE` |
//! | SDIO function | `SD\VID_v&PID_p` | `SD\CLASS_c` |
//!
//! Source: Microsoft, "Identifiers for Secure Digital (SD) Devices".

use super::{Ids, id_part};
use crate::device::DeviceRecord;

/// Whether it is a memory card, not the card around SDIO functions.
pub(super) fn is_memory(device: &DeviceRecord) -> bool {
    matches!(device.property("MMC_TYPE"), Some("SD" | "SDcombo" | "MMC"))
}

/// The ids of a memory card.
pub(super) fn card(device: &DeviceRecord) -> Option<Ids> {
    let number = |name| {
        let digits = device.attribute(name)?.trim().strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (vendor, oem) = (number("manfid")?, number("oemid")?);
    let name = device.property("MMC_NAME").unwrap_or_default();
    let name: String = id_part(name.trim()).chars().take(6).collect();
    let id = format!(
        "SD\\VID_{:02X}&OID_{:04X}&PID_{name}",
        vendor & 0xff,
        oem & 0xffff
    );
    // A newer eMMC has a `fwrev` of eight bytes, which is something else.
    let revision = match device.property("MMC_TYPE") {
        Some("MMC") => number("prv").map(|both| (both >> 4, both)),
        _ => number("hwrev").zip(number("fwrev")),
    };
    let mut hardware = Vec::new();
    if let Some((major, minor)) = revision {
        hardware.push(format!("{id}&REV_{:X}.{:X}", major & 0xf, minor & 0xf));
    }
    hardware.push(id);
    Some(Ids {
        hardware,
        compatible: vec!["SD\\CLASS_STORAGE".to_owned()],
    })
}

/// The ids of a function of an SDIO card.
pub(super) fn function(device: &DeviceRecord) -> Option<Ids> {
    let (vendor, product) = device.property("SDIO_ID")?.split_once(':')?;
    let vendor = u16::from_str_radix(vendor, 16).ok()?;
    let product = u16::from_str_radix(product, 16).ok()?;
    let class = device
        .property("SDIO_CLASS")
        .and_then(|class| u8::from_str_radix(class, 16).ok())
        .filter(|class| *class != 0);
    Some(Ids {
        hardware: vec![format!("SD\\VID_{vendor:04X}&PID_{product:04X}")],
        compatible: class
            .map(|class| format!("SD\\CLASS_{class:02X}"))
            .into_iter()
            .collect(),
    })
}
