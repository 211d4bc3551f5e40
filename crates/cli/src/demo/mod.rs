//! `arrival demo`: a manager, a service and its devices, for real, in a world of their own.
//!
//! | process | is | lives in |
//! |---|---|---|
//! | `arrival demo` | this module: makes the world, waits for its end, looks that nothing is left | the machine |
//! | PID 1 | [`arrival_linux::sandbox`]: takes away zombies | the world |
//! | `arrival __demo-story` | [`story`]: makes devices, tells what happens and checks it | the world |
//! | `ROOT/arrival daemon` | the manager, with the root ROOT and the sysfs at ROOT/sys | the world |
//! | `ROOT/arrival __demo-service` | [`service`]: what the manager starts and stops | the world |
//!
//! ROOT is an empty folder outside of the world, and a tmpfs in it: neither an interrupt nor a kill of
//! any of these leaves more behind than that folder. All five are the same executable.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arrival_linux::host::{Containment, Wanted};
use arrival_linux::sandbox::{Sandbox, SandboxError, Signals, World, temporary_folder};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use crate::args::{Color, Global};
use crate::exit::{Exit, Failure};
use crate::screen::Screen;

mod devices;
mod lines;
mod record;
mod service;
mod stage;
mod story;
#[cfg(test)]
mod tests;

use lines::{Line, Lines};

/// How the demonstration is given.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Do not pause between the scenes
    #[arg(long)]
    pub(crate) fast: bool,
}

/// The hidden subcommand that tells the story.
const STORY: &str = "__demo-story";
/// The hidden subcommand that is the service.
const SERVICE: &str = "__demo-service";

/// What the story ends with when nobody reads its output any more; nothing else ends with it.
const UNREAD: i32 = 120;

/// Carries out the hidden subcommands of the demonstration; none if this is not one of them.
///
/// They are no part of the command line that people see, and the service measures how soon its first
/// statement runs: so this comes before any argument is parsed.
pub(crate) fn hidden() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let word = arguments.next()?;
    if word == SERVICE {
        let begun = record::boot_time_ns();
        return Some(service::service(begun, arguments));
    }
    if word == STORY {
        return Some(story::story(Told::from_arguments(arguments)));
    }
    None
}

/// `arrival demo`.
pub(crate) fn demo(global: &Global, options: &Options) -> ExitCode {
    let screen = &mut Screen::standard(global);
    let told = Told {
        root: PathBuf::new(),
        json: global.json,
        color: global.color,
        fast: options.fast,
    };
    let result = give(screen, told);
    let result = result.and_then(|code| {
        screen.flush()?;
        Ok(code)
    });
    match result {
        Ok(code) => code,
        Err(failure) => {
            // What was told before the failure comes first; a second failure changes nothing.
            let _ = screen.flush();
            failure.report()
        }
    }
}

/// How the story is told, on its way through a command line.
#[derive(Clone, Debug)]
struct Told {
    root: PathBuf,
    json: bool,
    color: Color,
    fast: bool,
}

impl Told {
    fn arguments(&self) -> [OsString; 5] {
        let color = match self.color {
            Color::Auto => "auto",
            Color::Always => "always",
            Color::Never => "never",
        };
        [
            STORY.into(),
            self.root.clone().into_os_string(),
            if self.json { "json" } else { "text" }.into(),
            color.into(),
            if self.fast { "fast" } else { "slow" }.into(),
        ]
    }

    /// Whoever calls it by hand gets the defaults for what is missing.
    fn from_arguments(mut arguments: impl Iterator<Item = OsString>) -> Self {
        let mut next = || arguments.next().unwrap_or_default();
        Told {
            root: next().into(),
            json: next() == "json",
            color: match next().to_str() {
                Some("always") => Color::Always,
                Some("never") => Color::Never,
                _ => Color::Auto,
            },
            fast: next() == "fast",
        }
    }
}

/// How the world ended.
enum End {
    /// By itself, with this exit status.
    Status(i32),
    /// By us, since this signal came.
    Interrupted(i32),
}

