#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The naive world: slots that a device can be plugged into, and how often each was filled.
#[derive(Clone, Debug, Default)]
struct World {
    epoch: u64,
    n: u64,
    /// Slot to the cursor of its arrival, and which device it is.
    present: BTreeMap<u8, (u64, u64)>,
    states: BTreeMap<u8, u64>,
    devices: u64,
}

impl World {
    fn interface(&self, slot: u8) -> Interface {
        let (n, _) = self.present[&slot];
        Interface {
            link: format!("link{slot}"),
            class: "{cac88484-7515-4c03-82e6-71a87abac361}".to_owned(),
            class_name: "net".to_owned(),
            node: None,
            node_links: Vec::new(),
            ce_name: None,
            name: format!("tap{slot}"),
            owner: format!("/devices/{slot}"),
            reference: String::new(),
            hardware_ids: Vec::new(),
            compatible_ids: Vec::new(),
            enabled_by: "kernel".to_owned(),
            usable: true,
            cursor: format!("{}-{n}", self.epoch),
        }
    }

    fn state(&self, service: u8) -> StateChange {
        StateChange {
            service: format!("s{service}"),
            state: "RUNNING".to_owned(),
            held_back: None,
            run: self.states.get(&service).copied(),
            pid: None,
            start_reason: None,
            exit: None,
        }
    }

    fn notice(&self, kind: NoticeKind) -> Notice {
        Notice::new(kind, format!("{}-{}", self.epoch, self.n), self.n)
    }

    fn step(&mut self, step: Step) -> Vec<Notice> {
        let mut notices = Vec::new();
        match step {
            Step::Plug(slot) if !self.present.contains_key(&slot) => {
                self.n += 1;
                self.devices += 1;
                self.present.insert(slot, (self.n, self.devices));
                let mut notice = self.notice(NoticeKind::Arrival);
                notice.interface = Some(self.interface(slot));
                notices.push(notice);
            }
            Step::Unplug(slot) if self.present.contains_key(&slot) => {
                let interface = self.interface(slot);
                self.n += 1;
                self.present.remove(&slot);
                let mut notice = self.notice(NoticeKind::Removal);
                notice.interface = Some(interface);
                notices.push(notice);
            }
            Step::Change(service) => {
                self.n += 1;
                self.states.insert(service, self.n);
                let mut notice = self.notice(NoticeKind::State);
                notice.state = Some(self.state(service));
                notices.push(notice);
            }
            Step::Plug(_) | Step::Unplug(_) | Step::Double | Step::Lose(_) | Step::Cut(_) => {}
        }
        notices
    }

    /// Every record says the same cursor for its interface: that of the snapshot, as a manager may.
    fn snapshot(&self) -> Vec<Notice> {
        let mut notices = Vec::new();
        for slot in self.present.keys() {
            let mut notice = self.notice(NoticeKind::Snapshot);
            notice.interface = Some(self.interface(*slot));
            notice.interface.as_mut().unwrap().cursor = notice.cursor.clone();
            notices.push(notice);
        }
        for service in self.states.keys() {
            let mut notice = self.notice(NoticeKind::Snapshot);
            notice.state = Some(self.state(*service));
            notices.push(notice);
        }
        let mut end = self.notice(NoticeKind::Snapshot);
        end.complete = Some(true);
        notices.push(end);
        notices
    }

    fn arrivals(&self) -> Arrivals {
        let arrival = |slot: &u8| {
            let interface = self.interface(*slot);
            (Key::of(&interface), interface.cursor.parse().unwrap())
        };
        self.present.keys().map(arrival).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Plug(u8),
    Unplug(u8),
    Change(u8),
    /// The last record comes twice.
    Double,
    /// From here, this many steps are lost, then the manager says so and sends a snapshot.
    Lose(u8),
    /// The connection ends, and after this many steps it is made anew.
    Cut(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..4).prop_map(Step::Plug),
        6 => (0u8..4).prop_map(Step::Unplug),
        3 => (0u8..2).prop_map(Step::Change),
        1 => Just(Step::Double),
        1 => (0u8..6).prop_map(Step::Lose),
        1 => (0u8..6).prop_map(Step::Cut),
    ]
}

/// One who believes every record, and checks that it can be believed.
#[derive(Debug, Default)]
struct Follower {
    /// Slot owner to the number of arrivals told so far.
    present: BTreeMap<String, Interface>,
    states: BTreeMap<String, StateChange>,
    arrivals: u64,
    resyncs: u64,
    ends: u64,
    last: Option<String>,
}

