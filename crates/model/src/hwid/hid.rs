//! Human interface devices: one device of Windows for each top-level collection.
//!
//! | part | from |
//! |---|---|
//! | `Vid_`, `Pid_` | `HID_ID=0003:00000627:00000001`: bus, vendor, product |
//! | `Rev_` | `bcdDevice` of the USB device; other buses tell none |
//! | `MI_` | the USB interface, if its device is composite |
//! | `Col` | which top-level collection, from 01, if there are several |
//! | `UP:`, `U:` | usage page and usage of the collection, from the report descriptor |
//!
//! | hardware ids, in this order | if |
//! |---|---|
//! | `HID\Vid_v&Pid_p&Rev_r[&MI_z][&Colc]` | there is a revision |
//! | `HID\Vid_v&Pid_p[&MI_z][&Colc]` | |
//! | `HID_DEVICE_SYSTEM_MOUSE`, `_GAME`, `_KEYBOARD`, `_CONTROL`, `_CONSUMER` | the usage is one of [`SYSTEM`] |
//! | `HID_DEVICE_UP:p_U:u` | the collection is known |
//! | `HID_DEVICE` | |
//!
//! There are no compatible ids. Source: Microsoft, "HIDClass Hardware IDs for Top-Level Collections";
//! the report descriptor: Device Class Definition for HID 1.11, 6.2.2.

use super::{Ids, hex, usb};
use crate::device::DeviceRecord;

/// Usage page, usage and the id of those that the system itself serves.
const SYSTEM: [(u16, u16, &str); 8] = [
    (0x01, 0x01, "HID_DEVICE_SYSTEM_MOUSE"),
    (0x01, 0x02, "HID_DEVICE_SYSTEM_MOUSE"),
    (0x01, 0x04, "HID_DEVICE_SYSTEM_GAME"),
    (0x01, 0x05, "HID_DEVICE_SYSTEM_GAME"),
    (0x01, 0x06, "HID_DEVICE_SYSTEM_KEYBOARD"),
    (0x01, 0x07, "HID_DEVICE_SYSTEM_KEYBOARD"),
    (0x01, 0x80, "HID_DEVICE_SYSTEM_CONTROL"),
    (0x0c, 0x01, "HID_DEVICE_SYSTEM_CONSUMER"),
];

/// How many collections are told apart; a descriptor of 4 KiB could have a thousand.
const MAX_COLLECTIONS: usize = 16;

/// The ids of each top-level collection; one without a collection if the descriptor tells none.
pub(super) fn collections(device: &DeviceRecord) -> Option<Vec<Ids>> {
    let descriptor = device.attribute("report_descriptor").map(hex);
    let found = top_level(&descriptor.unwrap_or_default());
    if found.is_empty() {
        return Some(vec![ids(device, None, None)?]);
    }
    let several = found.len() > 1;
    found
        .into_iter()
        .enumerate()
        .map(|(place, usage)| ids(device, several.then_some(place + 1), Some(usage)))
        .collect()
}

/// The ids of all collections, those of the first one first.
pub(super) fn device(device: &DeviceRecord) -> Option<Ids> {
    let mut hardware: Vec<String> = Vec::new();
    for ids in collections(device)? {
        for id in ids.hardware {
            if !hardware.contains(&id) {
                hardware.push(id);
            }
        }
    }
    // The general id belongs to all of them.
    hardware.retain(|id| id != GENERAL);
    hardware.push(GENERAL.to_owned());
    Some(Ids {
        hardware,
        compatible: Vec::new(),
    })
}

const GENERAL: &str = "HID_DEVICE";

fn ids(device: &DeviceRecord, collection: Option<usize>, usage: Option<Usage>) -> Option<Ids> {
    let mut fields = device.property("HID_ID")?.split(':').skip(1);
    let mut field = || u32::from_str_radix(fields.next()?, 16).ok();
    let (vendor, product) = (field()?, field()?);
    let interface = device
        .ancestors()
        .find(|above| above.is("usb", "usb_interface"));
    let function = interface.and_then(usb::function).unwrap_or_default();
    let collection = collection.map_or(String::new(), |n| format!("&Col{n:02X}"));
    let id = format!("HID\\Vid_{vendor:04X}&Pid_{product:04X}");
    let mut hardware = Vec::new();
    if let Some(revision) = interface.and_then(usb::revision) {
        hardware.push(format!("{id}&Rev_{revision:04X}{function}{collection}"));
    }
    hardware.push(format!("{id}{function}{collection}"));
    if let Some(Usage { page, usage }) = usage {
        let system = SYSTEM.iter().find(|(p, u, _)| (*p, *u) == (page, usage));
        hardware.extend(system.map(|(.., id)| (*id).to_owned()));
        hardware.push(format!("HID_DEVICE_UP:{page:04X}_U:{usage:04X}"));
    }
    hardware.push(GENERAL.to_owned());
    Some(Ids {
        hardware,
        compatible: Vec::new(),
    })
}

