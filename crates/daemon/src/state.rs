//! What survives the daemon: the engine's records and the hosts' in one journal.
//!
//! Changes are gathered and written as one line before the next effect that could be seen from
//! outside. What could not be written is kept and written with the next change; the services go
//! on, and `info` says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrival_engine::api::Change;
use arrival_linux::host::{HostId, HostRecord};
use arrival_store::journal::{Finding, Journal, JournalError};
use serde_json::value::RawValue;

use crate::boundary::boundary;

/// The kind of the hosts' own records.
const HOST: &str = "process/";

/// The most bytes of one line; what is written at once and is longer becomes several.
const LINE: usize = 256 * 1024;

/// The journal, and what is to be written to it.
#[derive(Debug)]
pub(crate) struct State {
    dir: PathBuf,
    boot: String,
    /// None while it cannot be opened, which is tried again with every change.
    journal: Option<Journal>,
    waiting: BTreeMap<String, Option<Box<RawValue>>>,
    /// How often writing failed.
    pub(crate) failures: u64,
    /// Why it cannot be written at this moment.
    pub(crate) error: Option<String>,
}

/// What an earlier daemon of this boot left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The engine's records.
    pub(crate) records: Vec<(String, String)>,
    /// The hosts'.
    pub(crate) hosts: BTreeMap<u64, HostRecord>,
    /// What was remarkable.
    pub(crate) findings: Vec<Finding>,
    /// Records of hosts that cannot be read.
    pub(crate) problems: Vec<String>,
}

impl State {
    /// Opens the journal in its folder.
    ///
    /// # Errors
    ///
    /// Only if a newer version wrote it: everything else costs the state, not the start.
    pub(crate) fn open(dir: &Path, boot: &str) -> Result<(Self, Left), JournalError> {
        let mut state = State {
            dir: dir.to_owned(),
            boot: boot.to_owned(),
            journal: None,
            waiting: BTreeMap::new(),
            failures: 0,
            error: None,
        };
        let recovered = match Journal::open(dir, boot) {
            Ok((journal, recovered)) => {
                state.journal = Some(journal);
                recovered
            }
            Err(error @ JournalError::Newer { .. }) => return Err(error),
            Err(error) => {
                state.failed(error.to_string());
                return Ok((state, Left::default()));
            }
        };
        let mut left = Left {
            findings: recovered.findings,
            ..Left::default()
        };
        for (key, value) in recovered.records {
            if let Some(id) = key.strip_prefix(HOST) {
                let record =
                    id.parse()
                        .map_err(|_| "not a number".to_owned())
                        .and_then(|id: u64| {
                            let record = serde_json::from_value(value);
                            Ok((id, record.map_err(|error| error.to_string())?))
                        });
                match record {
                    Ok((id, record)) => drop(left.hosts.insert(id, record)),
                    Err(cause) => left.problems.push(format!("state record '{key}': {cause}")),
                }
            } else {
                left.records.push((key, value.to_string()));
            }
        }
        Ok((state, left))
    }

    /// Notes changes of the engine.
    pub(crate) fn note(&mut self, changes: Vec<Change>) {
        for Change { key, value } in changes {
            match value.map(RawValue::from_string).transpose() {
                Ok(value) => drop(self.waiting.insert(key, value)),
                Err(error) => tracing::error!("state record '{key}' is no JSON: {error}"),
            }
        }
    }

    /// Notes what is known of a host.
    pub(crate) fn note_host(&mut self, record: &HostRecord) {
        match serde_json::value::to_raw_value(record) {
            Ok(value) => drop(self.waiting.insert(key(record.id), Some(value))),
            Err(error) => tracing::error!("{} cannot be written down: {error}", record.id),
        }
    }

    /// Notes that a host is over.
    pub(crate) fn forget_host(&mut self, host: HostId) {
        self.waiting.insert(key(host), None);
    }

    /// Writes what was noted.
    pub(crate) fn write(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if self.journal.is_none() {
            match Journal::open(&self.dir, &self.boot) {
                Ok((journal, recovered)) => {
                    self.journal = Some(journal);
                    // What it holds was not known when the daemon started, and means nothing now.
                    for key in recovered.records.into_keys() {
                        self.waiting.entry(key).or_insert(None);
                    }
                }
                Err(error) => {
                    self.failed(error.to_string());
                    // There is nothing yet that could be removed.
                    self.waiting.retain(|_, value| value.is_some());
                }
            }
        }
        let Some(journal) = &mut self.journal else {
            return;
        };
        let mut changes: Vec<(String, Option<Box<RawValue>>)> =
            std::mem::take(&mut self.waiting).into_iter().collect();
        while !changes.is_empty() {
            let mut bytes = 0;
            let cut = changes
                .iter()
                .position(|(key, value)| {
                    bytes += key.len() + value.as_ref().map_or(0, |value| value.get().len());
                    bytes > LINE
                })
                .unwrap_or(changes.len())
                .max(1);
            let rest = changes.split_off(cut.min(changes.len()));
            boundary("before the journal");
            let appended = journal.append(&changes);
            boundary("behind the journal");
            match appended {
                Ok(()) => {
                    changes = rest;
                    if self.error.take().is_some() {
                        tracing::info!("the state can be written again");
                    }
                }
                Err(error) => {
                    self.failed(error.to_string());
                    self.waiting.extend(changes);
                    self.waiting.extend(rest);
                    return;
                }
            }
        }
    }

    fn failed(&mut self, text: String) {
        self.failures += 1;
        if self.error.as_ref() != Some(&text) {
            tracing::error!("the state is not saved: {text}");
        }
        self.error = Some(text);
    }
}

fn key(host: HostId) -> String {
    format!("{HOST}{}", host.0)
}
