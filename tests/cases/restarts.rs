//! The manager ends and comes back; services do not notice.

use arrival_client::{NoticeKind, Root, Subscription, Watch};
use arrival_tests::world::{World, signal_process, wait_for};

use crate::devices::Link;

/// The kinds and names of notices, in order.
type Seen = Vec<(NoticeKind, String)>;

case!(
    sigterm_of_the_manager_leaves_services_and_the_next_one_follows_them as Root,
    |world| over(world, libc::SIGTERM)
);
case!(
    kill_of_the_manager_leaves_services_and_the_next_one_follows_them as Root,
    |world| over(world, libc::SIGKILL)
);
case!(
    kill_of_a_users_manager_leaves_services_too as User,
    |world| over(world, libc::SIGKILL)
);

fn over(world: &mut World, signal: i32) {
    world.follow("lab", "lab*", &[], "");
    world.start();
    let link = Link::bridge("lab0");
    let before = world.wait_running("lab");
    let manager = world.daemon_pid();
    world.end_daemon(signal);
    assert_eq!(
        arrival_tests::world::recorders(&world.root),
        [before.pid.unwrap()]
    );
    world.start();
    assert_ne!(world.daemon_pid(), manager);
    let after = world.wait_running("lab");
    assert_eq!((after.pid, after.run), (before.pid, before.run));
    drop(link);
    world.wait_state("lab", "STOPPED");
    assert_eq!(world.recorded("lab", "start").len(), 1);
}

case!(
    a_name_is_kept_when_the_manager_comes_back as Root,
    |world: &mut World| {
        let class = "[class]\nname = \"lab\"\nce_prefix = \"LAB\"\n[match]\nsubsystem = \"net\"\nname = \"lab*\"\n";
        world.write("classes.d/lab.toml", class);
        world.start();
        let names = |world: &World| {
            let all = world.connect().interfaces(Some("lab")).unwrap().interfaces;
            let named = all
                .iter()
                .map(|i| (i.name.clone(), i.ce_name.clone().unwrap()));
            let mut named: Vec<(String, String)> = named.collect();
            named.sort();
            named
        };
        let first = Link::bridge("lab9");
        wait_for("the first to have a name", || names(world).len() == 1);
        let _second = Link::bridge("lab1");
        wait_for("the second to have a name", || names(world).len() == 2);
        drop(first);
        wait_for("the first to be gone", || names(world).len() == 1);
        let kept = ("lab1".to_owned(), "LAB2:".to_owned());
        assert_eq!(names(world), std::slice::from_ref(&kept));
        world.end_daemon(libc::SIGKILL);
        // Without a memory the names would go the other way round.
        let _third = Link::bridge("lab5");
        world.start();
        wait_for("both to be seen", || names(world).len() == 2);
        assert_eq!(
            names(world),
            [kept, ("lab5".to_owned(), "LAB1:".to_owned())]
        );
    }
);

case!(
    what_happened_while_no_manager_was_there_is_made_good as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "");
        world.follow("oth", "oth*", &[], "");
        world.start();
        let lab = Link::bridge("lab0");
        world.wait_running("lab");
        world.end_daemon(libc::SIGKILL);
        drop(lab);
        let _oth = Link::bridge("oth0");
        world.start();
        world.wait_state("lab", "STOPPED");
        world.wait_running("oth");
    }
);

case!(
    a_service_that_died_while_no_manager_was_there_is_started_again as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "");
        world.start();
        let _link = Link::bridge("lab0");
        let before = world.wait_running("lab");
        world.end_daemon(libc::SIGKILL);
        signal_process(before.pid.unwrap(), libc::SIGKILL);
        wait_for("its end", || {
            arrival_tests::world::recorders(&world.root).is_empty()
        });
        world.start();
        wait_for("another run", || world.recorded("lab", "start").len() == 2);
        assert_eq!(
            world.wait_running("lab").last_exit.as_deref(),
            Some("unknown")
        );
    }
);

case!(
    a_watch_goes_on_over_a_restart_and_tells_the_difference_once as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "");
        world.start();
        let first = Link::bridge("lab0");
        world.wait_running("lab");
        let classes = vec!["lab-class".to_owned()];
        let subscription = Subscription {
            classes,
            ..Subscription::default()
        };
        let mut watch = Watch::open(&Root::at(&world.root), subscription).unwrap();
        let mut seen = Seen::new();
        let mut read_until = |wanted: &dyn Fn(&Seen) -> bool| {
            while !wanted(&seen) {
                let notice = watch
                    .next_within(std::time::Duration::from_secs(30))
                    .unwrap();
                let notice = notice.expect("a notice in time");
                let name = notice.interface.map(|i| i.name).unwrap_or_default();
                seen.push((notice.kind, name));
            }
            seen.clone()
        };
        read_until(&|seen| {
            seen.iter()
                .any(|(kind, name)| *kind == NoticeKind::Snapshot && name.is_empty())
        });
        world.end_daemon(libc::SIGKILL);
        drop(first);
        let _second = Link::bridge("lab1");
        world.start();
        let seen = read_until(&|seen| {
            seen.iter()
                .any(|(kind, name)| *kind == NoticeKind::Arrival && name == "lab1")
        });
        let count = |kind: NoticeKind, name: &str| {
            seen.iter().filter(|s| s.0 == kind && s.1 == name).count()
        };
        assert_eq!(count(NoticeKind::Resync, ""), 1, "{seen:?}");
        assert_eq!(count(NoticeKind::Removal, "lab0"), 1, "{seen:?}");
        assert_eq!(count(NoticeKind::Arrival, "lab1"), 1, "{seen:?}");
    }
);
