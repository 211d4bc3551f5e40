//! The state machine of a run.
//!
//! An instance without a run is STOPPED. Desired and actual state are two fields: `desired` says
//! what is wanted, the table says how the run gets there.
//!
//! ```text
//! state          | event                          | becomes       | what is done
//! ---------------+--------------------------------+---------------+---------------------------------
//! STOPPED        | start                          | START_PENDING | spawn; start deadline
//! START_PENDING  | host started, exec             | RUNNING       |
//! START_PENDING  | READY=1, or reported RUNNING   | RUNNING       | deliver queued trigger events
//! START_PENDING  | host failed                    | STOPPED       | failure policy
//! START_PENDING  | deadline                       | STOP_PENDING  | kill; counts as failed (1053)
//! START, RUNNING,| stop ordered                   | STOP_PENDING  | STOP control or SIGTERM; stop
//!  PAUSED, other |                                |               | deadline; horizon is now
//!  pending       | STOPPING=1, StopIfUnchanged,   | STOP_PENDING  | stop deadline; horizon is what
//!                | reported STOP_PENDING, STOPPED |               | the session was told
//!                | main process exited            | STOP_PENDING  | kill what is left of the host
//!                | reported another legal state   | that state    | checkpoint, deadline
//! STOP_PENDING   | deadline                       | STOP_PENDING  | kill; again every stop timeout
//! STOP_PENDING   | main process exited            | STOP_PENDING  | kill what is left of the host
//! any of a run   | host empty                     | STOPPED       | end of the run
//! ```
//!
//! What follows the end of a run stands in [`crate::ends`].

use std::time::Duration;

use arrival_model::definition::Protocol;
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::state::{Accepts, Control, Desired, HeldBack, ServiceState, StartReason};
use arrival_model::time::Time;

use crate::api::{Effect, HostId, Notify, Reply, Spawn};
use crate::index::Slot;
use crate::instance::{Host, Known, Run, StopCause, Waiter};
use crate::timers::Timer;
use crate::{Dirty, Engine};

impl Engine {
    /// Whether nothing but a missing interface keeps the instance from being started.
    pub(crate) fn may_start(&self, slot: Slot) -> bool {
        self.shutdown.is_none()
            && self.loaded
            && self.synced
            && self.instance(slot).is_some_and(|instance| {
                instance.enabled && instance.known == Known::Defined && instance.life.held.is_none()
            })
    }

    /// Starts an instance that is STOPPED.
    pub(crate) fn start(
        &mut self,
        now: Time,
        slot: Slot,
        reason: StartReason,
        arguments: Vec<String>,
        waiter: Option<Waiter>,
    ) {
        if self.damped(now, slot, reason) {
            return;
        }
        let (run_id, host_id) = (self.new_run_id(), HostId(self.new_id()));
        let started = self.n;
        let Some(instance) = self.instance(slot) else {
            return;
        };
        let interfaces = (instance.present.iter())
            .filter_map(|(number, cursor)| Some((cursor, self.interfaces.get(*number)?)));
        let interface = interfaces
            .max_by_key(|(cursor, _)| **cursor)
            .map(|(_, entry)| entry.interface.clone());
        let definition = instance.definition.clone();
        let condition_held = !instance.present.is_empty();
        let service = definition.name.clone();
        let deadline = now.after(definition.start_timeout);
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let life = &mut instance.life;
        self.timers
            .set(Timer::Retry(slot), &mut life.retry_at, None);
        let mut run = Run {
            id: run_id,
            host: host_id,
            reason,
            arguments,
            started,
            told: None,
            horizon: None,
            ended_at: None,
            given: interface.as_ref().map(|interface| interface.key.clone()),
            condition_held,
            stop: None,
            again: false,
            failed: None,
            reported_stopped: None,
            accepts: Accepts::default(),
            checkpoint: 0,
            wait_hint: Duration::ZERO,
            status_text: None,
            deadline: None,
            linger_at: None,
            queued: 0,
            last_edge: None,
            session: None,
            waiters: waiter.into_iter().collect(),
        };
        self.timers
            .set(Timer::Deadline(slot), &mut run.deadline, Some(deadline));
        life.run = Some(run);
        life.desired = Desired::Running;
        life.held = None;
        life.owed = false;
        life.starts += 1;
        life.last_error = None;
        let host = Host {
            service,
            run: run_id,
            main: None,
            exit: None,
            slot: Some(slot),
            terminate_when_started: false,
            adopted: false,
        };
        self.hosts.insert(host_id, host);
        self.dirty.insert(Dirty::Host(host_id));
        self.pending.push_back(Effect::Spawn(Spawn {
            host: host_id,
            run: run_id,
            definition,
            reason,
            interface,
        }));
        self.set_state(now, slot, ServiceState::StartPending);
    }

