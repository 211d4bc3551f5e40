//! The stage of the demonstration: the manager, what it reports, and what the service wrote down.
//!
//! Everything that is expected has a deadline; what came but was not expected stays in a queue, and a
//! scene must leave that queue empty.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use arrival_client::{
    Connection, ErrorKind, Notice, NoticeKind, Root, ServiceStatus, StateChange, Subscription,
    Watch,
};

use super::record::{self, Entry};
use super::service::CLASS;
use super::{Exit, SERVICE};
use crate::commands::install;

/// The name of the service.
pub(super) const NAME: &str = "demo";
/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often files and processes are looked at, of which nothing tells.
const LOOK: Duration = Duration::from_millis(1);

/// Why the story ends early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The output cannot be written.
    Output(io::Error),
    /// Something went wrong; the exit status and what it was.
    Because(Exit, String),
}

impl Stop {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Stop::Because(Exit::Failed, message.into())
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Output(error)
    }
}

/// A change of the service's state, and when it happened.
pub(super) struct Change {
    pub(super) time_ns: u64,
    pub(super) change: StateChange,
}

/// The manager and everything that is known of it.
pub(super) struct Stage {
    dir: PathBuf,
    manager: Child,
    watch: Watch,
    notices: VecDeque<Notice>,
    entries_taken: usize,
    connection: Connection,
}

