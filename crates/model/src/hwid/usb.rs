//! USB devices and their interfaces (functions).
//!
//! ```text
//! PRODUCT=46f4/1/0     vendor/product/version, hexadecimal without leading zeros
//! TYPE=239/2/1         class/subclass/protocol of the device, decimal
//! INTERFACE=8/6/80     the same of an interface
//! MODALIAS=usb:...in00 ends with the number of the interface
//! ```
//!
//! A device with several interfaces and class 00, or class EF/02/01, is composite: each of its
//! interfaces is a device of its own in Windows, with `&MI_` in its ids.

use super::Ids;
use crate::device::DeviceRecord;

type Triple = (u8, u8, u8);

/// The ids of a whole device.
pub(super) fn device(device: &DeviceRecord) -> Option<Ids> {
    let class = triple(device.property("TYPE"))?;
    let mut compatible = Vec::new();
    if is_composite(device) {
        compatible.extend(class_ids(class, "DevClass"));
        compatible.push("USB\\COMPOSITE".to_owned());
    } else {
        compatible.extend(class_ids(class, "Class"));
    }
    Some(Ids {
        hardware: product_ids(device, "")?,
        compatible,
    })
}

/// The ids of an interface: of a composite device its own, else those of the device.
pub(super) fn interface(interface: &DeviceRecord) -> Option<Ids> {
    let number = interface_number(interface);
    let parent = interface
        .ancestors()
        .find(|above| above.is("usb", "usb_device"));
    let composite = parent.map_or(number > Some(0), is_composite);
    let own = triple(interface.property("INTERFACE"))?;
    let class = match triple(interface.property("TYPE")) {
        Some(device) if !composite && device.0 != 0 => device,
        _ => own,
    };
    let suffix = match number {
        Some(number) if composite => format!("&MI_{number:02X}"),
        _ => String::new(),
    };
    Some(Ids {
        hardware: product_ids(interface, &suffix)?,
        compatible: class_ids(class, "Class").into(),
    })
}

fn is_composite(device: &DeviceRecord) -> bool {
    let interfaces: u32 = device
        .attribute("bNumInterfaces")
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(1);
    let class = triple(device.property("TYPE"));
    interfaces > 1 && matches!(class, Some((0, _, _) | (0xef, 2, 1)))
}

fn interface_number(interface: &DeviceRecord) -> Option<u8> {
    let (_, digits) = interface.property("MODALIAS")?.rsplit_once("in")?;
    u8::from_str_radix(digits, 16).ok()
}

fn product_ids(device: &DeviceRecord, suffix: &str) -> Option<Vec<String>> {
    let mut fields = device.property("PRODUCT")?.split('/');
    let mut field = || u16::from_str_radix(fields.next()?, 16).ok();
    let (vendor, product, revision) = (field()?, field()?, field()?);
    Some(vec![
        format!("USB\\VID_{vendor:04X}&PID_{product:04X}&REV_{revision:04X}{suffix}"),
        format!("USB\\VID_{vendor:04X}&PID_{product:04X}{suffix}"),
    ])
}

fn class_ids((class, subclass, protocol): Triple, word: &str) -> [String; 3] {
    [
        format!("USB\\{word}_{class:02X}&SubClass_{subclass:02X}&Prot_{protocol:02X}"),
        format!("USB\\{word}_{class:02X}&SubClass_{subclass:02X}"),
        format!("USB\\{word}_{class:02X}"),
    ]
}

fn triple(text: Option<&str>) -> Option<Triple> {
    let mut fields = text?.split('/');
    let mut field = || fields.next()?.parse().ok();
    Some((field()?, field()?, field()?))
}
