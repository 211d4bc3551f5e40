//! Who asks, what they ask for, and whether they may.
//!
//! Every control request is checked here, by [`AccessPolicy::check`], against the service's
//! descriptor in SDDL or, without one, against [`DEFAULT_DESCRIPTOR`].

mod sddl;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Win32Error;

pub use sddl::{Ace, Descriptor, SddlError, Sid};

/// A right to a service; the numbers are SERVICE_* of winsvc.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Right {
    /// See its state (SERVICE_QUERY_STATUS, 0x4).
    QueryStatus,
    /// See its definition (SERVICE_QUERY_CONFIG, 0x1).
    QueryConfig,
    /// Enable, disable, replace it (SERVICE_CHANGE_CONFIG, 0x2).
    ChangeConfig,
    /// Start it (SERVICE_START, 0x10).
    Start,
    /// Stop it (SERVICE_STOP, 0x20).
    Stop,
    /// Stop the manager itself, or make it read its files again.
    Administer,
}

impl Right {
    /// All rights.
    pub const ALL: [Right; 6] = [
        Right::QueryStatus,
        Right::QueryConfig,
        Right::ChangeConfig,
        Right::Start,
        Right::Stop,
        Right::Administer,
    ];

    /// The bit in an access mask; none for the right to the manager, which no service can grant.
    pub fn bit(self) -> Option<u32> {
        match self {
            Right::QueryConfig => Some(0x1),
            Right::ChangeConfig => Some(0x2),
            Right::QueryStatus => Some(0x4),
            Right::Start => Some(0x10),
            Right::Stop => Some(0x20),
            Right::Administer => None,
        }
    }

    /// What it permits, as a verb: "start", "see the state of".
    pub fn verb(self) -> &'static str {
        match self {
            Right::QueryStatus => "see the state of",
            Right::QueryConfig => "see the definition of",
            Right::ChangeConfig => "change",
            Right::Start => "start",
            Right::Stop => "stop",
            Right::Administer => "control",
        }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// The effective user id at connect time (SO_PEERCRED).
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
    /// The supplementary groups (SO_PEERGROUPS).
    pub groups: Vec<u32>,
    /// Whether a login session is behind it (it has a loginuid).
    pub interactive: bool,
    /// Whether it is a process of one of our hosts.
    pub service: bool,
}

impl Peer {
    /// Whether the peer's group or one of its supplementary groups is this one.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// What holds for a service without a descriptor: root and administrators control, others query.
pub const DEFAULT_DESCRIPTOR: &str = "D:(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;SY)\
     (A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;BA)(A;;CCLCSWLORC;;;WD)";

/// Who is an administrator here.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccessPolicy {
    /// The manager's own effective user id.
    pub own_uid: u32,
    /// The group id of `administrators` in `arrivald.toml`.
    pub administrators: Option<u32>,
}

/// Why a request was denied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccessDenied {
    /// Who asked.
    pub uid: u32,
    /// What for.
    pub right: Right,
    /// The service, once [`AccessDenied::to`] has said it.
    pub service: Option<String>,
    /// The rule that decided, for people.
    pub rule: String,
}

impl AccessDenied {
    /// The same, naming the service.
    #[must_use]
    pub fn to(self, service: &str) -> Self {
        AccessDenied {
            service: Some(service.to_owned()),
            ..self
        }
    }

    /// ERROR_ACCESS_DENIED.
    pub fn code(&self) -> Win32Error {
        Win32Error::ACCESS_DENIED
    }
}

impl fmt::Display for AccessDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {} may not {} ", self.uid, self.right.verb())?;
        match (&self.service, self.right) {
            (_, Right::Administer) => f.write_str("the manager")?,
            (Some(service), _) => write!(f, "'{service}'")?,
            (None, _) => f.write_str("the service")?,
        }
        write!(f, ": {}", self.rule)
    }
}

impl std::error::Error for AccessDenied {}

impl AccessPolicy {
    /// Whether the peer counts as the system itself (SY).
    pub fn is_system(&self, peer: &Peer) -> bool {
        peer.uid == 0 || peer.uid == self.own_uid
    }

    /// Whether the peer counts as an administrator (BA).
    pub fn is_administrator(&self, peer: &Peer) -> bool {
        self.is_system(peer) || self.administrators.is_some_and(|gid| peer.in_group(gid))
    }

    /// Whether an entry about `sid` is about this peer.
    fn is(&self, peer: &Peer, sid: &Sid) -> bool {
        match sid {
            Sid::System => self.is_system(peer),
            Sid::Administrators => self.is_administrator(peer),
            Sid::Interactive => peer.interactive,
            Sid::Service => peer.service,
            Sid::Everyone => true,
            Sid::User(uid) => peer.uid == *uid,
            Sid::Group(gid) => peer.in_group(*gid),
            Sid::Nobody(_) => false,
        }
    }

    /// Whether the peer has the right to a service with this descriptor, or with none.
    ///
    /// # Errors
    ///
    /// Says which rule denied it. The right to administer the manager never depends on a service's
    /// descriptor: administrators have it, and nobody else.
    pub fn check(
        &self,
        peer: &Peer,
        descriptor: Option<&Descriptor>,
        right: Right,
    ) -> Result<(), AccessDenied> {
        let denied = |rule: String| AccessDenied {
            uid: peer.uid,
            right,
            service: None,
            rule,
        };
        let (Some(bit), Some(descriptor)) = (right.bit(), descriptor) else {
            let query = matches!(right, Right::QueryStatus | Right::QueryConfig);
            return if query || self.is_administrator(peer) {
                Ok(())
            } else {
                Err(denied(format!(
                    "only {} may",
                    self.administrators_in_words()
                )))
            };
        };
        let Some(entries) = &descriptor.entries else {
            return Ok(());
        };
        // One right is one bit, so the first entry that names both the peer and the bit decides.
        let deciding = entries
            .iter()
            .find(|ace| ace.mask & bit != 0 && self.is(peer, &ace.sid));
        match deciding {
            Some(Ace { allow: true, .. }) => Ok(()),
            Some(ace) => Err(denied(format!(
                "its security descriptor denies that to {}",
                ace.sid
            ))),
            None => Err(denied(in_words(entries, bit))),
        }
    }

    fn administrators_in_words(&self) -> String {
        let mut who = vec!["root".to_owned()];
        if self.own_uid != 0 {
            who.push(format!("user {}", self.own_uid));
        }
        if let Some(gid) = self.administrators {
            who.push(format!("group {gid}"));
        }
        listed(&who)
    }
}

/// "a", "a and b", "a, b and c".
fn listed(words: &[String]) -> String {
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
        None => "nobody".to_owned(),
    }
}

/// Whom a list of entries allows the right, for an error message.
fn in_words(entries: &[Ace], bit: u32) -> String {
    let mut who: Vec<String> = Vec::new();
    for ace in entries
        .iter()
        .filter(|ace| ace.allow && ace.mask & bit != 0)
    {
        let name = ace.sid.to_string();
        if !who.contains(&name) {
            who.push(name);
        }
    }
    format!(
        "its security descriptor allows that to {} only",
        listed(&who)
    )
}

#[cfg(test)]
mod tests;
