//! Tracepoints that say that a socket may listen from now on.
//!
//! | tracepoint | with | because |
//! |---|---|---|
//! | syscalls/sys_exit_listen | `ret==0` | a TCP socket listens |
//! | syscalls/sys_exit_bind | `ret==0` | a UDP socket has a port |
//! | sock/inet_sock_set_state | `newstate==10\|\|oldstate==10` | also what io_uring does, which makes no system call |
//!
//! They concern the whole machine and tell of attempts that fail as well, so they are only a reason to
//! look. For the same reason nothing is read of a record but that it is there, and records that do not
//! fit into a ring do no harm.
//!
//! They need CAP_PERFMON, and tracefs: where it is not mounted, a detached mount of it is made, which
//! nobody else sees and which needs root.
//!
//! Sources: perf_event_open(2), Documentation/trace/tracepoints.rst.

use std::ffi::CString;
use std::fs;
use std::io;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

const POINTS: [(&str, &str); 3] = [
    ("syscalls/sys_exit_listen", "ret==0"),
    ("syscalls/sys_exit_bind", "ret==0"),
    ("sock/inet_sock_set_state", "newstate==10||oldstate==10"),
];
/// PERF_TYPE_TRACEPOINT.
const TRACEPOINT: u32 = 2;
/// PERF_EVENT_IOC_SET_OUTPUT and PERF_EVENT_IOC_SET_FILTER of linux/perf_event.h.
const SET_OUTPUT: libc::c_ulong = 0x2405;
const SET_FILTER: libc::c_ulong = 0x4008_2406;
/// PERF_FLAG_FD_CLOEXEC.
const CLOEXEC: libc::c_ulong = 8;
/// Where data_head and data_tail stand in the first page of a ring.
const HEAD: usize = 1024;
const TAIL: usize = 1032;
/// PERF_ATTR_SIZE_VER0: what every kernel with perf_event_open knows.
const SIZE: u32 = 64;

/// perf_event_attr of linux/perf_event.h in its first form; all that is not named here is zero.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
}

/// The tracepoints of all processors.
pub(super) struct Trace {
    rings: Vec<Ring>,
    _others: Vec<OwnedFd>,
}

/// The ring of one processor.
struct Ring {
    descriptor: OwnedFd,
    memory: *mut u8,
    length: usize,
}

// SAFETY: the memory is the ring's own mapping, which is used through it alone.
unsafe impl Send for Ring {}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and nothing refers to it any more.
        let _ = unsafe { rustix::mm::munmap(self.memory.cast(), self.length) };
    }
}

impl Trace {
    /// Begins to listen to the tracepoints.
    ///
    /// # Errors
    ///
    /// What is missing, in words.
    pub(super) fn open() -> Result<Self, String> {
        let folder = tracefs()?;
        let mut points = Vec::new();
        for (name, filter) in POINTS {
            let id = read_at(folder.as_fd(), &format!("events/{name}/id"))
                .map_err(|error| format!("the tracepoint {name} cannot be read: {error}"))?;
            let id: u64 = id
                .trim()
                .parse()
                .map_err(|_| format!("the tracepoint {name} has no number"))?;
            points.push((id, filter));
        }
        let mut trace = Trace {
            rings: Vec::new(),
            _others: Vec::new(),
        };
        for processor in processors() {
            let mut ring: Option<Ring> = None;
            for (id, filter) in &points {
                let descriptor = match perf_open(*id, processor) {
                    Ok(descriptor) => descriptor,
                    // The processor has gone meanwhile.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
                    Err(error) => return Err(format!("tracepoints may not be read: {error}")),
                };
                let text = CString::new(*filter).unwrap_or_default();
                ioctl(&descriptor, SET_FILTER, text.as_ptr() as libc::c_ulong)
                    .map_err(|error| format!("the filter {filter} is refused: {error}"))?;
                match &ring {
                    None => ring = Some(Ring::new(descriptor).map_err(|error| error.to_string())?),
                    Some(ring) => {
                        let output = ring.descriptor.as_raw_fd() as libc::c_ulong;
                        ioctl(&descriptor, SET_OUTPUT, output)
                            .map_err(|error| error.to_string())?;
                        trace._others.push(descriptor);
                    }
                }
            }
            trace.rings.extend(ring);
        }
        if trace.rings.is_empty() {
            return Err("no processor has tracepoints".to_owned());
        }
        Ok(trace)
    }

