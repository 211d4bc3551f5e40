//! Who asks, what they ask for, and whether they may.

use serde::{Deserialize, Serialize};

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
