//! Directories that look like sysfs, in which a read can be made to hang.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrival_linux::device::DeviceConfig;
use arrival_linux::device::sysfs::{Scratch, Sysfs};

use crate::recorder::start;
use crate::sandbox::{TempDir, class, net_only};

fn config(tree: &Path) -> DeviceConfig {
    DeviceConfig {
        sysfs: tree.to_owned(),
        udev: false,
        classes: net_only(),
        wedge_after: Duration::from_millis(100),
        ..DeviceConfig::default()
    }
}

fn tree() -> TempDir {
    let dir = TempDir::new();
    fs::create_dir_all(dir.0.join("devices/virtual/net")).unwrap();
    fs::create_dir_all(dir.0.join("class/net")).unwrap();
    dir
}

/// A directory with everything of a device but its `uevent` file.
fn directory(tree: &TempDir, path: &str) -> PathBuf {
    let dir = tree.0.join(path);
    fs::create_dir_all(&dir).unwrap();
    std::os::unix::fs::symlink(tree.0.join("class/net"), dir.join("subsystem")).unwrap();
    dir
}

fn device(tree: &TempDir, name: &str) -> PathBuf {
    let dir = directory(tree, &format!("devices/virtual/net/{name}"));
    fs::write(dir.join("uevent"), format!("INTERFACE={name}\nIFINDEX=7\n")).unwrap();
    dir
}

