//! PCI functions.
//!
//! ```text
//! PCI_ID=8086:10D3          vendor:device
//! PCI_SUBSYS_ID=8086:0000   subsystem's vendor:device; Windows writes the device first
//! PCI_CLASS=20000           class, subclass, interface; hexadecimal without leading zeros
//! revision                  a sysfs file, 0x00
//! ```
//!
//! Older Windows had `VEN&DEV` among the hardware ids; whoever matches looks at both lists.

use super::Ids;
use crate::device::DeviceRecord;

/// The ids of a function.
pub(super) fn function(device: &DeviceRecord) -> Option<Ids> {
    let (vendor, product) = pair(device.property("PCI_ID")?)?;
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
        format!("PCI\\CC_{class:06X}"),
        format!("PCI\\CC_{short:04X}"),
    ]);
    Some(Ids {
        hardware,
        compatible,
    })
}

fn pair(text: &str) -> Option<(u16, u16)> {
    let (first, second) = text.split_once(':')?;
    Some((
        u16::from_str_radix(first, 16).ok()?,
        u16::from_str_radix(second, 16).ok()?,
    ))
}
