//! What an earlier daemon left: its hosts, and strays.

use rustix::event::epoll;
use std::io;
use std::os::fd::AsFd;

use super::cgroup::{self, Cgroup};
use super::entry::{Host, Main, Members, open_named};
use super::outcome::{Adopted, Exit, HostError, HostEvent, Stray};
use super::reap::Kept;
use super::record::HostRecord;
use super::table::{Hosts, SOON};
use super::tree::{Processes, Stat};

/// Further looks for a process that only its token names, before its intent is taken for an idle one.
const INTENT_LOOKS: u32 = 5;

impl Hosts {
    /// Finds a host again that an earlier daemon wrote down in this boot.
    ///
    /// A record without pid (the daemon died between intent and clone) is adopted with the oldest process in
    /// its cgroup, or with its token, as main process.
    pub fn adopt(&mut self, record: HostRecord) -> Result<Adopted, HostError> {
        let id = record.id;
        if self.hosts.contains_key(&id) {
            return Err(HostError::Taken(id));
        }
        let system = |source| HostError::System {
            host: id,
            what: "adopt",
            source,
        };
        let mut record = record;
        let named =
            |record: &HostRecord| (record.pid != 0).then_some((record.pid, record.start_time));
        let mut members = match self.members_of(&record, named(&record)) {
            Ok(members) => members,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Adopted::Gone),
            Err(error) => return Err(system(error)),
        };
        let alive = match &mut members {
            Members::Cgroup(cgroup) => {
                if !cgroup.populated().map_err(system)?
                    && named(&record).and_then(open_named).is_none()
                {
                    let folder = cgroup.folder().to_path_buf();
                    self.remove_cgroup(folder);
                    return Ok(Adopted::Gone);
                }
                let pids = cgroup::processes(cgroup.folder()).map_err(system)?;
                pids.into_iter().filter_map(Stat::read).collect()
            }
            Members::Process { tree, .. } => {
                let mut members = tree.members(&Processes::now().map_err(system)?);
                // A process in the middle of execve shows no environment, and an intent has only that.
                let mut looks = 0;
                while members.is_empty() && record.pid == 0 && looks < INTENT_LOOKS {
                    std::thread::sleep(SOON);
                    members = tree.members(&Processes::now().map_err(system)?);
                    looks += 1;
                }
                if members.is_empty() {
                    return Ok(Adopted::Gone);
                }
                members
            }
        };
        if record.pid == 0
            && let Some(oldest) = alive.iter().min_by_key(|stat| (stat.start_time, stat.pid))
        {
            record.pid = oldest.pid;
            record.start_time = oldest.start_time;
            if let Members::Process { tree, .. } = &mut members {
                tree.set_main(oldest.pid, oldest.start_time);
            }
        }
        let pidfd = named(&record).and_then(open_named);
        let main = pidfd.is_some();
        if let Members::Cgroup(cgroup) = &members {
            self.watch(id, cgroup.events(), epoll::EventFlags::PRI)
                .map_err(system)?;
        }
        let main_now = match pidfd {
            Some(pidfd) => {
                self.watch(id, pidfd.as_fd(), epoll::EventFlags::IN)
                    .map_err(system)?;
                // It may be ours: a daemon that executed itself anew keeps its children.
                Main::Runs {
                    pidfd,
                    kept: Some(Kept::new(record.pid)),
                }
            }
            None => {
                self.told.push_back(HostEvent::MainExited {
                    host: id,
                    exit: Exit::Unknown,
                });
                Main::Exited
            }
        };
        let host = Host {
            record: record.clone(),
            members,
            main: main_now,
            killing: None,
        };
        self.hosts.insert(id, host);
        self.arm();
        Ok(Adopted::Alive { record, main })
    }

    /// Processes below our base that belong to no host of the table; empty leftovers are removed.
    ///
    /// To be called once, after adoption and before the first spawn. Strays are shown, never killed unasked.
    pub fn strays(&self) -> Vec<Stray> {
        let Some(base) = self.containment.base() else {
            return Vec::new();
        };
        let ours: Vec<_> = self
            .hosts
            .values()
            .filter_map(|host| host.record.cgroup.as_deref())
            .collect();
        let mut strays = Vec::new();
        for folder in cgroup::folders(&base) {
            let Some(path) = self.containment.path_of(&folder) else {
                continue;
            };
            if ours.contains(&path.as_path()) {
                continue;
            }
            match Cgroup::open(folder.clone()).and_then(|mut cgroup| cgroup.populated()) {
                Ok(true) => {
                    let pids = cgroup::processes(&folder).unwrap_or_default();
                    strays.push(Stray { cgroup: path, pids });
                }
                Ok(false) => {
                    let _ = cgroup::remove(&folder);
                }
                Err(_) => {}
            }
        }
        strays
    }
}
