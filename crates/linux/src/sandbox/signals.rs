//! Signals of this process as a descriptor that can be waited for.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// Signals that no longer interrupt this thread, and are read from a descriptor instead.
///
/// They stay blocked, also after this value is dropped: one that comes late must not end a program that is
/// cleaning up. Threads that exist already are not touched, so this belongs at the beginning of a program.
/// Source: signalfd(2).
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks these signals (such as `SIGTERM`, 15) and takes them over.
    ///
    /// # Errors
    ///
    /// A number that is no signal, or those of signalfd(2).
    pub fn take_over(signals: &[i32]) -> io::Result<Self> {
        let mut set = empty();
        for signal in signals {
            // SAFETY: the set is initialised and ours.
            if unsafe { libc::sigaddset(&raw mut set, *signal) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        mask(libc::SIG_BLOCK, &set)?;
        // SAFETY: the set is initialised; a descriptor that is returned belongs to us.
        unsafe {
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Signals(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The next signal that has come; none if none has.
    ///
    /// # Errors
    ///
    /// Those of read(2), except that there is nothing to read.
    pub fn take(&self) -> io::Result<Option<i32>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is as long as is said, and any bytes are a signalfd_siginfo.
        let (got, info) = unsafe {
            let got = libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size);
            (got, info.assume_init())
        };
        if got >= 0 {
            return Ok(i32::try_from(info.ssi_signo)
                .ok()
                .filter(|number| *number > 0));
        }
        let error = io::Error::last_os_error();
        let nothing_yet = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
        if nothing_yet.contains(&error.kind()) {
            Ok(None)
        } else {
            Err(error)
        }
    }
}

impl AsFd for Signals {
    /// Readable when a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises what it is given.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Changes the mask of this thread and gives the one before.
fn mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = empty();
    // SAFETY: both sets are initialised and live through the call.
    match unsafe { libc::pthread_sigmask(how, set, &raw mut before) } {
        0 => Ok(before),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Does something while no signal can interrupt: a child made in there never runs our signal handlers.
pub(super) fn blocked<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut all = empty();
    // SAFETY: the set is initialised and ours.
    unsafe { libc::sigfillset(&raw mut all) };
    let before = mask(libc::SIG_BLOCK, &all)?;
    let result = work();
    mask(libc::SIG_SETMASK, &before)?;
    result
}

/// Gives every signal its default meaning and lets all through, as a program expects it; allocates nothing.
///
/// Not by signal(3), which spares the two signals that the C library keeps for its threads.
pub(super) fn reset() {
    // Zeroes are a `struct sigaction` of the kernel's with SIG_DFL, no flags and no mask, on every
    // architecture; none has a longer one. A set of signals is 64 bits.
    let default = [0_u64; 8];
    for signal in 1..65 {
        // SAFETY: the action is readable and longer than the kernel reads; SIG_DFL runs no code of ours.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, 0, 8) };
    }
    let none = empty();
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}
