//! The predicate of a class: what must be true of a device and its ancestors.
//!
//! Every key that is given must hold. A value is a pattern or a list of patterns, any of which
//! will do.
//!
//! | key | holds if |
//! |---|---|
//! | `subsystem`, `devtype`, `name`, `driver`, `devpath` | the device's fits |
//! | `node = true` | the device has a node in /dev (`false`: has none) |
//! | `id` | a hardware or compatible id of the device fits, ignoring case |
//! | `property.KEY` | the value of KEY in its `uevent` file passes the test |
//! | `attribute.NAME` | the sysfs file NAME in its directory passes the test |
//! | `parent` | the nearest device above matches this table |
//! | `ancestor` | some device above matches this table |
//! | `all`, `any` | every, at least one table of the list matches |
//! | `not` | this table does not match |
//!
//! A test of a value is a pattern, a list of patterns, or a table of `is`, `not`, `present` and `bits`.
//! A value that is missing passes `not` and `present = false`, nothing else. `bits` are numbers that
//! must be set in a bitmap of the kernel's (`capabilities/key`): hexadecimal words, the highest first.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::pattern::{PatternError, Patterns};
use crate::device::DeviceRecord;
use crate::hwid;

/// What must be true of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// The kernel subsystem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<Patterns>,
    /// The kind within the subsystem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devtype: Option<Patterns>,
    /// The kernel's name of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Patterns>,
    /// The driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Patterns>,
    /// The path below the sysfs mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devpath: Option<Patterns>,
    /// Whether it has a device node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<bool>,
    /// A hardware or compatible id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Patterns>,
    /// Values of the `uevent` file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub property: BTreeMap<String, Test>,
    /// Values of sysfs files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attribute: BTreeMap<String, Test>,
    /// The nearest device above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<Match>>,
    /// Some device above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ancestor: Option<Box<Match>>,
    /// All of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<Match>,
    /// At least one of these, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<Match>,
    /// Not this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<Match>>,
}

/// A test of one value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Test {
    /// The value is there and fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<Patterns>,
    /// The value is missing or does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Patterns>,
    /// Whether the value is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// The value is a bitmap in which these are set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bits: Vec<u16>,
}

/// A predicate that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// A pattern is broken.
    #[error("{key}: {cause}")]
    Pattern {
        /// The key with the pattern.
        key: String,
        /// What is wrong.
        cause: PatternError,
    },
    /// A table is empty and so would match every device.
    #[error("{key} is empty and would match every device")]
    Empty {
        /// The table.
        key: String,
    },
    /// A test asks for nothing.
    #[error("{key} tests nothing (expected a pattern, or a table of is, not, present, bits)")]
    NoTest {
        /// The test.
        key: String,
    },
    /// An attribute is not a file below the device's directory.
    #[error("{key}: an attribute is a path below the device's directory, such as queue/rotational")]
    AttributePath {
        /// The attribute's key.
        key: String,
    },
    /// Tables stand inside each other more than [`MAX_DEPTH`] deep.
    #[error("{key} lies more than {MAX_DEPTH} tables deep")]
    TooDeep {
        /// The innermost table.
        key: String,
    },
}

/// How deep tables may stand inside each other.
pub const MAX_DEPTH: usize = 8;

impl Test {
    /// The value fits one of these patterns.
    pub fn is<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Self {
        Test {
            is: Some(Patterns::new(patterns)),
            ..Test::default()
        }
    }

    /// The value is missing or fits none of these patterns.
    pub fn not<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Self {
        Test {
            not: Some(Patterns::new(patterns)),
            ..Test::default()
        }
    }

    /// The value is there.
    pub fn present() -> Self {
        Test {
            present: Some(true),
            ..Test::default()
        }
    }

    /// Whether a value, or its absence, passes.
    pub fn passes(&self, value: Option<&str>) -> bool {
        let fits = |patterns: &Patterns| value.is_some_and(|value| patterns.matches(value));
        self.is.as_ref().is_none_or(fits)
            && !self.not.as_ref().is_some_and(fits)
            && self
                .present
                .is_none_or(|present| present == value.is_some())
            && (self.bits.is_empty()
                || value.is_some_and(|value| self.bits.iter().all(|bit| is_set(value, *bit))))
    }
}

impl Match {
    /// Whether all of this is true of the device.
    pub fn holds(&self, device: &DeviceRecord) -> bool {
        let fits = |wanted: &Option<Patterns>, value: Option<&str>| {
            wanted
                .as_ref()
                .is_none_or(|patterns| value.is_some_and(|value| patterns.matches(value)))
        };
        fits(&self.subsystem, Some(&device.subsystem))
            && fits(&self.devtype, device.devtype.as_deref())
            && fits(&self.name, Some(device.name()))
            && fits(&self.driver, device.driver.as_deref())
            && fits(&self.devpath, Some(&device.devpath))
            && self.node.is_none_or(|node| node == device.node.is_some())
            && self
                .property
                .iter()
                .all(|(key, test)| test.passes(device.property(key)))
            && self
                .attribute
                .iter()
                .all(|(name, test)| test.passes(device.attribute(name)))
            && self.all.iter().all(|inner| inner.holds(device))
            && (self.any.is_empty() || self.any.iter().any(|inner| inner.holds(device)))
            && !self.not.as_ref().is_some_and(|inner| inner.holds(device))
            && self.parent.as_ref().is_none_or(|inner| {
                device
                    .parent
                    .as_deref()
                    .is_some_and(|parent| inner.holds(parent))
            })
            && self
                .ancestor
                .as_ref()
                .is_none_or(|inner| device.ancestors().any(|above| inner.holds(above)))
            && self.id.as_ref().is_none_or(|patterns| {
                let ids = hwid::ids_of(device);
                ids.all().any(|id| patterns.matches_ignoring_case(id))
            })
    }

