//! What goes into the engine and what comes out of it.
//!
//! ```text
//! handle_event(now, Event)                         something happened
//! handle_request(now, session, ticket, Request)    somebody asks; denied at once, or one Reply
//! handle_timeout(now)                              poll_timeout() has passed
//! poll_effect() -> Option<Effect>                  what must be done now, in this order
//! take_notice(now, session) -> Option<Notice>      a session can be sent one more notice
//! ```
//!
//! The result of an effect always comes back as an event that carries the effect's ids; a stale id
//! changes nothing. The engine reads no clock, file or environment.

use std::sync::Arc;
use std::time::Duration;

use arrival_model::access::{Peer, Right};
use arrival_model::cursor::Cursor;
use arrival_model::definition::{Definition, ServiceName};
use arrival_model::error::Win32Error;
use arrival_model::exit::Exit;
use arrival_model::guid::Guid;
use arrival_model::interface::{Interface, InterfaceKey};
use arrival_model::state::{Accepts, Control, HeldBack, ServiceState, StartReason};
use arrival_model::time::Time;
use arrival_model::trigger::{FoldedId, Level, PolicyKind, Signal, Wait};
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);
    };
}

id! {
    /// One run of a service, from START_PENDING to STOPPED; never used again within an epoch.
    RunId
}
id! {
    /// A process tree; never used again within an epoch.
    HostId
}
id! {
    /// A session; given by whoever accepts connections, never used again.
    SessionId
}
id! {
    /// A request that waits for its reply; given by whoever hands the request in.
    Ticket
}
id! {
    /// A question to a session.
    AskId
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A definition is there, new or changed, with whether it is enabled in the store.
    Defined {
        /// The definition.
        definition: Arc<Definition>,
        /// Whether it is enabled.
        enabled: bool,
    },
    /// A definition is gone. A run of it goes on; the service is forgotten when that has ended.
    Undefined(ServiceName),
    /// All definitions were told; sent once after the manager's start. Services that the engine
    /// remembers and nobody defined since are forgotten, and at the first start in a boot the
    /// services with `start = auto` are started.
    Loaded,
    /// An interface is present with these attributes; also sent when attributes changed.
    Present(Arc<Interface>),
    /// An interface is gone.
    Gone(InterfaceKey),
    /// A source lost events; a snapshot of it follows.
    Overrun {
        /// The source, for people.
        source: &'static str,
    },
    /// All interfaces of kernel devices that are present. Differences are told as ordinary
    /// removals and arrivals.
    Snapshot(Vec<Arc<Interface>>),
    /// Whether a level is true; sent at first, and whenever that changes.
    Level {
        /// Which.
        level: Level,
        /// What makes it true, such as the domain; none if it is not.
        by: Option<String>,
    },
    /// What a policy is; sent at first, and whenever that changes.
    Policy {
        /// Whose.
        kind: PolicyKind,
        /// The digest of its content; none if there is none.
        digest: Option<String>,
    },
    /// Something happened that triggers may wait for and that is no side of a level.
    Happened(Signal),
    /// The program of a host runs.
    HostStarted {
        /// Which host.
        host: HostId,
        /// Its main process.
        pid: i32,
        /// That process's start time in clock ticks after boot (proc_pid_stat(5), field 22).
        start_time: u64,
    },
    /// The program of a host could not be started; there is no such host.
    HostFailed {
        /// Which host.
        host: HostId,
        /// What a person reads: step, subject, cause.
        error: String,
        /// The Win32 code of the case.
        code: Win32Error,
    },
    /// The main process of a host has ended; other processes of it may be left.
    MainExited {
        /// Which host.
        host: HostId,
        /// How.
        exit: Exit,
    },
    /// No process of a host is left.
    HostEmpty {
        /// Which host.
        host: HostId,
    },
    /// After a restart of the manager: a remembered host is alive.
    HostAdopted {
        /// Which host.
        host: HostId,
    },
    /// After a restart of the manager: a remembered host is gone, and nobody saw how it ended.
    HostLost {
        /// Which host.
        host: HostId,
    },
    /// A notify datagram (sd_notify(3)) from a process of this host.
    Notified {
        /// Which host.
        host: HostId,
        /// What it says.
        notify: Notify,
    },
    /// A session begins.
    SessionOpened {
        /// Its id.
        session: SessionId,
        /// Who is at the other end.
        peer: Peer,
        /// The host that the peer's process is in, if it is in one.
        host: Option<HostId>,
    },
    /// A session's streaming connection is closed: tickets, asks and subscriptions end with it.
    SessionClosed(SessionId),
    /// The store has written what [`Effect::SaveEnabled`] asked for, or could not.
    EnabledSaved {
        /// The request it belongs to.
        ticket: Ticket,
        /// The service.
        service: ServiceName,
        /// What was written.
        enabled: bool,
        /// Why it could not be written.
        error: Option<String>,
    },
}

