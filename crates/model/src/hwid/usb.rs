//! USB devices and their interfaces (functions).
//!
//! | part | from |
//! |---|---|
//! | `VID_`, `PID_`, `REV_` | `PRODUCT=46f4/1/0`: vendor/product/version, hexadecimal without leading zeros |
//! | `MI_` | the number of the function: of the interface (`MODALIAS=usb:...in00` ends with it), or of the first one of the association that it is of (`iad_bFirstInterface`) |
//! | class of a device | `TYPE=239/2/1`: class/subclass/protocol, decimal; where the class is 0, that of interface 0 |
//! | class of a function | `INTERFACE=8/6/80`, decimal; of an association `iad_bFunctionClass`, `iad_bFunctionSubClass`, `iad_bFunctionProtocol`, hexadecimal |
//! | printer | `ieee1284_id` of the interface (see `printer`) |
//! | number of interfaces, class of interface 0 | the raw `descriptors` (the kernel keeps them; `bNumInterfaces` would wait for the device) |
//!
//! | device | hardware ids | compatible ids |
//! |---|---|---|
//! | one function | `USB\VID_v&PID_p&REV_r`, `USB\VID_v&PID_p` | `USB\Class_c&SubClass_s&Prot_p`, `USB\Class_c&SubClass_s`, `USB\Class_c` |
//! | composite | the same | `USB\DevClass_...` in the same three forms, `USB\COMPOSITE` |
//! | function of a composite device | the same with `&MI_z` at the end | as of one function |
//!
//! A device with several interfaces and class 00, or class EF/02/01, is composite: each of its
//! functions is a device of its own in Windows. A function is an interface, or all the interfaces that an
//! association joins: the data interface of a modem is no device. Source: Microsoft, "Standard USB
//! Identifiers", "USB Interface Association Descriptor".

use super::{Ids, hex, printer};
use crate::device::DeviceRecord;

type Triple = (u8, u8, u8);

/// `bDescriptorType` of an interface. Source: USB 2.0, table 9-5.
const INTERFACE: u8 = 4;
/// Class and subclass of floppy drives, UFI. Source: USB Mass Storage Overview 1.4, 2.
const FLOPPY: (u8, u8) = (8, 4);
/// The length of a device's descriptor, behind which that of a configuration begins.
const DEVICE_LENGTH: usize = 18;

/// The ids of a whole device.
pub(super) fn device(device: &DeviceRecord) -> Option<Ids> {
    let class = triple(device.property("TYPE"))?;
    let mut compatible = Vec::new();
    if is_composite(device) {
        compatible.extend(class_ids(class, "DevClass"));
        compatible.push("USB\\COMPOSITE".to_owned());
    } else {
        let class = match class {
            (0, _, _) => Descriptors::of(device).first_interface().unwrap_or(class),
            own => own,
        };
        compatible.extend(class_ids(class, "Class"));
    }
    Some(Ids {
        hardware: product_ids(device, "")?,
        compatible,
    })
}

/// The ids of an interface: of a composite device its function's, else those of the device.
pub(super) fn interface(interface: &DeviceRecord) -> Option<Ids> {
    let own = triple(interface.property("INTERFACE"))?;
    let suffix = function(interface);
    let class = match triple(interface.property("TYPE")) {
        Some(device) if suffix.is_none() && device.0 != 0 => device,
        _ if suffix.is_some() => association(interface).map_or(own, |(_, class)| class),
        _ => own,
    };
    let mut hardware: Vec<String> = product_ids(interface, &suffix.unwrap_or_default())?;
    if let Some(text) = interface.attribute("ieee1284_id") {
        hardware.extend(printer::ids(text));
    }
    Some(Ids {
        hardware,
        compatible: class_ids(class, "Class").into(),
    })
}

/// `&MI_02` of an interface of a composite device.
pub(super) fn function(interface: &DeviceRecord) -> Option<String> {
    let number = interface_number(interface)?;
    let parent = interface
        .ancestors()
        .find(|above| above.is("usb", "usb_device"));
    let composite = parent.map_or(number > 0, is_composite);
    let number = association(interface).map_or(number, |(first, _)| first);
    composite.then(|| format!("&MI_{number:02X}"))
}

/// The first interface of the association that an interface is of, and the association's class.
fn association(interface: &DeviceRecord) -> Option<(u8, Triple)> {
    let byte = |name: &str| u8::from_str_radix(interface.attribute(name)?.trim(), 16).ok();
    let class = (
        byte("iad_bFunctionClass")?,
        byte("iad_bFunctionSubClass")?,
        byte("iad_bFunctionProtocol")?,
    );
    Some((byte("iad_bFirstInterface")?, class))
}

/// Whether an interface is that of a floppy drive.
pub(super) fn is_floppy(interface: &DeviceRecord) -> bool {
    let class = triple(interface.property("INTERFACE"));
    class.is_some_and(|(class, subclass, _)| (class, subclass) == FLOPPY)
}

/// The version of a device or of the device of an interface, `bcdDevice`.
pub(super) fn revision(device: &DeviceRecord) -> Option<u16> {
    let field = device.property("PRODUCT")?.split('/').nth(2)?;
    u16::from_str_radix(field, 16).ok()
}

fn is_composite(device: &DeviceRecord) -> bool {
    let interfaces = Descriptors::of(device).interfaces();
    let class = triple(device.property("TYPE"));
    interfaces > 1 && matches!(class, Some((0, _, _) | (0xef, 2, 1)))
}

/// What the device said of its first configuration: its own descriptor, the configuration's, and
/// what belongs to that.
struct Descriptors(Vec<u8>);

impl Descriptors {
    fn of(device: &DeviceRecord) -> Self {
        Descriptors(device.attribute("descriptors").map(hex).unwrap_or_default())
    }

    /// `bNumInterfaces`; 1 if it is not known.
    fn interfaces(&self) -> u8 {
        self.0.get(DEVICE_LENGTH + 4).copied().unwrap_or(1)
    }

    /// Class, subclass and protocol of the first interface.
    fn first_interface(&self) -> Option<Triple> {
        let mut rest = self.0.get(DEVICE_LENGTH..)?;
        loop {
            let (length, kind) = (usize::from(*rest.first()?), *rest.get(1)?);
            if kind == INTERFACE {
                return Some((*rest.get(5)?, *rest.get(6)?, *rest.get(7)?));
            }
            // A length of 0 would never end.
            rest = rest.get(length.max(2)..)?;
        }
    }
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
