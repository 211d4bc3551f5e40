//! Interface classes: a GUID, a short name, and a predicate over a device.
//!
//! A device exposes an interface of a class while the class's predicate holds for what was
//! recorded of it and its ancestors. Nothing else makes or ends an interface: not the word of an
//! event, not a driver's name alone. The predicate language is data ([`Match`]); the built-in
//! classes ([`built_in`]) and files in `classes.d` ([`ClassFile`]) are written in it alike.

mod built_in;
mod file;
mod pattern;
mod predicate;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::built_in::derived_guid;
pub use self::built_in::{BuiltIn, NAMESPACE, TEXT as BUILT_IN_TEXT, built_in};
pub use self::file::{ClassFile, ClassHeader};
pub use self::pattern::{MAX_PATTERN, PatternError, Patterns};
pub use self::predicate::{MAX_DEPTH, Match, MatchError, Test};
use crate::device::DeviceRecord;
use crate::guid::Guid;
use crate::hwid::{self, Ids};
use crate::interface::{EnabledBy, Interface, InterfaceKey, Owner};

/// An interface class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Its identity.
    pub guid: Guid,
    /// Its short name, such as `net`.
    pub name: String,
    /// Other names it is known by, such as `GUID_DEVINTERFACE_NET`.
    pub aliases: Vec<String>,
    /// What it is, for people.
    pub description: String,
    /// The prefix of its interfaces' names in Windows CE's form, such as `COM`.
    pub ce_prefix: Option<String>,
    /// Which devices expose an interface of it.
    pub when: Match,
}

/// Why a class cannot be one, or not beside the others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClassError {
    /// The name has other characters than it may, or reads as a GUID.
    #[error(
        "'{name}' is not a class name (expected 1 to 32 of a-z, 0-9 and '-', beginning with a letter)"
    )]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// The prefix is none of Windows CE's.
    #[error(
        "class '{name}': '{prefix}' is no prefix (expected three of A-Z and 0-9, beginning with a letter)"
    )]
    Prefix {
        /// The class.
        name: String,
        /// The prefix as it was given.
        prefix: String,
    },
    /// The GUID is all zeros.
    #[error("class '{name}': the GUID is all zeros")]
    ZeroGuid {
        /// The class.
        name: String,
    },
    /// The predicate is none.
    #[error("class '{name}': {cause}")]
    Match {
        /// The class.
        name: String,
        /// What is wrong with the predicate.
        cause: MatchError,
    },
    /// Another class has the GUID.
    #[error("class '{name}': {guid} is already the class '{taken_by}'")]
    GuidTaken {
        /// The class.
        name: String,
        /// The GUID.
        guid: Guid,
        /// The class that has it.
        taken_by: String,
    },
}

/// The classes that are known, each with its own GUID and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    list: Vec<Arc<Class>>,
}

/// What concerns the devices of one subsystem, found once for many looks at them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfSubsystem {
    /// Where in the list the classes stand that admit it.
    places: Vec<usize>,
    /// The sysfs attributes to record.
    pub attributes: Vec<String>,
}

impl Classes {
    /// No classes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The classes of the built-in table.
    pub fn built_in() -> Self {
        Classes {
            list: built_in()
                .iter()
                .map(|known| Arc::clone(&known.class))
                .collect(),
        }
    }

    /// Adds a class. One of the same name is replaced and given back; a GUID that a class of
    /// another name has is refused.
    pub fn insert(&mut self, class: Class) -> Result<Option<Arc<Class>>, ClassError> {
        let other = |known: &&Arc<Class>| known.guid == class.guid && known.name != class.name;
        if let Some(taken) = self.list.iter().find(other) {
            return Err(ClassError::GuidTaken {
                taken_by: taken.name.clone(),
                name: class.name,
                guid: class.guid,
            });
        }
        match self.list.iter_mut().find(|known| known.name == class.name) {
            Some(known) => Ok(Some(std::mem::replace(known, Arc::new(class)))),
            None => {
                self.list.push(Arc::new(class));
                Ok(None)
            }
        }
    }

    /// The class with this GUID.
    pub fn get(&self, guid: Guid) -> Option<&Class> {
        self.iter().find(|class| class.guid == guid)
    }

