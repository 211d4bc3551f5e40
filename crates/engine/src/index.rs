//! From an interface to the instances whose triggers it could fire, without looking at the rest.
//!
//! ```text
//! class -> any      instances with a trigger for every device of the class
//!       -> by_id    folded id -> instances with a trigger for that id
//! ```
//!
//! The index answers "could": the trigger itself is asked afterwards, because an ancestor's id
//! counts only where the trigger says so. It is derived from the definitions, so two engines with
//! equal definitions have equal indexes, and it takes no part in comparing engines.

use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};

use arrival_model::definition::Definition;
use arrival_model::guid::Guid;
use arrival_model::interface::Interface;
use arrival_model::trigger::{DeviceTrigger, FoldedId, Trigger, ids_of};

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

/// The device triggers of a definition.
pub(crate) fn device_triggers(definition: &Definition) -> impl Iterator<Item = &DeviceTrigger> {
    definition.triggers.iter().map(|trigger| match trigger {
        Trigger::Device(device) => device,
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
        for trigger in device_triggers(definition) {
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
        for trigger in device_triggers(definition) {
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
