//! The world around the engine: devices, processes, the state file, the operator.
//!
//! The world is what is really the case; the engine knows only what it is told. Records are taken
//! as written in the moment the engine hands them out: a crash before that is the same as the
//! event never having been handled.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrival_engine::Engine;
use arrival_engine::api::*;
use arrival_model::access::{AccessPolicy, Peer};
use arrival_model::definition::{Definition, Replug};
use arrival_model::guid::Guid;
use arrival_model::interface::{EnabledBy, Incarnation, Interface, InterfaceKey, Owner};
use arrival_model::state::ServiceState;
use arrival_model::time::Time;

use crate::oracle::{self, Facts, Happening};

pub(crate) const CLASS: Guid = Guid::from_u128(0xa);
pub(crate) const SERVICES: usize = 2;
pub(crate) const DEVICES: usize = 2;

/// How much may happen on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// All of the below together.
    pub(crate) total: u8,
    /// What devices do.
    pub(crate) device: u8,
    /// Ends, failures and delays of programs.
    pub(crate) fault: u8,
    /// What the operator does.
    pub(crate) operator: u8,
    /// Ends of the manager itself.
    pub(crate) restart: u8,
    /// Losses of events.
    pub(crate) overrun: u8,
}

/// A small world to explore.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// How many of the services there are.
    pub(crate) services: usize,
    pub(crate) definitions: [Arc<Definition>; SERVICES],
    /// Per service, the devices that its triggers want; said here again, for the oracle.
    pub(crate) wants: [&'static [usize]; SERVICES],
    /// Whether a service waits for a device to be usable; said here again, for the oracle.
    pub(crate) waits: [bool; SERVICES],
    /// Whether the main process of a service leaves children behind when it ends.
    pub(crate) leaves: [bool; SERVICES],
    /// Whether a service says when it is ready.
    pub(crate) notifies: [bool; SERVICES],
    pub(crate) budget: Budget,
}

/// What is really the case with a process tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// The order to start it is on its way.
    Spawning,
    Alive,
    /// The main process has ended, its children have not.
    Left,
    /// Killed; nobody noticed yet.
    Killed,
    /// Nothing is left of it, the manager knows of the main process only.
    Gone,
    /// It ended, or never began, while there was no manager.
    Lost,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) id: HostId,
    pub(crate) service: usize,
    pub(crate) phase: Phase,
    pub(crate) ready: bool,
    /// It got SIGTERM.
    pub(crate) terminated: bool,
    /// It took too long to start: it may be killed without being asked to end.
    pub(crate) overdue: bool,
    /// A new manager waits to hear whether it is alive.
    pub(crate) owed: bool,
}

/// How far a new manager is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Boot {
    NeedsDefinitions,
    NeedsSnapshot,
    Up,
}

/// A device: its incarnation, and whether its node is ready.
pub(crate) type Device = Option<(u64, bool)>;

/// What the oracle has to know of a service's past.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    pub(crate) enabled: bool,
    /// Something happened since the last start that may cause one more.
    pub(crate) cause: bool,
    /// What happened since the last arrival of each device.
    pub(crate) since: [BTreeSet<Happening>; DEVICES],
    pub(crate) touched: bool,
    pub(crate) given: Option<(usize, u64)>,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) engine: Engine,
    pub(crate) records: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    pub(crate) boot: Boot,
    /// Events of devices are being lost.
    pub(crate) deaf: bool,
    pub(crate) real: [Device; DEVICES],
    pub(crate) told: [Device; DEVICES],
    pub(crate) incarnations: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) stored: [bool; SERVICES],
    pub(crate) saving: Vec<(Ticket, usize, bool)>,
    pub(crate) tickets: BTreeSet<u64>,
    pub(crate) next_ticket: u64,
    pub(crate) session: u64,
    pub(crate) past: [Past; SERVICES],
    pub(crate) budget: Budget,
    /// The arrivals of the last step: service and device, in order.
    pub(crate) arrived: Vec<(usize, usize)>,
    /// How many signals the last step sends, and how many of them do not get through.
    pub(crate) signals: usize,
    pub(crate) signals_lost_after: usize,
    /// What the last step did, for people.
    pub(crate) told_effects: Vec<String>,
    pub(crate) verbose: bool,
}

pub(crate) fn settings() -> Settings {
    Settings {
        epoch: 1,
        queue_limit: 4,
        port_closed_after: std::time::Duration::from_secs(60),
        access: AccessPolicy {
            own_uid: 0,
            administrators: None,
        },
    }
}

pub(crate) fn key(device: usize, incarnation: u64) -> InterfaceKey {
    InterfaceKey {
        class: CLASS,
        owner: Owner::Device {
            devpath: format!("/devices/{device}"),
            incarnation: Incarnation {
                inode: incarnation,
                ..Incarnation::default()
            },
        },
        reference: String::new(),
    }
}

