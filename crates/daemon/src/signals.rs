//! The sources of what triggers wait for beside devices, each running while a definition needs it.
//!
//! | source | tells | runs while a trigger waits for |
//! |---|---|---|
//! | network | the usable addresses | an address |
//! | ports | sockets that listen | a port |
//! | domain | the membership of a domain | joining or leaving |
//! | policy | digests of machine and user policy | policy |
//! | events | custom events that pass a filter | always: providers register before anybody waits |
//! | pipes | that a client waits | a pipe |
//!
//! A source that cannot run says why, in the log and in `arrival sources`; the triggers that need it
//! wait in vain, and the others do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrival_engine::api::Event;
use arrival_linux::bus::{BusConfig, BusEvent, EventBus};
use arrival_linux::files::membership::{self, Membership, MembershipConfig};
use arrival_linux::files::policy::{self, Policy, PolicyConfig};
use arrival_linux::files::{FileEvent, FileSource};
use arrival_linux::listen::{ListenConfig, ListenEvent, ListenSource};
use arrival_linux::network::{NetworkConfig, NetworkEvent, NetworkSource};
use arrival_linux::peer::Peer;
use arrival_model::guid::Guid;
use arrival_model::pipe::PipeName;
use arrival_model::port::PortMatch;
use arrival_model::state::HeldBack;
use arrival_model::trigger::{Cause, CustomTrigger, Level, PolicyKind, Signal};
use arrival_store::layout::Layout;
use arrival_wire::api::daemon::Source;
use tokio::sync::mpsc::Sender;

use crate::core::Core;
use crate::pipes::{Pipes, Wish};
use crate::ports::{Levels, Ports};

/// How many of the sources' reports may wait.
pub(crate) const REPORTS: usize = 1024;

/// What a source tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// Addresses.
    Network(NetworkEvent),
    /// Sockets that listen.
    Listen(ListenEvent),
    /// The domain.
    Domain(FileEvent<Option<Membership>>),
    /// Policy.
    Policy(FileEvent<Policy>),
    /// The event bus.
    Bus(BusEvent),
    /// A client waits at a pipe.
    Pipe(PipeName),
}

/// A source that runs, does not, or cannot.
#[derive(Debug)]
pub(crate) enum Running<S> {
    /// Nobody needs it.
    Off,
    /// It runs.
    On(S),
    /// It cannot run, and why.
    Failed(String),
}

impl<S> Running<S> {
    /// Starts or ends the source, as it is needed.
    fn attune(&mut self, name: &str, needed: bool, start: impl FnOnce() -> Result<S, String>) {
        match (&self, needed) {
            (Running::On(_), true) | (Running::Off, false) => {}
            (Running::On(_) | Running::Failed(_), false) => *self = Running::Off,
            (Running::Off | Running::Failed(_), true) => {
                let before = match self {
                    Running::Failed(error) => Some(std::mem::take(error)),
                    Running::Off | Running::On(_) => None,
                };
                *self = match start() {
                    Ok(source) => Running::On(source),
                    Err(error) => {
                        if before.as_ref() != Some(&error) {
                            tracing::error!("{name}: {error}");
                        }
                        Running::Failed(error)
                    }
                };
            }
        }
    }
}

/// All sources but that of devices.
#[derive(Debug)]
pub(crate) struct SignalSources {
    told: Sender<Told>,
    network: Running<NetworkSource>,
    listen: Running<ListenSource>,
    ports: Ports,
    domain: Running<FileSource>,
    policy: Running<FileSource>,
    events: Running<EventBus>,
    events_path: std::path::PathBuf,
    /// Providers that may come from a host that is being started.
    undecided: Vec<(u64, Guid, Arc<Peer>)>,
    /// The triggers whose filters the bus has.
    filters: Vec<CustomTrigger>,
    /// What each source told last, while it runs.
    last_network: Option<Option<String>>,
    last_domain: Option<Option<String>>,
    last_policy: Option<Policy>,
    /// What cannot be read or understood, by source.
    troubles: BTreeMap<&'static str, String>,
    pub(crate) pipes: Pipes,
}

