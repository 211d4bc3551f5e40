//! What follows the end of a run.

use std::time::Duration;

use arrival_engine::api::*;
use arrival_model::definition::{Definition, FailurePolicy};
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::state::{Control, HeldBack, ServiceState, StartReason};

use crate::world::*;

#[test]
fn a_service_that_ends_itself_while_its_interface_is_there_has_finished() {
    let (mut world, a, spawn) = World::running();
    world.ends(&spawn, Exit::Code(0));
    assert_eq!(world.view().held_back, Some(HeldBack::Finished));
    world.snapshot(&[&a]);
    world.pass(Duration::from_secs(100));
    world.nothing_spawned();
    world.arrive(&device("b", 2));
    world.runs();
}

#[test]
fn one_arrival_during_a_run_causes_at_most_one_more_run() {
    let (mut world, _, first) = World::running();
    world.arrive(&device("b", 2));
    world.ends(&first, Exit::Code(0));
    let second = world.runs();
    assert_eq!(second.reason, StartReason::Trigger);
    assert_eq!(second.interface.clone().unwrap().name, "b");
    world.ends(&second, Exit::Code(0));
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::Finished));
}

#[test]
fn an_arrival_that_the_service_was_told_of_does_not_start_it_again() {
    let (mut world, _, spawn) = World::running();
    let session = own_session(&mut world, &spawn);
    let filter = Filter {
        interfaces: true,
        ..Filter::default()
    };
    world.request(session, Request::Subscribe(filter)).unwrap();
    world.notices(session);
    world.arrive(&device("b", 2));
    world.notices(session);
    world.ends(&spawn, Exit::Code(0));
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::Finished));
}

#[test]
fn an_arrival_that_waits_unread_in_its_session_starts_it_again() {
    let (mut world, _, spawn) = World::running();
    let session = own_session(&mut world, &spawn);
    let filter = Filter {
        interfaces: true,
        ..Filter::default()
    };
    world.request(session, Request::Subscribe(filter)).unwrap();
    world.notices(session);
    world.arrive(&device("b", 2));
    world.ends(&spawn, Exit::Code(0));
    world.runs();
}

#[test]
fn a_service_stopped_by_its_operator_stays_so_until_the_next_arrival() {
    let (mut world, a, spawn) = World::running();
    world.arrive(&device("b", 2));
    world.stop().unwrap();
    world.ends(&spawn, Exit::Signal(15));
    assert_eq!(world.view().held_back, Some(HeldBack::StoppedByOperator));
    world.snapshot(&[&a, &device("b", 2)]);
    world.nothing_spawned();
    world.leave(&a);
    world.nothing_spawned();
    world.arrive(&device("a", 3));
    world.runs();
}

#[test]
fn an_arrival_while_an_operators_stop_goes_on_starts_the_service_again() {
    let (mut world, _, spawn) = World::running();
    world.stop().unwrap();
    world.arrive(&device("b", 2));
    world.ends(&spawn, Exit::Signal(15));
    world.runs();
}

#[test]
fn a_given_up_service_gets_a_new_chance_with_the_next_arrival() {
    let failure = FailurePolicy {
        restart: false,
        ..FailurePolicy::default()
    };
    let mut world = World::with(Definition {
        failure,
        ..definition()
    });
    world.arrive(&device("a", 1));
    let spawn = world.runs();
    world.ends(&spawn, Exit::Code(7));
    assert_eq!(world.view().held_back, Some(HeldBack::GivenUp));
    assert_eq!(
        world.view().last_error,
        Some("its main process ended with exit status 7")
    );
    world.arrive(&device("a", 2));
    world.runs();
}

#[test]
fn an_arrival_after_a_crash_but_before_its_host_is_empty_is_not_lost_to_giving_up() {
    let failure = FailurePolicy {
        restart: false,
        ..FailurePolicy::default()
    };
    let mut world = World::with(Definition {
        failure,
        ..definition()
    });
    world.arrive(&device("a", 1));
    let spawn = world.runs();
    world.exits(&spawn, Exit::Signal(11));
    world.arrive(&device("b", 2));
    world.empties(&spawn);
    world.pass(Duration::from_millis(100));
    world.runs();
}

#[test]
fn a_service_started_by_hand_is_restarted_after_a_crash_without_any_interface() {
    let mut world = World::new();
    world.start().unwrap();
    let spawn = world.runs();
    world.ends(&spawn, Exit::Signal(11));
    world.pass(Duration::from_millis(100));
    assert_eq!(world.runs().reason, StartReason::Restart);
}

#[test]
fn a_crash_after_the_last_removal_is_no_reason_to_start_again() {
    let (mut world, a, spawn) = World::running();
    world.leave(&a);
    world.ends(&spawn, Exit::Signal(11));
    world.pass(Duration::from_secs(1));
    world.nothing_spawned();
    assert_eq!(world.view().failures, 0, "the stop was ordered");
}

