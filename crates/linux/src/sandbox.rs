//! A private world for a manager and its devices: namespaces that begin and end with one program.
//!
//! ```text
//! caller        clone(NEWNET | NEWNS | NEWPID [| NEWUSER])           NEWUSER unless we may do without
//!  └─ init      PID 1: ids mapped, dies with the caller, no terminal, loopback up, mounts:
//!      │            /proc      a fresh procfs of the new PID namespace
//!      │            ROOT       a tmpfs, if asked for: what is in it needs no removal
//!      │            ROOT/sys   a fresh sysfs of the new network namespace; /sys stays, for the cgroup mounts in it
//!      │            /dev/null  an empty file, where the real one is closed to us: every program counts on it
//!      │        then it takes away every zombie, and ends when the program ends
//!      └─ program   what was asked for, with default signals; all other processes are its children
//! ```
//!
//! When init ends the kernel kills everything in the PID namespace, and [`World::wait`] returns after the last
//! process is gone. Nothing has to be removed from outside: mounts and network devices end with their namespaces.
//!
//! Sources: namespaces(7), user_namespaces(7), pid_namespaces(7), mount_namespaces(7), clone(2).

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

mod init;
mod refusal;
mod signals;
#[cfg(test)]
mod tests;

use init::Plan;
pub use refusal::{Readings, Refusal, Setting};
pub use signals::Signals;

/// What to run, and in what surroundings.
#[derive(Clone, Debug)]
pub struct Sandbox {
    root: PathBuf,
    private_root: bool,
    hidden: Vec<PathBuf>,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

/// What was being done when it went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Step {
    /// Making the namespaces.
    Namespaces = 1,
    /// Writing setgroups, uid_map and gid_map.
    Ids,
    /// Cutting mounts off from the outside.
    Propagation,
    /// Mounting procfs.
    Proc,
    /// Mounting tmpfs at the root or over a hidden folder.
    Tmpfs,
    /// Mounting sysfs at ROOT/sys.
    Sysfs,
    /// Setting the loopback device up.
    Loopback,
    /// Going to the root, and starting the program.
    Program,
}

/// Why there is no private world.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This machine or container does not allow it to us.
    #[error("{0}")]
    Refused(Refusal),
    /// Something else went wrong.
    #[error("cannot {step}: {cause}")]
    Failed {
        /// What was being done.
        step: Step,
        /// Why it did not work.
        cause: io::Error,
    },
    /// A path, an argument or a variable has a NUL inside.
    #[error("{0:?} has a NUL byte inside")]
    Nul(OsString),
}

/// A private world in which the program runs. Dropping it ends everything in it.
#[derive(Debug)]
pub struct World {
    init: Pid,
    pidfd: OwnedFd,
    namespace: Option<PathBuf>,
    ended: Option<ExitStatus>,
}

impl Sandbox {
    /// The program, in a world whose sysfs is at `root`/sys. Both paths are absolute; `root` is a folder.
    pub fn new(root: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Self {
        Sandbox {
            root: root.into(),
            private_root: false,
            hidden: Vec::new(),
            program: program.into(),
            arguments: Vec::new(),
            environment: std::env::vars_os().collect(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable; the others are those of this process.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.into()));
        self
    }

    /// Mounts a tmpfs at the root, so that what is made there ends with the world.
    #[must_use]
    pub fn private_root(mut self) -> Self {
        self.private_root = true;
        self
    }

    /// Mounts an empty tmpfs over a folder, if there is one of this name.
    #[must_use]
    pub fn hide(mut self, folder: impl Into<PathBuf>) -> Self {
        self.hidden.push(folder.into());
        self
    }

    /// Makes the world and starts the program in it.
    ///
    /// The world ends with the thread that calls this (`PR_SET_PDEATHSIG`), so that it does not
    /// outlive us even if we are killed.
    ///
    /// # Errors
    ///
    /// [`SandboxError::Refused`] names the setting that forbids it, and the remedy.
    pub fn start(&self) -> Result<World, SandboxError> {
        let readings = Readings::take();
        let failed = |step| move |cause| SandboxError::Failed { step, cause };
        let plan = Plan::new(self, !readings.privileged)?;
        let (report, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| failed(Step::Namespaces)(errno.into()))?;
        let init = match signals::blocked(|| plan.clone_init(write.as_raw_fd())) {
            Ok(init) => init,
            Err(cause) => return Err(readings.judge(Step::Namespaces, cause)),
        };
        drop(write);
        let pidfd = rustix::process::pidfd_open(init, PidfdFlags::empty())
            .map_err(|errno| failed(Step::Namespaces)(errno.into()));
        let namespace = std::fs::read_link(format!("/proc/{}/ns/pid", init.as_raw_nonzero())).ok();
        let mut word = Vec::new();
        let told = std::fs::File::from(report).read_to_end(&mut word);
        let problem = match (told, word.as_slice()) {
            (Ok(_), []) => None,
            (Ok(_), [step, errno @ ..]) => {
                let errno = errno.try_into().map_or(libc::EIO, i32::from_ne_bytes);
                let cause = io::Error::from_raw_os_error(errno);
                Some(readings.judge(Step::from_raw(*step), cause))
            }
            (Err(cause), _) => Some(failed(Step::Program)(cause)),
        };
        match (pidfd, problem) {
            (Ok(pidfd), None) => Ok(World {
                init,
                pidfd,
                namespace,
                ended: None,
            }),
            (Err(problem), _) | (Ok(_), Some(problem)) => {
                // It has ended by itself or will not be of use; either way its zombie is ours.
                let _ = rustix::process::kill_process(init, Signal::KILL);
                let _ = rustix::process::waitid(WaitId::Pid(init), WaitIdOptions::EXITED);
                Err(problem)
            }
        }
    }
}

impl World {
    /// The process id of its PID 1, as seen from here.
    pub fn init(&self) -> i32 {
        self.init.as_raw_nonzero().get()
    }