/// The parts of a notify datagram that the engine looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notify {
    /// `READY=1`.
    pub ready: bool,
    /// `STOPPING=1`.
    pub stopping: bool,
    /// `STATUS=...`.
    pub status: Option<String>,
    /// `EXTEND_TIMEOUT_USEC=...`.
    pub extend_timeout: Option<Duration>,
}

/// What a session asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Start a service (StartService).
    Start {
        /// Which.
        service: ServiceName,
        /// Arguments for ServiceMain; only services with the control protocol see them.
        arguments: Vec<String>,
        /// Reply when it runs or has failed, not when it has begun.
        wait: bool,
    },
    /// Stop a service (ControlService, SERVICE_CONTROL_STOP).
    Stop {
        /// Which.
        service: ServiceName,
        /// Reply when it has stopped, not when it has begun to.
        wait: bool,
    },
    /// Allow a service to be started.
    Enable(ServiceName),
    /// Forbid it; a run goes on.
    Disable(ServiceName),
    /// Choose which changes this session is told of; a snapshot comes first.
    Subscribe(Filter),
    /// Stop the service that this session's host runs, unless an interface of it came later.
    StopIfUnchanged(Cursor),
    /// The state of the service that this session's host runs (SetServiceStatus).
    Report(Report),
    /// The answer to a question.
    Answer {
        /// Which question.
        ask: AskId,
        /// The Win32 code that the service's handler returned.
        code: Win32Error,
    },
    /// Stop every service in order; the reply comes when all have stopped.
    Shutdown,
}

/// What a service says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// The state it is in.
    pub state: ServiceState,
    /// The controls that it accepts in this state.
    pub accepts: Accepts,
    /// Grows while a pending operation makes progress.
    pub checkpoint: u32,
    /// How long until the next checkpoint or the end of the operation.
    pub wait_hint: Duration,
    /// The Win32 exit code; counts with STOPPED.
    pub exit_code: Win32Error,
}

/// Which changes a session wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Interfaces of these classes; none means all.
    pub classes: Vec<Guid>,
    /// Interfaces with any of these ids; none means all.
    pub ids: Vec<FoldedId>,
    /// Which moment counts as the arrival.
    pub wait: Wait,
    /// Whether interfaces are wanted at all.
    pub interfaces: bool,
    /// Whether states of services are wanted.
    pub states: bool,
}

/// Something that must be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Write these changes to the state file before any later effect is carried out.
    Persist(Vec<Change>),
    /// Start a program in a fresh host; answered by `HostStarted` or `HostFailed`.
    Spawn(Spawn),
    /// Ask a host's main process to end (SIGTERM).
    Terminate {
        /// Which host.
        host: HostId,
    },
    /// Kill every process of a host.
    Kill {
        /// Which host.
        host: HostId,
    },
    /// Ask a session's program to carry out a control; answered by [`Request::Answer`].
    Ask {
        /// The session.
        session: SessionId,
        /// The question's id.
        ask: AskId,
        /// What it is asked to do.
        control: Control,
        /// When silence becomes error 1053.
        deadline: Time,
    },
    /// The one reply to a request that was not denied.
    Reply {
        /// The session.
        session: SessionId,
        /// The request.
        ticket: Ticket,
        /// Its outcome.
        reply: Reply,
    },
    /// A session has notices to take.
    Readable(SessionId),
    /// Write whether a service is enabled; answered by [`Event::EnabledSaved`].
    SaveEnabled {
        /// The request it belongs to.
        ticket: Ticket,
        /// The service.
        service: ServiceName,
        /// What to write.
        enabled: bool,
    },
    /// A service changed its state; for the log.
    StateChanged(StateChange),
    /// Every service has stopped after a [`Request::Shutdown`]: the manager may end.
    ShutDown,
}

/// A program to start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spawn {
    /// The host to make.
    pub host: HostId,
    /// The run it carries.
    pub run: RunId,
    /// What to start.
    pub definition: Arc<Definition>,
    /// Why.
    pub reason: StartReason,
    /// The interface it is started for.
    pub interface: Option<Arc<Interface>>,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Done.
    Done,
    /// The run that was started.
    Started(RunId),
    /// Begun, and failed.
    Failed {
        /// The Win32 code of the case.
        code: Win32Error,
        /// What a person reads.
        reason: String,
    },
    /// How many services were stopped by a shutdown.
    ShutDown {
        /// Their number.
        stopped: u64,
    },
}

