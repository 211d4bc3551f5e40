//! What the source has seen and what it cost.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the source has seen and what it cost, since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events that were believed, of both groups.
    pub events: u64,
    /// Datagrams from somebody else.
    pub spoofed: u64,
    /// Datagrams longer than the buffer; each led to a walk.
    pub truncated: u64,
    /// Datagrams that are no event, or whose path cannot be one.
    pub malformed: u64,
    /// Times the kernel dropped events.
    pub overruns: u64,
    /// How many events it dropped, where it says so.
    pub lost: u64,
    /// Walks.
    pub rescans: u64,
    /// Times too many unknown paths were marked at once; each led to a walk.
    pub overfull: u64,
    /// Looks that hung.
    pub wedged: u64,
    /// Looks that hang now.
    pub wedged_now: u64,
    /// Nodes that were taken as usable because udevd was silent.
    pub udev_timeouts: u64,
    /// Looks that ended in a panic.
    pub panics: u64,
}

/// The counters while they count.
#[derive(Debug, Default)]
pub(super) struct Atomics {
    pub(super) events: AtomicU64,
    pub(super) spoofed: AtomicU64,
    pub(super) truncated: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) overruns: AtomicU64,
    /// Of each group, as its socket says.
    pub(super) lost: [AtomicU64; 2],
    pub(super) rescans: AtomicU64,
    pub(super) overfull: AtomicU64,
    pub(super) wedged: AtomicU64,
    pub(super) wedged_now: AtomicU64,
    pub(super) udev_timeouts: AtomicU64,
    pub(super) panics: AtomicU64,
}

impl Atomics {
    pub(super) fn read(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            events: get(&self.events),
            spoofed: get(&self.spoofed),
            truncated: get(&self.truncated),
            malformed: get(&self.malformed),
            overruns: get(&self.overruns),
            lost: self.lost.iter().map(get).sum(),
            rescans: get(&self.rescans),
            overfull: get(&self.overfull),
            wedged: get(&self.wedged),
            wedged_now: get(&self.wedged_now),
            udev_timeouts: get(&self.udev_timeouts),
            panics: get(&self.panics),
        }
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
