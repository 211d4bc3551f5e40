#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::Arc;

use super::*;
use crate::device::Properties;
use crate::interface::Incarnation;

fn device(
    devpath: &str,
    subsystem: &str,
    uevent: &str,
    attributes: &[(&str, &str)],
) -> DeviceRecord {
    let properties = Properties::from_uevent_file(&uevent.replace(' ', "\n"));
    DeviceRecord {
        devpath: devpath.to_owned(),
        subsystem: subsystem.to_owned(),
        devtype: properties.get("DEVTYPE").map(str::to_owned),
        driver: properties.get("DRIVER").map(str::to_owned),
        node: properties.get("DEVNAME").map(|name| format!("/dev/{name}")),
        properties,
        attributes: attributes.iter().copied().collect(),
        incarnation: Incarnation {
            inode: 7,
            ..Incarnation::default()
        },
        ..DeviceRecord::default()
    }
}

fn disk(name: &str, size: &str) -> DeviceRecord {
    device(
        &format!("/devices/virtual/block/{name}"),
        "block",
        &format!("MAJOR=7 MINOR=0 DEVNAME={name} DEVTYPE=disk"),
        &[("size", size)],
    )
}

fn classes_of(device: &DeviceRecord) -> Vec<String> {
    let exposed = Classes::built_in().interfaces_of(device);
    exposed.into_iter().map(|i| i.class_name).collect()
}

fn parse(text: &str) -> Result<Class, String> {
    let file: ClassFile = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    file.into_class().map_err(|error| error.to_string())
}

#[test]
fn every_network_interface_but_loopback_is_a_net_interface() {
    let eth = device(
        "/devices/virtual/net/x0",
        "net",
        "INTERFACE=x0",
        &[("type", "1")],
    );
    let lo = device(
        "/devices/virtual/net/lo",
        "net",
        "INTERFACE=lo",
        &[("type", "772")],
    );
    let tap = device(
        "/devices/virtual/net/tap0",
        "net",
        "INTERFACE=tap0",
        &[("type", "1"), ("tun_flags", "0x1802")],
    );
    assert_eq!(classes_of(&eth), ["net"]);
    assert_eq!(classes_of(&lo), Vec::<String>::new());
    assert_eq!(classes_of(&tap), ["net", "tun"]);
}

#[test]
fn a_disk_has_a_bus_or_a_size_and_is_not_made_of_memory() {
    assert_eq!(classes_of(&disk("loop7", "0")), ["loop"]);
    assert_eq!(classes_of(&disk("loop7", "2048")), ["disk", "loop"]);
    assert_eq!(classes_of(&disk("zram0", "2048")), Vec::<String>::new());
    assert_eq!(classes_of(&disk("ram12", "2048")), Vec::<String>::new());
    assert_eq!(classes_of(&disk("dm-0", "2048")), ["disk", "volume"]);
    let unit = |kind| {
        Some(Arc::new(device(
            "/devices/x/1:0:0:0",
            "scsi",
            "DEVTYPE=scsi_device",
            &[("type", kind)],
        )))
    };
    let reader = DeviceRecord {
        parent: unit("0"),
        ..disk("sda", "0")
    };
    let optical = DeviceRecord {
        parent: unit("5"),
        ..disk("sr0", "0")
    };
    assert_eq!(classes_of(&reader), ["disk"]);
    assert_eq!(classes_of(&optical), ["cdrom"]);
    let partition = device(
        "/devices/x/sda/sda1",
        "block",
        "DEVTYPE=partition",
        &[("size", "9")],
    );
    assert_eq!(classes_of(&partition), ["partition", "volume"]);
}

#[test]
fn an_interface_has_a_link_in_windows_form_and_its_devices_names() {
    let exposed = Classes::built_in().interfaces_of(&disk("loop7", "2048"));
    let interface = &exposed[0];
    assert_eq!(
        interface.link,
        "\\\\?\\ARRIVAL#BLOCK_LOOP#loop7#{53f56307-b6bf-11d0-94f2-00a0c91efb8b}"
    );
    assert_eq!(interface.node.as_deref(), Some("/dev/loop7"));
    assert_eq!(interface.name, "loop7");
    assert!(!interface.usable, "its node waits for udev");
    assert_eq!(interface.key.owner.name(), "/devices/virtual/block/loop7");
    assert_ne!(exposed[1].link, interface.link);
}

