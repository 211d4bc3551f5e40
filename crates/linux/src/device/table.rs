//! What is present, and what a look at a device changes.
//!
//! | known of the path | found | delivered |
//! |---|---|---|
//! | nothing | a device never seen | its interfaces are present |
//! | nothing | the device known at another path | the same interfaces with new names: it moved |
//! | a device | the same incarnation | what differs: interfaces gone, present, or with other names |
//! | a device | another incarnation | the old interfaces are gone, the new ones present |
//! | a device | nothing | its interfaces are gone |
//!
//! An interface's identity holds the path at which its device was first seen; a device that moves
//! keeps it, and only the names change. Two devices that exchange their names between two looks
//! are seen as gone and present.

use std::collections::HashMap;
use std::sync::Arc;

use arrival_model::interface::{Incarnation, Interface, InterfaceKey, Owner};

use super::queue::Why;
use super::source::DeviceEvent;

/// A device as a reader found it.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) incarnation: Incarnation,
    /// The interfaces it exposes, owned by the path it was found at.
    pub(super) interfaces: Vec<Interface>,
    pub(super) udev: UdevLook,
}

/// What is known of the device's node and udevd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UdevLook {
    /// There is no node, or nobody prepares it.
    NotNeeded,
    /// udevd serves us, and has or has not finished with the device before.
    Serves {
        /// `data` says that it has finished.
        finished: bool,
    },
}

#[derive(Debug)]
struct Known {
    incarnation: Incarnation,
    /// The path in the identity of its interfaces.
    origin: Arc<str>,
    interfaces: Vec<Arc<Interface>>,
    usable: bool,
    /// The number of the `add` of this incarnation, if it was seen.
    added: Option<u64>,
}

/// What a look changed.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// What to deliver, in this order.
    pub(super) events: Vec<DeviceEvent>,
    /// The node waits for udevd.
    pub(super) waits: bool,
    /// The path at which the device was known before.
    pub(super) moved_from: Option<Arc<str>>,
}

/// All devices that are present and admitted by some class.
#[derive(Debug, Default)]
pub(super) struct Table {
    known: HashMap<Arc<str>, Known>,
    by_inode: HashMap<u64, Arc<str>>,
    origins: HashMap<Incarnation, Arc<str>>,
}

impl Table {
    /// A table that gives devices the identity they had before, if they are still the same.
    pub(super) fn with_identities(keys: &[InterfaceKey]) -> Self {
        let mut table = Table::default();
        for key in keys {
            if let Owner::Device {
                devpath,
                incarnation,
            } = &key.owner
            {
                table
                    .origins
                    .insert(*incarnation, Arc::from(devpath.as_str()));
            }
        }
        table
    }

    /// A device was found at a path.
    pub(super) fn found(&mut self, path: &Arc<str>, look: Look, why: &Why) -> Change {
        let mut change = Change::default();
        let same = |known: &Known| known.incarnation == look.incarnation;
        let mut known = self.known.remove(path);
        if known.as_ref().is_some_and(|known| !same(known)) {
            self.put_back(path, known.take());
            change.events = self.gone(path);
        }
        if known.is_none()
            && let Some(old) = self.by_inode.get(&look.incarnation.inode).cloned()
            && self.known.get(&old).is_some_and(same)
        {
            known = self.known.remove(&old);
            change.moved_from = Some(old);
        }
        let mut known = known.unwrap_or_else(|| Known {
            incarnation: look.incarnation,
            origin: (self.origins.remove(&look.incarnation)).unwrap_or_else(|| Arc::clone(path)),
            interfaces: Vec::new(),
            usable: false,
            added: None,
        });
        if !known.usable {
            known.added = why.added.or(known.added);
            known.usable = match look.udev {
                UdevLook::NotNeeded => true,
                UdevLook::Serves { finished } => {
                    let told = known
                        .added
                        .is_some_and(|added| why.udev.is_some_and(|udev| udev >= added));
                    // What `data` says may be of an earlier incarnation while udevd is behind, so
                    // it counts only where no number can decide.
                    let by_data = finished && (why.walked || known.added.is_none());
                    told || by_data || why.waited
                }
            };
        }
        change.waits = !known.usable;

        let fresh: Vec<Interface> = (look.interfaces.into_iter())
            .map(|interface| Interface {
                usable: known.usable,
                key: InterfaceKey {
                    owner: Owner::Device {
                        devpath: known.origin.to_string(),
                        incarnation: known.incarnation,
                    },
                    ..interface.key
                },
                ..interface
            })
            .collect();
        for old in &known.interfaces {
            if !fresh.iter().any(|interface| interface.key == old.key) {
                change.events.push(DeviceEvent::Gone(old.key.clone()));
            }
        }
        known.interfaces = (fresh.into_iter())
            .map(|interface| {
                let same = known.interfaces.iter().find(|old| ***old == interface);
                same.cloned().unwrap_or_else(|| {
                    let interface = Arc::new(interface);
                    change
                        .events
                        .push(DeviceEvent::Present(Arc::clone(&interface)));
                    interface
                })
            })
            .collect();
        // It took over the room of what it was made from, which is many times larger.
        known.interfaces.shrink_to_fit();
        self.put_back(path, Some(known));
        change
    }

