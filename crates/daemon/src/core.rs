//! The task that owns the engine: everything that happens goes in here, one after the other, and
//! what must be done comes out.
//!
//! ```text
//! devices ───────────────┐                         ┌─► journal, then: spawner, hosts, files
//! hosts, notify socket ──┼─► Core ─► Engine ─► effects
//! connections ───────────┤                         └─► outboxes of connections
//! spawner, files ────────┘
//! ```
//!
//! It never reads sysfs, never syncs a file and never waits for a client.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use arrival_engine::Engine;
use arrival_engine::api::{self, Event, SessionId, StateChange, Ticket};
use arrival_linux::device::{DeviceEvent, DeviceSource, Group};
use arrival_linux::host::notify::{Datagram, NotifySocket};
use arrival_linux::host::{HostEvent, HostId, Hosts};
use arrival_linux::memory;
use arrival_linux::peer::Peer as ControlPeer;
use arrival_model::access::Peer;
use arrival_model::class::Classes;
use arrival_model::diagnostic::Diagnostic;
use arrival_model::exit::Exit;
use arrival_store::settings::Settings;
use arrival_wire::message::Call;
use arrival_wire::notify::{self, Assignment};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender};

use crate::boundary::boundary;
use crate::calls::Asked;
use crate::clock::{Alarm, now};
use crate::connection::{Gate, Incoming};
use crate::files::{Files, Looked};
use crate::outbox::Outbox;
use crate::outcome::Outcome;
use crate::readable::ready;
use crate::signals::{SignalSources, Told};
use crate::spawner::{Spawner, Started};
use crate::state::State;

/// How many notify datagrams may wait for hosts that are being started.
const UNDECIDED: usize = 256;
/// How many device events are taken before something else gets its turn.
const DEVICES: usize = 64;
/// How many reports of other sources are taken before something else gets its turn.
const REPORTS: usize = 256;
/// How many notify datagrams are taken before something else gets its turn.
const DATAGRAMS: usize = 64;

/// One connection, as this task knows it.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) outbox: Outbox,
    pub(crate) uid: u32,
    pub(crate) host: Option<api::HostId>,
    /// The word by which other connections speak for it, once it streams.
    pub(crate) token: Option<String>,
    /// It may come from a host that is being started: who it is, and what it has called meanwhile.
    undecided: Option<(ControlPeer, Option<Call>)>,
}

/// Everything that the daemon is made of.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) engine: Engine,
    pub(crate) hosts: AsyncFd<Hosts>,
    pub(crate) notify: AsyncFd<NotifySocket>,
    pub(crate) state: State,
    pub(crate) spawner: Spawner,
    pub(crate) files: Files,
    pub(crate) devices: DeviceSource,
    pub(crate) alarm: Alarm,
    pub(crate) gate: Rc<RefCell<Gate>>,
    pub(crate) connections: BTreeMap<SessionId, Connected>,
    pub(crate) tokens: BTreeMap<String, SessionId>,
    /// Requests that the engine or another thread has not answered yet.
    pub(crate) asked: BTreeMap<Ticket, Asked>,
    pub(crate) next_ticket: u64,
    pub(crate) classes: Classes,
    /// The file of each definition, by folded name.
    pub(crate) paths: BTreeMap<String, PathBuf>,
    pub(crate) problems: Vec<Diagnostic>,
    pub(crate) facts: Facts,
    /// Changes of states that are still to be logged.
    pub(crate) to_say: Vec<StateChange>,
    /// Notify datagrams that came from no process of a host, or could not be read.
    pub(crate) notify_refused: u64,
    /// Whether more datagrams may lie in the notify socket than were taken.
    pub(crate) more_datagrams: bool,
    /// The words of hosts whose programs are being started.
    pub(crate) starting: BTreeMap<api::HostId, String>,
    /// Datagrams that may come from one of them.
    pub(crate) undecided: Vec<Datagram>,
    /// The settings that a change of which needs a restart.
    pub(crate) settings: Settings,
    /// Whether the log level was given on the command line, which goes before the settings.
    pub(crate) level_is_fixed: bool,
    /// Threads that are opening nodes.
    pub(crate) openings: usize,
    pub(crate) outcomes: UnboundedSender<Outcome>,
    /// Whether the manager's own ready message is still to be sent.
    pub(crate) unready: bool,
    pub(crate) ending: Option<Ending>,
    /// The sources of what triggers wait for beside devices.
    pub(crate) signals: SignalSources,
    /// Whether definitions or states have changed that these depend on.
    pub(crate) to_attune: bool,
}