pub(crate) fn interface(device: usize, (incarnation, usable): (u64, bool)) -> Arc<Interface> {
    Arc::new(Interface {
        key: key(device, incarnation),
        link: format!("link{device}"),
        class_name: String::new(),
        node: None,
        name: String::new(),
        hardware_ids: vec![format!("ID{device}")],
        compatible_ids: Vec::new(),
        ancestor_ids: Vec::new(),
        enabled_by: EnabledBy::Kernel,
        node_links: Vec::new(),
        ce_name: None,
        usable,
    })
}

impl Past {
    pub(crate) fn note(&mut self, happening: Happening) {
        for since in &mut self.since {
            since.insert(happening);
        }
    }
}

impl World {
    pub(crate) fn new(scenario: &Scenario) -> Result<World, String> {
        let mut world = World {
            now: Time(1_000_000_000_000),
            engine: Engine::new(settings()),
            records: Arc::default(),
            boot: Boot::NeedsDefinitions,
            deaf: false,
            real: [None; DEVICES],
            told: [None; DEVICES],
            incarnations: 0,
            hosts: Vec::new(),
            stored: [true; SERVICES],
            saving: Vec::new(),
            tickets: BTreeSet::new(),
            next_ticket: 1,
            session: 1,
            past: Default::default(),
            budget: scenario.budget,
            arrived: Vec::new(),
            signals: 0,
            signals_lost_after: usize::MAX,
            told_effects: Vec::new(),
            verbose: false,
        };
        world.open_session(scenario)?;
        Ok(world)
    }

    pub(crate) fn open_session(&mut self, scenario: &Scenario) -> Result<(), String> {
        let peer = Peer {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            interactive: false,
            service: false,
        };
        let session = SessionId(self.session);
        let host = None;
        self.event(
            scenario,
            Event::SessionOpened {
                session,
                peer,
                host,
            },
        )
    }

    pub(crate) fn event(&mut self, scenario: &Scenario, event: Event) -> Result<(), String> {
        self.engine.handle_event(self.now, event);
        self.carry_out(scenario)
    }

    /// Whether a device, as it was told, is ready for a service.
    fn ready(scenario: &Scenario, service: usize, device: usize, told: Device) -> bool {
        scenario.wants[service].contains(&device)
            && told.is_some_and(|(_, usable)| usable || !scenario.waits[service])
    }

    /// Notes what the manager is about to be told of a device.
    pub(crate) fn note_told(&mut self, scenario: &Scenario, device: usize, new: Device) {
        let old = std::mem::replace(&mut self.told[device], new);
        let same = old.map(|(inc, _)| inc) == new.map(|(inc, _)| inc);
        for service in 0..scenario.services {
            let was = World::ready(scenario, service, device, old);
            let is = World::ready(scenario, service, device, new);
            let past = &mut self.past[service];
            if is && !(was && same) {
                past.cause = true;
                past.touched = true;
                past.since[device].clear();
                self.arrived.push((service, device));
            }
            let replug = scenario.definitions[service].replug == Replug::Restart;
            if was && !(is && same) && replug && past.given == old.map(|(inc, _)| (device, inc)) {
                // The device that was given to its run is gone: another one will be.
                past.cause = true;
            }
        }
    }

    /// Does what the engine wants done.
    pub(crate) fn carry_out(&mut self, scenario: &Scenario) -> Result<(), String> {
        while let Some(effect) = self.engine.poll_effect() {
            if self.verbose {
                self.told_effects.push(short(&effect));
            }
            match effect {
                Effect::Persist(changes) => {
                    let records = Arc::make_mut(&mut self.records);
                    for change in changes {
                        match change.value {
                            Some(value) => records.insert(change.key.into(), value.into()),
                            None => records.remove(change.key.as_str()),
                        };
                    }
                }
                Effect::Spawn(spawn) => self.spawn(scenario, &spawn)?,
                Effect::Terminate { host } => self.signal(host, false)?,
                Effect::Kill { host } => self.signal(host, true)?,
                Effect::Reply {
                    session, ticket, ..
                } => {
                    if session.0 != self.session || !self.tickets.remove(&ticket.0) {
                        return Err(format!("an unexpected reply to {ticket:?} of {session:?}"));
                    }
                }
                Effect::SaveEnabled {
                    ticket,
                    service,
                    enabled,
                } => {
                    let service = index(scenario, service.as_str())?;
                    self.saving.push((ticket, service, enabled));
                }
                Effect::StateChanged(change) => {
                    let service = index(scenario, change.service.as_str())?;
                    let lives = self.hosts.iter().any(|host| host.service == service);
                    if change.state == ServiceState::Stopped && lives {
                        return Err(format!("{} is STOPPED but lives", change.service));
                    }
                }
                Effect::Ask { .. } | Effect::Readable(_) | Effect::ShutDown => {
                    return Err(format!("an effect that nobody can want: {effect:?}"));
                }
            }
        }
        let told: BTreeSet<InterfaceKey> = (0..DEVICES)
            .filter_map(|device| Some(key(device, self.told[device]?.0)))
            .collect();
        let known: BTreeSet<InterfaceKey> = self
            .engine
            .interfaces()
            .map(|(interface, _)| interface.key.clone())
            .collect();
        if told != known {
            return Err(format!("told of {told:?}, knows {known:?}"));
        }
        Ok(())
    }

