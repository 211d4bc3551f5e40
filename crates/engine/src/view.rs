//! What `status`, `devices`, `triggers` and `why` show.

use std::sync::Arc;
use std::time::Duration;

use arrival_model::cursor::Cursor;
use arrival_model::definition::{Definition, ServiceName};
use arrival_model::exit::Exit;
use arrival_model::interface::Interface;
use arrival_model::service_trigger::Action;
use arrival_model::state::{Desired, HeldBack, ServiceState, StartReason};
use arrival_model::time::Time;
use arrival_model::trigger::{Cause, DeviceTrigger, Signal, Wait};

use crate::Engine;
use crate::api::{HostId, RunId};
use crate::index::{FoldedIds, Slot};
use crate::instance::{Instance, Known, Run};

/// A service as it is now.
#[derive(Clone, Debug)]
pub struct ServiceView<'a> {
    /// What it is.
    pub definition: &'a Arc<Definition>,
    /// What it is doing.
    pub state: ServiceState,
    /// What is wanted of it.
    pub desired: Desired,
    /// Why it does not run although its condition may hold.
    pub held_back: Option<HeldBack>,
    /// A further remark, such as "no interface left".
    pub note: Option<&'static str>,
    /// Whether the store allows it to run.
    pub enabled: bool,
    /// Its run.
    pub run: Option<RunId>,
    /// The host of its run.
    pub host: Option<HostId>,
    /// The main process of its run.
    pub pid: Option<i32>,
    /// Why its run was started.
    pub reason: Option<StartReason>,
    /// ServiceMain's arguments of its run.
    pub arguments: &'a [String],
    /// How often it was started in this boot.
    pub starts: u64,
    /// How many runs failed.
    pub failures: u64,
    /// The matching interfaces that are ready for it.
    pub interfaces: Vec<&'a Arc<Interface>>,
    /// How the last main process ended.
    pub last_exit: Option<Exit>,
    /// Why the last run failed.
    pub last_error: Option<&'a str>,
    /// What it said of itself (STATUS= of sd_notify(3)).
    pub status_text: Option<&'a str>,
    /// The progress of a pending operation.
    pub checkpoint: u32,
    /// How long until the next checkpoint.
    pub wait_hint: Duration,
    /// When it entered its state.
    pub since: Time,
}

/// One condition on the way to a running service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it holds.
    pub holds: bool,
    /// What is looked at, with what was found.
    pub what: String,
    /// What would make it hold.
    pub remedy: Option<String>,
}

/// Why a service runs or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The answer in one sentence.
    pub answer: String,
    /// What concerns the service as a whole.
    pub conditions: Vec<Condition>,
    /// Per trigger, the conditions up to the first that does not hold.
    pub triggers: Vec<Vec<Condition>>,
}

impl Instance {
    /// Why it does not run; being disabled comes before everything else.
    pub(crate) fn held_back(&self) -> Option<HeldBack> {
        if self.life.run.is_some() {
            return None;
        }
        if !self.enabled {
            return Some(HeldBack::Disabled);
        }
        self.life.held
    }

    fn note(&self) -> Option<&'static str> {
        let running = self.life.run.as_ref().filter(|run| run.stop.is_none());
        if self.known == Known::Gone {
            Some("its definition is gone")
        } else if running.is_some_and(Run::lingers) {
            Some("no interface left, lingering")
        } else if running.is_some_and(|run| run.condition_held) && self.present.is_empty() {
            Some("no interface left")
        } else if self.life.retry_at.is_some() {
            Some("will be started again after a failure")
        } else {
            None
        }
    }
}

impl Run {
    fn lingers(&self) -> bool {
        self.linger_at.is_some()
    }
}

