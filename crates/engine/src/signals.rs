//! Levels and edges that are no devices: addresses, membership, ports, policies, clients, events.
//!
//! ```text
//! told                         known before          becomes, and fires
//! ----------------------------+---------------------+-----------------------------------------------
//! level is true, by X          nothing               true
//!                              true, by X            true: nothing
//!                              true, by Y            false, then true: left and joined
//!                              false, or going       true
//! level is false               nothing               false
//!                              true                  false; a port is going, and false only when it
//!                                                      has been for as long as ports are waited for
//!                              false, or going       the same: nothing
//! policy is X                  nothing               X, and the edge if there is one
//!                              another               X, and the edge
//!                              X                     X: nothing
//! pipe, RPC, custom            -                     the edge
//! ```
//!
//! A side of a level that has come to hold stands in `present` of the instances whose triggers wait for
//! it, as an interface does: with a number and the cursor of its arrival. So it starts a service, is
//! followed, and counts against a run's horizon by the same rules. An edge starts a service too; one
//! that comes while its service cannot be started yet is owed.
//!
//! A trigger that stops its service does so whatever holds then; the service stays stopped until
//! something arrives. It does not stop a service on which one that runs depends.
//!
//! What is first told of a level fires all of its triggers at the manager's first start in a boot, and
//! only those that start something where the trigger was registered later. What nobody waits for is
//! forgotten.

use std::time::Duration;

use arrival_model::definition::Definition;
use arrival_model::service_trigger::Action;
use arrival_model::state::{Desired, HeldBack, ServiceState, StartReason};
use arrival_model::time::Time;
use arrival_model::trigger::{Level, PolicyKind, Signal};
use serde::{Deserialize, Serialize};

use crate::index::{Slot, signals};
use crate::instance::StopCause;
use crate::interfaces::Number;
use crate::timers::Timer;
use crate::{Dirty, Engine};

/// What is known of a level.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct LevelEntry {
    /// Its place in the state file.
    pub(crate) id: Number,
    /// Which side holds; none before it was told and while a port is going.
    pub(crate) side: Option<bool>,
    /// The number of this side's arrival, in `present` of the instances that want it.
    pub(crate) number: Number,
    /// The cursor of this side's arrival.
    pub(crate) cursor: u64,
    /// What makes it true.
    pub(crate) by: Option<String>,
    /// When a port that is going is gone.
    pub(crate) gone_at: Option<Time>,
    /// Whether it is waited for only since the manager runs.
    #[serde(default)]
    pub(crate) late: bool,
}

/// What is known of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct PolicyEntry {
    /// Its digest; none if there is no policy.
    pub(crate) digest: Option<String>,
}

impl Engine {
    /// Begins to keep the levels that a definition's triggers wait for.
    pub(crate) fn watch(&mut self, definition: &Definition) {
        for (signal, _) in signals(definition) {
            let Signal::Side(level, _) = signal else {
                continue;
            };
            if self.levels.contains_key(&level) {
                continue;
            }
            let id = Number(self.new_id());
            let entry = LevelEntry {
                id,
                side: None,
                number: id,
                cursor: self.n,
                by: None,
                gone_at: None,
                late: self.loaded,
            };
            self.levels.insert(level, entry);
            self.dirty.insert(Dirty::Level(id));
        }
    }

    /// Forgets what only this definition's triggers waited for; they have left the index.
    pub(crate) fn unwatch(&mut self, definition: &Definition) {
        for (signal, _) in signals(definition) {
            match signal {
                Signal::Side(level, _) => self.forget_level(&level),
                Signal::Policy(kind) => {
                    let unwanted = !self.index.wants(&Signal::Policy(kind));
                    if unwanted && self.policies.remove(&kind).is_some() {
                        self.dirty.insert(Dirty::Policy(kind));
                    }
                }
                Signal::Pipe(_) | Signal::Rpc(_) | Signal::Custom(_) => {}
            }
        }
    }

    /// Forgets the levels of definitions that are no more, which only a state file can hold.
    pub(crate) fn forget_unwanted_levels(&mut self) {
        for level in self.levels.keys().cloned().collect::<Vec<_>>() {
            self.forget_level(&level);
        }
    }