impl SignalSources {
    pub(crate) fn new(layout: &Layout, told: Sender<Told>) -> Self {
        SignalSources {
            network: Running::Off,
            listen: Running::Off,
            ports: Ports::default(),
            domain: Running::Off,
            policy: Running::Off,
            events: Running::Off,
            events_path: layout.events_socket(),
            undecided: Vec::new(),
            filters: Vec::new(),
            last_network: None,
            last_domain: None,
            last_policy: None,
            troubles: BTreeMap::new(),
            pipes: Pipes::new(layout.pipes(), told.clone()),
            told,
        }
    }
}

impl Core {
    /// Runs the sources that the definitions need, and holds the pipes that they serve.
    pub(crate) fn attune(&mut self) {
        let (mut network, mut domain, mut policy) = (false, false, false);
        let mut ports = Vec::new();
        for signal in self.engine.signals() {
            match signal {
                Signal::Side(Level::Network, _) => network = true,
                Signal::Side(Level::Domain, _) => domain = true,
                Signal::Policy(_) => policy = true,
                Signal::Side(Level::Port(port), _) => ports.push(port.clone()),
                Signal::Pipe(_) | Signal::Rpc(_) | Signal::Custom(_) => {}
            }
        }
        let link_local = self.settings.link_local;
        let told = self.signals.told.clone();
        self.signals.network.attune("addresses", network, || {
            let config = NetworkConfig {
                link_local,
                ..NetworkConfig::default()
            };
            NetworkSource::start(config, move |event| {
                // Nobody listens any more when the daemon ends.
                let _ = told.blocking_send(Told::Network(event));
            })
            .map_err(|error| error.to_string())
        });
        self.attune_ports(ports);
        let told = self.signals.told.clone();
        let root = self.settings.system_root.clone();
        self.signals.domain.attune("domain", domain, || {
            let config = MembershipConfig {
                root,
                ..MembershipConfig::default()
            };
            membership::start(config, move |event| {
                let _ = told.blocking_send(Told::Domain(event));
            })
            .map_err(|error| error.to_string())
        });
        let told = self.signals.told.clone();
        let root = self.settings.system_root.clone();
        self.signals.policy.attune("policy", policy, || {
            let config = PolicyConfig {
                root,
                ..PolicyConfig::default()
            };
            policy::start(config, move |event| {
                let _ = told.blocking_send(Told::Policy(event));
            })
            .map_err(|error| error.to_string())
        });
        self.attune_events();
        self.attune_pipes();
        self.tell_again();
    }

    /// Tells what the engine has forgotten and wants to know again: in one look at the files one
    /// definition may have ceased to wait for something and another have begun to.
    fn tell_again(&mut self) {
        if !matches!(self.signals.network, Running::On(_)) {
            self.signals.last_network = None;
        }
        if !matches!(self.signals.domain, Running::On(_)) {
            self.signals.last_domain = None;
        }
        if !matches!(self.signals.policy, Running::On(_)) {
            self.signals.last_policy = None;
        }
        let mut events = Vec::new();
        for signal in self.engine.signals() {
            match signal {
                Signal::Side(level, _) if self.engine.level(level).is_none() => {
                    let by = match level {
                        Level::Network => self.signals.last_network.clone(),
                        Level::Domain => self.signals.last_domain.clone(),
                        Level::Port(port) => {
                            let level = self.signals.ports.level(port);
                            level.map(|open| open.then(String::new))
                        }
                    };
                    let level = level.clone();
                    events.extend(by.map(|by| Event::Level { level, by }));
                }
                Signal::Policy(kind) if !self.engine.knows_policy(*kind) => {
                    let known = self.signals.last_policy.as_ref();
                    events.extend(known.map(|policy| Event::Policy {
                        kind: *kind,
                        digest: match kind {
                            PolicyKind::Machine => policy.machine.clone(),
                            PolicyKind::User => policy.user.clone(),
                        },
                    }));
                }
                Signal::Side(..)
                | Signal::Policy(_)
                | Signal::Pipe(_)
                | Signal::Rpc(_)
                | Signal::Custom(_) => {}
            }
        }
        for event in events {
            self.tell(event);
        }
    }

