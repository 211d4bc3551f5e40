//! Monitors, behind a connector that has one.
//!
//! | part | from `edid` |
//! |---|---|
//! | maker, three letters | bytes 8 and 9, big endian: five bits each, 1 is A |
//! | product, four digits | bytes 10 and 11, little endian |
//!
//! The hardware id is `MONITOR\GSM5B08`, the compatible id that of any plug-and-play monitor, `*PNP09FF`.
//! Source: VESA E-EDID 1.4, 3.4; Microsoft, "Monitor INF files".

use super::{Ids, hex};
use crate::device::DeviceRecord;

/// The first eight bytes of every EDID.
const HEADER: [u8; 8] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];

/// The ids of the monitor at a connector; nothing if none is there.
pub(super) fn at_connector(device: &DeviceRecord) -> Option<Ids> {
    let edid = hex(device.attribute("edid")?);
    let rest = edid.strip_prefix(HEADER.as_slice())?;
    let [maker @ .., product_low, product_high] = rest.first_chunk::<4>()?;
    let maker = u16::from_be_bytes(*maker);
    let letters: Option<String> = [10, 5, 0]
        .map(|shift| match u8::try_from(maker >> shift & 0x1f) {
            Ok(letter @ 1..=26) => Some(char::from(b'@' + letter)),
            Ok(_) | Err(_) => None,
        })
        .into_iter()
        .collect();
    let product = u16::from_le_bytes([*product_low, *product_high]);
    Some(Ids {
        hardware: vec![format!("MONITOR\\{}{product:04X}", letters?)],
        compatible: vec!["*PNP09FF".to_owned()],
    })
}
