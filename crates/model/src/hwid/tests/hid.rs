//! Human interface devices and their collections.

use super::*;

/// A boot keyboard, and one with volume keys as a second collection.
const KEYBOARD: &str = "05010906a1010507c0";
const TWO: &str = "05010906a101c0050c0901a101c0";

fn hid(descriptor: &str, parent: Option<DeviceRecord>) -> DeviceRecord {
    device(
        "/devices/x/0003:0627:0001.0001",
        "hid",
        "DRIVER=hid-generic HID_ID=0003:00000627:00000001",
        &[("report_descriptor", descriptor)],
        parent,
    )
}

fn hidraw(descriptor: &str, parent: Option<DeviceRecord>) -> DeviceRecord {
    let parent = Some(hid(descriptor, parent));
    device(
        "/devices/x/0003:0627:0001.0001/hidraw/hidraw0",
        "hidraw",
        "",
        &[],
        parent,
    )
}

fn listed_functions(device: &DeviceRecord) -> String {
    let list = functions(device).into_iter();
    let texts = list.map(|(reference, ids)| format!("[{reference}] {}", listed(&ids)));
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_keyboard_of_one_function_and_collection_has_the_shortest_ids() {
    assert_eq!(
        listed_functions(&hidraw(KEYBOARD, Some(function(1)))),
        r"[] HID\Vid_0627&Pid_0001&Rev_0210
HID\Vid_0627&Pid_0001
HID\Vid_0627&UP:0001_U:0006
HID_DEVICE_SYSTEM_KEYBOARD
HID_DEVICE_UP:0001_U:0006
HID_DEVICE
--"
    );
    // No USB device tells a revision, and no descriptor a usage.
    assert_eq!(
        listed_functions(&hidraw("", None)),
        "[] HID\\Vid_0627&Pid_0001\nHID_DEVICE\n--"
    );
}

#[test]
fn each_collection_of_a_function_is_an_interface_of_its_own() {
    assert_eq!(
        listed_functions(&hidraw(TWO, Some(function(3)))),
        r"[Col01] HID\Vid_0627&Pid_0001&Rev_0210&MI_02&Col01
HID\Vid_0627&Pid_0001&MI_02&Col01
HID\Vid_0627&UP:0001_U:0006
HID_DEVICE_SYSTEM_KEYBOARD
HID_DEVICE_UP:0001_U:0006
HID_DEVICE
--
[Col02] HID\Vid_0627&Pid_0001&Rev_0210&MI_02&Col02
HID\Vid_0627&Pid_0001&MI_02&Col02
HID\Vid_0627&UP:000C_U:0001
HID_DEVICE_SYSTEM_CONSUMER
HID_DEVICE_UP:000C_U:0001
HID_DEVICE
--"
    );
}

/// An event node of an input device of this name.
fn event(name: &str, descriptor: &str) -> DeviceRecord {
    let mut input = device(
        "/devices/x/0003:0627:0001.0001/input/input3",
        "input",
        "",
        &[],
        Some(hid(descriptor, None)),
    );
    input.properties = [("NAME", name)].into_iter().collect();
    device(
        "/devices/x/0003:0627:0001.0001/input/input3/event3",
        "input",
        "",
        &[],
        Some(input),
    )
}

#[test]
fn an_input_node_has_the_ids_of_the_collection_that_its_name_tells() {
    assert_eq!(
        listed_functions(&event("\"Acme Keyboard Consumer Control\"", TWO)),
        r"[] HID\Vid_0627&Pid_0001&Col02
HID\Vid_0627&UP:000C_U:0001
HID_DEVICE_SYSTEM_CONSUMER
HID_DEVICE_UP:000C_U:0001
HID_DEVICE
--"
    );
}

#[test]
fn an_input_node_that_serves_all_collections_has_the_ids_of_all() {
    for name in ["\"Acme\"", "\"AcmeKeyboard\"", "\"Acme Mouse\""] {
        assert_eq!(
            listed_functions(&event(name, TWO)),
            r"[] HID\Vid_0627&Pid_0001&Col01
HID\Vid_0627&UP:0001_U:0006
HID\Vid_0627&Pid_0001&Col02
HID\Vid_0627&UP:000C_U:0001
HID_DEVICE_SYSTEM_KEYBOARD
HID_DEVICE_UP:0001_U:0006
HID_DEVICE_SYSTEM_CONSUMER
HID_DEVICE_UP:000C_U:0001
HID_DEVICE
--"
        );
    }
}

#[test]
fn each_collection_has_a_name_of_its_own() {
    let node = hidraw(TWO, Some(function(3)));
    let names: Vec<String> = functions(&node)
        .iter()
        .map(|(_, ids)| instance_path(&node, ids))
        .collect();
    assert_eq!(
        names,
        [1, 2].map(|number| format!(
            "HID\\Vid_0627&Pid_0001&MI_02&Col0{number}\\0003_0627_0001.0001&hidraw0"
        ))
    );
}

#[test]
fn a_device_of_many_collections_keeps_to_the_length_of_a_list() {
    let many: String = (0..32)
        .map(|usage| format!("0600ff09{usage:02x}a101c0"))
        .collect();
    let ids = ids_of(&hidraw(&many, Some(function(3))));
    assert_eq!(ids.hardware.len(), MAX_IDS);
    assert_eq!(ids.hardware.last().unwrap(), "HID_DEVICE");
    assert!(
        ids.hardware
            .contains(&"HID_DEVICE_UP:FF00_U:000F".to_owned())
    );
    assert_eq!(functions(&hidraw(&many, Some(function(3)))).len(), 16);
}