fn fifo(path: &Path) {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: path is a string that ends with zero.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

#[test]
fn a_device_that_hangs_delays_no_other() {
    let tree = tree();
    device(&tree, "a");
    device(&tree, "b");
    // More hang than there are readers; whoever opens a FIFO waits for somebody to write.
    let hanging: Vec<PathBuf> = (0..6)
        .map(|number| {
            let dir = directory(&tree, &format!("devices/virtual/net/hang{number}"));
            fifo(&dir.join("uevent"));
            dir.join("uevent")
        })
        .collect();

    let (source, mut recorder) = start(config(&tree.0));
    let mut names = recorder.names();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"], "the first snapshot does not wait");
    device(&tree, "c");
    source.rescan();
    recorder.wait_present("c");
    assert_eq!(source.counters().wedged_now, 6);

    for (number, path) in hanging.iter().enumerate() {
        let mut pipe = fs::OpenOptions::new().write(true).open(path).unwrap();
        // Whoever looks again finds a file like any other.
        let text = format!("INTERFACE=hang{number}\n");
        let file = tree.0.join("file");
        fs::write(&file, &text).unwrap();
        fs::rename(&file, path).unwrap();
        pipe.write_all(text.as_bytes()).unwrap();
    }
    recorder.wait("those that hung", |r| r.present.len() == 9);
    source.rescan();
    let snapshots = recorder.snapshots();
    recorder.wait("a snapshot of all", |r| r.snapshots() > snapshots);
    assert_eq!(source.counters().wedged_now, 0);
    assert!(source.counters().wedged >= 6);
    source.stop();
}

#[test]
fn a_source_with_a_hanging_reader_can_be_stopped() {
    let tree = tree();
    let dir = directory(&tree, "devices/virtual/net/hang");
    fifo(&dir.join("uevent"));
    let (source, recorder) = start(config(&tree.0));
    assert!(recorder.present.is_empty());
    source.stop();
    // Let the thread that is left behind come to its end.
    drop(fs::OpenOptions::new().write(true).open(dir.join("uevent")));
}

#[test]
fn a_device_without_a_uevent_file_is_none() {
    let tree = tree();
    let dir = device(&tree, "a");
    directory(&tree, "devices/virtual/net/b");
    let (source, mut recorder) = start(config(&tree.0));
    assert_eq!(recorder.names(), ["a"]);
    fs::remove_file(dir.join("uevent")).unwrap();
    recorder.rescan(&source);
    assert_eq!(recorder.words_since(0), ["gone a"]);
}

#[test]
fn a_predicate_may_look_at_a_device_above() {
    let tree = tree();
    let above = directory(&tree, "devices/card");
    fs::write(above.join("uevent"), "DRIVER=x\n").unwrap();
    fs::write(above.join("authorized"), "1\n").unwrap();
    let below = directory(&tree, "devices/card/net/a");
    fs::write(below.join("uevent"), "INTERFACE=a\n").unwrap();
    device(&tree, "b");
    let (source, mut recorder) = start(DeviceConfig {
        classes: class(
            "[class]\nname = 'card'\n[match]\nsubsystem = 'net'\n\
             [match.ancestor]\nattribute.authorized = '1'\n",
        ),
        ..config(&tree.0)
    });
    assert_eq!(recorder.names(), ["a"]);
    fs::write(above.join("authorized"), "0\n").unwrap();
    recorder.rescan(&source);
    assert_eq!(recorder.words_since(0), ["gone a"]);
}

#[test]
fn a_missing_sysfs_is_named() {
    let config = config(Path::new("/nowhere/at/all"));
    let error = arrival_linux::device::DeviceSource::start(config, |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "open sysfs at /nowhere/at/all: No such file or directory (os error 2)"
    );
}

/// A link as sysfs has them, of which only the last part of the target counts.
fn link(target: &str, path: &Path) {
    std::os::unix::fs::symlink(format!("../{target}"), path).unwrap();
}

#[test]
fn a_raw_node_is_an_interface_of_each_collection_of_its_device() {
    let tree = tree();
    let hid = tree.0.join("devices/virtual/0003:0627:0001.0001");
    let raw = hid.join("hidraw/hidraw0");
    fs::create_dir_all(&raw).unwrap();
    link("hid", &hid.join("subsystem"));
    link("hidraw", &raw.join("subsystem"));
    fs::write(hid.join("uevent"), "HID_ID=0003:00000627:00000001\n").unwrap();
    fs::write(raw.join("uevent"), "MAJOR=240\nMINOR=0\nDEVNAME=hidraw0\n").unwrap();
    let descriptor = [
        [0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0xc0],
        [0x05, 0x0c, 0x09, 0x01, 0xa1, 0x01, 0xc0],
    ];
    fs::write(hid.join("report_descriptor"), descriptor.concat()).unwrap();
    let config = DeviceConfig {
        classes: arrival_model::class::Classes::built_in(),
        ..config(&tree.0)
    };
    let (_source, recorder) = start(config);
    let found: Vec<(String, String)> = (recorder.present.values())
        .map(|interface| {
            assert_eq!(interface.class_name, "hid");
            assert_eq!(interface.node.as_deref(), Some("/dev/hidraw0"));
            (
                interface.key.reference.clone(),
                interface.hardware_ids.join(" "),
            )
        })
        .collect();
    let ids = |collection: &str, rest: &str| {
        let id = format!("HID\\Vid_0627&Pid_0001&{collection}");
        (collection.to_owned(), format!("{id} {rest} HID_DEVICE"))
    };
    let keyboard =
        "HID\\Vid_0627&UP:0001_U:0006 HID_DEVICE_SYSTEM_KEYBOARD HID_DEVICE_UP:0001_U:0006";
    let consumer =
        "HID\\Vid_0627&UP:000C_U:0001 HID_DEVICE_SYSTEM_CONSUMER HID_DEVICE_UP:000C_U:0001";
    assert_eq!(found, [ids("Col01", keyboard), ids("Col02", consumer)]);
}

#[test]
fn a_file_that_is_no_text_is_recorded_in_digits_up_to_its_bound() {
    let tree = tree();
    let device = tree.0.join("devices/virtual/x");
    fs::create_dir_all(&device).unwrap();
    fs::write(device.join("uevent"), "").unwrap();
    let bytes = [0xa1, 0x00, 0xff, 0x0a].repeat(2000);
    fs::write(device.join("report_descriptor"), &bytes).unwrap();
    fs::write(device.join("edid"), &bytes).unwrap();
    fs::write(device.join("descriptors"), []).unwrap();
    let names = ["report_descriptor", "edid", "descriptors", "vpd_pg89"].map(str::to_owned);
    let sysfs = Sysfs::open(&tree.0).unwrap();
    let record = sysfs
        .read("/devices/virtual/x", &mut Scratch::default(), |_| {
            names.to_vec()
        })
        .unwrap();
    // HID_MAX_DESCRIPTOR_SIZE bytes, the base block, nothing.
    let digits = |times| Some("a100ff0a".repeat(times));
    let told = names.map(|name| record.attribute(&name).map(str::to_owned));
    assert_eq!(told, [digits(1024), digits(32), digits(0), None]);
}

#[test]
fn another_medium_is_another_disk_only_where_there_is_no_drive() {
    let tree = tree();
    let incarnation = |path: &str, number: u32| {
        let dir = tree.0.join(path.trim_start_matches('/'));
        fs::create_dir_all(&dir).unwrap();
        let text = format!("DEVNAME=x\nDEVTYPE=disk\nDISKSEQ={number}\n");
        fs::write(dir.join("uevent"), text).unwrap();
        let sysfs = Sysfs::open(&tree.0).unwrap();
        let record = sysfs.read(path, &mut Scratch::default(), |_| Vec::new());
        record.unwrap().incarnation
    };
    let drive = "/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sr0";
    assert_eq!(incarnation(drive, 3), incarnation(drive, 4));
    let image = "/devices/virtual/block/loop0";
    assert_ne!(incarnation(image, 3), incarnation(image, 4));
}
