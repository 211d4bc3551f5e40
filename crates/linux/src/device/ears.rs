//! Listening: what the sockets say is marked, and never looked at here.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use arrival_wire::uevent::{Action, Uevent};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::counters::count;
use super::queue::before;
use super::socket::{Group, Received, UeventSocket};
use super::sysfs::is_devpath;
use super::threads::{Shared, Work};

/// How many datagrams are read before looking at anything else.
const MAX_DRAIN: usize = 4096;
/// How often waiting devices are looked after.
const UDEV_TICK: Duration = Duration::from_millis(250);
/// How long listening rests after an error that is not in the manual.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The sockets, and what was heard; the thread that listens has it.
pub(super) struct Ears {
    sockets: [UeventSocket; 2],
    /// When udevd was last heard.
    last_udev: Instant,
    /// What the kernel dropped of each group, not yet told.
    overran: [bool; 2],
}

impl Ears {
    pub(super) fn new(sockets: [UeventSocket; 2]) -> Self {
        Ears {
            sockets,
            last_udev: Instant::now(),
            overran: [false; 2],
        }
    }
}

impl Shared {
    /// Waits for events, or until there is something to look after, and marks what they speak of.
    pub(super) fn listen(&self, ears: &mut Ears) {
        let mut work = self.work();
        let timeout = self.look_after(&mut work, ears.last_udev);
        if work.queue.marked() > 0 {
            self.to_read.notify_one();
        }
        drop(work);
        let Ears {
            sockets,
            last_udev,
            overran,
        } = ears;
        self.poll(sockets, timeout);
        for (socket, overran) in sockets.iter_mut().zip(overran) {
            match self.drain(socket, overran, last_udev) {
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
            work.queue.udev_finished(devpath, event.seqnum());
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
            }
        }
        if let Some(old) = moved_from {
            work.queue.moved_below(old, devpath);
        }
        if !work.admits(event.subsystem()) {
            return;
        }
        if let Some(above) = work.queue.event_below(devpath) {
            self.eyes.ancestors.forget(&above);
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
        if !room {
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
        }
        if work.queue.anyone_waits() {
            if !self.eyes.udev.serves() {
                work.queue.look_at_waiting();
            } else if now.duration_since(last_udev) >= self.config.udev_silence
                && !self.eyes.udev.is_busy()
            {
                let ended = work
                    .queue
                    .end_waiting(before(now, self.config.udev_silence));
                let ended = u64::try_from(ended).unwrap_or(u64::MAX);
                (self.counters.udev_timeouts).fetch_add(ended, Ordering::Relaxed);
            }
        }
        let looking = work.queue.marked() > 0 || work.busy.values().any(|busy| !busy.wedged);
        let wait = looking.then_some(self.config.wedge_after / 2);
        let tick = work.queue.anyone_waits().then_some(UDEV_TICK);
        wait.into_iter().chain(tick).min()
    }
}
