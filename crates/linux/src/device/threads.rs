//! The threads of the source, and what they share.
//!
//! Two locks, never held together: `work` (what is to be looked at; held for moments, never while
//! anything is read or delivered) and `delivery` (what was found, and the sink; held while the
//! sink is called, so that the order of deliveries is the order of changes).

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arrival_model::class::Classes;
use arrival_wire::uevent::{Action, Uevent};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::counters::{Atomics, count};
use super::queue::{Found, Job, Queue, before};
use super::read::Eyes;
use super::socket::{Group, Received, UeventSocket};
use super::source::{DeviceConfig, DeviceEvent};
use super::sysfs::{Scratch, is_devpath};
use super::table::Table;

/// Where events go; it may block.
pub(super) type Sink = Box<dyn FnMut(DeviceEvent) + Send>;

/// Enough for a path, a record and a sink.
const STACK: usize = 512 * 1024;
/// How many subsystems are remembered as admitted or not.
const MAX_SUBSYSTEMS: usize = 512;
/// How many datagrams are read before looking at anything else.
const MAX_DRAIN: usize = 4096;
/// How often waiting devices are looked after.
const UDEV_TICK: Duration = Duration::from_millis(250);
/// How long the netlink thread rests after an error that is not in the manual.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// What is to be done.
pub(super) struct Work {
    pub(super) queue: Queue,
    pub(super) classes: Arc<Classes>,
    /// Which subsystems the classes admit, remembered.
    pub(super) admitted: HashMap<Box<[u8]>, bool>,
    /// Events up to this number are older than the last walk.
    floor: u64,
    walk_wanted: bool,
    overruns: [bool; 2],
    /// What each reader looks at.
    busy: HashMap<u64, Busy>,
    readers: usize,
    next_reader: u64,
    pub(super) stopping: bool,
    pub(super) threads: Vec<JoinHandle<()>>,
}

struct Busy {
    path: Arc<str>,
    since: Instant,
    wedged: bool,
}

