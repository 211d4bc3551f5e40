//! Beside a real udevd that takes its time, dies, comes back, is silent or is not heard.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrival_client::{Incoming, NoticeKind, Root, Session, Subscription};
use arrival_tests::udevd::{Hold, Udevd};
use arrival_tests::world::{World, signal_process, wait_for};

use crate::devices::{Link, Loop, udev_storm};

case!(
    an_interface_without_a_node_waits_for_no_udevd_and_arrives_once as BesideUdevd,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "");
        world.start();
        assert!(world.info().udev, "a udevd is beside us");
        let subscription = Subscription {
            classes: vec!["lab-class".to_owned()],
            wait: Some("appeared".to_owned()),
            ..Subscription::default()
        };
        let hold = Hold::of("lab0");
        let mut session = Session::open(&Root::at(&world.root), Some(&subscription)).unwrap();
        let link = Link::bridge("lab0");
        // udevd has not finished with it, and does not while it is held.
        world.wait_running("lab");
        let events = world.info().counters.events;
        drop(hold);
        wait_for("what udevd has said to be heard", || {
            world.info().counters.events > events
        });
        drop(link);
        world.wait_state("lab", "STOPPED");
        let mut arrivals = 0;
        loop {
            let Incoming::Notice(notice) = session.receive().unwrap() else {
                continue;
            };
            match notice.kind {
                NoticeKind::Arrival => arrivals += 1,
                NoticeKind::Removal => break,
                NoticeKind::Snapshot => {}
                NoticeKind::State | NoticeKind::Overrun | NoticeKind::Resync => {
                    panic!("{notice:?}")
                }
            }
        }
        assert_eq!(arrivals, 1);
        assert_eq!(world.recorded("lab", "start").len(), 1);
        assert_eq!(world.status("lab").starts, 1);
    }
);

/// A new device with a node, and the hold that keeps udevd from finishing with it.
fn held_disk() -> (Hold, Loop) {
    // Other cases make such devices in the same machine, at the same time.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = 300 + now.subsec_micros() % 600;
    (first..first + 100)
        .find_map(|number| {
            let hold = Hold::of(&format!("loop{number}"));
            Loop::numbered(number).map(|disk| (hold, disk))
        })
        .expect("a free number")
}

/// A service that follows a device with a node.
fn follow(world: &World, disk: &Loop) {
    let class = format!(
        "[class]\nname = \"lab-disk\"\n[match]\nsubsystem = \"block\"\nname = \"{}\"\n",
        disk.name
    );
    world.write("classes.d/lab-disk.toml", &class);
    world.define("lab", &[], "", "[[start]]\ndevice = \"lab-disk\"\n");
}

/// Whether the device is there, and usable.
fn usable(world: &World) -> Option<bool> {
    let list = world.connect().interfaces(Some("lab-disk")).unwrap();
    list.interfaces.first().map(|interface| interface.usable)
}

