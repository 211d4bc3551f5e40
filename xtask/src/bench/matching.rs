//! `bench match`: from an arrival to the decision to start, with few and with many triggers.
//!
//! One service each waits for one id of the NIC class. Every round lets one device arrive in each
//! engine: the time from `handle_event` to the `Spawn` effect is the sample. Then the device goes
//! and the run ends, so that the next round finds the engine as before.
//!
//! Each device arrives twice and the second time counts, so that what an engine touches is in the
//! caches whatever its size, and the rows compare the work. In the last row only the first time
//! counts, of a service whose turn was long ago, so that it pays for memory too.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrival_engine::Engine;
use arrival_engine::api::{Effect, Event, Settings, Spawn};
use arrival_model::access::AccessPolicy;
use arrival_model::definition::Definition;
use arrival_model::exit::Exit;
use arrival_model::guid::Guid;
use arrival_model::interface::{EnabledBy, Incarnation, Interface, InterfaceKey, Owner};
use arrival_model::time::Time;
use arrival_model::trigger::{DeviceTrigger, FoldedId, Trigger, Wait};

use super::measure::{Sample, in_turns};
use super::{Options, Row};
use crate::Outcome;

const SIZES: [usize; 3] = [10, 1_000, 100_000];
/// How far on the next service lies: a prime, so that all have their turn.
const STRIDE: usize = 7919;
const WARM_UP: usize = 200;
const ROUNDS: usize = 20_000;

pub(super) fn run(options: Options) -> Outcome<Vec<Row>> {
    let mut subjects = Vec::new();
    for size in SIZES {
        let what = format!("{size} triggers");
        subjects.push((what, Subject::new(size, true)?));
    }
    let what = format!("{} triggers, not in the caches", SIZES[2]);
    subjects.push((what, Subject::new(SIZES[2], false)?));
    let sample = |(_, subject): &mut (String, Subject)| subject.sample();
    let mut things: Vec<Sample<'_>> = Vec::new();
    for subject in &mut subjects {
        things.push(Box::new(move || sample(subject)));
    }
    let series = in_turns(&mut things, WARM_UP, options.samples(ROUNDS))?;
    drop(things);
    let floor = series.first();
    let rows = subjects.into_iter().zip(&series);
    Ok(rows
        .map(|((what, _), series)| Row::times(what, series, floor))
        .collect())
}

/// An engine, and how many services it has.
struct Subject {
    engine: Engine,
    size: usize,
    /// Whose turn it is, and how far on the next one lies.
    next: usize,
    stride: usize,
    /// Whether what an arrival touches is touched before it.
    warm: bool,
    now: u64,
    inode: u64,
}

fn class() -> Outcome<Guid> {
    Ok("{cac88484-7515-4c03-82e6-71a87abac361}".parse()?)
}

fn id(number: usize) -> String {
    format!("USB\\VID_{:04X}&PID_{:04X}", number >> 16, number & 0xffff)
}

impl Subject {
    fn new(size: usize, warm: bool) -> Outcome<Subject> {
        let settings = Settings {
            epoch: 1,
            queue_limit: 64,
            port_closed_after: Duration::from_secs(60),
            access: AccessPolicy::default(),
        };
        let mut engine = Engine::new(settings);
        for number in 0..size {
            let exec = vec!["/bin/true".to_owned()];
            let mut definition = Definition::new(format!("service{number}").parse()?, exec);
            definition.triggers.push(Trigger::device(DeviceTrigger {
                class: class()?,
                ids: vec![FoldedId::new(&id(number))],
                ancestors: false,
                wait: Wait::Usable,
            }));
            let definition = Arc::new(definition);
            let enabled = true;
            let event = Event::Defined {
                definition,
                enabled,
            };
            engine.handle_event(Time(1), event);
        }
        engine.handle_event(Time(1), Event::Loaded);
        engine.handle_event(Time(1), Event::Snapshot(Vec::new()));
        while engine.poll_effect().is_some() {}
        Ok(Subject {
            engine,
            size,
            next: 0,
            stride: STRIDE % size,
            warm,
            now: 1,
            inode: 1,
        })
    }

    fn event(&mut self, event: Event) {
        self.now += 1_000_000_000;
        self.engine.handle_event(Time(self.now), event);
    }

    /// Effects up to the decision to start something.
    fn decision(&mut self) -> Option<Spawn> {
        while let Some(effect) = self.engine.poll_effect() {
            if let Effect::Spawn(spawn) = effect {
                return Some(spawn);
            }
        }
        None
    }

    fn sample(&mut self) -> Outcome<Duration> {
        let number = self.next;
        self.next = (self.next + self.stride) % self.size;
        if self.warm {
            self.arrival(number)?;
        }
        self.arrival(number)
    }

    /// An arrival, which is timed, and the way back.
    fn arrival(&mut self, number: usize) -> Outcome<Duration> {
        self.inode += 1;
        let interface = Arc::new(interface(number, self.inode)?);
        let key = interface.key.clone();
        let begun = Instant::now();
        self.event(Event::Present(interface));
        let spawn = black_box(self.decision());
        let time = begun.elapsed();
        let host = spawn.ok_or("an arrival did not start its service")?.host;
        self.event(Event::HostStarted {
            host,
            pid: 1000,
            start_time: 1,
        });
        self.event(Event::Gone(key));
        let exit = Exit::Code(0);
        self.event(Event::MainExited { host, exit });
        self.event(Event::HostEmpty { host });
        if self.decision().is_some() {
            return Err("a removal started a service".into());
        }
        Ok(time)
    }
}

fn interface(number: usize, inode: u64) -> Outcome<Interface> {
    let id = id(number);
    Ok(Interface {
        key: InterfaceKey {
            class: class()?,
            owner: Owner::Device {
                devpath: format!("/devices/virtual/net/n{number}"),
                incarnation: Incarnation {
                    inode,
                    ..Incarnation::default()
                },
            },
            reference: String::new(),
        },
        link: format!(
            "\\\\?\\{}#{}",
            id.replace('\\', "#"),
            arrival_model::class::NAMESPACE
        ),
        class_name: "net".to_owned(),
        node: None,
        name: format!("n{number}"),
        hardware_ids: vec![format!("{id}&REV_0100"), id],
        compatible_ids: vec!["USB\\Class_02&SubClass_06".to_owned()],
        ancestor_ids: Vec::new(),
        enabled_by: EnabledBy::Kernel,
        node_links: Vec::new(),
        ce_name: None,
        usable: true,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_round_starts_exactly_one_service_and_leaves_none() {
        let mut subject = Subject::new(3, true).unwrap();
        for _ in 0..9 {
            subject.sample().unwrap();
        }
    }
}