impl Work {
    pub(super) fn new(classes: Classes) -> Self {
        Work {
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

    fn admits(&mut self, subsystem: &[u8]) -> bool {
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
    /// Ends the netlink thread's poll.
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

    /// Ends the netlink thread's poll, so that it sees what there is to look after.
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

/// The netlink thread.
impl Shared {
    pub(super) fn listen(&self, mut sockets: [UeventSocket; 2]) {
        let mut last_udev = Instant::now();
        let mut overran = [false; 2];
        loop {
            let timeout = {
                let mut work = self.work();
                if work.stopping {
                    return;
                }
                self.look_after(&mut work, last_udev)
            };
            self.poll(&sockets, timeout);
            for (socket, overran) in sockets.iter_mut().zip(&mut overran) {
                match self.drain(socket, overran, &mut last_udev) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    Err(_) => {
                        // Whatever it was, something may have been lost.
                        *overran = true;
                        thread::sleep(ERROR_PAUSE);
                    }
                }
                if std::mem::take(overran) {
                    self.overran(socket);
                }
            }
        }
    }

    fn poll(&self, sockets: &[UeventSocket; 2], timeout: Option<Duration>) {
        let [kernel, udev] = sockets;
        let mut fds = [
            PollFd::from_borrowed_fd(kernel.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(udev.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
        ];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        // An interrupted poll is a short one.
        let _ = rustix::event::poll(&mut fds, timeout.as_ref());
        let mut number = [0; 8];
        let _ = rustix::io::read(&self.wake, &mut number);
    }

    /// Reads a socket, to its end or for a long while; says whether this was the end, before
    /// which nothing may be done about an overrun.
    fn drain(
        &self,
        socket: &mut UeventSocket,
        overran: &mut bool,
        last_udev: &mut Instant,
    ) -> io::Result<bool> {
        let group = socket.group();
        for _ in 0..MAX_DRAIN {
            match socket.receive()? {
                Received::Empty => return Ok(true),
                Received::Event(event) => {
                    count(&self.counters.events);
                    if group == Group::Udev {
                        *last_udev = Instant::now();
                    }
                    self.event(group, &event);
                }
                Received::Spoofed => count(&self.counters.spoofed),
                Received::Malformed(_) => count(&self.counters.malformed),
                Received::Truncated => {
                    count(&self.counters.truncated);
                    self.want_walk(&mut self.work());
                }
                Received::Overrun => {
                    count(&self.counters.overruns);
                    *overran = true;
                }
            }
        }
        Ok(false)
    }

    fn overran(&self, socket: &UeventSocket) {
        let group = socket.group();
        if let Some(drops) = socket.drops() {
            let [kernel, udev] = &self.counters.lost;
            let lost = match group {
                Group::Kernel => kernel,
                Group::Udev => udev,
            };
            lost.store(u64::from(drops), Ordering::Relaxed);
        }
        let mut work = self.work();
        let [kernel, udev] = &mut work.overruns;
        match group {
            Group::Kernel => *kernel = true,
            Group::Udev => *udev = true,
        }
        self.want_walk(&mut work);
    }

    fn event(&self, group: Group, event: &Uevent<'_>) {
        let path = |bytes| std::str::from_utf8(bytes).ok().filter(|p| is_devpath(p));
        let Some(devpath) = path(event.devpath()) else {
            // A module, a bus, a slab cache; or a name that no interface can bear.
            if event.devpath().starts_with(b"/devices/") {
                count(&self.counters.malformed);
            }
            return;
        };
        let mut work = self.work();
        let work = &mut *work;
        if group == Group::Udev {
            if work.queue.udev_finished(devpath, event.seqnum()) {
                self.to_read.notify_one();
            }
            return;
        }
        if event.seqnum() <= work.floor {
            return;
        }
        let old = (event.action() == Action::Move).then(|| event.devpath_old());
        let moved_from = old.flatten().and_then(path);
        for path in [Some(devpath), moved_from].into_iter().flatten() {
            if work.queue.knows_below(path) {
                self.eyes.ancestors.forget(path);
                work.queue.event_above(path);
                self.to_read.notify_all();
            }
        }
        if let Some(old) = moved_from {
            work.queue.moved_below(old, devpath);
        }
        if !work.admits(event.subsystem()) {
            return;
        }
        let room = match (event.action(), moved_from) {
            (Action::Add, _) => {
                let seqnum = event.seqnum();
                // One that a program asked for says nothing of when the device came.
                let added = (!event.is_synthetic()).then_some(seqnum);
                work.queue
                    .event(devpath, |why| why.added = added.or(why.added))
            }
            (Action::Remove, _) => work.queue.event(devpath, |why| why.removed = true),
            (Action::Move, Some(old)) => work.queue.moved(old, devpath),
            (
                Action::Move
                | Action::Change
                | Action::Online
                | Action::Offline
                | Action::Bind
                | Action::Unbind
                | Action::Other(_),
                _,
            ) => work.queue.event(devpath, |_| {}),
        };
        if room {
            self.to_read.notify_one();
        } else {
            count(&self.counters.overfull);
            self.want_walk(work);
        }
    }

    /// Finds readers that hang and nodes that udevd does not come to; says when to look again.
    fn look_after(&self, work: &mut Work, last_udev: Instant) -> Option<Duration> {
        let now = Instant::now();
        let mut freed = Vec::new();
        for busy in work.busy.values_mut() {
            if !busy.wedged && now.duration_since(busy.since) >= self.config.wedge_after {
                busy.wedged = true;
                count(&self.counters.wedged);
                count(&self.counters.wedged_now);
                freed.push(Arc::clone(&busy.path));
            }
        }
        for path in &freed {
            work.queue.skip(path);
        }
        if !freed.is_empty() {
            self.to_walk.notify_all();
            self.to_read.notify_all();
        }
        if work.queue.anyone_waits() {
            if !self.eyes.udev.serves() {
                work.queue.look_at_waiting();
                self.to_read.notify_all();
            } else if now.duration_since(last_udev) >= self.config.udev_silence
                && !self.eyes.udev.is_busy()
            {
                let ended = work
                    .queue
                    .end_waiting(before(now, self.config.udev_silence));
                let ended = u64::try_from(ended).unwrap_or(u64::MAX);
                (self.counters.udev_timeouts).fetch_add(ended, Ordering::Relaxed);
                self.to_read.notify_all();
            }
        }
        let looking = work.queue.marked() > 0 || work.busy.values().any(|busy| !busy.wedged);
        let wait = looking.then_some(self.config.wedge_after / 2);
        let tick = work.queue.anyone_waits().then_some(UDEV_TICK);
        wait.into_iter().chain(tick).min()
    }
}

/// The readers.
impl Shared {
    /// Starts as many readers as are missing, not counting those that hang.
    pub(super) fn fill_readers(self: &Arc<Self>, work: &mut Work) -> io::Result<()> {
        let wanted = self.config.readers.max(1);
        let most = self.config.max_readers.max(wanted);
        while work.readers - work.wedged().min(work.readers) < wanted && work.readers < most {
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

    fn read(self: &Arc<Self>, number: u64) {
        let mut scratch = Scratch::default();
        let mut work = self.work();
        loop {
            // One that hung and has come back may be one too many.
            if work.stopping || work.readers - work.wedged() > self.config.readers.max(1) {
                break;
            }
            let Some(job) = work.queue.take() else {
                work = wait_for(&self.to_read, work, None);
                continue;
            };
            work.busy.insert(
                number,
                Busy {
                    path: Arc::clone(&job.path),
                    since: Instant::now(),
                    wedged: false,
                },
            );
            let classes = Arc::clone(&work.classes);
            drop(work);
            let looked = catch_unwind(AssertUnwindSafe(|| {
                self.eyes.look(&job.path, &job.why, &classes, &mut scratch)
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
            work = self.work();
            if let Some(old) = moved_from {
                work.queue.forget(&old);
            }
            for old in left_over {
                work.queue.event(&old, |why| why.removed = true);
            }
            let more = work.queue.finish(job, found, Instant::now());
            if more {
                self.to_read.notify_one();
            }
            if work.queue.walk_is_done() {
                self.to_walk.notify_all();
            }
        }
        work.readers -= 1;
    }

    /// Compares what was found with what was known and delivers the difference.
    fn settle(&self, job: &Job, look: Option<super::table::Look>) -> Settled {
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
                let change = delivery.table.found(&job.path, look, &job.why);
                let left_over = (job.why.old_paths.iter())
                    .filter(|old| **old != job.path && delivery.table.knows(old))
                    .cloned()
                    .collect();
                let found = Found::Present {
                    waits: change.waits,
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
                // The netlink thread tells when a reader hangs.
                self.replace_wedged(&mut work);
                if work.wedged() == work.readers {
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
