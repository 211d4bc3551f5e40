//! Admission, and requests in every state.

use arrival_engine::api::*;
use arrival_model::access::Right;
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::state::{HeldBack, ServiceState};

use crate::world::*;

#[test]
fn a_start_is_refused_in_every_state_but_stopped() {
    let (mut world, _, spawn) = World::running();
    assert_eq!(
        world.start().unwrap_err().code(),
        Win32Error::SERVICE_ALREADY_RUNNING
    );
    world.stop().unwrap();
    assert_eq!(
        world.start().unwrap_err().code(),
        Win32Error::SERVICE_ALREADY_RUNNING
    );
    world.ends(&spawn, Exit::Code(0));
    assert!(world.start().is_ok());
    assert_eq!(
        world.start().unwrap_err().code(),
        Win32Error::SERVICE_ALREADY_RUNNING
    );
}

#[test]
fn a_stop_is_refused_when_there_is_nothing_to_stop_or_it_stops_already() {
    let mut world = World::new();
    assert_eq!(
        world.stop().unwrap_err().code(),
        Win32Error::SERVICE_NOT_ACTIVE
    );
    let (mut world, _, _) = World::running();
    world.stop().unwrap();
    assert_eq!(
        world.stop().unwrap_err().code(),
        Win32Error::SERVICE_CANNOT_ACCEPT_CTRL
    );
}

#[test]
fn a_stop_takes_back_a_restart_that_is_planned() {
    let (mut world, _, spawn) = World::running();
    world.ends(&spawn, Exit::Code(1));
    world.stop().unwrap();
    world.pass(std::time::Duration::from_secs(1));
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::StoppedByOperator));
}

#[test]
fn a_guest_may_look_but_not_touch_and_a_refusal_changes_nothing() {
    let mut world = World::new();
    let before = world.engine.clone();
    assert!(
        world
            .engine
            .check(GUEST, Some(&name()), Right::QueryStatus)
            .is_ok()
    );
    for request in [
        Request::Start {
            service: name(),
            arguments: Vec::new(),
            wait: false,
        },
        Request::Stop {
            service: name(),
            wait: false,
        },
        Request::Enable(name()),
        Request::Disable(name()),
        Request::Shutdown,
    ] {
        let denied = world.request(GUEST, request.clone()).unwrap_err();
        assert_eq!(denied.code(), Win32Error::ACCESS_DENIED, "{request:?}");
    }
    assert_eq!(world.engine, before);
}

#[test]
fn a_service_that_nobody_defined_does_not_exist() {
    let mut world = World::new();
    let service = "other".parse().unwrap();
    let denied = world
        .request(
            ROOT,
            Request::Start {
                service,
                arguments: Vec::new(),
                wait: false,
            },
        )
        .unwrap_err();
    assert_eq!(denied, Denied::NoSuchService("other".to_owned()));
    assert_eq!(denied.code(), Win32Error::SERVICE_DOES_NOT_EXIST);
}

fn save(world: &mut World, enabled: bool, error: Option<String>) -> Ticket {
    let request = if enabled {
        Request::Enable(name())
    } else {
        Request::Disable(name())
    };
    let ticket = world.request(ROOT, request).unwrap();
    assert!(world.took(&Effect::SaveEnabled {
        ticket,
        service: name(),
        enabled
    }));
    assert_eq!(world.reply(ticket), None, "the store has not answered");
    world.event(Event::EnabledSaved {
        ticket,
        service: name(),
        enabled,
        error,
    });
    ticket
}

#[test]
fn a_disabled_service_is_not_started_by_anything_until_it_is_enabled() {
    let mut world = World::new();
    let ticket = save(&mut world, false, None);
    assert_eq!(world.reply(ticket), Some(Reply::Done));
    world.arrive(&device("a", 1));
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::Disabled));
    assert_eq!(
        world.start().unwrap_err().code(),
        Win32Error::SERVICE_DISABLED
    );
    save(&mut world, true, None);
    world.runs();
}

#[test]
fn disabling_leaves_a_run_alone() {
    let (mut world, _, spawn) = World::running();
    save(&mut world, false, None);
    assert_eq!(world.state(), ServiceState::Running);
    world.ends(&spawn, Exit::Code(1));
    world.pass(std::time::Duration::from_secs(1));
    world.nothing_spawned();
}

#[test]
fn what_the_store_could_not_write_is_not_done() {
    let mut world = World::new();
    let ticket = save(
        &mut world,
        false,
        Some("no space left on device".to_owned()),
    );
    match world.reply(ticket) {
        Some(Reply::Failed { reason, .. }) => assert!(reason.contains("no space")),
        other => panic!("{other:?}"),
    }
    assert!(world.view().enabled);
}

#[test]
fn an_illegal_report_is_refused_and_changes_nothing() {
    let (mut world, _, spawn) = World::running();
    let session = own_session(&mut world, &spawn);
    world
        .request(session, report(ServiceState::Paused, 0))
        .unwrap();
    let denied = world
        .request(session, report(ServiceState::StartPending, 0))
        .unwrap_err();
    assert_eq!(
        denied,
        Denied::IllegalTransition(ServiceState::Paused, ServiceState::StartPending)
    );
    assert_eq!(world.state(), ServiceState::Paused);
}

#[test]
fn only_a_process_of_a_service_may_report() {
    let mut world = World::new();
    let denied = world
        .request(ROOT, report(ServiceState::Running, 0))
        .unwrap_err();
    assert_eq!(denied, Denied::NotAService);
}

#[test]
fn a_ticket_of_a_closed_session_is_never_answered() {
    let mut world = World::new();
    let ticket = world.start().unwrap();
    world.event(Event::SessionClosed(ROOT));
    world.runs();
    assert_eq!(world.reply(ticket), None);
}

#[test]
fn a_shutdown_stops_everything_and_starts_nothing_more() {
    let (mut world, _, spawn) = World::running();
    let ticket = world.request(ROOT, Request::Shutdown).unwrap();
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
    world.arrive(&device("b", 2));
    assert_eq!(world.reply(ticket), None);
    world.ends(&spawn, Exit::Signal(15));
    world.nothing_spawned();
    assert_eq!(world.reply(ticket), Some(Reply::ShutDown { stopped: 1 }));
    assert!(world.took(&Effect::ShutDown));
    assert_eq!(world.start().unwrap_err(), Denied::ShuttingDown);
}

#[test]
fn a_shutdown_of_nothing_is_answered_at_once() {
    let mut world = World::new();
    let ticket = world.request(ROOT, Request::Shutdown).unwrap();
    assert_eq!(world.reply(ticket), Some(Reply::ShutDown { stopped: 0 }));
}
