//! One host of the table: its main process's end, its emptiness, its members.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::cgroup::{self, Cgroup};
use super::outcome::Exit;
use super::reap::Kept;
use super::record::HostRecord;
use super::sys;
use super::tree::{Processes, Stat, Tree};

/// Rounds of killing before the rest is left to the clock.
const MAX_ROUNDS: usize = 64;
/// Looks at the clock for which the status of an adopted main process is waited for after its end.
const STATUS_PATIENCE: u32 = 20;

/// A host in the table.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) record: HostRecord,
    pub(super) members: Members,
    pub(super) main: Main,
    /// Looks since it was told to end; under process containment each of them kills again.
    pub(super) killing: Option<u32>,
}

/// How its processes are known.
#[derive(Debug)]
pub(super) enum Members {
    Cgroup(Cgroup),
    Process {
        tree: Tree,
        watched: Vec<(u64, OwnedFd)>,
    },
}

/// What is known of its main process.
#[derive(Debug)]
pub(super) enum Main {
    /// It runs, or its end was not noticed yet.
    Runs { pidfd: OwnedFd, kept: Option<Kept> },
    /// Adopted, ended, its status not yet to be had.
    Ending { pidfd: OwnedFd, looks: u32 },
    /// `MainExited` was told.
    Exited,
}

impl Host {
    /// The exit of the main process, if it has ended and was not told yet.
    pub(super) fn main_exit(&mut self, epoll: &OwnedFd) -> Option<Exit> {
        let exit = match &mut self.main {
            Main::Exited => return None,
            Main::Runs { pidfd, .. } => {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
                    Ok(Some(status)) => {
                        Some(match (status.exit_status(), status.terminating_signal()) {
                            (Some(code), _) => Exit::Code(code),
                            (None, Some(signal)) => Exit::Signal(signal),
                            (None, None) => Exit::Unknown,
                        })
                    }
                    Ok(None) => return None,
                    Err(_) if is_alive(pidfd.as_fd()) => return None,
                    // Not our child: somebody else reaps it, and a new kernel keeps its status for us.
                    Err(_) => foreign_exit(pidfd.as_fd()),
                }
            }
            Main::Ending { pidfd, looks } => {
                *looks += 1;
                let patient = *looks < STATUS_PATIENCE;
                foreign_exit(pidfd.as_fd()).or_else(|| (!patient).then_some(Exit::Unknown))
            }
        };
        let before = std::mem::replace(&mut self.main, Main::Exited);
        if exit.is_none() {
            self.main = match before {
                Main::Runs { pidfd, kept } => {
                    // It stays readable, so it must leave the set until its status can be had.
                    let _ = epoll::delete(epoll, &pidfd);
                    drop(kept);
                    Main::Ending { pidfd, looks: 0 }
                }
                Main::Ending { .. } | Main::Exited => before,
            };
        }
        exit
    }

    /// Whether no process is left beside a main process elsewhere. What cannot be read counts as not empty.
    pub(super) fn is_empty(&mut self, all: &mut Option<Processes>) -> bool {
        match &mut self.members {
            Members::Cgroup(cgroup) => cgroup.populated().is_ok_and(|populated| !populated),
            Members::Process { tree, .. } => {
                if matches!(self.main, Main::Runs { .. }) {
                    return false;
                }
                if let Some(looks) = &mut self.killing {
                    *looks = looks.saturating_add(1);
                    let _ = kill_tree(tree);
                    *all = None;
                }
                if all.is_none() {
                    *all = Processes::now().ok();
                }
                all.as_ref().is_some_and(|all| tree.members(all).is_empty())
            }
        }
    }

    pub(super) fn contains(&self, pid: u32) -> bool {
        match &self.members {
            Members::Cgroup(_) => match (&self.record.cgroup, cgroup::of_process(pid)) {
                (Some(folder), Ok(Some(path))) => path.starts_with(folder),
                (_, Ok(None) | Err(_)) | (None, _) => false,
            },
            Members::Process { tree, .. } => tree.contains(pid),
        }
    }
}

/// Whether the process behind a pidfd has not ended.
pub(super) fn is_alive(pidfd: BorrowedFd<'_>) -> bool {
    !sys::ends_within(pidfd, Duration::ZERO)
}

/// The exit of an ended process that is not our child; `None`: not to be had yet.
pub(super) fn foreign_exit(pidfd: BorrowedFd<'_>) -> Option<Exit> {
    match sys::pidfd_exit_status(pidfd) {
        Ok(status) => status.map(Exit::from_raw),
        // An older kernel never tells.
        Err(_) => Some(Exit::Unknown),
    }
}

/// A descriptor of exactly the process with this number and start time, if it has not ended.
pub(super) fn open_exactly(pid: u32, start_time: u64) -> io::Result<OwnedFd> {
    let pidfd = sys::pidfd_open(pid)?;
    match Stat::read(pid) {
        Some(stat) if stat.start_time == start_time && !stat.ended() => Ok(pidfd),
        Some(_) | None => Err(io::ErrorKind::NotFound.into()),
    }
}

pub(super) fn open_named((pid, start_time): (u32, u64)) -> Option<OwnedFd> {
    open_exactly(pid, start_time).ok()
}

/// Kills until a look finds nobody who was not killed before. A process that was sent SIGKILL forks no
/// more, so what it forked before is there for the next look.
pub(super) fn kill_tree(tree: &mut Tree) -> io::Result<()> {
    let mut killed = BTreeSet::new();
    let mut refused = None;
    for _ in 0..MAX_ROUNDS {
        let mut anybody_new = false;
        for stat in tree.members(&Processes::now()?) {
            if !killed.insert((stat.pid, stat.start_time)) {
                continue;
            }
            anybody_new = true;
            let Ok(pidfd) = open_exactly(stat.pid, stat.start_time) else {
                continue;
            };
            // One that may not be killed (it became another user) must not shield the rest.
            match sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => refused = Some(error),
                Ok(()) | Err(_) => {}
            }
        }
        if !anybody_new {
            break;
        }
    }
    refused.map_or(Ok(()), Err)
}
