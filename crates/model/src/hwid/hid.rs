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
//! | `HID\Vid_v&UP:p_U:u` | the collection is known; on no page of Microsoft's, but in Windows' lists since Windows 8 |
//! | `HID_DEVICE_SYSTEM_MOUSE`, `_GAME`, `_KEYBOARD`, `_CONTROL`, `_CONSUMER` | the usage is one of [`SYSTEM`] |
//! | `HID_DEVICE_UP:p_U:u` | the collection is known |
//! | `HID_DEVICE` | |
//!
//! There are no compatible ids.
//!
//! | node | has the ids of |
//! |---|---|
//! | `hidraw` | each collection, in an interface of its own |
//! | `input` and what hangs below it | the collection whose word ([`SYSTEM`]) the kernel has put at the end of the input device's name, if there is one such; else all |
//! | any other (`leds`, `power_supply`, the HID device itself) | all |
//!
//! Windows names a device behind Bluetooth by its service and by who gave the vendor its number, which the
//! kernel does not know: it has the same ids as on any other bus. Source: Microsoft, "HIDClass Hardware IDs for Top-Level Collections";
//! the report descriptor: Device Class Definition for HID 1.11, 6.2.2; the words: `hidinput_allocate` in
//! linux/drivers/hid/hid-input.c.

use super::{Ids, MAX_IDS, hex, usb};
use crate::device::DeviceRecord;

/// Usage page, usage, the id of those that the system itself serves, and the word that the kernel puts
/// at the end of an input device's name where there are several.
const SYSTEM: [(u16, u16, &str, &str); 14] = [
    (0x01, 0x01, "HID_DEVICE_SYSTEM_MOUSE", ""),
    (0x01, 0x02, "HID_DEVICE_SYSTEM_MOUSE", "Mouse"),
    (0x01, 0x04, "HID_DEVICE_SYSTEM_GAME", ""),
    (0x01, 0x05, "HID_DEVICE_SYSTEM_GAME", ""),
    (0x01, 0x06, "HID_DEVICE_SYSTEM_KEYBOARD", "Keyboard"),
    (0x01, 0x07, "HID_DEVICE_SYSTEM_KEYBOARD", "Keypad"),
    (0x01, 0x0c, "", "Wireless Radio Control"),
    (0x01, 0x0e, "", "System Multi Axis"),
    (0x01, 0x80, "HID_DEVICE_SYSTEM_CONTROL", "System Control"),
    (0x0c, 0x01, "HID_DEVICE_SYSTEM_CONSUMER", "Consumer Control"),
    // As the kernel has it, the wrong way round.
    (0x0d, 0x02, "", "Stylus"),
    (0x0d, 0x04, "", "Touchscreen"),
    (0x0d, 0x05, "", "Touchpad"),
    (0x0d, 0x20, "", "Pen"),
];

/// Source: linux/input.h.
const BUS_USB: u32 = 3;

/// How many collections are told apart; a descriptor of 4 KiB could have a thousand.
const MAX_COLLECTIONS: usize = 16;

/// How deep the globals can be pushed (`HID_GLOBAL_STACK_SIZE`, linux/hid.h).
const MAX_PUSHED: usize = 4;

