//! Levels and edges that are no devices, in every state.

use std::time::Duration;

use arrival_engine::api::*;
use arrival_model::definition::{Definition, FailurePolicy, Protocol, StartType};
use arrival_model::exit::Exit;
use arrival_model::guid::Guid;
use arrival_model::port::{Port, PortMatch, Transport};
use arrival_model::state::{HeldBack, ServiceState};
use arrival_model::trigger::{Cause, CustomTrigger, Level, PolicyKind, Signal, Trigger};

use crate::world::*;

const ADDRESS: Cause = Cause::Network { available: true };
const NO_ADDRESS: Cause = Cause::Network { available: false };

fn port() -> PortMatch {
    PortMatch {
        port: Port::Number(5001),
        protocol: Transport::Udp,
        program: None,
        user: None,
    }
}

fn custom() -> CustomTrigger {
    CustomTrigger {
        provider: Guid::from_u128(7),
        items: Vec::new(),
    }
}

/// A service with these triggers alone.
fn with(triggers: Vec<Trigger>) -> Definition {
    Definition {
        triggers,
        ..definition()
    }
}

fn event() -> Event {
    Event::Happened(Signal::Custom(custom()))
}

#[test]
fn the_first_address_starts_a_service_and_the_last_one_that_goes_ends_it() {
    let mut world = World::with(with(vec![Trigger::start(ADDRESS)]));
    world.level(Level::Network, None);
    world.nothing_spawned();
    world.level(Level::Network, Some("eth0"));
    let spawn = world.runs();
    world.level(Level::Network, Some("eth0"));
    assert_eq!(world.view().starts, 1);
    world.level(Level::Network, None);
    assert_eq!(world.state(), ServiceState::StopPending);
    world.ends(&spawn, Exit::Signal(15));
    world.nothing_spawned();
    assert_eq!(world.view().held_back, None);
}

#[test]
fn a_service_may_serve_the_absence_of_a_network() {
    let mut world = World::with(with(vec![Trigger::start(NO_ADDRESS)]));
    world.level(Level::Network, None);
    let spawn = world.runs();
    world.level(Level::Network, Some("eth0"));
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
}

#[test]
fn without_follow_the_service_stays_when_the_level_falls() {
    let mut world = World::with(Definition {
        follow: false,
        ..with(vec![Trigger::start(ADDRESS)])
    });
    world.level(Level::Network, Some(""));
    world.runs();
    world.level(Level::Network, None);
    assert_eq!(world.state(), ServiceState::Running);
    assert_eq!(world.view().note, Some("no interface left"));
}

#[test]
fn an_address_that_comes_back_while_the_service_stops_starts_it_again() {
    let mut world = World::with(with(vec![Trigger::start(ADDRESS)]));
    world.level(Level::Network, Some(""));
    let spawn = world.runs();
    world.level(Level::Network, None);
    world.level(Level::Network, Some(""));
    world.nothing_spawned();
    world.ends(&spawn, Exit::Code(0));
    world.runs();
    assert_eq!(world.view().starts, 2);
}

#[test]
fn another_domain_is_a_leave_and_a_join() {
    let joined = Trigger::start(Cause::Domain { joined: true });
    let mut world = World::with(with(vec![joined]));
    world.level(Level::Domain, Some("A"));
    let spawn = world.runs();
    world.level(Level::Domain, Some("B"));
    assert_eq!(world.state(), ServiceState::StopPending);
    world.ends(&spawn, Exit::Code(0));
    world.runs();
}

