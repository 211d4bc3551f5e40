//! Membership without a cgroup: who belongs to a host by parent chain, session or token.
//!
//! ```text
//! member(p)  :=  p is the main process
//!             |  p carries ARRIVAL_HOST=<token> in the environment it was executed with
//!             |  p is in a session that a member led or was in
//!             |  parent(p) is a member
//! ```
//!
//! This is best effort: a process that clears its environment, becomes a session leader and loses its parent
//! between two looks is not found. Only cgroups close that hole.
//!
//! Source: proc_pid_stat(5), proc_pid_environ(5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};

use super::sys;

/// The most that is read of one process's environment: the kernel's own limit for arguments is 2 MiB by default.
const MAX_ENVIRON: u64 = 2 * 1024 * 1024;
/// The longest parent chain that is followed.
const MAX_CHAIN: usize = 256;

/// The variable that carries a host's token.
pub(super) const TOKEN: &str = "ARRIVAL_HOST";

/// What /proc/PID/stat says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    state: u8,
    pub(super) parent: u32,
    pub(super) session: u32,
    threads: u32,
    /// Clock ticks since boot; with the pid it names a process for the whole boot.
    pub(super) start_time: u64,
}

impl Stat {
    /// Reads it; `None` if there is no such process.
    pub(super) fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: u32, bytes: &[u8]) -> Option<Self> {
        // The name stands in parentheses and may hold anything, parentheses too.
        let end = bytes.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The first field behind the name is number 3.
        let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
        Some(Self {
            pid,
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
        })
    }

    /// Whether it has ended. A leader that ended while other threads go on has not.
    pub(super) fn ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }
}

/// All processes at one moment, as far as one pass over /proc can tell.
#[derive(Debug, Default)]
pub(super) struct Processes(BTreeMap<u32, Stat>);

impl Processes {
    /// Looks at all of them.
    pub(super) fn now() -> io::Result<Self> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(stat) = Stat::read(pid) {
                found.insert(pid, stat);
            }
        }
        Ok(Self(found))
    }

    /// The zombies whose parent is `parent`.
    pub(super) fn zombies_of(&self, parent: u32) -> impl Iterator<Item = &Stat> {
        self.0
            .values()
            .filter(move |stat| stat.parent == parent && stat.ended())
    }
}

/// A host known by its processes.
#[derive(Debug)]
pub(super) struct Tree {
    token: String,
    main: Option<(u32, u64)>,
    sessions: BTreeSet<u32>,
    known: BTreeSet<(u32, u64)>,
}

impl Tree {
    /// A host with this token; its main process, if it is known, leads its first session.
    pub(super) fn new(token: &str, main: Option<(u32, u64)>) -> Self {
        Self {
            token: token.to_owned(),
            main,
            sessions: main.iter().map(|(pid, _)| *pid).collect(),
            known: BTreeSet::new(),
        }
    }

    /// Another main process; the session of the one before it still counts.
    pub(super) fn set_main(&mut self, pid: u32, start_time: u64) {
        self.main = Some((pid, start_time));
        self.known.insert((pid, start_time));
    }

    /// The members alive among these processes. What is learnt here serves the next look.
    pub(super) fn members(&mut self, all: &Processes) -> Vec<Stat> {
        let own = std::process::id();
        let mut verdicts: BTreeMap<u32, bool> = BTreeMap::new();
        for pid in all.0.keys() {
            let mut chain = Vec::new();
            let mut at = *pid;
            // Walk up until somebody's verdict is known, then give it to all on the way.
            let verdict = loop {
                if at <= 1 || at == own || chain.len() > MAX_CHAIN {
                    break false;
                }
                if let Some(known) = verdicts.get(&at) {
                    break *known;
                }
                let Some(stat) = all.0.get(&at) else {
                    break false;
                };
                chain.push(at);
                if self.says(stat) {
                    break true;
                }
                at = stat.parent;
            };
            // The last one on the way was tried; those before it inherit.
            verdicts.extend(chain.into_iter().map(|pid| (pid, verdict)));
        }
        let members: Vec<Stat> = all
            .0
            .values()
            .filter(|stat| verdicts.get(&stat.pid) == Some(&true) && !stat.ended())
            .copied()
            .collect();
        self.known = members
            .iter()
            .map(|stat| (stat.pid, stat.start_time))
            .collect();
        self.sessions = members.iter().map(|stat| stat.session).collect();
        // A member that joined no session of its own must not make ours, or the system's, the host's.
        self.sessions.remove(&0);
        self.sessions.remove(&sys::own_session());
        members
    }

    /// The members found by the last look.
    pub(super) fn known(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.known.iter().copied()
    }

    /// Whether this one process belongs to the host.
    pub(super) fn contains(&self, pid: u32) -> bool {
        let own = std::process::id();
        let mut at = pid;
        for _ in 0..MAX_CHAIN {
            if at <= 1 || at == own {
                return false;
            }
            let Some(stat) = Stat::read(at) else {
                return false;
            };
            if self.says(&stat) {
                return true;
            }
            at = stat.parent;
        }
        false
    }

    /// What can be said of a process without its parents.
    fn says(&self, stat: &Stat) -> bool {
        let name = (stat.pid, stat.start_time);
        self.main == Some(name)
            || self.known.contains(&name)
            || self.sessions.contains(&stat.session)
            || carries(stat.pid, &self.token)
    }
}

/// Whether the process was executed with this host's token.
fn carries(pid: u32, token: &str) -> bool {
    let Ok(file) = File::open(format!("/proc/{pid}/environ")) else {
        return false;
    };
    let mut bytes = Vec::new();
    if file.take(MAX_ENVIRON).read_to_end(&mut bytes).is_err() {
        return false;
    }
    bytes.split(|byte| *byte == 0).any(|entry| {
        entry
            .strip_prefix(TOKEN.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            == Some(token.as_bytes())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_parentheses_and_spaces() {
        let line = b"42 (a) R 9 (x) S 7 42 41 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 12345 0 0\n";
        let stat = Stat::parse(42, line).unwrap();
        assert_eq!(
            (stat.parent, stat.session, stat.threads, stat.start_time),
            (7, 41, 3, 12345)
        );
        assert!(!stat.ended());
    }

    #[test]
    fn a_leader_that_ended_before_its_threads_is_alive() {
        let parse = |threads: u32| {
            Stat::parse(
                1,
                format!("1 (x) Z 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 9 0").as_bytes(),
            )
        };
        assert!(parse(1).unwrap().ended());
        assert!(!parse(2).unwrap().ended());
    }

    #[test]
    fn a_truncated_line_is_no_process() {
        assert_eq!(Stat::parse(1, b"1 (x"), None);
        assert_eq!(Stat::parse(1, b"1 (x) S 1"), None);
    }

    #[test]
    fn we_are_alive_and_belong_to_no_host() {
        let tree = Tree::new("no such token", None);
        assert!(!tree.contains(std::process::id()));
        assert!(Stat::read(std::process::id()).is_some_and(|stat| !stat.ended()));
    }
}
