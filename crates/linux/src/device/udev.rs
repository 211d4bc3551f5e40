//! Whether udevd serves us, and what it has finished.
//!
//! | file | says |
//! |---|---|
//! | `control` | a udevd listens here |
//! | `queue` | it has events that are not finished |
//! | `data/b7:0`, `data/c188:0` | what it knows of a device: see [`UdevEntry`] |
//!
//! Source: udev(7), `src/libsystemd/sd-device` of systemd.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use arrival_model::device::DeviceRecord;
use arrival_wire::udev_entry::{MAX_ENTRY, UdevEntry, file_name};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// udevd's directory in /run.
#[derive(Clone, Debug)]
pub(super) struct UdevRun {
    enabled: bool,
    path: PathBuf,
}

impl UdevRun {
    pub(super) fn new(enabled: bool, path: PathBuf) -> Self {
        UdevRun { enabled, path }
    }

    /// Whether somebody will tell us when a node is usable. Asked anew each time, because udevd
    /// may come and go.
    pub(super) fn serves(&self) -> bool {
        self.enabled && self.path.join("control").exists()
    }

    /// Whether it still has work: one that was killed leaves both files behind, but nobody listens.
    pub(super) fn is_busy(&self) -> bool {
        self.path.join("queue").exists() && self.listens()
    }

    /// Whether somebody has the control socket open. Asked seldom: it makes a connection.
    fn listens(&self) -> bool {
        let Ok(address) = SocketAddrUnix::new(self.path.join("control")) else {
            return false;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        // Every other error says that a socket is there: its queue is full, or it is not for us.
        !socket
            .and_then(|socket| connect(&socket, &address))
            .is_err_and(|error| matches!(error, Errno::CONNREFUSED | Errno::NOENT))
    }

    /// What it knows of a device's node; nothing if it has no entry of it, or none that is sound.
    pub(super) fn entry(&self, device: &DeviceRecord) -> UdevEntry {
        let numbers = device.property("MAJOR").zip(device.property("MINOR"));
        let name = numbers.and_then(|(major, minor)| file_name(&device.subsystem, major, minor));
        let Some(name) = name else {
            return UdevEntry::default();
        };
        let path = self.path.join("data").join(name);
        let mut text = Vec::new();
        let longest = u64::try_from(MAX_ENTRY).unwrap_or(u64::MAX);
        let read = File::open(path).and_then(|file| file.take(longest).read_to_end(&mut text));
        match read {
            Ok(_) => UdevEntry::read(&text),
            Err(_) => UdevEntry::default(),
        }
    }
}
