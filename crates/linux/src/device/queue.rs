//! Paths to look at, and why.
//!
//! An event marks a path. A reader takes a path, looks, and finishes it; a path that was marked
//! again meanwhile is taken once more afterwards, so each device is looked at by one reader at a
//! time and the last look is later than the last event. A path is marked at most once, whatever
//! the number of events: the work is bounded by the number of devices. Names that never existed
//! before are bounded by [`MAX_MARKED`]; beyond it the answer is a walk.
//!
//! | event | marks |
//! |---|---|
//! | any, of a device whose subsystem some class admits | the device |
//! | any, of a device with known devices below it | those, because predicates look at ancestors |
//! | any, of a device whose subsystem some class admits | the nearest known device above: what it lost or got may be the only sign of its own change |
//! | `move` | the new path, which inherits what was known at the old one |
//!
//! The kernel says nothing of a USB device whose `authorized` file is written, only of its interfaces.
//!
//! A missing directory is a removal only if a `remove` was seen or a walk looked: otherwise the
//! event that explains it (a `remove` or a `move`) is still on its way. What such a path was to
//! inherit waits for that event (`orphans`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ancestors::below;

/// How many paths may be marked at a time without a walk.
pub(super) const MAX_MARKED: usize = 65_536;
/// How many old paths a device that moves and moves may inherit.
const MAX_OLD_PATHS: usize = 16;

/// Why a path is to be looked at; reasons add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Why {
    /// The number of the last `add`.
    pub(super) added: Option<u64>,
    /// A `remove` was seen, or what would have replaced it.
    pub(super) removed: bool,
    /// A walk looks at everything.
    pub(super) walked: bool,
    /// The number of udevd's last message.
    pub(super) udev: Option<u64>,
    /// udevd was silent for too long.
    pub(super) waited: bool,
    /// Paths that the device had before.
    pub(super) old_paths: Vec<Arc<str>>,
}

/// A path that a reader is to look at.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) path: Arc<str>,
    pub(super) why: Why,
}

/// What a reader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The device is there.
    Present {
        /// Its node waits for udevd.
        waits: bool,
        /// It has a node, of which udevd may have more to say.
        node: bool,
    },
    /// It is not there.
    Missing,
    /// The look failed; nothing is known.
    Unknown,
}

#[derive(Debug, Default)]
struct Entry {
    marked: Option<Why>,
    urgent: bool,
    busy: bool,
    present: bool,
    node: bool,
}

/// All paths that are marked, looked at, or present.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Paths that events marked; may name some that are no longer marked.
    urgent: VecDeque<Arc<str>>,
    /// Paths that a walk marked.
    later: VecDeque<Arc<str>>,
    marked: usize,
    orphans: HashMap<Arc<str>, Vec<Arc<str>>>,
    /// Devices whose node waits for udevd, and since when.
    waiting: HashMap<Arc<str>, Instant>,
    walk: Option<Walk>,
}

/// A running walk.
#[derive(Debug, Default)]
struct Walk {
    /// What is still to be looked at.
    open: BTreeSet<Arc<str>>,
    /// What was known but not listed. It comes last: until then, a device that moved has been
    /// found at its new path.
    unlisted: BTreeSet<Arc<str>>,
}

impl Queue {
    /// An event speaks of a path. False if there was no room for it.
    pub(super) fn event(&mut self, path: &str, reason: impl FnOnce(&mut Why)) -> bool {
        let orphans = self.orphans.remove(path).unwrap_or_default();
        self.mark(path, true, |why| {
            reason(why);
            inherit(why, orphans);
        })
    }

    /// A device has another path now.
    pub(super) fn moved(&mut self, old: &str, new: &str) -> bool {
        let mut old_paths: Vec<Arc<str>> = self.orphans.remove(old).unwrap_or_default();
        if let Some((path, entry)) = self.entries.get_key_value(old) {
            let marked = entry.marked.iter().flat_map(|why| why.old_paths.clone());
            old_paths.extend(marked);
            old_paths.push(Arc::clone(path));
        }
        if let Some(why) = self.entries.get_mut(old).and_then(|e| e.marked.as_mut()) {
            why.old_paths.clear();
        }
        self.mark(new, true, |why| inherit(why, old_paths))
    }

    /// The known devices below a device have other paths now, of which the kernel says nothing.
    pub(super) fn moved_below(&mut self, old: &str, new: &str) {
        let children: Vec<Arc<str>> = below(&self.entries, old).cloned().collect();
        for child in children {
            let new_child = format!("{new}{}", child.get(old.len()..).unwrap_or_default());
            self.moved(&child, &new_child);
        }
    }

