//! Watching folders, and looking at files when it is quiet.
//!
//! ```text
//! anything happens in a watched folder   wait until nothing has for the settle time, or ten such
//! then                                   watch everything anew, look, compare, tell a difference
//! the look meets a half-written file     look again after the settle time, five times; then tell so
//! the kernel's queue overflowed          the same, and it is counted and told
//! ```
//!
//! A look watches each folder before it reads it, so what comes later leads to another look. A folder
//! that is missing is waited for in the nearest one above it. What a look finds is compared as a whole:
//! files that are opened, or written with what they held, tell nothing.
//!
//! Source: inotify(7).

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::worker::{Rest, Woken, Worker};

/// How many times the settle time may pass with something happening all the while.
const PATIENCE: u32 = 10;
/// How often a file is looked at again that is half written.
const TRIES: u32 = 5;
/// The most folders that are watched.
const WATCHES: u64 = 8192;

/// What a source of files tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEvent<T> {
    /// What the files say; at the start, and whenever it is something else.
    Now(T),
    /// A file cannot be read or understood; what was told before stays.
    Trouble(String),
    /// The kernel lost events; everything has been looked at again.
    Overrun,
}

/// What a source of files has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounters {
    /// Events of the kernel.
    pub events: u64,
    /// How often the kernel lost some.
    pub overruns: u64,
    /// How often the files were looked at.
    pub looks: u64,
    /// Folders that could not be watched.
    pub unwatched: u64,
}

#[derive(Debug, Default)]
pub(super) struct Atomics {
    events: AtomicU64,
    overruns: AtomicU64,
    looks: AtomicU64,
    unwatched: AtomicU64,
}

/// A running source; dropping it ends it.
pub struct FileSource {
    counters: Arc<Atomics>,
    _worker: Worker,
}

impl fmt::Debug for FileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSource")
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl FileSource {
    /// What the source has counted so far.
    pub fn counters(&self) -> FileCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FileCounters {
            events: of(&self.counters.events),
            overruns: of(&self.counters.overruns),
            looks: of(&self.counters.looks),
            unwatched: of(&self.counters.unwatched),
        }
    }

    /// Starts a thread that looks, and looks again when something has happened.
    pub(super) fn start<T: PartialEq + Clone + Send + 'static>(
        name: &str,
        settle: Duration,
        look: impl FnMut(&mut Watch) -> Result<T, Trouble> + Send + 'static,
        sink: impl FnMut(FileEvent<T>) + Send + 'static,
    ) -> io::Result<FileSource> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let counters = Arc::new(Atomics::default());
        let watch = Watch {
            inotify: inotify::init(flags)?,
            watches: 0,
            counters: Arc::clone(&counters),
        };
        let mut looker = Looker {
            watch,
            settle,
            look,
            sink,
            told: None,
            trouble: None,
        };
        let worker = Worker::start(name, move |rest| looker.run(rest))?;
        Ok(FileSource {
            counters,
            _worker: worker,
        })
    }
}

/// Why a look has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) what: String,
    /// Whether it may be gone a moment later: the file is being written.
    pub(super) passing: bool,
}

/// The folders that are watched.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    watches: u64,
    counters: Arc<Atomics>,
}

impl Watch {
    /// Watches a folder, or the nearest one above it that is there.
    pub(super) fn folder(&mut self, path: &Path) {
        let mut path = Some(path);
        while let Some(folder) = path {
            if self.add(folder) {
                return;
            }
            path = folder.parent();
        }
    }

    fn add(&mut self, folder: &Path) -> bool {
        if self.watches >= WATCHES {
            self.counters.unwatched.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ATTRIB
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.inotify, folder, flags) {
            Ok(_) => {
                self.watches += 1;
                true
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => false,
            Err(_) => {
                self.counters.unwatched.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    /// Takes all events that there are: whether there were any, and whether some were lost.
    fn drain(&mut self) -> (bool, bool) {
        let (mut any, mut lost) = (false, false);
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        // An error other than EAGAIN can only be EINTR; the next wait shows what is left.
        while let Ok(event) = reader.next() {
            any = true;
            self.counters.events.fetch_add(1, Ordering::Relaxed);
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                lost = true;
            }
        }
        if lost {
            self.counters.overruns.fetch_add(1, Ordering::Relaxed);
        }
        (any, lost)
    }
}

struct Looker<T, L, S> {
    watch: Watch,
    settle: Duration,
    look: L,
    sink: S,
    told: Option<T>,
    trouble: Option<String>,
}

impl<T, L, S> Looker<T, L, S>
where
    T: PartialEq + Clone,
    L: FnMut(&mut Watch) -> Result<T, Trouble>,
    S: FnMut(FileEvent<T>),
{
    fn run(&mut self, rest: &Rest) {
        let mut lost = false;
        loop {
            if !self.look(rest, std::mem::take(&mut lost)) {
                return;
            }
            let woken = rest.wait(&[self.watch.inotify.as_fd()], None);
            if woken == Woken::End {
                return;
            }
            // Quiet for as long as it takes, but not for ever.
            let deadline = Instant::now() + self.settle * PATIENCE;
            loop {
                lost |= self.watch.drain().1;
                if Instant::now() >= deadline {
                    break;
                }
                match rest.wait(&[self.watch.inotify.as_fd()], Some(self.settle)) {
                    Woken::End => return,
                    Woken::Late => break,
                    Woken::Ready(_) => {}
                }
            }
        }
    }

    /// Looks until there is a result; false if the source ends.
    fn look(&mut self, rest: &Rest, lost: bool) -> bool {
        if lost {
            (self.sink)(FileEvent::Overrun);
        }
        for attempt in 1.. {
            // Watches of folders that are gone are gone with them; the others are the same again.
            self.watch.watches = 0;
            self.watch.counters.looks.fetch_add(1, Ordering::Relaxed);
            match (self.look)(&mut self.watch) {
                Ok(found) => {
                    self.trouble = None;
                    if self.told.as_ref() != Some(&found) {
                        self.told = Some(found.clone());
                        (self.sink)(FileEvent::Now(found));
                    }
                    return true;
                }
                Err(trouble) if trouble.passing && attempt < TRIES => {
                    if rest.wait(&[], Some(self.settle)) == Woken::End {
                        return false;
                    }
                }
                Err(trouble) => {
                    if self.trouble.as_ref() != Some(&trouble.what) {
                        self.trouble = Some(trouble.what.clone());
                        (self.sink)(FileEvent::Trouble(trouble.what));
                    }
                    return true;
                }
            }
        }
        true
    }
}

/// The longest file that is read whole.
const FILE: u64 = 64 * 1024 * 1024;

/// Reads a file; none if it is not there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, Trouble> {
    let told = |error: &dyn fmt::Display| Trouble {
        what: format!("{}: {error}", path.display()),
        passing: false,
    };
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Ok(None),
        Ok(found) if found.len() > FILE => return Err(told(&"it has more than 64 MiB")),
        Ok(_) => {}
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(told(&error)),
    }
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(told(&error)),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// A path of the machine below another root.
pub(super) fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
