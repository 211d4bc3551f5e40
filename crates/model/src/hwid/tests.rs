#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use super::*;
use crate::device::Properties;

mod buses;
mod hid;

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

/// The descriptors of a device, a configuration with so many interfaces, and the first of these,
/// with an association before it, as composite devices have.
fn descriptors(interfaces: u8, [class, subclass, protocol]: [u8; 3]) -> String {
    let device = [[18, 1].as_slice(), &[0; 16]].concat();
    let configuration = [9, 2, 0, 0, interfaces, 1, 0, 0x80, 50];
    let association = [8, 11, 0, interfaces, 0, 0, 0, 0];
    let interface = [9, 4, 0, 0, 2, class, subclass, protocol, 0];
    let all = [device.as_slice(), &configuration, &association, &interface].concat();
    digits(&all)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn gadget(interfaces: u8) -> DeviceRecord {
    device(
        "/devices/platform/dummy_hcd.0/usb3/3-1",
        "usb",
        "DEVTYPE=usb_device PRODUCT=547/1002/210 TYPE=239/2/1",
        &[("descriptors", &descriptors(interfaces, [2, 2, 1]))],
        Some(pci()),
    )
}

fn function(interfaces: u8) -> DeviceRecord {
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
        Some(function(3)),
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
    let ids = ids_of(&function(1));
    assert_eq!(
        ids.hardware,
        ["USB\\VID_0547&PID_1002&REV_0210", "USB\\VID_0547&PID_1002"]
    );
    assert_eq!(ids.compatible[0], "USB\\Class_EF&SubClass_02&Prot_01");
}

#[test]
fn a_usb_disk_has_storage_ids_and_not_those_of_the_usb_device() {
    let unit = lun(Some(function(3)), "QEMU    ", "QEMU HARDDISK   ", "2.5+");
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
fn names_that_users_chose_give_links_that_differ_without_case() {
    let named = |name: &str| {
        let device = DeviceRecord {
            devpath: format!("/devices/virtual/net/{name}"),
            subsystem: "net".to_owned(),
            ..DeviceRecord::default()
        };
        instance_path(&device, &ids_of(&device)).to_ascii_lowercase()
    };
    let names = ["lab0", "Lab0", "LAB0", "la b0", "La b0", "la_b0", "lab0&"];
    let paths: std::collections::BTreeSet<String> = names.map(named).into_iter().collect();
    assert_eq!(paths.len(), names.len(), "{paths:?}");
    assert!(named("lab0").ends_with("\\lab0"));
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
    let partition = device(
        "/devices/virtual/block/loop77/loop77p1",
        "block",
        "DEVTYPE=partition",
        &[],
        Some(disk),
    );
    assert_eq!(listed(&ids_of(&partition)), listed(&ids));
}

/// Hardware ids and, behind a line of their own, compatible ids, as one would write them down.
fn listed(ids: &Ids) -> String {
    let hardware = ids.hardware.iter().map(String::as_str);
    let compatible = ids.compatible.iter().map(String::as_str);
    hardware
        .chain(["--"])
        .chain(compatible)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_composite_device_and_its_functions_are_devices_of_their_own() {
    assert_eq!(
        listed(&ids_of(&gadget(3))),
        r"USB\VID_0547&PID_1002&REV_0210
USB\VID_0547&PID_1002
--
USB\DevClass_EF&SubClass_02&Prot_01
USB\DevClass_EF&SubClass_02
USB\DevClass_EF
USB\COMPOSITE"
    );
}

#[test]
fn a_device_without_a_class_has_that_of_its_first_interface() {
    let stick = device(
        "/devices/pci0000:00/0000:00:01.0/usb2/2-1",
        "usb",
        "DEVTYPE=usb_device PRODUCT=46f4/1/0 TYPE=0/0/0",
        &[("descriptors", &descriptors(1, [8, 6, 0x50]))],
        None,
    );
    assert_eq!(
        listed(&ids_of(&stick)),
        r"USB\VID_46F4&PID_0001&REV_0000
USB\VID_46F4&PID_0001
--
USB\Class_08&SubClass_06&Prot_50
USB\Class_08&SubClass_06
USB\Class_08"
    );
    let mut silent = stick;
    silent.attributes = [("descriptors", "1201ff")].into_iter().collect();
    assert_eq!(ids_of(&silent).compatible[2], "USB\\Class_00");
}

/// IDENTIFY DEVICE data as VPD page 89h holds them.
fn vpd_pg89(model: &str, firmware: &str) -> String {
    let swapped = |text: &str, width: usize| {
        let mut bytes = format!("{text: <width$}").into_bytes();
        bytes.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
        bytes
    };
    let mut page = vec![0; 60 + 46];
    page.extend(swapped(firmware, 8));
    page.extend(swapped(model, 40));
    digits(&page)
}

#[test]
fn an_ata_disk_has_the_long_name_that_its_identify_data_tell() {
    let port = device(
        "/devices/pci0000:00/0000:00:1f.2/ata1",
        "",
        "",
        &[],
        Some(pci()),
    );
    let mut disk = lun(Some(port), "ATA     ", "Samsung SSD 860 ", "4B6Q");
    assert_eq!(
        ids_of(&disk).hardware[0],
        r"IDE\DiskSamsung_SSD_860_________________________4B6Q____"
    );
    disk.attributes = disk
        .attributes
        .iter()
        .chain([(
            "vpd_pg89",
            vpd_pg89("Samsung SSD 860 EVO 500GB", "RVT04B6Q").as_str(),
        )])
        .collect();
    assert_eq!(
        listed(&ids_of(&disk)),
        r"IDE\DiskSamsung_SSD_860_EVO_500GB_______________RVT04B6Q
IDE\Samsung_SSD_860_EVO_500GB_______________RVT04B6Q
IDE\DiskSamsung_SSD_860_EVO_500GB_______________
Samsung_SSD_860_EVO_500GB_______________RVT04B6Q
--
GenDisk"
    );
}

#[test]
fn an_atapi_drive_has_its_vendor_before_its_model() {
    let path = "/devices/pci0000:00/0000:00:1f.2/ata1";
    let port = device(path, "", "", &[], Some(pci()));
    let drive = lun(Some(port), "HL-DT-ST", "DVD+-RW GH50N   ", "RQ00");
    assert_eq!(
        ids_of(&drive).hardware[0],
        r"IDE\DiskHL-DT-ST_DVD+-RW_GH50N__________________RQ00____"
    );
}

#[test]
fn an_nvme_namespace_has_the_ids_of_its_controller() {
    let controller = device(
        "/devices/pci0000:00/0000:01:00.0/nvme/nvme0",
        "nvme",
        "",
        &[("model", "QEMU NVMe Ctrl  "), ("firmware_rev", "8.0.2   ")],
        Some(pci()),
    );
    let disk = device(
        "/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1",
        "block",
        "DEVTYPE=disk",
        &[],
        Some(controller),
    );
    assert_eq!(
        listed(&ids_of(&disk)),
        r"SCSI\DiskNVMe____QEMU_NVMe_Ctrl__________________________8.0.2___
SCSI\DiskNVMe____QEMU_NVMe_Ctrl__________________________
SCSI\DiskNVMe____QEMU_NVMe_Ctrl__8.0.
SCSI\DiskNVMe____QEMU_NVMe_Ctrl__
SCSI\DiskNVMe____
SCSI\NVMe____QEMU_NVMe_Ctrl__8
NVMe____QEMU_NVMe_Ctrl__8
--
GenDisk"
    );
    assert!(ancestor_ids(&disk).contains(&"PCI\\VEN_8086&DEV_10D3".to_owned()));
}

#[test]
fn a_port_of_the_board_has_the_ids_of_the_firmware() {
    let pnp = device(
        "/devices/pnp0/00:03",
        "pnp",
        "",
        &[("id", "PNP0501\nPNP0b00")],
        None,
    );
    let port = device(
        "/devices/pnp0/00:03/00:03:0/00:03:0.0/tty/ttyS0",
        "tty",
        "",
        &[],
        Some(pnp),
    );
    assert_eq!(
        listed(&ids_of(&port)),
        r"ACPI\VEN_PNP&DEV_0501
ACPI\PNP0501
*PNP0501
--
ACPI\VEN_PNP&DEV_0B00
ACPI\PNP0B00
*PNP0B00"
    );
    let bridge = device(
        "/devices/LNXSYSTM:00/LNXSYBUS:00/PNP0A08:00",
        "acpi",
        "MODALIAS=acpi:PNP0A08:PNP0A03:",
        &[],
        None,
    );
    let ids = ids_of(&bridge);
    assert_eq!(ids.hardware.last().unwrap(), "*PNP0A08");
    assert_eq!(ids.compatible.last().unwrap(), "*PNP0A03");
}

#[test]
fn a_keyboard_of_the_board_has_the_ids_of_its_port() {
    let mut port = device("/devices/platform/i8042/serio0", "serio", "", &[], None);
    let said = "SERIO_FIRMWARE_ID=PNP: LEN0071 PNP0303\nMODALIAS=serio:ty06pr00id00ex00\n";
    port.properties = Properties::from_uevent_file(said);
    let node = device(
        "/devices/platform/i8042/serio0/input/input3/event3",
        "input",
        "",
        &[],
        Some(port),
    );
    assert_eq!(
        listed(&ids_of(&node)),
        r"ACPI\VEN_LEN&DEV_0071
ACPI\LEN0071
*LEN0071
--
ACPI\VEN_PNP&DEV_0303
ACPI\PNP0303
*PNP0303"
    );
}

#[test]
fn a_device_of_another_bus_may_be_one_of_the_firmware() {
    let touchpad = device(
        "/devices/pci0000:00/0000:00:15.0/i2c_designware.0/i2c-0/i2c-SYNA8004:00",
        "i2c",
        "MODALIAS=acpi:SYNA8004:PNP0C50:",
        &[],
        Some(pci()),
    );
    assert_eq!(
        listed(&ids_of(&touchpad)),
        r"ACPI\VEN_SYNA&DEV_8004
ACPI\SYNA8004
*SYNA8004
--
ACPI\VEN_PNP&DEV_0C50
ACPI\PNP0C50
*PNP0C50"
    );
    let button = device(
        "/devices/LNXSYSTM:00/LNXPWRBN:00",
        "acpi",
        "MODALIAS=acpi:LNXPWRBN:",
        &[],
        None,
    );
    assert_eq!(
        ids_of(&button).hardware,
        [
            "ACPI\\LNXPWRBN",
            "*LNXPWRBN",
            "ACPI\\FixedButton",
            "*FixedButton"
        ]
    );
}

#[test]
fn cards_and_functions_of_sd_are_told_apart() {
    let card = device(
        "/devices/x/mmc_host/mmc0/mmc0:aaaa",
        "mmc",
        "MMC_TYPE=SD MMC_NAME=SU08G",
        &[
            ("manfid", "0x000003"),
            ("oemid", "0x5344"),
            ("hwrev", "0x8"),
            ("fwrev", "0x0"),
        ],
        None,
    );
    let disk = device(
        "/devices/x/block/mmcblk0",
        "block",
        "DEVTYPE=disk",
        &[],
        Some(card),
    );
    assert_eq!(
        listed(&ids_of(&disk)),
        r"SD\VID_03&OID_5344&PID_SU08G&REV_8.0
SD\VID_03&OID_5344&PID_SU08G
--
SD\CLASS_STORAGE"
    );
    let function = |class: &str| {
        let uevent = format!("SDIO_CLASS={class} SDIO_ID=02D0:4324");
        listed(&ids_of(&device(
            "/devices/x/mmc1:0001:1",
            "sdio",
            &uevent,
            &[],
            None,
        )))
    };
    assert_eq!(function("00"), "SD\\VID_02D0&PID_4324\n--");
    assert_eq!(function("07"), "SD\\VID_02D0&PID_4324\n--\nSD\\CLASS_07");
}

#[test]
fn a_codec_tells_its_revision_without_the_stepping() {
    let codec = device(
        "/devices/pci0000:00/0000:00:1f.3/hdaudioC0D0",
        "hdaudio",
        "MODALIAS=hdaudio:v10EC0257r00100001a01",
        &[
            ("afg", "0x1"),
            ("mfg", "0x0"),
            ("vendor_id", "0x10ec0257"),
            ("subsystem_id", "0x17aa225d"),
            ("revision_id", "0x100001"),
        ],
        Some(pci()),
    );
    assert_eq!(
        listed(&ids_of(&codec)),
        r"HDAUDIO\FUNC_01&VEN_10EC&DEV_0257&SUBSYS_17AA225D&REV_1000
HDAUDIO\FUNC_01&VEN_10EC&DEV_0257&SUBSYS_17AA225D
--
HDAUDIO\FUNC_01&CTLR_VEN_8086&CTLR_DEV_10D3&VEN_10EC&DEV_0257&REV_1000
HDAUDIO\FUNC_01&CTLR_VEN_8086&VEN_10EC&DEV_0257&REV_1000
HDAUDIO\FUNC_01&VEN_10EC&DEV_0257&REV_1000
HDAUDIO\FUNC_01&CTLR_VEN_8086&CTLR_DEV_10D3&VEN_10EC&DEV_0257
HDAUDIO\FUNC_01&CTLR_VEN_8086&VEN_10EC&DEV_0257
HDAUDIO\FUNC_01&VEN_10EC&DEV_0257
HDAUDIO\FUNC_01&CTLR_VEN_8086&CTLR_DEV_10D3&VEN_10EC
HDAUDIO\FUNC_01&CTLR_VEN_8086&VEN_10EC
HDAUDIO\FUNC_01&VEN_10EC
HDAUDIO\FUNC_01&CTLR_VEN_8086&CTLR_DEV_10D3
HDAUDIO\FUNC_01&CTLR_VEN_8086
HDAUDIO\FUNC_01"
    );
    // The codec's node says the same; the others of the card are the controller's.
    let node = |name: &str, attributes: &Properties| {
        let card = device("/devices/x/sound/card0", "sound", "", &[], Some(pci()));
        let mut node = device(
            &format!("/devices/x/sound/card0/{name}"),
            "sound",
            "",
            &[],
            Some(card),
        );
        node.attributes = attributes.clone();
        ids_of(&node).hardware.swap_remove(0)
    };
    let own = node("hwC0D0", &codec.attributes);
    assert!(
        own.starts_with("HDAUDIO\\FUNC_01&VEN_10EC&DEV_0257"),
        "{own}"
    );
    let sound = node("pcmC0D0p", &Properties::default());
    assert!(sound.starts_with("PCI\\VEN_8086"), "{sound}");
}

#[test]
fn a_monitor_is_named_by_its_edid_and_a_free_connector_by_its_card() {
    let connector = |edid: &str| {
        device(
            "/devices/pci0000:00/0000:00:02.0/drm/card0/card0-DP-1",
            "drm",
            "DEVTYPE=drm_connector",
            &[("edid", edid)],
            Some(pci()),
        )
    };
    // GSM (goldstar) 5B08.
    let monitor = ids_of(&connector("00ffffffffffff001e6d085b01010101"));
    assert_eq!(listed(&monitor), "MONITOR\\GSM5B08\n--\n*PNP09FF");
    let free = ids_of(&connector(""));
    assert!(free.hardware[0].starts_with("PCI\\VEN_8086"), "{free:?}");
}

#[test]
fn a_device_of_the_device_tree_has_its_compatible_strings() {
    let uart = device(
        "/devices/platform/soc/fe201000.serial",
        "platform",
        "OF_NAME=serial OF_COMPATIBLE_0=arm,pl011 OF_COMPATIBLE_1=arm,primecell OF_COMPATIBLE_N=2",
        &[],
        None,
    );
    let port = device(
        "/devices/platform/soc/fe201000.serial/tty/ttyAMA0",
        "tty",
        "",
        &[],
        Some(uart),
    );
    assert_eq!(
        listed(&ids_of(&port)),
        "ARRIVAL\\OF_ARM_PL011\n--\nARRIVAL\\OF_ARM_PRIMECELL\nARRIVAL\\TTY"
    );
}
