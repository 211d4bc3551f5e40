//! The built-in classes, from the data file beside this one.
//!
//! A class that Windows has bears Windows' GUID. Our own bear the GUID that any name without one
//! gets: version 5 of RFC 9562 of the name in [`NAMESPACE`], as in
//! `uuidgen --sha1 --namespace 5d1a9a3e-7c1f-4b55-9f0e-3a1c7e0b6d42 --name loop`.

use std::sync::{Arc, LazyLock};

use serde::Deserialize;
use uuid::Uuid;

use super::{Class, Match};
use crate::guid::Guid;

/// The namespace of GUIDs that are made of a class's short name.
pub const NAMESPACE: Guid = Guid::from_u128(NAMESPACE_NUMBER);

const NAMESPACE_NUMBER: u128 = 0x5d1a9a3e_7c1f_4b55_9f0e_3a1c7e0b6d42;

/// The text of the data file, in TOML.
pub const TEXT: &str = include_str!("built_in.toml");

/// A class that is known without being told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// The heading under which the manual has it.
    pub group: String,
    /// The class.
    pub class: Arc<Class>,
}

/// The built-in classes, in the order of the data file.
pub fn built_in() -> &'static [BuiltIn] {
    static LIST: LazyLock<Vec<BuiltIn>> = LazyLock::new(|| {
        // The file is part of the program: that it can be read is a matter of the tests.
        read(TEXT).unwrap_or_default()
    });
    &LIST
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    class: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    group: String,
    name: String,
    guid: Option<Guid>,
    #[serde(default)]
    aliases: Vec<String>,
    description: String,
    ce_prefix: Option<String>,
    #[serde(rename = "match")]
    when: Match,
}

pub(super) fn read(text: &str) -> Result<Vec<BuiltIn>, toml::de::Error> {
    let file: File = toml::from_str(text)?;
    let rows = file.class.into_iter().map(|row| BuiltIn {
        group: row.group,
        class: Arc::new(Class {
            guid: row.guid.unwrap_or_else(|| derived_guid(&row.name)),
            name: row.name,
            aliases: row.aliases,
            description: row.description,
            ce_prefix: row.ce_prefix,
            when: row.when,
        }),
    });
    Ok(rows.collect())
}

/// The GUID of a class that has a name alone.
pub(super) fn derived_guid(name: &str) -> Guid {
    let namespace = Uuid::from_u128(NAMESPACE_NUMBER);
    Guid::from_u128(Uuid::new_v5(&namespace, name.as_bytes()).as_u128())
}
