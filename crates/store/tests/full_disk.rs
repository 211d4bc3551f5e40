//! A full disk changes nothing: a real file system of 64 KiB, in a mount namespace of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod scratch;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use arrival_store::journal::Journal;
use arrival_store::{Layout, Lock, Store};
use scratch::Scratch;
use serde_json::json;

const INSIDE: &str = "ARRIVAL_TEST_FULL_DISK";

/// Runs the named test again with a tiny file system mounted; none if this is that second run.
fn with_tiny_disk(test: &str) -> Option<()> {
    if std::env::var_os(INSIDE).is_some() {
        return None;
    }
    let required = std::env::var("ARRIVAL_REQUIRE").unwrap_or_default();
    if !rustix::process::geteuid().is_root() {
        assert!(!required.split(',').any(|need| need == "root"), "not root");
        println!("skipped: only root can mount a file system");
        return Some(());
    }
    let dir = Scratch::new();
    // The mount is in a namespace of its own and ends with the process.
    let script = "mount -t tmpfs -o size=64k,mode=755 none \"$1\" || exit 125; \
                  exec \"$2\" --exact \"$3\" --nocapture";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, dir.path())
        .output()
        .unwrap();
    if output.status.code() == Some(125)
        || output.status.code() == Some(1) && output.stdout.is_empty()
    {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        assert!(!required.split(',').any(|need| need == "root"), "{why}");
        println!("skipped: {why}");
        return Some(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("1 passed"), "{said}");
    Some(())
}

fn disk() -> std::path::PathBuf {
    std::env::var_os(INSIDE).unwrap().into()
}

/// Fills the file system to its last byte.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let mut chunk = 4096;
    while chunk > 0 {
        match file.write(&vec![b'x'; chunk]) {
            Ok(written) if written > 0 => {}
            Ok(_) | Err(_) => chunk /= 2,
        }
    }
}

#[test]
fn enabling_on_a_full_disk_says_so_and_changes_nothing() {
    if with_tiny_disk("enabling_on_a_full_disk_says_so_and_changes_nothing").is_some() {
        return;
    }
    let disk = disk();
    let layout = Layout::at(&disk).unwrap();
    layout.prepare().unwrap();
    let name = "a".parse().unwrap();
    let mut store = Store::open(layout.clone());
    store.set_enabled(&name, Some(true)).unwrap();
    fill(&disk.join("filler"));
    let error = store
        .set_enabled(&name, Some(false))
        .unwrap_err()
        .to_string();
    let path = layout.enabled().join("a");
    assert_eq!(
        error,
        format!(
            "cannot disable 'a': {}: No space left on device (os error 28)",
            path.display()
        )
    );
    assert_eq!(store.enabled_override(&name), Some(true));
    assert_eq!(
        Store::open(layout.clone()).enabled_override(&name),
        Some(true)
    );
    assert_eq!(
        fs::read_dir(layout.enabled()).unwrap().count(),
        1,
        "nothing is left behind"
    );
    fs::remove_file(disk.join("filler")).unwrap();
    store.set_enabled(&name, Some(false)).unwrap();
    assert_eq!(Store::open(layout).enabled_override(&name), Some(false));
}

#[test]
fn a_lock_is_held_on_a_full_disk_too() {
    if with_tiny_disk("a_lock_is_held_on_a_full_disk_too").is_some() {
        return;
    }
    let path = disk().join("lock");
    drop(Lock::acquire(&path).unwrap());
    fill(&disk().join("filler"));
    let lock = Lock::acquire(&path).unwrap();
    let refused = Lock::acquire(&path).unwrap_err().to_string();
    assert!(refused.ends_with("is held by another process"), "{refused}");
    drop(lock);
    drop(Lock::acquire(&path).unwrap());
}

#[test]
fn a_change_of_the_state_on_a_full_disk_is_refused_and_the_rest_is_kept() {
    if with_tiny_disk("a_change_of_the_state_on_a_full_disk_is_refused_and_the_rest_is_kept")
        .is_some()
    {
        return;
    }
    let disk = disk();
    let open = || Journal::open(&disk, "boot").unwrap();
    let (mut journal, _) = open();
    journal.append(&[("a", Some(json!(1)))]).unwrap();
    fill(&disk.join("filler"));
    // The page that the file has already takes some more, so that one write ends in its midst.
    let mut kept = 0;
    let error = loop {
        let size = journal.size();
        match journal.append(&[(format!("k{kept}"), Some(json!("x".repeat(300))))]) {
            Ok(()) => kept += 1,
            Err(error) => {
                assert_eq!(journal.size(), size);
                break error.to_string();
            }
        }
    };
    let path = disk.join("journal");
    assert_eq!(
        error,
        format!(
            "cannot write {}: No space left on device (os error 28)",
            path.display()
        )
    );
    assert!(kept > 0, "some writes fitted");
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        journal.size(),
        "the torn line is cut off"
    );
    assert_eq!(journal.records(), kept + 1);
    assert!(journal.compact().is_err());
    fs::remove_file(disk.join("filler")).unwrap();
    journal.append(&[("late", Some(json!(2)))]).unwrap();
    journal.compact().unwrap();
    drop(journal);
    let (_, recovered) = open();
    assert_eq!(recovered.findings, []);
    assert_eq!(recovered.records.len(), kept + 2);
    assert_eq!(recovered.records["late"], json!(2));
}

#[test]
fn a_state_that_cannot_be_written_anew_grows_on() {
    if with_tiny_disk("a_state_that_cannot_be_written_anew_grows_on").is_some() {
        return;
    }
    // Outside the tiny disk there is space for the journal; the folder refuses new files instead.
    let disk = disk();
    let (mut journal, _) = Journal::open(&disk, "boot").unwrap();
    let status = Command::new("mount")
        .args(["-o", "remount,size=4m"])
        .arg(&disk)
        .status()
        .unwrap();
    assert!(status.success());
    // A folder of the new file's name is in the way, and it is not empty.
    fs::create_dir_all(disk.join("journal.new/x")).unwrap();
    for n in 0..3000 {
        journal
            .append(&[("k", Some(json!({"n": n, "text": "x".repeat(50)})))])
            .unwrap();
    }
    assert!(journal.size() > 128 * 1024);
    assert!(
        (2..10).contains(&journal.failed_compactions()),
        "{}",
        journal.failed_compactions()
    );
    fs::remove_dir_all(disk.join("journal.new")).unwrap();
    for n in 0..1500 {
        journal
            .append(&[("k", Some(json!({"n": n, "text": "x".repeat(50)})))])
            .unwrap();
    }
    assert!(journal.size() < 128 * 1024, "{}", journal.size());
    drop(journal);
    let (_, recovered) = Journal::open(&disk, "boot").unwrap();
    assert_eq!(recovered.records["k"]["n"], json!(1499));
}
