//! A root is ours and nobody else's, and one daemon serves it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod scratch;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Command, Stdio};

use arrival_store::{Layout, Lock};
use scratch::Scratch;

#[test]
fn a_root_that_is_not_there_is_made_with_its_folders() {
    let dir = Scratch::new();
    let root = dir.path().join("new/root");
    let layout = Layout::at(&root).unwrap();
    layout.prepare().unwrap();
    layout.prepare().unwrap();
    for (name, mode) in [
        ("services.d", 0o755),
        ("classes.d", 0o755),
        ("lib", 0o755),
        ("log", 0o755),
        ("run", 0o755),
        ("run/state", 0o700),
    ] {
        let meta = fs::metadata(root.join(name)).unwrap();
        assert!(meta.is_dir());
        assert_eq!(meta.permissions().mode() & 0o777, mode, "{name}");
    }
    assert_eq!(layout.control_socket(), root.join("run/control"));
    assert_eq!(layout.settings(), root.join("arrivald.toml"));
}

#[test]
fn a_state_folder_that_was_left_open_is_closed() {
    let dir = Scratch::new();
    let layout = Layout::at(dir.path()).unwrap();
    layout.prepare().unwrap();
    fs::set_permissions(layout.state(), Permissions::from_mode(0o755)).unwrap();
    layout.prepare().unwrap();
    assert_eq!(
        fs::metadata(layout.state()).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_root_that_everyone_may_write_to_is_refused() {
    let dir = Scratch::new();
    let path = dir.path().display();
    let layout = Layout::at(dir.path()).unwrap();
    for mode in [0o777, 0o1777, 0o757] {
        fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            layout.prepare().unwrap_err().to_string(),
            format!(
                "{path} is writable by everyone (mode {mode:04o}); change that with: chmod o-w {path}"
            )
        );
    }
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was made in it"
    );
    fs::set_permissions(dir.path(), Permissions::from_mode(0o775)).unwrap();
    layout.prepare().unwrap();
}

#[test]
fn a_root_of_somebody_else_is_refused() {
    let required = std::env::var("ARRIVAL_REQUIRE").unwrap_or_default();
    if !rustix::process::geteuid().is_root() {
        assert!(!required.split(',').any(|need| need == "root"), "not root");
        println!("skipped: only root can give a folder away");
        return;
    }
    let dir = Scratch::new();
    chown(dir.path(), Some(4711), None).unwrap();
    assert_eq!(
        Layout::at(dir.path())
            .unwrap()
            .prepare()
            .unwrap_err()
            .to_string(),
        format!(
            "{} belongs to user 4711, not to us (user 0)",
            dir.path().display()
        )
    );
}

#[test]
fn a_root_that_is_a_file_is_refused() {
    let dir = Scratch::new();
    let path = dir.path().join("root");
    fs::write(&path, "").unwrap();
    assert_eq!(
        Layout::at(&path)
            .unwrap()
            .prepare()
            .unwrap_err()
            .to_string(),
        format!("{} is not a folder", path.display())
    );
}

#[test]
fn the_second_daemon_is_told_who_the_first_is() {
    let dir = Scratch::new();
    let layout = Layout::at(dir.path()).unwrap();
    layout.prepare().unwrap();
    let first = Lock::daemon(&layout).unwrap();
    let refused = Lock::daemon(&layout).unwrap_err().to_string();
    let path = layout.daemon_lock();
    let pid = std::process::id();
    assert_eq!(
        refused,
        format!("{} is held by process {pid}", path.display())
    );
    // Another lock of the same root is another matter.
    let _store = Lock::store(&layout).unwrap();
    drop(first);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "",
        "no pid stays behind"
    );
    let _third = Lock::daemon(&layout).unwrap();
}

#[test]
fn a_lock_ends_with_its_holder_however_that_ends() {
    // This test starts itself as the holder.
    const HOLDER: &str = "ARRIVAL_TEST_HOLD_LOCK";
    if let Some(path) = std::env::var_os(HOLDER) {
        let _lock = Lock::acquire(path.as_ref()).unwrap();
        println!("held");
        let mut line = String::new();
        let _ = std::io::stdin().read_line(&mut line);
        return;
    }
    let dir = Scratch::new();
    let path = dir.path().join("lock");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_lock_ends_with_its_holder_however_that_ends",
            "--nocapture",
        ])
        .env(HOLDER, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.contains("held")),
        "the holder holds"
    );
    let refused = Lock::acquire(&path).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("{} is held by process {}", path.display(), holder.id())
    );
    holder.kill().unwrap();
    holder.wait().unwrap();
    let _lock = Lock::acquire(&path).unwrap();
    let pid = fs::read_to_string(&path).unwrap();
    assert_eq!(
        pid,
        format!("{}\n", std::process::id()),
        "the dead holder's pid is gone"
    );
}
