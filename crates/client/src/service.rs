//! A service that follows its devices: the loop that every such service needs, written once.
//!
//! | what Microsoft's guidance asks of a service | here |
//! |---|---|
//! | report START_PENDING, then RUNNING | done by [`Service::run`] |
//! | register for interface notifications, then list; each interface once, though both tell of it | one stream: a snapshot, then changes |
//! | open a handle to each interface | your function is called with a [`Device`]; what it returns is kept |
//! | register for its removal, and release the handle when it goes | what was returned is dropped |
//! | stop after the last one: STOP_PENDING, clean up, STOPPED | asked for with `StopIfUnchanged`, then everything is dropped |
//! | on a stop, close every open handle | everything is dropped before STOPPED is reported |
//!
//! ```text
//! state     | event                    | then
//! ----------+--------------------------+---------------------------------------------------------------
//! starting  | snapshot, an interface   | call the function; keep what it returns
//!           | snapshot complete        | report RUNNING                                     -> running
//! running   | arrival                  | call the function; keep what it returns
//! any       | the function fails       | again after 100 ms, twice as long each time, to 5 s
//! any       | removal                  | drop what was kept
//! running   | none is left             | StopIfUnchanged: accepted -> stopping; refused: one has come, go on
//! any       | asked to stop            | -> stopping
//! any       | asked of a trigger event | it is taken: the stream tells of the device
//! any       | the manager is away      | go on; report again when it is back
//! stopping  |                          | drop everything, report STOPPED
//! ```

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fs::File;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arrival_model::cursor::Cursor;
use arrival_model::error::Win32Error;
use arrival_model::state::{Accepts, ServiceState};
use arrival_wire::api::devices::Interface;
use arrival_wire::api::session::{Ask, Notice, NoticeKind, Subscription};

use crate::connection::Access;
use crate::error::{Error, ErrorKind};
use crate::known::Key;
use crate::root::Root;
use crate::session::{Report, Sender};
use crate::watch::{Event, Watch};

/// The first and the longest pause before a device that could not be opened is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long the manager may wait for the next report of a start or stop.
const WAIT_HINT: Duration = Duration::from_secs(30);

/// A device interface that has arrived.
#[derive(Debug)]
pub struct Device<'a> {
    interface: &'a Interface,
    sender: Option<Sender>,
}

impl Device<'_> {
    /// Its names and ids.
    pub fn interface(&self) -> &Interface {
        self.interface
    }

    /// Opens its node for reading and writing. The manager opens it and hands it over: the service needs no right
    /// of its own to the node.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] with code 433 if it is gone again, 50 if it has no node, 170 if it is busy.
    #[doc(alias = "CreateFile")]
    pub fn open(&self) -> Result<File, Error> {
        self.open_for(Access::ReadWrite)
    }

    /// Opens its node for something else.
    ///
    /// # Errors
    ///
    /// As [`open`](Device::open).
    pub fn open_for(&self, access: Access) -> Result<File, Error> {
        match &self.sender {
            Some(sender) => sender.open(&self.interface.link, access),
            None => Err(Error::new(ErrorKind::NoDaemon, &self.interface.link)),
        }
    }
}

/// A service of device interfaces of some classes; the module that it comes from says what it does.
///
/// ```no_run
/// use std::fs::File;
/// use std::process::ExitCode;
/// use arrival_client::Service;
///
/// fn main() -> ExitCode {
///     Service::of_class("{573e8c73-0cb4-4471-a1bf-fab26c31d384}")
///         .with_id("USB\\VID_0547&PID_1002")
///         // What is returned is kept while the board is there, and dropped when it goes.
///         .run(|board| -> Result<File, arrival_client::Error> {
///             println!("{} is here", board.interface().name);
///             board.open()
///         })
/// }
/// ```
pub struct Service {
    root: Root,
    subscription: Subscription,
    before_stop: Option<Box<dyn FnMut()>>,
}

impl Service {
    /// A service of a class, by its short name or GUID.
    pub fn of_class(class: impl Into<String>) -> Self {
        Service {
            root: Root::of_service(),
            subscription: Subscription {
                classes: vec![class.into()],
                ..Subscription::default()
            },
            before_stop: None,
        }
    }

    /// Of this class too.
    #[must_use]
    pub fn and_class(mut self, class: impl Into<String>) -> Self {
        self.subscription.classes.push(class.into());
        self
    }

