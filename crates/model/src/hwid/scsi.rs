//! SCSI devices, and USB mass storage that the kernel shows as such.
//!
//! The texts come from the device's INQUIRY answer: vendor of 8 characters, product of 16,
//! revision of 4. Below the `usb-storage` driver the enumerator is `USBSTOR`, below `uas` and
//! anything else it is `SCSI`.

use super::{Ids, id_part};
use crate::device::DeviceRecord;

/// Peripheral type: word in ids, generic id of SCSI, generic id of USBSTOR.
const TYPES: [(u8, &str, &str, &str); 15] = [
    (0, "Disk", "GenDisk", "GenDisk"),
    (1, "Sequential", "", "GenSequential"),
    (2, "Printer", "GenPrinter", "UsbstorOther"),
    (3, "Processor", "", "UsbstorOther"),
    (4, "Worm", "GenWorm", "GenWorm"),
    (5, "CdRom", "GenCdRom", "GenCdRom"),
    (6, "Scanner", "GenScanner", "UsbstorOther"),
    (7, "Optical", "GenOptical", "GenOptical"),
    (8, "Changer", "ScsiChanger", "GenChanger"),
    (9, "Net", "ScsiNet", "UsbstorOther"),
    (12, "Array", "ScsiArray", "UsbstorOther"),
    (13, "Enclosure", "ScsiEnclosure", "UsbstorOther"),
    (14, "RBC", "ScsiRBC", "UsbstorOther"),
    (15, "CardReader", "ScsiCardReader", "UsbstorOther"),
    (16, "Bridge", "ScsiBridge", "UsbstorOther"),
];

/// The ids of a logical unit.
pub(super) fn device(device: &DeviceRecord) -> Option<Ids> {
    let number: u8 = device.attribute("type")?.trim().parse().ok()?;
    let vendor = padded(device.attribute("vendor")?, 8);
    let product = padded(device.attribute("model")?, 16);
    let revision = padded(device.attribute("rev")?, 4);
    let first_of_revision = padded(device.attribute("rev")?, 1);
    let usb = device
        .ancestors()
        .find(|above| above.is("usb", "usb_interface"))
        .is_some_and(|interface| interface.driver.as_deref() == Some("usb-storage"));
    let known = TYPES.iter().find(|(value, ..)| *value == number);
    let (word, generic) = match known {
        Some((_, word, _, generic)) if usb => (*word, *generic),
        Some((_, word, generic, _)) => (*word, *generic),
        None if usb => ("Other", "UsbstorOther"),
        None => ("Other", "ScsiOther"),
    };
    let bus = if usb { "USBSTOR" } else { "SCSI" };

    let mut hardware = vec![
        format!("{bus}\\{word}{vendor}{product}{revision}"),
        format!("{bus}\\{word}{vendor}{product}"),
        format!("{bus}\\{word}{vendor}"),
        format!("{bus}\\{vendor}{product}{first_of_revision}"),
        format!("{vendor}{product}{first_of_revision}"),
    ];
    let mut compatible = Vec::new();
    if usb {
        hardware.push(format!("USBSTOR\\{generic}"));
        hardware.push(generic.to_owned());
        compatible.push(format!("USBSTOR\\{word}"));
        compatible.push("USBSTOR\\RAW".to_owned());
    } else if !generic.is_empty() {
        compatible.push(generic.to_owned());
    }
    Some(Ids {
        hardware,
        compatible,
    })
}

/// Exactly so many characters, `_` where the device gave fewer or what an id cannot hold.
fn padded(text: &str, width: usize) -> String {
    let kept: String = text.chars().take(width).collect();
    format!("{:_<width$}", id_part(&kept))
}