/// The device has appeared, no more, and stays so for a while.
#[track_caller]
fn stays_unusable(world: &World, milliseconds: u64) {
    wait_for("the device to appear", || usable(world).is_some());
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(milliseconds) {
        assert_eq!(usable(world), Some(false), "{}", world.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(world.status("lab").state, "STOPPED");
    assert_eq!(world.status("lab").starts, 0);
}

/// How often udevd was given up.
fn timeouts(world: &World) -> u64 {
    world.info().counters.udev_timeouts
}

case!(
    a_node_waits_for_a_slow_udevd_and_its_service_starts_once as BesideUdevd,
    |world: &mut World| {
        let (hold, disk) = held_disk();
        follow(world, &disk);
        world.start();
        stays_unusable(world, 300);
        hold.let_one_go();
        world.wait_running("lab");
        assert_eq!(usable(world), Some(true));
        assert_eq!((world.status("lab").starts, timeouts(world)), (1, 0));
        drop(disk);
        world.wait_state("lab", "STOPPED");
    }
);

case!(
    what_udevd_says_of_an_earlier_device_of_this_name_is_not_taken_for_this_one as BesideUdevd,
    |world: &mut World| {
        let (hold, disk) = held_disk();
        follow(world, &disk);
        world.start();
        stays_unusable(world, 0);
        wait_for("udevd to begin", || hold.begun() == 1);
        disk.replace();
        hold.let_one_go();
        wait_for("udevd to begin with the second", || hold.begun() == 2);
        stays_unusable(world, 300);
        hold.let_one_go();
        world.wait_running("lab");
        assert_eq!((world.status("lab").starts, timeouts(world)), (1, 0));
        drop(disk);
        world.wait_state("lab", "STOPPED");
    }
);

case!(
    a_udevd_that_is_killed_at_its_work_holds_a_node_back_for_seconds_only as BesideUdevd,
    |world: &mut World| {
        let (hold, disk) = held_disk();
        follow(world, &disk);
        world.start();
        stays_unusable(world, 0);
        wait_for("udevd to begin", || hold.begun() == 1);
        let udevd = Udevd::find();
        udevd.end(libc::SIGKILL);
        for left in ["/run/udev/control", "/run/udev/queue"] {
            assert!(fs::exists(left).unwrap(), "it had no time to remove {left}");
        }
        world.wait_running("lab");
        assert!(timeouts(world) >= 1, "all nodes of the machine waited");
        drop((hold, disk));
        world.wait_state("lab", "STOPPED");
        // Another one is waited for again.
        let again = udevd.start_again();
        assert_ne!(again.pid, udevd.pid);
        let (hold, disk) = held_disk();
        follow(world, &disk);
        world.connect().reload().unwrap();
        wait_for("udevd to begin", || hold.begun() == 1);
        wait_for("the device to appear", || usable(world).is_some());
        assert_eq!(usable(world), Some(false));
        hold.let_one_go();
        world.wait_running("lab");
        assert_eq!(world.status("lab").starts, 2);
    }
);

case!(
    without_udevd_a_node_waits_for_nobody as BesideUdevd,
    |world: &mut World| {
        let (hold, disk) = held_disk();
        follow(world, &disk);
        world.start();
        stays_unusable(world, 0);
        wait_for("udevd to begin", || hold.begun() == 1);
        let udevd = Udevd::find();
        udevd.end(libc::SIGKILL);
        fs::remove_file("/run/udev/control").unwrap();
        world.wait_running("lab");
        assert_eq!(timeouts(world), 0, "nobody was waited for");
        drop((hold, disk));
        world.wait_state("lab", "STOPPED");
        assert_eq!(world.status("lab").starts, 1);
    }
);

case!(
    a_silent_udevd_is_waited_for_while_it_has_work as BesideUdevd,
    |world: &mut World| {
        let udevd = Udevd::find();
        // It hears nothing, says nothing, and still has its socket open.
        signal_process(udevd.pid, libc::SIGSTOP);
        let (_hold, disk) = held_disk();
        follow(world, &disk);
        fs::write("/run/udev/queue", "").unwrap();
        world.start();
        stays_unusable(world, 7000);
        assert_eq!(timeouts(world), 0);
        fs::remove_file("/run/udev/queue").unwrap();
        world.wait_running("lab");
        assert!(timeouts(world) >= 1);
        assert_eq!(world.status("lab").starts, 1);
        signal_process(udevd.pid, libc::SIGCONT);
        drop(disk);
        world.wait_state("lab", "STOPPED");
    }
);

case!(
    what_udevd_said_while_it_was_not_heard_is_read_from_its_entries as BesideUdevd,
    |world: &mut World| {
        let (hold, disk) = held_disk();
        follow(world, &disk);
        world.with(&["--uevent-buffer", "65536"]).start();
        stays_unusable(world, 0);
        wait_for("udevd to begin", || hold.begun() == 1);
        assert_eq!(world.info().counters.overruns, 0);
        world.signal_daemon(libc::SIGSTOP);
        udev_storm(2000);
        hold.let_one_go();
        // Its own queue is empty: it has said all that it has to say.
        wait_for("udevd to finish", || {
            !fs::exists("/run/udev/queue").unwrap()
        });
        world.signal_daemon(libc::SIGCONT);
        world.wait_running("lab");
        assert!(world.info().counters.overruns >= 1, "nothing was lost");
        assert_eq!((world.status("lab").starts, timeouts(world)), (1, 0));
    }
);

case!(
    a_manager_that_comes_back_finds_usable_what_udevd_has_finished as BesideUdevd,
    |world: &mut World| {
        let (hold, disk) = held_disk();
        follow(world, &disk);
        world.start();
        stays_unusable(world, 0);
        hold.let_one_go();
        let before = world.wait_running("lab");
        world.end_daemon(libc::SIGTERM);
        world.start();
        wait_for("the device to be usable", || usable(world) == Some(true));
        let after = world.status("lab");
        assert_eq!((after.pid, after.starts), (before.pid, before.starts));
        assert_eq!(timeouts(world), 0, "it was read, not waited for");
        // Nor is it taken for usable while udevd is at it.
        world.end_daemon(libc::SIGTERM);
        disk.replace();
        wait_for("udevd to begin with the second", || hold.begun() == 2);
        world.start();
        wait_for("the old device's service to stop", || {
            world.status("lab").state == "STOPPED"
        });
        assert_eq!(usable(world), Some(false));
        hold.let_one_go();
        world.wait_running("lab");
        assert_eq!(timeouts(world), 0);
    }
);
