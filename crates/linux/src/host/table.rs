//! The table of hosts, and the one descriptor that tells when something happened to any of them.
//!
//! ```text
//! insert, adopt ──► main runs ──(pidfd readable)──► MainExited ──(cgroup.events, or no member left)──► Empty, forgotten
//! ```
//!
//! Empty is never told before MainExited, each exactly once. A host whose main process moved out of its cgroup is not
//! empty while that process runs.
//!
//! Under process containment emptiness is looked for whenever one of the members known last ends, when the
//! daemon says that a child changed, and once a second while a host without main process is not empty.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::cgroup::{self, Cgroup};
use super::containment::Containment;
use super::entry::{Host, Main, Members, is_alive, kill_tree, open_exactly};
use super::outcome::{HostError, HostEvent};
use super::reap::{self, Kept};
use super::record::{HostId, HostRecord};
use super::spawn::{Child, spawn};
use super::spec::{SpawnError, Spec};
use super::sys;
use super::tree::{Processes, Stat, Tree};

/// The most members of one host whose end is watched at a time; the clock finds the others.
const MAX_WATCHED: usize = 16;
/// Cgroups that could not be removed and are tried again.
const MAX_LEFTOVERS: usize = 256;

/// Looks in quick succession while a host is being killed; one that cannot be is looked at less often.
const HASTE: u32 = 100;

pub(super) const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(1);

/// All hosts of this process.
///
/// Making one also makes this process a subreaper, so that what its hosts leave behind comes to it.
/// Dropping it stops nothing: hosts live on.
#[derive(Debug)]
pub struct Hosts {
    pub(super) containment: Containment,
    epoll: OwnedFd,
    timer: OwnedFd,
    pub(super) hosts: BTreeMap<HostId, Host>,
    watches: BTreeMap<u64, HostId>,
    next_watch: u64,
    pub(super) told: VecDeque<HostEvent>,
    leftovers: Vec<PathBuf>,
    reap_again: bool,
}

/// The watch that stands for the timer.
const TIMER: u64 = 0;

