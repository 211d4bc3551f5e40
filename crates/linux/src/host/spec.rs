//! What a host is to run, and what can go wrong until it runs.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Everything about the main process of a new host.
///
/// Beside what is said here: stdin is /dev/null, the process leads a session of its own, every signal has
/// its default action and none is blocked, no descriptor but 0, 1, 2 and `listen` is open, and the soft
/// limit of open files is what it was before [`raise_open_files`](super::raise_open_files).
/// Nice value, OOM score, other limits and capabilities are inherited.
#[derive(Debug)]
pub struct Spec {
    /// The program's absolute path, then its arguments. No PATH search, no shell.
    pub argv: Vec<OsString>,
    /// The environment, exactly; spawning adds only `ARRIVAL_HOST` and, if `listen` is not empty,
    /// `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID`.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, `/` by default.
    pub cwd: PathBuf,
    /// Whom the process runs as; none keeps this process's own identity.
    pub credentials: Option<Credentials>,
    /// Where stdout goes; none is /dev/null.
    pub stdout: Option<OwnedFd>,
    /// Where stderr goes; none is where stdout goes.
    pub stderr: Option<OwnedFd>,
    /// Descriptors handed over as 3, 4 and so on (sd_listen_fds(3)).
    pub listen: Vec<Passed>,
    /// The file mode creation mask, 0o022 by default.
    pub umask: u32,
}

impl Spec {
    /// A specification with this argv, an empty environment and defaults for the rest.
    pub fn new<I, A>(argv: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: PathBuf::from("/"),
            credentials: None,
            stdout: None,
            stderr: None,
            listen: Vec::new(),
            umask: 0o022,
        }
    }
}

/// The ids a process runs with, resolved beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Real, effective and saved user id.
    pub uid: u32,
    /// Real, effective and saved group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A descriptor handed to a service.
#[derive(Debug)]
pub struct Passed {
    /// Its name in `LISTEN_FDNAMES`: at most 255 printable ASCII characters without a colon.
    pub name: String,
    /// The descriptor itself; the caller keeps its own duplicate if it needs one.
    pub fd: OwnedFd,
}

/// The step at which a spawn failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Step {
    /// Checking the specification and preparing descriptors.
    Prepare = 1,
    /// Making the host's cgroup.
    Cgroup = 2,
    /// Making the process.
    Clone = 3,
    /// Entering the cgroup, where the clone could not do it.
    Join = 4,
    /// Becoming a session leader.
    Session = 5,
    /// Placing descriptors.
    Descriptors = 6,
    /// Setting the limit of open files.
    Limit = 7,
    /// Setting supplementary groups.
    Groups = 8,
    /// Setting the group id.
    Gid = 9,
    /// Setting the user id.
    Uid = 10,
    /// Entering the working directory.
    Chdir = 11,
    /// Executing the program.
    Exec = 12,
}

impl Step {
    /// The step with this number, as the child reports it.
    pub(super) fn from_raw(raw: u32) -> Option<Self> {
        const ALL: [Step; 12] = [
            Step::Prepare,
            Step::Cgroup,
            Step::Clone,
            Step::Join,
            Step::Session,
            Step::Descriptors,
            Step::Limit,
            Step::Groups,
            Step::Gid,
            Step::Uid,
            Step::Chdir,
            Step::Exec,
        ];
        ALL.into_iter().find(|step| *step as u32 == raw)
    }

    fn verb(self) -> &'static str {
        match self {
            Step::Prepare => "cannot prepare",
            Step::Cgroup => "cannot make the cgroup",
            Step::Clone => "cannot make a process for",
            Step::Join => "cannot enter the cgroup",
            Step::Session => "cannot make a session for",
            Step::Descriptors => "cannot place the descriptors of",
            Step::Limit => "cannot set the limit of open files of",
            Step::Groups => "cannot set supplementary groups",
            Step::Gid => "cannot change to group",
            Step::Uid => "cannot change to user",
            Step::Chdir => "cannot enter",
            Step::Exec => "cannot execute",
        }
    }
}

/// Why a host has no main process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnError {
    /// Where it failed.
    pub step: Step,
    /// The system's error number.
    pub errno: i32,
    /// What the step was about: a path, an id, a name.
    pub subject: String,
    /// What the number alone does not say, such as a missing interpreter; may be empty.
    pub hint: String,
}

impl SpawnError {
    pub(super) fn new(step: Step, error: &io::Error, subject: impl Into<String>) -> Self {
        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
        Self {
            step,
            errno,
            subject: subject.into(),
            hint: String::new(),
        }
    }

    pub(super) fn invalid(subject: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            step: Step::Prepare,
            errno: libc::EINVAL,
            subject: subject.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.step.verb(), self.subject)?;
        if self.hint.is_empty() {
            f.write_str(&describe(self.errno))
        } else {
            f.write_str(&self.hint)
        }
    }
}

impl std::error::Error for SpawnError {}

/// The system's text for an error number, in this project's form: lower case, no number behind it.
pub(super) fn describe(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => format!("error {errno}"),
    }
}