#[test]
fn a_port_counts_as_closed_after_a_while_unless_it_is_opened_again() {
    let closed = Cause::Port {
        open: false,
        ports: vec![port()],
    };
    let mut world = World::with(Definition {
        start: StartType::Auto,
        ..with(vec![Trigger::stop(closed)])
    });
    world.runs();
    let level = || Level::Port(port());
    world.level(level(), Some(""));
    world.level(level(), None);
    world.pass(Duration::from_secs(59));
    world.level(level(), Some(""));
    world.pass(Duration::from_secs(120));
    assert_eq!(world.state(), ServiceState::Running);
    world.level(level(), None);
    world.level(level(), None);
    world.pass(Duration::from_secs(59));
    assert_eq!(world.state(), ServiceState::Running);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn a_service_that_serves_a_port_lets_go_at_once() {
    let open = Cause::Port {
        open: true,
        ports: vec![port()],
    };
    let mut world = World::with(with(vec![Trigger::start(open)]));
    world.level(Level::Port(port()), Some(""));
    let spawn = world.runs();
    world.level(Level::Port(port()), None);
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
}

#[test]
fn a_stop_trigger_stops_and_the_next_arrival_starts_again() {
    let mut world = World::with(with(vec![trigger(&[]), Trigger::stop(NO_ADDRESS)]));
    world.level(Level::Network, Some(""));
    let a = device("a", 1);
    world.arrive(&a);
    let spawn = world.runs();
    world.level(Level::Network, None);
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
    world.ends(&spawn, Exit::Signal(15));
    assert_eq!(world.view().held_back, Some(HeldBack::StoppedByTrigger));
    world.snapshot(&[&a]);
    world.nothing_spawned();
    world.arrive(&device("b", 2));
    world.runs();
}

#[test]
fn an_arrival_while_a_stop_trigger_stops_the_service_starts_it_again() {
    let mut world = World::with(with(vec![trigger(&[]), Trigger::stop(NO_ADDRESS)]));
    world.level(Level::Network, Some(""));
    world.arrive(&device("a", 1));
    let spawn = world.runs();
    world.level(Level::Network, None);
    world.arrive(&device("b", 2));
    world.ends(&spawn, Exit::Signal(15));
    world.runs();
}

#[test]
fn a_stop_trigger_does_not_stop_what_others_need() {
    let mut world = World::with(Definition {
        start: StartType::Auto,
        ..with(vec![Trigger::stop(NO_ADDRESS)])
    });
    world.runs();
    let mut other = Definition::new("other".parse().unwrap(), vec!["/bin/other".to_owned()]);
    other.depends = vec![name()];
    other.triggers = vec![trigger(&[])];
    world.define(other);
    world.arrive(&device("a", 1));
    world.runs();
    world.level(Level::Network, Some(""));
    world.level(Level::Network, None);
    assert_eq!(world.state(), ServiceState::Running);
}

#[test]
fn a_device_that_arrives_may_stop_a_service() {
    let stop = Trigger::stop(Cause::Device(device_trigger(&[r"TEST\B"])));
    let mut world = World::with(Definition {
        start: StartType::Auto,
        ..with(vec![stop])
    });
    let spawn = world.runs();
    world.arrive(&device("a", 1));
    assert_eq!(world.state(), ServiceState::Running);
    world.arrive(&device("b", 2));
    assert!(world.took(&Effect::Terminate { host: spawn.host }));
}

#[test]
fn every_event_starts_a_service_that_is_stopped() {
    let mut world = World::with(with(vec![Trigger::start(Cause::Custom(custom()))]));
    for starts in 1..=3 {
        world.event(event());
        let spawn = world.runs();
        world.ends(&spawn, Exit::Code(0));
        assert_eq!(world.view().starts, starts);
        assert_eq!(world.view().held_back, None);
    }
}

#[test]
fn events_that_come_during_a_run_lead_to_one_more() {
    let mut world = World::with(with(vec![Trigger::start(Cause::Custom(custom()))]));
    world.event(event());
    let spawn = world.runs();
    world.event(event());
    world.event(event());
    world.nothing_spawned();
    world.ends(&spawn, Exit::Code(0));
    let again = world.runs();
    world.ends(&again, Exit::Code(0));
    world.nothing_spawned();
}

#[test]
fn an_event_before_an_ordered_stop_is_over_and_one_after_it_starts_again() {
    let mut world = World::with(with(vec![Trigger::start(Cause::Custom(custom()))]));
    world.event(event());
    let spawn = world.runs();
    world.event(event());
    world.stop().unwrap();
    world.ends(&spawn, Exit::Signal(15));
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::StoppedByOperator));
    world.event(event());
    let spawn = world.runs();
    world.stop().unwrap();
    world.event(event());
    world.ends(&spawn, Exit::Signal(15));
    world.runs();
}