    /// Watches listening sockets for these.
    fn attune_ports(&mut self, wanted: Vec<PortMatch>) {
        let told = self.signals.told.clone();
        let was_on = matches!(self.signals.listen, Running::On(_));
        self.signals.listen.attune("ports", !wanted.is_empty(), || {
            let config = ListenConfig::default();
            let source = ListenSource::start(config, move |event| {
                // Nobody listens any more when the daemon ends.
                let _ = told.blocking_send(Told::Listen(event));
            })
            .map_err(|error| error.to_string())?;
            if let Some(why) = source.polling() {
                tracing::warn!("listening sockets are looked for every two seconds: {why}");
            }
            Ok(source)
        });
        if was_on != matches!(self.signals.listen, Running::On(_)) {
            self.signals.ports.clear();
        }
        let levels = self.signals.ports.want(wanted, &self.settings.dirs);
        self.tell_ports(levels);
    }

    fn tell_ports(&mut self, levels: Levels) {
        for (port, open) in levels {
            let by = open.then(String::new);
            let level = Level::Port(port);
            self.tell(Event::Level { level, by });
        }
    }

    fn told_of_socket(&mut self, event: ListenEvent) {
        let levels = match event {
            ListenEvent::Opened(listener) => {
                let hosts = self.hosts.get_ref();
                let hosts = listener
                    .owners
                    .iter()
                    .filter_map(|owner| hosts.host_of(owner.pid));
                let hosts: Vec<_> = hosts
                    .map(|host| arrival_engine::api::HostId(host.0))
                    .collect();
                let services = self.engine.services();
                let services = services
                    .filter(|view| view.host.is_some_and(|host| hosts.contains(&host)))
                    .map(|view| view.definition.name.to_string());
                let services = if hosts.is_empty() {
                    Vec::new()
                } else {
                    services.collect()
                };
                self.signals.ports.opened(listener, services)
            }
            ListenEvent::Closed(listener) => self.signals.ports.closed(listener.cookie),
            ListenEvent::Complete => self.signals.ports.completed(),
            ListenEvent::Overrun => {
                tracing::warn!("the kernel dropped messages about sockets; they were read again");
                return;
            }
        };
        self.tell_ports(levels);
    }

    /// Gives the event bus the filters of all triggers.
    fn attune_events(&mut self) {
        let told = self.signals.told.clone();
        let path = self.signals.events_path.clone();
        self.signals.events.attune("events", true, || {
            EventBus::start(BusConfig::at(path.clone()), move |event| {
                let _ = told.blocking_send(Told::Bus(event));
            })
            .map_err(|error| format!("cannot listen at {}: {error}", path.display()))
        });
        let filters = self.engine.signals().filter_map(|signal| match signal {
            Signal::Custom(custom) => Some(custom.clone()),
            Signal::Side(..) | Signal::Policy(_) | Signal::Pipe(_) | Signal::Rpc(_) => None,
        });
        let filters: Vec<CustomTrigger> = filters.collect();
        if let Running::On(bus) = &self.signals.events
            && filters != self.signals.filters
        {
            bus.set_filters(filters.iter().cloned().map(Arc::new).collect());
            self.signals.filters = filters;
        }
    }

    /// Answers a provider, unless it may come from a host that is being started.
    fn register(&mut self, connection: u64, provider: Guid, peer: Arc<Peer>) {
        let known = self.hosts.get_ref().host_of(peer.pid).is_some();
        if !known && peer.uid != 0 && self.may_be_starting(peer.pid) {
            // A connection has at most so many providers, and there are at most so many connections.
            self.signals.undecided.push((connection, provider, peer));
            return;
        }
        let allowed = self.may_publish(&peer, provider);
        if let Running::On(bus) = &self.signals.events {
            bus.answer(connection, provider, allowed);
        }
    }

