//! Devices that the firmware describes: ACPI, PNP.
//!
//! | device | ids from |
//! |---|---|
//! | on the `acpi` bus | `MODALIAS=acpi:HID:CID:CID:`; `hrv` (hardware revision), `sub` (subsystem) where the firmware has them |
//! | on another bus, described by ACPI (`platform`, `i2c`, `spi`, `serial`) | the same `MODALIAS` |
//! | on the `pnp` bus | `id`, one a line |
//!
//! The first id makes hardware ids, the others compatible ids:
//!
//! | id | forms, in this order |
//! |---|---|
//! | `PNP0501`, `INT33C2`, `GOOG0001`: vendor of 3 or 4 characters, 4 hexadecimal digits | `ACPI\VEN_v&DEV_d&SUBSYS_s&REV_r`, `...&SUBSYS_s`, `...&REV_r`, `ACPI\VEN_v&DEV_d`, `ACPI\PNP0501`, `*PNP0501` |
//! | any other | `ACPI\id`, `*id` |
//!
//! The power and sleep buttons that are part of the chipset (`LNXPWRBN`, `LNXSLPBN`) are Windows'
//! `ACPI\FixedButton` too. Source: Microsoft, "Device management namespace objects"; ACPI 6.5, 6.1.

use super::{Ids, id_part};
use crate::device::DeviceRecord;

/// The ids of a device that the firmware describes; nothing if this one is not.
pub(super) fn device(device: &DeviceRecord) -> Option<Ids> {
    let list: Vec<&str> = if device.subsystem == "pnp" {
        device.attribute("id")?.lines().collect()
    } else {
        let alias = device.property("MODALIAS")?.strip_prefix("acpi:")?;
        alias.split(':').collect()
    };
    let mut list = list.into_iter().map(str::trim).filter(|id| !id.is_empty());
    let first = list.next()?;
    let mut hardware = Vec::new();
    if let Some((vendor, number)) = parts(first) {
        let id = format!("ACPI\\VEN_{vendor}&DEV_{number}");
        let revision = device.attribute("hrv").and_then(revision);
        let subsystem = device.attribute("sub").map(|sub| id_part(sub.trim()));
        let subsystem = subsystem.filter(|sub| !sub.is_empty());
        if let (Some(sub), Some(rev)) = (&subsystem, revision) {
            hardware.push(format!("{id}&SUBSYS_{sub}&REV_{rev:04X}"));
        }
        hardware.extend(subsystem.map(|sub| format!("{id}&SUBSYS_{sub}")));
        hardware.extend(revision.map(|rev| format!("{id}&REV_{rev:04X}")));
    }
    hardware.extend(forms(first));
    if matches!(first, "LNXPWRBN" | "LNXSLPBN") {
        hardware.extend(forms("FixedButton"));
    }
    let mut compatible: Vec<String> = Vec::new();
    for id in list.flat_map(forms) {
        if !hardware.contains(&id) && !compatible.contains(&id) {
            compatible.push(id);
        }
    }
    Some(Ids {
        hardware,
        compatible,
    })
}

/// The forms of one id.
fn forms(id: &str) -> Vec<String> {
    let pair = parts(id).map(|(vendor, number)| format!("ACPI\\VEN_{vendor}&DEV_{number}"));
    let id = id_part(id);
    pair.into_iter()
        .chain([format!("ACPI\\{id}"), format!("*{id}")])
        .collect()
}

/// Vendor and number of an id of the usual form.
fn parts(id: &str) -> Option<(&str, &str)> {
    let vendor = id.len().checked_sub(4).filter(|n| matches!(n, 3 | 4))?;
    let (vendor, number) = id.split_at_checked(vendor)?;
    let good = vendor.chars().all(|c| c.is_ascii_alphanumeric())
        && number.chars().all(|c| c.is_ascii_hexdigit());
    good.then_some((vendor, number))
}

/// `hrv` is decimal.
fn revision(text: &str) -> Option<u16> {
    text.trim().parse().ok()
}
