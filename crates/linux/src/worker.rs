//! A source's one thread, and how it is told to end.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};

/// How long the end of a source waits for its thread, which a sink may hold up.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that ends when this is dropped.
pub(crate) struct Worker {
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

/// What a source's thread waits with.
#[derive(Debug)]
pub(crate) struct Rest {
    wake: Arc<OwnedFd>,
}

/// What a thread that waited woke up for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// The source ends.
    End,
    /// These descriptors, by their places, have something.
    Ready(Vec<usize>),
    /// Nothing happened in time.
    Late,
}

impl Worker {
    /// Starts a thread.
    ///
    /// # Errors
    ///
    /// Those of eventfd(2) and of starting a thread.
    pub(crate) fn start(
        name: &str,
        run: impl FnOnce(&Rest) + Send + 'static,
    ) -> io::Result<Worker> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = Arc::new(rustix::event::eventfd(0, flags)?);
        let rest = Rest {
            wake: Arc::clone(&wake),
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&rest))?;
        Ok(Worker {
            wake,
            thread: Some(thread),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The counter can only be full if it was told before.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        let Some(thread) = self.thread.take() else {
            return;
        };
        let deadline = Instant::now() + PATIENCE;
        while !thread.is_finished() {
            if Instant::now() >= deadline {
                // It hangs in its sink, and ends when it comes back.
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // A panic has been reported by the panic hook.
        let _ = thread.join();
    }
}

impl Rest {
    /// Waits until a descriptor can be read, the time has passed or the source ends.
    pub(crate) fn wait(&self, descriptors: &[BorrowedFd<'_>], patience: Option<Duration>) -> Woken {
        let deadline = patience.map(|patience| Instant::now() + patience);
        loop {
            let mut polled = vec![PollFd::new(&*self.wake, PollFlags::IN)];
            polled.extend(
                descriptors
                    .iter()
                    .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN)),
            );
            let left = deadline.map(|deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                Timespec {
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                }
            });
            match poll(&mut polled, left.as_ref()) {
                Ok(0) => return Woken::Late,
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                // Nothing that could be waited for is left.
                Err(_) => return Woken::End,
            }
            let mut polled = polled.iter().map(|one| !one.revents().is_empty());
            if polled.next() == Some(true) {
                return Woken::End;
            }
            let ready = (0..).zip(polled).filter(|(_, has)| *has);
            return Woken::Ready(ready.map(|(place, _)| place).collect());
        }
    }
}
