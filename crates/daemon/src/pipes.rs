//! Pipes: listening sockets that the manager holds and hands to its services.
//!
//! ```text
//! a definition wants the pipe, enabled, no run    bound; watched for a client
//! a client connects                               told once; the service is started with the socket
//! a run of it goes on                             not watched: the service accepts from the same queue
//! the run has ended                               watched again; who waits is told at once
//! given up                                        those who wait are closed, then watched again
//! nobody wants it, or all of those are disabled   closed, and its file removed
//! ```
//!
//! Nothing is ever accepted for a service that can run: a client waits in the socket's queue, with what
//! it has written, from one run to the next. After a restart of the manager while a run goes on the
//! socket's file stays that run's; a new one is bound when it has ended.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use arrival_linux::host::notify;
use arrival_model::pipe::PipeName;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

use crate::readable::readable;
use crate::signals::Told;

/// How many clients may wait; the kernel's own limit (net.core.somaxconn) may be lower.
const BACKLOG: i32 = 4096;
/// How many of those who wait are closed at once.
const REFUSED: usize = 4096;

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What is wanted of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The mode of its file.
    pub(crate) mode: u16,
    /// Whether a run of a service that serves it goes on.
    pub(crate) served: bool,
}

/// All pipes that are held.
#[derive(Debug)]
pub(crate) struct Pipes {
    folder: PathBuf,
    told: Sender<Told>,
    held: BTreeMap<PipeName, Pipe>,
    /// Pipes that cannot be bound, and why.
    pub(crate) failed: BTreeMap<PipeName, String>,
    /// How many clients were closed without an answer.
    pub(crate) refused: u64,
}

#[derive(Debug)]
struct Pipe {
    socket: OwnedFd,
    mode: u16,
    waiting: Option<JoinHandle<()>>,
}

impl Pipes {
    pub(crate) fn new(folder: PathBuf, told: Sender<Told>) -> Self {
        Pipes {
            folder,
            told,
            held: BTreeMap::new(),
            failed: BTreeMap::new(),
            refused: 0,
        }
    }

    /// How many are held.
    pub(crate) fn count(&self) -> usize {
        self.held.len()
    }

    /// Holds and watches what is wanted, and nothing else.
    pub(crate) fn attune(&mut self, wanted: &BTreeMap<PipeName, Wish>) {
        let unwanted: Vec<PipeName> = self
            .held
            .iter()
            .filter(|(name, pipe)| {
                let wish = wanted.get(*name);
                !wish.is_some_and(|wish| wish.served || wish.mode == pipe.mode)
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in unwanted {
            self.close(&name);
        }
        self.failed.retain(|name, _| wanted.contains_key(name));
        for (name, wish) in wanted {
            if wish.served {
                if let Some(waiting) = self.held.get_mut(name).and_then(|pipe| pipe.waiting.take())
                {
                    waiting.abort();
                }
                continue;
            }
            if !self.held.contains_key(name) {
                self.open(name, wish.mode);
            }
            self.watch(name);
        }
    }

    fn open(&mut self, name: &PipeName, mode: u16) {
        let path = self.folder.join(name.file_name());
        let bound = || -> io::Result<OwnedFd> {
            // The service shares it, and expects to wait in accept(2).
            let flags = SocketFlags::CLOEXEC;
            let kind = SocketType::STREAM;
            let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
            notify::bind_file(&socket, &path, mode.into())?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        };
        match bound() {
            Ok(socket) => {
                self.failed.remove(name);
                let waiting = None;
                let pipe = Pipe {
                    socket,
                    mode,
                    waiting,
                };
                self.held.insert(name.clone(), pipe);
            }
            Err(error) => {
                let text = format!("cannot listen at {}: {error}", path.display());
                if self.failed.get(name) != Some(&text) {
                    tracing::error!("pipe {name}: {text}");
                }
                self.failed.insert(name.clone(), text);
            }
        }
    }

    /// Tells when a client waits; once.
    fn watch(&mut self, name: &PipeName) {
        let Some(pipe) = self.held.get_mut(name) else {
            return;
        };
        if pipe
            .waiting
            .as_ref()
            .is_some_and(|task| !task.is_finished())
        {
            return;
        }
        let watched = pipe.socket.try_clone().and_then(readable);
        let watched: AsyncFd<OwnedFd> = match watched {
            Ok(watched) => watched,
            Err(error) => {
                tracing::error!("pipe {name}: clients are not noticed: {error}");
                return;
            }
        };
        let (told, name) = (self.told.clone(), name.clone());
        pipe.waiting = Some(tokio::task::spawn_local(async move {
            if watched.readable().await.is_ok() {
                // Nobody listens any more when the daemon ends.
                let _ = told.send(Told::Pipe(name)).await;
            }
        }));
    }

    /// The socket of a pipe, for a service that is being started.
    pub(crate) fn socket(&self, name: &PipeName) -> Option<OwnedFd> {
        self.held.get(name)?.socket.try_clone().ok()
    }

    /// Closes those who wait, since nobody will serve them.
    pub(crate) fn refuse_waiting(&mut self, name: &PipeName) {
        let Some(pipe) = self.held.get(name) else {
            return;
        };
        for _ in 0..REFUSED {
            let mut polled = [PollFd::new(&pipe.socket, PollFlags::IN)];
            let waits = rustix::event::poll(&mut polled, Some(&NOW));
            if waits != Ok(1) {
                return;
            }
            let client = rustix::net::accept_with(&pipe.socket, SocketFlags::CLOEXEC);
            drop(client);
            self.refused += 1;
        }
    }

    fn close(&mut self, name: &PipeName) {
        let Some(pipe) = self.held.remove(name) else {
            return;
        };
        if let Some(waiting) = pipe.waiting {
            waiting.abort();
        }
        drop(pipe.socket);
        let _ = std::fs::remove_file(self.folder.join(name.file_name()));
    }
}