    /// Nothing was found at a path: what to deliver.
    pub(super) fn gone(&mut self, path: &Arc<str>) -> Vec<DeviceEvent> {
        let Some(known) = self.known.remove(path) else {
            return Vec::new();
        };
        if self.by_inode.get(&known.incarnation.inode) == Some(path) {
            self.by_inode.remove(&known.incarnation.inode);
        }
        (known.interfaces.iter())
            .map(|interface| DeviceEvent::Gone(interface.key.clone()))
            .collect()
    }

    /// Whether this very incarnation is known at a path.
    pub(super) fn knows_as(&self, path: &str, incarnation: Incarnation) -> bool {
        (self.known.get(path)).is_some_and(|known| known.incarnation == incarnation)
    }

    /// Whether anything is known at a path.
    pub(super) fn knows(&self, path: &str) -> bool {
        self.known.contains_key(path)
    }

    /// All interfaces that are present, by identity.
    pub(super) fn snapshot(&self) -> Vec<Arc<Interface>> {
        let mut all: Vec<Arc<Interface>> = (self.known.values())
            .flat_map(|known| known.interfaces.iter().cloned())
            .collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// Whoever was here before a snapshot has been found by now.
    pub(super) fn forget_identities(&mut self) {
        self.origins = HashMap::new();
    }

    fn put_back(&mut self, path: &Arc<str>, known: Option<Known>) {
        if let Some(known) = known {
            self.by_inode
                .insert(known.incarnation.inode, Arc::clone(path));
            self.known.insert(Arc::clone(path), known);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use arrival_model::class::Classes;
    use arrival_model::device::{DeviceRecord, Properties};

    use super::*;

    fn look(path: &str, inode: u64, udev: UdevLook) -> Look {
        let incarnation = Incarnation {
            inode,
            ..Incarnation::default()
        };
        let record = DeviceRecord {
            devpath: path.to_owned(),
            subsystem: "block".to_owned(),
            devtype: Some("disk".to_owned()),
            node: Some("/dev/loop7".to_owned()),
            attributes: Properties::from_iter([("size", "0")]),
            incarnation,
            ..DeviceRecord::default()
        };
        Look {
            incarnation,
            interfaces: Classes::built_in().interfaces_of(&record),
            udev,
        }
    }

    const LOOP: &str = "/devices/virtual/block/loop7";
    const FREE: UdevLook = UdevLook::NotNeeded;
    const BUSY: UdevLook = UdevLook::Serves { finished: false };
    const DONE: UdevLook = UdevLook::Serves { finished: true };

    fn words(events: &[DeviceEvent]) -> Vec<String> {
        let inode = |owner: &Owner| match owner {
            Owner::Device { incarnation, .. } => incarnation.inode,
            Owner::Program { .. } => 0,
        };
        (events.iter())
            .map(|event| match event {
                DeviceEvent::Present(i) => {
                    let usable = if i.usable { "usable" } else { "appeared" };
                    format!("{usable} {} {}", i.name, inode(&i.key.owner))
                }
                DeviceEvent::Gone(key) => format!("gone {}", inode(&key.owner)),
                DeviceEvent::Overrun { .. } | DeviceEvent::Snapshot(_) => "other".to_owned(),
            })
            .collect()
    }

    #[test]
    fn add_bind_and_change_of_one_incarnation_are_one_arrival() {
        let mut table = Table::default();
        let path = Arc::from(LOOP);
        let first = table.found(&path, look(LOOP, 5, FREE), &Why::default());
        assert_eq!(words(&first.events), ["usable loop7 5"]);
        for _ in 0..3 {
            let again = table.found(&path, look(LOOP, 5, FREE), &Why::default());
            assert!(again.events.is_empty());
        }
    }

    #[test]
    fn another_incarnation_is_a_removal_and_an_arrival() {
        let mut table = Table::default();
        let path = Arc::from(LOOP);
        table.found(&path, look(LOOP, 5, FREE), &Why::default());
        let next = table.found(&path, look(LOOP, 6, FREE), &Why::default());
        assert_eq!(words(&next.events), ["gone 5", "usable loop7 6"]);
        assert_eq!(words(&table.gone(&path)), ["gone 6"]);
        assert!(table.gone(&path).is_empty() && table.by_inode.is_empty());
    }

    #[test]
    fn a_device_that_moved_keeps_its_identity_and_has_new_names() {
        let mut table = Table::default();
        table.found(&Arc::from(LOOP), look(LOOP, 5, FREE), &Why::default());
        let new = "/devices/virtual/block/loop8";
        let change = table.found(&Arc::from(new), look(new, 5, FREE), &Why::default());
        assert_eq!(words(&change.events), ["usable loop8 5"]);
        assert_eq!(change.moved_from.as_deref(), Some(LOOP));
        assert_eq!(table.snapshot()[0].key.owner.name(), LOOP);
        assert!(table.gone(&Arc::from(LOOP)).is_empty());
    }

    #[test]
    fn a_device_keeps_the_identity_it_had_before_a_restart() {
        let mut before = Table::default();
        before.found(&Arc::from(LOOP), look(LOOP, 5, FREE), &Why::default());
        let keys: Vec<InterfaceKey> = before.snapshot().iter().map(|i| i.key.clone()).collect();
        let new = "/devices/virtual/block/loop8";
        let mut table = Table::with_identities(&keys);
        table.found(&Arc::from(new), look(new, 5, FREE), &Why::default());
        assert_eq!(table.snapshot()[0].key, keys[0]);
        let mut other = Table::with_identities(&keys);
        other.found(&Arc::from(LOOP), look(LOOP, 9, FREE), &Why::default());
        assert_ne!(other.snapshot()[0].key, keys[0]);
    }

    #[test]
    fn a_node_is_usable_once_udev_has_finished_with_this_incarnation() {
        let why = |added, udev, walked, waited| Why {
            added,
            udev,
            walked,
            waited,
            ..Why::default()
        };
        let cases = [
            (BUSY, why(Some(10), None, false, false), false),
            (BUSY, why(Some(10), Some(9), false, false), false),
            (DONE, why(Some(10), Some(9), false, false), false),
            (BUSY, why(Some(10), Some(10), false, false), true),
            (BUSY, why(Some(10), Some(12), false, false), true),
            (BUSY, why(None, None, true, false), false),
            (DONE, why(None, None, true, false), true),
            (DONE, why(None, Some(3), false, false), true),
            (BUSY, why(Some(10), None, false, true), true),
            (FREE, why(Some(10), None, false, false), true),
        ];
        for (udev, why, expected) in cases {
            let mut table = Table::default();
            let change = table.found(&Arc::from(LOOP), look(LOOP, 5, udev), &why);
            assert_eq!(change.waits, !expected, "{udev:?} {why:?}");
        }
        let mut table = Table::default();
        let path = Arc::from(LOOP);
        table.found(
            &path,
            look(LOOP, 5, BUSY),
            &why(Some(10), None, false, false),
        );
        let done = table.found(
            &path,
            look(LOOP, 5, BUSY),
            &why(None, Some(10), false, false),
        );
        assert_eq!(words(&done.events), ["usable loop7 5"]);
        let later = table.found(&path, look(LOOP, 5, BUSY), &why(None, None, true, false));
        assert!(
            later.events.is_empty(),
            "usable once, usable as long as it is there"
        );
    }
}
