//! What an arrival and a removal mean to services.
//!
//! ```text
//! arrival of a matching interface, ready for the trigger
//!   always                          the service is no longer finished, stopped by its operator or
//!                                   given up
//!   STOPPED                         start, if it is enabled
//!   START_PENDING, RUNNING, other   the stop after the last removal is called off; a service that
//!                                   accepts trigger events is told; a run whose given interface is
//!                                   gone is restarted with this one
//!   STOP_PENDING                    nothing now: the end of the run looks at its horizon; if an
//!                                   operator ordered it, starting again is noted
//!
//! removal of a matching interface
//!   STOPPED, none left              a planned restart is taken back
//!   running, none left              with follow: stop, at once or after linger, if one was there
//!                                   during the run; without: nothing
//!   running, the given one, others  restart with one of the others (replug = "restart", and the
//!     left                          program takes no notices)
//!   STOP_PENDING                    nothing
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrival_model::definition::{Definition, Protocol, Replug};
use arrival_model::interface::{Interface, Owner};
use arrival_model::service_trigger::Action;
use arrival_model::state::{Accepts, Control, Desired, HeldBack, ServiceState, StartReason};
use arrival_model::time::Time;

use crate::index::{FoldedIds, Slot, device_triggers, device_triggers_that};
use crate::instance::{Run, StopCause};
use crate::interfaces::{Entry, Number};
use crate::timers::Timer;
use crate::{Dirty, Engine};

/// How long a service may think about a control (Microsoft, Service Control Handler Function).
const CONTROL_TIMEOUT: Duration = Duration::from_secs(30);

impl Engine {
    /// An interface is present with these attributes.
    pub(crate) fn present(&mut self, now: Time, interface: Arc<Interface>) {
        let Some(number) = self.interfaces.number(&interface.key) else {
            for old in self.interfaces.other_incarnations(&interface.key) {
                self.gone(now, old);
            }
            self.appeared(now, interface);
            return;
        };
        let n = self.n + 1;
        let Some(entry) = self.interfaces.get_mut(number) else {
            return;
        };
        if entry.interface == interface {
            return;
        }
        let was_usable = entry.usable.is_some();
        let old = std::mem::replace(&mut entry.interface, interface);
        self.dirty.insert(Dirty::Interface(number));
        if entry.interface.usable && !was_usable {
            entry.usable = Some(n);
        }
        // For those who wait for the other moment, or for other ids, nothing has changed.
        self.n = n;
        self.tell_change(now, number, &old, was_usable);
        self.offer(now, number);
    }

    fn appeared(&mut self, now: Time, interface: Arc<Interface>) {
        self.n += 1;
        let number = Number(self.new_id());
        let usable = interface.usable.then_some(self.n);
        let entry = Entry {
            interface,
            appeared: self.n,
            usable,
            wanted_by: Vec::new(),
        };
        self.interfaces.insert(number, entry);
        self.dirty.insert(Dirty::Interface(number));
        self.tell_arrival(now, number);
        self.offer(now, number);
    }

    /// Brings the instances that want an interface up to date after it arrived or changed.
    fn offer(&mut self, now: Time, number: Number) {
        let Some(entry) = self.interfaces.get(number) else {
            return;
        };
        let n = self.n;
        let ids = FoldedIds::of(&entry.interface);
        let mut wanted: BTreeMap<Slot, u64> = BTreeMap::new();
        let mut stopped = Vec::new();
        for slot in self.index.candidates(entry.interface.key.class, &ids) {
            let Some(instance) = self.instance(slot) else {
                continue;
            };
            if let Some(cursor) = ready_for(&instance.definition, entry, &ids) {
                wanted.insert(slot, cursor);
            }
            let mut stops = device_triggers_that(&instance.definition, Action::Stop);
            let class = entry.interface.key.class;
            if stops.any(|stop| {
                stop.class == class && ids.fit(stop) && entry.ready(stop.wait) == Some(n)
            }) {
                stopped.push(slot);
            }
        }
        let before = entry.wanted_by.clone();
        let after: Vec<Slot> = wanted.keys().copied().collect();
        if let Some(entry) = self.interfaces.get_mut(number) {
            entry.wanted_by = after;
        }
        for slot in before.iter().filter(|slot| !wanted.contains_key(slot)) {
            self.lost(now, *slot, number);
        }
        for slot in stopped {
            self.stop_by_trigger(now, slot);
        }
        for (slot, cursor) in wanted {
            let Some(instance) = self.instances.get_mut(slot) else {
                continue;
            };
            instance.present.insert(number, cursor);
            if before.contains(&slot) {
                continue;
            }
            if cursor < n
                && let Some(run) = &mut instance.life.run
                && (run.stop.is_some() || run.session.is_none())
            {
                // It was there before, and is wanted only since its ids have changed: its cursor
                // cannot say that this is an arrival.
                run.again = true;
                self.dirty.insert(Dirty::Life(slot));
            }
            self.arrived(now, slot);
        }
    }

