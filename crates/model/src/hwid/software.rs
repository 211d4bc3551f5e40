//! Ids of devices that are on no bus Windows knows: our own enumerator, `ARRIVAL`.
//!
//! Windows gives such devices ids of the kind `ROOT\COMPANY\DEVICE`; ours cannot be mistaken for
//! one of those.
//!
//! | device | hardware id | compatible ids |
//! |---|---|---|
//! | TAP interface | `ARRIVAL\NET_TAP` | `ARRIVAL\NET_TUN`, `ARRIVAL\NET` |
//! | TUN interface | `ARRIVAL\NET_TUN` | `ARRIVAL\NET` |
//! | bridge, vlan, vxlan, bond, wireguard ... | `ARRIVAL\NET_` + kind, such as `ARRIVAL\NET_BRIDGE` | `ARRIVAL\NET` |
//! | veth, ifb, dummy ... (no kind, a driver) | `ARRIVAL\NET_` + driver, such as `ARRIVAL\NET_VETH` | `ARRIVAL\NET` |
//! | loop, zram, ram, dm, md ..., and their partitions | `ARRIVAL\BLOCK_` + the disk's name before its number, such as `ARRIVAL\BLOCK_LOOP` | `ARRIVAL\BLOCK` |
//! | a `virtio` device that is no PCI function, and what hangs below it | `ARRIVAL\VIRTIO_` + its type, such as `ARRIVAL\VIRTIO_0002` of a disk | `ARRIVAL\VIRTIO`, `ARRIVAL\` + subsystem |
//! | what hangs below a link of Bluetooth (an `rfcomm` port) | `ARRIVAL\BLUETOOTH_LINK` | `ARRIVAL\` + subsystem |
//! | a device that the device tree describes, or the nearest one above | `ARRIVAL\OF_` + `OF_COMPATIBLE_0`, such as `ARRIVAL\OF_ARM_PL011` | the same of the other compatible strings, `ARRIVAL\` + subsystem |
//! | a platform device that the kernel itself made, or the nearest one above | `ARRIVAL\PLATFORM_` + its name, such as `ARRIVAL\PLATFORM_SERIAL8250` (`MODALIAS=platform:serial8250`) | `ARRIVAL\` + subsystem |
//! | any other | `ARRIVAL\` + subsystem + `_` + kind or driver | `ARRIVAL\` + subsystem |
//!
//! A wireless or mobile interface (`wlan`, `wwan`) is a kind too, where it is on no known bus.

use super::{Ids, MAX_ID, id_part, is_below_pci};
use crate::device::DeviceRecord;

/// `IFF_TAP` in the `tun_flags` attribute: frames instead of packets.
const IFF_TAP: u32 = 2;

/// How many compatible strings become ids.
const MAX_COMPATIBLE: usize = 16;

/// How much of a subsystem's name is taken; the kernel's are shorter.
const MAX_SUBSYSTEM: usize = 64;

/// The ids of a device that has no bus device above it.
pub(super) fn ids(device: &DeviceRecord) -> Ids {
    let subsystem = match device.subsystem.as_str() {
        "" => "DEVICE".to_owned(),
        other => {
            let name: String = other.chars().take(MAX_SUBSYSTEM).collect();
            id_part(&name).to_ascii_uppercase()
        }
    };
    let general = format!("ARRIVAL\\{subsystem}");
    let special = |kind: &str| format!("{general}_{}", id_part(kind).to_ascii_uppercase());
    let mut all = Vec::new();
    if let Some(tap) = tun_is_tap(device) {
        if tap {
            all.push(special("tap"));
        }
        all.push(special("tun"));
    } else if let Some(kind) = virtio_type(device) {
        all.push(format!("ARRIVAL\\VIRTIO_{kind:04X}"));
        all.push("ARRIVAL\\VIRTIO".to_owned());
    } else if device.ancestors().any(is_link) {
        all.push("ARRIVAL\\BLUETOOTH_LINK".to_owned());
    } else if device.subsystem == "block" {
        let disk = match device.devtype.as_deref() {
            Some("partition") => device.parent.as_deref().unwrap_or(device),
            _ => device,
        };
        let kind = disk.name().trim_end_matches(|c: char| c.is_ascii_digit());
        if !kind.is_empty() {
            all.push(special(kind.trim_end_matches('-')));
        }
    } else if let Some(described) = described(device) {
        all.extend(compatible_strings(described));
    } else if let Some(name) = platform_name(device) {
        all.push(format!(
            "ARRIVAL\\PLATFORM_{}",
            id_part(name).to_ascii_uppercase()
        ));
    } else if let Some(kind) = device.devtype.as_deref().or(device.driver.as_deref()) {
        all.push(special(kind));
    }
    all.retain(|id| id.len() < MAX_ID);
    if !all.contains(&general) {
        all.push(general);
    }
    let compatible = all.split_off(1);
    Ids {
        hardware: all,
        compatible,
    }
}

/// A link of Bluetooth to another device, of which the kernel knows no more than the address.
pub(super) fn is_link(device: &DeviceRecord) -> bool {
    device.is("bluetooth", "link")
}

/// The type of the virtio device that this is or hangs below: 1 a network card, 2 a disk.
fn virtio_type(device: &DeviceRecord) -> Option<u32> {
    let found = std::iter::once(device)
        .chain(device.ancestors())
        .find(|above| is_virtio(above))?;
    let rest = found.property("MODALIAS")?.strip_prefix("virtio:d")?;
    u32::from_str_radix(rest.get(..8)?, 16).ok()
}

/// Whether it is a virtio device that is not a PCI function's.
pub(super) fn is_virtio(device: &DeviceRecord) -> bool {
    device.subsystem == "virtio" && !is_below_pci(device)
}

/// The name of the nearest platform device that has no better one.
fn platform_name(device: &DeviceRecord) -> Option<&str> {
    std::iter::once(device)
        .chain(device.ancestors())
        .filter(|above| above.subsystem == "platform")
        .find_map(|above| above.property("MODALIAS")?.strip_prefix("platform:"))
}

/// The nearest device of the device tree.
fn described(device: &DeviceRecord) -> Option<&DeviceRecord> {
    std::iter::once(device)
        .chain(device.ancestors())
        .find(|above| above.property("OF_COMPATIBLE_0").is_some())
}

/// What the device tree says that it is compatible with, most specific first.
fn compatible_strings(device: &DeviceRecord) -> impl Iterator<Item = String> {
    (0..MAX_COMPATIBLE)
        .map_while(|number| device.property(&format!("OF_COMPATIBLE_{number}")))
        .map(|text| format!("ARRIVAL\\OF_{}", id_part(text).to_ascii_uppercase()))
}

/// Whether a TUN/TAP interface is a TAP; nothing if it is neither.
fn tun_is_tap(device: &DeviceRecord) -> Option<bool> {
    if device.subsystem != "net" {
        return None;
    }
    let digits = device.attribute("tun_flags")?.strip_prefix("0x")?;
    let flags = u32::from_str_radix(digits, 16).ok()?;
    Some(flags & IFF_TAP != 0)
}
