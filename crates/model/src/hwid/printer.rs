//! Printers on USB, by what they say of themselves in IEEE 1284's form.
//!
//! ```text
//! ieee1284_id   MFG:Hewlett-Packard;MDL:HP LaserJet 1020;CMD:...   a file of the USB interface
//! ```
//!
//! It is there while the `usblp` driver is bound, and in its memory. Windows registers the printer's
//! interface (`GUID_DEVINTERFACE_USBPRINT`) on the USB function and puts a printer device below it.
//! Linux has one node for both, so it has the ids of the function and then those of the printer:
//! `USBPRINT\` and `MFG` with `MDL`, and the same without `USBPRINT\`; blanks and what else an id
//! cannot hold become `_`.
//!
//! Windows also has an id with the first 20 of these characters and a checksum of four digits. How
//! that is computed is published nowhere, so it is missing: write the whole name.
//!
//! Source: Microsoft, "Hardware IDs of Printers"; linux/drivers/usb/class/usblp.c.

use super::id_part;

/// The longest name of a printer; longer ones are cut.
const MAX_NAME: usize = 120;

/// The ids of the printer that an IEEE 1284 text speaks of.
pub(super) fn ids(text: &str) -> Vec<String> {
    let value = |keys: [&str; 2]| {
        text.split(';')
            .filter_map(|field| field.split_once(':'))
            .find(|(key, _)| {
                let key = key.trim();
                keys.iter().any(|known| known.eq_ignore_ascii_case(key))
            })
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    };
    let maker = value(["MFG", "MANUFACTURER"]);
    let (Some(maker), Some(model)) = (maker, value(["MDL", "MODEL"])) else {
        return Vec::new();
    };
    let name: String = maker.chars().chain(model.chars()).take(MAX_NAME).collect();
    let name = id_part(&name);
    vec![format!("USBPRINT\\{name}"), name]
}
