//! The canonical form: equal situations are equal states.
//!
//! Exploring every order of events terminates only if a situation that is reached again is
//! recognised. [`Engine::canonical`] removes what tells two engines apart that will behave alike.
//!
//! ```text
//! what                              becomes                   sound because the engine ...
//! ---------------------------------+-------------------------+----------------------------------
//! deadlines, retry, linger, hold    time left, at least 0     compares them with now only
//! times of failures and of starts   time until they no longer compares their age with one window;
//!   by triggers                     count; older ones dropped   older ones are never counted
//! ids of runs, hosts, interfaces,   rank among those in use   compares them for equality and for
//!   questions                         (order of first use)      order; next_id follows the last
//! ids of sessions, tickets          rank among those in use   the same; they come from outside
//! cursors: n, appeared, usable,     rank among those in use   compares them for order only, and
//!   started, told, horizon, queued                              the next one is always the largest
//! incarnations                      rank among those in use   compares them for equality and
//!                                     at their device path      order
//! epoch                             0                         one per engine, once restored
//! places of instances               order of names            goes through instances by name, or
//!                                                               per interface in an order that
//!                                                               instances do not notice
//! pids, start times                 0                         only shows them
//! starts, failures, counters,       cleared                   only shows them
//!   since, times of notices
//! last exit, last error             cleared                   only shows them
//! ```
//!
//! Whoever stores an id, a cursor or an incarnation outside of the engine renumbers it there too:
//! the forms of two engines can be equal only together with what surrounds them. A definition that
//! later changes to a longer window would see failures that the form has dropped.
//!
//! [`Engine::remembered`] is the other comparison: what a restart of the manager may not lose.
//!
//! Both are meant for tests; all effects must have been taken before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrival_model::interface::{Incarnation, Interface, InterfaceKey, Owner};
use arrival_model::time::Time;

use crate::api::{AskId, HostId, Notice, NoticeKind, RunId, SessionId, StateChange, Ticket};
use crate::index::Slot;
use crate::instance::{Instance, Known, Run};
use crate::interfaces::{Interfaces, Number};
use crate::timers::{Timer, Timers};
use crate::{Counters, Engine};

/// The ranks of everything that is renumbered; filled by one walk, applied by a second.
#[derive(Default)]
struct Ranks {
    applying: bool,
    ids: BTreeMap<u64, u64>,
    cursors: BTreeMap<u64, u64>,
    sessions: BTreeMap<u64, u64>,
    tickets: BTreeMap<u64, u64>,
    incarnations: BTreeMap<(String, Incarnation), u64>,
}

fn rank(applying: bool, ranks: &mut BTreeMap<u64, u64>, value: &mut u64) {
    if applying {
        *value = ranks.get(value).copied().unwrap_or_default();
    } else {
        ranks.insert(*value, 0);
    }
}

impl Ranks {
    fn number(&mut self) {
        let all = [
            &mut self.ids,
            &mut self.cursors,
            &mut self.sessions,
            &mut self.tickets,
        ];
        for ranks in all {
            for (rank, value) in (1..).zip(ranks.values_mut()) {
                *value = rank;
            }
        }
        let mut last = (String::new(), 0);
        for ((path, _), value) in &mut self.incarnations {
            if last.0 != *path {
                last = (path.clone(), 0);
            }
            last.1 += 1;
            *value = last.1;
        }
        self.applying = true;
    }

    fn id(&mut self, id: &mut u64) {
        rank(self.applying, &mut self.ids, id);
    }

    fn cursor(&mut self, n: &mut u64) {
        rank(self.applying, &mut self.cursors, n);
    }

    fn session(&mut self, session: &mut SessionId) {
        rank(self.applying, &mut self.sessions, &mut session.0);
    }

    fn ticket(&mut self, ticket: &mut Ticket) {
        rank(self.applying, &mut self.tickets, &mut ticket.0);
    }

    fn key(&mut self, key: &mut InterfaceKey) {
        let Owner::Device {
            devpath,
            incarnation,
        } = &mut key.owner
        else {
            return;
        };
        let place = (devpath.clone(), *incarnation);
        if self.applying {
            *incarnation = Incarnation {
                inode: self.incarnations.get(&place).copied().unwrap_or_default(),
                ..Incarnation::default()
            };
        } else {
            self.incarnations.insert(place, 0);
        }
    }

    fn interface(&mut self, interface: &mut Arc<Interface>) {
        let mut key = interface.key.clone();
        self.key(&mut key);
        if key != interface.key {
            Arc::make_mut(interface).key = key;
        }
    }

    fn change(&mut self, change: &mut StateChange) {
        if let Some(run) = &mut change.run {
            self.id(&mut run.0);
        }
        change.pid = None;
        change.exit = None;
    }

