//! PCI functions.
//!
//! ```text
//! PCI_ID=8086:10D3          vendor:device
//! PCI_SUBSYS_ID=8086:0000   subsystem's vendor:device; Windows writes the device first
//! PCI_CLASS=20000           class, subclass, interface; hexadecimal without leading zeros
//! revision                  a sysfs file, 0x00, in the kernel's memory
//! ```
//!
//! In Windows' order since Windows 10, with `V` for `PCI\VEN_v&DEV_d`:
//!
//! ```text
//! hardware     V&SUBSYS_ddddvvvv&REV_r  V&SUBSYS_ddddvvvv  V&CC_ccsspp  V&CC_ccss
//! compatible   V&REV_r  V  PCI\VEN_v&CC_ccsspp  PCI\VEN_v&CC_ccss  PCI\VEN_v
//!              PCI\CC_ccsspp&DT_t  PCI\CC_ccsspp  PCI\CC_ccss&DT_t  PCI\CC_ccss
//! ```
//!
//! Older Windows had `V&REV_r` and `V` among the hardware ids; whoever matches looks at both lists.
//!
//! `DT_` is the type of a PCI Express port. It stands in the configuration space, whose read wakes a
//! sleeping device, so it is told for ports alone, which the `pcieport` driver takes, by where they
//! stand: 4 a root port, 5 the upper and 6 a lower port of a switch.

use super::Ids;
use crate::device::DeviceRecord;

/// The ids of a function.
pub(super) fn function(device: &DeviceRecord) -> Option<Ids> {
    let (vendor, product) = numbers(device)?;
    let class = u32::from_str_radix(device.property("PCI_CLASS")?, 16).ok()? & 0x00ff_ffff;
    let short = class >> 8;
    let revision = device
        .attribute("revision")
        .and_then(|text| u8::from_str_radix(text.strip_prefix("0x")?, 16).ok());
    let id = format!("PCI\\VEN_{vendor:04X}&DEV_{product:04X}");

    let mut hardware = Vec::new();
    if let Some((vendor, product)) = device.property("PCI_SUBSYS_ID").and_then(pair) {
        let subsystem = format!("{id}&SUBSYS_{product:04X}{vendor:04X}");
        if let Some(revision) = revision {
            hardware.push(format!("{subsystem}&REV_{revision:02X}"));
        }
        hardware.push(subsystem);
    }
    hardware.push(format!("{id}&CC_{class:06X}"));
    hardware.push(format!("{id}&CC_{short:04X}"));

    let mut compatible = Vec::new();
    if let Some(revision) = revision {
        compatible.push(format!("{id}&REV_{revision:02X}"));
    }
    compatible.push(id);
    compatible.extend([
        format!("PCI\\VEN_{vendor:04X}&CC_{class:06X}"),
        format!("PCI\\VEN_{vendor:04X}&CC_{short:04X}"),
        format!("PCI\\VEN_{vendor:04X}"),
    ]);
    let port = port_type(device);
    for class in [
        format!("PCI\\CC_{class:06X}"),
        format!("PCI\\CC_{short:04X}"),
    ] {
        compatible.extend(port.map(|port| format!("{class}&DT_{port}")));
        compatible.push(class);
    }
    Some(Ids {
        hardware,
        compatible,
    })
}

/// Vendor and device.
pub(super) fn numbers(device: &DeviceRecord) -> Option<(u16, u16)> {
    pair(device.property("PCI_ID")?)
}

/// The type of a PCI Express port, as its capability has it.
fn port_type(device: &DeviceRecord) -> Option<u8> {
    if device.driver.as_deref() != Some("pcieport") {
        return None;
    }
    match device.ancestors().find(|above| above.subsystem == "pci") {
        None => Some(4),
        Some(above) => match port_type(above)? {
            4 | 6 => Some(5),
            _ => Some(6),
        },
    }
}

fn pair(text: &str) -> Option<(u16, u16)> {
    let (first, second) = text.split_once(':')?;
    Some((
        u16::from_str_radix(first, 16).ok()?,
        u16::from_str_radix(second, 16).ok()?,
    ))
}
