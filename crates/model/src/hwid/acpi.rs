//! Devices that the firmware describes: ACPI, PNP.
//!
//! | device | ids from |
//! |---|---|
//! | on the `acpi` bus | `MODALIAS=acpi:HID:CID:CID:` |
//! | on another bus, described by ACPI (`platform`, `i2c`, `spi`, `serial`) | the same `MODALIAS` |
//! | on the `pnp` bus | `id`, one a line |
//! | a PS/2 port on the `serio` bus | `SERIO_FIRMWARE_ID=PNP: LEN0071 PNP0303` |
//!
//! The first id makes hardware ids, the others compatible ids:
//!
//! | id | forms, in this order |
//! |---|---|
//! | `PNP0501`, `INT33C2`, `GOOG0001`: vendor of 3 or 4 characters, 4 hexadecimal digits | `ACPI\VEN_v&DEV_d`, `ACPI\PNP0501`, `*PNP0501` |
//! | any other | `ACPI\id`, `*id` |
//!
//! Windows has longer forms with `&SUBSYS_` (_SUB) and `&REV_` (_HRV) before these. sysfs does not show the
//! first, and its `hrv` runs the firmware's program, which can wait for another one: they are missing.
//!
//! The power and sleep buttons that are part of the chipset (`LNXPWRBN`, `LNXSLPBN`) are Windows'
//! `ACPI\FixedButton` too. Source: Microsoft, "Device management namespace objects"; ACPI 6.5, 6.1.

use super::{Ids, id_part};
use crate::device::DeviceRecord;

/// The ids of a device that the firmware describes; nothing if this one is not.
pub(super) fn device(device: &DeviceRecord) -> Option<Ids> {
    let mut list = names(device);
    let first = list.next()?;
    let mut hardware = forms(first);
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

/// Whether the firmware gives the device an id.
pub(super) fn is_described(device: &DeviceRecord) -> bool {
    names(device).next().is_some()
}

fn names(device: &DeviceRecord) -> impl Iterator<Item = &str> {
    let (key, prefix) = match device.subsystem.as_str() {
        "serio" => ("SERIO_FIRMWARE_ID", "PNP:"),
        _ => ("MODALIAS", "acpi:"),
    };
    let property = device.property(key);
    let text = match device.subsystem.as_str() {
        "pnp" => device.attribute("id"),
        _ => property.and_then(|text| text.strip_prefix(prefix)),
    };
    text.unwrap_or_default()
        .split(['\n', ':', ' '])
        .map(str::trim)
        .filter(|id| !id.is_empty())
}

/// The forms of one id.
fn forms(id: &str) -> Vec<String> {
    // The `pnp` bus writes digits in lower case.
    let id = match parts(id) {
        Some(_) => id.to_ascii_uppercase(),
        None => id_part(id),
    };
    let pair = parts(&id).map(|(vendor, number)| format!("ACPI\\VEN_{vendor}&DEV_{number}"));
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
