//! Subscriptions: a snapshot, then every change, each naming its predecessor.
//!
//! ```text
//! subscribe            the next notices taken are the snapshot: one per interface and service,
//!                      all with the same cursor, then "complete"
//! change               queued, if the filter lets it through and fewer than the limit wait
//! queue full           the queue is dropped and counted; the next notice taken says how many were
//!                      lost, then a snapshot follows
//! notice taken         its cursor counts as told: for a service's session it moves the horizon
//! ```
//!
//! A session that does not read costs its own stream and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use arrival_model::access::Peer;
use arrival_model::cursor::Cursor;
use arrival_model::interface::Interface;
use arrival_model::time::Time;
use arrival_model::trigger::Wait;

use crate::api::{Effect, Filter, HostId, Notice, NoticeKind, SessionId, StateChange};
use crate::index::{FoldedIds, Slot};
use crate::interfaces::{Entry, Number};
use crate::{Dirty, Engine};

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Session {
    pub(crate) peer: Peer,
    pub(crate) host: Option<HostId>,
    filter: Option<Filter>,
    snapshot_wanted: bool,
    pub(crate) snapshot: VecDeque<Notice>,
    pub(crate) queue: VecDeque<Notice>,
    lost: u64,
    /// The cursor of the last notice taken.
    pub(crate) previous: Option<u64>,
    /// Whether it was said that there is something to take.
    announced: bool,
}

impl Session {
    pub(crate) fn new(peer: Peer, host: Option<HostId>) -> Self {
        Session {
            peer,
            host,
            filter: None,
            snapshot_wanted: false,
            snapshot: VecDeque::new(),
            queue: VecDeque::new(),
            lost: 0,
            previous: None,
            announced: false,
        }
    }

    pub(crate) fn subscribe(&mut self, filter: Filter) {
        self.filter = Some(filter);
        self.snapshot_wanted = true;
        self.snapshot.clear();
        self.queue.clear();
        self.lost = 0;
        self.announced = true;
    }
}

impl Filter {
    fn wants(&self, interface: &Interface, ids: &FoldedIds) -> bool {
        self.interfaces
            && (self.classes.is_empty() || self.classes.contains(&interface.key.class))
            && (self.ids.is_empty() || ids.any_of(&self.ids, false))
    }
}

impl Engine {
    /// The next notice for a session, which counts as told when it has been taken.
    ///
    /// Call it when the session's connection can take one more, after [`Effect::Readable`] and
    /// until it returns none.
    pub fn take_notice(&mut self, now: Time, session: SessionId) -> Option<Notice> {
        let n = self.n;
        let entry = self.sessions.get_mut(&session)?;
        let filter = entry.filter.clone()?;
        let epoch = self.epoch;
        if entry.lost > 0 {
            let lost = std::mem::take(&mut entry.lost);
            entry.snapshot_wanted = true;
            entry.snapshot.clear();
            let kind = NoticeKind::SubscriberOverrun { lost };
            let previous = entry.previous.replace(n).map(|n| Cursor { epoch, n });
            return Some(Notice {
                cursor: Cursor { epoch, n },
                previous,
                time: now,
                kind,
            });
        }
        if std::mem::take(&mut entry.snapshot_wanted) {
            let snapshot = self.snapshot_for(now, &filter);
            let entry = self.sessions.get_mut(&session)?;
            entry.queue.clear();
            entry.snapshot = snapshot;
        }
        let entry = self.sessions.get_mut(&session)?;
        let Some(mut notice) = entry
            .snapshot
            .pop_front()
            .or_else(|| entry.queue.pop_front())
        else {
            entry.announced = false;
            return None;
        };
        let of_snapshot = matches!(
            notice.kind,
            NoticeKind::Interface(_) | NoticeKind::Service(_)
        );
        notice.previous = entry.previous.map(|n| Cursor { epoch, n });
        entry.previous = Some(notice.cursor.n);
        if let Some(host) = entry.host.filter(|_| !of_snapshot) {
            self.told(host, notice.cursor.n);
            self.flush();
        }
        Some(notice)
    }

    /// A service's session took a notice.
    fn told(&mut self, host: HostId, n: u64) {
        let Some(slot) = self.hosts.get(&host).and_then(|host| host.slot) else {
            return;
        };
        let Some(instance) = self.instance_mut(slot) else {
            return;
        };
        if let Some(run) = instance.life.run.as_mut().filter(|run| run.stop.is_none()) {
            run.told = run.told.max(Some(n));
            self.dirty.insert(Dirty::Life(slot));
        }
    }

    fn snapshot_for(&self, now: Time, filter: &Filter) -> VecDeque<Notice> {
        let cursor = self.cursor();
        let notice = |kind| Notice {
            cursor,
            previous: None,
            time: now,
            kind,
        };
        let interfaces = self.interfaces.iter().filter(|(_, entry)| {
            entry.ready(filter.wait).is_some()
                && filter.wants(&entry.interface, &FoldedIds::of(&entry.interface))
        });
        let mut notices: VecDeque<Notice> = interfaces
            .map(|(_, entry)| notice(NoticeKind::Interface(entry.interface.clone())))
            .collect();
        if filter.states {
            let services = self
                .names
                .values()
                .filter_map(|slot| self.state_change(*slot));
            notices.extend(services.map(|change| notice(NoticeKind::Service(change))));
        }
        notices.push_back(notice(NoticeKind::SnapshotComplete));
        notices
    }

