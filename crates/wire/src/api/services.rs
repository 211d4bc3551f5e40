//! Types of `org.arrivald.Services`; the meaning of each member stands in its Varlink text.
#![allow(missing_docs, reason = "described once, in the interface's text")]

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    pub description: String,
    pub state: String,
    pub desired: String,
    pub held_back: Option<String>,
    pub note: Option<String>,
    pub enabled: bool,
    pub protocol: String,
    pub run: Option<u64>,
    pub pid: Option<i32>,
    pub start_reason: Option<String>,
    pub starts: u64,
    pub failures: u64,
    pub interfaces: Vec<String>,
    pub last_exit: Option<String>,
    pub last_error: Option<String>,
    pub status_text: Option<String>,
    pub checkpoint: u32,
    pub wait_hint_ms: u32,
    pub since_ns: u64,
    pub definition: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    pub service: String,
    pub action: String,
    pub kind: String,
    pub what: String,
    pub class: Option<String>,
    pub class_name: Option<String>,
    pub ids: Vec<String>,
    pub ancestors: bool,
    pub wait: String,
    pub present: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub holds: bool,
    pub what: String,
    pub remedy: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerReport {
    pub trigger: Trigger,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListReply {
    pub services: Vec<Service>,
}

/// The parameters of every method that takes a service's name alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReply {
    pub service: Service,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartCall {
    pub name: String,
    #[serde(default)]
    pub arguments: Vec<String>,
    #[serde(default)]
    pub wait: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartReply {
    pub run: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopCall {
    pub name: String,
    #[serde(default)]
    pub wait: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriggersCall {
    #[serde(default)]
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggersReply {
    pub triggers: Vec<Trigger>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WhyReply {
    pub service: Service,
    /// One sentence that answers the question.
    pub answer: String,
    /// What concerns the service as a whole.
    pub conditions: Vec<Condition>,
    pub triggers: Vec<TriggerReport>,
}
