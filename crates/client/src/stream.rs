//! A [`Watch`] for programs that are driven by an executor, whichever that is: the records as a `Stream`.
//!
//! A thread of its own does the blocking. It waits when [`WAITING`] records have not been taken, and ends within
//! [`LOOK`] of the stream.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use arrival_wire::api::session::Notice;
use futures_core::Stream;

use crate::error::Error;
use crate::watch::Watch;

/// The most records that wait to be taken; the manager keeps a few more, then says how many were lost.
const WAITING: usize = 64;
/// How often the thread looks whether the stream is still there while nothing is told.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Result<Notice, Error>>,
    /// The watch has ended.
    ended: bool,
    /// The stream is gone.
    dropped: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    room: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The records of a [`Watch`], as a stream; made by [`Watch::into_stream`].
#[derive(Debug)]
pub struct WatchStream {
    shared: Arc<Shared>,
}

impl Watch {
    /// The same records for an executor; it ends where the iterator would, behind its error.
    ///
    /// # Errors
    ///
    /// If no thread can be made.
    pub fn into_stream(self) -> io::Result<WatchStream> {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("arrival-watch".to_owned())
            .spawn(move || follow(self, &of_thread))?;
        Ok(WatchStream { shared })
    }
}

fn follow(mut watch: Watch, shared: &Shared) {
    loop {
        let told = watch.next_within(LOOK).transpose();
        let mut state = shared.lock();
        while state.items.len() >= WAITING && !state.dropped {
            state = shared
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.dropped {
            return;
        }
        let Some(told) = told else {
            continue;
        };
        state.ended = told.is_err();
        let ended = state.ended;
        state.items.push_back(told);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if ended {
            return;
        }
    }
}

impl Stream for WatchStream {
    type Item = Result<Notice, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.shared.lock();
        if let Some(item) = state.items.pop_front() {
            self.shared.room.notify_one();
            return Poll::Ready(Some(item));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        self.shared.lock().dropped = true;
        self.shared.room.notify_one();
    }
}
