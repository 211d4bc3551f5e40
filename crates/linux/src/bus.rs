//! The event bus: a socket at which providers write their events.
//!
//! ```text
//! a provider connects       refused without a word if there are too many, in all or of its user
//! registers a GUID          whoever owns the bus is asked; the answer is what is needed, or a reason
//! writes an event           counted; told if it passes a trigger's filter; without registration: garbage
//! says what it lost         counted
//! sends garbage             it is closed, and that is counted
//! does not read             what it should have been told is dropped; it learns the next change
//! ```
//!
//! Each connection has its turn after 64 frames. A slow owner holds up the thread, then the sockets fill,
//! and providers count what they cannot write: nothing is queued without a limit.
//!
//! Source: unix(7), SOCK_SEQPACKET.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrival_model::event::{Enabled, EventFilter};
use arrival_model::guid::Guid;
use arrival_model::trigger::CustomTrigger;
use arrival_wire::event::{FRAME_LIMIT, FromManager, FromProvider};
use rustix::event::EventfdFlags;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::host::notify::bind_file;
use crate::peer::Peer;
use crate::worker::{Rest, Woken, Worker};

/// How many frames of a connection are read before the next one has its turn.
const TURN: usize = 64;
/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;
/// The most providers that one connection registers.
const PROVIDERS: usize = 64;

/// What the bus is to do.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// The socket's path.
    pub path: PathBuf,
    /// The most connections; root's are never too many.
    pub connections: usize,
    /// The most connections of one user.
    pub per_user: usize,
}

impl BusConfig {
    /// The usual limits, at this path.
    pub fn at(path: PathBuf) -> Self {
        BusConfig {
            path,
            connections: 256,
            per_user: 32,
        }
    }
}

/// What the bus tells.
#[derive(Debug)]
pub enum BusEvent {
    /// A connection wants to write a provider's events; [`EventBus::answer`] says whether it may.
    Register {
        /// Which connection.
        connection: u64,
        /// Whose events.
        provider: Guid,
        /// Who it is.
        peer: Arc<Peer>,
    },
    /// An event passed this trigger's filter.
    Passed(Arc<CustomTrigger>),
}

/// What the bus has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusCounters {
    /// Events that were written.
    pub events: u64,
    /// Events that passed a filter.
    pub passed: u64,
    /// Events that providers could not write.
    pub lost: u64,
    /// Connections that were too many.
    pub refused: u64,
    /// Registrations that were not allowed.
    pub denied: u64,
    /// Connections that were closed for what they sent.
    pub garbage: u64,
    /// Connections that there are.
    pub connections: u64,
}

