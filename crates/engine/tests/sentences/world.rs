//! An engine and the little that is needed to tell stories with it.

use std::sync::Arc;
use std::time::Duration;

use arrival_engine::api::*;
use arrival_engine::{Engine, Restored, view::ServiceView};
use arrival_model::access::{AccessPolicy, Peer};
use arrival_model::definition::{Definition, Protocol, ServiceName};
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::guid::Guid;
use arrival_model::interface::{EnabledBy, Incarnation, Interface, InterfaceKey, Owner};
use arrival_model::state::ServiceState;
use arrival_model::time::Time;
use arrival_model::trigger::{DeviceTrigger, FoldedId, Level, Trigger, Wait};

pub const CLASS: Guid = Guid::from_u128(0xa1);
pub const ROOT: SessionId = SessionId(1);
pub const GUEST: SessionId = SessionId(2);

pub fn name() -> ServiceName {
    "svc".parse().unwrap()
}

/// An exec service that follows every device of the class.
pub fn definition() -> Definition {
    let mut definition = Definition::new(name(), vec!["/bin/svc".to_owned()]);
    definition.triggers = vec![trigger(&[])];
    definition
}

pub fn trigger(ids: &[&str]) -> Trigger {
    Trigger::device(device_trigger(ids))
}

pub fn device_trigger(ids: &[&str]) -> DeviceTrigger {
    DeviceTrigger {
        class: CLASS,
        ids: ids.iter().map(|id| FoldedId::new(id)).collect(),
        ancestors: false,
        wait: Wait::Usable,
    }
}

pub fn device(path: &str, inode: u64) -> Interface {
    Interface {
        key: InterfaceKey {
            class: CLASS,
            owner: Owner::Device {
                devpath: format!("/devices/{path}"),
                incarnation: Incarnation {
                    inode,
                    ..Incarnation::default()
                },
            },
            reference: String::new(),
        },
        link: format!(r"\\?\{path}#{CLASS}"),
        class_name: "test".to_owned(),
        node: None,
        name: path.to_owned(),
        hardware_ids: vec![format!(r"TEST\{path}")],
        compatible_ids: vec![r"TEST\ANY".to_owned()],
        ancestor_ids: vec![r"TEST\PARENT".to_owned()],
        enabled_by: EnabledBy::Kernel,
        node_links: Vec::new(),
        ce_name: None,
        usable: true,
    }
}

pub fn peer(uid: u32) -> Peer {
    Peer {
        uid,
        gid: uid,
        groups: Vec::new(),
        interactive: false,
        service: false,
    }
}

pub struct World {
    pub engine: Engine,
    pub now: Time,
    /// Effects not yet looked at, except persisting and state changes.
    pub effects: Vec<Effect>,
    /// Every state that the service was in.
    pub states: Vec<ServiceState>,
    /// The state file.
    pub records: std::collections::BTreeMap<String, String>,
    tickets: u64,
}

fn settings() -> Settings {
    Settings {
        epoch: 7,
        queue_limit: 4,
        port_closed_after: Duration::from_secs(60),
        access: AccessPolicy {
            own_uid: 0,
            administrators: None,
        },
    }
}

impl World {
    /// A manager that has read this definition, and sees no device yet.
    pub fn with(definition: Definition) -> World {
        let mut world = World::empty();
        world.define(definition);
        world.event(Event::Loaded);
        world.event(Event::Snapshot(Vec::new()));
        world.states.clear();
        world
    }

    pub fn new() -> World {
        World::with(definition())
    }

    pub fn empty() -> World {
        let mut world = World {
            engine: Engine::new(settings()),
            now: Time(1_000_000_000_000),
            effects: Vec::new(),
            states: Vec::new(),
            records: Default::default(),
            tickets: 0,
        };
        world.open_sessions();
        world
    }

    fn open_sessions(&mut self) {
        self.event(Event::SessionOpened {
            session: ROOT,
            peer: peer(0),
            host: None,
        });
        self.event(Event::SessionOpened {
            session: GUEST,
            peer: peer(1000),
            host: None,
        });
    }

    pub fn define(&mut self, definition: Definition) {
        self.event(Event::Defined {
            definition: Arc::new(definition),
            enabled: true,
        });
    }

    pub fn event(&mut self, event: Event) {
        self.engine.handle_event(self.now, event);
        self.drain();
    }

