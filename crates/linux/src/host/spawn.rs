//! The parent's side of a spawn: everything is prepared here, so that the child has almost nothing to do.

use std::ffi::{CString, OsStr, c_char};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::clone::{self, Orders};
use super::containment::{Containment, open_folder};
use super::reap::{self, Kept};
use super::record::HostRecord;
use super::spec::{Passed, SpawnError, Spec, Step};
use super::tree::{self, Stat};
use super::{cgroup, sys};

/// The most descriptors that can be handed over.
pub const MAX_PASSED: usize = 128;

/// The limit of open files before [`raise_open_files`], for every program started afterwards.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// A main process that runs, not yet watched. Give it to [`Hosts::insert`](super::Hosts::insert).
#[derive(Debug)]
#[must_use = "a child that no table watches is never waited for"]
pub struct Child {
    /// What to write down about it: the record given, with pid and start time.
    pub record: HostRecord,
    /// The process itself.
    pub pidfd: OwnedFd,
    pub(super) kept: Kept,
}

/// Raises this process's soft limit of open files to the hard one; programs started later get the old one.
///
/// A high soft limit breaks programs that use select(2) or close every possible descriptor.
pub fn raise_open_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    INHERITED.get_or_init(|| limit);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?)
}

/// Starts the main process of a planned host and returns once its program was executed.
///
/// Any thread may call it, and many at once; it blocks for as long as the kernel needs to execute the program.
///
/// # Errors
/// The step that failed, the error number and what it was about. Nothing of the host is left then.
pub fn spawn(
    containment: &Containment,
    record: HostRecord,
    spec: Spec,
) -> Result<Child, SpawnError> {
    let prepared = Prepared::new(&record.token, spec)?;
    let folder = match &record.cgroup {
        Some(path) => Some(containment.folder(path).ok_or_else(|| {
            SpawnError::invalid(path.to_string_lossy(), "no such cgroup can be reached")
        })?),
        None => None,
    };
    let Some(folder) = folder else {
        return prepared.start(record, None);
    };
    let fail = |error: io::Error| SpawnError::new(Step::Cgroup, &error, folder.to_string_lossy());
    fs::create_dir(&folder)
        .or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            // Somebody removed what it lies in.
            containment.restore_base()?;
            fs::create_dir(&folder)
        })
        .map_err(fail)?;
    let done = open_folder(&folder)
        .and_then(|opened| {
            let procs = fs::OpenOptions::new()
                .write(true)
                .open(folder.join("cgroup.procs"))?;
            Ok((opened, procs))
        })
        .map_err(fail)
        .and_then(|(opened, procs)| prepared.start(record, Some((opened.as_fd(), procs.as_fd()))));
    if done.is_err() {
        let _ = cgroup::remove(&folder);
    }
    done
}

/// A specification in the form the child can use.
struct Prepared {
    spec: Spec,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
    /// `LISTEN_PID=` with room for the number, ended by NUL.
    listen_pid: Option<Vec<u8>>,
    /// What becomes 0, 1, 2, 3 and so on, all numbered above the targets.
    fds: Vec<OwnedFd>,
    report: OwnedFd,
    answer: File,
}

impl Prepared {
    fn new(token: &str, mut spec: Spec) -> Result<Self, SpawnError> {
        let Some(program) = spec.argv.first() else {
            return Err(SpawnError::invalid("the command", "it is empty"));
        };
        let subject = program.to_string_lossy().into_owned();
        if !Path::new(program).is_absolute() {
            return Err(SpawnError::invalid(subject, "the path is not absolute"));
        }
        let text = |value: &OsStr, what: &str| {
            CString::new(value.as_bytes())
                .map_err(|_| SpawnError::invalid(&subject, format!("{what} contains a NUL byte")))
        };
        let argv = spec
            .argv
            .iter()
            .map(|arg| text(arg, "an argument"))
            .collect::<Result<Vec<_>, _>>()?;
        let cwd = text(spec.cwd.as_os_str(), "the working directory")?;

        let mut env = vec![text(
            OsStr::new(&format!("{}={token}", tree::TOKEN)),
            "the token",
        )?];
        let passed = std::mem::take(&mut spec.listen);
        let mut listen_pid = None;
        if !passed.is_empty() {
            let names = names(&subject, &passed)?;
            env.push(text(
                OsStr::new(&format!("LISTEN_FDS={}", passed.len())),
                "LISTEN_FDS",
            )?);
            env.push(text(
                OsStr::new(&format!("LISTEN_FDNAMES={names}")),
                "LISTEN_FDNAMES",
            )?);
            listen_pid = Some(b"LISTEN_PID=0000000000\0".to_vec());
        }
        for (key, value) in &spec.env {
            if key.is_empty() || key.as_bytes().contains(&b'=') {
                let hint = format!("{key:?} is no name of an environment variable");
                return Err(SpawnError::invalid(subject, hint));
            }
            if key == tree::TOKEN || key.as_bytes().starts_with(b"LISTEN_") {
                continue;
            }
            let mut entry = key.clone();
            entry.push("=");
            entry.push(value);
            env.push(text(&entry, "an environment variable")?);
        }

        let (fds, report, answer) = descriptors(&mut spec, passed)
            .map_err(|error| SpawnError::new(Step::Prepare, &error, &subject))?;
        Ok(Self {
            spec,
            argv,
            env,
            cwd,
            listen_pid,
            fds,
            report,
            answer,
        })
    }