/// What does not change while the daemon runs.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) root: String,
    pub(crate) boot_id: String,
    /// Whether udevd is waited for if there is one.
    pub(crate) udev: bool,
    pub(crate) strays: Vec<String>,
    /// Where sysfs is mounted.
    pub(crate) sysfs: PathBuf,
}

/// Why the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// SIGTERM, or SIGINT, after which a person wants to know what stays.
    Signal { told: bool },
    /// Every service has been stopped.
    Shutdown,
}

/// Where things come from that happen.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) devices: Receiver<DeviceEvent>,
    pub(crate) told: Receiver<Told>,
    pub(crate) incoming: Receiver<Incoming>,
    pub(crate) outcomes: UnboundedReceiver<Outcome>,
    pub(crate) terminate: Signal,
    pub(crate) interrupt: Signal,
    pub(crate) hang_up: Signal,
    pub(crate) child: Signal,
}

impl Core {
    /// Does what there is to do until the daemon is told to end.
    pub(crate) async fn run(&mut self, sources: &mut Sources) -> Ending {
        loop {
            self.drain();
            if let Some(ending) = self.ending {
                return ending;
            }
            if std::mem::take(&mut self.to_attune) {
                self.attune();
            }
            self.alarm.set(self.engine.poll_timeout());
            tokio::select! {
                Some(event) = sources.devices.recv() => self.devices(event, &mut sources.devices),
                Some(told) = sources.told.recv() => self.all_told(told, &mut sources.told),
                Some(outcome) = sources.outcomes.recv() => self.outcome(outcome),
                Some(incoming) = sources.incoming.recv() => self.incoming(incoming),
                done = ready(&self.notify) => { self.take_datagrams(); done.unwrap_or_else(|error| lost("notify socket", &error)); }
                done = ready(&self.hosts) => { self.look_at_hosts(); done.unwrap_or_else(|error| lost("hosts", &error)); }
                () = std::future::ready(()), if self.more_datagrams => self.take_datagrams(),
                () = self.alarm.rings() => self.engine.handle_timeout(now()),
                Some(()) = sources.child.recv() => self.look_at_hosts(),
                Some(()) = sources.hang_up.recv() => drop(self.files.look(None)),
                Some(()) = sources.terminate.recv() => self.ending = Some(Ending::Signal { told: false }),
                Some(()) = sources.interrupt.recv() => self.ending = Some(Ending::Signal { told: true }),
            }
        }
    }

    /// Hands an event to the engine.
    pub(crate) fn tell(&mut self, event: Event) {
        self.engine.handle_event(now(), event);
    }

    /// Takes what came together before anything is done about it: a device with several interfaces
    /// costs one write to the journal, not one for each.
    fn devices(&mut self, first: DeviceEvent, more: &mut Receiver<DeviceEvent>) {
        self.device(first);
        for _ in 1..DEVICES {
            match more.try_recv() {
                Ok(event) => self.device(event),
                Err(_) => return,
            }
        }
    }

    /// Takes what came together, so that many events cost one write to the journal.
    fn all_told(&mut self, first: Told, more: &mut Receiver<Told>) {
        self.told(first);
        for _ in 1..REPORTS {
            match more.try_recv() {
                Ok(told) => self.told(told),
                Err(_) => return,
            }
        }
    }

