//! When the list of sockets is read, and what is told.
//!
//! ```text
//! at the start                         read; everything is told, then Complete
//! a tracepoint                         read after 5 ms, or four times what a reading takes; if nothing
//!                                        is new, once more after 20 ms
//! a known socket is destroyed          told at once
//! the kernel dropped messages          counted and told; read
//! nothing for 60 s                     read: a socket of the kernel's own is destroyed without a word
//! without tracepoints                  read every 2 s instead, and said so
//! ```
//!
//! What was destroyed is taken note of before each reading, so a socket that ends meanwhile is told of
//! afterwards. A socket that comes and goes between two readings is not told of.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::diag::{Diag, Listener};
use super::owners;
use super::trace::Trace;
use crate::worker::{Rest, Woken, Worker};

/// How long hints are gathered at least, and at most.
const GATHER: Duration = Duration::from_millis(5);
const GATHER_MOST: Duration = Duration::from_millis(200);
/// How long after a reading without news it is repeated once.
const AGAIN: Duration = Duration::from_millis(20);
/// How often the list is read where nothing happens.
const SAFETY: Duration = Duration::from_secs(60);
/// How often it is read without tracepoints.
const POLLING: Duration = Duration::from_secs(2);
/// The most sockets that are kept.
const LIMIT: usize = 65_536;

/// What the source is to do.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Whether tracepoints are used where they can be.
    pub tracepoints: bool,
    /// The size of the queue of destroyed sockets in bytes.
    pub receive_buffer: usize,
}

impl Default for ListenConfig {
    fn default() -> Self {
        ListenConfig {
            tracepoints: true,
            receive_buffer: 1024 * 1024,
        }
    }
}

/// What the source delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenEvent {
    /// A socket listens.
    Opened(Arc<Listener>),
    /// It does not any more.
    Closed(Arc<Listener>),
    /// All sockets that there were at the start have been told.
    Complete,
    /// The kernel dropped messages; the list has been read again, and what differs follows.
    Overrun,
}

/// What the source has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenCounters {
    /// Hints and messages.
    pub events: u64,
    /// How often the kernel dropped messages.
    pub overruns: u64,
    /// How often the list was read.
    pub reads: u64,
    /// Sockets that were too many to keep.
    pub too_many: u64,
    /// How often the list could not be read.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct Atomics {
    events: AtomicU64,
    overruns: AtomicU64,
    reads: AtomicU64,
    too_many: AtomicU64,
    failures: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A running source; dropping it ends it.
#[derive(Debug)]
pub struct ListenSource {
    counters: Arc<Atomics>,
    polling: Option<String>,
    _worker: Worker,
}

impl ListenSource {
    /// Opens sockets in the calling thread's network namespace and starts a thread, which alone calls
    /// the sink.
    ///
    /// # Errors
    ///
    /// Those of socket(2) and of starting a thread. Missing tracepoints are no error:
    /// [`polling`](ListenSource::polling) says why there are none.
    pub fn start(
        config: ListenConfig,
        sink: impl FnMut(ListenEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let diag = Diag::open(config.receive_buffer)?;
        let trace = if config.tracepoints {
            Trace::open()
        } else {
            Err("tracepoints are switched off".to_owned())
        };
        let (trace, polling) = match trace {
            Ok(trace) => (Some(trace), None),
            Err(why) => (None, Some(why)),
        };
        let counters = Arc::new(Atomics::default());
        let mut watch = Watch {
            diag,
            trace,
            known: BTreeMap::new(),
            cost: Duration::ZERO,
            counters: Arc::clone(&counters),
            sink: Box::new(sink),
        };
        let worker = Worker::start("arrival-ports", move |rest| watch.run(rest))?;
        Ok(ListenSource {
            counters,
            polling,
            _worker: worker,
        })
    }

    /// Why the list is read every two seconds, if it is; none where tracepoints say when.
    pub fn polling(&self) -> Option<&str> {
        self.polling.as_deref()
    }

    /// What the source has counted so far.
    pub fn counters(&self) -> ListenCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ListenCounters {
            events: of(&self.counters.events),
            overruns: of(&self.counters.overruns),
            reads: of(&self.counters.reads),
            too_many: of(&self.counters.too_many),
            failures: of(&self.counters.failures),
        }
    }
}

