//! Threads that start programs: executing one blocks whoever asks for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use arrival_engine::api::{HostId, Spawn};
use arrival_linux::host::{self, Child, Containment, HostRecord, Passed};
use tokio::sync::mpsc::UnboundedSender;

use crate::boundary::boundary;
use crate::outcome::Outcome;
use crate::program::{Failure, Surroundings, prepare};

/// The most threads: a program on a slow disk must not delay the others.
const MOST: usize = 8;
/// How many stay when there is nothing to do.
const STAY: usize = 1;
/// Enough to prepare a program; the child has a stack of its own.
const STACK: usize = 256 * 1024;

/// A program to start.
#[derive(Debug)]
struct Order {
    record: HostRecord,
    spawn: Spawn,
    listen: Vec<Passed>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Started {
    /// The host.
    pub(crate) host: HostId,
    /// Its main process, not yet watched.
    pub(crate) result: Result<Child, Failure>,
}

#[derive(Debug, Default)]
struct Work {
    orders: VecDeque<Order>,
    threads: usize,
    idle: usize,
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    work: Mutex<Work>,
    to_do: Condvar,
    containment: Containment,
    surroundings: Arc<Surroundings>,
    outcomes: UnboundedSender<Outcome>,
}

/// The threads; dropping it lets them end.
#[derive(Debug)]
pub(crate) struct Spawner {
    shared: Arc<Shared>,
}

impl Spawner {
    pub(crate) fn new(
        containment: Containment,
        surroundings: Arc<Surroundings>,
        outcomes: UnboundedSender<Outcome>,
    ) -> Self {
        let spawner = Spawner {
            shared: Arc::new(Shared {
                work: Mutex::default(),
                to_do: Condvar::new(),
                containment,
                surroundings,
                outcomes,
            }),
        };
        // The first start should not pay for a thread.
        let mut work = lock(&spawner.shared.work);
        spawner.add_thread(&mut work);
        drop(work);
        spawner
    }

    /// Starts a program; its [`Started`] follows. The orders are bounded by the number of services.
    pub(crate) fn start(&self, record: HostRecord, spawn: Spawn, listen: Vec<Passed>) {
        let mut work = lock(&self.shared.work);
        work.orders.push_back(Order {
            record,
            spawn,
            listen,
        });
        if work.idle < work.orders.len() && work.threads < MOST {
            self.add_thread(&mut work);
        }
        drop(work);
        self.shared.to_do.notify_one();
    }

    fn add_thread(&self, work: &mut Work) {
        let shared = Arc::clone(&self.shared);
        let made = thread::Builder::new()
            .name("arrival-spawn".to_owned())
            .stack_size(STACK)
            .spawn(move || shared.serve());
        match made {
            Ok(_) => work.threads += 1,
            Err(error) if work.threads == 0 => {
                // With no thread at all every order fails at once, and the failure policy tries again.
                let error = format!("cannot make a thread: {error}");
                tracing::error!("{error}");
                for order in work.orders.drain(..) {
                    let code = arrival_model::error::Win32Error::GEN_FAILURE;
                    let failure = Failure {
                        error: error.clone(),
                        code,
                    };
                    self.shared.tell(order.spawn.host, Err(failure));
                }
            }
            Err(error) => tracing::warn!("cannot make another thread: {error}"),
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        lock(&self.shared.work).ended = true;
        self.shared.to_do.notify_all();
    }
}

impl Shared {
    fn serve(&self) {
        let mut work = lock(&self.work);
        loop {
            if let Some(order) = work.orders.pop_front() {
                drop(work);
                self.carry_out(order);
                work = lock(&self.work);
            } else if work.ended || work.idle >= STAY {
                work.threads -= 1;
                return;
            } else {
                work.idle += 1;
                work = self
                    .to_do
                    .wait(work)
                    .unwrap_or_else(PoisonError::into_inner);
                work.idle -= 1;
            }
        }
    }

    fn carry_out(&self, order: Order) {
        let Order {
            record,
            spawn,
            listen,
        } = order;
        let host = spawn.host;
        // A panic must not cost a thread, nor leave the service between two states.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut spec = prepare(&self.surroundings, &record, &spawn)?;
            spec.listen = listen;
            boundary("before the clone");
            let child = host::spawn(&self.containment, record, spec)?;
            boundary("behind the clone");
            Ok(child)
        }));
        let result = done.unwrap_or_else(|_| {
            Err(Failure {
                error: "an internal error while it was being started".to_owned(),
                code: arrival_model::error::Win32Error::GEN_FAILURE,
            })
        });
        self.tell(host, result);
    }

    fn tell(&self, host: HostId, result: Result<Child, Failure>) {
        // Nobody listens any more when the daemon ends; the next one adopts the child.
        let _ = self
            .outcomes
            .send(Outcome::Started(Box::new(Started { host, result })));
    }
}

fn lock(work: &Mutex<Work>) -> std::sync::MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}