    /// Queues a notice for every session whose filter lets it through.
    fn publish(&mut self, now: Time, wanted: impl Fn(&Filter) -> Option<NoticeKind>) {
        let cursor = self.cursor();
        let limit = self.settings.queue_limit;
        for (id, session) in &mut self.sessions {
            let Some(filter) = &session.filter else {
                continue;
            };
            let Some(kind) = wanted(filter) else { continue };
            if session.snapshot_wanted {
                // The snapshot, which is made when it is taken, will show this change.
                continue;
            }
            if session.lost > 0 {
                session.lost += 1;
            } else if session.queue.len() >= limit {
                session.lost = session.queue.len() as u64 + 1;
                session.queue.clear();
                self.counters.subscriber_overruns += 1;
            } else {
                session.queue.push_back(Notice {
                    cursor,
                    previous: None,
                    time: now,
                    kind,
                });
            }
            if !std::mem::replace(&mut session.announced, true) {
                self.pending.push_back(Effect::Readable(*id));
            }
        }
    }

    pub(crate) fn tell_arrival(&mut self, now: Time, number: Number) {
        let Some(entry) = self.interfaces.get(number) else {
            return;
        };
        let interface = entry.interface.clone();
        let ids = FoldedIds::of(&interface);
        let usable = entry.usable.is_some();
        self.publish(now, |filter| {
            let its_moment = filter.wait == Wait::Appeared || usable;
            (its_moment && filter.wants(&interface, &ids))
                .then(|| NoticeKind::Arrival(Arc::clone(&interface)))
        });
    }

    /// Tells of an interface that has become usable or has other ids: it arrives for those whose
    /// filter lets it through only now, and is removed for those whose filter did before.
    pub(crate) fn tell_change(
        &mut self,
        now: Time,
        number: Number,
        old: &Arc<Interface>,
        was_usable: bool,
    ) {
        let Some(entry) = self.interfaces.get(number) else {
            return;
        };
        let new = entry.interface.clone();
        let (old_ids, new_ids) = (FoldedIds::of(old), FoldedIds::of(&new));
        let usable = entry.usable.is_some();
        self.publish(now, |filter| {
            let moment = |usable: bool| filter.wait == Wait::Appeared || usable;
            let before = moment(was_usable) && filter.wants(old, &old_ids);
            let after = moment(usable) && filter.wants(&new, &new_ids);
            match (before, after) {
                (false, true) => Some(NoticeKind::Arrival(Arc::clone(&new))),
                (true, false) => Some(NoticeKind::Removal(Arc::clone(old))),
                (true, true) | (false, false) => None,
            }
        });
    }

    pub(crate) fn tell_removal(&mut self, now: Time, entry: &Entry) {
        let ids = FoldedIds::of(&entry.interface);
        self.publish(now, |filter| {
            (entry.ready(filter.wait).is_some() && filter.wants(&entry.interface, &ids))
                .then(|| NoticeKind::Removal(Arc::clone(&entry.interface)))
        });
    }

    pub(crate) fn tell_overrun(&mut self, now: Time, source: &'static str) {
        self.n += 1;
        self.dirty.insert(Dirty::Engine);
        self.publish(now, |filter| {
            filter
                .interfaces
                .then_some(NoticeKind::SourceOverrun(source))
        });
    }

    pub(crate) fn tell_resync(&mut self, now: Time, source: &'static str) {
        self.n += 1;
        self.dirty.insert(Dirty::Engine);
        self.publish(now, |filter| {
            filter.interfaces.then_some(NoticeKind::Resync(source))
        });
    }

    /// Tells the state of an instance, and notes it to be written.
    pub(crate) fn tell_state(&mut self, now: Time, slot: Slot) {
        self.dirty.insert(Dirty::Life(slot));
        let Some(change) = self.state_change(slot) else {
            return;
        };
        self.n += 1;
        self.publish(now, |filter| {
            filter.states.then(|| NoticeKind::State(change.clone()))
        });
        self.pending.push_back(Effect::StateChanged(change));
    }

    fn state_change(&self, slot: Slot) -> Option<StateChange> {
        let instance = self.instance(slot)?;
        let life = &instance.life;
        let host = life.run.as_ref().and_then(|run| self.hosts.get(&run.host));
        Some(StateChange {
            service: instance.definition.name.clone(),
            state: life.state,
            held_back: instance.held_back(),
            run: life.run.as_ref().map(|run| run.id),
            pid: host.and_then(|host| host.main).map(|(pid, _)| pid),
            reason: life.run.as_ref().map(|run| run.reason),
            exit: life.last_exit.filter(|_| life.run.is_none()),
        })
    }
}