/// Gives the demonstration, and looks that nothing is left of it.
fn give(screen: &mut Screen<'_>, mut told: Told) -> Result<ExitCode, Failure> {
    let failed = |what: &str, error: io::Error| {
        Failure::new(Exit::Failed, format!("the demo cannot {what}: {error}"))
    };
    let signals = Signals::take_over(&[
        Signal::INT.as_raw(),
        Signal::TERM.as_raw(),
        Signal::HUP.as_raw(),
    ])
    .map_err(|error| failed("take over signals", error))?;
    let root = Root::new().map_err(|error| failed("make a temporary folder", error))?;
    told.root.clone_from(&root.path);
    let mut sandbox = Sandbox::new(&root.path, "/proc/self/exe")
        .private_root()
        // The journal is the machine's, and what this service says concerns nobody.
        .hide("/run/systemd/journal");
    for argument in told.arguments() {
        sandbox = sandbox.argument(argument);
    }
    let mut world = sandbox.start().map_err(|error| match error {
        SandboxError::Refused(refusal) => {
            let remedy = refusal.remedy();
            let message = format!("the demo needs a private world, and {refusal}; {remedy}");
            Failure::new(Exit::Cannot, message)
        }
        error @ (SandboxError::Failed { .. } | SandboxError::Nul(_)) => {
            Failure::new(Exit::Failed, format!("the demo cannot begin: {error}"))
        }
    })?;
    let end = attend(&mut world, &signals).map_err(|error| failed("wait for its end", error))?;
    let left = world.processes();
    let path = root.path.clone();
    root.remove()
        .map_err(|error| failed(&format!("remove {}", path.display()), error))?;
    if !left.is_empty() {
        let message = format!("processes of the demo are left: {left:?}");
        return Err(Failure::new(Exit::Failed, message));
    }
    let mut lines = Lines::new(screen);
    match end {
        End::Status(0) => {
            lines.say(&Line::new(
                "gone",
                format!(
                    "no process of it is left, {} is removed, exit 0",
                    path.display()
                ),
            ))?;
            lines.next_steps()?;
            Ok(Exit::Done.into())
        }
        End::Status(UNREAD) => Ok(Exit::Done.into()),
        // The story has said why.
        End::Status(status) => Ok(u8::try_from(status).map_or(Exit::Failed.into(), ExitCode::from)),
        End::Interrupted(signal) => {
            lines.say(&Line::new(
                "interrupted",
                format!(
                    "interrupted: all of it is ended, {} is removed",
                    path.display()
                ),
            ))?;
            Ok(u8::try_from(128 + signal).map_or(Exit::Failed.into(), ExitCode::from))
        }
    }
}

/// Waits until the world ends by itself, or ends it when a signal comes.
fn attend(world: &mut World, signals: &Signals) -> io::Result<End> {
    loop {
        let mut fds = [
            PollFd::new(world, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [ended, signalled] = fds.map(|fd| !fd.revents().is_empty());
        if ended {
            let status = world.wait()?;
            return Ok(End::Status(status.code().unwrap_or(Exit::Failed as i32)));
        }
        if signalled && let Some(signal) = signals.take()? {
            world.end()?;
            return Ok(End::Interrupted(signal));
        }
    }
}

/// The folder of the demonstration; it goes with this value.
struct Root {
    path: PathBuf,
    present: bool,
}

impl Root {
    fn new() -> io::Result<Self> {
        // The manager knows its root by its real path, and so do cgroups.
        let path = temporary_folder("arrival-demo-")?;
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        Ok(Root {
            path,
            present: true,
        })
    }

    fn remove(mut self) -> io::Result<()> {
        self.present = false;
        remove_cgroup(&self.path);
        std::fs::remove_dir(&self.path)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.present {
            remove_cgroup(&self.path);
            // There is an error on its way already.
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// Removes the cgroups that a killed manager of this root left, which are empty but outlive the world.
fn remove_cgroup(root: &Path) {
    let Some(base) = Containment::detect(root, Wanted::Best).base() else {
        return;
    };
    for entry in std::fs::read_dir(&base).into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir(entry.path());
    }
    let _ = std::fs::remove_dir(&base);
}