#[test]
fn a_host_that_is_found_empty_without_a_word_has_failed() {
    let (mut world, _, spawn) = World::running();
    world.empties(&spawn);
    assert_eq!(world.state(), ServiceState::Stopped);
    assert_eq!(world.view().last_exit, Some(Exit::Unknown));
    assert_eq!(world.view().failures, 1);
}

fn control() -> (World, Spawn, SessionId) {
    let mut world = World::with(control_definition());
    world.arrive(&device("a", 1));
    let spawn = world.runs();
    assert_eq!(world.state(), ServiceState::StartPending);
    let session = own_session(&mut world, &spawn);
    world
        .request(session, report(ServiceState::Running, 0x401))
        .unwrap();
    assert_eq!(world.state(), ServiceState::Running);
    (world, spawn, session)
}

fn asked(world: &mut World) -> Option<(AskId, Control)> {
    let at = world
        .effects
        .iter()
        .position(|effect| matches!(effect, Effect::Ask { .. }))?;
    match world.effects.remove(at) {
        Effect::Ask { ask, control, .. } => Some((ask, control)),
        _ => None,
    }
}

#[test]
fn a_control_service_is_asked_to_stop_and_stops_when_it_says_so_and_is_gone() {
    let (mut world, spawn, session) = control();
    let ticket = world.stop().unwrap();
    let (ask, what) = asked(&mut world).unwrap();
    assert_eq!(what, Control::Stop);
    assert!(!world.took(&Effect::Terminate { host: spawn.host }));
    world
        .request(
            session,
            Request::Answer {
                ask,
                code: Win32Error::SUCCESS,
            },
        )
        .unwrap();
    world
        .request(session, report(ServiceState::Stopped, 0))
        .unwrap();
    assert_eq!(
        world.state(),
        ServiceState::StopPending,
        "its process is still there"
    );
    world.ends(&spawn, Exit::Code(0));
    assert_eq!(world.state(), ServiceState::Stopped);
    assert_eq!(world.reply(ticket), Some(Reply::Done));
}

#[test]
fn a_control_service_that_does_not_answer_a_stop_gets_a_signal() {
    let (mut world, spawn, _) = control();
    world.stop().unwrap();
    world.pass(Duration::from_secs(10));
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
}

#[test]
fn a_control_service_that_ends_without_reporting_stopped_has_failed() {
    let (mut world, spawn, _) = control();
    world.ends(&spawn, Exit::Code(0));
    assert_eq!(world.view().failures, 1);
    let error = world.view().last_error.unwrap().to_owned();
    assert!(error.contains("without reporting STOPPED"), "{error}");
}