    fn device(&mut self, event: DeviceEvent) {
        match event {
            DeviceEvent::Present(interface) => self.tell(Event::Present(interface)),
            DeviceEvent::Gone(key) => self.tell(Event::Gone(key)),
            DeviceEvent::Overrun { group } => {
                tracing::warn!("the kernel dropped {group} device events; devices are read again");
                let source = match group {
                    Group::Kernel => "kernel",
                    Group::Udev => "udev",
                };
                self.tell(Event::Overrun { source });
            }
            DeviceEvent::Snapshot(all) => {
                self.tell(Event::Snapshot(all));
                if std::mem::take(&mut self.unready) {
                    self.drain();
                    tell_systemd_ready();
                    tracing::info!(
                        "ready: {} services, {} interfaces",
                        self.engine.service_count(),
                        self.engine.interfaces().count()
                    );
                    // What was read at the start is not needed any more.
                    memory::trim();
                }
            }
        }
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Started(started) => self.started(*started),
            Outcome::Looked(looked) => self.looked(*looked),
            Outcome::Opened {
                connection,
                interface,
                node,
                result,
            } => self.opened(connection, &interface, &node, result),
            Outcome::EnabledSaved {
                ticket,
                service,
                enabled,
                error,
            } => self.tell(Event::EnabledSaved {
                ticket,
                service,
                enabled,
                error,
            }),
        }
    }

    fn started(&mut self, started: Started) {
        let host = started.host;
        self.starting.remove(&host);
        let inserted = match started.result {
            Ok(child) => self.hosts.get_mut().insert(child).map_err(|error| {
                let code = arrival_model::error::Win32Error::GEN_FAILURE;
                (error.to_string(), code)
            }),
            Err(failure) => Err((failure.error, failure.code)),
        };
        match inserted {
            Ok(record) => {
                boundary("before the host is noted");
                self.state.note_host(&record);
                self.tell(Event::HostStarted {
                    host,
                    pid: i32::try_from(record.pid).unwrap_or(0),
                    start_time: record.start_time,
                });
            }
            Err((error, code)) => {
                self.state.forget_host(HostId(host.0));
                self.tell(Event::HostFailed { host, error, code });
            }
        }
        self.decide();
    }

    /// A program can speak before the thread that started it has said so: whoever carries the word
    /// of a host that is being started has to wait until that is done.
    pub(crate) fn may_be_starting(&self, pid: u32) -> bool {
        if self.starting.is_empty() {
            return false;
        }
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| {
            let word = entry.strip_prefix(b"ARRIVAL_HOST=");
            word.is_some_and(|word| self.starting.values().any(|own| own.as_bytes() == word))
        })
    }

    /// Looks again at those that had to wait.
    fn decide(&mut self) {
        self.decide_providers();
        for datagram in std::mem::take(&mut self.undecided) {
            self.datagram(datagram);
        }
        let waiting = self.connections.iter();
        let waiting: Vec<SessionId> = waiting
            .filter(|(_, known)| known.undecided.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let known = self.connections.get_mut(&id);
            let Some((peer, call)) = known.and_then(|known| known.undecided.take()) else {
                continue;
            };
            let admitted = self.admit(id, peer);
            let known = self.connections.get_mut(&id);
            let still = known.and_then(|known| known.undecided.as_mut());
            match (still, call) {
                (Some((_, held)), call) => *held = call,
                (None, Some(call)) if admitted => self.called(id, call),
                (None, Some(_) | None) => {}
            }
        }
    }

    pub(crate) fn looked(&mut self, looked: Looked) {
        if let Some(classes) = looked.classes {
            self.classes = classes.clone();
            self.devices.set_classes(classes);
        }
        for defined in looked.defined {
            let name = defined.definition.name.folded();
            self.paths.insert(name, defined.path);
            self.tell(Event::Defined {
                definition: defined.definition,
                enabled: defined.enabled,
            });
        }
        for name in looked.undefined {
            self.paths.remove(&name.folded());
            self.tell(Event::Undefined(name));
        }
        for problem in &looked.problems {
            if !self.problems.contains(problem) {
                log_problem(problem);
            }
        }
        self.problems = looked.problems;
        self.to_attune = true;
        if let Some(settings) = looked.settings {
            if !self.level_is_fixed {
                crate::log::set_level(settings.log_level);
            }
            let level_alone = Settings {
                log_level: self.settings.log_level,
                ..settings
            };
            if level_alone != self.settings {
                tracing::warn!("arrivald.toml has changed; all but log_level needs a restart");
            }
        }
        for (_, ticket) in looked.asked {
            self.reply_reload(ticket);
        }
    }

    /// Hears what services say, then what became of their processes: one that says so and exits
    /// must be heard before its exit is.
    fn look_at_hosts(&mut self) {
        self.take_datagrams();
        for event in self.hosts.get_mut().next_events() {
            match event {
                HostEvent::MainExited { host, exit } => {
                    use arrival_linux::host::Exit as Seen;
                    let exit = match exit {
                        Seen::Code(code) => Exit::Code(code),
                        Seen::Signal(signal) => Exit::Signal(signal),
                        Seen::Unknown => Exit::Unknown,
                    };
                    let host = api::HostId(host.0);
                    self.tell(Event::MainExited { host, exit });
                }
                HostEvent::Empty { host } => {
                    boundary("before a host is forgotten");
                    self.state.forget_host(host);
                    let host = api::HostId(host.0);
                    self.tell(Event::HostEmpty { host });
                }
            }
        }
    }

    fn take_datagrams(&mut self) {
        self.more_datagrams = false;
        for _ in 0..DATAGRAMS {
            match self.notify.get_mut().receive() {
                Ok(Some(datagram)) => self.datagram(datagram),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!("cannot read the notify socket: {error}");
                    return;
                }
            }
        }
        // The event loop tells of each state once, so the rest must not wait for it.
        self.more_datagrams = true;
    }

    fn datagram(&mut self, datagram: Datagram) {
        let host = self.hosts.get_ref().host_of(datagram.pid);
        // The number could have become another process's, if the sender has ended.
        let host = host.filter(|_| datagram.has_its_number());
        match (notify::parse(&datagram.bytes), host) {
            (Ok(said), Some(host)) => self.said(host, said),
            (Ok(_), None)
                if self.undecided.len() < UNDECIDED && self.may_be_starting(datagram.pid) =>
            {
                self.undecided.push(datagram);
            }
            (Ok(_) | Err(_), _) => {
                self.notify_refused += 1;
                let pid = datagram.pid;
                tracing::debug!("a datagram of process {pid} does not count");
            }
        }
    }

    fn said(&mut self, host: HostId, said: notify::Datagram) {
        for error in &said.errors {
            tracing::warn!("{host}: {error}");
        }
        let mut notify = api::Notify::default();
        for assignment in said.assignments {
            match assignment {
                Assignment::Ready => notify.ready = true,
                Assignment::Stopping => notify.stopping = true,
                Assignment::Status(text) => notify.status = Some(text),
                Assignment::ExtendTimeout(time) => notify.extend_timeout = Some(time),
                Assignment::MainPid(pid) => match self.hosts.get_mut().set_main(host, pid) {
                    Ok(record) => self.state.note_host(&record),
                    Err(error) => {
                        self.notify_refused += 1;
                        tracing::warn!("MAINPID={pid} does not count: {error}");
                    }
                },
                Assignment::Reloading
                | Assignment::Errno(_)
                | Assignment::ExitStatus(_)
                | Assignment::Watchdog
                | Assignment::WatchdogTrigger
                | Assignment::WatchdogInterval(_)
                | Assignment::Monotonic(_)
                | Assignment::Barrier => {}
            }
        }
        let host = api::HostId(host.0);
        self.tell(Event::Notified { host, notify });
    }

    fn incoming(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Opened { id, peer, outbox } => {
                let known = Connected {
                    outbox,
                    uid: peer.uid,
                    host: None,
                    token: None,
                    undecided: None,
                };
                self.connections.insert(id, known);
                self.admit(id, peer);
            }
            Incoming::Called { id, call } => {
                let known = self.connections.get_mut(&id);
                match known.and_then(|known| known.undecided.as_mut()) {
                    // There is one call of a connection at a time.
                    Some((_, held)) => *held = Some(call),
                    None => self.called(id, call),
                }
            }
            Incoming::Room(id) => self.pump(id),
            Incoming::Closed(id) => {
                let known = self.connections.remove(&id);
                if let Some(token) = known.and_then(|known| known.token) {
                    self.tokens.remove(&token);
                }
                self.asked.retain(|_, asked| asked.connection != id);
                self.tell(Event::SessionClosed(id));
            }
        }
    }

    /// Begins the session of a connection, unless it is not known yet which host it comes from.
    fn admit(&mut self, id: SessionId, peer: ControlPeer) -> bool {
        let host = self.hosts.get_ref().host_of(peer.pid);
        let undecided = host.is_none() && self.may_be_starting(peer.pid);
        let Some(known) = self.connections.get_mut(&id) else {
            return false;
        };
        if undecided {
            known.undecided = Some((peer, None));
            return false;
        }
        // The number could have become another process's, if that one has ended.
        let host = host.filter(|_| peer.is_alive());
        let host = host.map(|host| api::HostId(host.0));
        known.host = host;
        let peer = Peer {
            uid: peer.uid,
            gid: peer.gid,
            groups: peer.groups,
            interactive: peer.interactive,
            service: host.is_some(),
        };
        self.tell(Event::SessionOpened {
            session: id,
            peer,
            host,
        });
        true
    }

    /// Waits for programs that are being started, so that the next daemon need not guess, and until
    /// clients have their answers; neither for long.
    pub(crate) async fn finish(&mut self, sources: &mut Sources) {
        let settle = async {
            while !self.starting.is_empty() {
                let Some(outcome) = sources.outcomes.recv().await else {
                    break;
                };
                if let Outcome::Started(started) = outcome {
                    self.started(*started);
                    self.note_persistence();
                }
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), settle).await;
        self.state.write();
        let outboxes: Vec<Outbox> = self
            .connections
            .values()
            .map(|known| known.outbox.clone())
            .collect();
        for outbox in &outboxes {
            outbox.close();
        }
        let written = async {
            while outboxes.iter().any(|outbox| !outbox.is_empty()) {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_millis(500), written).await;
    }

    /// How many services run, or are about to.
    pub(crate) fn running(&self) -> usize {
        self.engine
            .services()
            .filter(|view| view.run.is_some())
            .count()
    }

    pub(crate) fn new_ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// The classes, and the names that messages call them by.
    pub(crate) fn class_name(&self, guid: arrival_model::guid::Guid) -> Option<String> {
        crate::shapes::class_name(&self.classes, guid)
    }
}

fn lost(what: &str, error: &io::Error) {
    tracing::error!("cannot wait for the {what}: {error}");
}

pub(crate) fn log_problem(problem: &Diagnostic) {
    let path = problem.path.display();
    let (line, column) = (problem.line, problem.column);
    let message = &problem.message;
    if problem.is_error() {
        tracing::error!("{path}:{line}:{column}: {message}");
    } else {
        tracing::warn!("{path}:{line}:{column}: {message}");
    }
}

/// Says to the service manager that started us, if one did, that we are ready.
fn tell_systemd_ready() {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("cannot say that we are ready: {error}");
    }
}
