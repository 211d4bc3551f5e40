//! Arrivals and removals, in every state.

use std::time::Duration;

use arrival_engine::api::*;
use arrival_model::definition::{Damping, Definition, Replug};
use arrival_model::exit::Exit;
use arrival_model::interface::Interface;
use arrival_model::state::{HeldBack, ServiceState};
use arrival_model::trigger::{DeviceTrigger, Trigger, Wait};

use crate::world::*;

#[test]
fn the_same_interface_seen_again_is_no_arrival() {
    let (mut world, device, _) = World::running();
    let cursor = world.engine.cursor();
    world.arrive(&device);
    world.snapshot(&[&device]);
    world.nothing_spawned();
    assert_eq!(world.engine.cursor(), cursor);
    assert_eq!(world.view().starts, 1);
}

#[test]
fn an_interface_of_another_class_or_id_starts_nothing() {
    let mut world = World::with(Definition {
        triggers: vec![trigger(&[r"test\B"])],
        ..definition()
    });
    world.arrive(&device("a", 1));
    world.nothing_spawned();
    world.arrive(&device("b", 2));
    assert_eq!(world.spawned().interface.unwrap().name, "b");
}

#[test]
fn an_ancestors_id_counts_only_where_the_trigger_says_so() {
    let wants_parent = |ancestors| {
        let plain = device_trigger(&[r"TEST\PARENT"]);
        Trigger::device(DeviceTrigger { ancestors, ..plain })
    };
    let mut world = World::with(Definition {
        triggers: vec![wants_parent(false)],
        ..definition()
    });
    world.arrive(&device("a", 1));
    world.nothing_spawned();
    let mut world = World::with(Definition {
        triggers: vec![wants_parent(true)],
        ..definition()
    });
    world.arrive(&device("a", 1));
    world.spawned();
}

#[test]
fn a_trigger_waits_for_usable_unless_it_says_appeared() {
    let early = Interface {
        usable: false,
        ..device("a", 1)
    };
    let mut world = World::new();
    world.arrive(&early);
    world.nothing_spawned();
    world.arrive(&device("a", 1));
    world.spawned();

    let plain = device_trigger(&[]);
    let appeared = Trigger::device(DeviceTrigger {
        wait: Wait::Appeared,
        ..plain
    });
    let mut world = World::with(Definition {
        triggers: vec![appeared],
        ..definition()
    });
    world.arrive(&early);
    world.runs();
    world.arrive(&device("a", 1));
    world.nothing_spawned();
    assert_eq!(world.view().starts, 1);
}

#[test]
fn the_service_stays_until_the_last_interface_is_gone() {
    let (mut world, a, spawn) = World::running();
    let b = device("b", 2);
    world.arrive(&b);
    world.leave(&b);
    assert_eq!(world.state(), ServiceState::Running);
    world.leave(&a);
    assert_eq!(world.state(), ServiceState::StopPending);
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
    world.ends(&spawn, Exit::Signal(15));
    assert_eq!(world.state(), ServiceState::Stopped);
    world.nothing_spawned();
}

#[test]
fn an_arrival_while_the_service_stops_starts_it_again_once_it_has_stopped() {
    let (mut world, a, spawn) = World::running();
    world.leave(&a);
    world.arrive(&device("a", 2));
    assert_eq!(world.state(), ServiceState::StopPending);
    world.nothing_spawned();
    world.ends(&spawn, Exit::Code(0));
    world.runs();
    assert_eq!(
        world
            .states
            .iter()
            .rev()
            .take(4)
            .rev()
            .copied()
            .collect::<Vec<_>>(),
        [
            ServiceState::StopPending,
            ServiceState::Stopped,
            ServiceState::StartPending,
            ServiceState::Running
        ]
    );
}