    fn spawn(&mut self, scenario: &Scenario, spawn: &Spawn) -> Result<(), String> {
        let service = index(scenario, spawn.definition.name.as_str())?;
        let cause = self.past[service].cause;
        let name = &spawn.definition.name;
        oracle::start(&self.facts(scenario, service), cause)
            .map_err(|why| format!("{name}: {why}"))?;
        let told = self.told;
        let past = &mut self.past[service];
        past.cause = false;
        past.note(Happening::Start);
        past.touched = (0..DEVICES).any(|d| World::ready(scenario, service, d, told[d]));
        past.given = spawn.interface.as_ref().and_then(|interface| {
            (0..DEVICES).find_map(|d| {
                let (inc, _) = told[d]?;
                (interface.key == key(d, inc)).then_some((d, inc))
            })
        });
        let last = self
            .arrived
            .iter()
            .rfind(|(wanting, _)| *wanting == service);
        if let (Some((_, last)), Some((given, _))) = (last, past.given)
            && *last != given
        {
            // Started for an earlier one of a burst: the last one came after that.
            past.cause = true;
            past.since[*last].clear();
        }
        if past.touched && past.given.is_none() {
            return Err(format!("{name}: started without a device that is there"));
        }
        if self.hosts.iter().any(|host| host.id == spawn.host) {
            return Err(format!("{:?} is used again", spawn.host));
        }
        self.hosts.push(Host {
            id: spawn.host,
            service,
            phase: Phase::Spawning,
            ready: false,
            terminated: false,
            overdue: false,
            owed: false,
        });
        Ok(())
    }

    fn signal(&mut self, id: HostId, kill: bool) -> Result<(), String> {
        let Some(host) = self.hosts.iter_mut().find(|host| host.id == id) else {
            return Err(format!("a signal for {id:?}, which is not there"));
        };
        if host.phase == Phase::Spawning {
            return Err(format!("a signal for {id:?}, which is only being started"));
        }
        self.signals += 1;
        if kill && host.phase == Phase::Alive && !host.terminated && !host.overdue && !host.owed {
            return Err(format!("{id:?} is killed without having been asked to end"));
        }
        if self.signals > self.signals_lost_after {
            return Ok(());
        }
        match (host.phase, kill) {
            (Phase::Alive, true) => host.phase = Phase::Killed,
            (Phase::Left, true) => host.phase = Phase::Gone,
            (Phase::Alive, false) => host.terminated = true,
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn facts(&self, scenario: &Scenario, service: usize) -> Facts {
        let present: BTreeSet<usize> = (0..DEVICES)
            .filter(|d| World::ready(scenario, service, *d, self.real[*d]))
            .collect();
        let definition = &scenario.definitions[service];
        let past = &self.past[service];
        let view = self.engine.service(&definition.name);
        let view = view.as_ref();
        Facts {
            since_arrivals: (present.iter())
                .map(|device| past.since[*device].clone())
                .reduce(|all, more| &all & &more)
                .unwrap_or_default(),
            present,
            live: self.hosts.iter().filter(|h| h.service == service).count(),
            state: view.map_or(ServiceState::Stopped, |view| view.state),
            held: view.and_then(|view| view.held_back),
            note: view.and_then(|view| view.note),
            enabled: past.enabled,
            follow: definition.follow,
            replug: definition.replug == Replug::Restart,
            touched: past.touched,
            given_is_there: past
                .given
                .map(|(device, inc)| self.real[device].is_some_and(|(real, _)| real == inc)),
        }
    }

    /// Whether nothing is on its way any more.
    pub(crate) fn is_quiet(&self) -> bool {
        let settled = |host: &Host| {
            host.phase == Phase::Alive && !host.owed && !host.terminated && host.ready
        };
        self.boot == Boot::Up
            && !self.deaf
            && self.saving.is_empty()
            && self.hosts.iter().all(settled)
            && self.engine.poll_timeout().is_none()
    }

    /// Whether a new manager would know what this one knows.
    pub(crate) fn compare_with_records(&self) -> Result<(), String> {
        let restored = Engine::restore(
            settings(),
            self.records
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string())),
        );
        if restored.engine.remembered() != self.engine.remembered() {
            let lines = |engine: &Engine| -> Vec<String> {
                let text = format!("{engine:#?}");
                text.lines().map(str::to_owned).collect()
            };
            let known = lines(&self.engine.remembered());
            let restored = lines(&restored.engine.remembered());
            let missing = |of: &[String], among: &[String]| -> Vec<String> {
                let other = |line: &&String| !among.contains(line);
                of.iter()
                    .filter(other)
                    .map(|l| l.trim().to_owned())
                    .collect()
            };
            return Err(format!(
                "the state file lags behind: {:?} is known, {:?} would be restored",
                missing(&known, &restored),
                missing(&restored, &known)
            ));
        }
        Ok(())
    }

