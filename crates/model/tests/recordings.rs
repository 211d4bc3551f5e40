//! Recorded devices have the ids that were written down for them by hand, and no words of a device
//! break the form of an id.
//!
//! The recordings lack what newer rules look at; it is added here, see [`ADDED`] and
//! [`with_descriptors`].
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrival_model::device::{DeviceRecord, Properties};
use arrival_model::hwid::{Ids, MAX_ID, MAX_IDS, ancestor_ids, functions, ids_of, instance_path};

const MACHINE: &str = include_str!("recordings/machine.txt");
const GADGET: &str = include_str!("recordings/gadget.txt");

/// Files that were not recorded, with what such a device has: the end of the path, name, text.
const ADDED: &[(&str, &str, &str)] = &[
    ("/nvme/nvme0", "firmware_rev", "7.2     "),
    // QEMU's keyboard: that of HID 1.11, appendix E.6.
    (
        "/0003:0627:0001.0001",
        "report_descriptor",
        "05010906a1010507\
         19e029e715002501750195088102950175088101\
         950575010508190129059102950175039101\
         950675081500256505071900296581\
         00c0",
    ),
];

#[derive(Clone, Default)]
struct Recorded {
    properties: Vec<(String, String)>,
    attributes: BTreeMap<String, String>,
}

/// Each device as it was last seen before it was pulled out, by path.
fn recorded(text: &str) -> BTreeMap<String, Recorded> {
    let mut all: BTreeMap<String, Recorded> = BTreeMap::new();
    let mut path = None;
    for line in text.lines() {
        let words = line.trim();
        if let Some(listed) = line.strip_prefix("ATTRS-OF ") {
            path = Some(listed.to_owned());
        } else if let Some(event) = line.strip_prefix("UEVENT ") {
            let (action, of) = event.split_once('@').unwrap();
            path = (!matches!(action, "remove" | "unbind")).then(|| of.to_owned());
        } else if line == "--" {
            path = None;
        } else if let (Some(path), Some(files)) = (&path, words.strip_prefix("ATTRS")) {
            let known = all.entry(path.clone()).or_default();
            known.attributes.extend(texts(files));
        } else if let Some(path) = &path {
            all.entry(path.clone()).or_default().properties = values(words);
        }
    }
    for (path, device) in &mut all {
        name_bus(path, device);
        for (end, name, text) in ADDED {
            if path.ends_with(end) {
                let (name, text) = ((*name).to_owned(), (*text).to_owned());
                device.attributes.insert(name, text);
            }
        }
    }
    with_descriptors(&mut all);
    all
}

/// `name=[text] name=[text]`
fn texts(line: &str) -> Vec<(String, String)> {
    let pieces = line.split("] ").map(|piece| piece.trim_end_matches(']'));
    pieces
        .filter_map(|piece| piece.split_once("=["))
        .map(|(name, text)| (name.trim().to_owned(), text.to_owned()))
        .collect()
}

/// `KEY=value with blanks KEY=value`
fn values(line: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for word in line.split(' ') {
        let key = |key: &str| {
            let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            !key.is_empty() && key.chars().all(upper)
        };
        match word.split_once('=').filter(|(name, _)| key(name)) {
            Some((name, value)) => found.push((name.to_owned(), value.to_owned())),
            None => {
                let (_, value) = found.last_mut().unwrap();
                *value = format!("{value} {word}");
            }
        }
    }
    found
}