impl Stage {
    /// Writes the files of a root, installs the service, starts a manager there and waits until it answers.
    pub(super) fn set(dir: &Path, class: &str, inf: &str) -> Result<Self, Stop> {
        let program = dir.join("arrival");
        write(dir, "classes.d/demo.toml", class)?;
        write(dir, "package/demo.inf", inf)?;
        fs::copy("/proc/self/exe", &program)
            .and_then(|_| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
            // The program of the service is this one too.
            .and_then(|()| fs::hard_link(&program, dir.join("package/demo")))
            .map_err(|error| Stop::failed(format!("cannot copy this program: {error}")))?;
        install::quietly(dir, &dir.join("package/demo.inf")).map_err(Stop::failed)?;
        let log = dir.join("manager.log");
        let output = || File::options().append(true).create(true).open(&log);
        let mut manager = Command::new(&program)
            .arg("--root")
            .arg(dir)
            .arg("daemon")
            .arg("--sysfs")
            .arg(dir.join("sys"))
            .arg("--no-udev")
            .env_remove("ARRIVAL_ROOT")
            .env_remove("NOTIFY_SOCKET")
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(output().map_err(|error| Stop::failed(format!("manager.log: {error}")))?)
            .stderr(output().map_err(|error| Stop::failed(format!("manager.log: {error}")))?)
            .spawn()
            .map_err(|error| Stop::failed(format!("cannot start the manager: {error}")))?;
        let (watch, connection) = meet(&Root::at(dir), &mut manager).map_err(|what| {
            // It may be the one that hangs.
            let _ = manager.kill();
            Stop::failed(format!("{what}{}", tail(&log)))
        })?;
        let mut stage = Stage {
            dir: dir.to_owned(),
            manager,
            watch,
            notices: VecDeque::new(),
            entries_taken: 0,
            connection,
        };
        stage.notice("the end of the snapshot", |notice| {
            notice.complete == Some(true)
        })?;
        // What was there at the beginning is of no interest: the world was empty.
        stage
            .notices
            .retain(|notice| notice.kind != NoticeKind::Snapshot);
        Ok(stage)
    }

    pub(super) fn manager_pid(&self) -> u32 {
        self.manager.id()
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Where the service writes.
    pub(super) fn record(dir: &Path) -> PathBuf {
        dir.join("record")
    }

    /// The notice that a device has come or gone.
    pub(super) fn interface(&mut self, kind: NoticeKind, name: &str) -> Result<Notice, Stop> {
        let what = match kind {
            NoticeKind::Arrival => format!("the notice of the arrival of {name}"),
            NoticeKind::Removal => format!("the notice of the removal of {name}"),
            NoticeKind::Snapshot | NoticeKind::State | NoticeKind::Overrun | NoticeKind::Resync => {
                format!("a notice about {name}")
            }
        };
        self.notice(&what, |notice| {
            notice.kind == kind
                && notice
                    .interface
                    .as_ref()
                    .is_some_and(|interface| interface.name == name)
        })
    }

    /// The notice that the service is in this state.
    pub(super) fn state(&mut self, state: &str) -> Result<Change, Stop> {
        let what = format!("the notice that the service is {state}");
        let is_it = |notice: &Notice| {
            let change = notice.state.as_ref();
            change.is_some_and(|change| change.service == NAME && change.state == state)
        };
        let notice = self.notice(&what, is_it)?;
        let time_ns = notice.time_ns;
        match notice.state {
            Some(change) => Ok(Change { time_ns, change }),
            None => Err(self.missing(&what)),
        }
    }

    /// The first notice that fits, of those that came and those that will.
    fn notice(&mut self, what: &str, fits: impl Fn(&Notice) -> bool) -> Result<Notice, Stop> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(place) = self.notices.iter().position(&fits)
                && let Some(notice) = self.notices.remove(place)
            {
                return Ok(notice);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.watch.next_within(left) {
                Ok(Some(notice)) => self.notices.push_back(notice),
                Ok(None) => return Err(self.missing(what)),
                Err(error) => {
                    let what = format!("{what} ({error})");
                    return Err(self.missing(&what));
                }
            }
            if self.watch.reconnections() > 0 {
                let what = format!("{what} (the manager closed the connection)");
                return Err(self.missing(&what));
            }
        }
    }

    /// What the service wrote down, in its order but for what others wrote between.
    pub(super) fn entry(
        &mut self,
        pid: Option<i32>,
        verb: &str,
        rest: &str,
    ) -> Result<Entry, Stop> {
        let deadline = Instant::now() + PATIENCE;
        let path = Stage::record(&self.dir);
        loop {
            let entries = record::read(&path);
            let fits = |entry: &Entry| {
                entry.verb == verb
                    && (rest.is_empty() || entry.rest == rest)
                    && pid.is_none_or(|pid| pid == entry.pid)
            };
            let unseen = entries.iter().enumerate().skip(self.entries_taken);
            if let Some((place, entry)) = unseen.into_iter().find(|(_, entry)| fits(entry)) {
                // "told" comes from another thread: it may stand before or behind the others.
                if verb != "told" {
                    self.entries_taken = place + 1;
                }
                return Ok(entry.clone());
            }
            let deaf = entries.iter().find(|entry| entry.verb == "deaf");
            if Instant::now() >= deadline || deaf.is_some() {
                let why = deaf.map(|entry| format!(" ({})", entry.rest));
                let what = format!(
                    "the service's own word '{}'{}",
                    format!("{verb} {rest}").trim_end(),
                    why.unwrap_or_default()
                );
                return Err(self.missing(&what));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What the manager says of the service.
    pub(super) fn status(&mut self) -> Result<ServiceStatus, Stop> {
        let status = self.connection.status(NAME);
        status.map_err(|error| self.missing(&format!("the status of the service ({error})")))
    }

    /// Fails if the manager reported anything that no step expected.
    pub(super) fn expect_nothing_more(&mut self) -> Result<(), Stop> {
        while let Ok(Some(notice)) = self.watch.next_within(Duration::ZERO) {
            self.notices.push_back(notice);
        }
        if self.notices.is_empty() {
            Ok(())
        } else {
            Err(self.missing("an end of the notices"))
        }
    }

    /// Stops the manager in order.
    pub(super) fn clear(&mut self) -> Result<ExitStatus, Stop> {
        self.connection
            .shutdown()
            .map_err(|error| self.missing(&format!("an orderly shutdown ({error})")))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.manager.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
                Ok(None) => return Err(self.missing("the end of the manager")),
                Err(error) => return Err(Stop::failed(format!("the manager: {error}"))),
            }
        }
    }

    /// How often the service wrote this, by its own account.
    pub(super) fn count(&self, verb: &str) -> usize {
        let entries = record::read(&Stage::record(&self.dir));
        entries.iter().filter(|entry| entry.verb == verb).count()
    }

    /// The failure that something did not happen, with everything that may explain it.
    pub(super) fn missing(&mut self, what: &str) -> Stop {
        let mut message = format!("missing: {what}");
        for notice in &self.notices {
            let name = notice.interface.as_ref().map(|interface| &interface.name);
            let state = notice.state.as_ref();
            let state = state.map(|change| format!("{} {}", change.service, change.state));
            let about = name.cloned().or(state).unwrap_or_default();
            message.push_str(&format!("\n  came instead: {:?} {about}", notice.kind));
        }
        for entry in record::read(&Stage::record(&self.dir)) {
            let Entry {
                verb, pid, rest, ..
            } = entry;
            message.push_str(&format!("\n  the service wrote: {verb} {rest} (pid {pid})"));
        }
        if let Ok(why) = self.connection.why(NAME) {
            message.push_str(&format!(
                "\n  the service is {}: {}",
                why.service.state, why.answer
            ));
        }
        if let Ok(info) = self.connection.info() {
            let counters = info.counters;
            message.push_str(&format!(
                "\n  the manager saw {} device events, and refused {} messages of services",
                counters.events, counters.notify_refused
            ));
        }
        message.push_str(&tail(&self.dir.join("manager.log")));
        message.push_str(&tail(&self.dir.join("log/demo.log")));
        Stop::failed(message)
    }
}

/// Connects to a manager that is starting.
fn meet(root: &Root, manager: &mut Child) -> Result<(Watch, Connection), String> {
    let subscription = Subscription {
        classes: vec![CLASS.to_owned()],
        states: true,
        ..Subscription::default()
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let met = Watch::open(root, subscription.clone())
            .and_then(|watch| Ok((watch, Connection::connect(root)?)));
        let error = match met {
            Ok(met) => return Ok(met),
            Err(error) => error,
        };
        if let Ok(Some(status)) = manager.try_wait() {
            return Err(format!("the manager ended at once: {status}"));
        }
        let early = matches!(error.kind(), ErrorKind::NoDaemon | ErrorKind::NoSuchClass);
        if !early || Instant::now() >= deadline {
            return Err(format!("the manager does not answer: {error}"));
        }
        std::thread::sleep(LOOK);
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<(), Stop> {
    let path = dir.join(name);
    let parent = path.parent().unwrap_or(dir);
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(&path, text))
        .map_err(|error| Stop::failed(format!("cannot write {}: {error}", path.display())))
}

/// The last lines of a file, each on a line of its own.
fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lines = lines.into_iter().rev();
    lines.map(|line| format!("\n  {name}: {line}")).collect()
}

/// The arguments of the service's program.
pub(super) fn arguments(dir: &Path, cleanup: Duration) -> Option<Vec<String>> {
    let text = |path: PathBuf| path.into_os_string().into_string().ok();
    Some(vec![
        SERVICE.to_owned(),
        text(Stage::record(dir))?,
        cleanup.as_millis().to_string(),
    ])
}
