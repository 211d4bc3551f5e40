//! One connection to the control socket: messages out, messages in, each within its time.

use std::io::{ErrorKind as IoKind, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrival_wire::frame::{DESCRIPTOR_LIMIT, Decoder, Descriptors};
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType, recvmsg,
};

use crate::error::{Error, ErrorKind};
use crate::root::Root;

/// The largest message taken from the manager. It is above the manager's own limit, so that a newer
/// one may answer with more.
pub(crate) const REPLY_LIMIT: usize = 16 << 20;

/// The longest path that fits into an address (unix(7): sun_path is 108 bytes with its NUL).
const SUN_PATH: usize = 107;

#[derive(Debug)]
pub(crate) struct Transport {
    stream: UnixStream,
    name: String,
    decoder: Decoder,
    /// What came with the bytes since the last call was sent.
    descriptors: Descriptors,
}

impl Transport {
    /// Connects to a manager within a time: one that does not accept counts as not answering.
    pub(crate) fn connect(root: &Root, patience: Duration) -> Result<Self, Error> {
        let path = root.control();
        let name = path.display().to_string();
        let stream = connect(path, SocketType::STREAM, patience)
            .map_err(|errno| no_connection(&name, errno))?;
        Ok(Transport {
            stream: stream.into(),
            name,
            decoder: Decoder::new(REPLY_LIMIT),
            descriptors: Descriptors::new(),
        })
    }

    /// The control socket's path.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, message: &[u8], deadline: Instant) -> Result<(), Error> {
        self.descriptors = Descriptors::new();
        let mut left = message;
        while !left.is_empty() {
            let time = self.time_left(deadline)?;
            self.stream
                .set_write_timeout(Some(time))
                .map_err(|error| self.io(error))?;
            match self.stream.write(left) {
                Ok(0) => return Err(Error::new(ErrorKind::Disconnected, &self.name)),
                Ok(n) => left = left.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == IoKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
        Ok(())
    }

    /// Receives one message, without its end; without a deadline it waits for ever.
    ///
    /// A message that does not come in time may come later: only [`ErrorKind::Timeout`] leaves
    /// the connection in order, with what has come so far kept for the next call.
    pub(crate) fn receive(&mut self, deadline: Option<Instant>) -> Result<Vec<u8>, Error> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(message) = self.decoder.next() {
                return message.map_err(|error| {
                    Error::new(ErrorKind::Protocol, &self.name).because(error.to_string())
                });
            }
            let time = match deadline {
                Some(deadline) => Some(self.time_left(deadline)?),
                None => None,
            };
            self.stream
                .set_read_timeout(time)
                .map_err(|error| self.io(error))?;
            match self.read(&mut chunk) {
                Ok(0) => {
                    let error = Error::new(ErrorKind::Disconnected, &self.name);
                    return Err(match self.decoder.end() {
                        Ok(()) => error,
                        Err(cut) => error.because(cut.to_string()),
                    });
                }
                Ok(n) => {
                    self.decoder.push(chunk.get(..n).unwrap_or_default());
                }
                Err(error) if error.kind() == IoKind::Interrupted => {}
                Err(error) => return Err(self.io(error)),
            }
        }
    }

    /// Reads bytes, and keeps the descriptors that come with them.
    fn read(&mut self, chunk: &mut [u8]) -> std::io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_LIMIT))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read = recvmsg(
            &self.stream,
            &mut [IoSliceMut::new(chunk)],
            &mut control,
            flags,
        )?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                for descriptor in descriptors {
                    // More than a message may carry are closed.
                    let _ = self.descriptors.push(descriptor);
                }
            }
        }
        Ok(read.bytes)
    }

    /// The descriptor that came with the answer to the last call.
    pub(crate) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.take(0)
    }

    fn time_left(&self, deadline: Instant) -> Result<Duration, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(ErrorKind::Timeout, &self.name));
        }
        // The kernel counts in its ticks, and zero would mean for ever.
        Ok(left.max(Duration::from_millis(1)))
    }

    fn io(&self, error: std::io::Error) -> Error {
        // No wildcard over kinds would be complete: std may add some at any time.
        if matches!(error.kind(), IoKind::WouldBlock | IoKind::TimedOut) {
            return Error::new(ErrorKind::Timeout, &self.name);
        }
        if matches!(
            error.kind(),
            IoKind::BrokenPipe | IoKind::ConnectionReset | IoKind::ConnectionAborted
        ) {
            return Error::from_io(ErrorKind::Disconnected, &self.name, error);
        }
        Error::from_io(ErrorKind::Io, &self.name, error)
    }
}

/// Why nobody could be connected to.
pub(crate) fn no_connection(name: &str, errno: rustix::io::Errno) -> Error {
    use rustix::io::Errno;
    let kind = match errno {
        Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR => ErrorKind::NoDaemon,
        Errno::ACCESS | Errno::PERM => ErrorKind::Denied,
        Errno::AGAIN | Errno::TIMEDOUT => ErrorKind::Timeout,
        _ => ErrorKind::Io,
    };
    Error::from_io(kind, name, errno.into())
}

/// Connects to the socket at `path`, however long that is.
///
/// The send timeout bounds connect(2) too: it waits for a place in a full backlog (unix(7)).
pub(crate) fn connect(
    path: &Path,
    kind: SocketType,
    patience: Duration,
) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
    set_socket_timeout(
        &socket,
        Timeout::Send,
        Some(patience.max(Duration::from_millis(1))),
    )?;
    if path.as_os_str().as_bytes().len() <= SUN_PATH {
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        return Ok(socket);
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(rustix::io::Errno::NAMETOOLONG);
    };
    let folder = rustix::fs::open(
        folder,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let short = PathBuf::from(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&folder.as_fd())
    ))
    .join(name);
    rustix::net::connect(&socket, &SocketAddrUnix::new(&short)?)?;
    Ok(socket)
}
