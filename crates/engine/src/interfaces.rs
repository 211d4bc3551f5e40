//! The table of present interfaces.
//!
//! ```text
//! Present(i), key unknown         other incarnations of it are removed first, then it has arrived
//! Present(i), key known           attributes are replaced; not usable -> usable is an arrival for
//!                                 those who wait for usable; usable -> not usable changes nothing
//! Gone(key), key known            it is removed, with its last known attributes
//! Gone(key), key unknown          nothing: late, or of an incarnation that was replaced
//! Snapshot(all)                   Gone for each of a device that is missing, then Present for each;
//!                                 what programs advertise is not touched
//! ```
//!
//! Each entry remembers the cursor of its two moments, appeared and usable. They are what a run's
//! horizon is compared with, so they are never changed while the entry lives.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrival_model::guid::Guid;
use arrival_model::interface::{Incarnation, Interface, InterfaceKey, Owner};
use arrival_model::trigger::Wait;
use serde::{Deserialize, Serialize};

use crate::index::Slot;

/// The number of an entry; never used again within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Number(pub(crate) u64);

/// A present interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) interface: Arc<Interface>,
    /// The cursor at which it appeared.
    pub(crate) appeared: u64,
    /// The cursor at which it became usable.
    pub(crate) usable: Option<u64>,
    /// The instances in whose `present` it stands.
    #[serde(skip)]
    pub(crate) wanted_by: Vec<Slot>,
}

impl Entry {
    /// The cursor of the moment that somebody waits for, if it has come.
    pub(crate) fn ready(&self, wait: Wait) -> Option<u64> {
        match wait {
            Wait::Appeared => Some(self.appeared),
            Wait::Usable => self.usable,
        }
    }
}

/// All present interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Interfaces {
    pub(crate) numbers: BTreeMap<InterfaceKey, Number>,
    pub(crate) entries: BTreeMap<Number, Entry>,
}

impl Interfaces {
    pub(crate) fn number(&self, key: &InterfaceKey) -> Option<Number> {
        self.numbers.get(key).copied()
    }

    pub(crate) fn get(&self, number: Number) -> Option<&Entry> {
        self.entries.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: Number) -> Option<&mut Entry> {
        self.entries.get_mut(&number)
    }

    pub(crate) fn insert(&mut self, number: Number, entry: Entry) {
        self.numbers.insert(entry.interface.key.clone(), number);
        self.entries.insert(number, entry);
    }

    pub(crate) fn remove(&mut self, number: Number) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.numbers.remove(&entry.interface.key);
        Some(entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Number, &Entry)> {
        self.entries.iter().map(|(number, entry)| (*number, entry))
    }

    /// The entries of one class; keys are ordered by class first.
    pub(crate) fn of_class(&self, class: Guid) -> impl Iterator<Item = (Number, &Entry)> {
        let first = InterfaceKey {
            class,
            owner: Owner::Device {
                devpath: String::new(),
                incarnation: Incarnation::default(),
            },
            reference: String::new(),
        };
        self.numbers
            .range(first..)
            .take_while(move |(key, _)| key.class == class)
            .filter_map(|(_, number)| Some((*number, self.entries.get(number)?)))
    }

    /// Entries that are the same interface in another incarnation of its device.
    pub(crate) fn other_incarnations(&self, key: &InterfaceKey) -> Vec<Number> {
        let Owner::Device { devpath, .. } = &key.owner else {
            return Vec::new();
        };
        let first = InterfaceKey {
            class: key.class,
            owner: Owner::Device {
                devpath: devpath.clone(),
                incarnation: Incarnation::default(),
            },
            reference: String::new(),
        };
        let same_device = |other: &InterfaceKey| {
            other.class == key.class
                && matches!(&other.owner, Owner::Device { devpath: path, .. } if path == devpath)
        };
        self.numbers
            .range(first..)
            .take_while(|(other, _)| same_device(other))
            .filter(|(other, _)| other.reference == key.reference && *other != key)
            .map(|(_, number)| *number)
            .collect()
    }
}