#[test]
fn a_control_service_that_does_not_connect_in_30_seconds_has_failed() {
    let mut world = World::with(control_definition());
    let ticket = world.start().unwrap();
    let spawn = world.runs();
    world.pass(Duration::from_secs(30));
    world.ends(&spawn, Exit::Signal(9));
    match world.reply(ticket) {
        Some(Reply::Failed { code, .. }) => {
            assert_eq!(code, Win32Error::SERVICE_REQUEST_TIMEOUT);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_running_service_that_accepts_trigger_events_is_told_of_each() {
    let (mut world, _, session) = control();
    world.arrive(&device("b", 2));
    let (ask, what) = asked(&mut world).unwrap();
    assert_eq!(what, Control::TriggerEvent);
    world
        .request(
            session,
            Request::Answer {
                ask,
                code: Win32Error::SUCCESS,
            },
        )
        .unwrap();
    let cursor = world.engine.cursor();
    assert!(
        world
            .request(session, Request::StopIfUnchanged(cursor))
            .is_ok()
    );
}

#[test]
fn a_trigger_event_refused_with_1115_stays_queued_and_starts_the_service_again() {
    let (mut world, spawn, session) = control();
    world.arrive(&device("b", 2));
    let (ask, _) = asked(&mut world).unwrap();
    let code = Win32Error::SHUTDOWN_IN_PROGRESS;
    world
        .request(session, Request::Answer { ask, code })
        .unwrap();
    let cursor = world.engine.cursor();
    let refused = world.request(session, Request::StopIfUnchanged(cursor));
    assert_eq!(refused, Err(Denied::Changed("a trigger event".to_owned())));
    world
        .request(session, report(ServiceState::StopPending, 0))
        .unwrap();
    world
        .request(session, report(ServiceState::Stopped, 0))
        .unwrap();
    world.ends(&spawn, Exit::Code(0));
    world.runs();
}

#[test]
fn stop_if_unchanged_is_refused_after_an_arrival_that_the_cursor_does_not_cover() {
    let (mut world, spawn, session) = control();
    let before = world.engine.cursor();
    let a = device("a", 1);
    world.leave(&a);
    world.arrive(&device("b", 2));
    let refused = world.request(session, Request::StopIfUnchanged(before));
    assert!(matches!(refused, Err(Denied::Changed(_))), "{refused:?}");
    assert_eq!(world.state(), ServiceState::Running);
    let after = world.engine.cursor();
    world.leave(&device("b", 2));
    // The trigger event of b has not been taken, so it still holds the service.
    assert!(
        world
            .request(session, Request::StopIfUnchanged(after))
            .is_err()
    );
    world.ends(&spawn, Exit::Code(0));
}

#[test]
fn an_accepted_stop_if_unchanged_is_stop_pending_in_the_same_step() {
    let (mut world, _, spawn) = World::running();
    let session = own_session(&mut world, &spawn);
    let cursor = world.engine.cursor();
    world
        .request(session, Request::StopIfUnchanged(cursor))
        .unwrap();
    assert_eq!(world.state(), ServiceState::StopPending);
    world.arrive(&device("b", 2));
    world.ends(&spawn, Exit::Code(0));
    world.runs();
}

#[test]
fn a_cursor_of_another_epoch_is_refused_while_any_interface_is_there() {
    let (mut world, _, spawn) = World::running();
    let session = own_session(&mut world, &spawn);
    let mut cursor = world.engine.cursor();
    cursor.epoch += 1;
    assert!(
        world
            .request(session, Request::StopIfUnchanged(cursor))
            .is_err()
    );
}

fn answer(ask: AskId) -> Request {
    let code = Win32Error::SUCCESS;
    Request::Answer { ask, code }
}

#[test]
fn each_arrival_during_a_run_is_one_question_however_many_are_open() {
    let (mut world, _, session) = control();
    world.arrive(&device("b", 2));
    let (first, what) = asked(&mut world).unwrap();
    assert_eq!(what, Control::TriggerEvent);
    world.arrive(&device("c", 3));
    let (second, _) = asked(&mut world).unwrap();
    assert_eq!(asked(&mut world), None, "the first is still open");
    world.request(session, answer(first)).unwrap();
    assert_eq!(asked(&mut world), None);
    world.request(session, answer(second)).unwrap();
    let cursor = world.engine.cursor();
    world
        .request(session, Request::StopIfUnchanged(cursor))
        .unwrap();
}

#[test]
fn a_question_is_answered_by_whom_it_was_put_to_and_once() {
    let (mut world, _, session) = control();
    let other = SessionId(session.0 + 1000);
    let opened = Event::SessionOpened {
        session: other,
        peer: peer(0),
        host: None,
    };
    world.event(opened);
    world.arrive(&device("b", 2));
    let (ask, _) = asked(&mut world).unwrap();
    let refused = world.request(other, answer(ask));
    assert_eq!(refused, Err(Denied::NoSuchAsk(ask)));
    world.request(session, answer(ask)).unwrap();
    let again = world.request(session, answer(ask));
    assert_eq!(again, Err(Denied::NoSuchAsk(ask)));
}

#[test]
fn the_questions_of_a_run_end_with_it() {
    let (mut world, spawn, session) = control();
    world.arrive(&device("b", 2));
    let (ask, _) = asked(&mut world).unwrap();
    world
        .request(session, report(ServiceState::StopPending, 0))
        .unwrap();
    world
        .request(session, report(ServiceState::Stopped, 0))
        .unwrap();
    world.ends(&spawn, Exit::Code(0));
    let late = world.request(session, answer(ask));
    assert_eq!(late, Err(Denied::NoSuchAsk(ask)));
    let next = world.runs();
    let session = own_session(&mut world, &next);
    world
        .request(session, report(ServiceState::Running, 0x401))
        .unwrap();
    world.arrive(&device("c", 3));
    assert!(asked(&mut world).is_some(), "the next run is asked anew");
}

#[test]
fn a_control_service_that_takes_no_trigger_events_is_not_asked_and_may_stop() {
    let (mut world, _, session) = control();
    world
        .request(session, report(ServiceState::Running, 1))
        .unwrap();
    world.arrive(&device("b", 2));
    assert_eq!(asked(&mut world), None);
    let cursor = world.engine.cursor();
    world
        .request(session, Request::StopIfUnchanged(cursor))
        .unwrap();
}

#[test]
fn an_arrival_before_a_control_service_runs_is_asked_about_once_it_does() {
    let mut world = World::with(control_definition());
    world.arrive(&device("a", 1));
    let spawn = world.runs();
    let session = own_session(&mut world, &spawn);
    world.arrive(&device("b", 2));
    assert_eq!(asked(&mut world), None);
    world
        .request(session, report(ServiceState::Running, 0x401))
        .unwrap();
    let (_, what) = asked(&mut world).unwrap();
    assert_eq!(what, Control::TriggerEvent);
}

#[test]
fn an_arrival_during_an_operators_stop_ends_it_even_if_it_leaves_again() {
    let (mut world, _, spawn) = World::running();
    world.stop().unwrap();
    let b = device("b", 2);
    world.arrive(&b);
    world.leave(&b);
    world.ends(&spawn, Exit::Code(0));
    assert_ne!(world.view().held_back, Some(HeldBack::StoppedByOperator));
    world.runs();
}