    pub fn drain(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Persist(changes) => {
                    for Change { key, value } in changes {
                        match value {
                            Some(value) => self.records.insert(key, value),
                            None => self.records.remove(&key),
                        };
                    }
                }
                Effect::StateChanged(change) => self.states.push(change.state),
                other => self.effects.push(other),
            }
        }
    }

    pub fn request(&mut self, session: SessionId, request: Request) -> Result<Ticket, Denied> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let outcome = self
            .engine
            .handle_request(self.now, session, ticket, request);
        self.drain();
        outcome.map(|()| ticket)
    }

    pub fn start(&mut self) -> Result<Ticket, Denied> {
        self.request(
            ROOT,
            Request::Start {
                service: name(),
                arguments: Vec::new(),
                wait: true,
            },
        )
    }

    pub fn stop(&mut self) -> Result<Ticket, Denied> {
        self.request(
            ROOT,
            Request::Stop {
                service: name(),
                wait: true,
            },
        )
    }

    pub fn arrive(&mut self, interface: &Interface) {
        self.event(Event::Present(Arc::new(interface.clone())));
    }

    pub fn leave(&mut self, interface: &Interface) {
        self.event(Event::Gone(interface.key.clone()));
    }

    pub fn snapshot(&mut self, interfaces: &[&Interface]) {
        let all = interfaces
            .iter()
            .map(|interface| Arc::new((*interface).clone()))
            .collect();
        self.event(Event::Snapshot(all));
    }

    /// A source tells whether a level is true.
    pub fn level(&mut self, level: Level, by: Option<&str>) {
        let by = by.map(str::to_owned);
        self.event(Event::Level { level, by });
    }

    /// Lets time pass, and everything happen that is due on the way.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(due) = self.engine.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// The one program that was to be started since the last look.
    pub fn spawned(&mut self) -> Spawn {
        let at = self
            .effects
            .iter()
            .position(|effect| matches!(effect, Effect::Spawn(_)));
        let at = at.unwrap_or_else(|| panic!("nothing was started: {:?}", self.effects));
        match self.effects.remove(at) {
            Effect::Spawn(spawn) => spawn,
            _ => unreachable!("position() found a spawn"),
        }
    }

    pub fn nothing_spawned(&self) {
        let spawned = self
            .effects
            .iter()
            .find(|effect| matches!(effect, Effect::Spawn(_)));
        assert_eq!(spawned, None);
    }

    /// The program that was to be started runs now.
    pub fn runs(&mut self) -> Spawn {
        let spawn = self.spawned();
        let pid = 100 + i32::try_from(spawn.host.0).unwrap();
        self.event(Event::HostStarted {
            host: spawn.host,
            pid,
            start_time: 5,
        });
        spawn
    }

    /// A service that runs for one device.
    pub fn running() -> (World, Interface, Spawn) {
        let mut world = World::new();
        let device = device("a", 1);
        world.arrive(&device);
        let spawn = world.runs();
        (world, device, spawn)
    }

    pub fn exits(&mut self, spawn: &Spawn, exit: Exit) {
        self.event(Event::MainExited {
            host: spawn.host,
            exit,
        });
    }

    pub fn empties(&mut self, spawn: &Spawn) {
        self.event(Event::HostEmpty { host: spawn.host });
    }

    pub fn ends(&mut self, spawn: &Spawn, exit: Exit) {
        self.exits(spawn, exit);
        self.empties(spawn);
    }

    pub fn took(&mut self, wanted: &Effect) -> bool {
        match self.effects.iter().position(|effect| effect == wanted) {
            Some(at) => {
                self.effects.remove(at);
                true
            }
            None => false,
        }
    }

    /// The reply to a request, if it has come.
    pub fn reply(&mut self, wanted: Ticket) -> Option<Reply> {
        let is =
            |effect: &Effect| matches!(effect, Effect::Reply { ticket, .. } if *ticket == wanted);
        let at = self.effects.iter().position(is)?;
        match self.effects.remove(at) {
            Effect::Reply { reply, .. } => Some(reply),
            _ => None,
        }
    }

    pub fn view(&self) -> ServiceView<'_> {
        self.engine.service(&name()).expect("the service is known")
    }

    pub fn state(&self) -> ServiceState {
        self.view().state
    }

    pub fn notices(&mut self, session: SessionId) -> Vec<Notice> {
        let mut notices = Vec::new();
        while let Some(notice) = self.engine.take_notice(self.now, session) {
            notices.push(notice);
        }
        self.drain();
        notices
    }

    /// The manager's process ends and a new one continues from the state file.
    pub fn restart(&mut self) {
        let records = self.records.clone();
        let Restored { engine, problems } = Engine::restore(settings(), records);
        assert_eq!(problems, Vec::<String>::new());
        self.engine = engine;
        self.effects.clear();
        self.open_sessions();
    }
}

/// Opens a session of a process in the service's host.
pub fn own_session(world: &mut World, spawn: &Spawn) -> SessionId {
    let session = SessionId(50 + spawn.host.0);
    world.event(Event::SessionOpened {
        session,
        peer: peer(0),
        host: Some(spawn.host),
    });
    session
}

pub fn control_definition() -> Definition {
    Definition {
        protocol: Protocol::Control,
        follow: false,
        ..definition()
    }
}

pub fn report(state: ServiceState, accepts: u32) -> Request {
    Request::Report(Report {
        state,
        accepts: arrival_model::state::Accepts(accepts),
        checkpoint: 0,
        wait_hint: Duration::ZERO,
        exit_code: Win32Error::SUCCESS,
    })
}
