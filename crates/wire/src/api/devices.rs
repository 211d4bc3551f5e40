//! Types of `org.arrivald.Devices`; the meaning of each member stands in its Varlink text.
#![allow(missing_docs, reason = "described once, in the interface's text")]

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub link: String,
    pub class: String,
    pub class_name: String,
    pub node: Option<String>,
    /// Missing in what a manager without such names says.
    #[serde(default)]
    pub node_links: Vec<String>,
    #[serde(default)]
    pub ce_name: Option<String>,
    pub name: String,
    pub owner: String,
    pub reference: String,
    pub hardware_ids: Vec<String>,
    pub compatible_ids: Vec<String>,
    pub enabled_by: String,
    pub usable: bool,
    pub cursor: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    pub guid: String,
    pub name: String,
    pub description: String,
    pub origin: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListCall {
    #[serde(default)]
    pub class: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReply {
    pub interfaces: Vec<Interface>,
    pub cursor: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenCall {
    pub link: String,
    #[serde(default)]
    pub access: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenReply {
    pub node: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassesReply {
    pub classes: Vec<Class>,
}
