//! What follows the end of a run.
//!
//! ```text
//! end of a run                        | then
//! ------------------------------------+------------------------------------------------------------
//! its definition is gone              | the service is forgotten
//! the manager stops everything        | nothing
//! it failed, too often                | given up, unless an interface arrived after its end began or
//!                                     | a trigger without a level fired
//! it failed                           | started again after the delay if an interface is present or
//!                                     | it was started by hand, or by a trigger without a level
//! a trigger without a level fired     | started again
//!   later than the horizon            |
//! start again was noted, or a trigger | started again if an interface is present
//!   event is queued                   |
//! an interface is present that        | started again, unless an operator stopped it after that
//!   arrived later than the horizon    |
//! it ended itself, interface present  | finished
//! else                                | nothing: no interface
//! ```

use std::time::Duration;

use arrival_model::definition::Protocol;
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::state::{Desired, HeldBack, ServiceState, StartReason};
use arrival_model::time::Time;

use crate::api::{Effect, Reply};
use crate::index::Slot;
use crate::instance::{Known, Run, StopCause, Waiter};
use crate::timers::Timer;
use crate::{Dirty, Engine};

/// The least time until a restart is tried again that has to wait for the first snapshot.
const RETRY_UNSYNCED: Duration = Duration::from_millis(100);

impl Engine {
    /// A run is over: says what it was, and what follows from it.
    pub(crate) fn end_run(&mut self, now: Time, slot: Slot, exit: Option<Exit>) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let Some(mut run) = instance.life.run.take() else {
            return;
        };
        self.timers
            .set(Timer::Deadline(slot), &mut run.deadline, None);
        self.timers
            .set(Timer::Linger(slot), &mut run.linger_at, None);
        run.horizon
            .get_or_insert(run.told.unwrap_or(run.started).max(run.started));
        let error = failure_of(&run, instance.definition.protocol, exit);
        let life = &mut instance.life;
        // A queued event that nobody answered is one that nobody knows of.
        life.owed |= run.last_edge > run.horizon || (run.queued > 0 && !run.condition_held);
        life.last_exit = exit;
        life.last_error = error.as_ref().map(|(_, reason)| reason.clone());
        life.desired = Desired::Stopped;
        if error.is_some() {
            let policy = instance.definition.failure.clone();
            life.failures += 1;
            life.failed_at.push_back(now);
            life.failed_at.retain(|at| now.since(*at) < policy.within);
        }
        self.forget_asks_of(slot);
        // The state first, then the answers, then what follows: so everybody sees STOPPED between
        // two runs.
        self.set_state(now, slot, ServiceState::Stopped);
        self.answer_waiters(&run, error.as_ref());
        if self
            .instance(slot)
            .is_some_and(|instance| instance.known == Known::Gone)
        {
            self.forget(slot);
        } else {
            self.after_run(now, slot, &run, error.is_some());
        }
        self.continue_shutdown(run.stop == Some(StopCause::Shutdown));
    }

    fn answer_waiters(&mut self, run: &Run, error: Option<&(Win32Error, String)>) {
        for Waiter {
            session,
            ticket,
            for_running,
        } in run.waiters.iter().copied()
        {
            let reply = match (for_running, error) {
                (false, _) => Reply::Done,
                (true, Some((code, reason))) => Reply::Failed {
                    code: *code,
                    reason: reason.clone(),
                },
                (true, None) => Reply::Failed {
                    code: Win32Error::SERVICE_NOT_ACTIVE,
                    reason: "it was stopped before it was running".to_owned(),
                },
            };
            self.pending.push_back(Effect::Reply {
                session,
                ticket,
                reply,
            });
        }
    }

    /// What follows a run; the table at the top says it in the same order.
    fn after_run(&mut self, now: Time, slot: Slot, run: &Run, failed: bool) {
        if self.shutdown.is_some() {
            return;
        }
        let horizon = run.horizon.unwrap_or(run.started);
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let present = !instance.present.is_empty();
        let later = instance.present.values().any(|cursor| *cursor > horizon);
        let owed = instance.life.owed;
        // Nothing that could go away was its reason.
        let by_hand = matches!(run.reason, StartReason::Demand | StartReason::Auto)
            || instance.life.retry_by_hand
            || !run.condition_held;
        if failed {
            let policy = &instance.definition.failure;
            let too_often = instance.life.failed_at.len() >= policy.limit as usize;
            let ended_at = run.ended_at.unwrap_or(self.n);
            let arrived = instance.present.values().any(|cursor| *cursor > ended_at);
            if (!policy.restart || too_often) && !arrived && !owed {
                instance.life.held.get_or_insert(HeldBack::GivenUp);
                self.tell_state(now, slot);
            } else if present || by_hand || owed {
                instance.life.retry_by_hand = by_hand && !run.condition_held;
                let at = now.after(policy.delay);
                instance.life.desired = Desired::Running;
                self.timers
                    .set(Timer::Retry(slot), &mut instance.life.retry_at, Some(at));
                self.dirty.insert(Dirty::Life(slot));
            }
            return;
        }
        instance.life.retry_by_hand = false;
        if run.again || run.queued > 0 {
            self.start_if_present(now, slot, StartReason::Restart);
        } else if later || owed {
            self.start_if_present(now, slot, StartReason::Trigger);
        } else if present && instance.life.held.is_none() {
            instance.life.held = Some(HeldBack::Finished);
            self.tell_state(now, slot);
        }
    }

    /// A failed service is started again.
    pub(crate) fn retry_due(&mut self, now: Time, slot: Slot) {
        let synced = self.loaded && self.synced;
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        instance.life.retry_at = None;
        self.dirty.insert(Dirty::Life(slot));
        if !synced {
            // Just restarted: what is present is not known yet. Without a delay this timer would be
            // due again at once, for ever.
            let delay = instance.definition.failure.delay.max(RETRY_UNSYNCED);
            let at = Some(now.after(delay));
            self.timers
                .set(Timer::Retry(slot), &mut instance.life.retry_at, at);
            return;
        }
        let wanted = instance.wanted() || instance.life.retry_by_hand;
        if wanted && instance.life.run.is_none() && self.may_start(slot) {
            self.start(now, slot, StartReason::Restart, Vec::new(), None);
        } else if let Some(instance) = self.instance_mut(slot) {
            instance.life.desired = Desired::Stopped;
        }
    }

    /// Takes back a planned restart.
    pub(crate) fn cancel_retry(&mut self, slot: Slot) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        if std::mem::take(&mut instance.life.retry_by_hand) {
            self.dirty.insert(Dirty::Life(slot));
        }
        if instance.life.retry_at.is_some() {
            self.timers
                .set(Timer::Retry(slot), &mut instance.life.retry_at, None);
            instance.life.desired = Desired::Stopped;
            self.dirty.insert(Dirty::Life(slot));
        }
    }
}

