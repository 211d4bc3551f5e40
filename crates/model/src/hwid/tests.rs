#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use super::*;
use crate::device::Properties;

fn device(
    devpath: &str,
    subsystem: &str,
    uevent: &str,
    attributes: &[(&str, &str)],
    parent: Option<DeviceRecord>,
) -> DeviceRecord {
    let properties = Properties::from_uevent_file(&uevent.replace(' ', "\n"));
    DeviceRecord {
        devpath: devpath.to_owned(),
        subsystem: subsystem.to_owned(),
        devtype: properties.get("DEVTYPE").map(str::to_owned),
        driver: properties.get("DRIVER").map(str::to_owned),
        properties,
        attributes: attributes.iter().copied().collect(),
        parent: parent.map(Arc::new),
        ..DeviceRecord::default()
    }
}

fn pci() -> DeviceRecord {
    device(
        "/devices/pci0000:00/0000:01:00.0",
        "pci",
        "PCI_CLASS=20000 PCI_ID=8086:10D3 PCI_SUBSYS_ID=8086:0000",
        &[("revision", "0x00")],
        None,
    )
}

fn gadget(interfaces: &str) -> DeviceRecord {
    device(
        "/devices/platform/dummy_hcd.0/usb3/3-1",
        "usb",
        "DEVTYPE=usb_device PRODUCT=547/1002/210 TYPE=239/2/1",
        &[("bNumInterfaces", interfaces)],
        Some(pci()),
    )
}

fn function(interfaces: &str) -> DeviceRecord {
    device(
        "/devices/platform/dummy_hcd.0/usb3/3-1/3-1:1.2",
        "usb",
        "DEVTYPE=usb_interface DRIVER=usb-storage PRODUCT=547/1002/210 TYPE=239/2/1 \
         INTERFACE=8/6/80 MODALIAS=usb:v0547p1002d0210dcEFdsc02dp01ic08isc06ip50in02",
        &[],
        Some(gadget(interfaces)),
    )
}

fn lun(parent: Option<DeviceRecord>, vendor: &str, model: &str, rev: &str) -> DeviceRecord {
    device(
        "/devices/x/1:0:0:0",
        "scsi",
        "DEVTYPE=scsi_device",
        &[
            ("type", "0"),
            ("vendor", vendor),
            ("model", model),
            ("rev", rev),
        ],
        parent,
    )
}

#[test]
fn a_network_card_has_the_ids_of_its_pci_function() {
    let nic = device(
        "/devices/pci0000:00/0000:01:00.0/net/eth0",
        "net",
        "",
        &[],
        Some(pci()),
    );
    let ids = ids_of(&nic);
    assert_eq!(
        ids.hardware,
        [
            "PCI\\VEN_8086&DEV_10D3&SUBSYS_00008086&REV_00",
            "PCI\\VEN_8086&DEV_10D3&SUBSYS_00008086",
            "PCI\\VEN_8086&DEV_10D3&CC_020000",
            "PCI\\VEN_8086&DEV_10D3&CC_0200",
        ]
    );
    assert_eq!(
        ids.compatible,
        [
            "PCI\\VEN_8086&DEV_10D3&REV_00",
            "PCI\\VEN_8086&DEV_10D3",
            "PCI\\VEN_8086&CC_020000",
            "PCI\\VEN_8086&CC_0200",
            "PCI\\VEN_8086",
            "PCI\\CC_020000",
            "PCI\\CC_0200",
        ]
    );
    assert_eq!(
        instance_path(&nic, &ids),
        "PCI\\VEN_8086&DEV_10D3&SUBSYS_00008086&REV_00\\0000_01_00.0&eth0"
    );
    assert_eq!(ancestor_ids(&nic), Vec::<String>::new());
}

#[test]
fn a_port_of_a_composite_device_has_the_ids_of_its_function() {
    let port = device(
        "/devices/x/3-1:1.2/tty/ttyACM0",
        "tty",
        "",
        &[],
        Some(function(" 3")),
    );
    let ids = ids_of(&port);
    assert_eq!(
        ids.hardware,
        [
            "USB\\VID_0547&PID_1002&REV_0210&MI_02",
            "USB\\VID_0547&PID_1002&MI_02",
        ]
    );
    assert_eq!(ids.compatible[0], "USB\\Class_08&SubClass_06&Prot_50");
    let above = ancestor_ids(&port);
    assert_eq!(above[0], "USB\\VID_0547&PID_1002&REV_0210");
    assert!(above.contains(&"USB\\COMPOSITE".to_owned()));
    assert!(above.contains(&"PCI\\VEN_8086&DEV_10D3".to_owned()));
}

