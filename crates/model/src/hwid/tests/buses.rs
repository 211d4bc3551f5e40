//! Rules that need more than one device, or a device's own words.

use super::*;

/// A device with only what its ids are made of.
fn plain(
    devpath: &str,
    subsystem: &str,
    uevent: &str,
    parent: Option<DeviceRecord>,
) -> DeviceRecord {
    device(devpath, subsystem, uevent, &[], parent)
}

#[test]
fn ports_of_pci_express_say_which_kind_they_are() {
    let bridge = |path: &str, parent| {
        let uevent = "DRIVER=pcieport PCI_CLASS=60400 PCI_ID=1B36:000C PCI_SUBSYS_ID=1B36:0000";
        plain(path, "pci", uevent, parent)
    };
    let root = bridge("/devices/pci0000:00/0000:00:02.0", None);
    assert_eq!(
        listed(&ids_of(&root)),
        r"PCI\VEN_1B36&DEV_000C&SUBSYS_00001B36
PCI\VEN_1B36&DEV_000C&CC_060400
PCI\VEN_1B36&DEV_000C&CC_0604
--
PCI\VEN_1B36&DEV_000C
PCI\VEN_1B36&CC_060400
PCI\VEN_1B36&CC_0604
PCI\VEN_1B36
PCI\CC_060400&DT_4
PCI\CC_060400
PCI\CC_0604&DT_4
PCI\CC_0604"
    );
    let upper = bridge("/devices/pci0000:00/0000:00:02.0/0000:01:00.0", Some(root));
    assert!(
        ids_of(&upper)
            .compatible
            .contains(&"PCI\\CC_0604&DT_5".to_owned())
    );
    let lower = bridge("/devices/x/0000:02:01.0", Some(upper));
    assert!(
        ids_of(&lower)
            .compatible
            .contains(&"PCI\\CC_0604&DT_6".to_owned())
    );
    // A bridge of another driver is no port, and what is below it cannot be told.
    let old = plain(
        "/devices/x/0000:03:00.0",
        "pci",
        "PCI_CLASS=60400 PCI_ID=8086:2448",
        Some(lower),
    );
    let below = bridge("/devices/x/0000:04:00.0", Some(old.clone()));
    for one in [old, below] {
        assert!(ids_of(&one).all().all(|id| !id.contains("&DT_")), "{one:?}");
    }
}

#[test]
fn the_interfaces_of_an_association_are_one_function() {
    let data = device(
        "/devices/platform/dummy_hcd.0/usb3/3-1/3-1:1.1",
        "usb",
        "DEVTYPE=usb_interface PRODUCT=547/1002/210 TYPE=239/2/1 INTERFACE=10/0/0 \
         MODALIAS=usb:v0547p1002d0210dcEFdsc02dp01ic0Aisc00ip00in01",
        &[
            ("iad_bFirstInterface", "00"),
            ("iad_bInterfaceCount", "02"),
            ("iad_bFunctionClass", "02"),
            ("iad_bFunctionSubClass", "02"),
            ("iad_bFunctionProtocol", "01"),
        ],
        Some(gadget(3)),
    );
    assert_eq!(
        listed(&ids_of(&data)),
        r"USB\VID_0547&PID_1002&REV_0210&MI_00
USB\VID_0547&PID_1002&MI_00
--
USB\Class_02&SubClass_02&Prot_01
USB\Class_02&SubClass_02
USB\Class_02"
    );
}

/// The interface of a device that has only this one.
fn single(class: &str, driver: &str, attributes: &[(&str, &str)]) -> DeviceRecord {
    let stick = device(
        "/devices/x/1-1",
        "usb",
        "DEVTYPE=usb_device PRODUCT=3f0/2b17/100 TYPE=0/0/0",
        &[("descriptors", &descriptors(1, [8, 6, 0x50]))],
        None,
    );
    let uevent = format!(
        "DEVTYPE=usb_interface DRIVER={driver} PRODUCT=3f0/2b17/100 TYPE=0/0/0 INTERFACE={class} \
         MODALIAS=usb:v03F0p2B17d0100dc00dsc00dp00ic07isc01ip02in00"
    );
    device(
        "/devices/x/1-1/1-1:1.0",
        "usb",
        &uevent,
        attributes,
        Some(stick),
    )
}

