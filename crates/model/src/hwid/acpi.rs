//! Devices that the firmware describes: ACPI, PNP.
//!
//! | device | ids from |
//! |---|---|
//! | on the `acpi` bus | `MODALIAS=acpi:HID:CID:CID:` |
//! | on another bus, described by ACPI (`platform`, `i2c`, `spi`, `serial`) | the same `MODALIAS` |
//! | on the `pnp` bus | `id`, one a line |
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
    let text = if device.subsystem == "pnp" {
        device.attribute("id")
    } else {
        let alias = device.property("MODALIAS");
        alias.and_then(|alias| alias.strip_prefix("acpi:"))
    };
    text.unwrap_or_default()
        .split(['\n', ':'])
        .map(str::trim)
        .filter(|id| !id.is_empty())
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