/// What a collection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    page: u16,
    usage: u16,
}

/// The top-level collections of a report descriptor, as far as it can be read.
///
/// ```text
/// item       prefix, 0 to 4 bytes of data     the prefix is tag (4 bits), type (2), size (2: 0, 1, 2, 4)
/// long item  FE, size, tag, data
/// A1 kind    a collection begins; C0 it ends
/// 05, 06     usage page (global)              09, 0A usage (local); 0B both, the page in the upper half
/// ```
fn top_level(descriptor: &[u8]) -> Vec<Usage> {
    let mut found = Vec::new();
    let mut rest = descriptor;
    let (mut page, mut usage, mut depth) = (0_u16, None, 0_usize);
    while let Some((prefix, after)) = rest.split_first() {
        if *prefix == 0xfe {
            let size = after.first().copied().unwrap_or(0);
            rest = after.get(2 + usize::from(size)..).unwrap_or_default();
            continue;
        }
        let size = match prefix & 3 {
            3 => 4,
            other => usize::from(other),
        };
        let Some((data, after)) = after.split_at_checked(size) else {
            break;
        };
        rest = after;
        let number = data
            .iter()
            .rev()
            .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let low = u16::try_from(number & 0xffff).unwrap_or(0);
        let high = u16::try_from(number >> 16).unwrap_or(0);
        match prefix & 0xfc {
            0x04 => page = low,
            // The first of several usages is what a collection is for.
            0x08 if usage.is_none() => {
                let page = (size == 4).then_some(high);
                usage = Some((page, low));
            }
            0xa0 => {
                if depth == 0 && found.len() < MAX_COLLECTIONS {
                    let (own, usage) = usage.unwrap_or((None, 0));
                    let page = own.unwrap_or(page);
                    found.push(Usage { page, usage });
                }
                depth += 1;
                usage = None;
            }
            0xc0 => {
                depth = depth.saturating_sub(1);
                usage = None;
            }
            // Input, output and feature end what was said of one of them alone.
            0x80 | 0x90 | 0xb0 => usage = None,
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A keyboard with volume keys, as many have.
    const TWO: &[u8] = &[
        0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x05, 0x07, 0x19, 0xe0, 0x81, 0x02,
        0xc0, // keyboard
        0x05, 0x0c, 0x09, 0x01, 0xa1, 0x01, 0x09, 0xe9, 0xa1, 0x02, 0xc0, 0x81, 0x00, 0xc0,
    ];

    #[test]
    fn collections_within_collections_are_no_devices() {
        let usages: Vec<_> = top_level(TWO).iter().map(|u| (u.page, u.usage)).collect();
        assert_eq!(usages, [(0x01, 0x06), (0x0c, 0x01)]);
    }

    #[test]
    fn a_usage_of_four_bytes_brings_its_page() {
        let usages = top_level(&[0x05, 0x01, 0x0b, 0x04, 0x00, 0x0d, 0x00, 0xa1, 0x01, 0xc0]);
        assert_eq!(
            usages,
            [Usage {
                page: 0x0d,
                usage: 4
            }]
        );
    }

    #[test]
    fn a_descriptor_that_ends_in_an_item_tells_what_came_before() {
        for length in 0..TWO.len() {
            let found = top_level(TWO.get(..length).unwrap_or_default());
            assert!(found.len() <= 2, "{length}");
        }
        assert_eq!(top_level(&[0xfe]), []);
        assert_eq!(top_level(&[0xfe, 200, 0]), []);
        assert_eq!(top_level(&[0xa1, 1].repeat(2000)).len(), 1);
        let many = top_level(&[0xa1, 1, 0xc0].repeat(1300));
        assert_eq!(many.len(), MAX_COLLECTIONS);
    }
}