#[test]
fn a_printer_has_the_ids_of_its_function_and_its_own() {
    let told = |text: &str| {
        let interface = single("7/1/2", "usblp", &[("ieee1284_id", text)]);
        let node = plain(
            "/devices/x/1-1/1-1:1.0/usbmisc/lp0",
            "usbmisc",
            "",
            Some(interface),
        );
        ids_of(&node).hardware.split_off(2)
    };
    assert_eq!(
        told("MFG:Hewlett-Packard;MDL:HP LaserJet 1020;CMD:ACL;CLS:PRINTER;DES:HP LaserJet 1020;"),
        [
            "USBPRINT\\Hewlett-PackardHP_LaserJet_1020",
            "Hewlett-PackardHP_LaserJet_1020"
        ]
    );
    assert_eq!(
        told("manufacturer: a,b ;COMMAND SET:x;model:c\\d;")[0],
        "USBPRINT\\a_bc_d"
    );
    for nothing in ["", "MFG:;MDL:x;", "MFG:x;", ";;:;", "MDL"] {
        assert_eq!(told(nothing), Vec::<String>::new(), "{nothing}");
    }
    let long = format!("MFG:{};MDL:y;", "x".repeat(1000));
    assert_eq!(told(&long)[0].len(), "USBPRINT\\".len() + 120);
}

/// A unit of this type behind a USB interface of this class and driver.
fn behind(class: &str, driver: &str, kind: &str) -> Ids {
    let mut unit = lun(Some(single(class, driver, &[])), "ACME", "X 1", "2.0");
    let attributes = unit.attributes.iter().filter(|(name, _)| *name != "type");
    unit.attributes = attributes.chain([("type", kind)]).collect();
    ids_of(&unit)
}

#[test]
fn what_usbstor_has_no_word_for_is_other_and_floppies_are_told_by_their_subclass() {
    assert_eq!(
        listed(&behind("8/4/1", "usb-storage", "0")),
        r"USBSTOR\SFloppyACME____X_1_____________2.0_
USBSTOR\SFloppyACME____X_1_____________
USBSTOR\SFloppyACME____
USBSTOR\ACME____X_1_____________2
ACME____X_1_____________2
USBSTOR\GenSFloppy
GenSFloppy
--
USBSTOR\SFloppy
USBSTOR\RAW"
    );
    assert_eq!(
        listed(&behind("8/6/80", "ums-realtek", "2")),
        r"USBSTOR\OtherACME____X_1_____________2.0_
USBSTOR\OtherACME____X_1_____________
USBSTOR\OtherACME____
USBSTOR\ACME____X_1_____________2
ACME____X_1_____________2
USBSTOR\UsbstorOther
UsbstorOther
--
USBSTOR\Other
USBSTOR\RAW"
    );
    assert_eq!(
        listed(&behind("8/6/98", "uas", "5")),
        r"SCSI\CdRomACME____X_1_____________2.0_
SCSI\CdRomACME____X_1_____________
SCSI\CdRomACME____
SCSI\ACME____X_1_____________2
ACME____X_1_____________2
--
GenCdRom"
    );
}

#[test]
fn each_type_of_scsi_has_its_word_and_its_generic_id() {
    // The table of Microsoft's page.
    let rows = [
        ("0", "Disk", "GenDisk"),
        ("1", "Sequential", ""),
        ("2", "Printer", "GenPrinter"),
        ("3", "Processor", ""),
        ("4", "Worm", "GenWorm"),
        ("5", "CdRom", "GenCdRom"),
        ("6", "Scanner", "GenScanner"),
        ("7", "Optical", "GenOptical"),
        ("8", "Changer", "ScsiChanger"),
        ("9", "Net", "ScsiNet"),
        ("10", "ASCIT8", "ScsiASCIT8"),
        ("11", "ASCIT8", "ScsiASCIT8"),
        ("12", "Array", "ScsiArray"),
        ("13", "Enclosure", "ScsiEnclosure"),
        ("14", "RBC", "ScsiRBC"),
        ("15", "CardReader", "ScsiCardReader"),
        ("16", "Bridge", "ScsiBridge"),
        ("17", "Other", "ScsiOther"),
    ];
    for (kind, word, generic) in rows {
        let ids = behind("8/6/98", "uas", kind);
        assert_eq!(ids.hardware[2], format!("SCSI\\{word}ACME____"), "{kind}");
        let wanted: Vec<&str> = Some(generic)
            .filter(|id| !id.is_empty())
            .into_iter()
            .collect();
        assert_eq!(ids.compatible, wanted, "{kind}");
    }
}

