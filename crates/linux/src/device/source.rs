//! The device source: threads that turn kernel events into interfaces that come and go.
//!
//! ```text
//! readers (4 + 1)  one listens: reads both sockets to their end, checks senders, marks paths. Then
//!                  it looks at a marked path itself, and another one listens: a thread that would
//!                  have to be woken for the look makes every arrival later. The others look, at
//!                  other paths, or wait
//! walker           at the start, after an overrun or on request: lists all devices, marks them,
//!                  waits for the readers, delivers a snapshot
//! ```
//!
//! A look is: read sysfs, compare, deliver to the sink. Whoever looks lets another one listen
//! first, so listening waits for no device and no sink. A sink that blocks holds up the readers;
//! what happens meanwhile collapses to one mark per device. A reader that hangs in a device (a USB
//! device can hold up a read for seconds) is counted after [`DeviceConfig::wedge_after`], a new
//! reader takes its place, up to [`DeviceConfig::max_readers`], and a walk goes on without that
//! device; what was known of it stays until its read returns.
//!
//! **Snapshots.** The sockets are open before the first walk. A walk reads the number N of the
//! last event, forgets all ancestors, and looks at everything; events up to N that come later are
//! dropped, since every look of the walk is younger. Before the first snapshot nothing is
//! delivered. From then on changes are delivered as they are found, during walks too, and each
//! snapshot is the sum of what was delivered before it: all under one lock.
//!
//! A device that came and went before anybody looked is not delivered at all.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use arrival_model::class::Classes;
use arrival_model::interface::{Interface, InterfaceKey};
use rustix::event::EventfdFlags;

use super::ancestors::Ancestors;
use super::counters::Atomics;
pub use super::counters::Counters;
use super::ears::Ears;
use super::read::{Eyes, Known};
use super::socket::{Group, UeventSocket};
use super::sysfs::Sysfs;
use super::table::Table;
use super::threads::{Delivery, Shared, Work, spawn, wait_for};
use super::udev::UdevRun;

/// What the source is to do.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// The classes whose interfaces are delivered.
    pub classes: Classes,
    /// Where sysfs is mounted; in a private network namespace a mount made in it.
    pub sysfs: PathBuf,
    /// Whether a node waits for udevd, where one serves us. False in a private network namespace,
    /// which udevd's messages do not enter.
    pub udev: bool,
    /// udevd's directory.
    pub run_udev: PathBuf,
    /// The size of each socket's queue in bytes; an event takes about 832.
    pub receive_buffer: usize,
    /// How many readers look at devices.
    pub readers: usize,
    /// How many there may be when some hang.
    pub max_readers: usize,
    /// How long a look may take before it counts as hanging.
    pub wedge_after: Duration,
    /// How long udevd may be silent, with nothing to do, before a node is usable without it.
    pub udev_silence: Duration,
    /// What was present before a restart; a device that moved in between keeps its identity, and all
    /// keep their names in Windows CE's form.
    pub known: Vec<Arc<Interface>>,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        DeviceConfig {
            classes: Classes::built_in(),
            sysfs: "/sys".into(),
            udev: true,
            run_udev: "/run/udev".into(),
            receive_buffer: 32 * 1024 * 1024,
            readers: 4,
            max_readers: 16,
            wedge_after: Duration::from_millis(500),
            udev_silence: Duration::from_secs(5),
            known: Vec::new(),
        }
    }
}

/// What the source delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEvent {
    /// An interface is present. For an identity that already was, its names or ids changed or it
    /// became usable.
    Present(Arc<Interface>),
    /// An interface is gone.
    Gone(InterfaceKey),
    /// The kernel dropped events of this group; a snapshot follows.
    Overrun {
        /// Whose events.
        group: Group,
    },
    /// All interfaces that are present, by identity, after a walk. What is not in it is gone.
    Snapshot(Vec<Arc<Interface>>),
}

/// Why the source cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct StartError {
    /// What was tried.
    pub what: String,
    /// Why it failed.
    #[source]
    pub cause: io::Error,
}

/// A running source; dropping it stops it.
pub struct DeviceSource {
    shared: Arc<Shared>,
}

impl fmt::Debug for DeviceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSource")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

/// How long [`DeviceSource::stop`] waits for threads that do not hang.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

impl DeviceSource {
    /// Opens the sockets in the calling thread's network namespace and starts the threads. The
    /// sink is called by one of them at a time; its first event is a snapshot.
    pub fn start(
        mut config: DeviceConfig,
        sink: impl FnMut(DeviceEvent) + Send + 'static,
    ) -> Result<Self, StartError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |cause| StartError { what, cause }
        };
        let sysfs = Sysfs::open(&config.sysfs)
            .map_err(failed(&format!("open sysfs at {}", config.sysfs.display())))?;
        let open = |group| {
            UeventSocket::open(group, config.receive_buffer).map_err(failed(&format!(
                "open the socket for {group} device events"
            )))
        };
        let sockets = [open(Group::Kernel)?, open(Group::Udev)?];
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| failed("make an eventfd")(errno.into()))?;
        let known = std::mem::take(&mut config.known);
        let shared = Arc::new(Shared {
            eyes: Eyes {
                sysfs,
                udev: UdevRun::new(config.udev, config.run_udev.clone()),
                ancestors: Ancestors::default(),
                known: Known::default(),
            },
            work: Mutex::new(Work::new(config.classes.clone(), Ears::new(sockets))),
            to_read: Condvar::new(),
            to_walk: Condvar::new(),
            delivery: Mutex::new(Delivery {
                table: Table::remembering(&known),
                sink: Box::new(sink),
                begun: false,
            }),
            counters: Atomics::default(),
            ended: AtomicBool::new(false),
            wake,
            config,
        });
        let source = DeviceSource { shared };
        let shared = &source.shared;
        let start = || -> io::Result<()> {
            let mut work = shared.work();
            shared.fill_readers(&mut work)?;
            let walker = spawn(shared, "arrival-walk", |shared| shared.walk())?;
            work.threads.push(walker);
            Ok(())
        };
        // If one fails, dropping the source ends those that run.
        start().map_err(failed("start a thread"))?;
        Ok(source)
    }

    /// Asks for a walk; a snapshot follows.
    pub fn rescan(&self) {
        self.shared.want_walk(&mut self.shared.work());
    }

    /// Looks at everything anew with other classes; changes and a snapshot follow.
    pub fn set_classes(&self, classes: Classes) {
        let mut work = self.shared.work();
        work.classes = Arc::new(classes);
        work.admitted.clear();
        self.shared.want_walk(&mut work);
    }

    /// What the source has seen so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters.read()
    }

    /// Ends the threads; nothing is delivered after this. A thread that hangs in a device or in
    /// the sink is left behind and ends when it comes back.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for DeviceSource {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.ended.store(true, Ordering::Release);
        let mut work = shared.work();
        work.stopping = true;
        shared.poke();
        shared.to_read.notify_all();
        shared.to_walk.notify_all();
        let deadline = Instant::now() + STOP_PATIENCE;
        let mut threads = std::mem::take(&mut work.threads);
        loop {
            let running = threads.iter().filter(|t| !t.is_finished()).count();
            let now = Instant::now();
            if running <= work.wedged() || now >= deadline {
                break;
            }
            let wait = (deadline - now).min(Duration::from_millis(10));
            work = wait_for(&shared.to_walk, work, Some(wait));
            threads.append(&mut work.threads);
        }
        drop(work);
        for thread in threads {
            if thread.is_finished() {
                // A panic in a thread has been reported by the panic hook.
                let _ = thread.join();
            }
        }
    }
}
