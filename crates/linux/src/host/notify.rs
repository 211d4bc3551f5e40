//! The socket behind `NOTIFY_SOCKET`.
//!
//! A datagram is given on with the process that sent it as the kernel says; whether that process is in a host is
//! for the caller to ask ([`Hosts::contains`](super::Hosts::contains)), and what the text means is read elsewhere.
//!
//! Sources: sd_notify(3), unix(7) (SO_PASSCRED), linux/socket.h (SO_PASSPIDFD, Linux 6.5).

use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

/// The longest datagram that counts; longer ones are dropped and counted.
pub const MAX_DATAGRAM: usize = 4096;
/// The longest path that fits into a socket address with its end.
const MAX_PATH: usize = 107;
const SO_PASSPIDFD: i32 = 76;
const SCM_PIDFD: i32 = 4;

/// One datagram and who sent it.
#[derive(Debug)]
pub struct Datagram {
    /// The text as it came.
    pub bytes: Vec<u8>,
    /// The sending process.
    pub pid: u32,
    /// Its user at that moment.
    pub uid: u32,
    /// The process itself, where the kernel gives it.
    pub pidfd: Option<OwnedFd>,
}

impl Datagram {
    /// Whether `pid` has meant the sender until now; true where that cannot be known.
    ///
    /// A process that has ended keeps its number until somebody has waited for it. What was found
    /// out by the number counts if this is true afterwards.
    pub fn has_its_number(&self) -> bool {
        self.pidfd.as_ref().is_none_or(|pidfd| {
            let asked = super::sys::pidfd_signal(pidfd.as_fd(), 0);
            !asked.is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
        })
    }
}

/// A bound datagram socket; readable when there is something to [`receive`](Self::receive).
#[derive(Debug)]
pub struct NotifySocket {
    fd: OwnedFd,
    address: String,
    dropped: u64,
}

impl NotifySocket {
    /// Binds the socket, in place of one that an earlier daemon left there. Everybody may write to it.
    ///
    /// No client of sd_notify(3) can use a path beyond 107 bytes. For such a path the socket is bound to
    /// an abstract name made from it instead, the same after every start.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        rustix::net::sockopt::set_socket_passcred(&fd, true)?;
        let one: libc::c_int = 1;
        // SAFETY: the option's value is one int that outlives the call. A kernel before 6.5 refuses, and
        // then the pid alone has to do.
        unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PASSPIDFD,
                (&raw const one).cast(),
                size_of_val(&one) as libc::socklen_t,
            )
        };
        let address = if path.as_os_str().len() > MAX_PATH {
            let name = abstract_name(path);
            bind(&fd, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
            format!("@{name}")
        } else {
            bind_file(&fd, path, 0o666)?;
            path.to_str().ok_or(io::ErrorKind::InvalidInput)?.to_owned()
        };
        Ok(Self {
            fd,
            address,
            dropped: 0,
        })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many datagrams were too long or came without a sender.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next datagram that counts; `None` when there is none. Descriptors that came along are closed.
    pub fn receive(&mut self) -> io::Result<Option<Datagram>> {
        loop {
            match self.receive_any()? {
                Received::Nothing => return Ok(None),
                Received::Dropped => self.dropped += 1,
                Received::Good(datagram) => return Ok(Some(datagram)),
            }
        }
    }

    fn receive_any(&self) -> io::Result<Received> {
        let mut bytes = vec![0_u8; MAX_DATAGRAM + 1];
        // Room for credentials, a pidfd and as many descriptors as one message can carry (253).
        let mut control = [MaybeUninit::<u64>::uninit(); 160];
        let mut part = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        // SAFETY: a msghdr of zeros is a valid empty one.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        let length = loop {
            // SAFETY: the message points to buffers of the lengths it gives, which outlive the call.
            let done = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, flags) };
            if let Ok(length) = usize::try_from(done) {
                break length;
            }
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::WouldBlock {
                return Ok(Received::Nothing);
            }
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        };

        let mut sender = None;
        let mut pidfd = None;
        // SAFETY: the kernel filled the control buffer, and these walk it within msg_controllen.
        let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        while !header.is_null() {
            // SAFETY: the header lies in the control buffer, aligned by u64; its data follows it.
            let (level, kind, size, data) = unsafe {
                let head = &*header;
                (
                    head.cmsg_level,
                    head.cmsg_type,
                    head.cmsg_len as usize,
                    libc::CMSG_DATA(header),
                )
            };
            // SAFETY: this only computes a length.
            let size = size.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
            if level == libc::SOL_SOCKET {
                match kind {
                    libc::SCM_CREDENTIALS if size >= size_of::<libc::ucred>() => {
                        // SAFETY: the size says that one ucred lies there.
                        sender = Some(unsafe { data.cast::<libc::ucred>().read_unaligned() });
                    }
                    SCM_PIDFD | libc::SCM_RIGHTS => {
                        for index in 0..size / size_of::<i32>() {
                            // SAFETY: the size says that this many descriptors lie there.
                            let fd = unsafe { data.cast::<i32>().add(index).read_unaligned() };
                            if fd < 0 {
                                continue;
                            }
                            // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
                            let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                            if kind == SCM_PIDFD {
                                pidfd = Some(fd);
                            }
                        }
                    }
                    _ => {}
                }
            }
            // SAFETY: as for the first.
            header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
        }

        let cut = message.msg_flags & libc::MSG_TRUNC != 0 || length > MAX_DATAGRAM;
        // A sender outside our pid namespace has no number here.
        let sender = sender.and_then(|sender| {
            Some((
                u32::try_from(sender.pid).ok().filter(|pid| *pid != 0)?,
                sender.uid,
            ))
        });
        match sender {
            Some((pid, uid)) if !cut => {
                bytes.truncate(length);
                bytes.shrink_to_fit();
                Ok(Received::Good(Datagram {
                    bytes,
                    pid,
                    uid,
                    pidfd,
                }))
            }
            Some(_) | None => Ok(Received::Dropped),
        }
    }
}