    /// Whether any known device lies below a path.
    pub(super) fn knows_below(&self, path: &str) -> bool {
        below(&self.entries, path).next().is_some()
    }

    /// Marks the known devices below a path.
    pub(super) fn event_above(&mut self, path: &str) {
        let children: Vec<Arc<str>> = below(&self.entries, path).cloned().collect();
        for child in &children {
            self.mark(child, true, |_| {});
        }
    }

    /// Marks the nearest known device above a path, and gives its path.
    pub(super) fn event_below(&mut self, path: &str) -> Option<Arc<str>> {
        let mut at = path;
        while let Some((above, _)) = at.rsplit_once('/') {
            if let Some((known, _)) = self.entries.get_key_value(above) {
                let known = Arc::clone(known);
                self.mark(&known, true, |_| {});
                return Some(known);
            }
            at = above;
        }
        None
    }

    /// udevd has finished with a device. One that waits, or may come to, is looked at again, and one
    /// with a node, whose links may have changed.
    pub(super) fn udev_finished(&mut self, path: &str, seqnum: u64) {
        let expected = self.waiting.contains_key(path)
            || self
                .entries
                .get(path)
                .is_some_and(|entry| entry.busy || entry.node || entry.marked.is_some());
        if expected {
            self.mark(path, true, |why| why.udev = why.udev.max(Some(seqnum)));
        }
    }

    /// Begins a walk over these paths and, after them, all that were known.
    pub(super) fn begin_walk(&mut self, listed: impl IntoIterator<Item = String>) {
        self.orphans.clear();
        let open: BTreeSet<Arc<str>> = listed.into_iter().map(Arc::from).collect();
        let known = self.entries.keys();
        let unlisted = known
            .filter(|path| !open.contains(*path))
            .cloned()
            .collect();
        for path in &open {
            self.mark(path, false, |why| why.walked = true);
        }
        self.walk = Some(Walk { open, unlisted });
        self.go_on_walking();
    }

    fn go_on_walking(&mut self) {
        let Some(walk) = self.walk.as_mut().filter(|walk| walk.open.is_empty()) else {
            return;
        };
        walk.open = std::mem::take(&mut walk.unlisted);
        for path in walk.open.clone() {
            self.mark(&path, false, |why| why.walked = true);
        }
    }

    /// Whether a walk is running that has looked at everything that does not hang.
    pub(super) fn walk_is_done(&self) -> bool {
        (self.walk.as_ref()).is_some_and(|walk| walk.open.is_empty() && walk.unlisted.is_empty())
    }

    /// Ends the walk, done or not.
    pub(super) fn end_walk(&mut self) {
        self.walk = None;
    }

    /// The walk does not wait for this path any more.
    pub(super) fn skip(&mut self, path: &str) {
        if let Some(walk) = &mut self.walk {
            walk.open.remove(path);
            self.go_on_walking();
        }
    }

    /// The next path to look at.
    pub(super) fn take(&mut self) -> Option<Job> {
        while let Some(path) = self.urgent.pop_front().or_else(|| self.later.pop_front()) {
            let Some(entry) = self.entries.get_mut(&path) else {
                continue;
            };
            if entry.busy {
                continue;
            }
            if let Some(why) = entry.marked.take() {
                entry.busy = true;
                entry.urgent = false;
                self.marked = self.marked.saturating_sub(1);
                return Some(Job { path, why });
            }
        }
        None
    }

    /// A reader has looked.
    pub(super) fn finish(&mut self, job: Job, found: Found, now: Instant) {
        let Job { path, why } = job;
        if why.walked {
            self.skip(&path);
        }
        match found {
            Found::Present { waits: true, .. } => {
                self.waiting.entry(Arc::clone(&path)).or_insert(now);
            }
            Found::Present { waits: false, .. } | Found::Missing => {
                self.waiting.remove(&path);
            }
            Found::Unknown => {}
        }
        match found {
            Found::Missing if why.removed || why.walked => {
                // What moved here and was removed here is gone from where it was known.
                for old in why.old_paths {
                    self.mark(&old, true, |why| why.removed = true);
                }
            }
            Found::Missing if !why.old_paths.is_empty() => {
                self.orphans.insert(Arc::clone(&path), why.old_paths);
            }
            Found::Missing | Found::Present { .. } | Found::Unknown => {}
        }
        if let Some(entry) = self.entries.get_mut(&path) {
            entry.busy = false;
            match found {
                Found::Present { node, .. } => (entry.present, entry.node) = (true, node),
                // It stays known until the event that explains it.
                Found::Missing if !why.removed && !why.walked => {}
                Found::Missing => (entry.present, entry.node) = (false, false),
                Found::Unknown => {}
            }
            if entry.marked.is_some() {
                self.urgent.push_back(Arc::clone(&path));
            } else if !entry.present {
                self.entries.remove(&path);
            }
        }
    }