    /// Only of devices with this hardware or compatible id; with several, any of them will do.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.subscription.ids.push(id.into());
        self
    }

    /// Told of devices as soon as the kernel tells of them, before their nodes have their final names and rights.
    #[must_use]
    pub fn once_appeared(mut self) -> Self {
        self.subscription.wait = Some("appeared".to_owned());
        self
    }

    /// Of another manager than the one that started this process.
    #[must_use]
    pub fn at(mut self, root: Root) -> Self {
        self.root = root;
        self
    }

    /// Called when the last device has gone, before the service asks to stop; a device that arrives meanwhile keeps
    /// it running.
    #[must_use]
    pub fn before_stop(mut self, call: impl FnMut() + 'static) -> Self {
        self.before_stop = Some(Box::new(call));
        self
    }

    /// Runs until the last device has gone or the manager asks to stop.
    ///
    /// `arrived` is called with every device, one after the other: whatever takes long belongs into a thread that is
    /// started there. The exit code is a failure only if this process is no service, or the manager refuses it.
    pub fn run<H, E: Into<Box<dyn StdError>>>(
        self,
        arrived: impl FnMut(&Device<'_>) -> Result<H, E>,
    ) -> ExitCode {
        match self.serve(arrived) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("cannot be a service: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// As [`run`](Service::run), and gives the error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] with code 6 if this process is not that of a service, and those of
    /// [`Watch::open`].
    pub fn serve<H, E: Into<Box<dyn StdError>>>(
        mut self,
        mut arrived: impl FnMut(&Device<'_>) -> Result<H, E>,
    ) -> Result<(), Error> {
        let mut watch = Watch::open(&self.root, self.subscription.clone())?;
        let mut devices: Devices<H> = Devices::default();
        let mut running = false;
        tell(&watch, ServiceState::StartPending)?;
        loop {
            let event = watch.next_event(devices.next_retry())?;
            match event {
                Some(Event::Notice(notice)) => {
                    devices.take(&notice);
                    running |= notice.complete == Some(true);
                    if notice.complete == Some(true) {
                        devices.open(&watch, &mut arrived);
                        tell(&watch, ServiceState::Running)?;
                    }
                }
                Some(Event::Ask(ask)) if answer(&watch, &ask)? => break,
                // A trigger event that was queued may have kept it from stopping.
                Some(Event::Ask(_)) => devices.ask_again(),
                Some(Event::Connected) => {
                    let state = match running {
                        true => ServiceState::Running,
                        false => ServiceState::StartPending,
                    };
                    tell(&watch, state)?;
                    devices.ask_again();
                }
                None => {}
            }
            if running {
                devices.open(&watch, &mut arrived);
            }
            if running && !watch.has_more() && devices.is_empty_since_told() {
                if let Some(call) = &mut self.before_stop {
                    call();
                }
                if stopped(&watch, devices.cursor)? {
                    break;
                }
            }
        }
        devices.release(&watch);
        tell(&watch, ServiceState::Stopped)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("root", &self.root)
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}

/// A device that is there.
struct Present<H> {
    interface: Interface,
    /// What the author's function returned.
    handle: Option<H>,
    /// When to try again, and the pause after that.
    retry: Option<(Instant, Duration)>,
}

struct Devices<H> {
    present: BTreeMap<Key, Present<H>>,
    /// The last record that was told.
    cursor: Option<Cursor>,
    /// None is left, and it has not been asked yet whether to stop because of it.
    none_left: bool,
}

impl<H> Default for Devices<H> {
    fn default() -> Self {
        Devices {
            present: BTreeMap::new(),
            cursor: None,
            none_left: true,
        }
    }
}

impl<H> Devices<H> {
    fn take(&mut self, notice: &Notice) {
        self.cursor = notice.cursor.parse().ok().or(self.cursor);
        let Some(interface) = &notice.interface else {
            return;
        };
        let key = Key::of(interface);
        match notice.kind {
            NoticeKind::Snapshot | NoticeKind::Arrival => {
                let known = Present {
                    interface: interface.clone(),
                    handle: None,
                    retry: Some((Instant::now(), RETRY.0)),
                };
                self.present.entry(key).or_insert(known);
            }
            NoticeKind::Removal => {
                self.present.remove(&key);
            }
            NoticeKind::State | NoticeKind::Overrun | NoticeKind::Resync => {}
        }
        self.ask_again();
    }

    /// Something has changed: if none is left, it is asked again whether to stop.
    fn ask_again(&mut self) {
        self.none_left = self.present.is_empty();
    }

    /// Whether none is left; true once for each time that the last one goes.
    fn is_empty_since_told(&mut self) -> bool {
        self.present.is_empty() && std::mem::take(&mut self.none_left)
    }

    fn next_retry(&self) -> Option<Instant> {
        self.present
            .values()
            .filter_map(|one| one.retry)
            .map(|(at, _)| at)
            .min()
    }

    /// Calls the author's function for every device that is due.
    fn open<E: Into<Box<dyn StdError>>>(
        &mut self,
        watch: &Watch,
        arrived: &mut impl FnMut(&Device<'_>) -> Result<H, E>,
    ) {
        for one in self.present.values_mut() {
            let Some((_, pause)) = one.retry.filter(|(at, _)| *at <= Instant::now()) else {
                continue;
            };
            let device = Device {
                interface: &one.interface,
                sender: watch.sender(),
            };
            match arrived(&device) {
                Ok(handle) => {
                    one.handle = Some(handle);
                    one.retry = None;
                }
                Err(error) => {
                    let error: Box<dyn StdError> = error.into();
                    let pause_ms = pause.as_millis();
                    eprintln!("{}: {error}; again in {pause_ms} ms", one.interface.link);
                    one.retry = Some((Instant::now() + pause, (pause * 2).min(RETRY.1)));
                }
            }
        }
    }

    /// Lets go of every device, and says so in between: each may take its time.
    fn release(&mut self, watch: &Watch) {
        let mut checkpoint = 0;
        while let Some((_, one)) = self.present.pop_first() {
            checkpoint += 1;
            let mut pending = Report::new(ServiceState::StopPending);
            pending.checkpoint = checkpoint;
            pending.wait_hint = WAIT_HINT;
            // If that cannot be said, it is said by the end of the process.
            let _ = watch.sender().map(|sender| sender.report(pending));
            drop(one);
        }
    }
}

fn what(state: ServiceState) -> Report {
    let mut report = Report::new(state);
    match state {
        ServiceState::Running => report.accepts = Accepts::STOP | Accepts::TRIGGER_EVENT,
        ServiceState::StartPending | ServiceState::StopPending => {
            report.checkpoint = 1;
            report.wait_hint = WAIT_HINT;
        }
        ServiceState::Stopped
        | ServiceState::ContinuePending
        | ServiceState::PausePending
        | ServiceState::Paused => {}
    }
    report
}

/// Reports a state; a manager that is away is told when it is back.
fn tell(watch: &Watch, state: ServiceState) -> Result<(), Error> {
    let Some(sender) = watch.sender() else {
        return Ok(());
    };
    match sender.report(what(state)) {
        Err(error) if is_away(&error) => Ok(()),
        // The manager has decided to stop it meanwhile: the question will come.
        Err(error)
            if error.code() == Win32Error::INVALID_DATA && state != ServiceState::Stopped =>
        {
            Ok(())
        }
        done => done,
    }
}

/// Answers a question; true if it is to stop.
fn answer(watch: &Watch, ask: &Ask) -> Result<bool, Error> {
    let (code, stop) = match ask.control.as_str() {
        "stop" => (Win32Error::SUCCESS, true),
        // The stream tells of the device, if it has not yet.
        "trigger_event" => (Win32Error::SUCCESS, false),
        _ => (Win32Error::CALL_NOT_IMPLEMENTED, false),
    };
    match watch.sender().map(|sender| sender.answer(ask.ask, code)) {
        None | Some(Ok(())) => Ok(stop),
        // It was too late, or the manager is away.
        Some(Err(error)) if is_away(&error) || error.code() == Win32Error::NOT_FOUND => Ok(stop),
        Some(Err(error)) => Err(error),
    }
}

/// Asks to stop because no device is left; false if one has come.
fn stopped(watch: &Watch, cursor: Option<Cursor>) -> Result<bool, Error> {
    let (Some(sender), Some(cursor)) = (watch.sender(), cursor) else {
        // The manager is away; the first thing it says when it is back brings us here again.
        return Ok(false);
    };
    match sender.stop_if_unchanged(cursor) {
        Ok(()) => Ok(true),
        Err(error) if is_away(&error) => Ok(false),
        Err(error) if error.code() == Win32Error::RETRY => Ok(false),
        // It is being stopped already, and will be asked to.
        Err(error) if error.code() == Win32Error::SERVICE_CANNOT_ACCEPT_CTRL => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_away(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NoDaemon
            | ErrorKind::Disconnected
            | ErrorKind::NoSuchSession
            | ErrorKind::Timeout
            | ErrorKind::Io
    )
}
