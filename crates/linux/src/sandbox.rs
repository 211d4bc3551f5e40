//! A private world for a manager and its devices: namespaces that begin and end with one program.
//!
//! ```text
//! caller        clone(NEWNET | NEWNS | NEWPID [| NEWUSER])           NEWUSER unless we may do without
//!  └─ init      PID 1: ids mapped, dies with the caller, no terminal, loopback up, mounts:
//!      │            /proc      a fresh procfs of the new PID namespace
//!      │            ROOT       a tmpfs, if asked for: what is in it needs no removal
//!      │            ROOT/sys   a fresh sysfs of the new network namespace; /sys stays, for the cgroup mounts in it
//!      │        then it takes away every zombie, and ends when the program ends
//!      └─ program   what was asked for, with default signals; all other processes are its children
//! ```
//!
//! When init ends the kernel kills everything in the PID namespace, and [`World::wait`] returns after the last
//! process is gone. Nothing has to be removed from outside: mounts and network devices end with their namespaces.
//!
//! Everything between clone and exec is system calls on prepared memory: the caller may have other threads.
//!
//! Sources: namespaces(7), user_namespaces(7), pid_namespaces(7), mount_namespaces(7), clone(2).

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::ptr;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

mod refusal;
mod signals;
#[cfg(test)]
mod tests;

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

/// Everything that init needs, made before it exists.
struct Plan {
    flags: libc::c_int,
    uid_map: Option<CString>,
    gid_map: CString,
    root: CString,
    private_root: bool,
    sys: CString,
    hidden: Vec<CString>,
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Plan {
    fn new(sandbox: &Sandbox, user: bool) -> Result<Self, SandboxError> {
        let mut flags = libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWPID;
        if user {
            flags |= libc::CLONE_NEWUSER;
        }
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let text = |text: String| c_string(OsStr::new(&text));
        let mut arguments = vec![c_string(sandbox.program.as_os_str())?];
        for argument in &sandbox.arguments {
            arguments.push(c_string(argument)?);
        }
        let mut environment = Vec::new();
        for (name, value) in &sandbox.environment {
            let mut variable = name.clone();
            variable.push("=");
            variable.push(value);
            environment.push(c_string(&variable)?);
        }
        Ok(Plan {
            flags,
            // Root in there, so that programs keep their capabilities when they are executed.
            uid_map: user.then(|| text(format!("0 {uid} 1\n"))).transpose()?,
            gid_map: text(format!("0 {gid} 1\n"))?,
            root: c_string(sandbox.root.as_os_str())?,
            private_root: sandbox.private_root,
            sys: c_string(sandbox.root.join("sys").as_os_str())?,
            hidden: sandbox
                .hidden
                .iter()
                .map(|path| c_string(path.as_os_str()))
                .collect::<Result<_, _>>()?,
            program: c_string(sandbox.program.as_os_str())?,
            arguments,
            environment,
        })
    }

    /// Makes init, which reports to `report` and never returns.
    fn clone_init(&self, report: RawFd) -> io::Result<Pid> {
        let argv = pointers(&self.arguments);
        let envp = pointers(&self.environment);
        match raw_clone(self.flags)? {
            Some(init) => Ok(init),
            None => {
                let (step, errno) = self.live(report, &argv, &envp);
                let mut word = [step as u8, 0, 0, 0, 0];
                if let Some(rest) = word.get_mut(1..) {
                    rest.copy_from_slice(&errno.to_ne_bytes());
                }
                // SAFETY: the buffer is ours and five bytes long; _exit runs nothing of the parent's.
                unsafe {
                    libc::write(REPORT, word.as_ptr().cast(), word.len());
                    libc::_exit(125)
                }
            }
        }
    }

    /// The life of init; returns only if something went wrong before the program was there.
    ///
    /// No allocation, no locks: another thread of the parent may have held them when init was made.
    fn live(
        &self,
        report: RawFd,
        argv: &[*const libc::c_char],
        envp: &[*const libc::c_char],
    ) -> (Step, i32) {
        match self.settle(report) {
            Ok(()) => {}
            Err(problem) => return problem,
        }
        let child = match raw_clone(0) {
            Ok(Some(child)) => child,
            Ok(None) => {
                signals::reset();
                // SAFETY: both arrays end with a null pointer and point to strings that live on.
                unsafe { libc::execve(self.program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
                return (Step::Program, errno());
            }
            Err(error) => return (Step::Program, error.raw_os_error().unwrap_or(libc::EAGAIN)),
        };
        // The program's copy closes when it is executed, and then the caller goes on.
        // SAFETY: nobody else in this process uses the descriptor.
        unsafe { libc::close(REPORT) };
        loop {
            let mut status = 0;
            // SAFETY: the status is ours.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
            if pid == child.as_raw_nonzero().get() {
                let code = if libc::WIFEXITED(status) {
                    libc::WEXITSTATUS(status)
                } else {
                    128 + libc::WTERMSIG(status)
                };
                // SAFETY: _exit runs nothing of the parent's.
                unsafe { libc::_exit(code) }
            }
        }
    }

    /// Makes the surroundings, as PID 1.
    fn settle(&self, report: RawFd) -> Result<(), (Step, i32)> {
        // SAFETY: system calls on numbers alone; descriptors from 4 on are copies of the parent's, which
        // must not be kept open by a process that never executes anything.
        unsafe {
            if report != REPORT && libc::dup3(report, REPORT, libc::O_CLOEXEC) < 0 {
                return Err((Step::Program, errno()));
            }
            if libc::syscall(libc::SYS_close_range, REPORT + 1, u32::MAX, 0) != 0 {
                for fd in REPORT + 1..1024 {
                    libc::close(fd);
                }
            }
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err((Step::Program, errno()));
            }
            // The parent may have died before it could matter: then nobody reads the report.
            let mut poll = libc::pollfd {
                fd: REPORT,
                events: 0,
                revents: 0,
            };
            if libc::poll(&raw mut poll, 1, 0) != 0 {
                libc::_exit(125);
            }
            // Ctrl-C is for the caller, who then ends all of this in order.
            libc::setsid();
        }
        if let Some(uid_map) = &self.uid_map {
            put(c"/proc/self/setgroups", c"deny").map_err(|errno| (Step::Ids, errno))?;
            put(c"/proc/self/uid_map", uid_map).map_err(|errno| (Step::Ids, errno))?;
            put(c"/proc/self/gid_map", &self.gid_map).map_err(|errno| (Step::Ids, errno))?;
        }
        mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE, None)
            .map_err(|errno| (Step::Propagation, errno))?;
        let plain = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        mount(Some(c"proc"), c"/proc", plain, None).map_err(|errno| (Step::Proc, errno))?;
        for folder in &self.hidden {
            match mount(Some(c"tmpfs"), folder, plain, Some(c"mode=0755")) {
                Ok(()) | Err(libc::ENOENT | libc::ENOTDIR) => {}
                Err(errno) => return Err((Step::Tmpfs, errno)),
            }
        }
        if self.private_root {
            let flags = libc::MS_NOSUID | libc::MS_NODEV;
            mount(Some(c"tmpfs"), &self.root, flags, Some(c"mode=0700"))
                .map_err(|errno| (Step::Tmpfs, errno))?;
        }
        // SAFETY: the path is a C string that lives on; that the folder exists already is no error.
        if unsafe { libc::mkdir(self.sys.as_ptr(), 0o755) } != 0 && errno() != libc::EEXIST {
            return Err((Step::Sysfs, errno()));
        }
        // Where the /sys that we see is read-only (containers), a fresh one must be so too.
        mount(Some(c"sysfs"), &self.sys, plain, None)
            .or_else(|_| mount(Some(c"sysfs"), &self.sys, plain | libc::MS_RDONLY, None))
            .map_err(|errno| (Step::Sysfs, errno))?;
        loopback_up().map_err(|errno| (Step::Loopback, errno))?;
        // SAFETY: the path is a C string that lives on.
        if unsafe { libc::chdir(self.root.as_ptr()) } != 0 {
            return Err((Step::Program, errno()));
        }
        Ok(())
    }
}

/// Where init's end of the report pipe is.
const REPORT: RawFd = 3;

fn c_string(text: &OsStr) -> Result<CString, SandboxError> {
    CString::new(text.as_bytes())
        .map_err(|error| SandboxError::Nul(OsString::from_vec(error.into_vec())))
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let ends = std::iter::once(ptr::null());
    strings
        .iter()
        .map(|text| text.as_ptr())
        .chain(ends)
        .collect()
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Makes a child with a copy of this memory, as fork(2) does, in new namespaces; none in the child.
///
/// Not fork(3): its handlers take locks, and init must not. Not clone3(2): containers that allow namespaces
/// answer ENOSYS to it.
fn raw_clone(flags: libc::c_int) -> io::Result<Option<Pid>> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    #[cfg(target_arch = "s390x")]
    let (first, second) = (0, flags);
    #[cfg(not(target_arch = "s390x"))]
    let (first, second) = (flags, 0);
    // SAFETY: without CLONE_VM and with no stack given the child has a copy of everything; its callers keep
    // to system calls.
    let pid = unsafe { libc::syscall(libc::SYS_clone, first, second, 0, 0, 0) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw))
}

