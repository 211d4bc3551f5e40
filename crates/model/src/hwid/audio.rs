//! Codecs of HD Audio.
//!
//! | part | from |
//! |---|---|
//! | `FUNC_` | `afg` (audio function group: 01), else `mfg` (modem: 02) |
//! | `VEN_`, `DEV_` | `vendor_id`, both halves |
//! | `SUBSYS_` | `subsystem_id`, 8 digits |
//! | `REV_` | `revision_id`, without its lowest 8 bits (the stepping) |
//!
//! | hardware ids | compatible ids |
//! |---|---|
//! | `HDAUDIO\FUNC_f&VEN_v&DEV_d&SUBSYS_s&REV_r`, `HDAUDIO\FUNC_f&VEN_v&DEV_d&SUBSYS_s` | `HDAUDIO\FUNC_f&VEN_v&DEV_d&REV_r`, `HDAUDIO\FUNC_f&VEN_v&DEV_d`, `HDAUDIO\FUNC_f&VEN_v`, `HDAUDIO\FUNC_f` |
//!
//! Windows has compatible ids with the controller's `CTRL_VEN_` too, whose order it does not publish.
//! Sound cards of Linux hang below the controller and have its `PCI\` ids. Source: Microsoft,
//! "Identifiers for High Definition Audio devices".

use super::Ids;
use crate::device::DeviceRecord;

/// The ids of a codec.
pub(super) fn codec(device: &DeviceRecord) -> Option<Ids> {
    let number = |name| {
        let digits = device.attribute(name)?.trim().strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let function = |name| number(name).is_some_and(|node| node != 0);
    let function = match (function("afg"), function("mfg")) {
        (false, true) => 2,
        (true | false, _) => 1,
    };
    let (id, subsystem) = (number("vendor_id")?, number("subsystem_id")?);
    let revision = number("revision_id").map(|revision| revision >> 8 & 0xffff);
    let group = format!("HDAUDIO\\FUNC_{function:02X}");
    let vendor = format!("{group}&VEN_{:04X}", id >> 16);
    let device = format!("{vendor}&DEV_{:04X}", id & 0xffff);
    let mut hardware = Vec::new();
    let mut compatible = Vec::new();
    if let Some(revision) = revision {
        hardware.push(format!(
            "{device}&SUBSYS_{subsystem:08X}&REV_{revision:04X}"
        ));
        compatible.push(format!("{device}&REV_{revision:04X}"));
    }
    hardware.push(format!("{device}&SUBSYS_{subsystem:08X}"));
    compatible.extend([device, vendor, group]);
    Some(Ids {
        hardware,
        compatible,
    })
}
