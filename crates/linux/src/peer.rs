//! Who is at the other end of a Unix stream socket, as the kernel says.
//!
//! | what | from | where that is missing |
//! |---|---|---|
//! | pid, uid, gid | SO_PEERCRED | an error |
//! | supplementary groups | SO_PEERGROUPS (Linux 4.13) | none |
//! | the process itself | SO_PEERPIDFD (Linux 6.5) | a pidfd of the pid |
//! | whether somebody is logged in | /proc/PID/loginuid | no |
//!
//! All ids are those of the moment of connect(2). Source: unix(7), socket(7), proc(5).

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

const SO_PEERGROUPS: libc::c_int = 59;
const SO_PEERPIDFD: libc::c_int = 77;
/// NGROUPS_MAX of linux/limits.h.
const MOST_GROUPS: usize = 65536;

/// A connected process.
#[derive(Debug)]
pub struct Peer {
    /// Its number; 0 if it is in a pid namespace that we do not see.
    pub pid: u32,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Whether a login session is behind it.
    pub interactive: bool,
    /// The process itself: while this is alive, `pid` means no other.
    pub pidfd: Option<OwnedFd>,
}

impl Peer {
    /// Asks the kernel about the other end of a connected socket.
    ///
    /// # Errors
    ///
    /// Only if the socket is none of a Unix stream.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut credentials = libc::ucred {
            pid: 0,
            uid: u32::MAX,
            gid: u32::MAX,
        };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the option's value is one ucred, whose place and size are given.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut credentials).cast(),
                &raw mut length,
            )
        };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        let pid = u32::try_from(credentials.pid).unwrap_or(0);
        let mut peer = Peer {
            pid,
            uid: credentials.uid,
            gid: credentials.gid,
            groups: groups(socket).unwrap_or_default(),
            interactive: false,
            pidfd: pidfd(socket, pid),
        };
        // What /proc says counts only if the process was there afterwards.
        peer.interactive = pid != 0 && has_login(pid) && peer.is_alive();
        Ok(peer)
    }

    /// Whether the process has not ended; false too where that cannot be known.
    pub fn is_alive(&self) -> bool {
        let Some(pidfd) = &self.pidfd else {
            return false;
        };
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
        matches!(poll(&mut polled, Some(&now)), Ok(0))
    }
}

fn groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        let mut length = libc::socklen_t::try_from(size_of_val(groups.as_slice()))
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the value is an array of ids, whose place and size in bytes are given.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = length as usize / size_of::<u32>();
        if done == 0 {
            groups.truncate(count);
            groups.shrink_to_fit();
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // ERANGE comes with the length that is needed.
        if error.raw_os_error() != Some(libc::ERANGE)
            || count <= groups.len()
            || count > MOST_GROUPS
        {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

fn pidfd(socket: BorrowedFd<'_>, pid: u32) -> Option<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is one int, whose place and size are given.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if done == 0 && fd >= 0 {
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        return Some(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Whether the process has a loginuid, which pam_loginuid(8) sets at a login and children inherit.
fn has_login(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/loginuid"))
        .ok()
        .and_then(|text| text.trim().parse::<u32>().ok())
        .is_some_and(|uid| uid != u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(ours.as_fd()).unwrap();
        assert_eq!(peer.pid, std::process::id());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        let own: Vec<u32> = rustix::process::getgroups()
            .unwrap()
            .iter()
            .map(|group| group.as_raw())
            .collect();
        assert_eq!(peer.groups, own);
        assert!(peer.is_alive());
    }
}
