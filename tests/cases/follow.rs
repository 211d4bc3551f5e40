//! A service lives as long as its device: with containers of every kind, as root and as a user.

use arrival_tests::uevents::Reader;
use arrival_tests::world::{World, wait_for};

use crate::devices::{Link, Tap};

case!(
    a_tap_starts_the_service_and_its_removal_stops_it as Root,
    tap_story
);
case!(
    a_tap_starts_the_service_of_an_ordinary_user_too as User,
    tap_story
);

fn tap_story(world: &mut World) {
    world.follow("lab", "lab*", &["--ready"], "protocol = \"notify\"");
    world.start();
    let reader = Reader::start();
    let tap = Tap::new("lab0");
    let running = world.wait_running("lab");
    assert_eq!(running.starts, 1);
    assert_eq!(running.start_reason.as_deref(), Some("trigger"));
    assert_eq!(running.interfaces.len(), 1);
    let starts = world.recorded("lab", "start");
    assert_eq!(starts.len(), 1);
    assert!(
        starts[0].contains(&running.interfaces[0]),
        "{starts:?} {running:?}"
    );
    drop(tap);
    let stopped = world.wait_state("lab", "STOPPED");
    assert_eq!(stopped.held_back, None);
    assert_eq!(world.recorded("lab", "exit").len(), 1);
    assert_eq!(reader.count("add", "/lab0"), 1);
    assert_eq!(world.recorded("lab", "start").len(), 1);
}

case!(other_devices_start_nothing as Root, |world| {
    world.follow("lab", "lab*", &[], "");
    world.start();
    let _other = Link::bridge("other0");
    let _lab = Link::bridge("lab0");
    world.wait_running("lab");
    assert_eq!(world.recorded("lab", "start").len(), 1);
    let devices = world.connect().interfaces(Some("net")).unwrap();
    let mut names: Vec<&str> = devices.interfaces.iter().map(|i| i.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lab0", "other0"], "the loopback is none");
});

case!(
    the_service_stays_until_the_last_device_is_gone as Root,
    last_of_two
);
case!(
    the_service_of_a_user_stays_until_the_last_device_is_gone as User,
    last_of_two
);

fn last_of_two(world: &mut World) {
    world.follow("lab", "lab*", &["--stop-ms", "50"], "replug = \"ignore\"");
    world.start();
    let first = Link::bridge("lab0");
    let run = world.wait_running("lab").run;
    let second = Link::bridge("lab1");
    wait_for("both interfaces", || {
        world.status("lab").interfaces.len() == 2
    });
    drop(first);
    wait_for("one interface", || {
        world.status("lab").interfaces.len() == 1
    });
    let still = world.status("lab");
    assert_eq!((still.state.as_str(), still.run), ("RUNNING", run));
    drop(second);
    world.wait_state("lab", "STOPPED");
    assert_eq!(world.recorded("lab", "start").len(), 1);
}

case!(
    a_return_while_the_service_stops_starts_it_again as Root,
    return_while_stopping
);
case!(
    a_return_while_a_users_service_stops_starts_it_again as User,
    return_while_stopping
);

fn return_while_stopping(world: &mut World) {
    world.follow("lab", "lab*", &["--stop-ms", "1000"], "");
    world.start();
    let link = Link::veth("lab0", "peer0");
    let first = world.wait_running("lab");
    drop(link);
    world.wait_state("lab", "STOP_PENDING");
    let back = Link::veth("lab0", "peer0");
    wait_for("the arrival to be recorded in STOP_PENDING", || {
        let now = world.status("lab");
        now.state == "STOP_PENDING" && now.interfaces.len() == 1
    });
    wait_for("another run", || {
        world
            .status("lab")
            .run
            .is_some_and(|run| Some(run) != first.run)
    });
    world.wait_running("lab");
    assert_eq!(world.recorded("lab", "start").len(), 2);
    drop(back);
    world.wait_state("lab", "STOPPED");
}

case!(
    a_service_whose_program_ignores_sigterm_and_leaves_a_child_is_gone_at_the_deadline as Root,
    stubborn
);
case!(
    a_users_service_that_ignores_sigterm_and_leaves_a_child_is_gone_too as User,
    stubborn
);

fn stubborn(world: &mut World) {
    world.follow(
        "lab",
        "lab*",
        &["--ignore-term", "--fork"],
        "stop_timeout = \"300ms\"",
    );
    world.start();
    let link = Link::bridge("lab0");
    world.wait_running("lab");
    wait_for("the program and its child", || {
        arrival_tests::world::recorders(&world.root).len() == 2
    });
    drop(link);
    world.wait_state("lab", "STOPPED");
    assert_eq!(
        arrival_tests::world::recorders(&world.root),
        Vec::<i32>::new()
    );
}

case!(what_the_command_line_says_is_what_is as Root, |world| {
    world.follow("lab", "lab*", &[], "");
    world.start();
    let status = world.arrival(&["status", "lab"]);
    assert_eq!(status.status.code(), Some(3), "{status:?}");
    let why = String::from_utf8(world.arrival(&["why", "lab"]).stdout).unwrap();
    assert!(
        why.contains("no interface of class lab-class present"),
        "{why}"
    );
    let _link = Link::bridge("lab0");
    world.wait_running("lab");
    let status = world.arrival(&["status", "lab", "--json"]);
    assert_eq!(status.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(json["services"][0]["state"], "RUNNING");
    assert_eq!(world.arrival(&["status", "nobody"]).status.code(), Some(4));
    assert_eq!(world.arrival(&["stop", "lab"]).status.code(), Some(0));
    assert_eq!(
        world.status("lab").held_back.as_deref(),
        Some("stopped_by_operator")
    );
    assert_eq!(world.arrival(&["start", "lab"]).status.code(), Some(0));
    assert_eq!(world.arrival(&["disable", "lab"]).status.code(), Some(0));
    assert_eq!(world.arrival(&["check"]).status.code(), Some(0));
});
