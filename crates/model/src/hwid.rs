//! Hardware and compatible ids in Windows' form, from what was recorded of a device.
//!
//! The ids of an interface are those of the device that exposes it, in the way Windows sees
//! devices, not of every device above it:
//!
//! | device | its ids are those of |
//! |---|---|
//! | `block`, `nvme-generic` | the nearest SCSI device, NVMe controller or subsystem, or memory card; else the nearest virtio device or PCI function. Never a USB device: a USB disk is a `USBSTOR` device |
//! | `usbmisc` of a printer (`lp0`) | the USB function, then the printer's (`printer`) |
//! | `sound`: the node of a codec (`hwC0D0`) | the codec |
//! | drm connector with a monitor | the monitor |
//! | any other: `tty`, `net`, `input`, `hidraw`, `video4linux`, `sound`, `drm`, `power_supply`, `thermal` ... | itself or the nearest above that is on a bus with a rule |
//! | one with none of these above | the device tree's, if it describes one; else itself, in our own enumerator (see [`software`]) |
//!
//! | bus (`SUBSYSTEM`) | module |
//! |---|---|
//! | `usb` | `usb` |
//! | `pci` | `pci` |
//! | `scsi`, `nvme`, `nvme-subsystem` | `scsi` |
//! | `hid` | `hid`: one device of Windows for each top-level collection; a `hidraw` node is an interface of each ([`functions`]), an `input` node has the ids of its own, other nodes those of all |
//! | `acpi`, `pnp`, and others that ACPI describes | `acpi` |
//! | `mmc`, `sdio` | `sd` |
//! | `hdaudio` | `audio` |
//!
//! What Linux has no device for has no ids here: services of Bluetooth devices (`BTHENUM`; their radios
//! have `USB` ids, their keyboards and mice `HID` ids; what else is behind a link has ids of our own and
//! not those of the radio).
//!
//! What a device says of itself is cut and cleaned before it is part of an id: a list has no more than
//! [`MAX_IDS`] ids, an id is shorter than [`MAX_ID`] characters and has no blank, comma, control or foreign
//! character. Windows demands so.
//!
//! The instance path is Windows' three parts, `enumerator\device\instance`: the device id and, as instance,
//! the kernel's name on the bus with the device's own name (`0000_00_03.0&eth0`). The device id is the first
//! hardware id, but without the revision of USB and HID, and the short form of ACPI: `USB\VID_045E&PID_078F`,
//! `ACPI\PNP0501`.
//! It is a name, unique among the devices that are present, and no identity.
//!
//! Source: Microsoft's pages "Hardware IDs" and "Device identification strings"; the pages on each
//! bus are named in its module.

mod acpi;
mod audio;
mod hid;
mod monitor;
mod pci;
mod printer;
mod scsi;
mod sd;
pub mod software;
mod usb;

use crate::device::DeviceRecord;

/// How many ids a list may have. Source: Microsoft, "Hardware IDs".
pub const MAX_IDS: usize = 64;

/// An id is shorter than this (`MAX_DEVICE_ID_LEN`, cfgmgr32.h).
pub const MAX_ID: usize = 200;

/// The ids of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Hardware ids, most specific first.
    pub hardware: Vec<String>,
    /// Compatible ids, most specific first.
    pub compatible: Vec<String>,
}

impl Ids {
    /// Hardware ids, then compatible ids.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.hardware
            .iter()
            .chain(&self.compatible)
            .map(String::as_str)
    }

    /// No more ids than a list may have, none longer than one may be.
    fn bounded(mut self) -> Self {
        for list in [&mut self.hardware, &mut self.compatible] {
            list.retain(|id| id.len() < MAX_ID);
            list.truncate(MAX_IDS);
        }
        self
    }
}

/// The ids of the device that exposes an interface.
pub fn ids_of(device: &DeviceRecord) -> Ids {
    let bus = bus_device(device);
    let ids = bus.and_then(|bus| match bus.subsystem.as_str() {
        "hid" if bus.devpath != device.devpath => hid::node(device, bus),
        _ => own_ids(bus),
    });
    ids.map(Ids::bounded)
        .filter(|ids| !ids.hardware.is_empty())
        .unwrap_or_else(|| software::ids(device))
}