    /// Asks the oracle, if this is a quiet point.
    pub(crate) fn judge(&mut self, scenario: &Scenario) -> Result<(), String> {
        if !self.is_quiet() {
            return Ok(());
        }
        if !self.tickets.is_empty() {
            return Err(format!("requests without a reply: {:?}", self.tickets));
        }
        for service in 0..scenario.services {
            let facts = self.facts(scenario, service);
            let name = &scenario.definitions[service].name;
            oracle::quiet(&facts).map_err(|why| format!("{name}: {why}"))?;
            // Nothing but an arrival during its run can be about to start it again.
            let past = &mut self.past[service];
            past.cause = facts.live > 0 && !facts.since_arrivals.contains(&Happening::Start);
        }
        Ok(())
    }

    /// A number that equal situations share.
    pub(crate) fn fingerprint(&self) -> u128 {
        let mut hasher = Wide::default();
        self.engine.canonical(self.now).hash(&mut hasher);
        (self.boot, self.deaf, self.stored, self.budget).hash(&mut hasher);
        for device in 0..DEVICES {
            let real = self.real[device].map(|(inc, usable)| {
                let same = self.told[device].map(|(inc, _)| inc) == Some(inc);
                (same, usable)
            });
            real.hash(&mut hasher);
        }
        let mut hosts: Vec<&Host> = self.hosts.iter().collect();
        hosts.sort_by_key(|host| (host.service, host.id));
        for host in hosts {
            let current = self
                .engine
                .services()
                .any(|view| view.host == Some(host.id));
            (host.service, host.phase, host.ready).hash(&mut hasher);
            (host.terminated, host.overdue, host.owed, current).hash(&mut hasher);
        }
        for (_, service, enabled) in &self.saving {
            (service, enabled).hash(&mut hasher);
        }
        self.tickets.len().hash(&mut hasher);
        for past in &self.past {
            let given = past.given.map(|(device, inc)| {
                let is = |device: Device| device.is_some_and(|(other, _)| other == inc);
                (device, is(self.real[device]), is(self.told[device]))
            });
            (past.enabled, past.cause, &past.since).hash(&mut hasher);
            (past.touched, given).hash(&mut hasher);
        }
        hasher.wide()
    }
}

fn index(scenario: &Scenario, name: &str) -> Result<usize, String> {
    let mut definitions = scenario.definitions.iter();
    definitions
        .position(|definition| definition.name.as_str() == name)
        .ok_or_else(|| format!("an effect for '{name}', which nobody defined"))
}

fn short(effect: &Effect) -> String {
    match effect {
        Effect::Persist(changes) => {
            let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
            format!("persist {}", keys.join(" "))
        }
        Effect::Spawn(spawn) => format!(
            "spawn {} as host {} ({}) for {:?}",
            spawn.definition.name,
            spawn.host.0,
            spawn.reason,
            spawn.interface.as_ref().map(|interface| &interface.link)
        ),
        Effect::StateChanged(change) => format!(
            "{} is {} {:?}",
            change.service, change.state, change.held_back
        ),
        other => format!("{other:?}"),
    }
}

/// Two hashes side by side, so that two of a million states do not meet by chance.
#[derive(Default)]
struct Wide {
    low: std::hash::DefaultHasher,
    high: std::hash::DefaultHasher,
    salted: bool,
}

impl Wide {
    fn wide(&self) -> u128 {
        u128::from(self.high.finish()) << 64 | u128::from(self.low.finish())
    }
}

impl Hasher for Wide {
    fn finish(&self) -> u64 {
        self.low.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        if !std::mem::replace(&mut self.salted, true) {
            self.high.write(b"salt");
        }
        self.low.write(bytes);
        self.high.write(bytes);
    }
}