#[test]
fn classes_are_found_by_name_by_guid_and_by_windows_symbol_in_any_case() {
    let classes = Classes::built_in();
    for text in [
        "net",
        "NET",
        "{CAC88484-7515-4c03-82e6-71a87abac361}",
        "cac88484-7515-4c03-82e6-71a87abac361",
        "guid_devinterface_net",
    ] {
        assert_eq!(classes.resolve(text).unwrap().name, "net", "{text}");
    }
    assert_eq!(classes.resolve("nothing"), None);
}

#[test]
fn the_classes_of_our_own_have_the_documented_guids() {
    let classes = Classes::built_in();
    let guid = |name: &str| classes.resolve(name).unwrap().guid.to_string();
    assert_eq!(guid("loop"), LOOP_GUID);
    assert_eq!(guid("tun"), TUN_GUID);
}

const LOOP_GUID: &str = "{d06ab6e0-ea9a-5a9d-ac00-ad569efbd159}";
const TUN_GUID: &str = "{2c9cc5b0-13a3-5181-b97c-b8b9b252203c}";

#[test]
fn a_file_defines_a_class_over_a_device_and_its_ancestors() {
    let class = parse(
        r#"
        [class]
        name = "lab-port"
        guid = "{573e8c73-0cb4-4471-a1bf-fab26c31d384}"
        description = "serial ports of the lab's adapters"
        [match]
        subsystem = "tty"
        name = ["ttyUSB*", "ttyACM*"]
        not = { attribute.type = "0" }
        [match.property]
        MAJOR = { not = "4" }
        DEVNAME = { present = true }
        [match.ancestor]
        subsystem = "usb"
        driver = "cp210[0-9]"
        attribute.serial = "LAB-*"
        "#,
    )
    .unwrap();
    let adapter = |serial| {
        let mut usb = device(
            "/devices/usb1/1-1",
            "usb",
            "DRIVER=cp2102",
            &[("serial", serial)],
        );
        usb.parent = Some(Arc::new(device("/devices/usb1", "usb", "", &[])));
        let mut port = device(
            "/devices/usb1/1-1/tty/ttyUSB0",
            "tty",
            "MAJOR=188 DEVNAME=ttyUSB0",
            &[],
        );
        port.parent = Some(Arc::new(usb));
        port
    };
    assert!(class.when.holds(&adapter("LAB-1")));
    assert!(!class.when.holds(&adapter("HOME")));
    assert!(class.when.admits("tty") && !class.when.admits("net"));

    let mut classes = Classes::new();
    assert_eq!(classes.insert(class.clone()), Ok(None));
    let names = |subsystem| {
        classes
            .attributes(subsystem)
            .into_iter()
            .collect::<Vec<_>>()
    };
    assert_eq!(names("tty"), ["type"]);
    assert_eq!(
        (names("hid"), names("usb").last()),
        (vec!["report_descriptor"], Some(&"serial"))
    );
    assert!(classes.admits("tty") && !classes.admits("usb"));
}

#[test]
fn a_class_may_be_chosen_by_id() {
    let class = parse("[class]\nname = 'taps'\n[match]\nid = 'arrival\\net_tap'\n").unwrap();
    assert!(class.when.holds(&tap()));
    assert!(!class.when.holds(&disk("loop7", "0")));
}

fn tap() -> DeviceRecord {
    device(
        "/devices/virtual/net/tap0",
        "net",
        "",
        &[("tun_flags", "0x1002")],
    )
}