/// The devices that Windows would have where Linux has one, each with the reference string of its
/// interface: mostly one, with an empty string. A HID device with several top-level collections is
/// several: `Col01`, `Col02` and so on.
pub fn functions(device: &DeviceRecord) -> Vec<(String, Ids)> {
    if device.subsystem == "hidraw"
        && let Some(collections) = bus_device(device).and_then(hid::collections)
        && collections.len() > 1
    {
        return (1..)
            .map(|number: usize| format!("Col{number:02X}"))
            .zip(collections.into_iter().map(Ids::bounded))
            .collect();
    }
    vec![(String::new(), ids_of(device))]
}

/// All ids of the devices above the one whose ids [`ids_of`] gives, nearest first.
pub fn ancestor_ids(device: &DeviceRecord) -> Vec<String> {
    let owner = bus_device(device).unwrap_or(device);
    let mut found: Vec<String> = Vec::new();
    let above = owner
        .ancestors()
        .filter(|above| rule(above).is_some_and(|rule| rule != Rule::Namespace));
    for ids in above.filter_map(own_ids).map(Ids::bounded) {
        for id in ids.hardware.into_iter().chain(ids.compatible) {
            if !found.contains(&id) {
                found.push(id);
            }
        }
    }
    found
}

/// The instance path, such as `PCI\VEN_8086&DEV_10D3\0000_01_00.0&eth0`.
pub fn instance_path(device: &DeviceRecord, ids: &Ids) -> String {
    let id = device_id(ids);
    let own = own_part(device);
    match bus_device(device) {
        Some(bus) if bus.devpath != device.devpath => {
            format!("{id}\\{}&{own}", instance_part(bus.name()))
        }
        _ => format!("{id}\\{own}"),
    }
}

/// The id that Windows puts into names.
fn device_id(ids: &Ids) -> &str {
    let is_short = |id: &&String| match id.split_once('\\') {
        Some(("USB" | "HID", rest)) => !rest.contains("&REV_") && !rest.contains("&Rev_"),
        Some(("ACPI", rest)) => !rest.starts_with("VEN_"),
        Some(_) | None => true,
    };
    let hardware = &ids.hardware;
    let short = hardware.iter().find(is_short);
    short
        .or(hardware.first())
        .map_or("ARRIVAL\\DEVICE", String::as_str)
}

/// The sysfs attributes that these rules look at in a device of a subsystem.
///
/// Only what the kernel answers from memory belongs here: `serial` or `bNumInterfaces` of a USB
/// device wait for its lock and may take seconds, `config` of a PCI function wakes it, `hrv` of an ACPI
/// device runs the firmware's program. (`edid` waits while the connectors of the card are being probed.)
pub fn attributes(subsystem: &str) -> &'static [&'static str] {
    match subsystem {
        "drm" => &["edid"],
        "hdaudio" | "sound" => &["afg", "mfg", "revision_id", "subsystem_id", "vendor_id"],
        "hid" => &["report_descriptor"],
        "mmc" => &["fwrev", "hwrev", "manfid", "oemid", "prv"],
        "net" => &["tun_flags"],
        "nvme" | "nvme-subsystem" => &["firmware_rev", "model"],
        "pci" => &["revision"],
        "pnp" => &["id"],
        "scsi" => &["model", "rev", "type", "vendor", "vpd_pg89"],
        "usb" => &[
            "descriptors",
            "iad_bFirstInterface",
            "iad_bFunctionClass",
            "iad_bFunctionProtocol",
            "iad_bFunctionSubClass",
            "ieee1284_id",
        ],
        _ => &[],
    }
}

/// The attributes that are no text: their first bytes are recorded, as hexadecimal digits.
///
/// | attribute | bytes | room for |
/// |---|---|---|
/// | `descriptors` | 64 | a USB device, a configuration, an association, an interface |
/// | `edid` | 128 | the base block |
/// | `report_descriptor` | 4096 | HID_MAX_DESCRIPTOR_SIZE |
/// | `vpd_pg89` | 154 | the header and IDENTIFY data up to the model |
pub fn binary(attribute: &str) -> Option<usize> {
    match attribute {
        "descriptors" => Some(64),
        "edid" => Some(128),
        "report_descriptor" => Some(4096),
        "vpd_pg89" => Some(154),
        _ => None,
    }
}

/// The bytes behind hexadecimal digits, up to the first that are none.
fn hex(digits: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = digits.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    };
    bytes.map_while(byte).collect()
}