#[test]
fn a_disabled_service_is_owed_nothing() {
    let mut world = World::empty();
    let definition = with(vec![Trigger::start(Cause::Custom(custom()))]);
    let defined = |enabled| Event::Defined {
        definition: std::sync::Arc::new(definition.clone()),
        enabled,
    };
    world.event(defined(false));
    world.event(Event::Loaded);
    world.event(Event::Snapshot(Vec::new()));
    world.event(event());
    world.event(defined(true));
    world.nothing_spawned();
    world.event(event());
    world.runs();
}

#[test]
fn an_event_before_the_first_snapshot_is_owed() {
    let mut world = World::empty();
    world.define(with(vec![Trigger::start(Cause::Custom(custom()))]));
    world.event(event());
    world.event(Event::Loaded);
    world.nothing_spawned();
    world.event(Event::Snapshot(Vec::new()));
    world.runs();
}

#[test]
fn what_is_owed_outlives_the_manager() {
    let mut world = World::with(with(vec![Trigger::start(Cause::Custom(custom()))]));
    world.event(event());
    let spawn = world.runs();
    world.stop().unwrap();
    world.event(event());
    world.restart();
    world.event(Event::HostLost { host: spawn.host });
    world.define(with(vec![Trigger::start(Cause::Custom(custom()))]));
    world.event(Event::Loaded);
    world.event(Event::Snapshot(Vec::new()));
    world.runs();
}

#[test]
fn a_run_that_an_event_started_and_that_fails_is_tried_again() {
    let mut definition = with(vec![Trigger::start(Cause::Custom(custom()))]);
    definition.failure = FailurePolicy {
        delay: Duration::from_secs(1),
        limit: 2,
        ..definition.failure
    };
    let mut world = World::with(definition);
    world.event(event());
    let spawn = world.runs();
    world.ends(&spawn, Exit::Code(1));
    world.pass(Duration::from_secs(1));
    let spawn = world.runs();
    world.ends(&spawn, Exit::Code(1));
    world.pass(Duration::from_secs(60));
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::GivenUp));
    world.event(event());
    world.runs();
}

#[test]
fn a_stop_trigger_takes_back_what_is_owed_and_what_is_planned() {
    let stop = Trigger::stop(Cause::Policy(PolicyKind::Machine));
    let triggers = vec![Trigger::start(Cause::Custom(custom())), stop];
    let mut world = World::with(with(triggers));
    world.event(event());
    let spawn = world.runs();
    world.ends(&spawn, Exit::Code(1));
    let policy = |digest: &str| Event::Policy {
        kind: PolicyKind::Machine,
        digest: Some(digest.to_owned()),
    };
    world.event(policy("a"));
    world.pass(Duration::from_secs(60));
    world.nothing_spawned();
    assert_eq!(world.view().held_back, Some(HeldBack::StoppedByTrigger));
}

#[test]
fn policy_fires_once_in_a_boot_and_with_each_difference() {
    let mut world = World::with(with(vec![Trigger::start(Cause::Policy(PolicyKind::User))]));
    let policy = |digest: Option<&str>| Event::Policy {
        kind: PolicyKind::User,
        digest: digest.map(str::to_owned),
    };
    for (digest, fires) in [
        (Some("a"), true),
        (Some("a"), false),
        (Some("b"), true),
        (None, true),
        (None, false),
        (Some("a"), true),
    ] {
        world.event(policy(digest));
        if fires {
            let spawn = world.runs();
            world.ends(&spawn, Exit::Code(0));
        } else {
            world.nothing_spawned();
        }
    }
    world.event(Event::Policy {
        kind: PolicyKind::Machine,
        digest: Some("a".to_owned()),
    });
    world.nothing_spawned();
}

#[test]
fn a_trigger_that_is_registered_while_its_condition_is_true_fires() {
    let mut world = World::with(with(vec![Trigger::start(ADDRESS)]));
    world.level(Level::Network, Some(""));
    world.runs();
    let mut other = Definition::new("other".parse().unwrap(), vec!["/bin/other".to_owned()]);
    other.triggers = vec![Trigger::start(ADDRESS)];
    world.define(other.clone());
    world.runs();
    // An equal list fires nothing, and neither does a trigger that stops.
    other.triggers.push(Trigger::stop(ADDRESS));
    world.define(other);
    world.nothing_spawned();
    let state = world.engine.service(&"other".parse().unwrap());
    assert_eq!(state.unwrap().state, ServiceState::Running);
}

