//! What survives a restart of the manager: records of a key and a JSON value.
//!
//! ```text
//! key                    value
//! engine                 epoch, cursor, next id, whether auto-started services were started
//! definition/NAME        the definition, and whether it is enabled
//! life/NAME              state, run, held back, failures, planned restart
//! host/ID                service, run, main process and its start time
//! interface/NUMBER       a present interface with the cursors of its two moments
//! level/NUMBER           a level, and which side of it holds
//! policy/KIND            what a policy was
//! ```
//!
//! The records that an effect needs are handed out before it, as one [`Effect::Persist`]; so what
//! was done is never ahead of what is known. Sessions, questions and waiting requests are not
//! written: their connections die with the manager.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrival_model::definition::{Definition, ServiceName};
use arrival_model::time::Time;
use arrival_model::trigger::{Level, PolicyKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::{Change, HostId, RunId, Settings};
use crate::index::Slot;
use crate::instance::{Host, Instance, Known, Life};
use crate::interfaces::{Entry, Number};
use crate::signals::LevelEntry;
use crate::timers::Timer;
use crate::{Dirty, Engine};

#[derive(Debug, Serialize, Deserialize)]
struct EngineRecord {
    epoch: u64,
    n: u64,
    next_id: u64,
    booted: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct DefinitionRecord {
    enabled: bool,
    definition: Arc<Definition>,
}

/// A host that the manager knew before its restart; it must be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RememberedHost {
    /// The host.
    pub host: HostId,
    /// The run it carries.
    pub run: RunId,
    /// The service.
    pub service: ServiceName,
    /// Its main process and that one's start time; none if the manager ended before it knew.
    pub main: Option<(i32, u64)>,
}

/// An engine made from records, and what was wrong with them.
#[derive(Debug)]
pub struct Restored {
    /// The engine.
    pub engine: Engine,
    /// Records that could not be read; each names its key.
    pub problems: Vec<String>,
}

fn json<T: Serialize>(value: &T) -> Option<String> {
    serde_json::to_string(value).ok()
}

impl Engine {
    /// The changed records, each once; deletions come first.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for name in std::mem::take(&mut self.forgotten) {
            changes.push(Change {
                key: format!("definition/{name}"),
                value: None,
            });
            changes.push(Change {
                key: format!("life/{name}"),
                value: None,
            });
        }
        for dirty in std::mem::take(&mut self.dirty) {
            match dirty {
                Dirty::Engine => {}
                Dirty::Definition(slot) => {
                    if let Some(instance) = self.instance(slot) {
                        let record = DefinitionRecord {
                            enabled: instance.enabled,
                            definition: instance.definition.clone(),
                        };
                        let key = format!("definition/{}", instance.definition.name.folded());
                        changes.push(Change {
                            key,
                            value: json(&record),
                        });
                    }
                }
                Dirty::Life(slot) => {
                    if let Some(instance) = self.instance(slot) {
                        let key = format!("life/{}", instance.definition.name.folded());
                        changes.push(Change {
                            key,
                            value: json(&instance.life),
                        });
                    }
                }
                Dirty::Host(id) => {
                    let value = self.hosts.get(&id).and_then(json);
                    changes.push(Change {
                        key: format!("host/{}", id.0),
                        value,
                    });
                }
                Dirty::Level(id) => {
                    let found = self.levels.iter().find(|(_, entry)| entry.id == id);
                    let value = found.and_then(|(level, entry)| json(&(level, entry)));
                    changes.push(Change {
                        key: format!("level/{}", id.0),
                        value,
                    });
                }
                Dirty::Policy(kind) => {
                    let value = self.policies.get(&kind).and_then(json);
                    let key = match kind {
                        PolicyKind::Machine => "policy/machine",
                        PolicyKind::User => "policy/user",
                    };
                    changes.push(Change {
                        key: key.to_owned(),
                        value,
                    });
                }
                Dirty::Interface(number) => {
                    let value = self.interfaces.get(number).and_then(json);
                    changes.push(Change {
                        key: format!("interface/{}", number.0),
                        value,
                    });
                }
            }
        }
        let record = EngineRecord {
            epoch: self.epoch,
            n: self.n,
            next_id: self.next_id,
            booted: self.booted,
        };
        changes.push(Change {
            key: "engine".to_owned(),
            value: json(&record),
        });
        changes
    }

    /// Continues from the records of an earlier process in the same boot.
    ///
    /// A record that cannot be read is left out and reported. The hosts of
    /// [`Engine::remembered_hosts`] must be looked for, then all definitions be told, then a
    /// snapshot of the devices.
    pub fn restore(
        settings: Settings,
        records: impl IntoIterator<Item = (String, String)>,
    ) -> Restored {
        let mut engine = Engine::new(settings);
        let mut problems = Vec::new();
        let mut definitions: BTreeMap<String, DefinitionRecord> = BTreeMap::new();
        let mut lives: BTreeMap<String, Life> = BTreeMap::new();
        for (key, value) in records {
            let kind = key
                .split_once('/')
                .map_or((key.as_str(), ""), |parts| parts);
            let read = match kind {
                ("engine", "") => parse(&value).map(|record: EngineRecord| {
                    engine.epoch = record.epoch;
                    engine.n = record.n;
                    engine.next_id = record.next_id;
                    engine.booted = record.booted;
                }),
                ("definition", name) => parse(&value).map(|record| {
                    definitions.insert(name.to_owned(), record);
                }),
                ("life", name) => parse(&value).map(|record| {
                    lives.insert(name.to_owned(), record);
                }),
                ("host", id) => number(id).and_then(|id| {
                    let host: Host = parse(&value)?;
                    engine.hosts.insert(HostId(id), host);
                    Ok(())
                }),
                ("interface", id) => number(id).and_then(|id| {
                    let entry: Entry = parse(&value)?;
                    engine.interfaces.insert(Number(id), entry);
                    Ok(())
                }),
                ("level", _) => parse(&value).map(|(level, entry): (Level, LevelEntry)| {
                    engine.recall_level(level, entry);
                }),
                ("policy", "machine") => parse(&value).map(|entry| {
                    engine.policies.insert(PolicyKind::Machine, entry);
                }),
                ("policy", "user") => parse(&value).map(|entry| {
                    engine.policies.insert(PolicyKind::User, entry);
                }),
                _ => Err("unknown kind of record".to_owned()),
            };
            if let Err(error) = read {
                problems.push(format!("state record '{key}': {error}"));
            }
        }
        for (name, record) in definitions {
            let life = lives.remove(&name).unwrap_or_else(|| Life::new(Time(0)));
            engine.restore_instance(record, life);
        }
        problems.extend(
            lives
                .keys()
                .map(|name| format!("state record 'life/{name}': no definition")),
        );
        engine.drop_unpaired();
        Restored { engine, problems }
    }

    fn recall_level(&mut self, level: Level, mut entry: LevelEntry) {
        let at = entry.gone_at.take();
        self.timers
            .set(Timer::Gone(entry.id), &mut entry.gone_at, at);
        self.levels.insert(level, entry);
    }

    fn restore_instance(&mut self, record: DefinitionRecord, life: Life) {
        let instance = Instance {
            definition: record.definition,
            enabled: record.enabled,
            known: Known::Remembered,
            present: BTreeMap::new(),
            life,
        };
        let slot = self.add_instance(instance);
        self.recall_present(slot);
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        let life = &mut instance.life;
        let again = |at: &mut Option<Time>| at.take();
        let (retry, hold) = (again(&mut life.retry_at), again(&mut life.hold_until));
        self.timers
            .set(Timer::Retry(slot), &mut life.retry_at, retry);
        self.timers
            .set(Timer::Hold(slot), &mut life.hold_until, hold);
        if let Some(run) = &mut life.run {
            let (deadline, linger) = (again(&mut run.deadline), again(&mut run.linger_at));
            self.timers
                .set(Timer::Deadline(slot), &mut run.deadline, deadline);
            self.timers
                .set(Timer::Linger(slot), &mut run.linger_at, linger);
            if let Some(host) = self.hosts.get_mut(&run.host) {
                host.slot = Some(slot);
            }
        }
    }

    /// Drops hosts without a run and runs without a host, which only a damaged file can hold.
    fn drop_unpaired(&mut self) {
        let orphans: Vec<HostId> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.slot.is_none())
            .map(|(id, _)| *id)
            .collect();
        for host in orphans {
            self.hosts.remove(&host);
            self.dirty.insert(Dirty::Host(host));
        }
        for slot in self.slots() {
            let alone = self
                .instance(slot)
                .and_then(|instance| instance.life.run.as_ref())
                .is_some_and(|run| !self.hosts.contains_key(&run.host));
            if alone {
                let since = self
                    .instance(slot)
                    .map_or(Time(0), |instance| instance.life.since);
                self.clear_life(slot, since);
            }
        }
    }

    fn clear_life(&mut self, slot: Slot, since: Time) {
        let Some(instance) = self.instances.get_mut(slot) else {
            return;
        };
        if let Some(mut run) = instance.life.run.take() {
            self.timers
                .set(Timer::Deadline(slot), &mut run.deadline, None);
            self.timers
                .set(Timer::Linger(slot), &mut run.linger_at, None);
        }
        instance.life.state = arrival_model::state::ServiceState::Stopped;
        instance.life.since = since;
        self.dirty.insert(Dirty::Life(slot));
    }

    /// The hosts that the restored state speaks of.
    pub fn remembered_hosts(&self) -> Vec<RememberedHost> {
        self.hosts
            .iter()
            .map(|(id, host)| RememberedHost {
                host: *id,
                run: host.run,
                service: host.service.clone(),
                main: host.main,
            })
            .collect()
    }
}

fn parse<T: DeserializeOwned>(value: &str) -> Result<T, String> {
    serde_json::from_str(value).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("'{text}' is not a number"))
}