impl Hosts {
    /// An empty table.
    pub fn new(containment: Containment) -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let data = epoll::EventData::new_u64(TIMER);
        epoll::add(&epoll, &timer, data, epoll::EventFlags::IN)?;
        Ok(Self {
            containment,
            epoll,
            timer,
            hosts: BTreeMap::new(),
            watches: BTreeMap::new(),
            next_watch: TIMER + 1,
            told: VecDeque::new(),
            leftovers: Vec::new(),
            reap_again: false,
        })
    }

    /// How hosts are held together here.
    pub fn containment(&self) -> &Containment {
        &self.containment
    }

    /// The hosts in the table, in order.
    pub fn ids(&self) -> impl Iterator<Item = HostId> + '_ {
        self.hosts.keys().copied()
    }

    /// What is to be written down about a host.
    pub fn record(&self, host: HostId) -> Option<&HostRecord> {
        self.hosts.get(&host).map(|host| &host.record)
    }

    /// Plans, starts and watches a host in one go; for callers that may block.
    pub fn spawn(&mut self, record: HostRecord, spec: Spec) -> Result<HostRecord, SpawnError> {
        let subject = record.id.to_string();
        let child = spawn(&self.containment, record, spec)?;
        self.insert(child)
            .map_err(|error| SpawnError::invalid(subject, error.to_string()))
    }

    /// Watches a child that [`spawn`] made, and returns its record.
    ///
    /// # Errors
    /// The number is taken, or the system refuses a descriptor; the host is killed then.
    pub fn insert(&mut self, child: Child) -> Result<HostRecord, HostError> {
        let Child {
            record,
            pidfd,
            kept,
        } = child;
        let id = record.id;
        let refused = |hosts: &mut Self, error: HostError| {
            let folder = record
                .cgroup
                .as_deref()
                .and_then(|path| hosts.containment.folder(path));
            let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
            sys::wait(pidfd.as_fd());
            if let Some(folder) = folder {
                let _ = cgroup::kill(&folder);
                hosts.remove_cgroup(folder);
            }
            Err(error)
        };
        if self.hosts.contains_key(&id) {
            return refused(self, HostError::Taken(id));
        }
        let system = |source| HostError::System {
            host: id,
            what: "watch",
            source,
        };
        let members = match self.members_of(&record, Some((record.pid, record.start_time))) {
            Ok(members) => members,
            Err(error) => return refused(self, system(error)),
        };
        let watched = self
            .watch(id, pidfd.as_fd(), epoll::EventFlags::IN)
            .and_then(|key| match &members {
                Members::Cgroup(cgroup) => self.watch(id, cgroup.events(), epoll::EventFlags::PRI),
                Members::Process { .. } => Ok(key),
            });
        if let Err(error) = watched {
            self.watches.retain(|_, host| *host != id);
            return refused(self, system(error));
        }
        let main = Main::Runs {
            pidfd,
            kept: Some(kept),
        };
        let host = Host {
            record: record.clone(),
            members,
            main,
            killing: None,
        };
        self.hosts.insert(id, host);
        Ok(record)
    }

    pub(super) fn members_of(
        &self,
        record: &HostRecord,
        main: Option<(u32, u64)>,
    ) -> io::Result<Members> {
        match &record.cgroup {
            Some(path) => {
                let folder = self
                    .containment
                    .folder(path)
                    .ok_or(io::ErrorKind::NotFound)?;
                Ok(Members::Cgroup(Cgroup::open(folder)?))
            }
            None => {
                let tree = Tree::new(&record.token, main);
                Ok(Members::Process {
                    tree,
                    watched: Vec::new(),
                })
            }
        }
    }

    pub(super) fn watch(
        &mut self,
        host: HostId,
        fd: BorrowedFd<'_>,
        flags: epoll::EventFlags,
    ) -> io::Result<u64> {
        let key = self.next_watch;
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(key), flags)?;
        self.next_watch += 1;
        self.watches.insert(key, host);
        Ok(key)
    }

    /// Takes what happened, oldest first. Never blocks.
    ///
    /// To be called when the descriptor of this table (`AsFd`) is readable, when SIGCHLD came (so that
    /// orphans are taken away at once) and after [`kill`](Self::kill). It takes everything there is: a caller
    /// that was told once need not ask twice.
    pub fn next_events(&mut self) -> Vec<HostEvent> {
        let mut ready = BTreeMap::new();
        self.take_ready(&mut ready);
        self.reap_again = !reap::orphans();

        let mut all = None;
        let ids: Vec<HostId> = self.hosts.keys().copied().collect();
        for id in ids {
            let Some(host) = self.hosts.get_mut(&id) else {
                continue;
            };
            // A clock's tick or a child's end concerns hosts whose main is gone, of which there are few.
            if !ready.contains_key(&id) && matches!(host.main, Main::Runs { .. }) {
                continue;
            }
            if let Some(exit) = host.main_exit(&self.epoll) {
                self.told
                    .push_back(HostEvent::MainExited { host: id, exit });
            }
            let empty = host.is_empty(&mut all);
            if empty && matches!(host.main, Main::Exited) {
                self.forget(id);
                self.told.push_back(HostEvent::Empty { host: id });
            }
        }
        self.watch_members();
        let leftovers = std::mem::take(&mut self.leftovers);
        for folder in leftovers {
            self.remove_cgroup(folder);
        }
        let told = self.told.drain(..).collect();
        self.arm();
        told
    }

    /// Empties the epoll set into `ready`.
    fn take_ready(&mut self, ready: &mut BTreeMap<HostId, ()>) {
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut buffer = Vec::with_capacity(256);
        // One-shot for pidfds and level for the others means: one pass sees all, if the buffer held all.
        loop {
            buffer.clear();
            let space = rustix::buffer::spare_capacity(&mut buffer);
            match epoll::wait(&self.epoll, space, Some(&none)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return,
            }
            let before = ready.len();
            for event in &buffer {
                let key = event.data.u64();
                if key == TIMER {
                    let mut ticks = [0_u8; 8];
                    let _ = rustix::io::read(&self.timer, &mut ticks);
                } else if let Some(host) = self.watches.get(&key) {
                    ready.insert(*host, ());
                }
            }
            // What is ready stays in the set until it is dealt with; the kernel turns the set between calls.
            if buffer.len() < buffer.capacity() || ready.len() == before {
                return;
            }
        }
    }

    /// Under process containment: the end of a member is a reason to look again.
    fn watch_members(&mut self) {
        let mut wanted = Vec::new();
        for (id, host) in &mut self.hosts {
            let Members::Process { tree, watched } = &mut host.members else {
                continue;
            };
            if matches!(host.main, Main::Runs { .. }) {
                continue;
            }
            watched.retain(|(key, pidfd)| {
                let alive = is_alive(pidfd.as_fd());
                if !alive {
                    self.watches.remove(key);
                }
                alive
            });
            if watched.is_empty() {
                wanted.push((*id, tree.known().take(MAX_WATCHED).collect::<Vec<_>>()));
            }
        }
        for (id, members) in wanted {
            for (pid, start_time) in members {
                let Ok(pidfd) = open_exactly(pid, start_time) else {
                    continue;
                };
                let Ok(key) = self.watch(id, pidfd.as_fd(), epoll::EventFlags::IN) else {
                    break;
                };
                if let Some(Host {
                    members: Members::Process { watched, .. },
                    ..
                }) = self.hosts.get_mut(&id)
                {
                    watched.push((key, pidfd));
                }
            }
        }
    }

    /// Sets the clock for what no descriptor tells.
    pub(super) fn arm(&mut self) {
        let mut delay = None::<Duration>;
        let mut within = |wanted: Duration| delay = Some(delay.map_or(wanted, |d| d.min(wanted)));
        if !self.told.is_empty() {
            within(Duration::from_nanos(1));
        }
        if self.reap_again {
            within(SOON);
        }
        if !self.leftovers.is_empty() {
            within(LATER);
        }
        for host in self.hosts.values() {
            match (&host.main, &host.members) {
                (Main::Ending { .. }, _) => within(SOON),
                (_, Members::Process { .. }) if host.killing.is_some_and(|looks| looks < HASTE) => {
                    within(SOON);
                }
                (Main::Exited, Members::Process { .. }) => within(LATER),
                (Main::Runs { .. } | Main::Exited, _) => {}
            }
        }
        let delay = delay.unwrap_or_default();
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: delay.subsec_nanos().into(),
            },
        };
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }

    fn forget(&mut self, id: HostId) {
        if let Some(host) = self.hosts.remove(&id) {
            self.watches.retain(|_, of| *of != id);
            if let Members::Cgroup(cgroup) = host.members {
                let folder = cgroup.folder().to_path_buf();
                drop(cgroup);
                self.remove_cgroup(folder);
            }
        }
    }

    pub(super) fn remove_cgroup(&mut self, folder: PathBuf) {
        if cgroup::remove(&folder).is_err() && self.leftovers.len() < MAX_LEFTOVERS {
            self.leftovers.push(folder);
        }
    }

    /// Sends a signal to the main process.
    pub fn signal(&self, host: HostId, signal: i32) -> Result<(), HostError> {
        let entry = self.hosts.get(&host).ok_or(HostError::NoHost(host))?;
        let Main::Runs { pidfd, .. } = &entry.main else {
            return Err(HostError::NoMain(host));
        };
        sys::pidfd_signal(pidfd.as_fd(), signal).map_err(|source| {
            if source.raw_os_error() == Some(libc::ESRCH) {
                HostError::NoMain(host)
            } else {
                HostError::System {
                    host,
                    what: "signal",
                    source,
                }
            }
        })
    }

    /// Sends a signal to every process of the host, and says to how many.
    pub fn signal_all(&mut self, host: HostId, signal: i32) -> Result<usize, HostError> {
        let pids = self.pids(host)?;
        let entry = self.hosts.get(&host).ok_or(HostError::NoHost(host))?;
        // The descriptor pins the process; only then is it asked whether it is still one of ours.
        let sent = pids.into_iter().filter(|pid| {
            sys::pidfd_open(*pid).is_ok_and(|pidfd| {
                entry.contains(*pid) && sys::pidfd_signal(pidfd.as_fd(), signal).is_ok()
            })
        });
        Ok(sent.count())
    }

    /// Kills every process of the host. `MainExited` and `Empty` follow as for any other end.
    ///
    /// In a cgroup this is one write that no fork escapes. Without one it repeats until a look finds nobody
    /// new, and goes on from [`next_events`](Self::next_events) until nobody is left.
    pub fn kill(&mut self, host: HostId) -> Result<(), HostError> {
        let entry = self.hosts.get_mut(&host).ok_or(HostError::NoHost(host))?;
        entry.killing = Some(0);
        let done = match &mut entry.members {
            Members::Cgroup(cgroup) => {
                // A main process that moved elsewhere is not reached by its cgroup.
                if let Main::Runs { pidfd, .. } = &entry.main {
                    let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
                }
                match cgroup.kill() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    done => done,
                }
            }
            Members::Process { tree, .. } => kill_tree(tree),
        };
        self.arm();
        done.map_err(|source| HostError::System {
            host,
            what: "kill",
            source,
        })
    }

    /// Every process of the host at this moment.
    pub fn pids(&mut self, host: HostId) -> Result<Vec<u32>, HostError> {
        let entry = self.hosts.get_mut(&host).ok_or(HostError::NoHost(host))?;
        let found = match &mut entry.members {
            Members::Cgroup(cgroup) => cgroup::processes(cgroup.folder()),
            Members::Process { tree, .. } => Processes::now().map(|all| {
                tree.members(&all)
                    .into_iter()
                    .map(|stat| stat.pid)
                    .collect()
            }),
        };
        found.map_err(|source| HostError::System {
            host,
            what: "look into",
            source,
        })
    }

    /// Whether this process is in the host, which is what makes a notice or a request count as the service's.
    pub fn contains(&self, host: HostId, pid: u32) -> bool {
        self.hosts.get(&host).is_some_and(|host| host.contains(pid))
    }

    /// The host this process is in.
    pub fn host_of(&self, pid: u32) -> Option<HostId> {
        // By cgroup it is one read for all hosts.
        let path = cgroup::of_process(pid).ok().flatten();
        self.hosts
            .iter()
            .find(|(_, host)| match (&host.record.cgroup, &path) {
                (Some(folder), Some(path)) => path.starts_with(folder),
                (Some(_), None) => false,
                (None, _) => host.contains(pid),
            })
            .map(|(id, _)| *id)
    }

    /// Makes another process of the host its main process (`MAINPID=`), and returns the record to write down.
    ///
    /// The old one's end is not told then. Read notices before [`next_events`](Self::next_events): a service that forks, says
    /// so and exits must be heard before its exit is.
    ///
    /// # Errors
    /// The process is not in the host, or the main process has already ended.
    pub fn set_main(&mut self, host: HostId, pid: u32) -> Result<HostRecord, HostError> {
        let foreign = HostError::Foreign { host, pid };
        let entry = self.hosts.get(&host).ok_or(HostError::NoHost(host))?;
        if !matches!(entry.main, Main::Runs { .. }) {
            return Err(HostError::NoMain(host));
        }
        if entry.record.pid == pid {
            return Ok(entry.record.clone());
        }
        let Ok(pidfd) = sys::pidfd_open(pid) else {
            return Err(foreign);
        };
        let Some(stat) = Stat::read(pid) else {
            return Err(foreign);
        };
        if stat.ended() || !entry.contains(pid) {
            return Err(foreign);
        }
        let kept = Some(Kept::new(pid));
        self.watch(host, pidfd.as_fd(), epoll::EventFlags::IN)
            .map_err(|source| HostError::System {
                host,
                what: "watch",
                source,
            })?;
        let entry = self.hosts.get_mut(&host).ok_or(HostError::NoHost(host))?;
        entry.record.pid = pid;
        entry.record.start_time = stat.start_time;
        if let Members::Process { tree, .. } = &mut entry.members {
            tree.set_main(pid, stat.start_time);
        }
        // The old one is an orphan like any other from here on: its descriptor leaves the set by closing.
        entry.main = Main::Runs { pidfd, kept };
        Ok(entry.record.clone())
    }
}

impl AsFd for Hosts {
    /// Readable when [`Hosts::next_events`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl std::os::fd::AsRawFd for Hosts {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.epoll.as_raw_fd()
    }
}
