//! The demonstration's service: it says when it starts, listens, and takes its time to let go.
//!
//! ```text
//! arrival __demo-service RECORD CLEANUP_MS
//!
//! main      write it down, READY=1                 protocol "notify": now it is RUNNING
//! notice    write down what it was told            a session with the manager, as any service may have
//! SIGTERM   STOPPING=1, clean up for CLEANUP_MS, exit 0
//! ```

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use arrival_client::{Incoming, NoticeKind, Root, Session, Subscription};
use arrival_linux::sandbox::Signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use super::record;

/// The class of the devices that it serves.
pub(super) const CLASS: &str = "demo";
/// Its GUID.
pub(super) const GUID: &str = "{c4a31d3e-6f0b-4a55-9a36-3f5b1c2a7d10}";

/// The service's main function; `begun` is when its first statement was reached.
pub(super) fn service(begun: u64, mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let path = PathBuf::from(arguments.next().unwrap_or_default());
    let cleanup = arguments.next().unwrap_or_default();
    let cleanup = cleanup.to_str().and_then(|text| text.parse().ok());
    match serve(begun, path, Duration::from_millis(cleanup.unwrap_or(0))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the service of the demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(begun: u64, path: PathBuf, cleanup: Duration) -> io::Result<()> {
    // Before there are other threads, so that none of them is interrupted.
    let signals = Signals::take_over(&[Signal::TERM.as_raw()])?;
    let reason = std::env::var("ARRIVAL_START_REASON").unwrap_or_else(|_| "nobody".to_owned());
    record::append(&path, "main", begun, &reason)?;
    println!("started by {reason}");
    let listener = path.clone();
    std::thread::Builder::new().spawn(move || {
        if let Err(why) = listen(&listener) {
            // What cannot be written down is missed by the story.
            let _ = record::append(&listener, "deaf", record::boot_time_ns(), &why);
        }
    })?;
    notify("READY=1\nSTATUS=waiting for devices")?;

    let mut fds = [PollFd::new(&signals, PollFlags::IN)];
    while signals.take()?.is_none() {
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    record::append(&path, "asked", record::boot_time_ns(), "")?;
    notify("STOPPING=1\nSTATUS=cleaning up")?;
    println!("cleaning up");
    std::thread::sleep(cleanup);
    record::append(&path, "cleaned", record::boot_time_ns(), "")?;
    Ok(())
}

/// Writes down each notice, until the manager or this process ends.
fn listen(path: &Path) -> Result<(), String> {
    let subscription = Subscription {
        classes: vec![CLASS.to_owned()],
        ..Subscription::default()
    };
    let root = Root::of_service();
    let mut session =
        Session::open(&root, Some(&subscription)).map_err(|error| error.to_string())?;
    while let Ok(incoming) = session.receive() {
        let Incoming::Notice(notice) = incoming else {
            continue;
        };
        let Some(interface) = &notice.interface else {
            continue;
        };
        let kind = match notice.kind {
            NoticeKind::Snapshot => "snapshot",
            NoticeKind::Arrival => "arrival",
            NoticeKind::Removal => "removal",
            NoticeKind::State | NoticeKind::Overrun | NoticeKind::Resync => continue,
        };
        let rest = format!("{kind} {}", interface.name);
        record::append(path, "told", record::boot_time_ns(), &rest)
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Tells the manager, as sd_notify(3) does.
fn notify(text: &str) -> io::Result<()> {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}