#[test]
fn the_only_function_of_a_device_has_the_ids_of_the_device() {
    let ids = ids_of(&function(" 1"));
    assert_eq!(
        ids.hardware,
        ["USB\\VID_0547&PID_1002&REV_0210", "USB\\VID_0547&PID_1002"]
    );
    assert_eq!(ids.compatible[0], "USB\\Class_EF&SubClass_02&Prot_01");
}

#[test]
fn a_usb_disk_has_storage_ids_and_not_those_of_the_usb_device() {
    let unit = lun(Some(function(" 3")), "QEMU    ", "QEMU HARDDISK   ", "2.5+");
    let disk = device(
        "/devices/x/1:0:0:0/block/sda",
        "block",
        "DEVTYPE=disk",
        &[],
        Some(unit),
    );
    let ids = ids_of(&disk);
    assert_eq!(
        ids.hardware,
        [
            "USBSTOR\\DiskQEMU____QEMU_HARDDISK___2.5+",
            "USBSTOR\\DiskQEMU____QEMU_HARDDISK___",
            "USBSTOR\\DiskQEMU____",
            "USBSTOR\\QEMU____QEMU_HARDDISK___2",
            "QEMU____QEMU_HARDDISK___2",
            "USBSTOR\\GenDisk",
            "GenDisk",
        ]
    );
    assert_eq!(ids.compatible, ["USBSTOR\\Disk", "USBSTOR\\RAW"]);
    assert!(ancestor_ids(&disk).contains(&"USB\\VID_0547&PID_1002&MI_02".to_owned()));
}

#[test]
fn a_scsi_disk_keeps_its_generic_id_among_the_compatible_ones() {
    let ids = ids_of(&lun(None, "SCMTEST", "DISK_MODEL", "1.23"));
    assert_eq!(ids.hardware[0], "SCSI\\DiskSCMTEST_DISK_MODEL______1.23");
    assert_eq!(ids.compatible, ["GenDisk"]);
}

#[test]
fn strings_of_a_hostile_device_cannot_divide_an_id_or_a_link() {
    let ids = ids_of(&lun(None, "a\\b,c\nd", "\u{e9}$(x)/..", "{#}"));
    for id in ids.all() {
        let backslashes = id.matches('\\').count();
        assert!(backslashes <= 1, "{id}");
        assert!(id.chars().all(|c| c.is_ascii_graphic() && c != ','), "{id}");
    }
    let odd = device("/devices/virtual/net/a#{b}", "net", "", &[], None);
    let other = device("/devices/virtual/net/a##b#", "net", "", &[], None);
    let path = instance_path(&odd, &ids_of(&odd));
    assert!(!path.contains(['#', '{', '}']), "{path}");
    assert_ne!(path, instance_path(&other, &ids_of(&other)));
}

#[test]
fn software_devices_have_ids_of_our_own_enumerator() {
    let net = |uevent: &str, attributes: &[(&str, &str)], driver: Option<&str>| {
        let mut made = device("/devices/virtual/net/x0", "net", uevent, attributes, None);
        made.driver = driver.map(str::to_owned);
        ids_of(&made).all().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        net("", &[("tun_flags", "0x1802")], None),
        ["ARRIVAL\\NET_TAP", "ARRIVAL\\NET_TUN", "ARRIVAL\\NET"]
    );
    assert_eq!(
        net("", &[("tun_flags", "0x1001")], None),
        ["ARRIVAL\\NET_TUN", "ARRIVAL\\NET"]
    );
    assert_eq!(
        net("DEVTYPE=bridge", &[], None),
        ["ARRIVAL\\NET_BRIDGE", "ARRIVAL\\NET"]
    );
    assert_eq!(
        net("", &[], Some("veth")),
        ["ARRIVAL\\NET_VETH", "ARRIVAL\\NET"]
    );
    assert_eq!(net("", &[], None), ["ARRIVAL\\NET"]);
    let disk = device(
        "/devices/virtual/block/loop77",
        "block",
        "DEVTYPE=disk",
        &[],
        None,
    );
    let ids = ids_of(&disk);
    assert_eq!(ids.hardware, ["ARRIVAL\\BLOCK_LOOP"]);
    assert_eq!(instance_path(&disk, &ids), "ARRIVAL\\BLOCK_LOOP\\loop77");
}