#[test]
fn a_controller_of_nvme_is_a_pci_function_and_so_is_a_namespace_until_it_has_answered() {
    let controller = |model: &str| {
        let attributes = [("model", model), ("firmware_rev", "8.0.2   ")];
        device(
            "/devices/x/nvme/nvme0",
            "nvme",
            "",
            &attributes,
            Some(pci()),
        )
    };
    let is_pci = |device: &DeviceRecord| ids_of(device).hardware[0].starts_with("PCI\\VEN_8086");
    assert!(is_pci(&controller("QEMU NVMe Ctrl")));
    let namespace = |subsystem, model| {
        let path = "/devices/x/nvme/nvme0/nvme0n1";
        plain(path, subsystem, "", Some(controller(model)))
    };
    assert!(is_pci(&namespace("hwmon", "QEMU NVMe Ctrl")));
    assert!(is_pci(&namespace("block", "(efault)")));
    for subsystem in ["block", "nvme-generic"] {
        let ids = ids_of(&namespace(subsystem, "QEMU NVMe Ctrl"));
        assert!(
            ids.hardware[0].starts_with("SCSI\\DiskNVMe____QEMU"),
            "{ids:?}"
        );
    }
}

#[test]
fn an_emmc_tells_its_revision_in_one_byte_and_an_sdio_card_is_no_memory() {
    let card = |uevent: &str, revision: (&str, &str)| {
        let attributes = [("manfid", "0x000015"), ("oemid", "0x0100"), revision];
        let card = device(
            "/devices/x/mmc0:0001",
            "mmc",
            uevent,
            &attributes,
            Some(pci()),
        );
        ids_of(&card)
    };
    assert_eq!(
        listed(&card("MMC_TYPE=MMC MMC_NAME=BJNB4R", ("prv", "0x07"))),
        r"SD\VID_15&OID_0100&PID_BJNB4R&REV_0.7
SD\VID_15&OID_0100&PID_BJNB4R
--
SD\CLASS_STORAGE"
    );
    let sdio = card("MMC_TYPE=SDIO", ("hwrev", "0x0"));
    assert!(sdio.hardware[0].starts_with("PCI\\VEN_8086"), "{sdio:?}");
}

#[test]
fn a_node_of_the_firmware_without_a_name_is_passed_over() {
    let named = plain(
        "/devices/LNXSYSTM:00/PNP0C0A:00",
        "acpi",
        "MODALIAS=acpi:PNP0C0A:",
        None,
    );
    let nameless = plain(
        "/devices/LNXSYSTM:00/PNP0C0A:00/device:07",
        "acpi",
        "",
        Some(named),
    );
    let battery = plain(
        "/devices/x/power_supply/BAT0",
        "power_supply",
        "",
        Some(nameless),
    );
    assert_eq!(
        ids_of(&battery).hardware,
        ["ACPI\\VEN_PNP&DEV_0C0A", "ACPI\\PNP0C0A", "*PNP0C0A"]
    );
}