/// The device whose ids count for this one.
fn bus_device(device: &DeviceRecord) -> Option<&DeviceRecord> {
    let storage = matches!(device.subsystem.as_str(), "block" | "nvme-generic");
    std::iter::once(device)
        .chain(device.ancestors())
        // What is behind a link of Bluetooth, and on no bus there, is not the radio.
        .take_while(|above| !software::is_link(above))
        .find(|above| match rule(above) {
            Some(Rule::Storage | Rule::Pci | Rule::Software) => true,
            Some(Rule::Namespace) => storage,
            Some(Rule::Other) => !storage,
            None => false,
        })
}

fn is_below_pci(device: &DeviceRecord) -> bool {
    device.ancestors().any(|above| above.subsystem == "pci")
}

/// Which devices a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A unit of storage, for its block devices and all else.
    Storage,
    /// What a unit of storage is a part of, for its block devices alone.
    Namespace,
    /// A PCI function, for block devices that have no unit above them too.
    Pci,
    /// One of our own enumerator that stands for all that hangs below it.
    Software,
    /// All but block devices.
    Other,
}

fn rule(device: &DeviceRecord) -> Option<Rule> {
    match (device.subsystem.as_str(), device.devtype.as_deref()) {
        ("scsi", Some("scsi_device")) => Some(Rule::Storage),
        ("mmc", _) => sd::is_memory(device).then_some(Rule::Storage),
        ("nvme" | "nvme-subsystem", _) => scsi::answered(device).map(|_| Rule::Namespace),
        ("virtio", _) => software::is_virtio(device).then_some(Rule::Software),
        ("pci", _) => Some(Rule::Pci),
        ("usb", Some("usb_device" | "usb_interface")) => Some(Rule::Other),
        ("hid" | "sdio", _) => Some(Rule::Other),
        ("hdaudio" | "sound", _) => audio::is_codec(device).then_some(Rule::Other),
        ("drm", _) => device
            .attribute("edid")
            .filter(|edid| !edid.is_empty())
            .map(|_| Rule::Other),
        _ => acpi::is_described(device).then_some(Rule::Other),
    }
}

/// The ids of a device on a bus that has a rule, if it says enough of itself.
fn own_ids(device: &DeviceRecord) -> Option<Ids> {
    match (device.subsystem.as_str(), device.devtype.as_deref()) {
        ("usb", Some("usb_device")) => usb::device(device),
        ("usb", Some("usb_interface")) => usb::interface(device),
        ("scsi", Some("scsi_device")) => scsi::device(device),
        ("nvme" | "nvme-subsystem", _) => scsi::nvme(device),
        ("pci", _) => pci::function(device),
        ("hid", _) => hid::device(device),
        ("mmc", _) => sd::card(device),
        ("sdio", _) => sd::function(device),
        ("hdaudio" | "sound", _) => audio::codec(device),
        // Its ids depend on what asks for them.
        ("virtio", _) => None,
        ("drm", _) => monitor::at_connector(device),
        _ => acpi::device(device),
    }
}

/// Exactly so many characters of a text, `_` where it has fewer or what an id cannot hold.
fn padded(text: &str, width: usize) -> String {
    let kept: String = text.chars().take(width).collect();
    format!("{:_<width$}", id_part(&kept))
}

/// A text that a device or a user chose, as one part of an id or a link: letters, digits and
/// `& _ . # { } * + -` stay, all else becomes `_`, backslashes too, since they divide the parts.
pub fn id_part(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => c,
            '&' | '_' | '.' | '#' | '{' | '}' | '*' | '+' | '-' => c,
            _ => '_',
        })
        .collect()
}

/// A kernel name as the last part of an instance path: as [`id_part`], but `#` divides the parts
/// of a link and braces hold its class, so they go too. A name of anything but the letters,
/// digits, `.`, `_`, `-` and `:` that kernel names are made of gets a hash, so that two names stay
/// two.
fn instance_part(name: &str) -> String {
    let mut part: String = id_part(name).replace(['#', '{', '}', '*', '&', '+'], "_");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if !name.chars().all(plain) {
        part.push_str(&format!("&{:08x}", fnv(name)));
    }
    part
}

/// The device's own name as the last part of an instance path. Of network devices users choose the names,
/// and a link is compared without case: one with capitals gets a hash, so that `lab0` and `Lab0` are two.
fn own_part(device: &DeviceRecord) -> String {
    let name = device.name();
    let mut part = instance_part(name);
    let folds = name.chars().any(|c| c.is_ascii_uppercase());
    if device.subsystem == "net" && folds && !part.contains('&') {
        part.push_str(&format!("&{:08x}", fnv(name)));
    }
    part
}

/// FNV-1a of 32 bits.
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests;