    /// Whether a device of this subsystem could match; a quick look before reading the device.
    pub fn admits(&self, subsystem: &str) -> bool {
        self.subsystem
            .as_ref()
            .is_none_or(|patterns| patterns.matches(subsystem))
            && self.all.iter().all(|inner| inner.admits(subsystem))
            && (self.any.is_empty() || self.any.iter().any(|inner| inner.admits(subsystem)))
    }

    /// Adds the attributes that this looks at in a device of the subsystem, as the device itself
    /// or as somebody's ancestor.
    pub fn attributes<'a>(&'a self, subsystem: &str, found: &mut BTreeSet<&'a str>) {
        if self.admits(subsystem) {
            self.own_attributes(found);
        }
        self.above(&mut |inner| inner.attributes(subsystem, found));
    }

    fn own_attributes<'a>(&'a self, found: &mut BTreeSet<&'a str>) {
        found.extend(self.attribute.keys().map(String::as_str));
        let nested = self.all.iter().chain(&self.any).chain(self.not.as_deref());
        for inner in nested {
            inner.own_attributes(found);
        }
    }

    /// Visits the tables that speak of devices above.
    fn above<'a>(&'a self, visit: &mut dyn FnMut(&'a Match)) {
        for inner in self
            .parent
            .as_deref()
            .into_iter()
            .chain(self.ancestor.as_deref())
        {
            visit(inner);
        }
        for inner in self.all.iter().chain(&self.any).chain(self.not.as_deref()) {
            inner.above(visit);
        }
    }

    /// Whether this can be a predicate; `key` is what it is called in errors.
    pub fn check(&self, key: &str) -> Result<(), MatchError> {
        if *self == Match::default() {
            return Err(MatchError::Empty {
                key: key.to_owned(),
            });
        }
        self.check_inner(key, 0)
    }

    fn check_inner(&self, key: &str, depth: usize) -> Result<(), MatchError> {
        if depth > MAX_DEPTH {
            return Err(MatchError::TooDeep {
                key: key.to_owned(),
            });
        }
        let sound = |patterns: &Patterns, key: String| {
            patterns
                .check()
                .map_err(|cause| MatchError::Pattern { key, cause })
        };
        let named = [
            ("subsystem", &self.subsystem),
            ("devtype", &self.devtype),
            ("name", &self.name),
            ("driver", &self.driver),
            ("devpath", &self.devpath),
            ("id", &self.id),
        ];
        for (name, patterns) in named {
            if let Some(patterns) = patterns {
                sound(patterns, format!("{key}.{name}"))?;
            }
        }
        for (table, tests) in [("property", &self.property), ("attribute", &self.attribute)] {
            for (name, test) in tests {
                let key = format!("{key}.{table}.{name}");
                if *test == Test::default() {
                    return Err(MatchError::NoTest { key });
                }
                if table == "attribute" && !is_attribute_path(name) {
                    return Err(MatchError::AttributePath { key });
                }
                for patterns in test.is.iter().chain(&test.not) {
                    sound(patterns, key.clone())?;
                }
            }
        }
        let nested = (self.all.iter().map(|inner| ("all", inner)))
            .chain(self.any.iter().map(|inner| ("any", inner)))
            .chain(self.not.iter().map(|inner| ("not", inner.as_ref())))
            .chain(self.parent.iter().map(|inner| ("parent", inner.as_ref())))
            .chain(
                self.ancestor
                    .iter()
                    .map(|inner| ("ancestor", inner.as_ref())),
            );
        for (name, inner) in nested {
            let key = format!("{key}.{name}");
            // `parent = {}` says something: that there is a device above.
            let says_something = matches!(name, "parent" | "ancestor");
            if !says_something && *inner == Match::default() {
                return Err(MatchError::Empty { key });
            }
            inner.check_inner(&key, depth + 1)?;
        }
        Ok(())
    }
}

/// Whether a name is a file below a directory: no empty part, no `.`, no `..`.
fn is_attribute_path(name: &str) -> bool {
    name.len() <= 128
        && name
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
}

/// Whether a bit is set in a bitmap of the kernel's: words of `unsigned long`, without leading zeros.
///
/// How long a word is, the text does not say unless one needs more than 32 bits: else it is taken as
/// that of this program.
fn is_set(bitmap: &str, bit: u16) -> bool {
    let words: Vec<&str> = bitmap.split_ascii_whitespace().collect();
    let long = words.iter().any(|word| word.len() > 8) || usize::BITS == 64;
    let width = if long { 64 } else { 32 };
    let place = usize::from(bit) / width;
    let word = words.iter().rev().nth(place);
    word.and_then(|word| u64::from_str_radix(word, 16).ok())
        .is_some_and(|word| word >> (usize::from(bit) % width) & 1 == 1)
}

impl<'de> Deserialize<'de> for Test {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            is: Option<Patterns>,
            not: Option<Patterns>,
            present: Option<bool>,
            #[serde(default)]
            bits: Vec<u16>,
        }
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Test;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(
                    "a pattern, a list of patterns, or a table of is, not, present and bits",
                )
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Test, E> {
                Ok(Test::is([text]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Test, A::Error> {
                Ok(Test {
                    is: Some(Patterns::deserialize(SeqAccessDeserializer::new(seq))?),
                    ..Test::default()
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Test, A::Error> {
                let Table {
                    is,
                    not,
                    present,
                    bits,
                } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Test {
                    is,
                    not,
                    present,
                    bits,
                })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