    /// Answers those that had to wait for a host to be known.
    pub(crate) fn decide_providers(&mut self) {
        for (connection, provider, peer) in std::mem::take(&mut self.signals.undecided) {
            self.register(connection, provider, peer);
        }
    }

    /// Whether a process may publish under a GUID, or why not.
    pub(crate) fn may_publish(&self, peer: &Peer, guid: Guid) -> Result<(), String> {
        if peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        let host = self.hosts.get_ref().host_of(peer.pid);
        // The number could have become another process's, if that one has ended.
        let host = host.filter(|_| peer.is_alive());
        let provides = host.is_some_and(|host| {
            let host = arrival_engine::api::HostId(host.0);
            let mut services = self.engine.services();
            let own = services.find(|view| view.host == Some(host));
            own.is_some_and(|view| view.definition.provides.contains(&guid))
        });
        if provides {
            return Ok(());
        }
        Err(format!(
            "only root and services whose definition provides {guid} may publish it"
        ))
    }

    /// Holds the pipes of the services that may run.
    fn attune_pipes(&mut self) {
        let mut wanted: BTreeMap<PipeName, Wish> = BTreeMap::new();
        let mut given_up = Vec::new();
        let serves = |signal: &Signal| matches!(signal, Signal::Pipe(_));
        if self.engine.signals().any(serves) || self.signals.pipes.count() > 0 {
            for view in self.engine.services() {
                for trigger in &view.definition.triggers {
                    let Cause::Pipe { names, mode } = &trigger.cause else {
                        continue;
                    };
                    let served = view.run.is_some();
                    if !served && !view.enabled {
                        continue;
                    }
                    for name in names {
                        let wish = wanted.entry(name.clone()).or_insert(Wish {
                            mode: *mode,
                            served,
                        });
                        wish.served |= served;
                        if view.held_back == Some(HeldBack::GivenUp) {
                            given_up.push(name.clone());
                        }
                    }
                }
            }
        }
        for name in given_up {
            self.signals.pipes.refuse_waiting(&name);
        }
        self.signals.pipes.attune(&wanted);
    }

    /// Hands on what a source tells.
    pub(crate) fn told(&mut self, told: Told) {
        match told {
            Told::Bus(BusEvent::Passed(trigger)) => {
                let trigger = CustomTrigger::clone(&trigger);
                self.tell(Event::Happened(Signal::Custom(trigger)));
            }
            Told::Bus(BusEvent::Register {
                connection,
                provider,
                peer,
            }) => {
                self.register(connection, provider, peer);
            }
            Told::Network(NetworkEvent::Usable(addresses)) => {
                // Which address is there does not matter, only whether one is.
                let by = (!addresses.is_empty()).then(String::new);
                self.signals.last_network = Some(by.clone());
                let level = Level::Network;
                self.tell(Event::Level { level, by });
            }
            Told::Network(NetworkEvent::Overrun) => {
                tracing::warn!("the kernel dropped messages about addresses; they were read again");
            }
            Told::Listen(event) => self.told_of_socket(event),
            Told::Domain(event) => {
                if let Some(found) = self.file_event("domain", event) {
                    let by = found.map(|found| match found.sid {
                        Some(sid) => format!("{} {sid}", found.realm),
                        None => found.realm,
                    });
                    self.signals.last_domain = Some(by.clone());
                    let level = Level::Domain;
                    self.tell(Event::Level { level, by });
                }
            }
            Told::Policy(event) => {
                if let Some(policy) = self.file_event("policy", event) {
                    self.signals.last_policy = Some(policy.clone());
                    let Policy { machine, user } = policy;
                    for (kind, digest) in [(PolicyKind::Machine, machine), (PolicyKind::User, user)]
                    {
                        self.tell(Event::Policy { kind, digest });
                    }
                }
            }
            Told::Pipe(name) => self.tell(Event::Happened(Signal::Pipe(name))),
        }
    }

