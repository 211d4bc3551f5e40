//! A sequence of steps, played to the engine and to the reference at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrival_engine::Engine;
use arrival_engine::api::*;
use arrival_model::cursor::Cursor;
use arrival_model::definition::{Definition, ServiceName};
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::interface::{Interface, InterfaceKey, Owner};
use arrival_model::state::{Accepts, ServiceState};
use arrival_model::time::Time;

use crate::reference::Truth;
use crate::steps::{DEVICES, Look, SERVICES, SUBSCRIBERS, Step, shows};
use crate::subscriber::Subscriber;
use crate::things::{definition, filter, interface, name, peer, place, settings};

const OPERATOR: SessionId = SessionId(1);

/// What is really the case with a service's process.
struct Host {
    id: HostId,
    runs: bool,
    exited: bool,
    session: Option<SessionId>,
}

pub(crate) struct Play {
    now: Time,
    engine: Engine,
    records: BTreeMap<String, String>,
    truth: Truth,
    incarnations: [u64; DEVICES],
    definitions: BTreeMap<usize, Arc<Definition>>,
    /// Services without a definition whose run goes on.
    leaving: BTreeSet<usize>,
    enabled: [bool; SERVICES],
    states: BTreeMap<String, ServiceState>,
    hosts: BTreeMap<usize, Host>,
    subscribers: [Option<Subscriber>; SUBSCRIBERS],
    tickets: BTreeMap<Ticket, SessionId>,
    asks: Vec<(SessionId, AskId)>,
    saving: Vec<(Ticket, ServiceName, bool)>,
    next: u64,
    ending: bool,
    /// All effects, for comparing two plays of the same steps.
    pub(crate) log: Vec<Effect>,
}

impl Play {
    pub(crate) fn new() -> Play {
        let mut play = Play {
            now: Time(1_000_000_000_000),
            engine: Engine::new(settings()),
            records: BTreeMap::new(),
            truth: Truth::default(),
            incarnations: [1; DEVICES],
            definitions: BTreeMap::new(),
            leaving: BTreeSet::new(),
            enabled: [true; SERVICES],
            states: BTreeMap::new(),
            hosts: BTreeMap::new(),
            subscribers: [const { None }; SUBSCRIBERS],
            tickets: BTreeMap::new(),
            asks: Vec::new(),
            saving: Vec::new(),
            next: 2,
            ending: false,
            log: Vec::new(),
        };
        play.open(OPERATOR, None);
        play
    }

    /// The manager has read its definitions and has seen the devices; there are none.
    pub(crate) fn loaded() -> Play {
        let mut play = Play::new();
        play.event(Event::Loaded);
        play.event(Event::Snapshot(Vec::new()));
        play
    }

    pub(crate) fn load(&mut self) {
        self.event(Event::Loaded);
    }

    pub(crate) fn lives(&self, service: usize) -> bool {
        self.hosts.contains_key(&service)
    }