/// The ids of each top-level collection; one without a collection if the descriptor tells none.
pub(super) fn collections(device: &DeviceRecord) -> Option<Vec<Ids>> {
    let found = usages(device);
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

fn usages(device: &DeviceRecord) -> Vec<Usage> {
    let descriptor = device.attribute("report_descriptor").map(hex);
    top_level(&descriptor.unwrap_or_default())
}

/// The ids of a node below a HID device that is not divided into collections.
pub(super) fn node(node: &DeviceRecord, hid: &DeviceRecord) -> Option<Ids> {
    let name = std::iter::once(node)
        .chain(node.ancestors())
        .take_while(|above| above.devpath != hid.devpath)
        .find_map(|above| above.property("NAME"))
        .map(|name| name.trim_matches('"'));
    let Some(name) = name else {
        return device(hid);
    };
    let is_named = |usage: &Usage| {
        let word = usage.row().map_or("", |(.., word)| *word);
        let before = name.strip_suffix(word);
        !word.is_empty() && before.is_some_and(|before| before.ends_with(' '))
    };
    let list = usages(hid).into_iter().zip(collections(hid)?);
    let mut named = list.filter(|(usage, _)| is_named(usage));
    match (named.next(), named.next()) {
        (Some((_, ids)), None) => Some(ids),
        (Some(_), Some(_)) | (None, _) => device(hid),
    }
}

/// The ids of all collections, those of the first one first. Where that are more than a list may
/// have, the last ones that name the device give way to those that name its kind.
pub(super) fn device(device: &DeviceRecord) -> Option<Ids> {
    let (mut hardware, mut kinds): (Vec<String>, Vec<String>) = Default::default();
    for id in collections(device)?
        .into_iter()
        .flat_map(|ids| ids.hardware)
    {
        let list = if id.starts_with("HID\\") {
            &mut hardware
        } else {
            &mut kinds
        };
        if !list.contains(&id) {
            list.push(id);
        }
    }
    // The general id belongs to all of them.
    kinds.retain(|id| id != GENERAL);
    kinds.push(GENERAL.to_owned());
    hardware.truncate(MAX_IDS.saturating_sub(kinds.len()));
    hardware.append(&mut kinds);
    Some(Ids {
        hardware,
        compatible: Vec::new(),
    })
}

const GENERAL: &str = "HID_DEVICE";

fn ids(device: &DeviceRecord, collection: Option<usize>, usage: Option<Usage>) -> Option<Ids> {
    let mut fields = device.property("HID_ID")?.split(':');
    let mut field = || u32::from_str_radix(fields.next()?, 16).ok();
    let (bus, vendor, product) = (field()?, field()? & 0xffff, field()? & 0xffff);
    // A mouse behind a radio on USB is not on USB.
    let interface = device
        .ancestors()
        .find(|above| bus == BUS_USB && above.is("usb", "usb_interface"));
    let function = interface.and_then(usb::function).unwrap_or_default();
    let collection = collection.map_or(String::new(), |n| format!("&Col{n:02X}"));
    let vendor = format!("HID\\Vid_{vendor:04X}");
    let id = format!("{vendor}&Pid_{product:04X}");
    let mut hardware = Vec::new();
    if let Some(revision) = interface.and_then(usb::revision) {
        hardware.push(format!("{id}&Rev_{revision:04X}{function}{collection}"));
    }
    hardware.push(format!("{id}{function}{collection}"));
    if let Some(collection) = usage {
        let Usage { page, usage } = collection;
        hardware.push(format!("{vendor}&UP:{page:04X}_U:{usage:04X}"));
        let system = collection.row().filter(|(_, _, id, _)| !id.is_empty());
        hardware.extend(system.map(|(_, _, id, _)| (*id).to_owned()));
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

impl Usage {
    fn row(self) -> Option<&'static (u16, u16, &'static str, &'static str)> {
        let own = |(page, usage, ..): &&(u16, u16, &str, &str)| {
            (*page, *usage) == (self.page, self.usage)
        };
        SYSTEM.iter().find(own)
    }
}

/// The top-level collections of a report descriptor, as far as it can be read.
///
/// ```text
/// item       prefix, 0 to 4 bytes of data     the prefix is tag (4 bits), type (2), size (2: 0, 1, 2, 4)
/// long item  FE, size, tag, data
/// A1 kind    a collection begins; C0 it ends
/// 05, 06     usage page (global)              09, 0A usage (local); 0B both, the page in the upper half
/// A4, B4     push and pop of the globals      19, 1A, 1B usage minimum (local)
/// ```
///
/// A local item ends with the next main item (collection, its end, input, output, feature). Each byte is
/// looked at once.
fn top_level(descriptor: &[u8]) -> Vec<Usage> {
    let mut found = Vec::new();
    let mut rest = descriptor;
    let (mut page, mut usage, mut depth) = (0_u16, None, 0_usize);
    let mut pushed = Vec::new();
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
            0xa4 if pushed.len() < MAX_PUSHED => pushed.push(page),
            0xb4 => page = pushed.pop().unwrap_or(page),
            // The first of several usages is what a collection is for.
            0x08 | 0x18 if usage.is_none() => {
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
    fn pushed_pages_come_back_and_a_usage_names_the_next_collection_only() {
        let usages = |descriptor: &[u8]| -> Vec<(u16, u16)> {
            let found = top_level(descriptor);
            found.iter().map(|u| (u.page, u.usage)).collect()
        };
        let pushed = [
            0x05, 1, 0xa4, 0x05, 0x0d, 0xb4, 0x0a, 0x80, 0, 0xa1, 1, 0xc0,
        ];
        assert_eq!(usages(&pushed), [(1, 0x80)]);
        let two = [0x05, 1, 0x09, 6, 0x09, 2, 0xa1, 1, 0xc0, 0xa1, 1, 0xc0];
        assert_eq!(usages(&two), [(1, 6), (1, 0)]);
        let later_page = [0x09, 1, 0x05, 0x0c, 0xa1, 1, 0xc0];
        assert_eq!(usages(&later_page), [(0x0c, 1)]);
        let range = [0x05, 0x0c, 0x19, 1, 0xa1, 1, 0xc0];
        assert_eq!(usages(&range), [(0x0c, 1)]);
        assert_eq!(top_level(&[0xb4, 0xc0, 0xa4]), []);
    }

    #[test]
    fn any_bytes_give_a_bounded_list() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for round in 0..2000 {
            let bytes: Vec<u8> = (0..round % 257)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    u8::try_from(state >> 24 & 0xff).unwrap_or(0)
                })
                .collect();
            assert!(top_level(&bytes).len() <= MAX_COLLECTIONS);
        }
        for filling in 0..=u8::MAX {
            assert!(top_level(&[filling; 4096]).len() <= MAX_COLLECTIONS);
        }
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
