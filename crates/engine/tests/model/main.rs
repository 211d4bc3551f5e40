//! Long random sequences against a reference that works everything out anew, with sets.
//!
//! Compared after every step: which interfaces are present, which of them each service wants, in
//! which state each service is and whether it may have got there, what a subscriber believes, and
//! that the state file restores what is known.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

mod play;
mod reference;
mod steps;
mod subscriber;
mod things;

use proptest::prelude::*;

use play::Play;
use steps::{Step, shows, step};

/// More sequences where the code is optimised or the environment asks for them.
fn sequences() -> u32 {
    match std::env::var("ARRIVAL_EXPLORE") {
        Ok(_) => 20_000,
        Err(_) if cfg!(debug_assertions) => 100,
        Err(_) => 1_000,
    }
}

fn play(steps: &[Step]) -> Play {
    let mut play = Play::loaded();
    for step in steps {
        play.step(*step);
    }
    play.finish();
    play
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: sequences(),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_engine_agrees_with_the_reference(steps in prop::collection::vec(step(), 1..150)) {
        play(&steps);
    }

    #[test]
    fn equal_inputs_have_equal_effects(steps in prop::collection::vec(step(), 1..80)) {
        prop_assert_eq!(play(&steps).log, play(&steps).log);
    }
}

fn told(steps: &[Step]) -> Play {
    let mut play = Play::loaded();
    steps.iter().for_each(|step| play.step(*step));
    play
}

#[test]
fn a_cursor_that_lies_ahead_hides_no_arrival() {
    let control = 1;
    let play = told(&[
        Step::Define(0, control, true),
        Step::Present(0, shows(0)),
        Step::Host(0, 1),
        Step::Connect(0),
        Step::Report(0, 4, 1),
        Step::StopIfUnchanged(0, 3),
        Step::Present(3, shows(0)),
        Step::Report(0, 1, 0),
        Step::Host(0, 0),
        Step::Host(0, 0),
    ]);
    assert!(play.lives(0), "it is started again for the second device");
}

#[test]
fn a_device_that_matches_only_since_its_ids_changed_is_an_arrival_for_a_stopping_service() {
    let first_or_appeared = 2;
    let play = told(&[
        Step::Present(0, shows(0)),
        Step::Define(0, first_or_appeared, true),
        Step::Present(3, shows(1)),
        Step::Host(0, 1),
        Step::Gone(3),
        Step::Present(0, shows(1)),
        Step::Host(0, 2),
        Step::Host(0, 2),
    ]);
    assert!(play.lives(0), "it is started again for the first device");
}

#[test]
fn nothing_is_started_when_definitions_are_loaded_during_a_shutdown() {
    let auto = 9;
    let mut play = Play::new();
    play.step(Step::Define(0, auto, true));
    play.step(Step::Shutdown);
    play.load();
    assert!(!play.lives(0), "everything is being stopped");
}