    fn start(
        mut self,
        mut record: HostRecord,
        cgroup: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
    ) -> Result<Child, SpawnError> {
        let argv = pointers(self.argv.iter().map(|arg| arg.as_ptr()));
        // One pointer, from which both the environment and the child's writing derive.
        let listen = self.listen_pid.as_mut().map(|bytes| bytes.as_mut_ptr());
        let envp = pointers(
            self.env.iter().map(|entry| entry.as_ptr()).chain(
                listen
                    .iter()
                    .map(|place| place.cast::<c_char>().cast_const()),
            ),
        );
        let fds: Vec<i32> = self.fds.iter().map(AsRawFd::as_raw_fd).collect();
        let ids = self.spec.credentials.as_ref();
        let nofile = INHERITED.get();
        let mut orders = Orders {
            path: self.argv.first().map_or(ptr::null(), |path| path.as_ptr()),
            argv: argv.as_ptr(),
            envp: envp.as_ptr(),
            cwd: self.cwd.as_ptr(),
            listen_pid: listen.map_or(ptr::null_mut(), |place| {
                place.wrapping_add("LISTEN_PID=".len())
            }),
            fds: fds.as_ptr(),
            fd_count: fds.len(),
            report: self.report.as_raw_fd(),
            join: -1,
            set_ids: u32::from(ids.is_some()),
            uid: ids.map_or(0, |ids| ids.uid),
            gid: ids.map_or(0, |ids| ids.gid),
            groups: ids.map_or(ptr::null(), |ids| ids.groups.as_ptr()),
            group_count: ids.map_or(0, |ids| ids.groups.len()),
            umask: self.spec.umask & 0o777,
            nofile: nofile.map_or([0; 2], |limit| {
                [
                    limit.current.unwrap_or(u64::MAX),
                    limit.maximum.unwrap_or(u64::MAX),
                ]
            }),
            set_nofile: u32::from(nofile.is_some()),
            maker: 0,
        };
        let shared = ids.is_none_or(|ids| ids.uid == rustix::process::geteuid().as_raw());

        let lock = reap::spawning();
        let started = clone::start(&mut orders, cgroup, shared);
        let (pid, pidfd) = match started {
            Ok(started) => started,
            Err(error) => return Err(SpawnError::new(Step::Clone, &error, self.program())),
        };
        let kept = Kept::new(pid);
        drop(lock);

        // Now only the child holds the other end: the answer is a failure, or nothing once it has executed.
        let (report, fds) = (self.report, self.fds);
        drop((report, fds));
        let mut words = [0_u8; 8];
        let answered = self.answer.read_exact(&mut words).is_ok();
        if answered {
            sys::wait(pidfd.as_fd());
            drop(kept);
            let [a, b, c, d, e, f, g, h] = words;
            let step = Step::from_raw(u32::from_ne_bytes([a, b, c, d])).unwrap_or(Step::Prepare);
            let errno = i32::from_ne_bytes([e, f, g, h]);
            return Err(failure(&self.spec, &record, step, errno));
        }
        record.pid = pid;
        record.start_time = Stat::read(pid).map_or(0, |stat| stat.start_time);
        Ok(Child {
            record,
            pidfd,
            kept,
        })
    }

