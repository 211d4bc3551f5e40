//! From options to a running daemon, and to its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use arrival_engine::Engine;
use arrival_engine::api::{self, Event};
use arrival_linux::device::{DeviceConfig, DeviceSource};
use arrival_linux::host::identity;
use arrival_linux::host::notify::{self, NotifySocket};
use arrival_linux::host::{Adopted, HostId, Hosts, Wanted, raise_open_files};
use arrival_linux::memory;
use arrival_model::access::AccessPolicy;
use arrival_model::diagnostic::Diagnostic;
use arrival_store::journal;
use arrival_store::layout::Layout;
use arrival_store::lock::{Lock, LockError};
use arrival_store::settings::Settings;
use arrival_store::store::Store;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::clock::{Alarm, now};
use crate::connection::{Gate, Incoming, listen};
use crate::core::{Core, Ending, Facts, Sources, log_problem};
use crate::files::{Files, Reader};
use crate::log;
use crate::names::Names;
use crate::options::{Containment, Options};
use crate::program::Surroundings;
use crate::readable::readable;
use crate::signals::{REPORTS, SignalSources};
use crate::spawner::Spawner;
use crate::state::{Left, State};
use crate::watch::Watch;

/// How many device events wait for the engine before the readers of devices do.
const DEVICE_EVENTS: usize = 128;
/// How many calls of all connections wait for the engine.
const CALLS: usize = 64;
/// How many records wait for a subscriber that does not read.
const RECORDS: usize = 64;
/// How many connections wait to be accepted.
const BACKLOG: i32 = 256;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Another daemon serves this root.
    #[error("a daemon serves this root already: {0}")]
    Served(LockError),
    /// What this machine lacks.
    #[error("{0}")]
    Machine(String),
    /// Everything else.
    #[error("{0}")]
    Other(String),
}

impl StartError {
    fn code(&self) -> ExitCode {
        match self {
            StartError::Served(_) | StartError::Other(_) => ExitCode::FAILURE,
            StartError::Machine(_) => ExitCode::from(7),
        }
    }
}