#[test]
fn an_arrival_that_leaves_again_while_the_service_stops_starts_nothing() {
    let (mut world, a, spawn) = World::running();
    world.leave(&a);
    let back = device("a", 2);
    world.arrive(&back);
    world.leave(&back);
    world.ends(&spawn, Exit::Code(0));
    world.nothing_spawned();
    assert_eq!(world.state(), ServiceState::Stopped);
}

#[test]
fn twenty_flaps_in_one_batch_end_with_a_running_service() {
    let (mut world, a, spawn) = World::running();
    world.leave(&a);
    for inode in 2..22 {
        let flap = device("a", inode);
        world.arrive(&flap);
        if inode < 21 {
            world.leave(&flap);
        }
    }
    world.ends(&spawn, Exit::Code(0));
    world.runs();
    assert_eq!(world.state(), ServiceState::Running);
    assert_eq!(world.view().starts, 2);
}

#[test]
fn an_interface_in_another_incarnation_is_a_removal_and_an_arrival() {
    let (mut world, _, spawn) = World::running();
    world.arrive(&device("a", 2));
    assert_eq!(
        world.state(),
        ServiceState::StopPending,
        "the given interface is gone"
    );
    world.ends(&spawn, Exit::Code(0));
    let again = world.runs();
    assert_eq!(again.interface.unwrap().key, device("a", 2).key);
}

#[test]
fn a_late_removal_of_a_replaced_incarnation_changes_nothing() {
    let mut world = World::with(Definition {
        replug: Replug::Ignore,
        ..definition()
    });
    world.arrive(&device("a", 2));
    world.runs();
    world.leave(&device("a", 1));
    assert_eq!(world.state(), ServiceState::Running);
}

#[test]
fn a_plain_program_whose_interface_is_replaced_is_restarted_with_one_that_is_there() {
    let (mut world, a, spawn) = World::running();
    world.arrive(&device("b", 2));
    world.leave(&a);
    assert_eq!(world.state(), ServiceState::StopPending);
    world.ends(&spawn, Exit::Signal(15));
    let again = world.runs();
    assert_eq!(again.interface.unwrap().name, "b");
}

#[test]
fn replug_ignore_leaves_the_program_alone_while_any_interface_is_there() {
    let mut world = World::with(Definition {
        replug: Replug::Ignore,
        ..definition()
    });
    let a = device("a", 1);
    world.arrive(&a);
    world.runs();
    world.arrive(&device("b", 2));
    world.leave(&a);
    assert_eq!(world.state(), ServiceState::Running);
}

#[test]
fn a_program_that_takes_notices_is_not_restarted_for_a_replaced_interface() {
    let (mut world, a, spawn) = World::running();
    let session = own_session(&mut world, &spawn);
    let filter = Filter {
        interfaces: true,
        ..Filter::default()
    };
    world.request(session, Request::Subscribe(filter)).unwrap();
    world.arrive(&device("b", 2));
    world.leave(&a);
    assert_eq!(world.state(), ServiceState::Running);
}

#[test]
fn without_follow_the_service_stays_and_status_says_that_no_interface_is_left() {
    let mut world = World::with(Definition {
        follow: false,
        ..definition()
    });
    let a = device("a", 1);
    world.arrive(&a);
    world.runs();
    world.leave(&a);
    assert_eq!(world.state(), ServiceState::Running);
    assert_eq!(world.view().note, Some("no interface left"));
}

