//! The control socket: who may connect, and the task that reads and writes one connection.
//!
//! | what | limit | beyond it |
//! |---|---|---|
//! | connections in total | [`MOST`] | refused with a reason, counted |
//! | connections of all users but root and our own | [`MOST_OF_OTHERS`] | the same |
//! | connections of one of these users | [`MOST_OF_USER`] | the same |
//! | bytes of a call | 64 KiB | an error, then closed |
//! | calls that wait behind one that is carried out | [`MOST_WAITING`] | not read until there is room |
//! | calls behind a stream | none | an error, then closed |

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use arrival_engine::api::SessionId;
use arrival_linux::peer::Peer;
use arrival_model::error::Win32Error;
use arrival_wire::frame::{Decoder, REPLY_LIMIT, encode};
use arrival_wire::message::{Call, Parameters, Reply};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::json;
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;

use crate::outbox::Outbox;

/// The most connections.
pub(crate) const MOST: usize = 1024;
/// The most connections of users other than root and the daemon's own: who has many user ids must
/// not be able to lock these out.
pub(crate) const MOST_OF_OTHERS: usize = MOST - 256;
/// The most connections of one user; root and the daemon's own user are not limited.
pub(crate) const MOST_OF_USER: usize = 64;
/// The most calls that wait behind one that is carried out.
const MOST_WAITING: usize = 16;
/// How much is read at once.
const CHUNK: usize = 8 * 1024;

/// What comes from connections.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// Somebody has connected.
    Opened {
        id: SessionId,
        peer: Peer,
        outbox: Outbox,
    },
    /// Somebody calls.
    Called { id: SessionId, call: Call },
    /// Notices can be written again.
    Room(SessionId),
    /// A connection is gone.
    Closed(SessionId),
}

/// Who is connected.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Of whom how many connections are not limited: root and the daemon's own user.
    ours: usize,
    others: usize,
    by_user: BTreeMap<u32, usize>,
    /// How many connections were refused.
    pub(crate) refused: u64,
}

impl Gate {
    /// Lets a user in, or says why not.
    fn enter(&mut self, uid: u32, own: u32) -> Result<(), String> {
        let of_user = self.by_user.get(&uid).copied().unwrap_or(0);
        let is_other = uid != 0 && uid != own;
        let reason = if self.ours + self.others >= MOST {
            Some(format!("there are {MOST} connections already"))
        } else if is_other && of_user >= MOST_OF_USER {
            Some(format!("user {uid} has {MOST_OF_USER} connections already"))
        } else if is_other && self.others >= MOST_OF_OTHERS {
            Some(format!("there are {MOST_OF_OTHERS} connections already"))
        } else {
            None
        };
        if let Some(reason) = reason {
            self.refused += 1;
            return Err(reason);
        }
        self.by_user.insert(uid, of_user + 1);
        *self.side(is_other) += 1;
        Ok(())
    }

    fn side(&mut self, is_other: bool) -> &mut usize {
        if is_other {
            &mut self.others
        } else {
            &mut self.ours
        }
    }

    fn leave(&mut self, uid: u32, own: u32) {
        let side = self.side(uid != 0 && uid != own);
        *side = side.saturating_sub(1);
        if let Some(count) = self.by_user.get_mut(&uid) {
            *count -= 1;
            if *count == 0 {
                self.by_user.remove(&uid);
            }
        }
    }
}

/// Accepts connections for ever; each gets a task of its own.
pub(crate) async fn listen(
    listener: UnixListener,
    gate: Rc<RefCell<Gate>>,
    incoming: Sender<Incoming>,
) {
    let own = rustix::process::geteuid().as_raw();
    let mut next = 1;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Mostly out of descriptors: others have to leave first.
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let peer = match Peer::of(stream.as_fd()) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!("cannot find out who has connected: {error}");
                continue;
            }
        };
        let uid = peer.uid;
        let entered = gate.borrow_mut().enter(uid, own);
        if let Err(reason) = entered {
            let refused = gate.borrow().refused;
            // Whoever is refused can try again at once: what he does must not fill the log.
            if refused.is_power_of_two() {
                tracing::warn!("refused a connection, the {refused}. one: {reason}");
            }
            let refusal = malformed(&reason);
            // Whoever does not take it at once goes without a reason.
            let _ = stream.try_write(&refusal);
            continue;
        }
        let id = SessionId(next);
        next += 1;
        let outbox = Outbox::default();
        let opened = Incoming::Opened {
            id,
            peer,
            outbox: outbox.clone(),
        };
        if incoming.send(opened).await.is_err() {
            return;
        }
        let (gate, incoming) = (Rc::clone(&gate), incoming.clone());
        tokio::task::spawn_local(async move {
            if let Err(error) = serve(stream, id, &outbox, &incoming).await {
                tracing::debug!("connection {} ends: {error}", id.0);
            }
            gate.borrow_mut().leave(uid, own);
            // With the receiver gone the daemon ends anyway.
            let _ = incoming.send(Incoming::Closed(id)).await;
        });
    }
}