impl Follower {
    fn follow(&mut self, notice: Notice) {
        assert_eq!(notice.previous, self.last, "the chain is whole");
        self.last = Some(notice.cursor.clone());
        match notice.kind {
            NoticeKind::Snapshot => {
                assert_eq!(self.ends, 0, "only the first snapshot is told as one");
                if let Some(interface) = notice.interface {
                    let old = self.present.insert(interface.owner.clone(), interface);
                    assert_eq!(old, None);
                    self.arrivals += 1;
                }
                if let Some(state) = notice.state {
                    self.states.insert(state.service.clone(), state);
                }
                self.ends += u64::from(notice.complete == Some(true));
            }
            NoticeKind::Arrival => {
                let interface = notice.interface.unwrap();
                let old = self.present.insert(interface.owner.clone(), interface);
                assert_eq!(old, None, "it was there already");
                self.arrivals += 1;
            }
            NoticeKind::Removal => {
                let owner = notice.interface.unwrap().owner;
                assert!(self.present.remove(&owner).is_some(), "it was not there");
            }
            NoticeKind::State => {
                let state = notice.state.unwrap();
                let old = self.states.insert(state.service.clone(), state.clone());
                assert_ne!(old, Some(state), "nothing changed");
            }
            NoticeKind::Resync => self.resyncs += 1,
            NoticeKind::Overrun => {}
        }
    }
}

/// Everything between the world and the follower.
struct Wire {
    known: Known,
    follower: Follower,
    previous: Option<String>,
    last: Option<Notice>,
}

impl Wire {
    fn send(&mut self, world: &World, mut notice: Notice) {
        notice.previous = self.previous.replace(notice.cursor.clone());
        self.pass(world, notice);
    }

    fn pass(&mut self, world: &World, notice: Notice) {
        self.last = Some(notice.clone());
        let mut out = VecDeque::new();
        let arrivals = || world.arrivals();
        self.known.accept(notice, 7, arrivals, &mut out).unwrap();
        out.into_iter()
            .for_each(|notice| self.follower.follow(notice));
    }

    fn snapshot(&mut self, world: &World) {
        for notice in world.snapshot() {
            self.send(world, notice);
        }
    }
}

fn check(steps: &[Step]) {
    let mut world = World {
        epoch: 4,
        ..World::default()
    };
    let mut wire = Wire {
        known: Known::new(),
        follower: Follower::default(),
        previous: None,
        last: None,
    };
    wire.snapshot(&world);
    let mut resyncs = 0;
    let mut arrivals = 0;
    let mut steps = steps.iter();
    while let Some(step) = steps.next() {
        let before = world.present.clone();
        match step {
            Step::Double => {
                // A manager that says a record twice names the same predecessor for both; a hole
                // is another case.
                if let Some(mut notice) = wire.last.clone()
                    && notice.kind != NoticeKind::Snapshot
                    && notice.kind != NoticeKind::Overrun
                {
                    notice.previous = None;
                    wire.pass(&world, notice);
                }
            }
            Step::Lose(missed) => {
                for step in steps.by_ref().take(usize::from(*missed)) {
                    world.step(*step);
                }
                let mut overrun = world.notice(NoticeKind::Overrun);
                overrun.lost = Some(u64::from(*missed));
                overrun.previous = wire.previous.clone();
                wire.pass(&world, overrun);
                wire.snapshot(&world);
                resyncs += 1;
            }
            Step::Cut(missed) => {
                for step in steps.by_ref().take(usize::from(*missed)) {
                    world.step(*step);
                }
                wire.known.reconnected();
                wire.previous = None;
                wire.snapshot(&world);
                resyncs += 1;
            }
            Step::Plug(_) | Step::Unplug(_) | Step::Change(_) => {
                for notice in world.step(*step) {
                    wire.send(&world, notice);
                }
            }
        }
        // The follower knows exactly what is there, and which arrival of it this is.
        let device = |present: &BTreeMap<u8, (u64, u64)>, slot: &u8| present.get(slot).map(|d| d.1);
        arrivals += (world.present.keys())
            .filter(|slot| device(&before, slot) != device(&world.present, slot))
            .count() as u64;
        assert_eq!(wire.follower.arrivals, arrivals);
        let there: Vec<String> = wire.follower.present.keys().cloned().collect();
        let expected: Vec<String> = world
            .present
            .keys()
            .map(|slot| format!("/devices/{slot}"))
            .collect();
        assert_eq!(there, expected);
        let states: Vec<u64> = wire
            .follower
            .states
            .values()
            .filter_map(|s| s.run)
            .collect();
        let expected: Vec<u64> = world.states.values().copied().collect();
        assert_eq!(states, expected);
        assert_eq!(wire.follower.resyncs, resyncs);
        assert_eq!(wire.follower.ends, 1);
    }
}

