//! Types of `org.arrivald.Daemon`; the meaning of each member stands in its Varlink text.
#![allow(missing_docs, reason = "described once, in the interface's text")]

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub path: String,
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub severity: String,
    pub code: String,
    pub message: String,
    pub remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    pub events: u64,
    pub spoofed: u64,
    pub truncated: u64,
    pub overruns: u64,
    pub resyncs: u64,
    pub wedged: u64,
    pub udev_timeouts: u64,
    pub notify_refused: u64,
    pub subscriber_overruns: u64,
    pub connections_refused: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoReply {
    pub version: String,
    pub pid: i32,
    pub root: String,
    pub boot_id: String,
    pub cursor: String,
    pub containment: String,
    pub udev: bool,
    pub services: u64,
    pub interfaces: u64,
    pub strays: Vec<String>,
    pub counters: Counters,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    pub mechanism: String,
    pub state: String,
    pub error: Option<String>,
    pub events: u64,
    pub losses: u64,
    pub reads: u64,
    pub detail: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcesReply {
    pub sources: Vec<Source>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReply {
    pub problems: Vec<Problem>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShutdownReply {
    pub stopped: u64,
}