    /// Counts a start by a trigger and says whether the definition's damping forbids it.
    fn damped(&mut self, now: Time, slot: Slot, reason: StartReason) -> bool {
        let Some(instance) = self.instances.get_mut(slot) else {
            return true;
        };
        let Some(damping) = instance.definition.damping.clone() else {
            return false;
        };
        if reason != StartReason::Trigger {
            return false;
        }
        let life = &mut instance.life;
        life.triggered_at
            .retain(|at| now.since(*at) < damping.within);
        if life.triggered_at.len() < damping.starts as usize {
            life.triggered_at.push_back(now);
            return false;
        }
        life.held = Some(HeldBack::Flapping);
        life.desired = Desired::Stopped;
        let until = Some(now.after(damping.hold));
        self.timers
            .set(Timer::Hold(slot), &mut life.hold_until, until);
        self.tell_state(now, slot);
        true
    }

    /// A flapping service is no longer held back.
    pub(crate) fn hold_passed(&mut self, now: Time, slot: Slot) {
        let Some(instance) = self.instance_mut(slot) else {
            return;
        };
        let life = &mut instance.life;
        life.hold_until = None;
        life.triggered_at.clear();
        if life.held == Some(HeldBack::Flapping) {
            life.held = None;
        }
        self.dirty.insert(Dirty::Life(slot));
        self.start_if_present(now, slot, StartReason::Trigger);
    }

    /// Starts a STOPPED instance whose condition holds, unless something holds it back.
    pub(crate) fn start_if_present(&mut self, now: Time, slot: Slot, reason: StartReason) {
        let ready = self.instance(slot).is_some_and(|instance| {
            instance.life.run.is_none() && instance.life.retry_at.is_none() && instance.wanted()
        });
        if ready && self.may_start(slot) {
            self.start(now, slot, reason, Vec::new(), None);
        }
    }

