//! Two services and two devices, and everything that can happen to them, in every order.
//!
//! What the engine wants done is done later, in any order, or never, because the manager ends; all
//! of it is tried, up to a bound on what happens on one path. The bound depends on the build: a
//! small one without optimisation, a larger one with it, and the largest if the environment says
//! `ARRIVAL_EXPLORE=deep`. The larger one takes a minute or two of one processor, the largest a
//! quarter of an hour and 5 GB of memory; run it with one test at a time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

mod actions;
mod oracle;
mod search;
mod world;

use std::sync::Arc;
use std::time::Duration;

use arrival_model::definition::{Definition, Protocol, Replug};
use arrival_model::trigger::{DeviceTrigger, FoldedId, Trigger, Wait};

use world::{Budget, CLASS, Scenario};

/// What may happen on one path.
fn budget(total: u8) -> Budget {
    Budget {
        total,
        device: 4,
        fault: 3,
        operator: 2,
        restart: 1,
        overrun: 1,
    }
}

/// Explores a scenario as far as this build and the environment want; per size, how much may
/// happen on one path, and how many states there are at least: unoptimised, optimised, deep.
fn explore(mut scenario: Scenario, sizes: [(u8, usize); 3]) {
    let [small, medium, deep] = sizes;
    let (total, least) = match std::env::var("ARRIVAL_EXPLORE") {
        Ok(word) if word == "deep" => deep,
        Ok(word) => (
            word.parse().expect("ARRIVAL_EXPLORE is 'deep' or a number"),
            0,
        ),
        Err(_) if cfg!(debug_assertions) => small,
        Err(_) => medium,
    };
    scenario.budget = budget(total);
    let found = match search::explore(&scenario) {
        Ok(found) => found,
        Err(story) => panic!("{story}"),
    };
    println!(
        "{}: explored {} states, {} quiet, {} actions, up to {total} things a path",
        scenario.name, found.states, found.quiet, found.actions
    );
    assert!(
        found.states >= least,
        "{}: {} states are fewer than the {least} that there were",
        scenario.name,
        found.states
    );
}

fn service(name: &str, id: Option<&str>, wait: Wait) -> Definition {
    let mut definition = Definition::new(name.parse().unwrap(), vec!["/bin/true".to_owned()]);
    definition.start_timeout = Duration::from_secs(4);
    definition.stop_timeout = Duration::from_secs(2);
    definition.failure.delay = Duration::from_secs(1);
    definition.failure.limit = 2;
    definition.triggers = vec![Trigger::device(DeviceTrigger {
        class: CLASS,
        ids: id.into_iter().map(FoldedId::new).collect(),
        ancestors: false,
        wait,
    })];
    definition
}

/// A plain program that follows any device, and one with notify that wants the first device only,
/// as soon as it has appeared, and stays.
fn follower_and_one_that_stays() -> Scenario {
    let follower = service("follower", None, Wait::Usable);
    let mut stays = service("stays", Some("id0"), Wait::Appeared);
    stays.protocol = Protocol::Notify;
    stays.follow = false;
    Scenario {
        name: "a follower and one that stays",
        services: 2,
        definitions: [Arc::new(follower), Arc::new(stays)],
        wants: [&[0, 1], &[0]],
        waits: [true, false],
        leaves: [true, false],
        notifies: [false, true],
        budget: budget(0),
    }
}

/// A program that lingers and does not care which device it has, and one that follows the second
/// device with notify, is restarted without delay and given up at once.
fn one_that_lingers_and_a_fragile_one() -> Scenario {
    let mut lingers = service("lingers", None, Wait::Usable);
    lingers.linger = Duration::from_secs(1);
    lingers.replug = Replug::Ignore;
    lingers.failure.delay = Duration::ZERO;
    let mut fragile = service("fragile", Some("ID1"), Wait::Usable);
    fragile.protocol = Protocol::Notify;
    fragile.failure.limit = 1;
    Scenario {
        name: "one that lingers and a fragile one",
        services: 2,
        definitions: [Arc::new(lingers), Arc::new(fragile)],
        wants: [&[0, 1], &[1]],
        waits: [true, true],
        leaves: [false, true],
        notifies: [false, true],
        budget: budget(0),
    }
}

/// The same with the second service first and alone.
fn second_alone(name: &'static str, pair: Scenario) -> Scenario {
    let Scenario {
        definitions: [first, second],
        wants,
        waits,
        leaves,
        notifies,
        ..
    } = pair;
    Scenario {
        name,
        services: 1,
        definitions: [second, first],
        wants: [wants[1], wants[0]],
        waits: [waits[1], waits[0]],
        leaves: [leaves[1], leaves[0]],
        notifies: [notifies[1], notifies[0]],
        budget: pair.budget,
    }
}

fn first_alone(name: &'static str, pair: Scenario) -> Scenario {
    Scenario {
        name,
        services: 1,
        ..pair
    }
}

#[test]
fn a_follower_and_one_that_stays() {
    explore(
        follower_and_one_that_stays(),
        [(2, 1_300), (3, 30_000), (4, 600_000)],
    );
}

#[test]
fn one_that_lingers_and_one_that_is_given_up_at_once() {
    explore(
        one_that_lingers_and_a_fragile_one(),
        [(2, 1_400), (3, 30_000), (4, 550_000)],
    );
}

#[test]
fn a_follower() {
    let alone = first_alone("a follower", follower_and_one_that_stays());
    explore(alone, [(3, 4_500), (5, 350_000), (6, 2_200_000)]);
}

#[test]
fn one_that_stays() {
    let alone = second_alone("one that stays", follower_and_one_that_stays());
    explore(alone, [(3, 5_500), (5, 400_000), (6, 2_500_000)]);
}

#[test]
fn one_that_lingers() {
    let alone = first_alone("one that lingers", one_that_lingers_and_a_fragile_one());
    explore(alone, [(3, 4_200), (4, 40_000), (6, 2_000_000)]);
}

#[test]
fn one_that_is_given_up_at_once() {
    let alone = second_alone("a fragile one", one_that_lingers_and_a_fragile_one());
    explore(alone, [(3, 4_200), (4, 38_000), (6, 1_600_000)]);
}
