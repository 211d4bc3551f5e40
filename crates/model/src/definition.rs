//! What a service is: its program, its triggers, its policies.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::guid::Guid;
use crate::trigger::Trigger;

/// The name of a service: case is kept, and compared without regard to it.
///
/// One to 80 characters of `[0-9A-Za-z._@-]`, not beginning with a dot or dash. Windows allows 256
/// characters and more kinds of them; here a name is also a file name and part of a cgroup's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Arc<str>);

/// A text that cannot name a service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' cannot name a service (1 to 80 of the characters 0-9 A-Z a-z . _ @ -, the first a letter or digit)"
)]
pub struct NameError(pub String);

impl ServiceName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which names are compared.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

/// The first of the user ids that services with a user of their own have; above those that systemd and
/// container managers give out, below 2^31.
const OWN_IDS: u32 = 1_900_000_000;

impl ServiceName {
    /// The user id of a service that has a user of its own, and that of its group.
    ///
    /// As Windows does with the SID of a service, it is made of the name alone: the same on every machine and
    /// after every installation, without a table anywhere.
    pub fn own_id(&self) -> u32 {
        let digest = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, self.folded().as_bytes());
        let [a, b, c, d, ..] = *digest.as_bytes();
        OWN_IDS + u32::from_be_bytes([a, b, c, d]) % 200_000_000
    }
}

impl FromStr for ServiceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '@' | '-');
        if text.is_empty()
            || text.len() > 80
            || !text.chars().all(good)
            || !text.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            return Err(NameError(text.to_owned()));
        }
        Ok(ServiceName(text.into()))
    }
}

impl TryFrom<String> for ServiceName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How the manager learns that a service is ready, and how it asks it to stop.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// RUNNING once exec succeeded; SIGTERM stops it.
    #[default]
    Exec,
    /// RUNNING at `READY=1` (sd_notify(3)); SIGTERM stops it.
    Notify,
    /// The program connects to the control socket and reports its states; the STOP control stops it.
    Control,
}

/// When a service is started apart from its triggers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum StartType {
    /// With the manager's first start in a boot.
    Auto,
    /// By a trigger or by hand.
    #[default]
    Demand,
    /// Never, until it is enabled.
    Disabled,
}

/// What happens when the interface that was given to a run goes away while another is there.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Replug {
    /// The run is stopped and started again with an interface that is there.
    #[default]
    Restart,
    /// Nothing: the program does not use the interface that it was given.
    Ignore,
}

/// What happens after a run that failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FailurePolicy {
    /// Whether the service is started again at all.
    pub restart: bool,
    /// How long to wait before that.
    pub delay: Duration,
    /// Give up when this many runs failed...
    pub limit: u32,
    /// ... within this time.
    pub within: Duration,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        FailurePolicy {
            restart: true,
            delay: Duration::from_millis(100),
            limit: 5,
            within: Duration::from_secs(10),
        }
    }
}

/// Holds a service back that its device starts too often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Damping {
    /// At most this many starts by triggers...
    pub starts: u32,
    /// ... within this time;
    pub within: Duration,
    /// else the service is held back for this long.
    pub hold: Duration,
}

/// What a service is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Definition {
    /// Its name.
    pub name: ServiceName,
    /// One line for people.
    pub description: String,
    /// The program and its arguments; `${ARRIVAL_NODE}` and the like are replaced in arguments.
    pub exec: Vec<String>,
    /// The user it runs as; none means the manager's own.
    pub user: Option<String>,
    /// The group; none means the user's own.
    pub group: Option<String>,
    /// The folder it starts in; none means `/`.
    pub directory: Option<String>,
    /// Variables beyond those that the manager sets.
    pub environment: BTreeMap<String, String>,
    /// How it says that it is ready.
    pub protocol: Protocol,
    /// When it is started apart from its triggers.
    pub start: StartType,
    /// Whether the manager stops it when the last interface is gone.
    pub follow: bool,
    /// How long after that.
    pub linger: Duration,
    /// What happens when its given interface is replaced.
    pub replug: Replug,
    /// What happens after a failed run.
    pub failure: FailurePolicy,
    /// How often its triggers may start it.
    pub damping: Option<Damping>,
    /// How long a start may take.
    pub start_timeout: Duration,
    /// How long a stop may take before everything left is killed.
    pub stop_timeout: Duration,
    /// Services that must run before it.
    pub depends: Vec<ServiceName>,
    /// What starts it, and what stops it.
    pub triggers: Vec<Trigger>,
    /// The event providers and RPC interfaces that it may publish, in order and each once.
    #[serde(default)]
    pub provides: Vec<Guid>,
    /// Who may do what with it, in SDDL; none means the default descriptor.
    pub security: Option<String>,
}

impl Definition {
    /// How long a start may take if nothing else is said.
    pub const START_TIMEOUT: Duration = Duration::from_secs(30);
    /// How long a stop may take if nothing else is said.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(20);

    /// A definition of this name and program, with every default of a TOML definition.
    pub fn new(name: ServiceName, exec: Vec<String>) -> Self {
        Definition {
            name,
            description: String::new(),
            exec,
            user: None,
            group: None,
            directory: None,
            environment: BTreeMap::new(),
            protocol: Protocol::default(),
            start: StartType::default(),
            follow: true,
            linger: Duration::ZERO,
            replug: Replug::default(),
            failure: FailurePolicy::default(),
            damping: None,
            start_timeout: Self::START_TIMEOUT,
            stop_timeout: Self::STOP_TIMEOUT,
            depends: Vec::new(),
            triggers: Vec::new(),
            provides: Vec::new(),
            security: None,
        }
    }
}