#[derive(Debug, Default)]
struct Atomics {
    events: AtomicU64,
    passed: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    denied: AtomicU64,
    garbage: AtomicU64,
    connections: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[derive(Debug)]
enum Order {
    Filters(Vec<Arc<CustomTrigger>>),
    Answer {
        connection: u64,
        provider: Guid,
        allowed: Result<(), String>,
    },
}

#[derive(Debug)]
struct Shared {
    orders: Mutex<Vec<Order>>,
    /// Rings when there are orders.
    bell: OwnedFd,
    counters: Atomics,
}

/// A running bus; dropping it ends it, and its connections.
#[derive(Debug)]
pub struct EventBus {
    shared: Arc<Shared>,
    path: PathBuf,
    _worker: Worker,
}

impl EventBus {
    /// Listens, and starts a thread, which alone calls the sink.
    ///
    /// # Errors
    ///
    /// Those of bind(2) and of starting a thread.
    pub fn start(
        config: BusConfig,
        sink: impl FnMut(BusEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        bind_file(&listener, &config.path, 0o666)?;
        rustix::net::listen(&listener, BACKLOG)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let shared = Arc::new(Shared {
            orders: Mutex::default(),
            bell: rustix::event::eventfd(0, flags)?,
            counters: Atomics::default(),
        });
        let path = config.path.clone();
        let mut server = Server {
            config,
            listener,
            shared: Arc::clone(&shared),
            connections: BTreeMap::new(),
            next: 0,
            filters: BTreeMap::new(),
            sink: Box::new(sink),
            buffer: vec![0; FRAME_LIMIT + 1],
        };
        let worker = Worker::start("arrival-events", move |rest| server.run(rest))?;
        Ok(EventBus {
            shared,
            path,
            _worker: worker,
        })
    }

    /// Which events are told: those that pass the filter of any of these triggers.
    pub fn set_filters(&self, triggers: Vec<Arc<CustomTrigger>>) {
        self.order(Order::Filters(triggers));
    }

    /// Whether a connection may write the events of a provider, or why not.
    pub fn answer(&self, connection: u64, provider: Guid, allowed: Result<(), String>) {
        self.order(Order::Answer {
            connection,
            provider,
            allowed,
        });
    }

    fn order(&self, order: Order) {
        let mut orders = lock(&self.shared.orders);
        orders.push(order);
        drop(orders);
        // The counter can only be full if it rings already.
        let _ = rustix::io::write(&self.shared.bell, &1_u64.to_ne_bytes());
    }

    /// What the bus has counted so far.
    pub fn counters(&self) -> BusCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        BusCounters {
            events: of(&counters.events),
            passed: of(&counters.passed),
            lost: of(&counters.lost),
            refused: of(&counters.refused),
            denied: of(&counters.denied),
            garbage: of(&counters.garbage),
            connections: of(&counters.connections),
        }
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for EventBus {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    socket: OwnedFd,
    peer: Arc<Peer>,
    /// The providers that it may write, or has asked for.
    providers: BTreeMap<Guid, bool>,
}

struct Server {
    config: BusConfig,
    listener: OwnedFd,
    shared: Arc<Shared>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    filters: BTreeMap<Guid, Vec<(Arc<CustomTrigger>, EventFilter)>>,
    sink: Box<dyn FnMut(BusEvent) + Send>,
    buffer: Vec<u8>,
}

impl Server {
    fn run(&mut self, rest: &Rest) {
        loop {
            let ids: Vec<u64> = self.connections.keys().copied().collect();
            let sockets = self.connections.values().map(|one| one.socket.as_fd());
            let own = [self.shared.bell.as_fd(), self.listener.as_fd()];
            let waited: Vec<BorrowedFd<'_>> = own.into_iter().chain(sockets).collect();
            let ready = match rest.wait(&waited, None) {
                Woken::End => return,
                Woken::Late => continue,
                Woken::Ready(ready) => ready,
            };
            for place in ready {
                match place {
                    0 => self.carry_out(),
                    1 => self.accept(),
                    more => {
                        if let Some(id) = ids.get(more - 2) {
                            self.read(*id);
                        }
                    }
                }
            }
        }
    }

    fn carry_out(&mut self) {
        let mut ring = [0; 8];
        let _ = rustix::io::read(&self.shared.bell, &mut ring);
        let orders = std::mem::take(&mut *lock(&self.shared.orders));
        for order in orders {
            match order {
                Order::Filters(triggers) => self.set_filters(triggers),
                Order::Answer {
                    connection,
                    provider,
                    allowed,
                } => self.answer(connection, provider, allowed),
            }
        }
    }

    fn set_filters(&mut self, triggers: Vec<Arc<CustomTrigger>>) {
        let mut changed: BTreeSet<Guid> = self.filters.keys().copied().collect();
        let before: BTreeMap<Guid, Enabled> = changed
            .iter()
            .map(|guid| (*guid, self.enabled(*guid)))
            .collect();
        self.filters.clear();
        for trigger in triggers {
            changed.insert(trigger.provider);
            let filter = EventFilter::from_items(&trigger.items);
            let own = self.filters.entry(trigger.provider).or_default();
            own.push((trigger, filter));
        }
        for provider in changed {
            let enabled = self.enabled(provider);
            if before.get(&provider).copied().unwrap_or_default() == enabled {
                continue;
            }
            let bytes = FromManager::Enabled { provider, enabled }.to_bytes();
            for connection in self.connections.values() {
                if connection.providers.get(&provider) == Some(&true) {
                    connection.tell(&bytes);
                }
            }
        }
    }

    /// What is needed of a provider.
    fn enabled(&self, provider: Guid) -> Enabled {
        let filters = self.filters.get(&provider).into_iter().flatten();
        filters.fold(Enabled::default(), |all, (_, filter)| {
            all.and(filter.enabled())
        })
    }

    fn answer(&mut self, connection: u64, provider: Guid, allowed: Result<(), String>) {
        let enabled = self.enabled(provider);
        let Some(connection) = self.connections.get_mut(&connection) else {
            return;
        };
        let frame = match allowed {
            Ok(()) => {
                connection.providers.insert(provider, true);
                FromManager::Enabled { provider, enabled }
            }
            Err(reason) => {
                connection.providers.remove(&provider);
                add(&self.shared.counters.denied, 1);
                FromManager::Refused { provider, reason }
            }
        };
        connection.tell(&frame.to_bytes());
    }

    fn accept(&mut self) {
        for _ in 0..TURN {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let Ok(socket) = rustix::net::accept_with(&self.listener, flags) else {
                return;
            };
            let Ok(peer) = Peer::of(socket.as_fd()) else {
                continue;
            };
            let of_user = self
                .connections
                .values()
                .filter(|one| one.peer.uid == peer.uid);
            // Nobody else's connections may keep root out.
            let too_many = peer.uid != 0
                && (self.connections.len() >= self.config.connections
                    || of_user.count() >= self.config.per_user);
            if too_many {
                add(&self.shared.counters.refused, 1);
                continue;
            }
            let connection = Connection {
                socket,
                peer: Arc::new(peer),
                providers: BTreeMap::new(),
            };
            self.next += 1;
            self.connections.insert(self.next, connection);
            add(&self.shared.counters.connections, 1);
        }
    }

    fn read(&mut self, id: u64) {
        for _ in 0..TURN {
            let Some(connection) = self.connections.get_mut(&id) else {
                return;
            };
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let received = rustix::net::recv(&connection.socket, self.buffer.as_mut_slice(), flags);
            let length = match received {
                Ok((_, 0)) => return self.close(id, false),
                Ok((_, length)) => length,
                Err(rustix::io::Errno::AGAIN) => return,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return self.close(id, false),
            };
            // Nothing of a frame that did not fit counts.
            let Some(bytes) = self.buffer.get(..length).filter(|_| length <= FRAME_LIMIT) else {
                return self.close(id, true);
            };
            let counters = &self.shared.counters;
            match FromProvider::read(bytes) {
                Ok(FromProvider::Write(event))
                    if connection.providers.get(&event.provider) == Some(&true) =>
                {
                    add(&counters.events, 1);
                    for (trigger, filter) in self.filters.get(&event.provider).into_iter().flatten()
                    {
                        if filter.passes(&event.head, event.payload) {
                            add(&counters.passed, 1);
                            (self.sink)(BusEvent::Passed(Arc::clone(trigger)));
                        }
                    }
                }
                Ok(FromProvider::Register(provider))
                    if connection.providers.len() < PROVIDERS
                        && !connection.providers.contains_key(&provider) =>
                {
                    connection.providers.insert(provider, false);
                    let peer = Arc::clone(&connection.peer);
                    (self.sink)(BusEvent::Register {
                        connection: id,
                        provider,
                        peer,
                    });
                }
                Ok(FromProvider::Lost { provider, count })
                    if connection.providers.contains_key(&provider) =>
                {
                    add(&counters.lost, count);
                }
                // What is not registered, or not yet, is as little of use as what is no frame.
                Ok(_) | Err(_) => return self.close(id, true),
            }
        }
    }

    fn close(&mut self, id: u64, garbage: bool) {
        if self.connections.remove(&id).is_some() {
            self.shared
                .counters
                .connections
                .fetch_sub(1, Ordering::Relaxed);
            add(&self.shared.counters.garbage, u64::from(garbage));
        }
    }
}

impl Connection {
    /// Sends a frame, unless the provider does not read.
    fn tell(&self, bytes: &[u8]) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let _ = rustix::net::send(&self.socket, bytes, flags);
    }
}

#[cfg(test)]
#[path = "bus_tests.rs"]
mod tests;
