//! Definitions that come, change and go.
//!
//! ```text
//! new definition             every trigger of it is new
//! changed definition         used by the next run; a given-up service gets a new chance; a trigger
//!                            that did not stand in the old one fires if its condition is true
//! equal definition           nothing
//! enabled again              started if its condition is true and nothing else holds it back
//! definition gone            a run goes on, followed as before; after it the service is forgotten
//! all told                   what nobody told is gone; start = "auto" is honoured once per boot
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrival_model::definition::{Definition, ServiceName, StartType};
use arrival_model::service_trigger::Action;
use arrival_model::state::{HeldBack, StartReason};
use arrival_model::time::Time;
use arrival_model::trigger::{Cause, Signal, Trigger};

use crate::arrivals::ready_for;
use crate::index::{FoldedIds, Slot, device_triggers};
use crate::instance::{Instance, Known, Life};
use crate::interfaces::Number;
use crate::timers::Timer;
use crate::{Dirty, Engine};

/// The triggers of a definition that start its service.
fn starts(definition: &Definition) -> impl Iterator<Item = &Trigger> {
    let triggers = definition.triggers.iter();
    triggers.filter(|trigger| trigger.action == Action::Start)
}

impl Engine {
    /// A definition is there, new or changed.
    pub(crate) fn defined(&mut self, now: Time, definition: Arc<Definition>, enabled: bool) {
        let Some(slot) = self.slot(&definition.name) else {
            let instance = Instance {
                definition: definition.clone(),
                enabled,
                known: Known::Defined,
                present: BTreeMap::new(),
                life: Life::new(now),
            };
            let slot = self.add_instance(instance);
            self.dirty.insert(Dirty::Definition(slot));
            self.tell_state(now, slot);
            self.match_again(now, slot, None);
            return;
        };
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        instance.known = Known::Defined;
        let enabled_now = enabled && !instance.enabled;
        let changed = *instance.definition != *definition;
        if changed || enabled != instance.enabled {
            self.dirty.insert(Dirty::Definition(slot));
        }
        instance.enabled = enabled;
        if changed {
            self.index.remove(slot, &instance.definition);
            let old = std::mem::replace(&mut instance.definition, definition.clone());
            if instance.life.held == Some(HeldBack::GivenUp) {
                instance.life.held = None;
                self.dirty.insert(Dirty::Life(slot));
            }
            self.index.insert(slot, &definition);
            self.watch(&definition);
            self.unwatch(&old);
            self.match_again(now, slot, Some(&old));
        }
        if changed || enabled_now {
            self.start_if_present(now, slot, StartReason::Trigger);
        }
    }

    /// Puts an instance into the list and the index.
    pub(crate) fn add_instance(&mut self, instance: Instance) -> Slot {
        let (name, definition) = (
            instance.definition.name.folded(),
            instance.definition.clone(),
        );
        let slot = self.instances.insert(instance);
        self.names.insert(name, slot);
        self.index.insert(slot, &definition);
        self.watch(&definition);
        slot
    }

    /// Which present interfaces and levels an instance wants, and whether a trigger that `old` did
    /// not have is among those that want them.
    fn wanted(&self, slot: Slot, old: Option<&Definition>) -> (BTreeMap<Number, u64>, bool) {
        let mut wanted = BTreeMap::new();
        let mut fires = false;
        let Some(instance) = self.instance(slot) else {
            return (wanted, fires);
        };
        for trigger in device_triggers(&instance.definition) {
            let fresh = !old.is_some_and(|old| device_triggers(old).any(|other| other == trigger));
            for (number, entry) in self.interfaces.of_class(trigger.class) {
                let ids = FoldedIds::of(&entry.interface);
                if let Some(cursor) = ready_for(&instance.definition, entry, &ids) {
                    wanted.insert(number, cursor);
                    fires |= fresh && ids.fit(trigger) && entry.ready(trigger.wait).is_some();
                }
            }
        }
        for trigger in starts(&instance.definition) {
            for signal in trigger.cause.signals() {
                let Signal::Side(level, side) = signal else {
                    continue;
                };
                let holds = self.levels.get(&level);
                if let Some(entry) = holds.filter(|entry| entry.side == Some(side)) {
                    wanted.insert(entry.number, entry.cursor);
                    fires |= !old.is_some_and(|old| old.triggers.contains(trigger));
                }
            }
        }
        (wanted, fires)
    }