    fn program(&self) -> String {
        self.spec
            .argv
            .first()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

impl Orders {
    /// Orders for a child that only waits to be killed.
    pub(super) fn probe() -> Self {
        Self {
            path: ptr::null(),
            argv: ptr::null(),
            envp: ptr::null(),
            cwd: ptr::null(),
            listen_pid: ptr::null_mut(),
            fds: ptr::null(),
            fd_count: 0,
            report: -1,
            join: -1,
            set_ids: 0,
            uid: 0,
            gid: 0,
            groups: ptr::null(),
            group_count: 0,
            umask: 0,
            nofile: [0; 2],
            set_nofile: 0,
            maker: std::process::id(),
        }
    }
}

/// A C array of strings, ended by null.
fn pointers(strings: impl Iterator<Item = *const c_char>) -> Vec<*const c_char> {
    strings.chain([ptr::null()]).collect()
}

/// The value of `LISTEN_FDNAMES`. Source: sd_listen_fds(3).
fn names(subject: &str, passed: &[Passed]) -> Result<String, SpawnError> {
    if passed.len() > MAX_PASSED {
        let hint = format!("more than {MAX_PASSED} descriptors are to be handed over");
        return Err(SpawnError::invalid(subject, hint));
    }
    for Passed { name, .. } in passed {
        let good = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b':';
        if name.is_empty() || name.len() > 255 || !name.bytes().all(good) {
            let hint = format!("{name:?} is no name for a descriptor");
            return Err(SpawnError::invalid(subject, hint));
        }
    }
    Ok(passed
        .iter()
        .map(|passed| passed.name.as_str())
        .collect::<Vec<_>>()
        .join(":"))
}

/// Everything the child places, numbered above every target, and both ends of the report's pipe.
fn descriptors(spec: &mut Spec, passed: Vec<Passed>) -> io::Result<(Vec<OwnedFd>, OwnedFd, File)> {
    // The targets are 0, 1, 2, the passed ones and the report behind them.
    let above = i32::try_from(passed.len()).map_err(|_| io::ErrorKind::InvalidInput)? + 4;
    let lift = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, above);
    let null = rustix::fs::open(
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY,
        Mode::empty(),
    )?;
    let stdout = spec.stdout.take();
    let stderr = spec.stderr.take();
    let out = stdout.as_ref().unwrap_or(&null);
    let err = stderr.as_ref().unwrap_or(out);
    let mut fds = vec![lift(null.as_fd())?, lift(out.as_fd())?, lift(err.as_fd())?];
    for Passed { fd, .. } in &passed {
        fds.push(lift(fd.as_fd())?);
    }
    let (answer, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((fds, lift(report.as_fd())?, File::from(answer)))
}

/// What the child reported, in words.
fn failure(spec: &Spec, record: &HostRecord, step: Step, errno: i32) -> SpawnError {
    let ids = spec.credentials.as_ref();
    let program = spec.argv.first().cloned().unwrap_or_default();
    let subject = match step {
        Step::Cgroup | Step::Join => record
            .cgroup
            .as_deref()
            .unwrap_or(Path::new(""))
            .to_string_lossy()
            .into(),
        Step::Groups => ids
            .map(|ids| format!("{:?}", ids.groups))
            .unwrap_or_default(),
        Step::Gid => ids.map(|ids| ids.gid.to_string()).unwrap_or_default(),
        Step::Uid => ids.map(|ids| ids.uid.to_string()).unwrap_or_default(),
        Step::Chdir => spec.cwd.to_string_lossy().into_owned(),
        Step::Prepare
        | Step::Clone
        | Step::Session
        | Step::Descriptors
        | Step::Limit
        | Step::Exec => program.to_string_lossy().into_owned(),
    };
    let hint = if step == Step::Exec {
        exec_hint(Path::new(&program), errno)
    } else {
        None
    };
    let error = io::Error::from_raw_os_error(errno);
    SpawnError {
        hint: hint.unwrap_or_default(),
        ..SpawnError::new(step, &error, subject)
    }
}

/// What the kernel meant, where its number misleads.
fn exec_hint(program: &Path, errno: i32) -> Option<String> {
    if !matches!(errno, libc::ENOENT | libc::ENOEXEC) || !fs::metadata(program).ok()?.is_file() {
        return None;
    }
    let mut head = Vec::new();
    File::open(program)
        .ok()?
        .take(256)
        .read_to_end(&mut head)
        .ok()?;
    match errno {
        // The file is there, so it is what it needs that is not.
        libc::ENOENT => match head.strip_prefix(b"#!") {
            Some(line) => {
                let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
                let line = String::from_utf8_lossy(line);
                let interpreter = line.split_ascii_whitespace().next().unwrap_or_default();
                Some(format!("its interpreter {interpreter} does not exist"))
            }
            None => Some("the program loader it needs does not exist".to_owned()),
        },
        libc::ENOEXEC if head.starts_with(b"MZ") => Some("it is a Windows program".to_owned()),
        libc::ENOEXEC if head.starts_with(b"\x7fELF") => {
            Some("it is made for another processor".to_owned())
        }
        libc::ENOEXEC => Some("it is no ELF file and has no #! line".to_owned()),
        _ => None,
    }
}
