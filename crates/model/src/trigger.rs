//! What starts a service.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::guid::Guid;
use crate::interface::Interface;

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

/// What starts a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A device interface of a class is present.
    Device(DeviceTrigger),
}