    /// Can be read when a socket may listen.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|ring| ring.descriptor.as_fd())
    }

    /// Takes everything out of the rings; whether there was something.
    pub(super) fn drain(&self) -> bool {
        let mut any = false;
        for ring in &self.rings {
            any |= ring.drain();
        }
        any
    }
}

impl Ring {
    fn new(descriptor: OwnedFd) -> io::Result<Ring> {
        let page = rustix::param::page_size();
        // One page for the head, and a power of two for records.
        let length = 2 * page;
        // SAFETY: a new mapping of a descriptor that is ours, at an address that the kernel chooses.
        let memory = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &descriptor,
                0,
            )
        }?;
        Ok(Ring {
            descriptor,
            memory: memory.cast(),
            length,
        })
    }

    fn counter(&self, at: usize) -> &AtomicU64 {
        // SAFETY: the place lies in the first page of the mapping, which lives as long as this, and is
        // aligned for eight bytes; the kernel writes it as a whole.
        unsafe { AtomicU64::from_ptr(self.memory.add(at).cast()) }
    }

    fn drain(&self) -> bool {
        let head = self.counter(HEAD).load(Ordering::Acquire);
        let tail = self.counter(TAIL).swap(head, Ordering::Release);
        head != tail
    }
}

fn perf_open(id: u64, processor: i32) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        kind: TRACEPOINT,
        size: SIZE,
        config: id,
        sample_period: 1,
        wakeup_events: 1,
        ..Attributes::default()
    };
    // SAFETY: the attributes are of the size that they say, and outlive the call.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            -1 as libc::pid_t,
            processor,
            -1 as libc::c_int,
            CLOEXEC,
        )
    };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = i32::try_from(opened).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn ioctl(descriptor: &OwnedFd, request: libc::c_ulong, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the requests take a number, or a text ended by NUL that outlives the call.
    let done = unsafe { libc::ioctl(descriptor.as_raw_fd(), request as _, value) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The folder of tracefs, wherever it is mounted; else a mount of our own that is attached nowhere.
fn tracefs() -> Result<OwnedFd, String> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mounted = mounted().and_then(|path| {
        let opened = rustix::fs::openat(CWD, &path, flags, Mode::empty());
        opened.ok()
    });
    if let Some(mounted) = mounted {
        return Ok(mounted);
    }
    let attach = || -> rustix::io::Result<OwnedFd> {
        let context = rustix::mount::fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        rustix::mount::fsmount(&context, flags, MountAttrFlags::empty())
    };
    attach().map_err(|errno| format!("tracefs is not mounted, and cannot be: {errno}"))
}

/// Where tracefs is mounted, or debugfs, which shows it.
fn mounted() -> Option<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    table.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split(' ').nth(4)?;
        match after.split(' ').next()? {
            "tracefs" => Some(PathBuf::from(point)),
            _ => None,
        }
    })
}

fn read_at(folder: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(folder, Path::new(path), flags, Mode::empty())?;
    let mut text = String::new();
    fs::File::from(opened).read_to_string(&mut text)?;
    Ok(text)
}

/// The numbers of the processors that are online, such as `0-3,6`.
fn processors() -> Vec<i32> {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let mut numbers = Vec::new();
    for range in online.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            numbers.extend(first..=last.min(first.saturating_add(8191)));
        }
    }
    if numbers.is_empty() {
        numbers.push(0);
    }
    numbers
}