struct Watch {
    diag: Diag,
    trace: Option<Trace>,
    known: BTreeMap<u64, Arc<Listener>>,
    /// How long the last reading took.
    cost: Duration,
    counters: Arc<Atomics>,
    sink: Box<dyn FnMut(ListenEvent) + Send>,
}

impl Watch {
    fn run(&mut self, rest: &Rest) {
        self.read();
        (self.sink)(ListenEvent::Complete);
        loop {
            let patience = if self.trace.is_some() {
                SAFETY
            } else {
                POLLING
            };
            let woken = {
                let mut waited: Vec<BorrowedFd<'_>> = vec![self.diag.socket()];
                waited.extend(self.trace.iter().flat_map(Trace::descriptors));
                rest.wait(&waited, Some(patience))
            };
            match woken {
                Woken::End => return,
                Woken::Late => {
                    self.read();
                }
                Woken::Ready(ready) => {
                    if ready.contains(&0) && self.forget_the_gone() {
                        (self.sink)(ListenEvent::Overrun);
                        self.read();
                    }
                    let hinted = ready.iter().any(|place| *place > 0);
                    if hinted && !self.look(rest) {
                        return;
                    }
                }
            }
        }
    }

    /// Reads after a hint; false if the source ends.
    fn look(&mut self, rest: &Rest) -> bool {
        // Whoever opens sockets without end costs a fifth of a processor, not all of it.
        let gather = (self.cost * 4).clamp(GATHER, GATHER_MOST);
        for pause in [gather, AGAIN] {
            if rest.wait(&[], Some(pause)) == Woken::End {
                return false;
            }
            if let Some(trace) = &self.trace {
                trace.drain();
            }
            count(&self.counters.events);
            let begin = Instant::now();
            let differs = self.read();
            self.cost = begin.elapsed();
            if differs {
                break;
            }
        }
        true
    }

    /// Takes note of what was destroyed; whether the kernel dropped some of it.
    fn forget_the_gone(&mut self) -> bool {
        let mut gone = Vec::new();
        let dropped = self.diag.gone(|cookie| gone.push(cookie));
        for cookie in gone {
            if let Some(listener) = self.known.remove(&cookie) {
                count(&self.counters.events);
                (self.sink)(ListenEvent::Closed(listener));
            }
        }
        if dropped {
            count(&self.counters.overruns);
        }
        dropped
    }

    /// Reads the list and tells what differs; whether anything did.
    fn read(&mut self) -> bool {
        if self.forget_the_gone() {
            (self.sink)(ListenEvent::Overrun);
        }
        count(&self.counters.reads);
        let found = match self.diag.list() {
            Ok(found) => found,
            Err(_) => {
                count(&self.counters.failures);
                return false;
            }
        };
        let cookies: BTreeSet<u64> = found.iter().map(|listener| listener.cookie).collect();
        let gone: Vec<u64> = (self.known.keys())
            .filter(|cookie| !cookies.contains(cookie))
            .copied()
            .collect();
        let mut differs = !gone.is_empty();
        for cookie in gone {
            if let Some(listener) = self.known.remove(&cookie) {
                (self.sink)(ListenEvent::Closed(listener));
            }
        }
        let new: Vec<Listener> = (found.into_iter())
            .filter(|listener| !self.known.contains_key(&listener.cookie))
            .collect();
        let inodes: BTreeSet<u32> = new.iter().map(|listener| listener.inode).collect();
        let owners = owners::find(&inodes);
        for mut listener in new {
            differs = true;
            if self.known.len() >= LIMIT {
                count(&self.counters.too_many);
                continue;
            }
            listener.owners = owners.of.get(&listener.inode).cloned().unwrap_or_default();
            // Whose it is can be said only by who sees everybody.
            listener.system = owners.complete && listener.owners.is_empty();
            let listener = Arc::new(listener);
            self.known.insert(listener.cookie, Arc::clone(&listener));
            (self.sink)(ListenEvent::Opened(listener));
        }
        differs
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
