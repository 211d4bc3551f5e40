//! What each command does.
//!
//! | module | commands |
//! |---|---|
//! | [`services`] | list, status, triggers |
//! | [`control`] | start, stop, enable, disable |
//! | [`why`] | why |
//! | [`watch`] | watch |
//! | [`devices`] | devices, classes |
//! | [`daemon`] | info, reload, shutdown |
//! | [`check`] | check |
//! | [`install`] | install, uninstall, packages |
//! | [`verify`] | verify |
//! | [`inf`] | inf check, inf fmt, inf explain |
//! | [`export`] | export |
//! | [`shell`] | completions, man |
//!
//! [`wish`] holds what an INF means here, [`plan`] how it is shown.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use arrival_client::{Connection, Patience, Root};
use arrivald::{Options, Parsed};
use rustix::time::{ClockId, clock_gettime};

use crate::args::{Arguments, Command};
use crate::demo;
use crate::exit::{Exit, Failure};
use crate::screen::Screen;

mod check;
mod control;
mod daemon;
mod devices;
mod event;
mod export;
mod inf;
pub(crate) mod install;
mod plan;
mod services;
mod shell;
mod sources;
mod verify;
mod watch;
mod why;
mod wish;

#[cfg(test)]
mod looks;
#[cfg(test)]
mod samples;

/// Carries out a command; `parser` is what it was parsed with.
pub(crate) fn run(arguments: Arguments, parser: clap::Command) -> ExitCode {
    if let Command::Daemon { arguments: own } = arguments.command {
        return serve(arguments.global.root, own);
    }
    if let Command::Demo(options) = &arguments.command {
        return demo::demo(&arguments.global, options);
    }
    let screen = &mut Screen::standard(&arguments.global);
    let place = Place {
        root: Root::from(arguments.global.root),
    };
    let result = match arguments.command {
        Command::List => services::list(&place, screen),
        Command::Status(names) => services::status(&place, screen, &names.names),
        Command::Triggers(name) => services::triggers(&place, screen, name.name.as_deref()),
        Command::Sources => sources::sources(&place, screen),
        Command::Event(command) => event::event(&place, &command.does),
        Command::Why(name) => why::why(&place, screen, &name.name),
        Command::Watch(options) => watch::watch(&place, screen, options),
        Command::Devices(options) => devices::devices(&place, screen, &options),
        Command::Classes => devices::classes(&place, screen),
        Command::Start(options) => control::start(&place, screen, &options),
        Command::Stop(options) => control::stop(&place, screen, &options),
        Command::Enable(names) => control::enable(&place, screen, &names.names, true),
        Command::Disable(names) => control::enable(&place, screen, &names.names, false),
        Command::Check(files) => check::check(&place, screen, &files.files),
        Command::Install(options) => install::install(&place, screen, &options),
        Command::Uninstall(names) => install::uninstall(&place, screen, &names.names),
        Command::Packages => install::packages(&place, screen),
        Command::Verify(names) => verify::verify(&place, screen, &names.names),
        Command::Inf(what) => inf::inf(&place, screen, what),
        Command::Export(options) => export::export(&place, screen, &options),
        Command::Reload => daemon::reload(&place, screen),
        Command::Info => daemon::info(&place, screen),
        Command::Shutdown(options) => daemon::shutdown(&place, screen, options.timeout),
        // Carried out above: these have screens of their own, or none.
        Command::Daemon { .. } | Command::Demo(_) => Ok(Exit::Failed),
        Command::Completions { shell } => shell::completions(screen, parser, shell),
        Command::Man { folder } => shell::man(parser, &folder),
    };
    let result = result.and_then(|exit| {
        screen.flush()?;
        Ok(exit)
    });
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // What was written before the failure comes first; a second failure changes nothing.
            let _ = screen.flush();
            failure.report()
        }
    }
}

/// `arrival daemon [ARG...]`: the manager, with the arguments of arrivald.
fn serve(root: Option<PathBuf>, arguments: Vec<OsString>) -> ExitCode {
    match Options::parse(arguments) {
        Ok(Parsed::Run(options)) => arrivald::run(Options {
            root: options.root.or(root),
            ..options
        }),
        Ok(Parsed::Help) => {
            anstream::print!("{}", arrivald::USAGE);
            Exit::Done.into()
        }
        Ok(Parsed::Version) => {
            anstream::println!("{}", arrivald::VERSION);
            Exit::Done.into()
        }
        Err(error) => {
            anstream::eprintln!("arrival daemon: {error}; see arrival daemon --help");
            ExitCode::from(2)
        }
    }
}

/// The end of every command.
type Outcome = Result<Exit, Failure>;

/// Which manager is meant.
struct Place {
    root: Root,
}

impl Place {
    fn connect(&self) -> Result<Connection, Failure> {
        self.connect_with(None)
    }

    /// Connects; completions may take this many seconds.
    fn connect_with(&self, timeout: Option<u64>) -> Result<Connection, Failure> {
        let mut patience = Patience::default();
        if let Some(seconds) = timeout {
            patience.completion = std::time::Duration::from_secs(seconds);
        }
        Connection::connect_with(&self.root, patience)
            .map_err(|error| Failure::of("cannot connect", &error))
    }
}

/// Nanoseconds of the clock that the manager stamps its records with.
fn boot_time_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
