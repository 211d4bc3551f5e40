//! The pure engine of Arrival: which service runs for which interface, and who is told of it.
//!
//! It does no input or output and reads no clock. What happens comes in as [`Event`]s and
//! [`Request`](api::Request)s, what must be done goes out as [`Effect`]s, and the result of an effect comes back
//! as an event. So the whole behaviour can be driven by tests, explored exhaustively and replayed.
//!
//! | module | owns |
//! |---|---|
//! | [`api`] | events, requests, effects, refusals |
//! | `machine` | the state machine of a run: the table, and the code that follows it |
//! | `ends` | what follows the end of a run |
//! | `arrivals` | what an arrival and a removal mean to services |
//! | `interfaces` | the table of present interfaces |
//! | `index` | from an interface to the triggers that it could fire |
//! | `definitions` | definitions that come, change and go |
//! | `signals` | levels and edges that are no devices: addresses, ports, events and so on |
//! | `instance` | an instance, its run, its host |
//! | `requests` | admission, and what each request does |
//! | `sessions` | subscriptions: a snapshot, then every change |
//! | `asks` | questions to a service's session |
//! | `saved` | what survives a restart of the manager |
//! | `timers` | deadlines |
//! | `canonical` | equal situations as equal states, for exploring them all |
//! | [`view`] | what `status`, `devices` and `why` show |
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arrival_model::cursor::Cursor;
use arrival_model::definition::ServiceName;
use arrival_model::time::Time;
use arrival_model::trigger::{Level, PolicyKind};

use api::{AskId, Effect, Event, HostId, RunId, SessionId, Settings, Ticket};
use index::{Index, Slot};
use instance::{Host, Instance, Instances};
use interfaces::{Interfaces, Number};
use sessions::Session;
use signals::{LevelEntry, PolicyEntry};
use timers::{Timer, Timers};

pub mod api;
mod arrivals;
mod asks;
mod canonical;
mod definitions;
mod ends;
mod index;
mod instance;
mod interfaces;
mod machine;
mod requests;
mod saved;
mod sessions;
mod signals;
mod timers;
pub mod view;

pub use saved::{RememberedHost, Restored};

/// The engine; see the crate's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Engine {
    settings: Settings,
    epoch: u64,
    /// How many changes have been published in this epoch.
    n: u64,
    /// The next id of a run, a host, an interface entry or a question.
    next_id: u64,
    interfaces: Interfaces,
    index: Index,
    instances: Instances,
    names: BTreeMap<String, Slot>,
    hosts: BTreeMap<HostId, Host>,
    sessions: BTreeMap<SessionId, Session>,
    asks: BTreeMap<AskId, asks::Question>,
    levels: BTreeMap<Level, LevelEntry>,
    policies: BTreeMap<PolicyKind, PolicyEntry>,
    timers: Timers,
    /// Requests to enable or disable that the store is writing.
    saving: BTreeMap<Ticket, SessionId>,
    /// Whether all definitions have been told.
    loaded: bool,
    /// Whether the first snapshot has been told; nothing is started before it by itself.
    synced: bool,
    /// Whether the services that start with the manager were started in this boot.
    booted: bool,
    /// Which source's overrun has been told while its snapshot has not come.
    overrun: Option<&'static str>,
    shutdown: Option<requests::Shutdown>,
    /// Effects of the call that is being handled, before what they need is persisted.
    pending: VecDeque<Effect>,
    effects: VecDeque<Effect>,
    dirty: BTreeSet<Dirty>,
    /// Services whose records are to be deleted, by folded name.
    forgotten: BTreeSet<String>,
    counters: Counters,
}

/// A record of the state file that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Dirty {
    /// The cursor or another number that no other record speaks of; it is written with each.
    Engine,
    Definition(Slot),
    Life(Slot),
    Host(HostId),
    Interface(Number),
    Level(Number),
    Policy(PolicyKind),
}

/// What the engine has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// How often a subscriber that did not read lost its records.
    pub subscriber_overruns: u64,
    /// How often a source lost events and was read again.
    pub resyncs: u64,
}

