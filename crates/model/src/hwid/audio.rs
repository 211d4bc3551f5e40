//! Codecs of High Definition Audio.
//!
//! ```text
//! vendor_id     0x10ec0256    vendor and device
//! subsystem_id  0x10280798
//! revision_id   0x100002      the last byte is the stepping, which no id has
//! afg, mfg      0x1, 0x0      the audio and the modem function group; 0 means none
//! ```
//!
//! They are files of the codec (bus `hdaudio`) and of its node `hwC0D0` (subsystem `sound`), all in
//! the kernel's memory. The other nodes of a card (`pcmC0D0p`, `controlC0`) lie beside the codec and
//! not below it: they have the ids of the card's PCI function.
//!
//! With `H` for `HDAUDIO\FUNC_ff` (01 audio, 02 modem) and `C` for the controller above on PCI:
//!
//! ```text
//! hardware     H&VEN_v&DEV_d&SUBSYS_s&REV_r   H&VEN_v&DEV_d&SUBSYS_s
//! compatible   for each of  VEN_v&DEV_d&REV_r, VEN_v&DEV_d, VEN_v, nothing:
//!              H&CTLR_VEN_C&CTLR_DEV_C&...    H&CTLR_VEN_C&...    H&...
//! ```
//!
//! Source: Microsoft, "Identifiers for High Definition Audio (HDAUDIO) Devices", and the list of a
//! device in a log of Windows' installer.

use super::{Ids, pci};
use crate::device::DeviceRecord;

/// Whether this is a codec, or the node that stands for one.
pub(super) fn is_codec(device: &DeviceRecord) -> bool {
    let node = device.subsystem == "sound" && device.name().starts_with("hwC");
    (node || device.subsystem == "hdaudio") && device.attribute("vendor_id").is_some()
}

/// The ids of a codec.
pub(super) fn codec(codec: &DeviceRecord) -> Option<Ids> {
    let number = |name: &str| {
        let digits = codec.attribute(name)?.trim().strip_prefix("0x")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let both = number("vendor_id")?;
    let has = |name: &str| number(name).is_some_and(|node| node != 0);
    let function = if has("mfg") && !has("afg") { 2 } else { 1 };
    let stem = format!("HDAUDIO\\FUNC_{function:02X}");
    let vendor = format!("&VEN_{:04X}", both >> 16);
    let device = format!("{vendor}&DEV_{:04X}", both & 0xffff);
    let revision = number("revision_id").map(|all| format!("&REV_{:04X}", all >> 8 & 0xffff));

    let mut hardware = Vec::with_capacity(2);
    if let Some(subsystem) = number("subsystem_id") {
        let whole = format!("{stem}{device}&SUBSYS_{subsystem:08X}");
        hardware.extend(revision.iter().map(|revision| format!("{whole}{revision}")));
        hardware.push(whole);
    }
    let above = codec.ancestors().find(|above| above.subsystem == "pci");
    let controllers = match above.and_then(pci::numbers) {
        Some((maker, part)) => vec![
            format!("&CTLR_VEN_{maker:04X}&CTLR_DEV_{part:04X}"),
            format!("&CTLR_VEN_{maker:04X}"),
            String::new(),
        ],
        None => vec![String::new()],
    };
    let with_revision = revision.map(|revision| format!("{device}{revision}"));
    let rows = with_revision
        .into_iter()
        .chain([device, vendor, String::new()]);
    let compatible = rows
        .flat_map(|row| {
            let stem = &stem;
            let id = move |controller: &String| format!("{stem}{controller}{row}");
            controllers.iter().map(id).collect::<Vec<_>>()
        })
        .collect();
    Some(Ids {
        hardware,
        compatible,
    })
}
