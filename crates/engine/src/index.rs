//! From an interface to the instances whose triggers it could fire, without looking at the rest.
//!
//! ```text
//! class  -> any      instances with a trigger for every device of the class
//!        -> by_id    folded id -> instances with a trigger for that id
//! signal -> instances with a trigger for it, each with what the trigger does
//! ```
//!
//! The index answers "could": the trigger itself is asked afterwards, because an ancestor's id
//! counts only where the trigger says so. It is derived from the definitions, so two engines with
//! equal definitions have equal indexes, and it takes no part in comparing engines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};

use arrival_model::definition::Definition;
use arrival_model::guid::Guid;
use arrival_model::interface::Interface;
use arrival_model::service_trigger::Action;
use arrival_model::trigger::{Cause, DeviceTrigger, FoldedId, Level, Signal, ids_of};

/// The place of an instance in the engine's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u32);

#[derive(Clone, Debug, Default)]
struct ClassIndex {
    any: BTreeSet<Slot>,
    by_id: HashMap<FoldedId, BTreeSet<Slot>>,
}

/// The instances by class and id of their triggers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    classes: HashMap<Guid, ClassIndex>,
    signals: BTreeMap<Signal, BTreeSet<(Slot, Action)>>,
}

impl PartialEq for Index {
    fn eq(&self, _: &Index) -> bool {
        true
    }
}

impl Eq for Index {}

impl Hash for Index {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// The triggers of a definition that devices fire, with what they do.
fn all_device_triggers(definition: &Definition) -> impl Iterator<Item = (Action, &DeviceTrigger)> {
    let triggers = definition.triggers.iter();
    triggers.filter_map(|trigger| match &trigger.cause {
        Cause::Device(device) => Some((trigger.action, device)),
        Cause::Network { .. }
        | Cause::Domain { .. }
        | Cause::Port { .. }
        | Cause::Policy(_)
        | Cause::Pipe { .. }
        | Cause::Rpc(_)
        | Cause::Custom(_)
        | Cause::State(_)
        | Cause::Aggregate(_) => None,
    })
}

/// The device triggers of a definition that start its service.
pub(crate) fn device_triggers(definition: &Definition) -> impl Iterator<Item = &DeviceTrigger> {
    device_triggers_that(definition, Action::Start)
}

/// The device triggers of a definition that do this.
pub(crate) fn device_triggers_that(
    definition: &Definition,
    action: Action,
) -> impl Iterator<Item = &DeviceTrigger> {
    all_device_triggers(definition)
        .filter(move |(does, _)| *does == action)
        .map(|(_, device)| device)
}

/// The signals of a definition's triggers, with what these do.
pub(crate) fn signals(definition: &Definition) -> impl Iterator<Item = (Signal, Action)> {
    definition.triggers.iter().flat_map(|trigger| {
        let signals = trigger.cause.signals().into_iter();
        signals.map(|signal| (signal, trigger.action))
    })
}

/// An interface's ids, folded once for all comparisons.
#[derive(Debug)]
pub(crate) struct FoldedIds {
    own: Vec<FoldedId>,
    ancestors: Vec<FoldedId>,
}

impl FoldedIds {
    pub(crate) fn of(interface: &Interface) -> Self {
        FoldedIds {
            own: ids_of(interface, false).map(FoldedId::new).collect(),
            ancestors: interface
                .ancestor_ids
                .iter()
                .map(|id| FoldedId::new(id))
                .collect(),
        }
    }

    /// Whether one of these ids is among the device's, or among its ancestors' if they count.
    pub(crate) fn any_of(&self, wanted: &[FoldedId], ancestors: bool) -> bool {
        wanted
            .iter()
            .any(|id| self.own.contains(id) || (ancestors && self.ancestors.contains(id)))
    }

    /// Whether a trigger's ids fit; the class is not looked at.
    pub(crate) fn fit(&self, trigger: &DeviceTrigger) -> bool {
        trigger.ids.is_empty() || self.any_of(&trigger.ids, trigger.ancestors)
    }
}

impl Index {
    pub(crate) fn insert(&mut self, slot: Slot, definition: &Definition) {
        for (signal, action) in signals(definition) {
            self.signals
                .entry(signal)
                .or_default()
                .insert((slot, action));
        }
        for (_, trigger) in all_device_triggers(definition) {
            let class = self.classes.entry(trigger.class).or_default();
            if trigger.ids.is_empty() {
                class.any.insert(slot);
            }
            for id in &trigger.ids {
                class.by_id.entry(id.clone()).or_default().insert(slot);
            }
        }
    }

    pub(crate) fn remove(&mut self, slot: Slot, definition: &Definition) {
        for (signal, action) in signals(definition) {
            if let Some(slots) = self.signals.get_mut(&signal) {
                slots.remove(&(slot, action));
                if slots.is_empty() {
                    self.signals.remove(&signal);
                }
            }
        }
        for (_, trigger) in all_device_triggers(definition) {
            let Some(class) = self.classes.get_mut(&trigger.class) else {
                continue;
            };
            class.any.remove(&slot);
            for id in &trigger.ids {
                if let Some(slots) = class.by_id.get_mut(id) {
                    slots.remove(&slot);
                    if slots.is_empty() {
                        class.by_id.remove(id);
                    }
                }
            }
            if class.any.is_empty() && class.by_id.is_empty() {
                self.classes.remove(&trigger.class);
            }
        }
    }

    /// The instances with a trigger for a signal that does this, in order.
    pub(crate) fn waiting(&self, signal: &Signal, action: Action) -> Vec<Slot> {
        let slots = self.signals.get(signal).into_iter().flatten();
        slots
            .filter(|(_, does)| *does == action)
            .map(|(slot, _)| *slot)
            .collect()
    }

    /// Whether any trigger waits for a level, on either side.
    pub(crate) fn wants_level(&self, level: &Level) -> bool {
        [true, false]
            .iter()
            .any(|side| self.wants(&Signal::Side(level.clone(), *side)))
    }

    /// Whether any trigger waits for a signal.
    pub(crate) fn wants(&self, signal: &Signal) -> bool {
        self.signals.contains_key(signal)
    }

    /// Every signal that a trigger waits for.
    pub(crate) fn signals(&self) -> impl Iterator<Item = &Signal> {
        self.signals.keys()
    }

    /// The instances that could want an interface, in order.
    pub(crate) fn candidates(&self, class: Guid, ids: &FoldedIds) -> BTreeSet<Slot> {
        let Some(class) = self.classes.get(&class) else {
            return BTreeSet::new();
        };
        let mut slots = class.any.clone();
        for id in ids.own.iter().chain(&ids.ancestors) {
            if let Some(more) = class.by_id.get(id) {
                slots.extend(more);
            }
        }
        slots
    }
}
