//! What can go wrong between a program and the manager.

use std::fmt;
use std::io;

use arrival_model::error::Win32Error;

/// What went wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nobody answers at the control socket.
    NoDaemon,
    /// The manager refuses, or the control socket may not be opened.
    Denied,
    /// There is no service of this name.
    NoSuchService,
    /// There is no interface class of this name.
    NoSuchClass,
    /// The session has ended.
    NoSuchSession,
    /// A start or stop was begun and did not succeed.
    Failed,
    /// The manager does not know the method: it is older than this program, or cannot do it here.
    Unsupported,
    /// The other end does not keep to the protocol.
    Protocol,
    /// The manager closed the connection.
    Disconnected,
    /// Nothing came within the time.
    Timeout,
    /// The system refused to read, write or connect.
    Io,
}

impl ErrorKind {
    /// The Win32 code that stands for this kind where the manager gave none.
    fn code(self) -> Win32Error {
        match self {
            // RPC_S_SERVER_UNAVAILABLE: what OpenSCManager gives for an unreachable machine.
            ErrorKind::NoDaemon | ErrorKind::Disconnected => Win32Error(1722),
            ErrorKind::Denied => Win32Error::ACCESS_DENIED,
            ErrorKind::NoSuchService => Win32Error::SERVICE_DOES_NOT_EXIST,
            ErrorKind::NoSuchClass => Win32Error::NOT_FOUND,
            ErrorKind::NoSuchSession => Win32Error::INVALID_HANDLE,
            ErrorKind::Failed | ErrorKind::Io => Win32Error::GEN_FAILURE,
            ErrorKind::Unsupported => Win32Error::CALL_NOT_IMPLEMENTED,
            ErrorKind::Protocol => Win32Error::INVALID_DATA,
            // WAIT_TIMEOUT.
            ErrorKind::Timeout => Win32Error(258),
        }
    }
}

/// An error with what it is about and why it happened.
///
/// ```
/// use arrival_client::{Connection, ErrorKind, Root};
///
/// let error = Connection::connect(&Root::at("/nonexistent")).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NoDaemon);
/// assert_eq!(error.subject(), "/nonexistent/run/control");
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    subject: String,
    code: Win32Error,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    None,
    Reason(String),
    Io(io::Error),
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, subject: impl Into<String>) -> Self {
        Error {
            kind,
            subject: subject.into(),
            code: kind.code(),
            cause: Cause::None,
        }
    }

    pub(crate) fn because(mut self, reason: impl Into<String>) -> Self {
        self.cause = Cause::Reason(reason.into());
        self
    }

    pub(crate) fn with_code(mut self, code: u32) -> Self {
        self.code = Win32Error(code);
        self
    }

    pub(crate) fn from_io(kind: ErrorKind, subject: impl Into<String>, cause: io::Error) -> Self {
        let mut error = Error::new(kind, subject);
        error.cause = Cause::Io(cause);
        error
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What it is about: a service, a class, or the control socket's path.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The Win32 code of the case: the manager's own, or the one that fits the kind.
    pub fn code(&self) -> Win32Error {
        self.code
    }

    /// Why, in the manager's or the system's words.
    pub fn reason(&self) -> Option<String> {
        match &self.cause {
            Cause::None => None,
            Cause::Reason(reason) => Some(reason.clone()),
            Cause::Io(error) => Some(error.to_string()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = &self.subject;
        match self.kind {
            ErrorKind::NoDaemon => return write!(f, "no manager answers at {subject}"),
            ErrorKind::NoSuchService => return write!(f, "there is no service '{subject}'"),
            ErrorKind::NoSuchClass => return write!(f, "there is no interface class '{subject}'"),
            ErrorKind::NoSuchSession => return write!(f, "the session at {subject} has ended"),
            ErrorKind::Unsupported => {
                write!(f, "the manager at {subject} cannot do this")?;
            }
            ErrorKind::Denied => write!(f, "{subject}: denied")?,
            ErrorKind::Failed => write!(f, "{subject}: failed")?,
            ErrorKind::Protocol => write!(f, "the answer from {subject} makes no sense")?,
            ErrorKind::Disconnected => {
                write!(f, "the manager at {subject} closed the connection")?;
            }
            ErrorKind::Timeout => write!(f, "no answer from {subject} in time")?,
            ErrorKind::Io => write!(f, "{subject}: cannot talk to the manager")?,
        }
        match &self.cause {
            Cause::None => Ok(()),
            Cause::Reason(reason) => write!(f, ": {reason}"),
            Cause::Io(error) => write!(f, ": {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Io(error) => Some(error),
            Cause::None | Cause::Reason(_) => None,
        }
    }
}