    /// Whether an edge that `old` did not wait for may be taken to have happened: a policy that is
    /// there.
    fn owes_edge(&self, slot: Slot, old: Option<&Definition>) -> bool {
        self.instance(slot).is_some_and(|instance| {
            starts(&instance.definition).any(|trigger| {
                let fresh = !old.is_some_and(|old| old.triggers.contains(trigger));
                fresh
                    && matches!(&trigger.cause, Cause::Policy(kind)
                        if self.policies.get(kind).is_some_and(|known| known.digest.is_some()))
            })
        })
    }

    /// Notes which interfaces an instance wants, on both sides.
    fn set_present(&mut self, slot: Slot, wanted: BTreeMap<Number, u64>) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        for number in instance.present.keys() {
            if let Some(entry) = self.interfaces.get_mut(*number) {
                entry.wanted_by.retain(|other| *other != slot);
            }
        }
        for number in wanted.keys() {
            if let Some(entry) = self.interfaces.get_mut(*number) {
                entry.wanted_by.push(slot);
                entry.wanted_by.sort_unstable();
            }
        }
        instance.present = wanted;
    }

    /// Finds after a restart which interfaces an instance wants; nothing fires.
    pub(crate) fn recall_present(&mut self, slot: Slot) {
        let (wanted, _) = self.wanted(slot, None);
        self.set_present(slot, wanted);
    }

    /// Finds anew which interfaces an instance wants; triggers that `old` did not have may fire.
    fn match_again(&mut self, now: Time, slot: Slot, old: Option<&Definition>) {
        let (wanted, fires) = self.wanted(slot, old);
        let none_left = wanted.is_empty()
            && self
                .instance(slot)
                .is_some_and(|instance| !instance.present.is_empty());
        self.set_present(slot, wanted);
        if none_left {
            self.none_left(now, slot);
        } else if fires {
            let run = self
                .instance_mut(slot)
                .and_then(|instance| instance.life.run.as_mut());
            if let Some(run) = run.filter(|run| run.stop.is_some()) {
                // The trigger was registered while the service stops: remembered until it has.
                run.again = true;
                self.dirty.insert(Dirty::Life(slot));
            }
            self.arrived(now, slot);
        }
        if self.owes_edge(slot, old) {
            self.start_by_edge(now, slot);
        }
    }

    /// A definition is gone.
    pub(crate) fn undefined(&mut self, now: Time, name: &ServiceName) {
        let Some(slot) = self.slot(name) else { return };
        let Some(instance) = self.instance_mut(slot) else {
            return;
        };
        instance.known = Known::Gone;
        let running = instance.life.run.is_some();
        self.cancel_retry(slot);
        self.tell_state(now, slot);
        if !running {
            self.forget(slot);
        }
    }

    /// Removes an instance that has no run.
    pub(crate) fn forget(&mut self, slot: Slot) {
        let Some(mut instance) = self.instances.remove(slot) else {
            return;
        };
        self.timers
            .set(Timer::Retry(slot), &mut instance.life.retry_at, None);
        self.timers
            .set(Timer::Hold(slot), &mut instance.life.hold_until, None);
        self.index.remove(slot, &instance.definition);
        self.unwatch(&instance.definition);
        self.names.remove(&instance.definition.name.folded());
        for number in instance.present.keys() {
            if let Some(entry) = self.interfaces.get_mut(*number) {
                entry.wanted_by.retain(|other| *other != slot);
            }
        }
        self.dirty.remove(&Dirty::Definition(slot));
        self.dirty.remove(&Dirty::Life(slot));
        self.forgotten.insert(instance.definition.name.folded());
    }

    /// All definitions were told after the manager's start.
    pub(crate) fn all_loaded(&mut self, now: Time) {
        self.loaded = true;
        for slot in self.slots() {
            let name = self
                .instance(slot)
                .filter(|instance| instance.known == Known::Remembered)
                .map(|instance| instance.definition.name.clone());
            if let Some(name) = name {
                self.undefined(now, &name);
            }
        }
        self.forget_unwanted_levels();
        if !std::mem::replace(&mut self.booted, true) {
            self.dirty.insert(Dirty::Engine);
            for slot in self.slots() {
                let auto = self.instance(slot).is_some_and(|instance| {
                    self.shutdown.is_none()
                        && instance.definition.start == StartType::Auto
                        && instance.enabled
                        && instance.life.run.is_none()
                });
                if auto {
                    self.start(now, slot, StartReason::Auto, Vec::new(), None);
                }
            }
        }
        if self.synced {
            self.start_all_present(now);
        }
    }
}
