//! The threads of the source, and what they share.
//!
//! Two locks, never held together: `work` (what is to be looked at; held for moments, never while
//! anything is read or delivered) and `delivery` (what was found, and the sink; held while the
//! sink is called, so that the order of deliveries is the order of changes).

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrival_model::class::Classes;

use super::counters::{Atomics, count};
use super::ears::Ears;
use super::queue::{Found, Job, Queue};
use super::read::Eyes;
use super::socket::Group;
use super::source::{DeviceConfig, DeviceEvent};
use super::sysfs::Scratch;
use super::table::{Look, Table};

/// Where events go; it may block.
pub(super) type Sink = Box<dyn FnMut(DeviceEvent) + Send>;

/// Enough for a path, a record and a sink.
const STACK: usize = 512 * 1024;
/// How many subsystems are remembered as admitted or not.
const MAX_SUBSYSTEMS: usize = 512;

/// What is to be done.
pub(super) struct Work {
    pub(super) queue: Queue,
    pub(super) classes: Arc<Classes>,
    /// Which subsystems the classes admit, remembered.
    pub(super) admitted: HashMap<Box<[u8]>, bool>,
    /// Events up to this number are older than the last walk.
    pub(super) floor: u64,
    walk_wanted: bool,
    pub(super) overruns: [bool; 2],
    /// What each thread looks at.
    pub(super) busy: HashMap<u64, Busy>,
    /// Nothing while somebody listens.
    ears: Option<Ears>,
    /// How many threads wait for something to do.
    idle: usize,
    /// How many threads listen, look or wait.
    readers: usize,
    next_reader: u64,
    pub(super) stopping: bool,
    pub(super) threads: Vec<JoinHandle<()>>,
}

pub(super) struct Busy {
    pub(super) path: Arc<str>,
    pub(super) since: Instant,
    pub(super) wedged: bool,
}

impl Work {
    pub(super) fn new(classes: Classes, ears: Ears) -> Self {
        Work {
            ears: Some(ears),
            idle: 0,
            queue: Queue::default(),
            classes: Arc::new(classes),
            admitted: HashMap::new(),
            floor: 0,
            walk_wanted: true,
            overruns: [false; 2],
            busy: HashMap::new(),
            readers: 0,
            next_reader: 0,
            stopping: false,
            threads: Vec::new(),
        }
    }

    /// How many readers hang.
    pub(super) fn wedged(&self) -> usize {
        self.busy.values().filter(|busy| busy.wedged).count()
    }

    /// How many threads do not hang.
    fn able(&self) -> usize {
        self.readers - self.wedged().min(self.readers)
    }

    /// Something to look at, unless nobody would listen meanwhile.
    fn take(&mut self) -> Option<Job> {
        let somebody_listens = self.ears.is_none() || self.idle > 0;
        somebody_listens.then(|| self.queue.take()).flatten()
    }

    pub(super) fn admits(&mut self, subsystem: &[u8]) -> bool {
        if let Some(known) = self.admitted.get(subsystem) {
            return *known;
        }
        let admits = std::str::from_utf8(subsystem).is_ok_and(|name| self.classes.admits(name));
        if self.admitted.len() >= MAX_SUBSYSTEMS {
            self.admitted.clear();
        }
        self.admitted.insert(subsystem.into(), admits);
        admits
    }
}

/// What was found and whom to tell.
pub(super) struct Delivery {
    pub(super) table: Table,
    pub(super) sink: Sink,
    /// The first snapshot has been delivered.
    pub(super) begun: bool,
}

pub(super) struct Shared {
    pub(super) config: DeviceConfig,
    pub(super) eyes: Eyes,
    pub(super) work: Mutex<Work>,
    /// There is a path to look at, or the end.
    pub(super) to_read: Condvar,
    /// A walk is wanted or done, or the end.
    pub(super) to_walk: Condvar,
    pub(super) delivery: Mutex<Delivery>,
    pub(super) counters: Atomics,
    /// Nothing is delivered any more.
    pub(super) ended: AtomicBool,
    /// Ends the poll of the thread that listens.
    pub(super) wake: OwnedFd,
}

