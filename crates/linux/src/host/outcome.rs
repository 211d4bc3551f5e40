//! What happens to hosts, and why something cannot be done to one.

use std::io;
use std::path::PathBuf;

use super::record::{HostId, HostRecord};

/// How a main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It ended, and nobody can say how: it was adopted, on a kernel before 6.15.
    Unknown,
}

impl Exit {
    /// From a wait(2) status word.
    pub(super) fn from_raw(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            Self::Code(libc::WEXITSTATUS(status))
        } else if libc::WIFSIGNALED(status) {
            Self::Signal(libc::WTERMSIG(status))
        } else {
            Self::Unknown
        }
    }
}

/// What happened to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// The main process ended.
    MainExited {
        /// Whose.
        host: HostId,
        /// How.
        exit: Exit,
    },
    /// No process is left; the cgroup is removed and the table has forgotten the host.
    Empty {
        /// Which.
        host: HostId,
    },
}

/// What became of a host that an earlier daemon wrote down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// Processes of it are alive; the table watches them. The record names the main process now known.
    Alive {
        /// The record to write down from now on.
        record: HostRecord,
        /// Whether the main process is alive; if not, `MainExited` follows.
        main: bool,
    },
    /// Nothing of it is left, and its cgroup is removed.
    Gone,
}

/// Processes below our base that no record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Their cgroup, as a record would name it.
    pub cgroup: PathBuf,
    /// The processes.
    pub pids: Vec<u32>,
}

/// Why something could not be done to a host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The table has no such host.
    #[error("{0} does not exist")]
    NoHost(HostId),
    /// The number is already in the table.
    #[error("{0} already exists")]
    Taken(HostId),
    /// Its main process has ended.
    #[error("the main process of {0} has ended")]
    NoMain(HostId),
    /// A process that is not in the host.
    #[error("process {pid} is not in {host}")]
    Foreign {
        /// The host.
        host: HostId,
        /// The process.
        pid: u32,
    },
    /// The system refused.
    #[error("cannot {what} {host}: {}", describe(.source))]
    System {
        /// The host.
        host: HostId,
        /// What was to be done.
        what: &'static str,
        /// The system's reason.
        source: io::Error,
    },
}

fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => super::spec::describe(errno),
        None => error.to_string(),
    }
}
