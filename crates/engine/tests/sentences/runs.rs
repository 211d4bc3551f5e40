//! From START_PENDING to STOPPED.

use std::time::Duration;

use arrival_engine::api::*;
use arrival_model::definition::{Definition, Protocol};
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::state::{HeldBack, ServiceState, StartReason};

use crate::world::*;

#[test]
fn an_exec_service_runs_as_soon_as_its_program_does() {
    let mut world = World::new();
    world.arrive(&device("a", 1));
    assert_eq!(world.state(), ServiceState::StartPending);
    let spawn = world.runs();
    assert_eq!(spawn.reason, StartReason::Trigger);
    assert_eq!(spawn.interface.unwrap().name, "a");
    assert_eq!(world.state(), ServiceState::Running);
}

#[test]
fn a_notify_service_runs_when_it_says_so() {
    let mut world = World::with(Definition {
        protocol: Protocol::Notify,
        ..definition()
    });
    world.arrive(&device("a", 1));
    let spawn = world.runs();
    assert_eq!(world.state(), ServiceState::StartPending);
    let notify = Notify {
        ready: true,
        status: Some("hello".to_owned()),
        ..Notify::default()
    };
    world.event(Event::Notified {
        host: spawn.host,
        notify,
    });
    assert_eq!(world.state(), ServiceState::Running);
    assert_eq!(world.view().status_text, Some("hello"));
}

#[test]
fn a_notify_service_that_stays_silent_is_killed_after_30_seconds_and_has_failed() {
    let mut world = World::with(Definition {
        protocol: Protocol::Notify,
        ..definition()
    });
    world.arrive(&device("a", 1));
    let spawn = world.runs();
    world.pass(Duration::from_millis(29_999));
    assert_eq!(world.state(), ServiceState::StartPending);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.state(), ServiceState::StopPending);
    assert!(world.took(&Effect::Kill { host: spawn.host }));
    world.ends(&spawn, Exit::Signal(9));
    assert_eq!(
        world.view().last_error,
        Some("it was not running 30 s after its start")
    );
    assert_eq!(world.view().failures, 1);
}

#[test]
fn extend_timeout_moves_the_start_deadline() {
    let mut world = World::with(Definition {
        protocol: Protocol::Notify,
        ..definition()
    });
    world.arrive(&device("a", 1));
    let spawn = world.runs();
    let notify = Notify {
        extend_timeout: Some(Duration::from_secs(100)),
        ..Notify::default()
    };
    world.event(Event::Notified {
        host: spawn.host,
        notify,
    });
    world.pass(Duration::from_secs(99));
    assert_eq!(world.state(), ServiceState::StartPending);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn a_program_that_cannot_be_started_is_tried_again_and_given_up_after_five_times() {
    let mut world = World::new();
    world.arrive(&device("a", 1));
    for attempt in 1..=5 {
        let spawn = world.spawned();
        world.event(Event::HostFailed {
            host: spawn.host,
            error: "cannot execute /bin/svc: no such file or directory".to_owned(),
            code: Win32Error::FILE_NOT_FOUND,
        });
        assert_eq!(world.state(), ServiceState::Stopped);
        assert_eq!(world.view().failures, attempt);
        world.pass(Duration::from_millis(100));
    }
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::GivenUp));
    assert!(world.view().last_error.unwrap().contains("no such file"));
    world.pass(Duration::from_secs(100));
    world.nothing_spawned();
}

#[test]
fn failures_further_apart_than_the_window_never_give_up() {
    let (mut world, _, mut spawn) = World::running();
    for _ in 0..12 {
        world.pass(Duration::from_secs(3));
        world.ends(&spawn, Exit::Code(1));
        world.pass(Duration::from_millis(100));
        spawn = world.runs();
        assert_eq!(spawn.reason, StartReason::Restart);
    }
    assert_eq!(world.view().held_back, None);
}

#[test]
fn whatever_the_main_process_leaves_behind_is_killed_and_waited_for() {
    let (mut world, _, spawn) = World::running();
    world.exits(&spawn, Exit::Code(0));
    assert_eq!(world.state(), ServiceState::StopPending);
    assert!(world.took(&Effect::Kill { host: spawn.host }));
    world.empties(&spawn);
    assert_eq!(world.state(), ServiceState::Stopped);
}

#[test]
fn a_service_that_does_not_stop_in_time_is_killed_until_it_is_gone() {
    let (mut world, _, spawn) = World::running();
    let ticket = world.stop().unwrap();
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
    world.pass(Duration::from_secs(20));
    assert!(world.took(&Effect::Kill { host: spawn.host }));
    world.pass(Duration::from_secs(20));
    assert!(
        world.took(&Effect::Kill { host: spawn.host }),
        "a process in a system call"
    );
    assert_eq!(world.reply(ticket), None);
    world.ends(&spawn, Exit::Signal(9));
    assert_eq!(world.state(), ServiceState::Stopped);
    assert_eq!(world.reply(ticket), Some(Reply::Done));
    assert_eq!(world.view().failures, 0, "an ordered stop is no failure");
}

#[test]
fn a_stop_before_the_program_runs_reaches_it_as_soon_as_it_does() {
    let mut world = World::new();
    world.arrive(&device("a", 1));
    world.stop().unwrap();
    let spawn = world.spawned();
    assert!(!world.took(&Effect::Terminate { host: spawn.host }));
    world.event(Event::HostStarted {
        host: spawn.host,
        pid: 9,
        start_time: 5,
    });
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn results_of_hosts_that_are_gone_change_nothing() {
    let (mut world, _, spawn) = World::running();
    world.ends(&spawn, Exit::Code(0));
    let before = world.engine.clone();
    let host = spawn.host;
    world.event(Event::HostStarted {
        host,
        pid: 4,
        start_time: 5,
    });
    world.event(Event::MainExited {
        host,
        exit: Exit::Code(3),
    });
    world.event(Event::HostEmpty { host });
    world.event(Event::HostLost { host });
    world.event(Event::HostAdopted { host });
    world.event(Event::Notified {
        host,
        notify: Notify {
            ready: true,
            ..Notify::default()
        },
    });
    assert_eq!(world.engine, before);
}

#[test]
fn a_start_by_hand_is_answered_when_the_service_runs() {
    let mut world = World::new();
    let ticket = world.start().unwrap();
    assert_eq!(world.reply(ticket), None);
    let spawn = world.runs();
    assert_eq!(spawn.reason, StartReason::Demand);
    assert_eq!(spawn.interface, None);
    assert_eq!(world.reply(ticket), Some(Reply::Started(spawn.run)));
}

#[test]
fn a_start_by_hand_that_fails_is_answered_with_the_reason() {
    let mut world = World::new();
    let ticket = world.start().unwrap();
    let spawn = world.spawned();
    let error = "cannot execute /bin/svc: permission denied".to_owned();
    let code = Win32Error::ACCESS_DENIED;
    world.event(Event::HostFailed {
        host: spawn.host,
        error: error.clone(),
        code,
    });
    assert_eq!(
        world.reply(ticket),
        Some(Reply::Failed {
            code,
            reason: error
        })
    );
}
