//! What starts a service, and what stops it.
//!
//! ```text
//! cause      happens when                                                     as a level
//! ----------+----------------------------------------------------------------+----------------------
//! device     an interface of the class arrives                                each interface
//! network    the first usable address comes; the last one goes                there is one; is none
//! domain     the machine joins a domain; it leaves it                         member; no member
//! port       the first matching socket listens; none has for a while          one listens; none
//! policy     the machine's or a user's policy is another one                  no: an edge
//! pipe       a client connects                                                no: an edge
//! rpc        a client asks the endpoint mapper for the interface              no: an edge
//! custom     a provider writes an event that passes the filter                no: an edge
//! state, aggregate                  nothing here; refused where a service is installed
//! ```
//!
//! A level is a condition that holds or does not. It fires when it comes to hold, and once in a boot if
//! it holds when it is first looked at; while it holds, it is a reason to run. An edge only happens.
//! Both sides of a level are conditions of their own: a service may serve the absence of a network.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::guid::Guid;
use crate::interface::Interface;
use crate::pipe::PipeName;
use crate::port::PortMatch;
use crate::service_trigger::{Action, DataItem};

/// Which moment of an arrival a trigger or a subscription waits for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// The node has its final name, owner and links.
    #[default]
    Usable,
    /// The kernel says that the device is there.
    Appeared,
}

/// A hardware or compatible id, folded to upper case so that equal ids are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FoldedId(String);

impl FoldedId {
    /// Folds an id; only ASCII letters have case in Windows' ids.
    pub fn new(id: &str) -> Self {
        FoldedId(id.to_ascii_uppercase())
    }

    /// The folded text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FoldedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A device interface of a class is present (SERVICE_TRIGGER_TYPE_DEVICE_INTERFACE_ARRIVAL).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceTrigger {
    /// The interface class.
    pub class: Guid,
    /// Any of these ids will do; none means every device of the class.
    pub ids: Vec<FoldedId>,
    /// Whether ids of the device's ancestors count too.
    #[serde(default)]
    pub ancestors: bool,
    /// Which moment counts as the arrival.
    #[serde(default)]
    pub wait: Wait,
}

impl DeviceTrigger {
    /// Whether class and ids fit; says nothing of usable or appeared.
    pub fn matches(&self, interface: &Interface) -> bool {
        self.class == interface.key.class
            && (self.ids.is_empty()
                || ids_of(interface, self.ancestors)
                    .any(|id| self.ids.contains(&FoldedId::new(id))))
    }
}

/// The ids that a trigger compares with: hardware, compatible and, if asked for, the ancestors'.
pub fn ids_of(interface: &Interface, ancestors: bool) -> impl Iterator<Item = &str> {
    let extra: &[String] = if ancestors {
        &interface.ancestor_ids
    } else {
        &[]
    };
    interface
        .hardware_ids
        .iter()
        .chain(&interface.compatible_ids)
        .chain(extra)
        .map(String::as_str)
}

/// Events of a provider (SERVICE_TRIGGER_TYPE_CUSTOM).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CustomTrigger {
    /// Who writes them.
    pub provider: Guid,
    /// Which of them; none means all. In order and each once, since neither has a meaning.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<DataItem>,
}

impl CustomTrigger {
    /// A trigger for these events.
    pub fn new(provider: Guid, mut items: Vec<DataItem>) -> Self {
        items.sort();
        items.dedup();
        CustomTrigger { provider, items }
    }
}

/// A user's policy or the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// The machine's.
    Machine,
    /// That of any user.
    User,
}

/// What fires a trigger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A device interface of a class is present.
    Device(DeviceTrigger),
    /// There is a usable IP address, or none.
    Network {
        /// Which of both.
        available: bool,
    },
    /// The machine is a member of a domain, or of none.
    Domain {
        /// Which of both.
        joined: bool,
    },
    /// A socket listens, or none does.
    Port {
        /// Which of both.
        open: bool,
        /// Any of these will do; never empty.
        ports: Vec<PortMatch>,
    },
    /// A policy is another one.
    Policy(PolicyKind),
    /// A client connects to a pipe.
    Pipe {
        /// Any of these; never empty.
        names: Vec<PipeName>,
        /// Who may connect: the mode of the sockets' files.
        mode: u16,
    },
    /// A client asks for any of these RPC interfaces; never empty.
    Rpc(Vec<Guid>),
    /// A provider writes an event.
    Custom(CustomTrigger),
    /// A state of Windows changes (its name); never here.
    State(u64),
    /// Any trigger of an aggregate that Windows knows; never here.
    Aggregate(Guid),
}

/// Something that is true or not, and that triggers wait for on either side.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// There is a usable IP address.
    Network,
    /// The machine is a member of a domain.
    Domain,
    /// A socket listens.
    Port(PortMatch),
}