    fn notice(&mut self, notice: &mut Notice) {
        notice.time = Time(0);
        notice.cursor.epoch = 0;
        self.cursor(&mut notice.cursor.n);
        if let Some(previous) = &mut notice.previous {
            previous.epoch = 0;
            self.cursor(&mut previous.n);
        }
        match &mut notice.kind {
            NoticeKind::Interface(interface)
            | NoticeKind::Arrival(interface)
            | NoticeKind::Removal(interface) => self.interface(interface),
            NoticeKind::Service(change) | NoticeKind::State(change) => self.change(change),
            NoticeKind::SnapshotComplete
            | NoticeKind::SubscriberOverrun { .. }
            | NoticeKind::SourceOverrun(_)
            | NoticeKind::Resync(_) => {}
        }
    }

    fn run(&mut self, run: &mut Run) {
        self.id(&mut run.id.0);
        self.id(&mut run.host.0);
        self.cursor(&mut run.started);
        let later = [
            &mut run.told,
            &mut run.horizon,
            &mut run.ended_at,
            &mut run.last_edge,
        ];
        for n in later.into_iter().flatten() {
            self.cursor(n);
        }
        if let Some(given) = &mut run.given {
            self.key(given);
        }
        if let Some(session) = &mut run.session {
            self.session(session);
        }
        for waiter in &mut run.waiters {
            self.session(&mut waiter.session);
            self.ticket(&mut waiter.ticket);
        }
    }
}

/// A map with its keys renumbered.
fn rekeyed<K: Ord, V>(
    map: &mut BTreeMap<K, V>,
    mut each: impl FnMut(&mut K, &mut V),
) -> BTreeMap<K, V> {
    let old = std::mem::take(map).into_iter();
    old.map(|(mut key, mut value)| {
        each(&mut key, &mut value);
        (key, value)
    })
    .collect()
}

/// How long until a past time is older than a window; none if it already is.
fn until_forgotten(at: Time, now: Time, window: Duration) -> Option<Time> {
    let left = window.checked_sub(now.since(at))?;
    (!left.is_zero()).then(|| Time(0).after(left))
}

impl Engine {
    /// This engine without what tells it apart from engines in an equal situation.
    #[doc(hidden)]
    #[must_use]
    pub fn canonical(&self, now: Time) -> Engine {
        let mut engine = self.clone();
        engine.sort_slots();
        engine.clear_shown();
        engine.make_relative(now);
        let mut ranks = Ranks::default();
        ranks.cursors.insert(engine.n, 0);
        engine.walk(&mut ranks);
        ranks.number();
        engine.walk(&mut ranks);
        engine.n = ranks.cursors.get(&engine.n).copied().unwrap_or_default();
        engine.next_id = ranks.ids.len() as u64 + 1;
        engine.epoch = 0;
        engine.settings.epoch = 0;
        engine
    }

    /// What a restart of the manager may not lose; sessions and what hangs on them is left out.
    #[doc(hidden)]
    #[must_use]
    pub fn remembered(&self) -> Engine {
        let mut engine = self.clone();
        engine.sort_slots();
        engine.settings.epoch = 0;
        engine.sessions.clear();
        let asks: Vec<AskId> = engine.asks.keys().copied().collect();
        for ask in asks {
            if let Some(mut question) = engine.asks.remove(&ask) {
                let timer = Timer::Ask(ask);
                engine.timers.set(timer, &mut question.deadline, None);
            }
        }
        engine.saving.clear();
        engine.loaded = false;
        engine.synced = false;
        engine.overrun = None;
        engine.shutdown = None;
        engine.dirty.clear();
        engine.counters = Counters::default();
        // Which id comes next does not matter, as long as nothing has it.
        let (hosts, entries) = (&self.hosts, &self.interfaces.entries);
        let used = hosts.iter().map(|(id, host)| id.0.max(host.run.0));
        let levels = self.levels.values();
        let levels = levels.map(|level| level.id.0.max(level.number.0));
        let used = used.chain(entries.keys().map(|number| number.0));
        let used = used.chain(levels).max();
        engine.next_id = u64::from(used >= Some(self.next_id));
        for host in engine.hosts.values_mut() {
            host.terminate_when_started = false;
            host.adopted = false;
        }
        for instance in engine.instances.iter_mut() {
            instance.known = Known::Remembered;
            if let Some(run) = &mut instance.life.run {
                run.session = None;
                run.waiters.clear();
            }
        }
        engine
    }

