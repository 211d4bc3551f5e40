//! Netlink sockets for device events, and who may be believed.
//!
//! | group | sender | a datagram counts only if |
//! |---|---|---|
//! | 1 | the kernel | the source address has port 0 and the sender's credentials have pid 0 |
//! | 2 | udevd | the sender's credentials have uid 0 |
//!
//! Port 0 alone is no proof: the kernel broadcasts again, under its own address, what a
//! privileged process sends to it; only the credentials still name that process.
//!
//! Once a socket has lost a datagram (`ENOBUFS`) the kernel drops further ones, silently, until
//! the queue is empty. So an overrun is reported first, and only after the queue has been read
//! to its end may anyone look at the truth again.
//!
//! Sources: netlink(7), socket(7), unix(7) for SCM_CREDENTIALS, `lib/kobject_uevent.c`.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use arrival_wire::uevent::{Uevent, UeventError};

/// A multicast group of device events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// What the kernel says.
    Kernel,
    /// What udevd says when it has finished with a device.
    Udev,
}

impl Group {
    fn mask(self) -> u32 {
        match self {
            Group::Kernel => 1,
            Group::Udev => 2,
        }
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Group::Kernel => "kernel",
            Group::Udev => "udev",
        })
    }
}

/// What came out of a socket.
#[derive(Debug)]
pub enum Received<'a> {
    /// An event from whom it should be.
    Event(Uevent<'a>),
    /// A datagram from somebody else.
    Spoofed,
    /// A datagram longer than the buffer.
    Truncated,
    /// A datagram of the right sender that is no event.
    Malformed(UeventError),
    /// The kernel dropped datagrams; the queue must be read to its end now.
    Overrun,
    /// Nothing is waiting.
    Empty,
}

/// The longest datagram; the kernel's have about 2 KiB, udevd's seldom more than 4 KiB.
const MAX_DATAGRAM: usize = 16 * 1024;

/// A socket in one group.
#[derive(Debug)]
pub struct UeventSocket {
    fd: OwnedFd,
    group: Group,
    buffer: Box<[u8]>,
}

impl UeventSocket {
    /// Opens a socket that does not block and whose queue takes about `receive_buffer` bytes: with
    /// SO_RCVBUFFORCE if we may, else with SO_RCVBUF, which the system limits.
    pub fn open(group: Group, receive_buffer: usize) -> io::Result<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: socket has no memory arguments.
        let raw = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: raw is a descriptor that was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let size = libc::c_int::try_from(receive_buffer).unwrap_or(libc::c_int::MAX);
        if set_option(&fd, libc::SO_RCVBUFFORCE, size).is_err() {
            set_option(&fd, libc::SO_RCVBUF, size)?;
        }
        set_option(&fd, libc::SO_PASSCRED, 1)?;
        // SAFETY: sockaddr_nl is plain data for which zeros are valid.
        let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = group.mask();
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the address is a sockaddr_nl of the given length and lives through the call.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(UeventSocket {
            fd,
            group,
            buffer: vec![0; MAX_DATAGRAM].into(),
        })
    }

    /// The group it listens to.
    pub fn group(&self) -> Group {
        self.group
    }

    /// How many datagrams the kernel has dropped on this socket, if it says so (SO_MEMINFO).
    pub fn drops(&self) -> Option<u32> {
        // SK_MEMINFO_VARS is 9 and SK_MEMINFO_DROPS the last, linux/sock_diag.h.
        const SO_MEMINFO: libc::c_int = 55;
        let mut values = [0_u32; 9];
        let mut length = size_of_val(&values) as libc::socklen_t;
        // SAFETY: values has length bytes and both live through the call.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                values.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let [.., drops] = values;
        (result == 0 && length as usize == size_of_val(&values)).then_some(drops)
    }

    /// Takes one datagram, without blocking.
    pub fn receive(&mut self) -> io::Result<Received<'_>> {
        let Some(datagram) = self.take()? else {
            return Ok(Received::Empty);
        };
        let Datagram {
            length,
            truncated,
            port,
            sender,
        } = match datagram {
            Ok(datagram) => datagram,
            Err(Overrun) => return Ok(Received::Overrun),
        };
        let believed = match (self.group, sender) {
            (Group::Kernel, Some(sender)) => port == Some(0) && sender.pid == 0,
            (Group::Udev, Some(sender)) => sender.uid == 0,
            (_, None) => false,
        };
        if !believed {
            return Ok(Received::Spoofed);
        }
        let bytes = match self.buffer.get(..length) {
            Some(bytes) if !truncated => bytes,
            _ => return Ok(Received::Truncated),
        };
        let parsed = match self.group {
            Group::Kernel => Uevent::parse_kernel(bytes),
            Group::Udev => Uevent::parse_udev(bytes),
        };
        Ok(match parsed {
            Ok(event) => Received::Event(event),
            Err(error) => Received::Malformed(error),
        })
    }

    fn take(&mut self) -> io::Result<Option<Result<Datagram, Overrun>>> {
        // SAFETY: these structures are plain data for which zeros are valid.
        let (mut address, mut header): (libc::sockaddr_nl, libc::msghdr) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut part = libc::iovec {
            iov_base: self.buffer.as_mut_ptr().cast(),
            iov_len: self.buffer.len(),
        };
        let mut control = Control([0; CONTROL_LENGTH]);
        header.msg_name = (&raw mut address).cast();
        header.msg_namelen = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len() as _;
        let length = loop {
            // SAFETY: header points to an address, a buffer and a control buffer, each with its
            // true length, and all of them live through the call.
            let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, 0) };
            if let Ok(length) = usize::try_from(length) {
                break length;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Ok(None),
                Some(libc::ENOBUFS) => return Ok(Some(Err(Overrun))),
                _ => return Err(error),
            }
        };
        let named = header.msg_namelen as usize == size_of::<libc::sockaddr_nl>();
        Ok(Some(Ok(Datagram {
            length,
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
            port: named.then_some(address.nl_pid),
            sender: credentials(&header),
        })))
    }
}

impl AsFd for UeventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

struct Datagram {
    length: usize,
    truncated: bool,
    port: Option<u32>,
    sender: Option<libc::ucred>,
}

struct Overrun;

/// Room for one SCM_CREDENTIALS message, with some to spare.
const CONTROL_LENGTH: usize = 64;

#[repr(C, align(8))]
struct Control([u8; CONTROL_LENGTH]);

/// The sender's credentials in a received header.
fn credentials(header: &libc::msghdr) -> Option<libc::ucred> {
    // SAFETY: header was filled by recvmsg and its control buffer is still borrowed by the caller.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR give null or a header inside the control buffer.
        let message = unsafe { &*next };
        // SAFETY: CMSG_LEN only computes.
        let expected = unsafe { libc::CMSG_LEN(size_of::<libc::ucred>() as u32) } as usize;
        if message.cmsg_level == libc::SOL_SOCKET
            && message.cmsg_type == libc::SCM_CREDENTIALS
            && message.cmsg_len as usize >= expected
        {
            // SAFETY: the message is long enough for a ucred, which may lie unaligned.
            return Some(unsafe { libc::CMSG_DATA(next).cast::<libc::ucred>().read_unaligned() });
        }
        // SAFETY: next is a header inside the control buffer of header.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    None
}

fn set_option(fd: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: value is an int of the given length and lives through the call.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