    fn open(&mut self, session: SessionId, host: Option<HostId>) {
        let peer = peer();
        self.event(Event::SessionOpened {
            session,
            peer,
            host,
        });
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn event(&mut self, event: Event) {
        self.engine.handle_event(self.now, event);
        self.carry_out();
    }

    fn request(&mut self, session: SessionId, request: Request) -> Result<(), Denied> {
        let ticket = Ticket(self.fresh());
        self.tickets.insert(ticket, session);
        let before = self.engine.clone();
        let result = self
            .engine
            .handle_request(self.now, session, ticket, request);
        if let Err(denied) = &result {
            self.tickets.remove(&ticket);
            assert_eq!(before, self.engine, "'{denied}' changed something");
        }
        self.carry_out();
        result
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Present(device, look) => {
                let interface = self.look(device, look);
                self.truth.present(&interface);
                self.event(Event::Present(interface));
            }
            Step::Gone(device) => {
                let key = interface(device, self.incarnations[device], shows(0))
                    .key
                    .clone();
                self.truth.0.remove(&key);
                self.event(Event::Gone(key));
            }
            Step::GoneLate(device) => {
                // A program has no incarnation: its removal is never one of an earlier presence.
                if device < DEVICES - 1 {
                    let key = interface(device, 0, shows(0)).key.clone();
                    self.event(Event::Gone(key));
                }
            }
            Step::Resync(looks) => {
                self.event(Event::Overrun { source: "uevents" });
                let devices = looks.into_iter().enumerate().take(DEVICES - 1);
                let all: Vec<_> = devices
                    .filter_map(|(device, look)| Some(self.look(device, look?)))
                    .collect();
                self.truth.snapshot(&all);
                self.event(Event::Snapshot(all));
            }
            Step::Define(service, kind, enabled) => {
                let definition = Arc::new(definition(service, kind));
                self.enabled[service] = enabled;
                self.leaving.remove(&service);
                self.definitions.insert(service, Arc::clone(&definition));
                self.event(Event::Defined {
                    definition,
                    enabled,
                });
            }
            Step::Undefine(service) => {
                if self.definitions.contains_key(&service) {
                    self.leaving.insert(service);
                }
                self.event(Event::Undefined(name(service)));
            }
            Step::Subscribe(place, kind) => self.subscribe(place, filter(kind)),
            Step::Close(place) => {
                if let Some(subscriber) = self.subscribers[place].take() {
                    self.close(subscriber.session);
                }
            }
            Step::Take(place, count) => self.take(place, count),
            Step::Start(service, wait) => {
                let request = Request::Start {
                    service: name(service),
                    arguments: Vec::new(),
                    wait,
                };
                let _ = self.request(OPERATOR, request);
            }
            Step::Stop(service, wait) => {
                let service = name(service);
                let _ = self.request(OPERATOR, Request::Stop { service, wait });
            }
            Step::Enable(service, true) => {
                let _ = self.request(OPERATOR, Request::Enable(name(service)));
            }
            Step::Enable(service, false) => {
                let _ = self.request(OPERATOR, Request::Disable(name(service)));
            }
            Step::Saved(good) => self.saved(good),
            Step::Host(service, how) => self.host(service, how),
            Step::Notify(service, what) => self.notify(service, what),
            Step::Connect(service) => {
                let session = SessionId(self.fresh());
                if let Some(host) = self.hosts.get_mut(&service).filter(|host| host.runs) {
                    let old = host.session.replace(session);
                    let id = host.id;
                    if let Some(old) = old {
                        self.close(old);
                    }
                    self.open(session, Some(id));
                    self.request(session, Request::Subscribe(filter(0)))
                        .unwrap();
                }
            }
            Step::Hangup(service) => {
                let session = self.hosts.get_mut(&service).and_then(|h| h.session.take());
                if let Some(session) = session {
                    self.close(session);
                }
            }
            Step::TakeOwn(service) => {
                if let Some(session) = self.session_of(service) {
                    self.engine.take_notice(self.now, session);
                    self.carry_out();
                }
            }
            Step::Report(service, to, bits) => {
                let report = Report {
                    state: ServiceState::from_raw(u32::from(to)).unwrap(),
                    accepts: Accepts(u32::from(bits & 1) | u32::from(bits & 2) << 9),
                    checkpoint: u32::from(bits),
                    wait_hint: Duration::from_millis(u64::from(bits) * 100),
                    exit_code: Win32Error(u32::from(bits >> 7)),
                };
                if let Some(session) = self.session_of(service) {
                    let _ = self.request(session, Request::Report(report));
                }
            }
            Step::Answer(which, good) => {
                if !self.asks.is_empty() {
                    let which = usize::from(which) % self.asks.len();
                    let (session, ask) = self.asks.remove(which);
                    let code = if good {
                        Win32Error::SUCCESS
                    } else {
                        Win32Error::SHUTDOWN_IN_PROGRESS
                    };
                    let _ = self.request(session, Request::Answer { ask, code });
                }
            }
            Step::StopIfUnchanged(service, which) => {
                let Cursor { epoch, n } = self.engine.cursor();
                let cursor = match which {
                    0 => Cursor { epoch, n },
                    1 => Cursor { epoch, n: n / 2 },
                    2 => Cursor { epoch: 9, n },
                    _ => Cursor { epoch, n: u64::MAX },
                };
                if let Some(session) = self.session_of(service) {
                    let _ = self.request(session, Request::StopIfUnchanged(cursor));
                }
            }
            Step::Time(millis) => {
                self.now = self.now.after(Duration::from_millis(u64::from(millis)));
                self.run_timers();
            }
            Step::Timeout => {
                if let Some(due) = self.engine.poll_timeout() {
                    self.now = self.now.max(due);
                    self.run_timers();
                }
            }
            Step::Restart => self.restart(),
            Step::Shutdown => {
                let before = std::mem::replace(&mut self.ending, true);
                let admitted = self.request(OPERATOR, Request::Shutdown).is_ok();
                assert_eq!(admitted, !before);
            }
        }
        self.compare();
    }

