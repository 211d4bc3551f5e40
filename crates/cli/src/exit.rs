//! How a command ends: the exit status, and the one line that says what went wrong.

use std::fmt;
use std::io;
use std::process::ExitCode;

use arrival_client::{Error as ClientError, ErrorKind, Win32Error};

use crate::text::printable;

/// The exit statuses; programs rely on their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed for any other reason.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// `status NAME`: it is not running.
    NotRunning = 3,
    /// There is no such service or class.
    NoSuchObject = 4,
    /// The manager or the system refuses.
    Denied = 5,
    /// No manager answers at this root.
    NoDaemon = 6,
    /// This machine or this manager cannot do it.
    Cannot = 7,
    /// An input file has errors.
    BadInput = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads the output any more, which is no error.
    BrokenPipe,
    /// This goes to standard error, and this is the status.
    Message(Exit, String),
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure::Message(exit, message.into())
    }

    /// The failure of an attempt to do `what`, with a remedy where there is one.
    pub(crate) fn of(what: impl fmt::Display, error: &ClientError) -> Self {
        let subject = error.subject();
        let reason = error.reason().unwrap_or_else(|| error.to_string());
        let (exit, message) = match error.kind() {
            ErrorKind::NoDaemon => (
                Exit::NoDaemon,
                format!(
                    "no manager answers at {subject}: start one with 'arrivald' or name its root \
                     with --root"
                ),
            ),
            ErrorKind::NoSuchService => (
                Exit::NoSuchObject,
                format!("there is no service '{subject}': 'arrival list' shows all"),
            ),
            ErrorKind::NoSuchClass => (
                Exit::NoSuchObject,
                format!("there is no interface class '{subject}': 'arrival classes' shows all"),
            ),
            ErrorKind::Denied if error.code() == Win32Error::SERVICE_DOES_NOT_EXIST => {
                (Exit::NoSuchObject, format!("{what}: {reason}"))
            }
            ErrorKind::Denied if error.code() == Win32Error::ACCESS_DENIED => (
                Exit::Denied,
                format!("{what}: denied: {reason}; root may do it"),
            ),
            ErrorKind::Denied => (Exit::Denied, format!("{what}: denied: {reason}")),
            ErrorKind::Failed => (Exit::Failed, format!("{what}: {reason}")),
            ErrorKind::Unsupported => (
                Exit::Cannot,
                format!(
                    "{what}: the manager at {subject} cannot do this ({reason}): it may be older \
                     than this program"
                ),
            ),
            ErrorKind::Timeout => (
                Exit::Failed,
                format!("{what}: no answer from {subject} in time"),
            ),
            // Of kinds that this program does not know, the client's own words say enough.
            ErrorKind::NoSuchSession
            | ErrorKind::Protocol
            | ErrorKind::Disconnected
            | ErrorKind::Io
            | _ => (Exit::Failed, format!("{what}: {error}")),
        };
        Failure::Message(exit, message)
    }

    /// Tells it, and gives the exit status.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Failure::BrokenPipe => Exit::Done.into(),
            Failure::Message(exit, message) => {
                anstream::eprintln!("arrival: {}", printable(&message));
                exit.into()
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::BrokenPipe => f.write_str("nobody reads the output"),
            Failure::Message(_, message) => f.write_str(message),
        }
    }
}

impl From<io::Error> for Failure {
    /// An error of the output.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::BrokenPipe
        } else {
            Failure::new(Exit::Failed, format!("cannot write the output: {error}"))
        }
    }
}