    /// Orders a run to stop, or notes that the service has begun to.
    pub(crate) fn stop(&mut self, now: Time, slot: Slot, cause: StopCause, horizon: u64) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let allowed = instance.definition.stop_timeout;
        let deadline = now.after(allowed);
        let Some(run) = &mut instance.life.run else {
            return;
        };
        if run.stop.is_some() {
            return;
        }
        run.stop = Some(cause);
        run.horizon = Some(horizon);
        run.ended_at = Some(self.n);
        run.checkpoint = 0;
        run.wait_hint = Duration::ZERO;
        self.timers
            .set(Timer::Linger(slot), &mut run.linger_at, None);
        self.timers
            .set(Timer::Deadline(slot), &mut run.deadline, Some(deadline));
        let host = run.host;
        let session = run.session.filter(|_| run.accepts.contains(Accepts::STOP));
        instance.life.desired = Desired::Stopped;
        match cause {
            StopCause::Operator
            | StopCause::NoInterface
            | StopCause::Replug
            | StopCause::Trigger
            | StopCause::Shutdown => match session {
                // Half of the time is left for SIGTERM, should the control not be answered.
                Some(session) => self.ask(session, slot, Control::Stop, now.after(allowed / 2)),
                None => self.terminate(host),
            },
            StopCause::StartTimeout => self.kill(host),
            StopCause::Itself | StopCause::Exit => {}
        }
        self.set_state(now, slot, ServiceState::StopPending);
    }

    /// Stops a run that begins to end of itself; its horizon is what its session was told.
    pub(crate) fn stop_itself(&mut self, now: Time, slot: Slot, cause: StopCause) {
        let Some(run) = self
            .instance(slot)
            .and_then(|instance| instance.life.run.as_ref())
        else {
            return;
        };
        let horizon = run.told.unwrap_or(run.started).max(run.started);
        self.stop(now, slot, cause, horizon);
    }

    pub(crate) fn terminate(&mut self, host: HostId) {
        let Some(entry) = self.hosts.get_mut(&host) else {
            return;
        };
        if entry.is_there() {
            self.pending.push_back(Effect::Terminate { host });
        } else {
            // Its program is being started: the signal follows as soon as there is a process.
            entry.terminate_when_started = true;
        }
    }

    fn kill(&mut self, host: HostId) {
        let Some(entry) = self.hosts.get_mut(&host) else {
            return;
        };
        if entry.is_there() {
            self.pending.push_back(Effect::Kill { host });
        } else {
            entry.terminate_when_started = true;
        }
    }

    /// Enters a state: tells everybody, answers who waited for RUNNING, notes it to be written.
    pub(crate) fn set_state(&mut self, now: Time, slot: Slot, state: ServiceState) {
        let Some(instance) = self.instance_mut(slot) else {
            return;
        };
        let changed = instance.life.state != state;
        instance.life.state = state;
        if changed {
            instance.life.since = now;
        }
        let mut replies = Vec::new();
        if let (ServiceState::Running, Some(run)) = (state, &mut instance.life.run) {
            let id = run.id;
            replies.extend(run.waiters.iter().filter(|waiter| waiter.for_running).map(
                |Waiter {
                     session, ticket, ..
                 }| Effect::Reply {
                    session: *session,
                    ticket: *ticket,
                    reply: Reply::Started(id),
                },
            ));
            run.waiters.retain(|waiter| !waiter.for_running);
        }
        self.dirty.insert(Dirty::Life(slot));
        if changed {
            self.tell_state(now, slot);
        }
        self.pending.extend(replies);
    }

    /// The program of a host runs.
    pub(crate) fn host_started(&mut self, now: Time, host: HostId, pid: i32, start_time: u64) {
        let Some(entry) = self.hosts.get_mut(&host) else {
            return;
        };
        if entry.main.is_some() {
            return;
        }
        entry.main = Some((pid, start_time));
        let terminate = std::mem::take(&mut entry.terminate_when_started);
        let slot = entry.slot;
        self.dirty.insert(Dirty::Host(host));
        if terminate {
            self.pending.push_back(Effect::Terminate { host });
        }
        if let Some(slot) = slot {
            self.became_ready(now, slot, Protocol::Exec);
        }
    }

    /// A START_PENDING run of a service with this protocol has become ready.
    fn became_ready(&mut self, now: Time, slot: Slot, protocol: Protocol) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        if instance.definition.protocol != protocol
            || instance.life.state != ServiceState::StartPending
        {
            return;
        }
        if let Some(run) = &mut instance.life.run {
            self.timers
                .set(Timer::Deadline(slot), &mut run.deadline, None);
        }
        self.set_state(now, slot, ServiceState::Running);
    }

    /// The program of a host could not be started.
    pub(crate) fn host_failed(&mut self, now: Time, host: HostId, error: String, code: Win32Error) {
        let Some(entry) = self.hosts.get(&host) else {
            return;
        };
        if entry.main.is_some() {
            return;
        }
        let slot = entry.slot;
        self.fail_run(slot, code, error);
        self.host_is_over(now, host);
    }

    fn fail_run(&mut self, slot: Option<Slot>, code: Win32Error, error: String) {
        let run = slot
            .and_then(|slot| self.instance_mut(slot))
            .and_then(|instance| instance.life.run.as_mut());
        if let Some(run) = run {
            run.failed.get_or_insert((code, error));
        }
    }

    /// The main process of a host ended; whatever it left behind goes with it.
    pub(crate) fn main_exited(&mut self, now: Time, host: HostId, exit: Exit) {
        let Some(entry) = self.hosts.get_mut(&host) else {
            return;
        };
        if entry.exit.is_some() {
            return;
        }
        entry.exit = Some(exit);
        let slot = entry.slot;
        self.dirty.insert(Dirty::Host(host));
        self.kill(host);
        if let Some(slot) = slot {
            self.stop_itself(now, slot, StopCause::Exit);
        }
    }

    /// No process of a host is left.
    pub(crate) fn host_empty(&mut self, now: Time, host: HostId) {
        self.host_is_over(now, host);
    }

    fn host_is_over(&mut self, now: Time, host: HostId) {
        let Some(entry) = self.hosts.remove(&host) else {
            return;
        };
        self.dirty.insert(Dirty::Host(host));
        if let Some(slot) = entry.slot {
            self.end_run(now, slot, entry.exit.or(entry.main.map(|_| Exit::Unknown)));
        }
    }

    /// A start or a stop took too long.
    pub(crate) fn deadline_passed(&mut self, now: Time, slot: Slot) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let (start, stop) = (
            instance.definition.start_timeout,
            instance.definition.stop_timeout,
        );
        let Some(run) = &mut instance.life.run else {
            return;
        };
        run.deadline = None;
        let (host, cursor) = (run.host, self.n);
        if run.stop.is_none() {
            let reason = format!(
                "it was not running {} s after its start",
                start.as_secs_f64()
            );
            run.failed
                .get_or_insert((Win32Error::SERVICE_REQUEST_TIMEOUT, reason));
            self.stop(now, slot, StopCause::StartTimeout, cursor);
        } else {
            // A process that cannot die yet (uninterruptible sleep) is killed again later.
            let again = now.after(stop.max(Duration::from_secs(1)));
            self.timers
                .set(Timer::Deadline(slot), &mut run.deadline, Some(again));
            self.dirty.insert(Dirty::Life(slot));
            self.kill(host);
        }
    }

    /// What a plain program says through its notify socket.
    pub(crate) fn notified(&mut self, now: Time, host: HostId, notify: Notify) {
        let Some(slot) = self.hosts.get(&host).and_then(|entry| entry.slot) else {
            return;
        };
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let pending = instance.life.state.is_pending();
        let Some(run) = &mut instance.life.run else {
            return;
        };
        if let Some(status) = notify.status {
            run.status_text = Some(status);
            self.dirty.insert(Dirty::Life(slot));
        }
        if let Some(more) = notify.extend_timeout.filter(|_| pending) {
            run.wait_hint = more;
            run.checkpoint = run.checkpoint.saturating_add(1);
            self.timers.set(
                Timer::Deadline(slot),
                &mut run.deadline,
                Some(now.after(more)),
            );
            self.dirty.insert(Dirty::Life(slot));
        }
        if notify.ready {
            self.became_ready(now, slot, Protocol::Notify);
        }
        if notify.stopping {
            self.stop_itself(now, slot, StopCause::Itself);
        }
    }

    /// After a restart of the manager: a remembered host is alive.
    pub(crate) fn host_adopted(&mut self, now: Time, host: HostId) {
        let Some(entry) = self.hosts.get_mut(&host) else {
            return;
        };
        entry.adopted = true;
        let Some(slot) = entry.slot else { return };
        self.became_ready(now, slot, Protocol::Exec);
        let stopping = self
            .instance(slot)
            .and_then(|instance| instance.life.run.as_ref())
            .is_some_and(|run| run.stop.is_some_and(StopCause::is_ordered));
        if stopping {
            // Whether the signal was sent before the manager ended is not known; a second one is
            // harmless.
            self.terminate(host);
        }
    }

    /// After a restart of the manager: a remembered host is gone.
    pub(crate) fn host_lost(&mut self, now: Time, host: HostId) {
        let Some(entry) = self.hosts.get(&host) else {
            return;
        };
        let (slot, main) = (entry.slot, entry.main);
        let run = slot
            .and_then(|slot| self.instance_mut(slot))
            .and_then(|instance| instance.life.run.as_mut())
            .filter(|run| run.stop.is_none());
        if let (None, Some(run)) = (main, run) {
            // The manager ended before it had noted a process: the start is made again.
            if matches!(run.reason, StartReason::Demand | StartReason::Auto) {
                let error = "the manager ended while it was being started".to_owned();
                run.failed
                    .get_or_insert((Win32Error::PROCESS_ABORTED, error));
            } else {
                run.again = true;
                run.stop = Some(StopCause::Replug);
            }
        }
        self.host_is_over(now, host);
    }
}