    /// A device shows itself; a device that was replugged is another incarnation.
    fn look(&mut self, device: usize, look: Look) -> Arc<Interface> {
        if look.replugged {
            self.incarnations[device] = self.fresh();
        }
        interface(device, self.incarnations[device], look)
    }

    fn session_of(&self, service: usize) -> Option<SessionId> {
        self.hosts.get(&service)?.session
    }

    fn close(&mut self, session: SessionId) {
        self.tickets.retain(|_, owner| *owner != session);
        self.asks.retain(|(owner, _)| *owner != session);
        self.event(Event::SessionClosed(session));
    }

    fn subscribe(&mut self, place: usize, filter: Filter) {
        if let Some(old) = self.subscribers[place].take() {
            self.close(old.session);
        }
        let session = SessionId(self.fresh());
        self.open(session, None);
        self.subscribers[place] = Some(Subscriber::new(session, filter.clone()));
        self.request(session, Request::Subscribe(filter)).unwrap();
    }

    fn take(&mut self, place: usize, count: u8) {
        for _ in 0..count {
            let Some(subscriber) = &mut self.subscribers[place] else {
                return;
            };
            match self.engine.take_notice(self.now, subscriber.session) {
                Some(notice) => subscriber.hear(notice),
                None => {
                    subscriber.readable = false;
                    self.check_picture(place);
                    break;
                }
            }
        }
        self.carry_out();
    }

    /// A subscriber that has taken everything knows the truth.
    fn check_picture(&self, place: usize) {
        let Some(subscriber) = &self.subscribers[place] else {
            return;
        };
        assert!(subscriber.complete, "no snapshot");
        assert_eq!(
            subscriber.interfaces,
            self.truth.shown(&subscriber.filter),
            "a subscriber with {:?} believes otherwise",
            subscriber.filter
        );
        for view in self.engine.services().filter(|_| subscriber.filter.states) {
            let believed = subscriber.states.get(&view.definition.name.folded());
            assert_eq!(believed, Some(&view.state));
        }
    }

    fn saved(&mut self, good: bool) {
        let Some((ticket, service, enabled)) = self.saving.pop() else {
            return;
        };
        if good {
            self.enabled[place(&service)] = enabled;
        }
        self.event(Event::EnabledSaved {
            ticket,
            service,
            enabled,
            error: (!good).then(|| "the disk is full".to_owned()),
        });
    }

    fn host(&mut self, service: usize, how: u8) {
        let Some(host) = self.hosts.get_mut(&service) else {
            return;
        };
        let id = host.id;
        let event = match (host.runs, host.exited, how % 4) {
            (false, _, 0) => {
                self.hosts.remove(&service);
                Event::HostFailed {
                    host: id,
                    error: "no such file".to_owned(),
                    code: Win32Error::FILE_NOT_FOUND,
                }
            }
            (false, ..) => {
                host.runs = true;
                Event::HostStarted {
                    host: id,
                    pid: i32::from(how),
                    start_time: u64::from(how),
                }
            }
            (true, false, how) => {
                host.exited = true;
                let exit = match how {
                    0 => Exit::Code(0),
                    1 => Exit::Code(1),
                    _ => Exit::Signal(15),
                };
                Event::MainExited { host: id, exit }
            }
            (true, true, _) => {
                let session = host.session;
                self.hosts.remove(&service);
                if let Some(session) = session {
                    self.close(session);
                }
                Event::HostEmpty { host: id }
            }
        };
        self.event(event);
    }