impl Engine {
    /// All services, by name.
    pub fn services(&self) -> impl Iterator<Item = ServiceView<'_>> {
        self.names.values().filter_map(|slot| self.view(*slot))
    }

    /// One service.
    pub fn service(&self, name: &ServiceName) -> Option<ServiceView<'_>> {
        self.view(self.slot(name)?)
    }

    /// How many services there are.
    pub fn service_count(&self) -> usize {
        self.names.len()
    }

    /// All present interfaces in the order of their arrival, each with the cursor of that.
    pub fn interfaces(&self) -> impl Iterator<Item = (&Arc<Interface>, Cursor)> {
        let epoch = self.epoch;
        self.interfaces.iter().map(move |(_, entry)| {
            (
                &entry.interface,
                Cursor {
                    epoch,
                    n: entry.appeared,
                },
            )
        })
    }

    /// How many present interfaces a trigger matches, in its own moment.
    pub fn present_for(&self, trigger: &DeviceTrigger) -> usize {
        self.interfaces
            .of_class(trigger.class)
            .filter(|(_, entry)| entry.ready(trigger.wait).is_some())
            .filter(|(_, entry)| FoldedIds::of(&entry.interface).fit(trigger))
            .count()
    }

    /// How much of what fires a trigger is there: interfaces, or sides of levels that hold.
    pub fn holding(&self, cause: &Cause) -> usize {
        if let Cause::Device(device) = cause {
            return self.present_for(device);
        }
        let holds = |signal: &Signal| matches!(signal, Signal::Side(level, side) if self.level(level) == Some(*side));
        cause
            .signals()
            .iter()
            .filter(|signal| holds(signal))
            .count()
    }

    fn view(&self, slot: Slot) -> Option<ServiceView<'_>> {
        let instance = self.instance(slot)?;
        let life = &instance.life;
        let run = life.run.as_ref();
        let host = run.and_then(|run| self.hosts.get(&run.host));
        Some(ServiceView {
            definition: &instance.definition,
            state: life.state,
            desired: life.desired,
            held_back: instance.held_back(),
            note: instance.note(),
            enabled: instance.enabled,
            run: run.map(|run| run.id),
            host: run.map(|run| run.host),
            pid: host.and_then(|host| host.main).map(|(pid, _)| pid),
            reason: run.map(|run| run.reason),
            arguments: run.map_or(&[], |run| run.arguments.as_slice()),
            starts: life.starts,
            failures: life.failures,
            interfaces: instance
                .present
                .keys()
                .filter_map(|number| Some(&self.interfaces.get(*number)?.interface))
                .collect(),
            last_exit: life.last_exit,
            last_error: life.last_error.as_deref(),
            status_text: run.and_then(|run| run.status_text.as_deref()),
            checkpoint: run.map_or(0, |run| run.checkpoint),
            wait_hint: run.map_or(Duration::ZERO, |run| run.wait_hint),
            since: life.since,
        })
    }

    /// Why a service runs or does not; the class names are the caller's, by GUID.
    pub fn why(
        &self,
        name: &ServiceName,
        class_name: impl Fn(arrival_model::guid::Guid) -> Option<String>,
    ) -> Option<Explanation> {
        let slot = self.slot(name)?;
        let instance = self.instance(slot)?;
        let called = |trigger: &DeviceTrigger| {
            class_name(trigger.class).unwrap_or_else(|| trigger.class.to_string())
        };
        let triggers = instance.definition.triggers.iter().map(|trigger| {
            match (trigger.action, &trigger.cause) {
                (Action::Start, Cause::Device(device)) => {
                    self.conditions_of(device, &called(device))
                }
                (action, cause) => vec![self.condition_of(action, cause)],
            }
        });
        let triggers: Vec<Vec<Condition>> = triggers.collect();
        let conditions = self.conditions_of_service(instance);
        let answer = self.answer_for(instance, &conditions, &triggers);
        Some(Explanation {
            answer,
            conditions,
            triggers,
        })
    }

    fn conditions_of(&self, trigger: &DeviceTrigger, class: &str) -> Vec<Condition> {
        let of_class: Vec<_> = self.interfaces.of_class(trigger.class).collect();
        let mut conditions = vec![Condition {
            holds: !of_class.is_empty(),
            what: format!(
                "{} of class {class} present",
                counted(of_class.len(), "interface")
            ),
            remedy: of_class.is_empty().then(|| {
                format!("plug such a device in; `arrival devices` lists what is there ({class})")
            }),
        }];
        if of_class.is_empty() {
            return conditions;
        }
        let fitting: Vec<_> = of_class
            .iter()
            .filter(|(_, entry)| FoldedIds::of(&entry.interface).fit(trigger))
            .collect();
        if !trigger.ids.is_empty() {
            let wanted: Vec<&str> = trigger.ids.iter().map(|id| id.as_str()).collect();
            let found = of_class
                .first()
                .and_then(|(_, entry)| entry.interface.hardware_ids.first().map(String::as_str));
            let holds = !fitting.is_empty();
            conditions.push(Condition {
                holds,
                what: format!(
                    "{} of them with the id {}",
                    fitting.len(),
                    wanted.join(" or ")
                ),
                remedy: (!holds).then(|| {
                    format!(
                        "one that is there has the id {}: plug in another, or change the trigger's id",
                        found.unwrap_or("(none)")
                    )
                }),
            });
            if !holds {
                return conditions;
            }
        }
        let ready = fitting
            .iter()
            .filter(|(_, entry)| entry.ready(trigger.wait).is_some())
            .count();
        let holds = ready > 0;
        let word = match trigger.wait {
            Wait::Usable => "usable",
            Wait::Appeared => "there",
        };
        conditions.push(Condition {
            holds,
            what: format!("{ready} of them {word}"),
            remedy: (!holds)
                .then(|| "udevd has not said that the node is ready: `udevadm settle`".to_owned()),
        });
        conditions
    }

    /// The condition of a trigger that no device starts a service by.
    fn condition_of(&self, action: Action, cause: &Cause) -> Condition {
        let verb = match action {
            Action::Start => "starts",
            Action::Stop => "stops",
        };
        let mut known = false;
        let mut holds = false;
        let mut by = None;
        for signal in cause.signals() {
            if let Signal::Side(level, side) = signal {
                known |= self.level(&level).is_some();
                holds |= self.level(&level) == Some(side);
                by = by.or(self.level_by(&level).filter(|by| !by.is_empty()));
            }
        }
        let is_level = matches!(
            cause,
            Cause::Network { .. } | Cause::Domain { .. } | Cause::Port { .. }
        );
        let state = match (is_level, known, holds) {
            (false, ..) => String::new(),
            (true, false, _) => ": not known yet".to_owned(),
            (true, true, true) => by.map_or(": so it is".to_owned(), |by| format!(": {by}")),
            (true, true, false) => ": not so".to_owned(),
        };
        Condition {
            holds: holds && action == Action::Start,
            what: format!("{verb} when {cause}{state}"),
            remedy: None,
        }
    }

    fn conditions_of_service(&self, instance: &Instance) -> Vec<Condition> {
        let name = &instance.definition.name;
        let mut conditions = vec![Condition {
            holds: instance.enabled,
            what: if instance.enabled {
                "enabled".to_owned()
            } else {
                "disabled".to_owned()
            },
            remedy: (!instance.enabled).then(|| format!("arrival enable {name}")),
        }];
        if instance.known == Known::Gone {
            conditions.push(Condition {
                holds: false,
                what: "its definition is gone".to_owned(),
                remedy: Some("put the definition back".to_owned()),
            });
        }
        if let Some(held) = instance
            .held_back()
            .filter(|held| *held != HeldBack::Disabled)
        {
            let why = match (held, &instance.life.last_error) {
                (HeldBack::GivenUp, Some(error)) => format!("given up: {error}"),
                (HeldBack::Finished, _) => {
                    "finished: it ended itself without error while its interface was there"
                        .to_owned()
                }
                (
                    HeldBack::Disabled
                    | HeldBack::StoppedByOperator
                    | HeldBack::StoppedByTrigger
                    | HeldBack::GivenUp
                    | HeldBack::Flapping,
                    _,
                ) => held.to_string(),
            };
            conditions.push(Condition {
                holds: false,
                what: why,
                remedy: Some(format!("arrival start {name}, or the next arrival")),
            });
        }
        conditions
    }

    fn answer_for(
        &self,
        instance: &Instance,
        conditions: &[Condition],
        triggers: &[Vec<Condition>],
    ) -> String {
        let name = &instance.definition.name;
        let state = instance.life.state;
        if let Some(run) = &instance.life.run {
            let because = match run.reason {
                StartReason::Demand => "it was started by hand",
                StartReason::Auto => "it starts with the manager",
                StartReason::Trigger => "a trigger started it",
                StartReason::Restart => "it was started again",
            };
            let given = run.given.as_ref().map_or(String::new(), |given| {
                format!(" for {}", given.owner.name())
            });
            return format!("{name} is {state}: {because}{given}");
        }
        let first_failing = conditions
            .iter()
            .find(|condition| !condition.holds)
            .map(|c| c.what.clone());
        if let Some(what) = first_failing {
            return format!("{name} is {state}: {what}");
        }
        if instance.life.retry_at.is_some() {
            let error = instance
                .life
                .last_error
                .as_deref()
                .unwrap_or("its last run failed");
            return format!("{name} is {state} and will be started again: {error}");
        }
        if triggers.is_empty() {
            return format!(
                "{name} is {state}: it has no trigger, only `arrival start {name}` starts it"
            );
        }
        let failing = triggers
            .iter()
            .filter_map(|conditions| conditions.iter().find(|condition| !condition.holds))
            .map(|condition| condition.what.as_str())
            .next();
        match failing {
            Some(what) => format!("{name} is {state}: {what}"),
            None => format!("{name} is {state} and about to be started"),
        }
    }
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}"),
        1 => format!("1 {noun}"),
        more => format!("{more} {noun}s"),
    }
}