/// Writes a small file of procfs in one go.
fn put(path: &CStr, text: &CStr) -> Result<(), i32> {
    // SAFETY: both are C strings; the descriptor is ours alone.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return Err(errno());
        }
        let length = text.count_bytes();
        let done = libc::write(fd, text.as_ptr().cast(), length);
        let result = if done < 0 { Err(errno()) } else { Ok(()) };
        libc::close(fd);
        result
    }
}

fn mount(
    kind: Option<&CStr>,
    at: &CStr,
    flags: libc::c_ulong,
    data: Option<&CStr>,
) -> Result<(), i32> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: each pointer is null or a C string that outlives the call.
    let done = unsafe {
        libc::mount(
            pointer(kind),
            at.as_ptr(),
            pointer(kind),
            flags,
            pointer(data).cast(),
        )
    };
    if done == 0 { Ok(()) } else { Err(errno()) }
}

/// Sets `lo` up (netdevice(7)).
fn loopback_up() -> Result<(), i32> {
    // SAFETY: an ifreq is plain data for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *place = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is an ifreq, as SIOCSIFFLAGS takes it; the descriptor is ours alone.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(errno());
        }
        let done = libc::ioctl(fd, libc::SIOCSIFFLAGS as _, &raw mut request);
        let result = if done < 0 { Err(errno()) } else { Ok(()) };
        libc::close(fd);
        result
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