impl Engine {
    /// An engine that remembers nothing.
    pub fn new(settings: Settings) -> Engine {
        Engine {
            epoch: settings.epoch,
            settings,
            n: 0,
            next_id: 1,
            interfaces: Interfaces::default(),
            index: Index::default(),
            instances: Instances::default(),
            names: BTreeMap::new(),
            hosts: BTreeMap::new(),
            sessions: BTreeMap::new(),
            asks: BTreeMap::new(),
            levels: BTreeMap::new(),
            policies: BTreeMap::new(),
            timers: Timers::default(),
            saving: BTreeMap::new(),
            loaded: false,
            synced: false,
            booted: false,
            overrun: None,
            shutdown: None,
            pending: VecDeque::new(),
            effects: VecDeque::new(),
            dirty: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    /// Takes in what happened; it cannot fail, and a stale id changes nothing.
    pub fn handle_event(&mut self, now: Time, event: Event) {
        match event {
            Event::Defined {
                definition,
                enabled,
            } => self.defined(now, definition, enabled),
            Event::Undefined(name) => self.undefined(now, &name),
            Event::Loaded => self.all_loaded(now),
            Event::Present(interface) => self.present(now, interface),
            Event::Gone(key) => {
                if let Some(number) = self.interfaces.number(&key) {
                    self.gone(now, number);
                }
            }
            Event::Overrun { source } => self.source_overrun(now, source),
            Event::Snapshot(all) => self.snapshot(now, all),
            Event::Level { level, by } => self.level_told(now, &level, by),
            Event::Policy { kind, digest } => self.policy_told(now, kind, digest),
            Event::Happened(signal) => self.happened(now, &signal),
            Event::HostStarted {
                host,
                pid,
                start_time,
            } => {
                self.host_started(now, host, pid, start_time);
            }
            Event::HostFailed { host, error, code } => self.host_failed(now, host, error, code),
            Event::MainExited { host, exit } => self.main_exited(now, host, exit),
            Event::HostEmpty { host } => self.host_empty(now, host),
            Event::HostAdopted { host } => self.host_adopted(now, host),
            Event::HostLost { host } => self.host_lost(now, host),
            Event::Notified { host, notify } => self.notified(now, host, notify),
            Event::SessionOpened {
                session,
                peer,
                host,
            } => {
                self.session_opened(now, session, peer, host);
            }
            Event::SessionClosed(session) => self.session_closed(now, session),
            Event::EnabledSaved {
                ticket,
                service,
                enabled,
                error,
            } => {
                self.enabled_saved(now, ticket, &service, enabled, error);
            }
        }
        self.flush();
    }

    /// When [`Engine::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.timers.due(now) {
            match timer {
                Timer::Deadline(slot) => self.deadline_passed(now, slot),
                Timer::Linger(slot) => self.linger_passed(now, slot),
                Timer::Retry(slot) => self.retry_due(now, slot),
                Timer::Hold(slot) => self.hold_passed(now, slot),
                Timer::Ask(ask) => self.ask_expired(now, ask),
                Timer::Gone(level) => self.gone_for_long(now, level),
            }
        }
        self.flush();
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The position of the last published change.
    pub fn cursor(&self) -> Cursor {
        Cursor {
            epoch: self.epoch,
            n: self.n,
        }
    }

    /// What the engine has counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The service of this name, in whatever case it is written.
    pub fn find(&self, name: &str) -> Option<ServiceName> {
        let slot = *self.names.get(&name.to_ascii_lowercase())?;
        Some(self.instance(slot)?.definition.name.clone())
    }

    fn slot(&self, name: &ServiceName) -> Option<Slot> {
        self.names.get(&name.folded()).copied()
    }

    fn instance(&self, slot: Slot) -> Option<&Instance> {
        self.instances.get(slot)
    }

    fn instance_mut(&mut self, slot: Slot) -> Option<&mut Instance> {
        self.instances.get_mut(slot)
    }

    fn slots(&self) -> Vec<Slot> {
        self.names.values().copied().collect()
    }

    fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn new_run_id(&mut self) -> RunId {
        RunId(self.new_id())
    }

    /// Hands the effects of a call out, behind what they need to be persisted.
    fn flush(&mut self) {
        if !self.dirty.is_empty() || !self.forgotten.is_empty() {
            let changes = self.changes();
            self.effects.push_back(Effect::Persist(changes));
        }
        self.effects.append(&mut self.pending);
    }
}