    /// An interface is gone.
    pub(crate) fn gone(&mut self, now: Time, number: Number) {
        let Some(entry) = self.interfaces.remove(number) else {
            return;
        };
        self.n += 1;
        self.dirty.insert(Dirty::Interface(number));
        self.tell_removal(now, &entry);
        for slot in entry.wanted_by {
            self.lost(now, slot, number);
        }
    }

    /// All interfaces of kernel devices: differences become removals and arrivals.
    pub(crate) fn snapshot(&mut self, now: Time, all: Vec<Arc<Interface>>) {
        let keys: std::collections::BTreeSet<_> =
            all.iter().map(|interface| &interface.key).collect();
        let missing: Vec<Number> = self
            .interfaces
            .iter()
            .filter(|(_, entry)| {
                let key = &entry.interface.key;
                matches!(key.owner, Owner::Device { .. }) && !keys.contains(key)
            })
            .map(|(number, _)| number)
            .collect();
        for number in missing {
            self.gone(now, number);
        }
        for interface in all {
            self.present(now, interface);
        }
        if let Some(source) = self.overrun.take() {
            self.counters.resyncs += 1;
            self.tell_resync(now, source);
        }
        // What was there from the beginning is one cause to start, however many devices it is.
        if !std::mem::replace(&mut self.synced, true) {
            self.start_all_present(now);
        }
    }

    /// A source lost events; the snapshot that follows heals it.
    pub(crate) fn source_overrun(&mut self, now: Time, source: &'static str) {
        self.overrun = Some(source);
        self.tell_overrun(now, source);
    }

    /// Starts what should run and does not; definitions and devices must both be known.
    pub(crate) fn start_all_present(&mut self, now: Time) {
        for slot in self.slots() {
            self.start_if_present(now, slot, StartReason::Trigger);
        }
    }

