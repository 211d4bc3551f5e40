//! Recorded machines, replayed to a manager: `arrival devices` lists what was written down for each.
//!
//! Run with `SNAPSHOTS=overwrite` to write the lists anew, then read the difference line by line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrival_tests::recording::Recording;
use arrival_tests::world::{fresh_dir, wait_for};

/// One of the programs that `cargo xtask test` builds.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join(name)
}

/// What `arrival devices --long` says of a recording, by device. A cursor says nothing of a device, and
/// what is usable depends on how long udevd has been silent.
fn listed(recording: &str) -> String {
    let recording = Recording::parse(recording).unwrap();
    let dir = fresh_dir("arrival-replay");
    let (sysfs, run_udev, root) = (dir.join("sys"), dir.join("udev"), dir.join("root"));
    recording.replay(&sysfs, &run_udev).unwrap();
    let again = Recording::of(&sysfs, &run_udev).unwrap();
    assert!(again == recording, "it is what is recorded of its replay");
    fs::create_dir(&root).unwrap();
    let mut manager = Command::new(program("arrivald"))
        .arg("--root")
        .arg(&root)
        .arg("--sysfs")
        .arg(&sysfs)
        .arg("--run-udev")
        .arg(&run_udev)
        .args(["--containment", "process"])
        .stdin(Stdio::null())
        .stderr(fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap();
    let arrival = |words: &[&str]| {
        let mut arrival = Command::new(program("arrival"));
        let output = arrival
            .arg("--root")
            .arg(&root)
            .args(words)
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap())
    };
    // It answers sooner, but with what it has found so far.
    wait_for("the manager to have looked at everything", || {
        let said = fs::read_to_string(dir.join("log")).unwrap_or_default();
        said.contains(" ready: ")
    });
    let text = arrival(&["devices", "--long"]);
    arrival(&["shutdown"]).unwrap();
    assert!(manager.wait().unwrap().success());
    fs::remove_dir_all(&dir).unwrap();
    let text = text.unwrap_or_default();
    let mut blocks: Vec<(&str, Vec<&str>)> = text
        .split("\n\n")
        .map(|block| {
            let lines: Vec<&str> = block
                .lines()
                .filter(|line| !line.starts_with("  cursor") && !line.starts_with("  usable"))
                .collect();
            let device = lines.iter().find(|line| line.starts_with("  device"));
            (*device.unwrap_or(&""), lines)
        })
        .collect();
    blocks.sort();
    let blocks = blocks.iter().map(|(_, lines)| lines.join("\n") + "\n");
    blocks.collect::<Vec<_>>().join("\n")
}

fn compare(name: &str, recording: &str, expected: &str) {
    let found = listed(recording);
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings");
        fs::write(folder.join(format!("{name}.devices")), &found).unwrap();
        return;
    }
    for (at, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of {name}.devices", at + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "{name}");
}

macro_rules! recorded {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                compare(
                    $name,
                    include_str!(concat!("../recordings/", $name, ".txt")),
                    include_str!(concat!("../recordings/", $name, ".devices")),
                );
            }
        )*
    };
}

recorded! {
    a_virtual_machine_lists_what_was_plugged_in: "vm",
    a_laptop_lists_what_is_built_in: "laptop",
    a_server_lists_its_storage_and_networks: "server",
    an_arm_board_lists_what_its_device_tree_describes: "arm-board",
}