#[test]
fn what_is_behind_a_link_of_bluetooth_is_not_the_radio() {
    let radio = plain(
        "/devices/x/bluetooth/hci0",
        "bluetooth",
        "DEVTYPE=host",
        Some(function(3)),
    );
    assert!(ids_of(&radio).hardware[0].starts_with("USB\\VID_0547"));
    let link = plain(
        "/devices/x/bluetooth/hci0/hci0:256",
        "bluetooth",
        "DEVTYPE=link",
        Some(radio),
    );
    let port = plain(
        "/devices/x/hci0:256/tty/rfcomm0",
        "tty",
        "",
        Some(link.clone()),
    );
    assert_eq!(
        listed(&ids_of(&port)),
        "ARRIVAL\\BLUETOOTH_LINK\n--\nARRIVAL\\TTY"
    );
    let uevent = "HID_ID=0005:0000046D:0000B013";
    let mouse = plain(
        "/devices/x/hci0:256/0005:046D:B013.0001",
        "hid",
        uevent,
        Some(link),
    );
    assert_eq!(
        ids_of(&mouse).hardware,
        ["HID\\Vid_046D&Pid_B013", "HID_DEVICE"]
    );
}

#[test]
fn a_virtio_device_is_the_pci_function_that_it_is_or_one_of_our_own() {
    let disk = |parent| {
        let uevent = "MODALIAS=virtio:d00000002v00001AF4";
        let virtio = plain("/devices/x/virtio0", "virtio", uevent, Some(parent));
        ids_of(&plain(
            "/devices/x/virtio0/block/vda",
            "block",
            "DEVTYPE=disk",
            Some(virtio),
        ))
    };
    assert!(disk(pci()).hardware[0].starts_with("PCI\\VEN_8086&DEV_10D3"));
    let firmware = plain(
        "/devices/platform/LNRO0005:00",
        "platform",
        "MODALIAS=acpi:LNRO0005:",
        None,
    );
    assert_eq!(
        listed(&disk(firmware)),
        "ARRIVAL\\VIRTIO_0002\n--\nARRIVAL\\VIRTIO\nARRIVAL\\BLOCK"
    );
}

#[test]
fn a_platform_device_gives_its_name_where_nothing_better_is_known() {
    let port = |parent| ids_of(&plain("/devices/x/tty/ttyS4", "tty", "", Some(parent)));
    let chip = |parent| {
        let uevent = "DRIVER=serial8250 MODALIAS=platform:serial8250";
        plain("/devices/platform/serial8250", "platform", uevent, parent)
    };
    assert_eq!(
        listed(&port(chip(None))),
        "ARRIVAL\\PLATFORM_SERIAL8250\n--\nARRIVAL\\TTY"
    );
    assert!(port(chip(Some(pci()))).hardware[0].starts_with("PCI\\VEN_8086"));
}

#[test]
fn a_name_holds_the_device_id_as_windows_has_it() {
    let name = |device: &DeviceRecord| instance_path(device, &ids_of(device));
    assert_eq!(name(&gadget(3)), "USB\\VID_0547&PID_1002\\3-1");
    let port = plain(
        "/devices/x/3-1:1.2/tty/ttyACM0",
        "tty",
        "",
        Some(function(3)),
    );
    assert_eq!(name(&port), "USB\\VID_0547&PID_1002&MI_02\\3-1_1.2&ttyACM0");
    let chip = device("/devices/pnp0/00:03", "pnp", "", &[("id", "PNP0501")], None);
    let port = plain("/devices/pnp0/00:03/tty/ttyS0", "tty", "", Some(chip));
    assert_eq!(name(&port), "ACPI\\PNP0501\\00_03&ttyS0");
    assert_eq!(
        name(&behind_uas()),
        "SCSI\\DiskACME____X_1_____________2.0_\\1_0_0_0"
    );
}

fn behind_uas() -> DeviceRecord {
    lun(Some(single("8/6/98", "uas", &[])), "ACME", "X 1", "2.0")
}

#[test]
fn ids_that_are_too_long_or_too_many_are_left_out() {
    let long = format!("OF_COMPATIBLE_0=short OF_COMPATIBLE_1={}", "x".repeat(300));
    let device = plain("/devices/platform/y", "platform", &long, None);
    assert_eq!(
        listed(&ids_of(&device)),
        "ARRIVAL\\OF_SHORT\n--\nARRIVAL\\PLATFORM"
    );
    let cids: String = (0..200).map(|number| format!("PNP{number:04X}:")).collect();
    let device = plain("/devices/y", "acpi", &format!("MODALIAS=acpi:{cids}"), None);
    assert_eq!(ids_of(&device).compatible.len(), MAX_IDS);
}
