//! No space is left below the root.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrival_tests::world::{World, wait_for};

use crate::devices::Link;

/// The folders that the manager writes to.
const WRITTEN: [&str; 3] = ["run", "log", "lib"];

/// A file that takes all the space there is, until it is dropped.
struct Ballast(PathBuf);

impl Ballast {
    fn in_folder(folder: &Path) -> Ballast {
        let path = folder.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        let error = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        Ballast(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Two services, and little space for everything that the manager writes.
fn with_small_disks(world: &mut World) {
    for below in WRITTEN {
        world.small_disk(below);
    }
    world.follow("lab", "lab*", &[], "");
    world.follow("oth", "oth*", &[], "");
}

fn fill(world: &World) -> Vec<Ballast> {
    WRITTEN
        .map(|below| Ballast::in_folder(&world.root.join(below)))
        .into()
}

fn unsaved(world: &World) -> bool {
    let problems = world.info().problems;
    problems
        .iter()
        .any(|problem| problem.code == "state-not-saved")
}

/// Lets the device come and go until the manager says that it cannot write its state.
fn flap_until_unsaved(world: &World) {
    let mut turns = 0;
    while !unsaved(world) {
        let link = Link::bridge("lab0");
        world.wait_running("lab");
        drop(link);
        world.wait_state("lab", "STOPPED");
        turns += 1;
        assert!(turns < 200, "the disk never was full");
    }
}

case!(
    a_full_disk_keeps_no_service_from_its_device_and_fails_enabling_exactly as Root,
    |world: &mut World| {
        with_small_disks(world);
        world.start();
        let manager = world.daemon_pid();
        let ballast = fill(world);
        flap_until_unsaved(world);

        let refused = world.arrival(&["disable", "lab"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            said.contains("lab") && said.to_lowercase().contains("no space left"),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        let refused = world.arrival(&["enable", "lab"]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let left: Vec<_> = fs::read_dir(world.root.join("lib/enabled"))
            .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");

        let link = Link::bridge("lab0");
        let running = world.wait_running("lab");
        assert_eq!(running.held_back, None, "it is still enabled");
        assert_eq!(world.info().pid, manager);

        // With room again everything is written down, and a kill loses nothing.
        drop(ballast);
        assert_eq!(world.arrival(&["disable", "oth"]).status.code(), Some(0));
        wait_for("the state to be saved", || {
            drop(Link::bridge("lab1"));
            !unsaved(world)
        });
        world.end_daemon(libc::SIGKILL);
        world.start();
        let after = world.wait_running("lab");
        assert_eq!((after.pid, after.run), (running.pid, running.run));
        let _oth = Link::bridge("oth0");
        wait_for("the device to be seen", || {
            let devices = world.connect().interfaces(Some("oth-class")).unwrap();
            !devices.interfaces.is_empty()
        });
        let disabled = world.status("oth");
        assert_eq!(disabled.held_back.as_deref(), Some("disabled"));
        assert_eq!(disabled.state, "STOPPED");
        drop(link);
        world.wait_state("lab", "STOPPED");
    }
);

case!(
    a_manager_starts_on_a_full_disk_and_goes_on_with_its_services as Root,
    |world: &mut World| {
        with_small_disks(world);
        world.start();
        let _lab = Link::bridge("lab0");
        let before = world.wait_running("lab");
        // It takes its pid out of the lock's file when it ends, which the ballast then fills.
        world.end_daemon(libc::SIGTERM);
        let ballast = fill(world);
        world.start();
        let after = world.wait_running("lab");
        assert_eq!((after.pid, after.run), (before.pid, before.run));
        let oth = Link::bridge("oth0");
        world.wait_running("oth");
        drop(oth);
        world.wait_state("oth", "STOPPED");
        drop(ballast);
    }
);

case!(
    a_manager_whose_first_start_is_on_a_full_disk_saves_its_state_once_there_is_room as Root,
    |world: &mut World| {
        with_small_disks(world);
        let ballast = fill(world);
        world.start();
        assert!(unsaved(world), "{:?}", world.info().problems);
        let lab = Link::bridge("lab0");
        let before = world.wait_running("lab");
        drop(ballast);
        let _oth = Link::bridge("oth0");
        world.wait_running("oth");
        wait_for("the state to be saved", || !unsaved(world));
        world.end_daemon(libc::SIGKILL);
        world.start();
        let after = world.wait_running("lab");
        assert_eq!((after.pid, after.run), (before.pid, before.run));
        drop(lab);
        world.wait_state("lab", "STOPPED");
        assert_eq!(world.recorded("lab", "start").len(), 1);
    }
);
