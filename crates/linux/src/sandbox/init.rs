//! PID 1 of a private world, from clone to its end.
//!
//! Everything between clone and exec is system calls on prepared memory: the caller may have other threads.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use rustix::process::Pid;

use super::{Sandbox, SandboxError, Step, signals};

/// Everything that init needs, made before it exists.
pub(super) struct Plan {
    flags: libc::c_int,
    uid_map: Option<CString>,
    gid_map: CString,
    root: CString,
    private_root: bool,
    sys: CString,
    null: CString,
    hidden: Vec<CString>,
    program: CString,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Plan {
    pub(super) fn new(sandbox: &Sandbox, user: bool) -> Result<Self, SandboxError> {
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
            null: c_string(sandbox.root.join("sys/null").as_os_str())?,
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
    pub(super) fn clone_init(&self, report: RawFd) -> io::Result<Pid> {
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
        // SAFETY: the path is a C string.
        let null = unsafe { libc::access(c"/dev/null".as_ptr(), libc::R_OK | libc::W_OK) };
        if null != 0 && errno() == libc::EACCES {
            self.replace_null().map_err(|errno| (Step::Tmpfs, errno))?;
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

impl Plan {
    /// Mounts an empty file over `/dev/null`; it lies in a file system that nobody can reach.
    fn replace_null(&self) -> Result<(), i32> {
        mount(Some(c"tmpfs"), &self.sys, libc::MS_NOSUID, None)?;
        // SAFETY: both paths are C strings that live on; the descriptor is ours alone.
        unsafe {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
            let fd = libc::open(self.null.as_ptr(), flags, 0o666);
            if fd < 0 {
                return Err(errno());
            }
            libc::close(fd);
            if libc::mount(
                self.null.as_ptr(),
                c"/dev/null".as_ptr(),
                ptr::null(),
                libc::MS_BIND,
                ptr::null(),
            ) != 0
                || libc::umount2(self.sys.as_ptr(), libc::MNT_DETACH) != 0
            {
                return Err(errno());
            }
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