    /// What was known at a path is known at another now.
    pub(super) fn forget(&mut self, path: &str) {
        self.waiting.remove(path);
        if let Some(entry) = self.entries.get_mut(path) {
            (entry.present, entry.node) = (false, false);
            if !entry.busy && entry.marked.is_none() {
                self.entries.remove(path);
            }
        }
    }

    /// Marks devices that have waited for udevd since before `deadline`; gives their number.
    pub(super) fn end_waiting(&mut self, before: Instant) -> usize {
        let ready: Vec<Arc<str>> = (self.waiting.iter())
            .filter(|(_, since)| **since <= before)
            .map(|(path, _)| Arc::clone(path))
            .collect();
        for path in &ready {
            self.waiting.remove(path);
            self.mark(path, true, |why| why.waited = true);
        }
        ready.len()
    }

    /// Marks all devices that wait for udevd, because it is gone.
    pub(super) fn look_at_waiting(&mut self) {
        let paths: Vec<Arc<str>> = self.waiting.keys().cloned().collect();
        for path in &paths {
            self.mark(path, true, |_| {});
        }
    }

    /// Whether any device waits for udevd.
    pub(super) fn anyone_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many paths are marked.
    pub(super) fn marked(&self) -> usize {
        self.marked
    }

    fn mark(&mut self, path: &str, urgent: bool, reason: impl FnOnce(&mut Why)) -> bool {
        let path: Arc<str> = match self.entries.get_key_value(path) {
            Some((known, _)) => Arc::clone(known),
            None if urgent && self.marked >= MAX_MARKED => return false,
            None => Arc::from(path),
        };
        let entry = self.entries.entry(Arc::clone(&path)).or_default();
        let fresh = entry.marked.is_none();
        self.marked += usize::from(fresh);
        reason(entry.marked.get_or_insert_default());
        // A busy path is queued again when it is finished.
        if !entry.busy && urgent && !entry.urgent {
            entry.urgent = true;
            self.urgent.push_back(path);
        } else if !entry.busy && fresh && !urgent {
            self.later.push_back(path);
        }
        true
    }
}

/// Adds old paths, the latest last; the oldest go if there are too many.
fn inherit(why: &mut Why, old_paths: impl IntoIterator<Item = Arc<str>>) {
    for path in old_paths {
        if !why.old_paths.contains(&path) {
            why.old_paths.push(path);
        }
    }
    let surplus = why.old_paths.len().saturating_sub(MAX_OLD_PATHS);
    why.old_paths.drain(..surplus);
}