#[test]
fn a_later_class_overrides_one_of_its_name_and_keeps_its_guid() {
    let mut classes = Classes::built_in();
    let net = parse("[class]\nname = 'net'\n[match]\nsubsystem = 'net'\nname = 'e*'\n").unwrap();
    let guid = net.guid;
    assert_eq!(classes.insert(net).unwrap().unwrap().guid, guid);
    assert_eq!(classes.resolve("GUID_DEVINTERFACE_NET").unwrap().guid, guid);
    assert!(
        classes
            .interfaces_of(&tap())
            .iter()
            .all(|i| i.class_name == "tun")
    );

    let other = parse(&format!(
        "[class]\nname = 'other'\nguid = '{guid}'\n[match]\nsubsystem = 'net'\n"
    ))
    .unwrap();
    assert_eq!(
        classes.insert(other).unwrap_err().to_string(),
        format!("class 'other': {guid} is already the class 'net'")
    );
}

#[test]
fn each_defect_of_a_file_has_its_own_exact_error() {
    let cases = [
        (
            "[class]\nname = 'A'\n[match]\nname = 'x'\n",
            "'A' is not a class name (expected 1 to 32 of a-z, 0-9 and '-', beginning with a letter)",
        ),
        (
            "[class]\nname = 'a'\n[match]\n",
            "class 'a': match is empty and would match every device",
        ),
        (
            "[class]\nname = 'a'\nguid = '{00000000-0000-0000-0000-000000000000}'\n[match]\nname = 'x'\n",
            "class 'a': the GUID is all zeros",
        ),
        (
            "[class]\nname = 'a'\n[match]\nname = 'x['\n",
            "class 'a': match.name: the pattern 'x[' has a '[' without ']'",
        ),
        (
            "[class]\nname = 'a'\n[match]\nname = []\n",
            "class 'a': match.name: a list of patterns is empty, so nothing could match",
        ),
        (
            "[class]\nname = 'a'\n[match]\nattribute.\"../x\" = '1'\n",
            "class 'a': match.attribute.../x: an attribute is a path below the device's directory, such as queue/rotational",
        ),
        (
            "[class]\nname = 'a'\n[match]\nany = [{}]\n",
            "class 'a': match.any is empty and would match every device",
        ),
        (
            "[class]\nname = 'a'\n[match.attribute.size]\n",
            "class 'a': match.attribute.size tests nothing (expected a pattern, or a table of is, not, present, bits)",
        ),
        (
            "[class]\nname = 'a'\n[match]\nsubsistem = 'x'\n",
            "unknown field `subsistem`",
        ),
        (
            "[class]\nname = 'a'\nguid = 'x'\n[match]\nname = 'x'\n",
            "'x' is not a GUID",
        ),
        ("[class]\nname = 'a'\n", "missing field `match`"),
        (
            "[class]\nname = 'a'\n[match]\nname = 1\n",
            "expected a pattern or a list of patterns",
        ),
        (
            "[class]\nname = 'a'\n[match]\nattribute.x = { isnt = '1' }\n",
            "unknown field `isnt`",
        ),
    ];
    for (text, expected) in cases {
        let error = parse(text).unwrap_err();
        assert!(
            error.contains(expected),
            "{error}\n  instead of\n{expected}"
        );
    }
    let deep = format!(
        "[class]\nname = 'a'\n[match]\n{}name = 'x'\n",
        "parent.".repeat(10)
    );
    assert!(
        parse(&deep)
            .unwrap_err()
            .contains("more than 8 tables deep")
    );
}

#[test]
fn every_example_in_the_documentation_is_a_class() {
    let page = include_str!("../../../../docs/classes.md");
    let mut classes = Classes::built_in();
    let mut examples = 0;
    for block in page.split("```toml\n").skip(1) {
        let (text, _) = block.split_once("```").expect("the example has an end");
        let class = parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
        classes.insert(class).unwrap();
        examples += 1;
    }
    assert_eq!(examples, 4);
    let veth = DeviceRecord {
        driver: Some("veth".into()),
        ..device("/devices/virtual/net/v0", "net", "", &[("type", "1")])
    };
    assert!(classes.interfaces_of(&veth).is_empty());
}
