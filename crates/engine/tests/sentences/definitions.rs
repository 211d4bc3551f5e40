//! Definitions that come, change and go while devices are there.

use std::sync::Arc;

use arrival_engine::api::*;
use arrival_model::definition::{Definition, StartType};
use arrival_model::exit::Exit;
use arrival_model::state::{HeldBack, ServiceState, StartReason};

use crate::world::*;

#[test]
fn a_new_definition_whose_device_is_there_starts() {
    let mut world = World::empty();
    world.event(Event::Loaded);
    world.snapshot(&[&device("a", 1)]);
    world.nothing_spawned();
    world.define(definition());
    world.spawned();
}

#[test]
fn the_same_definition_again_changes_nothing() {
    let (mut world, _, spawn) = World::running();
    world.ends(&spawn, Exit::Code(0));
    let before = world.engine.clone();
    world.define(definition());
    assert_eq!(world.engine, before);
    world.nothing_spawned();
}

#[test]
fn a_trigger_that_was_there_before_does_not_fire_again() {
    let (mut world, _, spawn) = World::running();
    world.ends(&spawn, Exit::Code(0));
    world.define(Definition {
        description: "new".to_owned(),
        ..definition()
    });
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::Finished));
}

#[test]
fn a_trigger_that_was_not_there_before_fires_if_its_condition_is_true() {
    let (mut world, _, spawn) = World::running();
    world.ends(&spawn, Exit::Code(0));
    let triggers = vec![trigger(&[]), trigger(&[r"TEST\A"])];
    world.define(Definition {
        triggers,
        ..definition()
    });
    world.runs();
}

#[test]
fn a_trigger_registered_while_the_service_stops_fires_once_it_has_stopped() {
    let (mut world, _, spawn) = World::running();
    world.stop().unwrap();
    let triggers = vec![trigger(&[]), trigger(&[r"TEST\A"])];
    world.define(Definition {
        triggers,
        ..definition()
    });
    world.nothing_spawned();
    world.ends(&spawn, Exit::Code(0));
    world.runs();
}

#[test]
fn a_definition_that_no_longer_wants_the_device_lets_the_service_stop() {
    let (mut world, _, _) = World::running();
    world.define(Definition {
        triggers: vec![trigger(&[r"TEST\OTHER"])],
        ..definition()
    });
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn a_removed_definition_is_forgotten_with_the_end_of_its_run() {
    let (mut world, a, spawn) = World::running();
    world.event(Event::Undefined(name()));
    assert_eq!(world.state(), ServiceState::Running);
    assert_eq!(world.view().note, Some("its definition is gone"));
    world.leave(&a);
    world.arrive(&device("a", 2));
    world.ends(&spawn, Exit::Code(0));
    world.nothing_spawned();
    assert!(world.engine.service(&name()).is_none());
    assert!(
        world.records.keys().all(|key| !key.ends_with("/svc")),
        "{:?}",
        world.records
    );
}

#[test]
fn a_removed_definition_that_comes_back_during_its_run_is_as_if_it_never_left() {
    let (mut world, a, _) = World::running();
    world.event(Event::Undefined(name()));
    world.define(definition());
    assert_eq!(world.view().note, None);
    world.leave(&a);
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn a_service_with_start_auto_starts_with_the_manager_once_per_boot() {
    let auto = Definition {
        start: StartType::Auto,
        triggers: Vec::new(),
        ..definition()
    };
    let mut world = World::empty();
    world.define(auto.clone());
    world.event(Event::Loaded);
    let spawn = world.runs();
    assert_eq!(spawn.reason, StartReason::Auto);
    world.stop().unwrap();
    world.ends(&spawn, Exit::Code(0));
    world.restart();
    world.define(auto);
    world.event(Event::Loaded);
    world.snapshot(&[]);
    world.nothing_spawned();
}

#[test]
fn a_definition_that_comes_disabled_is_held_back() {
    let mut world = World::empty();
    world.event(Event::Defined {
        definition: Arc::new(definition()),
        enabled: false,
    });
    world.event(Event::Loaded);
    world.snapshot(&[&device("a", 1)]);
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::Disabled));
}

#[test]
fn names_are_found_in_any_case() {
    let world = World::new();
    assert_eq!(world.engine.find("SVC"), Some(name()));
    assert_eq!(world.engine.find("other"), None);
}