    fn forget_level(&mut self, level: &Level) {
        if self.index.wants_level(level) {
            return;
        }
        if let Some(mut entry) = self.levels.remove(level) {
            self.timers
                .set(Timer::Gone(entry.id), &mut entry.gone_at, None);
            self.dirty.insert(Dirty::Level(entry.id));
        }
    }

    /// Every signal that a trigger of any definition waits for.
    pub fn signals(&self) -> impl Iterator<Item = &Signal> {
        self.index.signals()
    }

    /// Which side of a level holds; none if that is not known.
    pub fn level(&self, level: &Level) -> Option<bool> {
        self.levels.get(level)?.side
    }

    /// Whether a policy is known, or that there is none.
    pub fn knows_policy(&self, kind: PolicyKind) -> bool {
        self.policies.contains_key(&kind)
    }

    /// What makes a level true.
    pub fn level_by(&self, level: &Level) -> Option<&str> {
        self.levels.get(level)?.by.as_deref()
    }

    /// A source tells whether a level is true, and by what.
    pub(crate) fn level_told(&mut self, now: Time, level: &Level, by: Option<String>) {
        let wait = self.settings.port_closed_after;
        let Some(entry) = self.levels.get_mut(level) else {
            return;
        };
        let (side, going) = (entry.side, entry.gone_at.is_some());
        match (&by, side) {
            (Some(_), Some(true)) if entry.by == by => {}
            (Some(_), Some(true)) => {
                self.take_side(now, level, false, None);
                self.take_side(now, level, true, by);
            }
            (Some(_), Some(false) | None) => self.take_side(now, level, true, by),
            (None, Some(true)) => {
                if matches!(level, Level::Port(_)) && !wait.is_zero() {
                    self.start_going(now, level, wait);
                } else {
                    self.take_side(now, level, false, None);
                }
            }
            (None, None) if going => {}
            (None, None) => self.take_side(now, level, false, None),
            (None, Some(false)) => {}
        }
    }

    /// A level that was true is not, and is not false yet.
    fn start_going(&mut self, now: Time, level: &Level, wait: Duration) {
        let Some(entry) = self.levels.get_mut(level) else {
            return;
        };
        let (id, number) = (entry.id, entry.number);
        entry.side = None;
        entry.by = None;
        self.timers
            .set(Timer::Gone(id), &mut entry.gone_at, Some(now.after(wait)));
        self.dirty.insert(Dirty::Level(id));
        let signal = Signal::Side(level.clone(), true);
        for slot in self.index.waiting(&signal, Action::Start) {
            self.lost(now, slot, number);
        }
    }

    /// A port has been without a socket for long enough.
    pub(crate) fn gone_for_long(&mut self, now: Time, id: Number) {
        let found = self.levels.iter_mut().find(|(_, entry)| entry.id == id);
        let Some((level, entry)) = found else { return };
        entry.gone_at = None;
        let level = level.clone();
        self.take_side(now, &level, false, None);
    }

    /// One side of a level has come to hold.
    fn take_side(&mut self, now: Time, level: &Level, side: bool, by: Option<String>) {
        let number = Number(self.new_id());
        self.n += 1;
        let cursor = self.n;
        let Some(entry) = self.levels.get_mut(level) else {
            return;
        };
        let before = entry.side.replace(side);
        let old = std::mem::replace(&mut entry.number, number);
        // At a boot everything that is true has just become so.
        let first_and_late = before.is_none() && entry.gone_at.is_none() && entry.late;
        entry.late = false;
        entry.cursor = cursor;
        entry.by = by;
        let id = entry.id;
        self.timers.set(Timer::Gone(id), &mut entry.gone_at, None);
        self.dirty.insert(Dirty::Level(id));
        if let Some(before) = before {
            let signal = Signal::Side(level.clone(), before);
            for slot in self.index.waiting(&signal, Action::Start) {
                self.lost(now, slot, old);
            }
        }
        let signal = Signal::Side(level.clone(), side);
        if !first_and_late {
            for slot in self.index.waiting(&signal, Action::Stop) {
                self.stop_by_trigger(now, slot);
            }
        }
        for slot in self.index.waiting(&signal, Action::Start) {
            if let Some(instance) = self.instance_mut(slot) {
                instance.present.insert(number, cursor);
                self.arrived(now, slot);
            }
        }
    }

