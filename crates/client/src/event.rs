//! Writing custom events, which start and stop services that wait for them.

use std::os::fd::OwnedFd;
use std::time::Duration;

use arrival_model::event::{CustomEvent, Enabled, EventHead, PAYLOAD_LIMIT};
use arrival_model::guid::Guid;
use arrival_wire::event::{FRAME_LIMIT, FromManager, FromProvider};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType};

use crate::error::{Error, ErrorKind};
use crate::root::Root;
use crate::transport::{connect, no_connection};

/// How long the manager may take to say whether events may be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// A provider of events that is registered with the manager (EventRegister).
///
/// Writing never waits: what the manager cannot take at once is counted, and told with the next event
/// that it can.
///
/// ```no_run
/// use arrival_client::{Event, EventProvider, Root};
///
/// let provider = "{8d5b7f06-0c3e-4f0d-9e8a-5c2f5a1f6f11}".parse().expect("a GUID");
/// let mut events = EventProvider::connect(&Root::system(), provider)?;
/// let event = Event { level: 4, keyword: 0x1, ..Event::default() };
/// if events.enabled(event.level, event.keyword) {
///     events.write(&event, b"ready")?;
/// }
/// # Ok::<(), arrival_client::Error>(())
/// ```
#[derive(Debug)]
pub struct EventProvider {
    socket: OwnedFd,
    name: String,
    provider: Guid,
    enabled: Enabled,
    lost: u64,
    untold: u64,
    frame: Vec<u8>,
}

impl EventProvider {
    /// Registers a provider; the manager says who may: root, and services whose definition provides it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoDaemon`], [`ErrorKind::Denied`] with the manager's reason, [`ErrorKind::Timeout`],
    /// and those of the system.
    pub fn connect(root: &Root, provider: Guid) -> Result<Self, Error> {
        let path = root.events();
        let name = path.display().to_string();
        let socket = connect(&path, SocketType::SEQPACKET, PATIENCE)
            .map_err(|errno| no_connection(&name, errno))?;
        let mut events = EventProvider {
            socket,
            name,
            provider,
            enabled: Enabled::default(),
            lost: 0,
            untold: 0,
            frame: Vec::new(),
        };
        events.send(&FromProvider::Register(provider))?;
        loop {
            events.wait(PATIENCE)?;
            if events.take()? {
                return Ok(events);
            }
        }
    }

    /// Whether anybody waits for events of this level and keyword (EventEnabled).
    pub fn enabled(&mut self, level: u8, keyword: u64) -> bool {
        // An error shows with the next event that is written.
        while let Ok(true) = self.take() {}
        self.enabled.wants(level, keyword)
    }

    /// Writes an event (EventWrite); one that nobody waits for is not written.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if the manager has gone, and those of the system. An event that the
    /// manager cannot take at once is no error: [`lost`](EventProvider::lost) counts it.
    pub fn write(&mut self, event: &EventHead, payload: &[u8]) -> Result<(), Error> {
        if !self.enabled(event.level, event.keyword) {
            return Ok(());
        }
        if payload.len() > PAYLOAD_LIMIT {
            let reason = format!("a payload has at most {PAYLOAD_LIMIT} bytes");
            return Err(Error::new(ErrorKind::Io, &self.name).because(reason));
        }
        let provider = self.provider;
        if self.untold > 0 {
            let count = self.untold;
            let lost = FromProvider::Lost { provider, count };
            if self.send(&lost)? {
                self.untold = 0;
            }
        }
        let written = self.send(&FromProvider::Write(CustomEvent {
            provider,
            head: *event,
            payload,
        }))?;
        if !written {
            self.lost += 1;
            self.untold += 1;
        }
        Ok(())
    }

    /// How many events could not be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Sends a frame; false if the manager cannot take it now.
    fn send(&mut self, frame: &FromProvider<'_>) -> Result<bool, Error> {
        self.frame.clear();
        frame.write(&mut self.frame);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            match rustix::net::send(&self.socket, &self.frame, flags) {
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(false),
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    return Err(Error::new(ErrorKind::Disconnected, &self.name));
                }
                Err(errno) => {
                    return Err(Error::from_io(ErrorKind::Io, &self.name, errno.into()));
                }
            }
        }
    }

    /// Takes what the manager says; whether it said anything.
    fn take(&mut self) -> Result<bool, Error> {
        let mut bytes = [0; 4096];
        let received = rustix::net::recv(&self.socket, bytes.as_mut_slice(), RecvFlags::DONTWAIT);
        let length = match received {
            Ok((_, 0)) | Err(Errno::CONNRESET) => {
                return Err(Error::new(ErrorKind::Disconnected, &self.name));
            }
            Ok((_, length)) => length.min(FRAME_LIMIT),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(false),
            Err(errno) => return Err(Error::from_io(ErrorKind::Io, &self.name, errno.into())),
        };
        match FromManager::read(bytes.get(..length).unwrap_or(&bytes)) {
            Ok(FromManager::Enabled { enabled, .. }) => {
                self.enabled = enabled;
                Ok(true)
            }
            Ok(FromManager::Refused { reason, .. }) => {
                Err(Error::new(ErrorKind::Denied, self.provider.to_string()).because(reason))
            }
            Err(error) => {
                Err(Error::new(ErrorKind::Protocol, &self.name).because(error.to_string()))
            }
        }
    }

    fn wait(&self, patience: Duration) -> Result<(), Error> {
        let time = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut polled = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut polled, Some(&time)) {
            Ok(0) => Err(Error::new(ErrorKind::Timeout, &self.name)),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Error::from_io(ErrorKind::Io, &self.name, errno.into())),
        }
    }
}
