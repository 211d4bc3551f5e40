//! What is written down about a host.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A host's number, given by the daemon and never used twice in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostId(pub u64);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}", self.0)
    }
}

/// What identifies a host beyond the life of the daemon that started it.
///
/// It is an intent until `pid` is not 0: written before the clone, so that a host whose daemon died in
/// between is found by its cgroup or its token. It means something only within one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// The host's number.
    pub id: HostId,
    /// A random word, unique to this host, which its processes carry as `ARRIVAL_HOST`.
    pub token: String,
    /// The cgroup as /proc/PID/cgroup names it (`/arrival/h7-...`); none under process containment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// The main process, 0 while it is not known.
    #[serde(default)]
    pub pid: u32,
    /// When the main process started: field 22 of /proc/PID/stat, clock ticks since boot.
    #[serde(default)]
    pub start_time: u64,
}

impl HostRecord {
    /// An intent for a host that is to live in `base` (a path as /proc/PID/cgroup gives it), or in none.
    pub(super) fn intent(id: HostId, base: Option<&Path>) -> Self {
        let token = super::sys::random_word();
        let cgroup = base.map(|base| base.join(format!("h{}-{token}", id.0)));
        Self {
            id,
            token,
            cgroup,
            pid: 0,
            start_time: 0,
        }
    }
}