    /// A source tells what a policy is.
    pub(crate) fn policy_told(&mut self, now: Time, kind: PolicyKind, digest: Option<String>) {
        if !self.index.wants(&Signal::Policy(kind)) {
            return;
        }
        let there = digest.is_some();
        let before = self.policies.insert(
            kind,
            PolicyEntry {
                digest: digest.clone(),
            },
        );
        let fires = match before {
            Some(before) => before.digest != digest,
            None => there,
        };
        self.dirty.insert(Dirty::Policy(kind));
        if fires {
            self.happened(now, &Signal::Policy(kind));
        }
    }

    /// An edge: what stops services first, then what starts some.
    pub(crate) fn happened(&mut self, now: Time, signal: &Signal) {
        if !self.index.wants(signal) {
            return;
        }
        self.n += 1;
        self.dirty.insert(Dirty::Engine);
        for slot in self.index.waiting(signal, Action::Stop) {
            self.stop_by_trigger(now, slot);
        }
        for slot in self.index.waiting(signal, Action::Start) {
            self.start_by_edge(now, slot);
        }
    }

    /// A start trigger without a level fires.
    pub(crate) fn start_by_edge(&mut self, now: Time, slot: Slot) {
        let cursor = self.n;
        let shutting_down = self.shutdown.is_some();
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        if !instance.enabled || shutting_down {
            return;
        }
        let life = &mut instance.life;
        match life.held {
            Some(
                HeldBack::Finished
                | HeldBack::StoppedByOperator
                | HeldBack::StoppedByTrigger
                | HeldBack::GivenUp,
            ) => life.held = None,
            Some(HeldBack::Flapping | HeldBack::Disabled) | None => {}
        }
        match life.state {
            ServiceState::Stopped | ServiceState::StopPending => {
                life.owed = true;
                self.dirty.insert(Dirty::Life(slot));
                let stopped = life.state == ServiceState::Stopped;
                if stopped && self.may_start(slot) {
                    self.start(now, slot, StartReason::Trigger, Vec::new(), None);
                }
            }
            ServiceState::StartPending
            | ServiceState::Running
            | ServiceState::ContinuePending
            | ServiceState::PausePending
            | ServiceState::Paused => {
                life.desired = Desired::Running;
                self.dirty.insert(Dirty::Life(slot));
                if !self.queue_trigger_event(now, slot)
                    && let Some(run) = self
                        .instance_mut(slot)
                        .and_then(|instance| instance.life.run.as_mut())
                {
                    run.last_edge = Some(cursor);
                }
            }
        }
    }

    /// A stop trigger fires.
    pub(crate) fn stop_by_trigger(&mut self, now: Time, slot: Slot) {
        if self.has_running_dependents(slot) {
            return;
        }
        let cursor = self.n;
        let Some(instance) = self.instance_mut(slot) else {
            return;
        };
        let life = &mut instance.life;
        let planned = life.retry_at.is_some();
        life.owed = false;
        match life.state {
            ServiceState::Stopped if !planned => {}
            ServiceState::Stopped => {
                life.held = Some(HeldBack::StoppedByTrigger);
                self.cancel_retry(slot);
                self.tell_state(now, slot);
            }
            ServiceState::StopPending => {
                if let Some(run) = &mut life.run {
                    run.again = false;
                }
                life.held.get_or_insert(HeldBack::StoppedByTrigger);
            }
            ServiceState::StartPending
            | ServiceState::Running
            | ServiceState::ContinuePending
            | ServiceState::PausePending
            | ServiceState::Paused => {
                life.held = Some(HeldBack::StoppedByTrigger);
                self.stop(now, slot, StopCause::Trigger, cursor);
            }
        }
        self.dirty.insert(Dirty::Life(slot));
    }

    /// Whether a service that runs depends on this one.
    fn has_running_dependents(&self, slot: Slot) -> bool {
        let Some(name) = self
            .instance(slot)
            .map(|instance| instance.definition.name.folded())
        else {
            return false;
        };
        self.names.values().any(|other| {
            self.instance(*other).is_some_and(|instance| {
                let depends = &instance.definition.depends;
                instance.life.run.is_some() && depends.iter().any(|needs| needs.folded() == name)
            })
        })
    }
}