/// The properties of devices of which files alone were recorded, made as the kernel makes them.
fn name_bus(path: &str, device: &mut Recorded) {
    if !device.properties.is_empty() {
        return;
    }
    let file = |name: &str| {
        device
            .attributes
            .get(name)
            .map(|text| text.trim_start_matches("0x").to_owned())
    };
    let mut add = |key: &str, value: String| device.properties.push((key.to_owned(), value));
    if path.starts_with("/devices/LNXSYSTM:00") {
        add("SUBSYSTEM", "acpi".to_owned());
        if let Some(alias) = device.attributes.get("modalias") {
            add("MODALIAS", alias.clone());
        }
    } else if let (Some(vendor), Some(number)) = (file("vendor"), file("device")) {
        add("SUBSYSTEM", "pci".to_owned());
        add("PCI_ID", format!("{vendor}:{number}").to_ascii_uppercase());
        let below = format!(
            "{}:{}",
            file("subsystem_vendor").unwrap(),
            file("subsystem_device").unwrap()
        );
        add("PCI_SUBSYS_ID", below.to_ascii_uppercase());
        let class = file("class").unwrap();
        add(
            "PCI_CLASS",
            class.trim_start_matches('0').to_ascii_uppercase(),
        );
    }
}

/// The descriptors of USB devices, of which the recording has the parts that count.
fn with_descriptors(all: &mut BTreeMap<String, Recorded>) {
    let first_class = |path: &str| {
        let under = all.range(path.to_owned()..).find(|(other, _)| {
            let name = other
                .strip_prefix(path)
                .and_then(|rest| rest.strip_prefix('/'));
            name.is_some_and(|name| name.ends_with(":1.0"))
        })?;
        let values = &under.1.properties;
        let (_, class) = values.iter().find(|(key, _)| key == "INTERFACE")?;
        let numbers: Option<Vec<u8>> = class.split('/').map(|part| part.parse().ok()).collect();
        numbers
    };
    let made: Vec<(String, String)> = all
        .iter()
        .filter_map(|(path, device)| {
            let interfaces: u8 = device
                .attributes
                .get("bNumInterfaces")?
                .trim()
                .parse()
                .ok()?;
            let mut bytes = vec![18, 1];
            bytes.resize(18, 0);
            bytes.extend([9, 2, 0, 0, interfaces, 1, 0, 0x80, 50]);
            bytes.extend([9, 4, 0, 0, 2]);
            bytes.extend(first_class(path)?);
            bytes.push(0);
            let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some((path.clone(), digits))
        })
        .collect();
    for (path, digits) in made {
        let device = all.get_mut(&path).unwrap();
        device.attributes.insert("descriptors".to_owned(), digits);
    }
}

/// The records, each with the nearest one above.
fn devices(text: &str) -> BTreeMap<String, Arc<DeviceRecord>> {
    let mut built: BTreeMap<String, Arc<DeviceRecord>> = BTreeMap::new();
    for (path, device) in recorded(text) {
        let properties: Properties = device.properties.into_iter().collect();
        let above = |path: &str| {
            let mut path = path;
            while let Some((shorter, _)) = path.rsplit_once('/') {
                if let Some(found) = built.get(shorter) {
                    return Some(Arc::clone(found));
                }
                path = shorter;
            }
            None
        };
        let record = DeviceRecord {
            subsystem: properties.get("SUBSYSTEM").unwrap_or("").to_owned(),
            devtype: properties.get("DEVTYPE").map(str::to_owned),
            driver: properties.get("DRIVER").map(str::to_owned),
            attributes: device.attributes.into_iter().collect(),
            parent: above(&path),
            devpath: path.clone(),
            properties,
            ..DeviceRecord::default()
        };
        built.insert(path, Arc::new(record));
    }
    built
}

fn listed(ids: &Ids) -> Vec<String> {
    let hardware = ids.hardware.iter().map(|id| format!("= {id}"));
    let compatible = ids.compatible.iter().map(|id| format!("~ {id}"));
    hardware.chain(compatible).collect()
}

/// Compares with what was written by hand; gives the number of devices.
fn compare(recording: &str, expected: &str) -> usize {
    let devices = devices(recording);
    let mut compared = 0;
    for group in expected.trim().split("\n\n") {
        let (paths, ids): (Vec<&str>, Vec<&str>) =
            group.lines().partition(|line| line.starts_with('/'));
        for path in paths {
            let device = devices
                .get(path)
                .unwrap_or_else(|| panic!("{path} is not recorded"));
            assert_eq!(listed(&ids_of(device)), ids, "{path}");
            compared += 1;
        }
    }
    compared
}