    /// The class that a person means by `net`, `{cac88484-...}` or `GUID_DEVINTERFACE_NET`, in
    /// any case.
    pub fn resolve(&self, text: &str) -> Option<&Class> {
        if let Ok(guid) = text.parse() {
            return self.get(guid);
        }
        self.iter().find(|class| {
            std::iter::once(&class.name)
                .chain(&class.aliases)
                .any(|name| name.eq_ignore_ascii_case(text))
        })
    }

    /// All classes, in the order they were defined.
    pub fn iter(&self) -> impl Iterator<Item = &Class> {
        self.list.iter().map(Arc::as_ref)
    }

    /// Whether a device of this subsystem could expose an interface at all.
    pub fn admits(&self, subsystem: &str) -> bool {
        self.list.iter().any(|class| class.when.admits(subsystem))
    }

    /// The sysfs attributes to record of a device of this subsystem: those that the classes look
    /// at in it, as the device itself or as an ancestor, and those that ids are made of.
    pub fn attributes(&self, subsystem: &str) -> BTreeSet<&str> {
        let mut found: BTreeSet<&str> = hwid::attributes(subsystem).iter().copied().collect();
        for class in &self.list {
            class.when.attributes(subsystem, &mut found);
        }
        found
    }

    /// What concerns the devices of one subsystem.
    pub fn of_subsystem(&self, subsystem: &str) -> OfSubsystem {
        let admitting = |(place, class): (usize, &Arc<Class>)| {
            let admits = class.when.admits(subsystem);
            admits.then_some(place)
        };
        let attributes = self.attributes(subsystem);
        OfSubsystem {
            places: self.list.iter().enumerate().filter_map(admitting).collect(),
            attributes: attributes.into_iter().map(str::to_owned).collect(),
        }
    }

    /// The interfaces that the device exposes.
    ///
    /// Only one without a node is usable here; whether a node has got its final name and owner
    /// is known to whoever watches udev.
    pub fn interfaces_of(&self, device: &DeviceRecord) -> Vec<Interface> {
        self.interfaces_among(&self.of_subsystem(&device.subsystem), device)
    }

    /// The interfaces that the device exposes, by what these classes have said of its subsystem.
    pub fn interfaces_among(&self, known: &OfSubsystem, device: &DeviceRecord) -> Vec<Interface> {
        let mut exposed = known
            .places
            .iter()
            .filter_map(|place| self.list.get(*place))
            .filter(|class| class.when.holds(device))
            .peekable();
        if exposed.peek().is_none() {
            return Vec::new();
        }
        let ancestor_ids = hwid::ancestor_ids(device);
        let functions: Vec<(String, String, Ids)> = hwid::functions(device)
            .into_iter()
            .map(|(reference, ids)| (hwid::instance_path(device, &ids), reference, ids))
            .collect();
        exposed
            .flat_map(|class| functions.iter().map(move |function| (class, function)))
            .map(|(class, (instance, reference, ids))| Interface {
                key: InterfaceKey {
                    class: class.guid,
                    owner: Owner::Device {
                        devpath: device.devpath.clone(),
                        incarnation: device.incarnation,
                    },
                    reference: reference.clone(),
                },
                link: link(instance, class.guid),
                class_name: class.name.clone(),
                node: device.node.clone(),
                // What udevd and the other devices that are present have to say to these is known
                // to whoever watches them.
                node_links: Vec::new(),
                ce_name: None,
                name: device.name().replace('!', "/"),
                hardware_ids: ids.hardware.clone(),
                compatible_ids: ids.compatible.clone(),
                ancestor_ids: ancestor_ids.clone(),
                enabled_by: EnabledBy::Kernel,
                usable: device.node.is_none(),
            })
            .collect()
    }
}

/// The name of an interface in Windows' form: `\\?\`, the instance path with `#` for `\`, `#` and
/// the class.
///
/// It holds only letters, digits and `& _ . # { } * + - \ ?`. Links are compared without case and
/// not taken apart.
pub fn link(instance: &str, class: Guid) -> String {
    format!("\\\\?\\{}#{class}", instance.replace('\\', "#"))
}

/// Whether a text may be a class's short name.
pub fn is_class_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod built_in_tests;
#[cfg(test)]
mod tests;
