//! What should be the case, worked out from scratch every time, without index or cursor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrival_engine::api::Filter;
use arrival_model::definition::Definition;
use arrival_model::interface::{Interface, InterfaceKey, Owner};
use arrival_model::trigger::{Trigger, Wait};

/// The interfaces that are present, and whether each was ever usable while it was.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth(pub(crate) BTreeMap<InterfaceKey, (Arc<Interface>, bool)>);

impl Truth {
    pub(crate) fn present(&mut self, interface: &Arc<Interface>) {
        let same_place = |other: &InterfaceKey| {
            let path = |key: &InterfaceKey| match &key.owner {
                Owner::Device { devpath, .. } => Some(devpath.clone()),
                Owner::Program { .. } => None,
            };
            other.class == interface.key.class
                && other.reference == interface.key.reference
                && path(other).is_some()
                && path(other) == path(&interface.key)
        };
        let was = self.0.get(&interface.key).is_some_and(|(_, was)| *was);
        self.0.retain(|key, _| !same_place(key));
        let entry = (Arc::clone(interface), was || interface.usable);
        self.0.insert(interface.key.clone(), entry);
    }

    pub(crate) fn snapshot(&mut self, all: &[Arc<Interface>]) {
        let keys: BTreeSet<&InterfaceKey> = all.iter().map(|interface| &interface.key).collect();
        self.0
            .retain(|key, _| matches!(key.owner, Owner::Program { .. }) || keys.contains(key));
        for interface in all {
            self.present(interface);
        }
    }

    /// The interfaces that a definition's triggers want now.
    pub(crate) fn wanted(&self, definition: &Definition) -> BTreeSet<InterfaceKey> {
        let wants = |interface: &Interface, usable: bool| {
            let triggers = definition.triggers.iter();
            let mut triggers = triggers.filter_map(Trigger::starts_with_device);
            triggers.any(|trigger| {
                let mut ids = ids(interface);
                if trigger.ancestors {
                    ids.extend(interface.ancestor_ids.iter().map(|id| id.to_uppercase()));
                }
                trigger.class == interface.key.class
                    && (usable || trigger.wait == Wait::Appeared)
                    && (trigger.ids.is_empty()
                        || trigger.ids.iter().any(|id| ids.contains(id.as_str())))
            })
        };
        self.those(wants)
    }

    /// The interfaces that a subscriber with this filter should know of.
    pub(crate) fn shown(&self, filter: &Filter) -> BTreeSet<InterfaceKey> {
        self.those(|interface, usable| {
            filter.interfaces
                && (usable || filter.wait == Wait::Appeared)
                && (filter.classes.is_empty() || filter.classes.contains(&interface.key.class))
                && (filter.ids.is_empty()
                    || filter
                        .ids
                        .iter()
                        .any(|id| ids(interface).contains(id.as_str())))
        })
    }

    fn those(&self, which: impl Fn(&Interface, bool) -> bool) -> BTreeSet<InterfaceKey> {
        let those = self
            .0
            .values()
            .filter(|(interface, usable)| which(interface, *usable));
        those.map(|(interface, _)| interface.key.clone()).collect()
    }
}

fn ids(interface: &Interface) -> BTreeSet<String> {
    let all = interface
        .hardware_ids
        .iter()
        .chain(&interface.compatible_ids);
    all.map(|id| id.to_uppercase()).collect()
}