#[test]
fn a_level_that_is_first_told_after_its_registration_only_starts() {
    let mut world = World::with(Definition {
        start: StartType::Auto,
        ..with(Vec::new())
    });
    world.runs();
    world.define(Definition {
        start: StartType::Auto,
        ..with(vec![Trigger::stop(NO_ADDRESS)])
    });
    world.level(Level::Network, None);
    assert_eq!(world.state(), ServiceState::Running);
    world.level(Level::Network, Some(""));
    world.level(Level::Network, None);
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn at_a_boot_a_stop_trigger_whose_condition_is_true_stops() {
    let mut world = World::with(Definition {
        start: StartType::Auto,
        ..with(vec![Trigger::stop(Cause::Domain { joined: false })])
    });
    world.runs();
    world.level(Level::Domain, None);
    assert_eq!(world.state(), ServiceState::StopPending);
}

#[test]
fn after_a_restart_only_a_difference_fires() {
    let definition = || with(vec![Trigger::start(ADDRESS)]);
    let mut world = World::with(definition());
    world.level(Level::Network, Some(""));
    let spawn = world.runs();
    world.ends(&spawn, Exit::Code(0));
    assert_eq!(world.view().held_back, Some(HeldBack::Finished));
    let again = |world: &mut World| {
        world.restart();
        world.define(definition());
        world.event(Event::Loaded);
        world.event(Event::Snapshot(Vec::new()));
    };
    again(&mut world);
    world.level(Level::Network, Some(""));
    world.nothing_spawned();
    again(&mut world);
    world.level(Level::Network, None);
    world.level(Level::Network, Some(""));
    world.runs();
}

#[test]
fn what_nobody_waits_for_is_forgotten() {
    let mut world = World::with(with(vec![Trigger::start(ADDRESS)]));
    world.level(Level::Network, Some(""));
    assert!(world.records.keys().any(|key| key.starts_with("level/")));
    world.define(with(Vec::new()));
    assert!(!world.records.keys().any(|key| key.starts_with("level/")));
    assert_eq!(world.engine.level(&Level::Network), None);
    assert_eq!(world.engine.signals().count(), 0);
}

#[test]
fn a_service_that_takes_trigger_events_is_told_of_each() {
    let mut world = World::with(Definition {
        protocol: Protocol::Control,
        ..with(vec![Trigger::start(Cause::Custom(custom()))])
    });
    world.event(event());
    let spawn = world.runs();
    world.event(event());
    let session = SessionId(9);
    world.event(Event::SessionOpened {
        session,
        peer: peer(0),
        host: Some(spawn.host),
    });
    let report = |state, accepts| {
        Request::Report(Report {
            state,
            accepts: arrival_model::state::Accepts(accepts),
            checkpoint: 0,
            wait_hint: Duration::ZERO,
            exit_code: arrival_model::error::Win32Error::SUCCESS,
        })
    };
    world
        .request(session, report(ServiceState::Running, 0x401))
        .unwrap();
    let asks = |world: &World| {
        let asks = world.effects.iter();
        asks.filter(|effect| matches!(effect, Effect::Ask { .. }))
            .count()
    };
    assert_eq!(asks(&world), 1);
    world.event(event());
    assert_eq!(asks(&world), 2);
}

#[test]
fn a_program_that_asks_to_stop_is_refused_when_an_event_came() {
    let (mut world, spawn, session) = {
        let mut world = World::with(with(vec![Trigger::start(Cause::Custom(custom()))]));
        world.event(event());
        let spawn = world.runs();
        let session = SessionId(9);
        world.event(Event::SessionOpened {
            session,
            peer: peer(0),
            host: Some(spawn.host),
        });
        (world, spawn, session)
    };
    let cursor = world.engine.cursor();
    world.event(event());
    let denied = world.request(session, Request::StopIfUnchanged(cursor));
    assert_eq!(
        denied.unwrap_err().to_string(),
        "a trigger event arrived later than the cursor"
    );
    let cursor = world.engine.cursor();
    world
        .request(session, Request::StopIfUnchanged(cursor))
        .unwrap();
    world.ends(&spawn, Exit::Code(0));
    world.nothing_spawned();
}