#[test]
fn the_devices_of_a_machine_have_the_ids_of_windows() {
    assert_eq!(
        compare(MACHINE, include_str!("recordings/machine.expected")),
        40
    );
}

#[test]
fn a_composite_device_has_the_ids_of_windows() {
    assert_eq!(
        compare(GADGET, include_str!("recordings/gadget.expected")),
        5
    );
}

#[test]
fn the_ids_of_what_is_above_a_disk_are_those_of_its_usb_and_pci_devices() {
    let devices = devices(MACHINE);
    let disk = devices
        .iter()
        .find(|(path, _)| path.ends_with("/block/sda"));
    let above = ancestor_ids(disk.unwrap().1);
    for id in [
        "USB\\VID_46F4&PID_0001&REV_0000",
        "USB\\Class_08",
        "PCI\\VEN_1B36&DEV_000D",
        "PCI\\CC_0C03",
    ] {
        assert!(above.contains(&id.to_owned()), "{id} of {above:?}");
    }
    assert!(above.iter().all(|id| !id.contains("Disk")), "{above:?}");
}

/// A text of the same length or longer, of characters that devices should not have.
fn hostile(text: &str, state: &mut u64) -> String {
    const ODD: [char; 16] = [
        '\\',
        ',',
        ' ',
        '\t',
        '\n',
        '\0',
        '\u{7f}',
        '\u{e9}',
        '\u{10ffff}',
        '/',
        '"',
        '#',
        '{',
        '}',
        '&',
        ':',
    ];
    let mut next = || {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        usize::try_from(*state >> 33).unwrap()
    };
    let mut made = String::new();
    for c in text.chars() {
        match next() % 8 {
            0 => made.push(ODD[next() % ODD.len()]),
            1 if next() % 8 == 0 => made.extend(std::iter::repeat_n(c, next() % 400)),
            2 if next() % 8 == 0 => {}
            _ => made.push(c),
        }
    }
    made
}

fn assert_sound(device: &DeviceRecord) {
    let functions = functions(device);
    assert!(!functions.is_empty() && functions.len() <= 16);
    for (reference, ids) in functions {
        assert!(!reference.contains(['/', '\\']), "{reference}");
        assert!(!ids.hardware.is_empty(), "{device:?}");
        assert!(ids.hardware.len() <= MAX_IDS && ids.compatible.len() <= MAX_IDS);
        for id in ids.all() {
            assert!(id.len() < MAX_ID, "{id}");
            assert!(
                id.chars().all(|c| c.is_ascii_graphic() && c != ','),
                "{id:?}"
            );
            assert!(id.matches('\\').count() <= 1, "{id:?}");
        }
        let path = instance_path(device, &ids);
        assert!(!path.contains(['/', ',', ' ']), "{path}");
    }
}

#[test]
fn no_words_of_a_device_break_the_form_of_an_id() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for recording in [MACHINE, GADGET] {
        for device in devices(recording).values() {
            assert_sound(device);
            for _ in 0..40 {
                let mut spoilt = |texts: &Properties| -> Properties {
                    let texts = texts.iter().collect::<Vec<_>>().into_iter();
                    texts
                        .map(|(name, text)| (name, hostile(text, &mut state)))
                        .collect()
                };
                let mut odd = DeviceRecord::clone(device);
                odd.properties = spoilt(&odd.properties);
                odd.attributes = spoilt(&odd.attributes);
                assert_sound(&odd);
                let below = DeviceRecord {
                    devpath: format!("{}/x/a b,c", odd.devpath),
                    subsystem: "block".to_owned(),
                    parent: Some(Arc::new(odd)),
                    ..DeviceRecord::default()
                };
                assert_sound(&below);
            }
        }
    }
}