/// Starts a thread of the source.
pub(super) fn spawn(
    shared: &Arc<Shared>,
    name: &str,
    run: impl FnOnce(&Arc<Shared>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let for_thread = Arc::clone(shared);
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(move || {
            run(&for_thread);
            for_thread.to_walk.notify_all();
        })
}

/// Waits until notified, or for a time.
pub(super) fn wait_for<'a>(
    condition: &Condvar,
    work: MutexGuard<'a, Work>,
    timeout: Option<Duration>,
) -> MutexGuard<'a, Work> {
    match timeout {
        Some(timeout) => {
            let waited = condition.wait_timeout(work, timeout);
            waited.unwrap_or_else(PoisonError::into_inner).0
        }
        None => condition.wait(work).unwrap_or_else(PoisonError::into_inner),
    }
}

impl Shared {
    pub(super) fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn delivery(&self) -> MutexGuard<'_, Delivery> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the poll of the thread that listens, so that it sees what there is to look after.
    pub(super) fn poke(&self) {
        // It fails only if the count is full, and then the thread wakes anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    pub(super) fn want_walk(&self, work: &mut Work) {
        work.walk_wanted = true;
        self.to_walk.notify_all();
    }

    fn deliver(&self, delivery: &mut Delivery, event: DeviceEvent) {
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        let called = catch_unwind(AssertUnwindSafe(|| (delivery.sink)(event)));
        if called.is_err() {
            count(&self.counters.panics);
        }
    }
}

/// The readers, one of which listens.
impl Shared {
    /// Starts as many threads as are missing, not counting those that hang: the readers and one
    /// that listens.
    pub(super) fn fill_readers(self: &Arc<Self>, work: &mut Work) -> io::Result<()> {
        let wanted = self.wanted();
        let most = self.config.max_readers.max(wanted - 1) + 1;
        while work.able() < wanted && work.readers < most {
            let number = work.next_reader;
            let name = format!("arrival-read-{number}");
            let thread = spawn(self, &name, move |shared| shared.read(number))?;
            work.next_reader += 1;
            work.readers += 1;
            work.threads.retain(|thread| !thread.is_finished());
            work.threads.push(thread);
        }
        Ok(())
    }

    fn wanted(&self) -> usize {
        self.config.readers.max(1) + 1
    }

    fn read(self: &Arc<Self>, number: u64) {
        let mut scratch = Scratch::default();
        let mut work = self.work();
        // One that hung and has come back may be one too many.
        while !work.stopping && work.able() <= self.wanted() {
            if let Some(job) = work.take() {
                work = self.look(number, job, work, &mut scratch);
            } else if let Some(mut ears) = work.ears.take() {
                drop(work);
                let heard = catch_unwind(AssertUnwindSafe(|| self.listen(&mut ears)));
                if heard.is_err() {
                    count(&self.counters.panics);
                }
                work = self.work();
                work.ears = Some(ears);
            } else {
                work.idle += 1;
                work = wait_for(&self.to_read, work, None);
                work.idle -= 1;
            }
        }
        work.readers -= 1;
        // Somebody else has to listen.
        self.to_read.notify_one();
    }