/// Why a run counts as failed, if it does.
///
/// An ordered stop never does. A service with the control protocol must report STOPPED; the exit
/// status of the others says how they ended, and an unknown one is forgiven to those that had said
/// that they stop.
fn failure_of(run: &Run, protocol: Protocol, exit: Option<Exit>) -> Option<(Win32Error, String)> {
    if let Some(failed) = &run.failed {
        return Some(failed.clone());
    }
    if run.stop.is_some_and(StopCause::is_ordered) {
        return None;
    }
    if let Some(code) = run.reported_stopped {
        let reason = format!("it reported STOPPED with error {}", code.0);
        return (code != Win32Error::SUCCESS).then_some((code, reason));
    }
    let announced = run.stop == Some(StopCause::Itself);
    let aborted = |why: String| Some((Win32Error::PROCESS_ABORTED, why));
    match (protocol, exit) {
        (Protocol::Control, Some(exit)) => {
            aborted(format!("it ended without reporting STOPPED ({exit})"))
        }
        (Protocol::Control, None) => aborted("it ended without reporting STOPPED".to_owned()),
        (Protocol::Exec | Protocol::Notify, Some(Exit::Code(0))) => None,
        (Protocol::Exec | Protocol::Notify, Some(Exit::Unknown) | None) if announced => None,
        (Protocol::Exec | Protocol::Notify, Some(exit)) => {
            aborted(format!("its main process ended with {exit}"))
        }
        (Protocol::Exec | Protocol::Notify, None) => {
            aborted("its main process ended and nobody saw how".to_owned())
        }
    }
}