/// How many arrivals a follower is told of when these steps are lost in a cut.
fn arrivals_over_a_cut(lost: &[Step]) -> u64 {
    let mut world = World {
        epoch: 4,
        ..World::default()
    };
    let mut wire = Wire {
        known: Known::new(),
        follower: Follower::default(),
        previous: None,
        last: None,
    };
    wire.snapshot(&world);
    for notice in world.step(Step::Plug(1)) {
        wire.send(&world, notice);
    }
    for step in lost {
        world.step(*step);
    }
    wire.known.reconnected();
    wire.previous = None;
    wire.snapshot(&world);
    wire.follower.arrivals
}

proptest! {
    #[test]
    fn a_follower_always_knows_what_is_there(steps in proptest::collection::vec(step(), 0..60)) {
        check(&steps);
    }
}

#[test]
fn a_device_that_was_replaced_while_nobody_looked_is_told_as_another() {
    assert_eq!(arrivals_over_a_cut(&[Step::Unplug(1), Step::Plug(1)]), 2);
    assert_eq!(
        arrivals_over_a_cut(&[Step::Unplug(1), Step::Plug(1), Step::Plug(2)]),
        3
    );
}

#[test]
fn a_device_that_stayed_while_nobody_looked_is_not_told_again() {
    assert_eq!(arrivals_over_a_cut(&[]), 1);
    assert_eq!(arrivals_over_a_cut(&[Step::Change(0), Step::Change(1)]), 1);
    assert_eq!(arrivals_over_a_cut(&[Step::Plug(2), Step::Unplug(2)]), 1);
}

#[test]
fn in_a_new_epoch_only_what_looks_different_is_another() {
    let mut world = World {
        epoch: 4,
        ..World::default()
    };
    world.step(Step::Plug(1));
    world.step(Step::Plug(2));
    let mut known = Known::new();
    let mut out = VecDeque::new();
    for notice in world.snapshot() {
        known.accept(notice, 7, Arrivals::new, &mut out).unwrap();
    }
    out.clear();
    world.epoch = 5;
    world.n = 90;
    for entry in world.present.values_mut() {
        entry.0 = 80;
    }
    known.reconnected();
    for mut notice in world.snapshot() {
        if let Some(interface) = &mut notice.interface
            && interface.name == "tap2"
        {
            interface.link = "other".to_owned();
        }
        let arrivals = || world.arrivals();
        known.accept(notice, 7, arrivals, &mut out).unwrap();
    }
    let told: Vec<(NoticeKind, String)> = out
        .into_iter()
        .map(|notice| {
            (
                notice.kind,
                notice.interface.map_or(String::new(), |i| i.link),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (NoticeKind::Resync, String::new()),
            (NoticeKind::Removal, "link2".to_owned()),
            (NoticeKind::Arrival, "other".to_owned()),
        ]
    );
}

#[test]
fn a_record_that_names_another_predecessor_shows_a_hole() {
    let mut world = World {
        epoch: 4,
        ..World::default()
    };
    let mut known = Known::new();
    let mut out = VecDeque::new();
    for notice in world.snapshot() {
        known.accept(notice, 7, Arrivals::new, &mut out).unwrap();
    }
    let mut notice = world.step(Step::Plug(1)).remove(0);
    notice.previous = Some("4-3".to_owned());
    let before = out.len();
    let result = known.accept(notice, 7, Arrivals::new, &mut out);
    assert_eq!(result, Err(Broken::Hole));
    assert_eq!(out.len(), before);
}

#[test]
fn a_service_that_is_no_longer_defined_is_told_as_stopped() {
    let mut world = World {
        epoch: 4,
        ..World::default()
    };
    world.step(Step::Change(0));
    let mut known = Known::new();
    let mut out = VecDeque::new();
    for notice in world.snapshot() {
        known.accept(notice, 7, Arrivals::new, &mut out).unwrap();
    }
    out.clear();
    world.states.clear();
    known.reconnected();
    for notice in world.snapshot() {
        known.accept(notice, 7, Arrivals::new, &mut out).unwrap();
    }
    let state = out.pop_back().unwrap().state.unwrap();
    assert_eq!(
        (state.service.as_str(), state.state.as_str()),
        ("s0", "STOPPED")
    );
}

#[test]
fn a_snapshot_without_an_end_is_refused() {
    let world = World::default();
    let mut known = Known::new();
    let mut out = VecDeque::new();
    let mut refused = None;
    for _ in 0..3 * SNAPSHOT_LIMIT {
        let notice = world.notice(NoticeKind::Snapshot);
        if let Err(broken) = known.accept(notice, 7, Arrivals::new, &mut out) {
            refused = Some(broken);
            break;
        }
    }
    assert_eq!(refused, Some(Broken::TooLarge));
    assert!(out.is_empty());
}