    /// Waits until the program has ended, and everything with it.
    ///
    /// # Errors
    ///
    /// Those of waitid(2).
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended {
                return Ok(status);
            }
            match rustix::process::waitid(WaitId::Pid(self.init), WaitIdOptions::EXITED) {
                Ok(Some(status)) => {
                    // The low byte of a wait status is the signal, the next one the exit status.
                    let code = status.exit_status().map(|code| (code & 0xff) << 8);
                    let raw = code.or(status.terminating_signal()).unwrap_or(0);
                    self.ended = Some(ExitStatus::from_raw(raw));
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Ends everything in it, and waits for that.
    ///
    /// # Errors
    ///
    /// As [`wait`](World::wait).
    pub fn end(&mut self) -> io::Result<ExitStatus> {
        if self.ended.is_none() {
            // A failure says that it has ended already.
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        }
        self.wait()
    }

    /// The processes that live in its PID namespace, as far as we may look at them; none after its end.
    pub fn processes(&self) -> Vec<i32> {
        let Some(namespace) = &self.namespace else {
            return Vec::new();
        };
        let Ok(all) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        all.flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &i32| {
                std::fs::read_link(format!("/proc/{pid}/ns/pid"))
                    .is_ok_and(|found| found == *namespace)
            })
            .collect()
    }
}

impl AsFd for World {
    /// Readable when the world has ended (pidfd_open(2)).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whoever cares for the error calls `end`.
        let _ = self.end();
    }
}

impl Step {
    fn from_raw(number: u8) -> Self {
        [
            Step::Namespaces,
            Step::Ids,
            Step::Propagation,
            Step::Proc,
            Step::Tmpfs,
            Step::Sysfs,
            Step::Loopback,
        ]
        .into_iter()
        .find(|step| *step as u8 == number)
        .unwrap_or(Step::Program)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Namespaces => "make private namespaces",
            Step::Ids => "map our user into a user namespace",
            Step::Propagation => "make mounts private",
            Step::Proc => "mount proc",
            Step::Tmpfs => "mount tmpfs",
            Step::Sysfs => "mount sysfs",
            Step::Loopback => "set the loopback device up",
            Step::Program => "start the program",
        })
    }
}

/// A folder's name that nobody has, below the folder for temporary files, made with mode 0700.
///
/// # Errors
///
/// Those of mkdtemp(3).
pub fn temporary_folder(prefix: &str) -> io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("{prefix}XXXXXX"));
    let path = std::path::absolute(&path)?;
    let mut name = CString::new(path.into_os_string().into_vec())?.into_bytes_with_nul();
    // SAFETY: the template is ours, ends with XXXXXX and a NUL, and is changed in place.
    if unsafe { libc::mkdtemp(name.as_mut_ptr().cast()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    name.pop();
    Ok(Path::new(OsStr::from_bytes(&name)).to_owned())
}
