//! From sockets that listen to the levels that port triggers wait for.
//!
//! A level is true while at least one socket fits. Whose socket it is, is asked when it is told: the
//! service that the process belongs to, and the user by number and name.

use std::collections::BTreeMap;

use arrival_linux::listen::Listener;
use arrival_model::port::{Listening, PortMatch};

/// The names of the superuser in Windows' words.
const SYSTEM: [&str; 3] = ["LocalSystem", r"NT AUTHORITY\SYSTEM", "S-1-5-18"];

/// A socket, and by which names it is known whose it is.
#[derive(Debug)]
struct Known {
    listener: std::sync::Arc<Listener>,
    programs: Vec<String>,
    users: Vec<String>,
}

/// The sockets that listen, and the levels that are waited for.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    sockets: BTreeMap<u64, Known>,
    /// How many sockets fit each.
    wanted: BTreeMap<PortMatch, u64>,
    /// Whether all sockets that there were at the start are known.
    complete: bool,
    /// Folders of `%name%`, by lower-case name.
    dirs: BTreeMap<String, String>,
}

/// Levels to tell, each with whether it is true.
pub(crate) type Levels = Vec<(PortMatch, bool)>;

impl Ports {
    /// Begins anew, with a new source.
    pub(crate) fn clear(&mut self) {
        self.sockets.clear();
        self.wanted.clear();
        self.complete = false;
    }

    /// How many sockets there are.
    pub(crate) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Which levels are waited for; those that were not before are to be told.
    pub(crate) fn want(
        &mut self,
        wanted: Vec<PortMatch>,
        dirs: &BTreeMap<String, String>,
    ) -> Levels {
        self.dirs.clone_from(dirs);
        self.wanted.retain(|port, _| wanted.contains(port));
        let mut levels = Vec::new();
        for port in wanted {
            if self.wanted.contains_key(&port) {
                continue;
            }
            let fitting = self.sockets.values();
            let fitting = fitting
                .filter(|known| fits(&port, known, &self.dirs))
                .count() as u64;
            if self.complete {
                levels.push((port.clone(), fitting > 0));
            }
            self.wanted.insert(port, fitting);
        }
        levels
    }

    /// Whether a level that is waited for is true; none if that is not known.
    pub(crate) fn level(&self, port: &PortMatch) -> Option<bool> {
        let count = self.wanted.get(port).filter(|_| self.complete)?;
        Some(*count > 0)
    }

    /// All sockets that there were at the start have been told.
    pub(crate) fn completed(&mut self) -> Levels {
        self.complete = true;
        let wanted = self.wanted.iter();
        wanted
            .map(|(port, count)| (port.clone(), *count > 0))
            .collect()
    }

    /// A socket listens; `services` are those that its processes belong to.
    pub(crate) fn opened(
        &mut self,
        listener: std::sync::Arc<Listener>,
        services: Vec<String>,
    ) -> Levels {
        let programs = listener.owners.iter();
        let programs = programs.filter_map(|owner| owner.program.clone());
        let known = Known {
            programs: programs.collect(),
            users: users(listener.uid, services),
            listener,
        };
        let levels = self.change(&known, true);
        self.sockets.insert(known.listener.cookie, known);
        levels
    }

    /// A socket listens no more.
    pub(crate) fn closed(&mut self, cookie: u64) -> Levels {
        match self.sockets.remove(&cookie) {
            Some(known) => self.change(&known, false),
            None => Vec::new(),
        }
    }

    fn change(&mut self, known: &Known, opened: bool) -> Levels {
        let mut levels = Vec::new();
        for (port, count) in &mut self.wanted {
            if !fits(port, known, &self.dirs) {
                continue;
            }
            let before = *count;
            *count = if opened {
                before + 1
            } else {
                before.saturating_sub(1)
            };
            if self.complete && (before == 0) != (*count == 0) {
                levels.push((port.clone(), opened));
            }
        }
        levels
    }
}

fn fits(port: &PortMatch, known: &Known, dirs: &BTreeMap<String, String>) -> bool {
    let listener = &known.listener;
    let socket = Listening {
        protocol: listener.protocol,
        port: listener.port,
        // No endpoint mapper knows ports yet.
        rpc: false,
        system: listener.system,
        programs: &known.programs,
        users: &known.users,
    };
    port.fits(socket, |name| dirs.get(name).cloned())
}

/// The names of a user, with the services: the number, Samba's SID, the name in /etc/passwd.
fn users(uid: u32, services: Vec<String>) -> Vec<String> {
    let mut users = services;
    users.push(uid.to_string());
    users.push(format!("S-1-22-1-{uid}"));
    if uid == 0 {
        users.extend(SYSTEM.map(str::to_owned));
    }
    let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let names = table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?;
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    });
    users.extend(names);
    users
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrival_model::port::Transport;

    use super::*;

    fn socket(cookie: u64, port: u16) -> Arc<Listener> {
        Arc::new(Listener {
            cookie,
            protocol: Transport::Tcp,
            address: [127, 0, 0, 1].into(),
            port,
            uid: 0,
            inode: 0,
            owners: Vec::new(),
            system: true,
        })
    }

    fn port(text: &str) -> PortMatch {
        PortMatch::from_texts(&text.split(';').collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_level_is_true_while_any_socket_fits() {
        let mut ports = Ports::default();
        let (any, service) = (port("80;tcp"), port("80;tcp;;web"));
        let dirs = BTreeMap::new();
        assert_eq!(ports.want(vec![any.clone(), service.clone()], &dirs), []);
        ports.opened(socket(1, 80), Vec::new());
        assert_eq!(
            ports.completed(),
            [(any.clone(), true), (service.clone(), false)]
        );
        let web = vec!["Web".to_owned()];
        assert_eq!(ports.opened(socket(2, 80), web), [(service.clone(), true)]);
        assert_eq!(ports.opened(socket(3, 81), Vec::new()), []);
        assert_eq!(ports.closed(1), []);
        assert_eq!(ports.closed(2), [(any.clone(), false), (service, false)]);
        assert_eq!(ports.closed(2), []);
        // What is waited for later is told at once.
        let other = port("81;tcp;system;LocalSystem");
        assert_eq!(ports.want(vec![any, other.clone()], &dirs), [(other, true)]);
    }
}