    /// Looks at a device, while somebody else listens and looks at what else there is.
    fn look<'a>(
        &'a self,
        number: u64,
        job: Job,
        mut work: MutexGuard<'a, Work>,
        scratch: &mut Scratch,
    ) -> MutexGuard<'a, Work> {
        work.busy.insert(
            number,
            Busy {
                path: Arc::clone(&job.path),
                since: Instant::now(),
                wedged: false,
            },
        );
        let classes = Arc::clone(&work.classes);
        let others = work.ears.is_some() || work.queue.marked() > 0;
        drop(work);
        // Not before: who wakes would wait for the lock at once.
        if others {
            self.to_read.notify_one();
        }
        let looked = catch_unwind(AssertUnwindSafe(|| {
            self.eyes.look(&job.path, &job.why, &classes, scratch)
        }));
        // From here on it does not hang in a device, though a sink may hold it up.
        let mut back = self.work();
        if let Some(busy) = back.busy.remove(&number)
            && busy.wedged
        {
            self.counters.wedged_now.fetch_sub(1, Ordering::Relaxed);
        }
        drop(back);
        let settled =
            looked.and_then(|look| catch_unwind(AssertUnwindSafe(|| self.settle(&job, look))));
        let (found, moved_from, left_over) = settled.unwrap_or_else(|_| {
            count(&self.counters.panics);
            (Found::Unknown, None, Vec::new())
        });
        let mut work = self.work();
        if let Some(old) = moved_from {
            work.queue.forget(&old);
        }
        for old in left_over {
            work.queue.event(&old, |why| why.removed = true);
        }
        work.queue.finish(job, found, Instant::now());
        if work.queue.walk_is_done() {
            self.to_walk.notify_all();
        }
        work
    }

    /// Compares what was found with what was known and delivers the difference.
    fn settle(&self, job: &Job, look: Option<Look>) -> Settled {
        let mut delivery = self.delivery();
        let delivery = &mut *delivery;
        let (events, settled) = match look {
            // A device that moves is looked at through several paths at once, so a look may be
            // older than what is known. Whoever puts a device at a new place makes sure that it
            // still is there; what happens after this has its own event.
            Some(look)
                if !delivery.table.knows_as(&job.path, look.incarnation)
                    && !self.eyes.is_still(&job.path, look.incarnation.inode) =>
            {
                (Vec::new(), (Found::Unknown, None, Vec::new()))
            }
            Some(look) => {
                let node = look.node;
                let change = delivery.table.found(&job.path, look, &job.why);
                let left_over = (job.why.old_paths.iter())
                    .filter(|old| **old != job.path && delivery.table.knows(old))
                    .cloned()
                    .collect();
                let found = Found::Present {
                    waits: change.waits,
                    node,
                };
                (change.events, (found, change.moved_from, left_over))
            }
            None if job.why.removed || job.why.walked => (
                delivery.table.gone(&job.path),
                (Found::Missing, None, Vec::new()),
            ),
            None => (Vec::new(), (Found::Missing, None, Vec::new())),
        };
        if delivery.begun {
            for event in events {
                self.deliver(delivery, event);
            }
        }
        settled
    }
}

/// What a look came to: found or not, the path it moved from, and old paths at which somebody
/// else is known.
type Settled = (Found, Option<Arc<str>>, Vec<Arc<str>>);

/// The walker.
impl Shared {
    pub(super) fn walk(self: &Arc<Self>) {
        let mut scratch = Scratch::default();
        let mut work = self.work();
        loop {
            while !work.walk_wanted && !work.stopping {
                work = wait_for(&self.to_walk, work, None);
                self.replace_wedged(&mut work);
            }
            if work.stopping {
                return;
            }
            work.walk_wanted = false;
            let overruns = std::mem::take(&mut work.overruns);
            let classes = Arc::clone(&work.classes);
            drop(work);
            self.tell_overruns(overruns);

            let floor = self.eyes.sysfs.uevent_seqnum(&mut scratch);
            {
                let mut work = self.work();
                work.floor = floor;
                self.eyes.ancestors.clear();
            }
            let listed = self.eyes.sysfs.walk(|subsystem| classes.admits(subsystem));
            work = self.work();
            work.queue.begin_walk(listed.unwrap_or_default());
            self.to_read.notify_all();
            self.poke();
            while !work.queue.walk_is_done() && !work.stopping {
                // The thread that listens tells when another hangs.
                self.replace_wedged(&mut work);
                if work.able() <= 1 {
                    // Who is left listens.
                    break;
                }
                work = wait_for(&self.to_walk, work, None);
            }
            work.queue.end_walk();
            if work.stopping {
                return;
            }
            drop(work);
            count(&self.counters.rescans);
            {
                let mut delivery = self.delivery();
                let delivery = &mut *delivery;
                if !delivery.begun {
                    delivery.table.name_all(&classes);
                }
                let snapshot = delivery.table.snapshot();
                delivery.begun = true;
                delivery.table.forget_identities();
                self.deliver(delivery, DeviceEvent::Snapshot(snapshot));
            }
            work = self.work();
        }
    }

    fn replace_wedged(self: &Arc<Self>, work: &mut Work) {
        // Without a thread to spare the others go on; it is tried again at the next wedge.
        let _ = self.fill_readers(work);
    }

    fn tell_overruns(&self, [kernel, udev]: [bool; 2]) {
        let mut delivery = self.delivery();
        let told = [(kernel, Group::Kernel), (udev, Group::Udev)];
        for (_, group) in told.into_iter().filter(|(overran, _)| *overran) {
            if delivery.begun {
                self.deliver(&mut delivery, DeviceEvent::Overrun { group });
            }
        }
    }
}
