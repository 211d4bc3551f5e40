//! A device interface: who it is, what it is called, which ids its device has.
//!
//! Identity is class + owner + reference string. The owner of a kernel device's interface is the
//! device in one incarnation; names (link, node, CE name) are attributes and never the identity.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::guid::Guid;

/// Tells one presence of a device apart from the next at the same path.
///
/// A device that left and came back has another sysfs inode or another device number on its bus; a
/// disk that is on no bus, such as a loop device, another disk sequence number when something else
/// is behind it. The number of a drive changes with its medium, and the drive has not left.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Incarnation {
    /// The inode number of the device's sysfs directory.
    pub inode: u64,
    /// The device number on its bus (`devnum` of USB); 0 where there is none.
    pub devnum: u32,
    /// The disk sequence number (`diskseq`) of a disk that is on no bus; else 0.
    pub diskseq: u64,
}

/// Who makes an interface exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// A kernel device: its path below the sysfs mount (`/devices/...`), in one incarnation.
    Device {
        /// The path, beginning with `/devices/`.
        devpath: String,
        /// Which presence of a device at this path.
        incarnation: Incarnation,
    },
    /// A program that advertises the interface, by its session's name.
    Program {
        /// The session's name.
        session: String,
    },
}

impl Owner {
    /// The path or name, for people.
    pub fn name(&self) -> &str {
        match self {
            Owner::Device { devpath, .. } => devpath,
            Owner::Program { session } => session,
        }
    }
}

/// The identity of a device interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InterfaceKey {
    /// The interface class.
    pub class: Guid,
    /// The device or program behind it.
    pub owner: Owner,
    /// Tells several interfaces of one class on one owner apart; mostly empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
}

impl fmt::Display for InterfaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.class, self.owner.name())?;
        if !self.reference.is_empty() {
            write!(f, " {}", self.reference)?;
        }
        Ok(())
    }
}

/// Who decides whether the interface is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnabledBy {
    /// The kernel, by the class's predicate.
    Kernel,
    /// An installed package.
    Package,
    /// A driver in user space.
    Driver,
    /// A program that advertises it.
    Program,
}

/// A present device interface with its names and ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Interface {
    /// Its identity.
    pub key: InterfaceKey,
    /// The name in Windows' form: `\\?\NET#...#{class}`.
    pub link: String,
    /// The short name of the class, such as `net`.
    pub class_name: String,
    /// The device node, such as `/dev/loop7`, where there is one.
    pub node: Option<String>,
    /// The links to the node that udevd made, such as `/dev/disk/by-label/DATA`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_links: Vec<String>,
    /// The name in Windows CE's form, such as `COM1:` (see [`ce_name`](crate::ce_name)), where
    /// the class has a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ce_name: Option<String>,
    /// What people call it: `tap0`, `sda`.
    pub name: String,
    /// Hardware ids, most specific first, in Windows' form.
    pub hardware_ids: Vec<String>,
    /// Compatible ids, most specific first.
    pub compatible_ids: Vec<String>,
    /// Hardware and compatible ids of its device's ancestors, for triggers that ask for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestor_ids: Vec<String>,
    /// Who decides whether it is there.
    pub enabled_by: EnabledBy,
    /// Whether its node has its final name, owner and links.
    pub usable: bool,
}
