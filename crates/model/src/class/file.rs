//! The form of a file in `classes.d`, which defines one class.

use serde::{Deserialize, Serialize};

use super::{Class, ClassError, Match, built_in, derived_guid, is_class_name};
use crate::ce_name::is_prefix;
use crate::guid::Guid;

/// A class as a file defines it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassFile {
    /// What the class is called.
    pub class: ClassHeader,
    /// Which devices expose an interface of it.
    #[serde(rename = "match")]
    pub when: Match,
}

/// What a class is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassHeader {
    /// The short name.
    pub name: String,
    /// The GUID; without one, that of the built-in class of this name, else one made of the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<Guid>,
    /// Other names, such as a vendor's symbol for the GUID.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The prefix of names in Windows CE's form; without one, that of the built-in class of this
    /// name and GUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ce_prefix: Option<String>,
}

impl ClassFile {
    /// The class, if name, GUID and predicate are sound.
    pub fn into_class(self) -> Result<Class, ClassError> {
        let ClassHeader {
            name,
            guid,
            aliases,
            description,
            ce_prefix,
        } = self.class;
        if !is_class_name(&name) {
            return Err(ClassError::Name { name });
        }
        let mut known = built_in().iter().map(|known| &known.class);
        let known = known.find(|known| known.name == name);
        let guid = guid
            .or_else(|| known.map(|known| known.guid))
            .unwrap_or_else(|| derived_guid(&name));
        if guid == Guid::from_u128(0) {
            return Err(ClassError::ZeroGuid { name });
        }
        if let Some(prefix) = ce_prefix.as_ref().filter(|prefix| !is_prefix(prefix)) {
            let prefix = prefix.clone();
            return Err(ClassError::Prefix { name, prefix });
        }
        if let Err(cause) = self.when.check("match") {
            return Err(ClassError::Match { name, cause });
        }
        let known = known.filter(|known| known.guid == guid);
        let mut known_by: Vec<String> =
            known.map(|known| known.aliases.clone()).unwrap_or_default();
        known_by.extend(aliases);
        Ok(Class {
            guid,
            name,
            aliases: known_by,
            description,
            ce_prefix: ce_prefix.or_else(|| known.and_then(|known| known.ce_prefix.clone())),
            when: self.when,
        })
    }
}