    fn notify(&mut self, service: usize, what: u8) {
        let Some(host) = self
            .hosts
            .get(&service)
            .filter(|host| host.runs && !host.exited)
        else {
            return;
        };
        let notify = Notify {
            ready: what & 1 != 0,
            stopping: what & 2 != 0,
            status: (what & 4 != 0).then(|| "well".to_owned()),
            extend_timeout: (what & 8 != 0).then(|| Duration::from_secs(3)),
        };
        let host = host.id;
        self.event(Event::Notified { host, notify });
    }

    fn run_timers(&mut self) {
        self.engine.handle_timeout(self.now);
        let due = self.engine.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "a timer is still due");
        self.carry_out();
        // A question whose time is over has no answer any more; who answers late is refused.
    }

    fn restart(&mut self) {
        if self.ending {
            return;
        }
        let restored = Engine::restore(settings(), self.records.clone());
        assert!(restored.problems.is_empty(), "{:?}", restored.problems);
        self.engine = restored.engine;
        self.tickets.clear();
        self.asks.clear();
        self.saving.clear();
        self.subscribers = [const { None }; SUBSCRIBERS];
        self.open(OPERATOR, None);
        let known: BTreeSet<HostId> = (self.engine.remembered_hosts().iter())
            .map(|host| host.host)
            .collect();
        let live: BTreeSet<HostId> = self.hosts.values().map(|host| host.id).collect();
        assert_eq!(
            known, live,
            "the hosts that are looked for are those that live"
        );
        let services: Vec<usize> = self.hosts.keys().copied().collect();
        for service in services {
            let host = self.hosts.get_mut(&service).unwrap();
            host.session = None;
            let id = host.id;
            if host.runs {
                self.event(Event::HostAdopted { host: id });
            } else {
                self.hosts.remove(&service);
                self.event(Event::HostLost { host: id });
            }
        }
        let definitions = self.definitions.clone();
        for (service, definition) in definitions {
            if !self.leaving.contains(&service) {
                let enabled = self.enabled[service];
                self.event(Event::Defined {
                    definition,
                    enabled,
                });
            }
        }
        self.event(Event::Loaded);
        let programs =
            |interface: &&Arc<Interface>| matches!(interface.key.owner, Owner::Device { .. });
        let all: Vec<_> = (self.truth.0.values().map(|(interface, _)| interface))
            .filter(programs)
            .cloned()
            .collect();
        self.event(Event::Snapshot(all));
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            self.log.push(effect.clone());
            match effect {
                Effect::Persist(changes) => {
                    for Change { key, value } in changes {
                        match value {
                            Some(value) => self.records.insert(key, value),
                            None => self.records.remove(&key),
                        };
                    }
                }
                Effect::Spawn(spawn) => {
                    let service = place(&spawn.definition.name);
                    assert!(!self.ending, "started although everything is being stopped");
                    assert!(
                        self.enabled[service],
                        "{} is disabled",
                        spawn.definition.name
                    );
                    let host = Host {
                        id: spawn.host,
                        runs: false,
                        exited: false,
                        session: None,
                    };
                    let second = self.hosts.insert(service, host).is_some();
                    assert!(!second, "{} lives twice", spawn.definition.name);
                }
                Effect::Terminate { host } | Effect::Kill { host } => {
                    let there = self
                        .hosts
                        .values()
                        .any(|other| other.id == host && other.runs);
                    assert!(there, "a signal for {host:?}");
                }
                Effect::Ask { session, ask, .. } => {
                    let open = self
                        .hosts
                        .values()
                        .any(|host| host.session == Some(session));
                    assert!(open, "a question to {session:?}, which is closed");
                    self.asks.push((session, ask));
                }
                Effect::Reply {
                    session, ticket, ..
                } => {
                    let owner = self.tickets.remove(&ticket);
                    assert_eq!(owner, Some(session), "an unexpected reply to {ticket:?}");
                }
                Effect::Readable(session) => {
                    for subscriber in self.subscribers.iter_mut().flatten() {
                        subscriber.readable |= subscriber.session == session;
                    }
                }
                Effect::SaveEnabled {
                    ticket,
                    service,
                    enabled,
                } => self.saving.push((ticket, service, enabled)),
                Effect::StateChanged(change) => {
                    let new = change.state;
                    let old = self.states.insert(change.service.folded(), new);
                    let old = old.unwrap_or(ServiceState::Stopped);
                    let legal = old == new || old.may_become(new);
                    assert!(legal, "{} was {old} and became {new}", change.service);
                    let lives = self.hosts.contains_key(&place(&change.service));
                    let stopped = new == ServiceState::Stopped;
                    assert!(
                        !(stopped && lives),
                        "{} is STOPPED but lives",
                        change.service
                    );
                }
                Effect::ShutDown => assert!(self.ending && self.hosts.is_empty()),
            }
        }
    }

    /// Compares what the engine shows with the reference.
    fn compare(&mut self) {
        let shown: BTreeMap<InterfaceKey, Arc<Interface>> = (self.engine.interfaces())
            .map(|(interface, _)| (interface.key.clone(), Arc::clone(interface)))
            .collect();
        let there = self.truth.0.iter();
        let there = there.map(|(key, (interface, _))| (key.clone(), Arc::clone(interface)));
        assert_eq!(shown, there.collect(), "which interfaces are present");

        let hosts = &self.hosts;
        self.leaving.retain(|service| hosts.contains_key(service));
        let leaving = &self.leaving;
        let engine = &self.engine;
        self.definitions.retain(|service, _| {
            leaving.contains(service) || engine.service(&name(*service)).is_some()
        });
        let names: BTreeSet<usize> = engine
            .services()
            .map(|v| place(&v.definition.name))
            .collect();
        assert_eq!(names, self.definitions.keys().copied().collect());
        for (service, definition) in &self.definitions {
            let view = self.engine.service(&name(*service)).unwrap();
            assert_eq!(view.definition, definition);
            let wanted: BTreeSet<InterfaceKey> = view
                .interfaces
                .iter()
                .map(|interface| interface.key.clone())
                .collect();
            assert_eq!(
                wanted,
                self.truth.wanted(definition),
                "what {service} wants"
            );
            let host = self.hosts.get(service).map(|host| host.id);
            assert_eq!(view.host, host, "the host of {service}");
            assert_eq!(view.state == ServiceState::Stopped, host.is_none());
            assert_eq!(self.states.get(&name(*service).folded()), Some(&view.state));
        }
        for subscriber in self.subscribers.iter().flatten() {
            let mut engine = self.engine.clone();
            let more = engine.take_notice(self.now, subscriber.session);
            assert!(
                more.is_none() || subscriber.readable,
                "nobody said that {more:?} waits"
            );
        }
        let restored = Engine::restore(settings(), self.records.clone()).engine;
        let (known, restored) = (self.engine.remembered(), restored.remembered());
        if known != restored {
            let (known, restored) = (format!("{known:#?}"), format!("{restored:#?}"));
            let apart = (known.lines().zip(restored.lines())).filter(|(one, other)| one != other);
            let apart: Vec<_> = apart.take(8).collect();
            panic!("the state file lags behind: {apart:?}");
        }
    }

    /// Takes every open end to its end: all replies must have come then.
    pub(crate) fn finish(&mut self) {
        for place in 0..SUBSCRIBERS {
            self.take(place, u8::MAX);
        }
        for _ in 0..8 {
            for service in 0..SERVICES {
                if self.hosts.contains_key(&service) && !self.tickets.is_empty() {
                    self.host(service, 1);
                }
            }
        }
        while !self.saving.is_empty() {
            self.saved(true);
        }
        self.compare();
        assert_eq!(self.tickets, BTreeMap::new(), "requests without a reply");
    }
}