#[test]
fn a_run_started_by_hand_without_an_interface_stays_until_one_came_and_went() {
    let mut world = World::new();
    world.start().unwrap();
    world.runs();
    world.leave(&device("a", 1));
    assert_eq!(world.state(), ServiceState::Running);
    let a = device("a", 1);
    world.arrive(&a);
    world.nothing_spawned();
    world.leave(&a);
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn linger_waits_before_the_stop_and_a_return_calls_it_off() {
    let linger = Duration::from_secs(2);
    let replug = Replug::Ignore;
    let mut world = World::with(Definition {
        linger,
        replug,
        ..definition()
    });
    let a = device("a", 1);
    world.arrive(&a);
    world.runs();
    world.leave(&a);
    assert_eq!(world.state(), ServiceState::Running);
    assert_eq!(world.view().note, Some("no interface left, lingering"));
    world.pass(Duration::from_millis(1_999));
    world.arrive(&device("a", 2));
    world.pass(Duration::from_secs(100));
    assert_eq!(world.state(), ServiceState::Running);
    world.leave(&device("a", 2));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn a_return_while_lingering_makes_the_next_removal_wait_its_whole_time() {
    let linger = Duration::from_secs(2);
    let replug = Replug::Ignore;
    let mut world = World::with(Definition {
        linger,
        replug,
        ..definition()
    });
    let a = device("a", 1);
    world.arrive(&a);
    world.runs();
    world.leave(&a);
    world.pass(Duration::from_millis(1_500));
    world.arrive(&a);
    assert_eq!(world.view().note, None);
    world.leave(&a);
    world.pass(Duration::from_millis(1_999));
    assert_eq!(world.state(), ServiceState::Running);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn a_removal_takes_a_planned_restart_back() {
    let (mut world, a, spawn) = World::running();
    world.ends(&spawn, Exit::Signal(11));
    assert_eq!(
        world.view().note,
        Some("will be started again after a failure")
    );
    world.leave(&a);
    world.pass(Duration::from_secs(10));
    world.nothing_spawned();
}

#[test]
fn an_arrival_does_not_wait_for_the_delay_after_a_failure() {
    let (mut world, _, spawn) = World::running();
    world.ends(&spawn, Exit::Signal(11));
    world.arrive(&device("b", 2));
    world.runs();
    world.pass(Duration::from_secs(10));
    world.nothing_spawned();
    assert_eq!(world.view().starts, 2);
}

#[test]
fn damping_holds_a_flapping_service_back_and_lets_it_go_again() {
    let damping = Some(Damping {
        starts: 2,
        within: Duration::from_secs(10),
        hold: Duration::from_secs(30),
    });
    let mut world = World::with(Definition {
        damping,
        ..definition()
    });
    for inode in 1..=2 {
        let a = device("a", inode);
        world.arrive(&a);
        let spawn = world.runs();
        world.leave(&a);
        world.ends(&spawn, Exit::Code(0));
    }
    world.arrive(&device("a", 3));
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::Flapping));
    world.pass(Duration::from_secs(30));
    world.runs();
    assert_eq!(world.view().held_back, None);
}

#[test]
fn an_overrun_delivers_the_difference_as_ordinary_arrivals_and_removals() {
    let (mut world, a, spawn) = World::running();
    let b = device("b", 2);
    world.event(Event::Overrun { source: "kernel" });
    world.snapshot(&[&b]);
    assert_eq!(world.engine.counters().resyncs, 1);
    assert_eq!(world.state(), ServiceState::StopPending, "a is gone");
    world.ends(&spawn, Exit::Signal(15));
    assert_eq!(world.runs().interface.unwrap().key, b.key);
    world.snapshot(&[&a, &b]);
    world.nothing_spawned();
}

#[test]
fn nothing_is_started_by_itself_before_the_first_snapshot() {
    let mut world = World::empty();
    world.define(definition());
    world.arrive(&device("a", 1));
    world.event(Event::Loaded);
    world.nothing_spawned();
    world.snapshot(&[&device("a", 1)]);
    world.spawned();
}

#[test]
fn devices_present_at_the_first_start_arrive_once() {
    let mut world = World::empty();
    world.define(definition());
    world.event(Event::Loaded);
    let (a, b) = (device("a", 1), device("b", 2));
    world.snapshot(&[&a, &b]);
    world.runs();
    world.snapshot(&[&a, &b]);
    world.nothing_spawned();
    assert_eq!(world.view().starts, 1);
}
