//! What waits to be written to one connection, and what its two sides know of each other.
//!
//! The task that owns the engine puts messages in; the connection's own task writes them. One call
//! of a connection is carried out at a time, and the next one is taken when its answer has been
//! written: so a client that never reads holds back nobody but itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use tokio::sync::Notify;

/// Notices are put in while fewer bytes than this wait.
const ROOM: usize = 64 * 1024;
/// A connection for which more bytes than this wait is closed; nothing but questions gets there.
const MOST: usize = 16 * 1024 * 1024;

/// Bytes, and the descriptor that goes with the first of them.
#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

#[derive(Debug, Default)]
struct Inner {
    messages: RefCell<VecDeque<Message>>,
    /// How many bytes of the first message are written.
    written: Cell<usize>,
    bytes: Cell<usize>,
    /// A call is being carried out.
    busy: Cell<bool>,
    /// The call that is being carried out has a stream of replies.
    streaming: Cell<bool>,
    /// The engine has more for this connection once there is room.
    wants_room: Cell<bool>,
    /// Nothing is taken any more; it is closed when all is written.
    closing: Cell<bool>,
    changed: Notify,
}

/// One of the two handles of a connection's outgoing side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox(Rc<Inner>);

impl Outbox {
    /// Adds a message.
    pub(crate) fn push(&self, message: Vec<u8>) {
        self.push_with(message, None);
    }

    /// Adds a message that a descriptor goes with.
    pub(crate) fn push_with(&self, message: Vec<u8>, descriptor: Option<OwnedFd>) {
        if self.0.closing.get() {
            return;
        }
        let bytes = self.0.bytes.get() + message.len();
        if bytes > MOST {
            self.close();
            return;
        }
        self.0.bytes.set(bytes);
        self.0.messages.borrow_mut().push_back(Message {
            bytes: message,
            descriptor,
        });
        self.0.changed.notify_one();
    }

    /// Whether notices may be put in; if not, [`Outbox::takes_wish`] is true once they may.
    pub(crate) fn has_room(&self) -> bool {
        let room = self.0.bytes.get() < ROOM;
        self.0.wants_room.set(!room);
        room
    }

    /// Whether the engine waits for room, and there is some now.
    pub(crate) fn takes_wish(&self) -> bool {
        self.0.bytes.get() < ROOM / 2 && self.0.wants_room.take()
    }

    /// A call is handed over.
    pub(crate) fn begin_call(&self) {
        self.0.busy.set(true);
    }

    /// The call's last reply has been put in, or there is none.
    pub(crate) fn end_call(&self) {
        self.0.busy.set(false);
        self.0.changed.notify_one();
    }

    /// The call that is being carried out has a stream of replies.
    pub(crate) fn begin_stream(&self) {
        self.0.streaming.set(true);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.0.busy.get()
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.0.streaming.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.bytes.get() == 0
    }

    /// Ends the connection when what is in has been written.
    pub(crate) fn close(&self) {
        self.0.closing.set(true);
        self.0.changed.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.0.closing.get()
    }

    /// Waits until one of the calls above was made since the last wait.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Writes what can be written now.
    pub(crate) fn write(
        &self,
        mut write: impl FnMut(&[u8], Option<BorrowedFd<'_>>) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        let mut messages = self.0.messages.borrow_mut();
        while let Some(first) = messages.front_mut() {
            let written = self.0.written.get();
            let rest = first.bytes.get(written..).unwrap_or_default();
            let descriptor = first.descriptor.as_ref().map(AsFd::as_fd);
            let done = match write(rest, descriptor) {
                Ok(done) => done,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if done < rest.len() {
                self.0.written.set(written + done);
                // It went with the first byte.
                if done > 0 {
                    first.descriptor = None;
                }
                continue;
            }
            self.0.bytes.set(self.0.bytes.get() - first.bytes.len());
            self.0.written.set(0);
            messages.pop_front();
        }
        Ok(())
    }
}