/// Why a request is refused; it changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Denied {
    /// There is no such service.
    #[error("there is no service '{0}'")]
    NoSuchService(String),
    /// The session's peer may not do this.
    #[error("{0}")]
    AccessDenied(String),
    /// It is not stopped.
    #[error("'{0}' is already {1}")]
    AlreadyRunning(ServiceName, ServiceState),
    /// It is stopped.
    #[error("'{0}' is not running")]
    NotActive(ServiceName),
    /// It is stopping already, or starting and accepts no control yet.
    #[error("'{0}' cannot take a control now: it is {1}")]
    CannotAcceptControl(ServiceName, ServiceState),
    /// It is disabled.
    #[error("'{0}' is disabled; `arrival enable {0}` allows it to run")]
    Disabled(ServiceName),
    /// Its definition is gone, it only has to stop.
    #[error("'{0}' is no longer defined")]
    MarkedForDelete(ServiceName),
    /// The manager is stopping everything.
    #[error("the manager is shutting down")]
    ShuttingDown,
    /// The session's process runs no service.
    #[error("this process is not part of a service")]
    NotAService,
    /// The session does not exist.
    #[error("there is no such session")]
    NoSuchSession,
    /// There is no such question, or it has been answered or has expired.
    #[error("there is no open question {}", .0.0)]
    NoSuchAsk(AskId),
    /// An interface came later than the cursor.
    #[error("{0} arrived later than the cursor")]
    Changed(String),
    /// The service may not go from the one state to the other.
    #[error("a service that is {0} cannot become {1}")]
    IllegalTransition(ServiceState, ServiceState),
}

impl Denied {
    /// The Win32 code of this refusal.
    pub fn code(&self) -> Win32Error {
        match self {
            Denied::NoSuchService(_) => Win32Error::SERVICE_DOES_NOT_EXIST,
            Denied::AccessDenied(_) => Win32Error::ACCESS_DENIED,
            Denied::AlreadyRunning(..) => Win32Error::SERVICE_ALREADY_RUNNING,
            Denied::NotActive(_) => Win32Error::SERVICE_NOT_ACTIVE,
            Denied::CannotAcceptControl(..) => Win32Error::SERVICE_CANNOT_ACCEPT_CTRL,
            Denied::Disabled(_) => Win32Error::SERVICE_DISABLED,
            Denied::MarkedForDelete(_) => Win32Error::SERVICE_MARKED_FOR_DELETE,
            Denied::ShuttingDown => Win32Error::SHUTDOWN_IN_PROGRESS,
            Denied::NotAService | Denied::NoSuchSession => Win32Error::INVALID_HANDLE,
            Denied::NoSuchAsk(_) => Win32Error::NOT_FOUND,
            Denied::Changed(_) => Win32Error::RETRY,
            Denied::IllegalTransition(..) => Win32Error::INVALID_DATA,
        }
    }
}

/// What a service became.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateChange {
    /// The service.
    pub service: ServiceName,
    /// Its state.
    pub state: ServiceState,
    /// Why it does not run.
    pub held_back: Option<HeldBack>,
    /// Its run, if it has one.
    pub run: Option<RunId>,
    /// Its main process.
    pub pid: Option<i32>,
    /// Why the run was started.
    pub reason: Option<StartReason>,
    /// How the last main process ended; told with STOPPED.
    pub exit: Option<Exit>,
}

/// One record of a session's stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// The position of this change in the stream of all changes.
    pub cursor: Cursor,
    /// The cursor of the record before this one in this session's stream.
    pub previous: Option<Cursor>,
    /// When the engine learned of it.
    pub time: Time,
    /// What changed.
    pub kind: NoticeKind,
}

/// What a notice tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NoticeKind {
    /// This interface is present at the snapshot's cursor.
    Interface(Arc<Interface>),
    /// This service is in this state at the snapshot's cursor.
    Service(StateChange),
    /// The snapshot is complete; changes follow.
    SnapshotComplete,
    /// An interface arrived.
    Arrival(Arc<Interface>),
    /// An interface was removed; with its last known attributes.
    Removal(Arc<Interface>),
    /// A service changed its state.
    State(StateChange),
    /// Records of this session were lost because it did not read; a snapshot follows.
    SubscriberOverrun {
        /// How many.
        lost: u64,
    },
    /// A source lost events; its differences follow.
    SourceOverrun(&'static str),
    /// The differences of a source have been told.
    Resync(&'static str),
}

/// A change of what must survive a restart of the manager.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Which record, such as `host/3` or `service/gpsd`.
    pub key: String,
    /// Its new value as JSON; none deletes it.
    pub value: Option<String>,
}

/// What the engine needs to know once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// The stream's epoch if there is no saved state to continue.
    pub epoch: u64,
    /// How many records may wait for a subscriber that does not read.
    pub queue_limit: usize,
    /// Who may do what.
    pub access: arrival_model::access::AccessPolicy,
    /// How long a port is without a socket before it counts as closed; 60 s on Windows.
    pub port_closed_after: Duration,
}

/// A right checked against a service, for requests that only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check<'a> {
    /// The service, or none for the manager itself.
    pub service: Option<&'a ServiceName>,
    /// The right.
    pub right: Right,
}
