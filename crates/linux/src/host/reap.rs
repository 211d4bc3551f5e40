//! Orphans that become our children.
//!
//! As a subreaper we inherit what a host's processes leave behind, and must wait for it. The status of a main
//! process must not be lost to that: mains are written down here, and a spawn that is under way holds the lock, so
//! that a main which ended at once is not taken for an orphan. Any other child of this process (a program run
//! by std::process) shares our session, whereas a host's processes never do: that tells them apart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::sys;
use super::tree::{Processes, Stat};

static SPAWNING: RwLock<()> = RwLock::new(());
static MAINS: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A main process whose status is somebody's; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Kept {
    pid: u32,
    serial: u64,
}

impl Kept {
    /// Writes a main process down.
    pub(super) fn new(pid: u32) -> Self {
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        MAINS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pid, serial);
        Self { pid, serial }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut mains = MAINS.lock().unwrap_or_else(PoisonError::into_inner);
        // The number may already belong to a younger process.
        if mains.get(&self.pid) == Some(&self.serial) {
            mains.remove(&self.pid);
        }
    }
}

/// To be held from before a clone until its child is [`Kept`].
pub(super) fn spawning() -> RwLockReadGuard<'static, ()> {
    SPAWNING.read().unwrap_or_else(PoisonError::into_inner)
}

/// Takes all orphans away. False: a spawn is under way, so ask again soon.
pub(super) fn orphans() -> bool {
    if sys::peek_zombie().is_none() {
        return true;
    }
    let Ok(_lock) = SPAWNING.try_write() else {
        return false;
    };
    while let Some(pid) = sys::peek_zombie() {
        if is_orphan(pid) {
            sys::reap(pid);
            continue;
        }
        // A zombie that is somebody's stands in front; those behind it are found in /proc.
        let Ok(all) = Processes::now() else {
            return false;
        };
        for stat in all.zombies_of(std::process::id()) {
            if is_orphan(stat.pid) {
                sys::reap(stat.pid);
            }
        }
        break;
    }
    true
}

fn is_orphan(pid: u32) -> bool {
    let kept = MAINS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .contains_key(&pid);
    !kept && Stat::read(pid).is_some_and(|stat| stat.session != sys::own_session())
}
