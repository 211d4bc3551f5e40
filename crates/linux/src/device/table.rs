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
//! are seen as gone and present. Of what udevd says of the node, links count once it is usable.

use std::collections::HashMap;
use std::sync::Arc;

use arrival_model::ce_name::parts;
use arrival_model::class::Classes;
use arrival_model::interface::{Incarnation, Interface, InterfaceKey, Owner};

use super::names::CeNames;
use super::queue::Why;
use super::source::DeviceEvent;

/// A device as a reader found it.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) incarnation: Incarnation,
    /// The interfaces it exposes, owned by the path it was found at.
    pub(super) interfaces: Vec<Interface>,
    /// The classes of which they are.
    pub(super) classes: Arc<Classes>,
    /// The device has a node.
    pub(super) node: bool,
    pub(super) udev: UdevLook,
    /// The links to its node, if udevd was asked.
    pub(super) links: Option<Vec<String>>,
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
    links: Vec<String>,
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
    names: CeNames,
    /// The first snapshot was taken, so who comes now gets its name at once.
    named: bool,
}

impl Table {
    /// A table that gives devices the identity and the names they had before, if they are still
    /// the same.
    pub(super) fn remembering(before: &[Arc<Interface>]) -> Self {
        let mut table = Table {
            names: CeNames::remembering(before),
            ..Table::default()
        };
        for interface in before {
            if let Owner::Device {
                devpath,
                incarnation,
            } = &interface.key.owner
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
            links: Vec::new(),
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
        if known.usable
            && let Some(links) = look.links
        {
            known.links = links;
        }

        let before = std::mem::take(&mut known.interfaces);
        for interface in look.interfaces {
            let mut interface = Interface {
                usable: known.usable,
                node_links: known.links.clone(),
                key: InterfaceKey {
                    owner: Owner::Device {
                        devpath: known.origin.to_string(),
                        incarnation: known.incarnation,
                    },
                    ..interface.key
                },
                ..interface
            };
            let old = before.iter().find(|old| old.key == interface.key);
            if let Some(prefix) = prefix(&look.classes, &interface) {
                let name = old.and_then(|old| old.ce_name.as_deref());
                match name.filter(|name| parts(name).is_some_and(|(old, _)| old == prefix)) {
                    Some(name) => interface.ce_name = Some(name.to_owned()),
                    None if self.named => {
                        let others = [known.interfaces.as_slice(), &before].concat();
                        self.names.give(prefix, &mut interface, &others);
                    }
                    None => {}
                }
            }
            let same = old.filter(|old| ***old == interface);
            let interface = same.cloned().unwrap_or_else(|| {
                let interface = Arc::new(interface);
                let told = DeviceEvent::Present(Arc::clone(&interface));
                change.events.push(told);
                interface
            });
            known.interfaces.push(interface);
        }
        let gone = |old: &&Arc<Interface>| !known.interfaces.iter().any(|new| new.key == old.key);
        let gone = before.iter().filter(gone);
        let gone: Vec<DeviceEvent> = gone.map(|old| DeviceEvent::Gone(old.key.clone())).collect();
        change.events.splice(..0, gone);
        self.release(&before, &known.interfaces);
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
        self.release(&known.interfaces, &[]);
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

    /// Gives everything that is present its name in Windows CE's form: before the first snapshot.
    pub(super) fn name_all(&mut self, classes: &Classes) {
        self.named = true;
        let mut paths: Vec<Arc<str>> = self.known.keys().cloned().collect();
        // ttyS2 comes before ttyS10.
        paths.sort_by_key(|path| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            (folder.to_owned(), name.len(), name.to_owned())
        });
        for again in [false, true] {
            for path in &paths {
                let Some(known) = self.known.get_mut(path) else {
                    continue;
                };
                for place in 0..known.interfaces.len() {
                    let others = known.interfaces.clone();
                    let interface = known.interfaces.get_mut(place);
                    let Some(interface) = interface.filter(|new| new.ce_name.is_none()) else {
                        continue;
                    };
                    if let Some(prefix) = prefix(classes, interface) {
                        let interface = Arc::make_mut(interface);
                        if again {
                            self.names.give(prefix, interface, &others);
                        } else {
                            self.names.give_back(prefix, interface);
                        }
                    }
                }
            }
        }
        self.names.forget();
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

    /// Makes the names of those before free that nobody has now.
    fn release(&mut self, before: &[Arc<Interface>], now: &[Arc<Interface>]) {
        for name in before.iter().filter_map(|old| old.ce_name.as_deref()) {
            if !now.iter().any(|new| new.ce_name.as_deref() == Some(name)) {
                self.names.release(name);
            }
        }
    }

    fn put_back(&mut self, path: &Arc<str>, known: Option<Known>) {
        if let Some(known) = known {
            self.by_inode
                .insert(known.incarnation.inode, Arc::clone(path));
            self.known.insert(Arc::clone(path), known);
        }
    }
}

/// The prefix of an interface's name in Windows CE's form, if its class has one.
fn prefix<'a>(classes: &'a Classes, interface: &Interface) -> Option<&'a str> {
    classes.get(interface.key.class)?.ce_prefix.as_deref()
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
        look_at(record, udev)
    }

    fn look_at(record: DeviceRecord, udev: UdevLook) -> Look {
        let classes = Arc::new(Classes::built_in());
        Look {
            incarnation: record.incarnation,
            interfaces: classes.interfaces_of(&record),
            classes,
            node: record.node.is_some(),
            udev,
            links: None,
        }
    }

    /// A port in a computer, which is a `serial` interface.
    fn port(path: &str, inode: u64) -> Look {
        let parent = DeviceRecord {
            devpath: "/devices/pnp0/00:04".to_owned(),
            subsystem: "pnp".to_owned(),
            ..DeviceRecord::default()
        };
        let record = DeviceRecord {
            devpath: path.to_owned(),
            subsystem: "tty".to_owned(),
            node: path
                .rsplit_once('/')
                .map(|(_, name)| format!("/dev/{name}")),
            attributes: Properties::from_iter([("type", "4")]),
            incarnation: Incarnation {
                inode,
                ..Incarnation::default()
            },
            parent: Some(Arc::new(parent)),
            ..DeviceRecord::default()
        };
        look_at(record, FREE)
    }

    fn ce_names(table: &Table) -> Vec<String> {
        let named = |i: &Arc<Interface>| format!("{} {}", i.name, i.ce_name.as_deref().unwrap());
        let mut names: Vec<String> = table.snapshot().iter().map(named).collect();
        names.sort();
        names
    }

    fn port_path(number: u64) -> Arc<str> {
        Arc::from(format!("/devices/pnp0/00:04/tty/ttyS{number}"))
    }

    /// A port is found, in the incarnation of this number.
    fn plug(table: &mut Table, number: u64, inode: u64) -> Change {
        let path = port_path(number);
        table.found(&path, port(&path, inode), &Why::default())
    }

    #[test]
    fn names_of_the_first_snapshot_do_not_depend_on_who_was_looked_at_first() {
        for order in [[2, 0, 10], [10, 2, 0]] {
            let mut table = Table::default();
            for number in order {
                plug(&mut table, number, number);
            }
            table.name_all(&Classes::built_in());
            assert_eq!(
                ce_names(&table),
                ["ttyS0 COM1:", "ttyS10 COM3:", "ttyS2 COM2:"]
            );
        }
    }

    #[test]
    fn a_name_is_free_once_its_bearer_is_gone() {
        let mut table = Table::default();
        table.name_all(&Classes::built_in());
        for number in 0..3 {
            let change = plug(&mut table, number, number);
            assert!(matches!(&change.events[..], [DeviceEvent::Present(i)] if i.ce_name.is_some()));
        }
        table.gone(&port_path(1));
        plug(&mut table, 7, 7);
        plug(&mut table, 8, 8);
        // Looked at again, or moved, it keeps its name; in another incarnation it gets the first that is free.
        let again = plug(&mut table, 7, 7);
        assert!(again.events.is_empty());
        plug(&mut table, 9, 8);
        assert_eq!(
            ce_names(&table),
            ["ttyS0 COM1:", "ttyS2 COM3:", "ttyS7 COM2:", "ttyS9 COM4:"]
        );
        table.gone(&port_path(0));
        plug(&mut table, 9, 11);
        assert_eq!(
            ce_names(&table),
            ["ttyS2 COM3:", "ttyS7 COM2:", "ttyS9 COM1:"]
        );
    }

    #[test]
    fn a_name_survives_a_restart_of_the_manager() {
        let mut before = Table::default();
        before.name_all(&Classes::built_in());
        for number in [5, 3, 1] {
            plug(&mut before, number, number);
        }
        before.gone(&port_path(5));
        let mut table = Table::remembering(&before.snapshot());
        for number in [1, 2, 3] {
            plug(&mut table, number, number);
        }
        table.name_all(&Classes::built_in());
        assert_eq!(
            ce_names(&table),
            ["ttyS1 COM3:", "ttyS2 COM1:", "ttyS3 COM2:"]
        );
    }

    #[test]
    fn links_count_once_the_node_is_usable_and_change_with_it() {
        let with = |links: &[&str], udev| Look {
            links: Some(links.iter().map(|link| (*link).to_owned()).collect()),
            ..look(LOOP, 5, udev)
        };
        let mut table = Table::default();
        let path = Arc::from(LOOP);
        let why = |added, udev| Why {
            added,
            udev,
            ..Why::default()
        };
        let links = |table: &Table| table.snapshot()[0].node_links.clone();
        table.found(&path, with(&["/dev/old"], BUSY), &why(Some(10), Some(9)));
        assert_eq!(links(&table), [""; 0], "udevd spoke of an earlier one");
        table.found(&path, with(&["/dev/a"], DONE), &why(None, Some(11)));
        assert_eq!(links(&table), ["/dev/a"]);
        // The kernel's word alone asks nobody for links.
        let change = table.found(&path, look(LOOP, 5, BUSY), &why(None, None));
        assert!(change.events.is_empty());
        let change = table.found(&path, with(&["/dev/b"], DONE), &why(None, Some(13)));
        assert_eq!(
            (links(&table), change.events.len()),
            (vec!["/dev/b".to_owned()], 1)
        );
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
        let known = before.snapshot();
        let new = "/devices/virtual/block/loop8";
        let mut table = Table::remembering(&known);
        table.found(&Arc::from(new), look(new, 5, FREE), &Why::default());
        assert_eq!(table.snapshot()[0].key, known[0].key);
        let mut other = Table::remembering(&known);
        other.found(&Arc::from(LOOP), look(LOOP, 9, FREE), &Why::default());
        assert_ne!(other.snapshot()[0].key, known[0].key);
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
