//! Devices that come and go faster than anybody looks, and events that get lost.

use arrival_tests::uevents::Reader;
use arrival_tests::world::{World, wait_for};

use crate::devices::{Link, spoof, storm};

case!(
    three_hundred_blind_flaps_end_in_the_right_state as Root,
    blind_flaps
);
case!(
    three_hundred_blind_flaps_of_a_user_end_in_the_right_state as User,
    blind_flaps
);

fn blind_flaps(world: &mut World) {
    world.follow("lab", "lab*", &["--stop-ms", "2"], "");
    world.start();
    let reader = Reader::start();
    for _ in 0..300 {
        drop(Link::veth("lab0", "peer0"));
    }
    let last = Link::veth("lab0", "peer0");
    // It may be about to stop for an earlier flap; what counts is where it comes to rest.
    wait_for("the service to come to rest running", || {
        let pid = world.status("lab").pid.unwrap_or_default();
        let last = world.recorded("lab", "").pop().unwrap_or_default();
        world.status("lab").state == "RUNNING" && last.starts_with(&format!("start {pid} "))
    });
    let service = world.status("lab");
    let arrivals = reader.count("add", "/lab0");
    assert_eq!(arrivals, 301, "the independent reader saw every one");
    // A program that is told to stop before its first statement records nothing.
    let recorded = world.recorded("lab", "start").len() as u64;
    assert!(
        recorded >= 1 && recorded <= service.starts,
        "{recorded} of {}",
        service.starts
    );
    assert!(
        service.starts <= arrivals as u64,
        "{} starts for {arrivals}",
        service.starts
    );
    assert_eq!(service.failures, 0);
    drop(last);
    world.wait_state("lab", "STOPPED");
}

case!(
    an_overrun_around_a_real_arrival_loses_nothing as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "");
        world.with(&["--uevent-buffer", "65536"]).start();
        let gone = Link::bridge("lab-gone");
        world.wait_running("lab");
        assert_eq!(world.info().counters.overruns, 0);
        world.signal_daemon(libc::SIGSTOP);
        drop(gone);
        storm(&world.root.join("sys"), 2000);
        let _link = Link::bridge("lab1");
        storm(&world.root.join("sys"), 2000);
        world.signal_daemon(libc::SIGCONT);
        wait_for("the difference", || {
            let now = world.status("lab");
            now.state == "RUNNING"
                && now.interfaces.len() == 1
                && now.interfaces[0].contains("lab1")
        });
        let counters = world.info().counters;
        assert!(
            counters.overruns >= 1,
            "nothing was lost, so nothing was tested: {counters:?}"
        );
        wait_for("the end of the walk", || world.info().counters.resyncs >= 1);
        // What was lost may be found before what was heard is dealt with; then there is no moment
        // without an interface, and no restart.
        wait_for("each start to be recorded", || {
            world.recorded("lab", "start").len() as u64 == world.status("lab").starts
        });
        let service = world.status("lab");
        assert!((1..=2).contains(&service.starts), "{service:?}");
        assert_eq!(service.failures, 0);
        let ends = world.recorded("lab", "exit").len() as u64;
        assert_eq!(ends, service.starts - 1, "one program runs");
    }
);

case!(
    a_spoofed_event_starts_nothing_and_is_counted as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "");
        world.start();
        let before = world.info().counters.spoofed;
        spoof(
            "add@/devices/virtual/net/lab9\0ACTION=add\0DEVPATH=/devices/virtual/net/lab9\0SUBSYSTEM=net\0INTERFACE=lab9\0SEQNUM=1\0",
        );
        wait_for("the spoof to be counted", || {
            world.info().counters.spoofed > before
        });
        // The next real arrival has been dealt with, so the spoof before it has been too.
        let _link = Link::bridge("lab0");
        world.wait_running("lab");
        assert_eq!(
            world
                .connect()
                .interfaces(Some("lab-class"))
                .unwrap()
                .interfaces
                .len(),
            1
        );
    }
);
