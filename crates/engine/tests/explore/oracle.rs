//! What must be true, as arithmetic on sets of facts; it knows nothing of the engine's code.

use std::collections::BTreeSet;

use arrival_model::state::{HeldBack, ServiceState};

/// What can happen to a service after an arrival that the manager was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Happening {
    Start,
    OperatorStop,
    Failure,
    CleanEnd,
}

/// What is the case with one service.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The devices that are really there and that its triggers want.
    pub(crate) present: BTreeSet<usize>,
    /// Its process trees that are not over.
    pub(crate) live: usize,
    /// What the manager says.
    pub(crate) state: ServiceState,
    pub(crate) held: Option<HeldBack>,
    pub(crate) note: Option<&'static str>,
    /// Whether the manager was told that it may run.
    pub(crate) enabled: bool,
    pub(crate) follow: bool,
    /// Whether it wants a device that is there, whatever happens to the one it was given.
    pub(crate) replug: bool,
    /// What happened since the arrival of each device that is present.
    pub(crate) since_arrivals: BTreeSet<Happening>,
    /// Whether a device that it wants was there at any time of its run.
    pub(crate) touched: bool,
    /// Whether the device that was given to its run is still that one; none if none was given.
    pub(crate) given_is_there: Option<bool>,
}

/// What must hold when every answer was given and every timer has run.
pub(crate) fn quiet(facts: &Facts) -> Result<(), String> {
    let condition = !facts.present.is_empty();
    let running = facts.live == 1 && facts.state == ServiceState::Running;
    let since = |what| facts.since_arrivals.contains(&what);
    if facts.live == 0 && facts.state != ServiceState::Stopped {
        return Err("nothing of it is left, but it is not STOPPED".to_owned());
    }
    if facts.live > 0 && !running {
        return Err("it lives but is not RUNNING".to_owned());
    }
    if condition && !running {
        let justified = match facts.held {
            Some(HeldBack::Disabled) => !facts.enabled,
            Some(HeldBack::StoppedByOperator) => since(Happening::OperatorStop),
            Some(HeldBack::GivenUp) => since(Happening::Failure),
            Some(HeldBack::Finished) => since(Happening::Start) && since(Happening::CleanEnd),
            // No scenario has a trigger that stops.
            Some(HeldBack::StoppedByTrigger | HeldBack::Flapping) | None => false,
        };
        if !justified {
            return Err(format!(
                "an arrival is lost: it should run, and {:?} is no reason",
                facts.held
            ));
        }
    }
    if running && !condition && facts.touched {
        if facts.follow {
            return Err("it runs although its last device is gone".to_owned());
        }
        if facts.note != Some("no interface left") {
            return Err(format!(
                "its last device is gone, status says {:?}",
                facts.note
            ));
        }
    }
    if running && condition && facts.replug && facts.given_is_there == Some(false) {
        return Err("the device given to its run was replaced, it was not restarted".to_owned());
    }
    Ok(())
}

/// What must hold whenever a program is about to be started.
pub(crate) fn start(facts: &Facts, has_cause: bool) -> Result<(), String> {
    if facts.live > 0 {
        return Err("started while an earlier run of it lives".to_owned());
    }
    if !facts.enabled {
        return Err("started although it is disabled".to_owned());
    }
    if !has_cause {
        return Err("an arrival is doubled: started again without a cause".to_owned());
    }
    Ok(())
}
