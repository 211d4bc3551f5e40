//! Beside a real udevd that takes its time.

use std::fs;

use arrival_client::{Incoming, NoticeKind, Root, Session, Subscription};
use arrival_tests::case::LET_GO;
use arrival_tests::world::{World, wait_for};

use crate::devices::Link;

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
        let mut session = Session::open(&Root::at(&world.root), Some(&subscription)).unwrap();
        let link = Link::bridge("lab0");
        // udevd has not finished with it, and does not until the file is there.
        world.wait_running("lab");
        assert!(!fs::exists(LET_GO).unwrap());
        let events = world.info().counters.events;
        fs::write(LET_GO, "").unwrap();
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