/// Something that happens at a moment, or one side of a level.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// A level has come to be true, or false.
    Side(Level, bool),
    /// A policy is another one.
    Policy(PolicyKind),
    /// A client connects to a pipe.
    Pipe(PipeName),
    /// A client asks for an RPC interface.
    Rpc(Guid),
    /// A provider has written an event that passes the trigger's filter.
    Custom(CustomTrigger),
}

/// The mode of a pipe's socket if nothing else is said: its owner's alone.
pub const PIPE_MODE: u16 = 0o600;

impl Cause {
    /// The word for this kind of cause, which is its key in TOML too.
    pub fn kind(&self) -> &'static str {
        match self {
            Cause::Device(_) => "device",
            Cause::Network { .. } => "network",
            Cause::Domain { .. } => "domain",
            Cause::Port { .. } => "port",
            Cause::Policy(_) => "policy",
            Cause::Pipe { .. } => "pipe",
            Cause::Rpc(_) => "rpc",
            Cause::Custom(_) => "event",
            Cause::State(_) => "state",
            Cause::Aggregate(_) => "aggregate",
        }
    }

    /// The signals any of which is this cause; none for devices and for what never happens here.
    pub fn signals(&self) -> Vec<Signal> {
        match self {
            Cause::Device(_) | Cause::State(_) | Cause::Aggregate(_) => Vec::new(),
            Cause::Network { available } => vec![Signal::Side(Level::Network, *available)],
            Cause::Domain { joined } => vec![Signal::Side(Level::Domain, *joined)],
            Cause::Port { open, ports } => {
                let side = |port: &PortMatch| Signal::Side(Level::Port(port.clone()), *open);
                ports.iter().map(side).collect()
            }
            Cause::Policy(kind) => vec![Signal::Policy(*kind)],
            Cause::Pipe { names, .. } => names.iter().cloned().map(Signal::Pipe).collect(),
            Cause::Rpc(interfaces) => interfaces.iter().copied().map(Signal::Rpc).collect(),
            Cause::Custom(custom) => vec![Signal::Custom(custom.clone())],
        }
    }
}

/// What starts or stops a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Trigger {
    /// What happens to the service.
    pub action: Action,
    /// What fires it.
    pub cause: Cause,
}

impl Trigger {
    /// A trigger that starts its service.
    pub fn start(cause: Cause) -> Self {
        Trigger {
            action: Action::Start,
            cause,
        }
    }

    /// A trigger that stops its service.
    pub fn stop(cause: Cause) -> Self {
        Trigger {
            action: Action::Stop,
            cause,
        }
    }

    /// The trigger of a device that starts its service.
    pub fn device(device: DeviceTrigger) -> Self {
        Trigger::start(Cause::Device(device))
    }

    /// The device whose arrival starts the service, if that is what it does.
    pub fn starts_with_device(&self) -> Option<&DeviceTrigger> {
        match (self.action, &self.cause) {
            (Action::Start, Cause::Device(device)) => Some(device),
            _ => None,
        }
    }
}

impl From<DeviceTrigger> for Trigger {
    fn from(device: DeviceTrigger) -> Self {
        Trigger::device(device)
    }
}

impl fmt::Display for Cause {
    /// What it waits for, for people: "a usable address comes".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(
            f: &mut fmt::Formatter<'_>,
            what: &str,
            items: &[T],
        ) -> fmt::Result {
            f.write_str(what)?;
            for (number, item) in items.iter().enumerate() {
                write!(f, "{}{item}", if number == 0 { " " } else { " or " })?;
            }
            Ok(())
        }
        match self {
            Cause::Device(device) => {
                write!(f, "a device of the class {} arrives", device.class)?;
                if !device.ids.is_empty() {
                    list(f, ":", &device.ids)?;
                }
                Ok(())
            }
            Cause::Network { available: true } => f.write_str("the first address comes"),
            Cause::Network { available: false } => f.write_str("the last address goes"),
            Cause::Domain { joined: true } => f.write_str("the machine joins a domain"),
            Cause::Domain { joined: false } => f.write_str("the machine leaves its domain"),
            Cause::Port { open: true, ports } => list(f, "a socket listens at", ports),
            Cause::Port { open: false, ports } => list(f, "no socket listens at", ports),
            Cause::Policy(PolicyKind::Machine) => f.write_str("the machine's policy changes"),
            Cause::Policy(PolicyKind::User) => f.write_str("a user's policy changes"),
            Cause::Pipe { names, .. } => list(f, "a client opens the pipe", names),
            Cause::Rpc(interfaces) => list(f, "a client asks for the RPC interface", interfaces),
            Cause::Custom(custom) => {
                write!(f, "the provider {} writes an event", custom.provider)?;
                let filtered = !custom.items.is_empty();
                f.write_str(if filtered { " that fits" } else { "" })
            }
            Cause::State(state) => write!(f, "the state {state:016x} of Windows changes"),
            Cause::Aggregate(id) => write!(f, "the aggregate {id} of Windows happens"),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Level::Network => f.write_str("a usable address"),
            Level::Domain => f.write_str("membership of a domain"),
            Level::Port(port) => write!(f, "a socket at {port}"),
        }
    }
}
