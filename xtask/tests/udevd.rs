//! Arrival beside a real udevd.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

const PATIENCE: Duration = Duration::from_secs(30);

/// udevd takes half a second for every block device.
const SLOW: &str = "SUBSYSTEM==\"block\", PROGRAM=\"/bin/sleep 0.5\"\n";

/// This test program starts itself again beside udevd, and then this is set.
const INSIDE: &str = "ARRIVAL_BESIDE_UDEVD";

#[test]
fn a_disk_starts_its_service_once_udevd_has_finished_with_it() {
    if env::var_os(INSIDE).is_some() {
        return inside();
    }
    let Some(xtask) = env::var_os("ARRIVAL_XTASK") else {
        let required = env::var("ARRIVAL_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|need| need == "udevd"),
            "udevd is required here: `cargo xtask test` unpacks it if it is run as root"
        );
        println!("skipped: `cargo xtask test` unpacks a udevd if it is run as root");
        return;
    };
    let folder = Folder::new();
    let rules = folder.0.join("slow.rules");
    fs::write(&rules, SLOW).unwrap();
    let output = Command::new(xtask)
        .arg("udevd")
        .arg("--rules")
        .arg(&rules)
        .arg("--")
        .arg(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg("a_disk_starts_its_service_once_udevd_has_finished_with_it")
        .env(INSIDE, &folder.0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{errors}"
    );
}

fn inside() {
    let folder = PathBuf::from(env::var_os(INSIDE).unwrap());
    let root = folder.join("root");
    fs::create_dir_all(root.join("services.d")).unwrap();
    let seen = folder.join("seen");
    let script = format!(
        "cat /run/udev/data/b7:* >{}; exec sleep 3600",
        seen.display()
    );
    let definition = format!(
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"{script}\"]\n\
         [[start]]\ndevice = \"disk\"\nid = 'ARRIVAL\\BLOCK_LOOP'\n"
    );
    fs::write(root.join("services.d/indexer.toml"), definition).unwrap();
    let mut manager = Command::new(env::var_os("ARRIVALD_BIN").unwrap())
        .arg("--root")
        .arg(&root)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&root, "\"state\":\"STOPPED\"");

    let medium = Medium::insert(&folder);
    wait_for(&root, "\"state\":\"RUNNING\"");
    let begun = Instant::now();
    let mut database = String::new();
    while !database.contains("I:") && begun.elapsed() < PATIENCE {
        database = fs::read_to_string(&seen).unwrap_or_default();
        if !database.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(
        database.contains("I:"),
        "the service saw no finished entry of udevd's: '{database}'"
    );

    drop(medium);
    wait_for(&root, "\"state\":\"STOPPED\"");
    assert!(arrival(&root, &["shutdown"]).0);
    assert!(manager.wait().unwrap().success());
}

fn arrival(root: &Path, words: &[&str]) -> (bool, String) {
    let mut arrival = Command::new(env::var_os("ARRIVAL_BIN").unwrap());
    let output = arrival
        .arg("--root")
        .arg(root)
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).replace("\": ", "\":");
    (output.status.success(), said)
}

/// Waits until the service's status says this.
fn wait_for(root: &Path, what: &str) {
    let begun = Instant::now();
    loop {
        let (_, said) = arrival(root, &["status", "indexer", "--json"]);
        if said.contains(what) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{what} never came: {said}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A loop device with something in it.
struct Medium(String);

impl Medium {
    fn insert(folder: &Path) -> Medium {
        let image = folder.join("image");
        fs::File::create(&image).unwrap().set_len(1 << 20).unwrap();
        let free = Command::new("losetup").arg("-f").output().unwrap();
        let node = String::from_utf8(free.stdout).unwrap().trim().to_owned();
        let number = node.trim_start_matches("/dev/loop").parse().unwrap();
        // The namespace's /dev holds what was put there.
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, &node, FileType::BlockDevice, mode, makedev(7, number)).unwrap();
        let attached = Command::new("losetup").arg(&node).arg(&image).status();
        assert!(attached.unwrap().success());
        Medium(node)
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("-d").arg(&self.0).status();
        assert!(detached.unwrap().success() || thread::panicking());
    }
}

/// A folder that ends with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = env::temp_dir().join(format!("arrival-udevd-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a temporary folder does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