enum Received {
    Nothing,
    Dropped,
    Good(Datagram),
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for NotifySocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

fn abstract_name(path: &Path) -> String {
    format!("arrival/notify/{}", super::sys::tag(path))
}

/// Binds a socket to a path of any length, through its folder's descriptor, replacing an old socket.
///
/// The file has this mode at no moment more than that.
pub fn bind_file(socket: &OwnedFd, path: &Path, mode: u32) -> io::Result<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    match rustix::fs::statat(&folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if rustix::fs::FileType::from_raw_mode(found.st_mode).is_socket() => {
            rustix::fs::unlinkat(&folder, name, rustix::fs::AtFlags::empty())?;
        }
        // Anything else there makes bind fail with EADDRINUSE, which is right.
        Ok(_) | Err(_) => {}
    }
    let through = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    // The file gets the mode of the socket, less the umask, which is the whole process's.
    rustix::fs::fchmod(socket, Mode::from_raw_mode(mode))?;
    bind(socket, &SocketAddrUnix::new(&through)?)?;
    fs::set_permissions(&through, fs::Permissions::from_mode(mode))?;
    Ok(path.to_path_buf())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::super::output::tests::Folder;
    use super::*;

    #[test]
    fn a_datagram_comes_with_its_sender() {
        let folder = Folder::new();
        let path = folder.0.join("notify");
        let mut socket = NotifySocket::bind(&path).unwrap();
        assert_eq!(socket.address(), path.to_str().unwrap());
        assert!(socket.receive().unwrap().is_none());
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(b"READY=1\n", &path).unwrap();
        let got = socket.receive().unwrap().unwrap();
        assert_eq!(
            (got.bytes.as_slice(), got.pid),
            (b"READY=1\n".as_slice(), std::process::id())
        );
        assert_eq!(got.uid, rustix::process::geteuid().as_raw());
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o666
        );
    }

    #[test]
    fn a_sender_keeps_its_number_until_somebody_has_waited_for_it() {
        let folder = Folder::new();
        let path = folder.0.join("notify");
        let mut socket = NotifySocket::bind(&path).unwrap();
        // SAFETY: the child makes system calls only, on data prepared before.
        let child = unsafe {
            let client = UnixDatagram::unbound().unwrap();
            client.connect(&path).unwrap();
            match libc::fork() {
                0 => {
                    libc::send(client.as_raw_fd(), c"READY=1".as_ptr().cast(), 7, 0);
                    libc::_exit(0)
                }
                child => child,
            }
        };
        let mut ended = None;
        while ended.is_none() {
            ended = socket.receive().unwrap();
        }
        let datagram = ended.unwrap();
        assert_eq!(datagram.pid, child.unsigned_abs());
        assert!(datagram.has_its_number());
        // SAFETY: a null status is allowed.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        assert_eq!(datagram.has_its_number(), datagram.pidfd.is_none());
    }

    #[test]
    fn a_datagram_beyond_four_kib_is_dropped_and_counted() {
        let folder = Folder::new();
        let path = folder.0.join("notify");
        let mut socket = NotifySocket::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(&[b'x'; MAX_DATAGRAM + 1], &path).unwrap();
        client.send_to(&[b'x'; 3 * MAX_DATAGRAM], &path).unwrap();
        client.send_to(&[b'y'; MAX_DATAGRAM], &path).unwrap();
        assert_eq!(
            socket.receive().unwrap().unwrap().bytes,
            [b'y'; MAX_DATAGRAM]
        );
        assert_eq!(socket.dropped(), 2);
    }

    #[test]
    fn descriptors_that_come_along_are_closed() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let folder = Folder::new();
        let path = folder.0.join("notify");
        let mut socket = NotifySocket::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [writer.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(
            &client,
            &[io::IoSlice::new(b"FDSTORE=1")],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();
        drop(writer);
        assert_eq!(socket.receive().unwrap().unwrap().bytes, b"FDSTORE=1");
        // With every write end closed the pipe is at its end at once.
        assert_eq!(rustix::io::read(&reader, &mut [0_u8; 1]).unwrap(), 0);
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
        let folder = Folder::new();
        let path = folder.0.join("notify");
        drop(NotifySocket::bind(&path).unwrap());
        drop(NotifySocket::bind(&path).unwrap());
        let file = folder.0.join("file");
        fs::write(&file, "mine").unwrap();
        assert!(NotifySocket::bind(&file).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn under_a_long_root_clients_get_an_address_they_can_use() {
        let folder = Folder::new();
        let deep = folder.0.join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let mut socket = NotifySocket::bind(&deep.join("notify")).unwrap();
        let name = socket.address().strip_prefix('@').unwrap().to_owned();
        assert!(name.len() < MAX_PATH);
        let client = UnixDatagram::unbound().unwrap();
        client
            .send_to_addr(b"READY=1", &SocketAddr::from_abstract_name(name).unwrap())
            .unwrap();
        assert_eq!(socket.receive().unwrap().unwrap().bytes, b"READY=1");
        // Stream sockets of the daemon itself are bound by path all the same.
        let other = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        bind_file(&other, &deep.join("control"), 0o600).unwrap();
        assert!(deep.join("control").exists());
    }
}
