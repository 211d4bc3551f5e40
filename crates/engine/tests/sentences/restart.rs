//! The manager ends, by a signal or by kill -9, and another process continues.

use std::time::Duration;

use arrival_engine::api::*;
use arrival_model::exit::Exit;
use arrival_model::state::{HeldBack, ServiceState};

use crate::world::*;

fn back(world: &mut World, alive: bool, devices: &[&arrival_model::interface::Interface]) {
    world.restart();
    for remembered in world.engine.remembered_hosts() {
        let host = remembered.host;
        let event = if alive {
            Event::HostAdopted { host }
        } else {
            Event::HostLost { host }
        };
        world.event(event);
    }
    world.define(definition());
    world.event(Event::Loaded);
    world.snapshot(devices);
}

#[test]
fn a_running_service_goes_on_and_is_followed_as_before() {
    let (mut world, a, spawn) = World::running();
    back(&mut world, true, &[&a]);
    world.nothing_spawned();
    assert_eq!(world.state(), ServiceState::Running);
    assert_eq!(
        world.view().pid,
        Some(100 + i32::try_from(spawn.host.0).unwrap())
    );
    world.leave(&a);
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
    world.ends(&spawn, Exit::Unknown);
    assert_eq!(world.state(), ServiceState::Stopped);
    assert_eq!(world.view().failures, 0);
}

#[test]
fn a_device_that_left_meanwhile_stops_the_service() {
    let (mut world, _, spawn) = World::running();
    back(&mut world, true, &[]);
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
}

#[test]
fn a_device_that_came_meanwhile_starts_the_service() {
    let mut world = World::new();
    back(&mut world, true, &[&device("a", 1)]);
    world.spawned();
}

#[test]
fn a_service_that_ended_meanwhile_has_failed_and_is_started_again() {
    let (mut world, a, _) = World::running();
    back(&mut world, false, &[&a]);
    assert_eq!(world.view().last_exit, Some(Exit::Unknown));
    world.pass(Duration::from_millis(200));
    world.runs();
}

#[test]
fn a_start_that_the_manager_did_not_live_to_see_is_made_again() {
    let mut world = World::new();
    let a = device("a", 1);
    world.arrive(&a);
    let lost = world.spawned();
    back(&mut world, false, &[&a]);
    let again = world.runs();
    assert_ne!(again.host, lost.host, "a host is never used again");
    assert_eq!(world.view().failures, 0);
}

#[test]
fn finished_and_stopped_by_its_operator_outlive_the_manager() {
    let (mut world, a, spawn) = World::running();
    world.ends(&spawn, Exit::Code(0));
    back(&mut world, true, &[&a]);
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::Finished));

    let (mut world, a, spawn) = World::running();
    world.stop().unwrap();
    world.ends(&spawn, Exit::Code(0));
    back(&mut world, true, &[&a]);
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::StoppedByOperator));
}

#[test]
fn a_stop_that_was_ordered_is_ordered_again() {
    let (mut world, a, spawn) = World::running();
    world.leave(&a);
    back(&mut world, true, &[]);
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
    world.pass(Duration::from_secs(20));
    assert!(world.took(&Effect::Kill { host: spawn.host }));
}

#[test]
fn cursors_go_on_where_they_were() {
    let (mut world, a, _) = World::running();
    let before = world.engine.cursor();
    back(&mut world, true, &[&a]);
    let after = world.engine.cursor();
    assert_eq!(after.epoch, before.epoch);
    assert!(after.n >= before.n);
}

#[test]
fn a_definition_that_vanished_meanwhile_is_gone_after_its_run() {
    let (mut world, a, spawn) = World::running();
    world.restart();
    world.event(Event::HostAdopted { host: spawn.host });
    world.event(Event::Loaded);
    world.snapshot(&[&a]);
    assert_eq!(world.state(), ServiceState::Running);
    world.leave(&a);
    world.ends(&spawn, Exit::Unknown);
    assert!(world.engine.service(&name()).is_none());
}

#[test]
fn a_damaged_record_is_left_out_and_named() {
    let (mut world, _, _) = World::running();
    world.records.insert("life/svc".to_owned(), "{".to_owned());
    world.records.insert("what/ever".to_owned(), "1".to_owned());
    let records = world.records.clone();
    let settings = Settings {
        epoch: 1,
        queue_limit: 4,
        port_closed_after: Duration::from_secs(60),
        access: Default::default(),
    };
    let restored = arrival_engine::Engine::restore(settings, records);
    assert_eq!(restored.problems.len(), 2, "{:?}", restored.problems);
    assert!(restored.problems[0].contains("life/svc"));
}