fn other(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> StartError {
    move |error| StartError::Other(format!("{what}: {error}"))
}

/// Runs the daemon until it is told to end.
///
/// The exit code is 0 after SIGTERM, SIGINT or a shutdown, 7 if this machine lacks what the options
/// demand, and 1 if the daemon cannot start for another reason, which is on stderr.
pub fn run(options: Options) -> ExitCode {
    // Before the first thread.
    memory::limit_arenas();
    match start(&options) {
        Ok(code) => code,
        Err(error) => {
            log::finish();
            eprintln!("arrivald: {error}");
            error.code()
        }
    }
}

fn start(options: &Options) -> Result<ExitCode, StartError> {
    let layout =
        Layout::new(options.root.as_deref()).map_err(other("cannot tell where the root is"))?;
    layout
        .prepare()
        .map_err(|error| StartError::Other(error.to_string()))?;
    let lock = Lock::daemon(&layout).map_err(|error| match error {
        LockError::Held { .. } => StartError::Served(error),
        LockError::Io { .. } => StartError::Other(error.to_string()),
    })?;
    // Wrong settings must not keep devices from their services.
    let (settings, problems) = match Settings::load(&layout) {
        Ok(loaded) => loaded,
        Err(problems) => (Settings::default(), problems),
    };
    log::start(options.log_level.unwrap_or(settings.log_level));
    for problem in &problems {
        log_problem(problem);
    }
    if let Err(error) = raise_open_files() {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(other("cannot make the event loop"))?;
    let local = tokio::task::LocalSet::new();
    let ended = runtime.block_on(local.run_until(serve(options, &layout, settings, problems)))?;
    // The socket goes before the lock does: it would be the next daemon's otherwise.
    let _ = std::fs::remove_file(layout.control_socket());
    drop(local);
    drop(runtime);
    drop(lock);
    Ok(ended)
}

async fn serve(
    options: &Options,
    layout: &Layout,
    settings: Settings,
    problems: Vec<Diagnostic>,
) -> Result<ExitCode, StartError> {
    let signals = |kind| signal(kind).map_err(other("cannot listen for signals"));
    let terminate = signals(SignalKind::terminate())?;
    let interrupt = signals(SignalKind::interrupt())?;
    let hang_up = signals(SignalKind::hangup())?;
    let child = signals(SignalKind::child())?;

    let root = layout.root().unwrap_or(Path::new("/")).to_owned();
    let wanted = match options.containment {
        Containment::Auto | Containment::Cgroup => Wanted::Best,
        Containment::Process => Wanted::Process,
    };
    let containment = arrival_linux::host::Containment::detect(&root, wanted);
    if options.containment == Containment::Cgroup && containment.kind() != "cgroup" {
        return Err(StartError::Machine(format!(
            "no cgroup for services: {}",
            containment.reason().unwrap_or("no reason is known")
        )));
    }
    tracing::info!("containment: {containment}");
    let hosts = Hosts::new(containment.clone()).map_err(other("cannot watch processes"))?;

    let notify = NotifySocket::bind(&layout.notify_socket())
        .map_err(other("cannot make the notify socket"))?;
    let surroundings = Arc::new(Surroundings {
        log: layout.log(),
        control: layout.control_socket().to_string_lossy().into_owned(),
        notify: notify.address().to_owned(),
        names: Names::default(),
    });

    let boot_id = journal::boot_id().map_err(other("cannot read the boot id"))?;
    let (state, left) = State::open(&layout.state(), &boot_id)
        .map_err(|error| StartError::Other(error.to_string()))?;
    let access = AccessPolicy {
        own_uid: rustix::process::geteuid().as_raw(),
        administrators: settings.administrators.as_deref().and_then(|group| {
            identity::group(group)
                .inspect_err(|error| tracing::error!("arrivald.toml: {error}"))
                .ok()
        }),
    };

    let (outcomes, received) = mpsc::unbounded_channel();
    let spawner = Spawner::new(containment, Arc::clone(&surroundings), outcomes.clone());
    let opened = outcomes.clone();

    let mut reader = Reader::new(Store::open(layout.clone()));
    let mut looked = reader.look();
    // What was wrong with the settings has been said.
    looked.settings = None;
    let classes = reader.classes().clone();
    let files = Files::start(reader, Arc::clone(&surroundings), outcomes)
        .map_err(other("cannot make a thread"))?;
    // Changes from here on lead to another look.
    let watch = Watch::new(layout).map_err(other("cannot watch the folders of definitions"))?;
    // A file that changed between the first look and the watch is seen by this one, and users are
    // looked up.
    files.look(None);

    let engine_settings = api::Settings {
        epoch: new_epoch(),
        queue_limit: RECORDS,
        access,
        port_closed_after: settings.port_closed_after,
    };
    let (engine, strays, hosts, state, adopted) = adopt(engine_settings, left, hosts, state);

    let mut config = DeviceConfig {
        classes: classes.clone(),
        sysfs: options
            .sysfs
            .clone()
            .unwrap_or_else(|| settings.sysfs.clone()),
        udev: settings.udev && !options.no_udev,
        receive_buffer: options.uevent_buffer.unwrap_or(settings.uevent_buffer) as usize,
        known: engine
            .interfaces()
            .map(|(interface, _)| Arc::clone(interface))
            .collect(),
        ..DeviceConfig::default()
    };
    if let Some(run_udev) = &options.run_udev {
        config.run_udev.clone_from(run_udev);
    }
    let udev = config.udev;
    let sysfs = config.sysfs.clone();
    let (told, told_received) = mpsc::channel(REPORTS);
    let (device_events, devices_received) = mpsc::channel(DEVICE_EVENTS);
    let devices = DeviceSource::start(config, move |event| {
        // Nobody listens any more when the daemon ends.
        let _ = device_events.blocking_send(event);
    })
    .map_err(|error| StartError::Other(error.to_string()))?;

    let gate = Rc::new(RefCell::new(Gate::default()));
    let mut core = Core {
        engine,
        hosts: readable(hosts).map_err(other("cannot wait for processes"))?,
        notify: readable(notify).map_err(other("cannot wait for the notify socket"))?,
        state,
        spawner,
        files: files.clone(),
        devices,
        alarm: Alarm::new().map_err(other("cannot make a timer"))?,
        gate: Rc::clone(&gate),
        connections: BTreeMap::new(),
        tokens: BTreeMap::new(),
        asked: BTreeMap::new(),
        next_ticket: 0,
        classes,
        paths: BTreeMap::new(),
        problems,
        facts: Facts {
            root: root.to_string_lossy().into_owned(),
            boot_id,
            udev,
            strays,
            sysfs,
        },
        to_say: Vec::new(),
        notify_refused: 0,
        more_datagrams: false,
        starting: BTreeMap::new(),
        undecided: Vec::new(),
        settings,
        level_is_fixed: options.log_level.is_some(),
        openings: 0,
        outcomes: opened,
        unready: true,
        ending: None,
        signals: SignalSources::new(layout, told),
        to_attune: false,
    };
    for event in adopted {
        core.tell(event);
    }
    core.looked(looked);
    core.tell(Event::Loaded);
    core.drain();
    // Whoever gets an answer finds the pipes and the event bus there too.
    core.attune();

    let listener = bind(&layout.control_socket()).map_err(other(format!(
        "cannot listen at {}",
        layout.control_socket().display()
    )))?;
    let (calls, incoming) = mpsc::channel::<Incoming>(CALLS);
    tokio::task::spawn_local(listen(listener, gate, calls));
    tokio::task::spawn_local(watch.run(files));

    let mut sources = Sources {
        devices: devices_received,
        told: told_received,
        incoming,
        outcomes: received,
        terminate,
        interrupt,
        hang_up,
        child,
    };
    let ending = core.run(&mut sources).await;
    core.finish(&mut sources).await;
    let stay = core.running();
    let stay = match stay {
        1 => "1 service goes on".to_owned(),
        more => format!("{more} services go on"),
    };
    match ending {
        Ending::Signal { .. } => tracing::info!("ends; {stay}"),
        Ending::Shutdown => tracing::info!("ends; all services have stopped"),
    }
    log::finish();
    if (ending == Ending::Signal { told: true }) {
        eprintln!("arrivald: {stay}");
    }
    if ending == Ending::Shutdown {
        let _ = std::fs::remove_file(layout.notify_socket());
    }
    // What was a stray's may be empty by now; whatever a process is in stays.
    if let Some(base) = core.hosts.get_ref().containment().base() {
        for group in std::fs::read_dir(&base).into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(group.path());
        }
        let _ = std::fs::remove_dir(base);
    }
    // A source whose sink nobody empties would hang in it.
    drop(sources);
    Ok(ExitCode::SUCCESS)
}

/// Continues from what an earlier daemon of this boot left.
fn adopt(
    settings: api::Settings,
    left: Left,
    mut hosts: Hosts,
    mut state: State,
) -> (Engine, Vec<String>, Hosts, State, Vec<Event>) {
    for finding in &left.findings {
        tracing::warn!("{finding}");
    }
    let restored = Engine::restore(settings, left.records);
    for problem in left.problems.iter().chain(&restored.problems) {
        tracing::error!("{problem}");
    }
    let mut records = left.hosts;
    let mut events = Vec::new();
    for remembered in restored.engine.remembered_hosts() {
        let host = remembered.host;
        let service = &remembered.service;
        let adopted = match records.remove(&host.0) {
            Some(record) => hosts.adopt(record),
            None => Ok(Adopted::Gone),
        };
        match adopted {
            Ok(Adopted::Alive { record, main }) => {
                tracing::info!(
                    "{service}: goes on in {}, process {}",
                    record.id,
                    record.pid
                );
                state.note_host(&record);
                if remembered.main.is_none() && main {
                    events.push(Event::HostStarted {
                        host,
                        pid: i32::try_from(record.pid).unwrap_or(0),
                        start_time: record.start_time,
                    });
                }
                events.push(Event::HostAdopted { host });
            }
            Ok(Adopted::Gone) => {
                tracing::warn!("{service}: ended while no daemon was there");
                state.forget_host(HostId(host.0));
                events.push(Event::HostLost { host });
            }
            Err(error) => {
                tracing::error!("{service}: {error}");
                state.forget_host(HostId(host.0));
                events.push(Event::HostLost { host });
            }
        }
    }
    for id in records.into_keys() {
        state.forget_host(HostId(id));
    }
    let strays: Vec<String> = hosts
        .strays()
        .iter()
        .map(|stray| {
            let pids: Vec<String> = stray.pids.iter().map(u32::to_string).collect();
            format!("{}: process {}", stray.cgroup.display(), pids.join(", "))
        })
        .collect();
    for stray in &strays {
        tracing::warn!("nobody knows {stray}");
    }
    (restored.engine, strays, hosts, state, events)
}

/// Binds the control socket; everybody may connect, and is asked who they are.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let _: PathBuf = notify::bind_file(&socket, path, 0o666)?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(StdListener::from(socket))
}

/// The name of a stream of changes that begins now.
fn new_epoch() -> u64 {
    let mut bytes = [0_u8; 4];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(4) => u64::from(u32::from_ne_bytes(bytes)),
        Ok(_) | Err(_) => now().0,
    }
}