/// Reads and writes one connection until it is closed.
async fn serve(
    stream: UnixStream,
    id: SessionId,
    outbox: &Outbox,
    incoming: &Sender<Incoming>,
) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
    let mut ended = false;
    loop {
        while waiting.len() < MOST_WAITING && !outbox.is_closing() {
            match decoder.next() {
                Some(Ok(message)) => waiting.push_back(message),
                Some(Err(error)) => refuse(outbox, &error.to_string()),
                None => break,
            }
        }
        outbox.write(|bytes, descriptor| match descriptor {
            None => stream.try_write(bytes),
            Some(descriptor) => stream.try_io(Interest::WRITABLE, || {
                send_with(stream.as_fd(), bytes, descriptor)
            }),
        })?;
        if outbox.takes_wish() && incoming.send(Incoming::Room(id)).await.is_err() {
            return Ok(());
        }
        if outbox.is_closing() {
            if outbox.is_empty() {
                return Ok(());
            }
        } else if outbox.is_streaming() && !waiting.is_empty() {
            refuse(
                outbox,
                "a stream of replies goes on here; make further calls on another connection",
            );
            continue;
        } else if !outbox.is_busy() && outbox.is_empty() {
            if let Some(message) = waiting.pop_front() {
                match Call::parse(&message) {
                    Ok(call) => {
                        outbox.begin_call();
                        if incoming.send(Incoming::Called { id, call }).await.is_err() {
                            return Ok(());
                        }
                    }
                    Err(error) => refuse(outbox, &error.to_string()),
                }
                continue;
            }
            if ended {
                return Ok(());
            }
        }

        // Closed for good, or by half by somebody who still waits for the answer?
        if ended && (outbox.is_streaming() || is_gone(&stream)) {
            return Ok(());
        }
        let read = !ended && !outbox.is_closing() && waiting.len() < MOST_WAITING;
        tokio::select! {
            ready = stream.readable(), if read => {
                ready?;
                let mut chunk = [0_u8; CHUNK];
                match stream.try_read(&mut chunk) {
                    Ok(0) => {
                        ended = true;
                        if let Err(error) = decoder.end() {
                            refuse(outbox, &error.to_string());
                        }
                    }
                    Ok(read) => decoder.push(chunk.get(..read).unwrap_or_default()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            ready = stream.writable(), if !outbox.is_empty() => ready?,
            () = outbox.changed() => {}
        }
    }
}

/// Whether the other end is closed in both directions. The event loop may not have heard of that
/// yet when the end of what it sent was read, so the kernel is asked.
fn is_gone(stream: &UnixStream) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(stream, PollFlags::empty())];
    poll(&mut polled, Some(&now)).is_err()
        || polled
            .iter()
            .any(|polled| polled.revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

/// Sends bytes with a descriptor (unix(7), SCM_RIGHTS).
fn send_with(
    stream: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: BorrowedFd<'_>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(sendmsg(
        stream,
        &[io::IoSlice::new(bytes)],
        &mut control,
        flags,
    )?)
}

/// Says what is wrong, and closes.
fn refuse(outbox: &Outbox, reason: &str) {
    outbox.push(malformed(reason));
    outbox.close();
}

/// The error for what is no call at all.
fn malformed(reason: &str) -> Vec<u8> {
    let mut parameters = Parameters::new();
    parameters.insert("code".to_owned(), json!(Win32Error::INVALID_DATA.0));
    parameters.insert("reason".to_owned(), json!(reason));
    let reply = Reply::error("org.arrivald.Daemon.Denied", parameters);
    // A short text always fits.
    encode(&reply, REPLY_LIMIT).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_user_cannot_take_all_connections() {
        let mut gate = Gate::default();
        for _ in 0..MOST_OF_USER {
            gate.enter(1000, 0).unwrap();
        }
        assert_eq!(
            gate.enter(1000, 0).unwrap_err(),
            "user 1000 has 64 connections already"
        );
        gate.enter(1001, 0).unwrap();
        gate.leave(1000, 0);
        gate.enter(1000, 0).unwrap();
        assert_eq!(gate.refused, 1);
    }

    #[test]
    fn many_users_leave_room_for_root_and_our_own() {
        let mut gate = Gate::default();
        let mut refused = 0;
        for uid in 2000..3000 {
            refused += usize::from(gate.enter(uid, 500).is_err());
        }
        assert_eq!(refused, 1000 - MOST_OF_OTHERS);
        gate.enter(0, 500).unwrap();
        gate.enter(500, 500).unwrap();
        gate.leave(2000, 500);
        gate.enter(5000, 500).unwrap();
        assert!(gate.enter(5001, 500).is_err());
    }

    #[test]
    fn root_is_limited_only_by_the_total() {
        let mut gate = Gate::default();
        for _ in 0..MOST {
            gate.enter(0, 0).unwrap();
        }
        assert!(gate.enter(0, 0).unwrap_err().contains("1024"));
    }
}