    /// A trigger of an instance fires; its interface already stands in `present`.
    pub(crate) fn arrived(&mut self, now: Time, slot: Slot) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let life = &mut instance.life;
        match life.held {
            Some(
                HeldBack::Finished
                | HeldBack::StoppedByOperator
                | HeldBack::StoppedByTrigger
                | HeldBack::GivenUp,
            ) => {
                life.held = None;
                self.dirty.insert(Dirty::Life(slot));
            }
            Some(HeldBack::Flapping | HeldBack::Disabled) | None => {}
        }
        match life.state {
            ServiceState::Stopped => {
                // An arrival is better news than the delay after a failure was made for.
                if self.may_start(slot) {
                    self.start(now, slot, StartReason::Trigger, Vec::new(), None);
                }
            }
            ServiceState::StopPending => {
                let by_order = |run: &&mut Run| {
                    matches!(run.stop, Some(StopCause::Operator | StopCause::Trigger))
                };
                if let Some(run) = life.run.as_mut().filter(by_order) {
                    // Such a stop ends with this arrival, even if its interface is gone again when
                    // the run ends.
                    run.again = true;
                    self.dirty.insert(Dirty::Life(slot));
                }
            }
            ServiceState::StartPending
            | ServiceState::Running
            | ServiceState::ContinuePending
            | ServiceState::PausePending
            | ServiceState::Paused => {
                if let Some(run) = &mut life.run {
                    run.condition_held = true;
                    self.timers
                        .set(Timer::Linger(slot), &mut run.linger_at, None);
                }
                life.desired = Desired::Running;
                self.dirty.insert(Dirty::Life(slot));
                self.queue_trigger_event(now, slot);
                self.replace_given(now, slot);
            }
        }
    }

    /// Tells a service that accepts trigger events of one more, or keeps it until it does; whether
    /// it may be told at all.
    pub(crate) fn queue_trigger_event(&mut self, now: Time, slot: Slot) -> bool {
        let Some(instance) = self.instance_mut(slot) else {
            return false;
        };
        let control = instance.definition.protocol == Protocol::Control;
        let starting = instance.life.state == ServiceState::StartPending;
        let Some(run) = &mut instance.life.run else {
            return false;
        };
        let accepts = run.accepts.contains(Accepts::TRIGGER_EVENT);
        if !control || !(accepts || starting) {
            return false;
        }
        run.queued = run.queued.saturating_add(1);
        self.deliver_trigger_events(now, slot);
        true
    }

    /// Asks the service about every trigger event that is queued, if it accepts them now.
    pub(crate) fn deliver_trigger_events(&mut self, now: Time, slot: Slot) {
        let Some(instance) = self.instance(slot) else {
            return;
        };
        let Some(run) = &instance.life.run else {
            return;
        };
        let Some(session) = run.session else { return };
        if !run.accepts.contains(Accepts::TRIGGER_EVENT) || run.stop.is_some() {
            return;
        }
        let open = self.open_asks(slot, Control::TriggerEvent);
        let deadline = now.after(CONTROL_TIMEOUT);
        for _ in open..run.queued {
            self.ask(session, slot, Control::TriggerEvent, deadline);
        }
    }

    /// An interface that matched is gone, or does not match any more.
    pub(crate) fn lost(&mut self, now: Time, slot: Slot, number: Number) {
        let Some(instance) = self.instance_mut(slot) else {
            return;
        };
        instance.present.remove(&number);
        if instance.present.is_empty() {
            self.none_left(now, slot);
        } else {
            self.replace_given(now, slot);
        }
    }

    /// The last matching interface of an instance is gone.
    pub(crate) fn none_left(&mut self, now: Time, slot: Slot) {
        let cursor = self.n;
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let (follow, linger) = (instance.definition.follow, instance.definition.linger);
        let Some(run) = &mut instance.life.run else {
            if !instance.life.retry_by_hand {
                self.cancel_retry(slot);
            }
            return;
        };
        if run.stop.is_some() || !follow || !run.condition_held {
            return;
        }
        if linger.is_zero() {
            self.stop(now, slot, StopCause::NoInterface, cursor);
        } else if run.linger_at.is_none() {
            self.timers.set(
                Timer::Linger(slot),
                &mut run.linger_at,
                Some(now.after(linger)),
            );
            self.dirty.insert(Dirty::Life(slot));
        }
    }

    /// The last interface has been gone for as long as the service may linger.
    pub(crate) fn linger_passed(&mut self, now: Time, slot: Slot) {
        let cursor = self.n;
        let Some(instance) = self.instance_mut(slot) else {
            return;
        };
        let Some(run) = &mut instance.life.run else {
            return;
        };
        run.linger_at = None;
        if instance.present.is_empty() {
            self.stop(now, slot, StopCause::NoInterface, cursor);
        }
    }

    /// Restarts a plain program whose given interface is gone while another one is there.
    fn replace_given(&mut self, now: Time, slot: Slot) {
        let cursor = self.n;
        let Some(instance) = self.instance(slot) else {
            return;
        };
        let Some(run) = &instance.life.run else {
            return;
        };
        let Some(given) = &run.given else { return };
        let plain = instance.definition.protocol != Protocol::Control && run.session.is_none();
        let there = self
            .interfaces
            .number(given)
            .is_some_and(|number| instance.present.contains_key(&number));
        if !plain
            || there
            || run.stop.is_some()
            || instance.present.is_empty()
            || instance.definition.replug == Replug::Ignore
        {
            return;
        }
        if let Some(run) = self
            .instance_mut(slot)
            .and_then(|instance| instance.life.run.as_mut())
        {
            run.again = true;
        }
        self.stop(now, slot, StopCause::Replug, cursor);
    }
}

/// The earliest cursor at which an interface was ready for any trigger of a definition.
pub(crate) fn ready_for(definition: &Definition, entry: &Entry, ids: &FoldedIds) -> Option<u64> {
    device_triggers(definition)
        .filter(|trigger| trigger.class == entry.interface.key.class && ids.fit(trigger))
        .filter_map(|trigger| entry.ready(trigger.wait))
        .min()
}