    /// Puts instances into the order of their names.
    fn sort_slots(&mut self) {
        let places: BTreeMap<Slot, Slot> = self
            .names
            .values()
            .zip(0..)
            .map(|(old, new)| (*old, Slot(new)))
            .collect();
        let place = |slot: &mut Slot| {
            if let Some(new) = places.get(slot) {
                *slot = *new;
            }
        };
        let instances: BTreeMap<Slot, Instance> = places
            .iter()
            .filter_map(|(old, new)| Some((*new, self.instance(*old)?.clone())))
            .collect();
        self.instances = instances.into_values().collect();
        self.names.values_mut().for_each(place);
        for entry in self.interfaces.entries.values_mut() {
            entry.wanted_by.iter_mut().for_each(place);
            entry.wanted_by.sort_unstable();
        }
        for host in self.hosts.values_mut() {
            host.slot.iter_mut().for_each(place);
        }
        for question in self.asks.values_mut() {
            place(&mut question.slot);
        }
        self.timers = Timers::from_iter(self.timers.iter().map(|(time, mut timer)| {
            match &mut timer {
                Timer::Deadline(slot)
                | Timer::Linger(slot)
                | Timer::Retry(slot)
                | Timer::Hold(slot) => place(slot),
                Timer::Ask(_) | Timer::Gone(_) => {}
            }
            (time, timer)
        }));
    }

    /// Clears what is only shown.
    fn clear_shown(&mut self) {
        self.counters = Counters::default();
        for host in self.hosts.values_mut() {
            host.main = host.main.map(|_| (0, 0));
        }
        for instance in self.instances.iter_mut() {
            let life = &mut instance.life;
            life.starts = 0;
            life.failures = 0;
            life.since = Time(0);
            life.last_exit = None;
            life.last_error = None;
        }
    }

    /// Makes every time relative to now.
    fn make_relative(&mut self, now: Time) {
        let left = |at: &mut Time| *at = Time(at.0.saturating_sub(now.0));
        self.timers = Timers::from_iter(self.timers.iter().map(|(mut time, timer)| {
            left(&mut time);
            (time, timer)
        }));
        for question in self.asks.values_mut() {
            question.deadline.iter_mut().for_each(left);
        }
        for level in self.levels.values_mut() {
            level.gone_at.iter_mut().for_each(left);
        }
        for instance in self.instances.iter_mut() {
            let (failing, damping) = (
                instance.definition.failure.within,
                instance.definition.damping.as_ref().map(|d| d.within),
            );
            let life = &mut instance.life;
            life.failed_at = (life.failed_at.iter())
                .filter_map(|at| until_forgotten(*at, now, failing))
                .collect();
            life.triggered_at = (life.triggered_at.iter())
                .filter_map(|at| until_forgotten(*at, now, damping?))
                .collect();
            life.retry_at.iter_mut().for_each(left);
            life.hold_until.iter_mut().for_each(left);
            if let Some(run) = &mut life.run {
                run.deadline.iter_mut().for_each(left);
                run.linger_at.iter_mut().for_each(left);
            }
        }
    }

    /// Goes through everything that has a number.
    fn walk(&mut self, ranks: &mut Ranks) {
        let Interfaces { numbers, entries } = &mut self.interfaces;
        *numbers = rekeyed(numbers, |key, Number(id)| {
            ranks.key(key);
            ranks.id(id);
        });
        *entries = rekeyed(entries, |Number(id), entry| {
            ranks.id(id);
            ranks.interface(&mut entry.interface);
            ranks.cursor(&mut entry.appeared);
            if let Some(usable) = &mut entry.usable {
                ranks.cursor(usable);
            }
        });
        for level in self.levels.values_mut() {
            ranks.id(&mut level.id.0);
            ranks.id(&mut level.number.0);
            ranks.cursor(&mut level.cursor);
        }
        for instance in self.instances.iter_mut() {
            instance.present = rekeyed(&mut instance.present, |Number(id), cursor| {
                ranks.id(id);
                ranks.cursor(cursor);
            });
            if let Some(run) = &mut instance.life.run {
                ranks.run(run);
            }
        }
        self.hosts = rekeyed(&mut self.hosts, |HostId(id), host| {
            ranks.id(id);
            let RunId(run) = &mut host.run;
            ranks.id(run);
        });
        self.sessions = rekeyed(&mut self.sessions, |id, session| {
            ranks.session(id);
            if let Some(HostId(host)) = &mut session.host {
                ranks.id(host);
            }
            if let Some(previous) = &mut session.previous {
                ranks.cursor(previous);
            }
            for notice in session.snapshot.iter_mut().chain(&mut session.queue) {
                ranks.notice(notice);
            }
        });
        self.asks = rekeyed(&mut self.asks, |AskId(id), question| {
            ranks.id(id);
            ranks.session(&mut question.session);
        });
        self.saving = rekeyed(&mut self.saving, |ticket, session| {
            ranks.ticket(ticket);
            ranks.session(session);
        });
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.stopped = 0;
            ranks.session(&mut shutdown.session);
            ranks.ticket(&mut shutdown.ticket);
        }
        self.timers = Timers::from_iter(self.timers.iter().map(|(time, mut timer)| {
            match &mut timer {
                Timer::Ask(AskId(id)) | Timer::Gone(Number(id)) => ranks.id(id),
                Timer::Deadline(_) | Timer::Linger(_) | Timer::Retry(_) | Timer::Hold(_) => {}
            }
            (time, timer)
        }));
    }
}