    /// What files say now, if that is what the event tells.
    fn file_event<T>(&mut self, source: &'static str, event: FileEvent<T>) -> Option<T> {
        match event {
            FileEvent::Now(found) => {
                self.signals.troubles.remove(source);
                return Some(found);
            }
            FileEvent::Trouble(trouble) => {
                tracing::error!("{source}: {trouble}");
                self.signals.troubles.insert(source, trouble);
            }
            FileEvent::Overrun => {
                tracing::warn!("{source}: the kernel dropped events; the files were read again");
            }
        }
        None
    }

    /// What the sources do, for `arrival sources`.
    pub(crate) fn sources(&self) -> Vec<Source> {
        let devices = self.devices.counters();
        let source = |name: &str, mechanism: &str| Source {
            name: name.to_owned(),
            mechanism: mechanism.to_owned(),
            state: "on".to_owned(),
            error: None,
            events: 0,
            losses: 0,
            reads: 0,
            detail: None,
        };
        let mut all = vec![Source {
            events: devices.events,
            losses: devices.overruns,
            reads: self.engine.counters().resyncs,
            detail: Some(format!("{} interfaces", self.engine.interfaces().count())),
            ..source("devices", "netlink uevents, sysfs")
        }];
        let mut network = source("network", "rtnetlink");
        state_of(&self.signals.network, &mut network);
        if let Running::On(running) = &self.signals.network {
            let counters = running.counters();
            network.events = counters.messages;
            network.losses = counters.overruns;
            network.reads = counters.reads;
        }
        all.push(network);
        let mut ports = source("ports", "tracepoints, sock_diag");
        state_of(&self.signals.listen, &mut ports);
        if let Running::On(running) = &self.signals.listen {
            let counters = running.counters();
            ports.events = counters.events;
            ports.losses = counters.overruns;
            ports.reads = counters.reads;
            ports.detail = Some(format!("{} sockets", self.signals.ports.count()));
            if let Some(why) = running.polling() {
                ports.mechanism = "sock_diag every 2 s".to_owned();
                ports.detail = Some(why.to_owned());
            }
        }
        all.push(ports);
        for (name, running) in [
            ("domain", &self.signals.domain),
            ("policy", &self.signals.policy),
        ] {
            let mut files = source(name, "inotify, files");
            state_of(running, &mut files);
            if let Running::On(running) = running {
                let counters = running.counters();
                files.events = counters.events;
                files.losses = counters.overruns;
                files.reads = counters.looks;
            }
            if let Some(trouble) = self.signals.troubles.get(name) {
                files.error = Some(trouble.clone());
            }
            if name == "domain" {
                let by = self.engine.level_by(&Level::Domain);
                files.detail = by.map(|by| format!("member of {by}"));
            }
            all.push(files);
        }
        let mut events = source("events", "Unix sequenced packets");
        state_of(&self.signals.events, &mut events);
        if let Running::On(bus) = &self.signals.events {
            let counters = bus.counters();
            events.events = counters.events;
            events.losses = counters.lost;
            events.detail = Some(format!(
                "{} passed, {} connections, {} denied, {} refused, {} garbled",
                counters.passed,
                counters.connections,
                counters.denied,
                counters.refused,
                counters.garbage
            ));
        }
        all.push(events);
        let pipes = &self.signals.pipes;
        let failed: Vec<&str> = pipes.failed.values().map(String::as_str).collect();
        all.push(Source {
            state: match (failed.is_empty(), pipes.count()) {
                (false, _) => "failed",
                (true, 0) => "off",
                (true, _) => "on",
            }
            .to_owned(),
            error: (!failed.is_empty()).then(|| failed.join("; ")),
            losses: pipes.refused,
            detail: (pipes.count() > 0).then(|| format!("{} held", pipes.count())),
            ..source("pipes", "listening Unix sockets")
        });
        all
    }
}

fn state_of<S>(running: &Running<S>, source: &mut Source) {
    source.state = match running {
        Running::Off => "off",
        Running::On(_) => "on",
        Running::Failed(_) => "failed",
    }
    .to_owned();
    if let Running::Failed(error) = running {
        source.error = Some(error.clone());
    }
}