/// The moment `ago` before now, or now where the clock does not reach back so far.
pub(super) fn before(now: Instant, ago: Duration) -> Instant {
    now.checked_sub(ago).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    const PRESENT: Found = Found::Present {
        waits: false,
        node: false,
    };

    fn look(queue: &mut Queue, found: Found) -> (String, Why) {
        let job = queue.take().expect("a path is marked");
        let (path, why) = (job.path.to_string(), job.why.clone());
        queue.finish(job, found, Instant::now());
        (path, why)
    }

    #[test]
    fn a_thousand_events_of_one_device_are_one_look() {
        let mut queue = Queue::default();
        for number in 0..1000 {
            assert!(queue.event("/devices/a", |why| why.added = Some(number)));
        }
        let (path, why) = look(&mut queue, PRESENT);
        assert_eq!(path, "/devices/a");
        assert_eq!(why.added, Some(999));
        assert!(queue.take().is_none());
        assert!(queue.urgent.is_empty() && queue.marked() == 0);
    }

    #[test]
    fn an_event_during_a_look_leads_to_one_more_look_afterwards() {
        let mut queue = Queue::default();
        queue.event("/devices/a", |_| {});
        let job = queue.take().unwrap();
        queue.event("/devices/a", |why| why.removed = true);
        assert!(queue.take().is_none(), "one reader at a time");
        queue.finish(job, PRESENT, Instant::now());
        assert_eq!(queue.marked(), 1);
        assert!(look(&mut queue, Found::Missing).1.removed);
        assert!(queue.entries.is_empty(), "nothing is kept of what is gone");
    }

    #[test]
    fn an_event_marks_the_nearest_known_device_above_it() {
        let mut queue = Queue::default();
        assert_eq!(queue.event_below("/devices/usb1/1-1/1-1:1.0"), None);
        for path in ["/devices/usb1", "/devices/usb1/1-1"] {
            queue.event(path, |_| {});
            look(&mut queue, PRESENT);
        }
        let above = queue.event_below("/devices/usb1/1-1/1-1:1.0/tty/ttyACM0");
        assert_eq!(above.as_deref(), Some("/devices/usb1/1-1"));
        assert_eq!(queue.marked(), 1);
        assert_eq!(&*look(&mut queue, PRESENT).0, "/devices/usb1/1-1");
    }

    #[test]
    fn events_go_before_a_walk() {
        let mut queue = Queue::default();
        queue.begin_walk(["/devices/a".to_owned(), "/devices/b".to_owned()]);
        queue.event("/devices/b", |_| {});
        queue.event("/devices/c", |_| {});
        let order: Vec<String> = (0..3).map(|_| look(&mut queue, PRESENT).0).collect();
        assert_eq!(order, ["/devices/b", "/devices/c", "/devices/a"]);
        assert!(queue.walk_is_done());
    }

    #[test]
    fn a_walk_looks_at_what_was_known_but_is_not_listed() {
        let mut queue = Queue::default();
        queue.event("/devices/old", |_| {});
        look(&mut queue, PRESENT);
        queue.begin_walk(["/devices/new".to_owned(), "/devices/z".to_owned()]);
        for path in ["/devices/new", "/devices/z"] {
            assert_eq!(look(&mut queue, PRESENT).0, path);
            assert!(!queue.walk_is_done());
        }
        assert_eq!(look(&mut queue, Found::Missing).0, "/devices/old");
        assert!(queue.walk_is_done() && queue.entries.len() == 2);
    }

    #[test]
    fn a_device_that_moves_twice_before_anyone_looks_inherits_its_first_path() {
        let mut queue = Queue::default();
        queue.event("/devices/a", |_| {});
        look(&mut queue, PRESENT);
        queue.moved("/devices/a", "/devices/b");
        queue.moved("/devices/b", "/devices/c");
        let paths = |why: &Why| {
            why.old_paths
                .iter()
                .map(|p| p.to_string())
                .collect::<Vec<_>>()
        };
        let (first, why) = look(&mut queue, Found::Missing);
        assert_eq!((first.as_str(), paths(&why).len()), ("/devices/b", 0));
        let (second, why) = look(&mut queue, PRESENT);
        assert_eq!(second, "/devices/c");
        assert_eq!(paths(&why), ["/devices/a", "/devices/b"]);
    }

    #[test]
    fn a_move_whose_target_is_already_gone_waits_for_the_event_that_explains_it() {
        let mut queue = Queue::default();
        queue.event("/devices/a", |_| {});
        look(&mut queue, PRESENT);
        queue.moved("/devices/a", "/devices/b");
        assert_eq!(look(&mut queue, Found::Missing).0, "/devices/b");
        assert!(queue.take().is_none(), "nothing is known to be gone");
        queue.event("/devices/b", |why| why.removed = true);
        look(&mut queue, Found::Missing);
        let (path, why) = look(&mut queue, Found::Missing);
        assert_eq!((path.as_str(), why.removed), ("/devices/a", true));
        assert!(queue.entries.is_empty());
    }

    #[test]
    fn a_device_above_brings_those_below_into_the_queue() {
        let mut queue = Queue::default();
        for path in ["/devices/a/x", "/devices/a0", "/devices/ab/x"] {
            queue.event(path, |_| {});
            look(&mut queue, PRESENT);
        }
        assert!(queue.knows_below("/devices/a") && !queue.knows_below("/devices/zzz"));
        queue.event_above("/devices/a");
        assert_eq!(look(&mut queue, PRESENT).0, "/devices/a/x");
        assert!(queue.take().is_none());
    }

    #[test]
    fn udevd_may_change_the_links_of_a_node_and_of_nothing_else() {
        let mut queue = Queue::default();
        let with_node = Found::Present {
            waits: false,
            node: true,
        };
        for (path, found) in [("/devices/disk", with_node), ("/devices/card", PRESENT)] {
            queue.event(path, |_| {});
            look(&mut queue, found);
        }
        queue.udev_finished("/devices/card", 7);
        queue.udev_finished("/devices/never-seen", 7);
        assert_eq!(queue.marked(), 0);
        queue.udev_finished("/devices/disk", 8);
        let (path, why) = look(&mut queue, with_node);
        assert_eq!((path.as_str(), why.udev), ("/devices/disk", Some(8)));
    }

    #[test]
    fn new_names_are_bounded_and_known_ones_always_have_room() {
        let mut queue = Queue::default();
        for number in 0..MAX_MARKED {
            assert!(queue.event(&format!("/devices/{number}"), |_| {}));
        }
        assert!(!queue.event("/devices/more", |_| {}));
        assert!(queue.event("/devices/7", |_| {}));
        assert_eq!(queue.marked(), MAX_MARKED);
    }
}
