//! The few kernel calls that rustix lacks or types too narrowly, each a safe function.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags};
use rustix::time::Timespec;

/// Sends `signal` (0 only asks whether it could be sent) to the process behind `pidfd`.
///
/// Source: pidfd_send_signal(2). Any number is allowed, real-time signals included.
pub(super) fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is passed, the descriptor lives through the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A word made of a path, for names of what belongs to it.
///
/// FNV-1a: the word has to be the same tomorrow and in the next version, which std's hasher does not promise.
pub(super) fn tag(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// Opens a descriptor of the process `pid`, close-on-exec.
pub(super) fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// This process's session, or 0 if its leader is outside our PID namespace.
///
/// Source: getsid(2). rustix has no word for the 0, which is what a container's or a supervisor's first process often gets.
pub(super) fn own_session() -> u32 {
    // SAFETY: takes and gives a number.
    unsafe { libc::getsid(0) }.unsigned_abs()
}

/// The child that is a zombie and was waiting longest, without taking it away.
///
/// Source: waitid(2), WNOWAIT. `None`: no zombie, or no child at all.
pub(super) fn peek_zombie() -> Option<u32> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is a siginfo_t of our own that outlives the call.
    let done = unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) };
    if done != 0 {
        return None;
    }
    // SAFETY: the buffer was zeroed and a successful waitid leaves it zero or fills the SIGCHLD fields.
    let pid = unsafe { info.assume_init().si_pid() };
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}

/// Takes the zombie `pid` away; true if it was one of our children and is gone now.
pub(super) fn reap(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG;
    matches!(
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options),
        Ok(Some(_))
    )
}

/// Waits until the child behind `pidfd` has ended, and takes it away.
pub(super) fn wait(pidfd: BorrowedFd<'_>) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {}
}

/// Whether the process behind `pidfd` ends within this time.
pub(super) fn ends_within(pidfd: BorrowedFd<'_>, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)],
            Some(&timeout),
        ) {
            // A signal that another thread has blocked for a clone wakes this one.
            Err(rustix::io::Errno::INTR) => {}
            told => return told.is_ok_and(|count| count > 0),
        }
    }
}

/// The wait status of a process that is not our child, where the kernel keeps it (Linux 6.15).
///
/// `Ok(None)`: the process is not reaped yet. An error: this kernel cannot tell.
/// Source: linux/pidfd.h, PIDFD_GET_INFO with PIDFD_INFO_EXIT.
pub(super) fn pidfd_exit_status(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    /// The first published layout, 64 bytes.
    #[repr(C)]
    #[derive(Default)]
    struct PidfdInfo {
        mask: u64,
        cgroup: u64,
        pids: [u32; 3],
        ids: [u32; 8],
        exit_code: i32,
    }
    const _: () = assert!(size_of::<PidfdInfo>() == 64);
    // _IOWR(0xFF, 11, struct pidfd_info)
    const PIDFD_GET_INFO: u32 = (3 << 30) | (64 << 16) | (0xFF << 8) | 11;
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    // SAFETY: the request's number says 64 bytes, which is the size of `info`; it outlives the call.
    let done = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut info) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}

/// Sixteen random hexadecimal digits.
pub(super) fn random_word() -> String {
    let mut bytes = [0_u8; 8];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            // Without a random source the clock still makes the word one of its kind on this machine.
            Err(_) => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                return format!("{:08x}{:08x}", now.tv_sec & 0xffff_ffff, now.tv_nsec);
            }
        }
    }
    format!("{:016x}", u64::from_ne_bytes(bytes))
}
