//! What a watcher has been told, and what it must be told next.
//!
//! ```text
//! phase       record                  what is told
//! ---------   ---------------------   ----------------------------------------------------------
//! First       snapshot                nothing yet
//!             complete                every record of the snapshot, then its end      -> Live
//! Live        arrival, removal,       itself, unless it is known already
//!             state
//!             snapshot                nothing yet                                     -> Collecting
//!             overrun, resync         itself
//! Collecting  snapshot                nothing yet
//!             arrival, removal,       nothing; it is applied to what was collected
//!             state
//!             overrun                 itself; what was collected is forgotten
//!             complete                a resync, removals, arrivals and states that lead
//!                                     from what was told to what was collected         -> Live
//! ```
//!
//! `reconnected` goes from First to First and from the others to Collecting, with nothing collected. So
//! whoever follows the told records knows, after each resync, exactly what is there: no arrival is
//! lost and none is told twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arrival_model::cursor::Cursor;
use arrival_wire::api::devices::Interface;
use arrival_wire::api::session::{Notice, NoticeKind, StateChange};

/// How many interfaces or services a snapshot may hold: far more than a machine has, and little
/// enough that a mad manager cannot fill our memory.
pub(crate) const SNAPSHOT_LIMIT: usize = 65_536;

/// The identity of an interface: class, owner, reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    class: String,
    owner: String,
    reference: String,
}

impl Key {
    pub(crate) fn of(interface: &Interface) -> Self {
        Key {
            class: interface.class.to_ascii_lowercase(),
            owner: interface.owner.clone(),
            reference: interface.reference.clone(),
        }
    }
}

/// When each present interface arrived, as the manager lists it.
pub(crate) type Arrivals = BTreeMap<Key, Cursor>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Present {
    interfaces: BTreeMap<Key, Interface>,
    states: BTreeMap<String, StateChange>,
}

impl Present {
    /// Adds a record of a snapshot, or applies a change.
    fn apply(&mut self, notice: &Notice) {
        if let Some(interface) = &notice.interface {
            match notice.kind {
                NoticeKind::Removal => {
                    self.interfaces.remove(&Key::of(interface));
                }
                NoticeKind::Snapshot
                | NoticeKind::Arrival
                | NoticeKind::State
                | NoticeKind::Overrun
                | NoticeKind::Resync => {
                    self.interfaces
                        .insert(Key::of(interface), interface.clone());
                }
            }
        }
        if let Some(state) = &notice.state {
            self.states.insert(state.service.clone(), state.clone());
        }
    }

    fn len(&self) -> usize {
        self.interfaces.len().max(self.states.len())
    }
}

#[derive(Clone, Debug)]
enum Phase {
    First { records: Vec<Notice> },
    Live,
    Collecting { collected: Present },
}

/// Why a record cannot be accepted; the stream has to be opened anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Records are missing before this one.
    Hole,
    /// The snapshot has no end.
    TooLarge,
}

fn within_limit(records: usize) -> Result<(), Broken> {
    if records > SNAPSHOT_LIMIT {
        return Err(Broken::TooLarge);
    }
    Ok(())
}

/// What a watcher has been told.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    phase: Phase,
    told: Present,
    /// The cursor of the last record that came in, of this connection.
    last: Option<String>,
    /// Everything up to here has been told.
    told_to: Option<Cursor>,
    /// The cursor of the last record that was told.
    last_told: Option<String>,
    /// Records that told what was known already.
    doubled: u64,
}

impl Known {
    pub(crate) fn new() -> Self {
        Known {
            phase: Phase::First {
                records: Vec::new(),
            },
            told: Present::default(),
            last: None,
            told_to: None,
            last_told: None,
            doubled: 0,
        }
    }

    pub(crate) fn doubled(&self) -> u64 {
        self.doubled
    }

    /// A new connection begins, and with it a new snapshot.
    pub(crate) fn reconnected(&mut self) {
        self.last = None;
        self.phase = match self.phase {
            Phase::First { .. } => Phase::First {
                records: Vec::new(),
            },
            Phase::Live | Phase::Collecting { .. } => Phase::Collecting {
                collected: Present::default(),
            },
        };
    }

    /// Takes a record, and appends to `out` what must be told because of it.
    ///
    /// `now_ns` is the time of records that this makes. `arrivals` is asked once a snapshot is
    /// complete whose differences are to be told; it may know nothing.
    pub(crate) fn accept(
        &mut self,
        notice: Notice,
        now_ns: u64,
        arrivals: impl FnOnce() -> Arrivals,
        out: &mut VecDeque<Notice>,
    ) -> Result<(), Broken> {
        let hole = match (&self.last, &notice.previous) {
            (Some(last), Some(previous)) => last != previous,
            (None, _) | (_, None) => false,
        };
        if hole && notice.kind != NoticeKind::Snapshot && notice.kind != NoticeKind::Overrun {
            return Err(Broken::Hole);
        }
        self.last = Some(notice.cursor.clone());
        // A snapshot counts once it is complete, and a record that says that others are missing
        // never does.
        let in_order = notice.kind != NoticeKind::Snapshot && notice.lost.is_none();
        if matches!(self.phase, Phase::Live) && in_order {
            self.told_to = notice.cursor.parse().ok();
        }
        match notice.kind {
            NoticeKind::Snapshot => {
                let complete = notice.complete == Some(true);
                let cursor = notice.cursor.clone();
                self.snapshot(notice)?;
                if complete {
                    self.complete(&cursor, now_ns, arrivals, out)?;
                }
                Ok(())
            }
            NoticeKind::Arrival | NoticeKind::Removal | NoticeKind::State => {
                self.change(notice, out)
            }
            NoticeKind::Overrun => {
                if let Phase::Collecting { collected } = &mut self.phase {
                    *collected = Present::default();
                }
                self.tell(notice, out);
                Ok(())
            }
            NoticeKind::Resync => {
                self.tell(notice, out);
                Ok(())
            }
        }
    }

    fn snapshot(&mut self, notice: Notice) -> Result<(), Broken> {
        match &mut self.phase {
            Phase::First { records } => {
                records.push(notice);
                within_limit(records.len() / 2)
            }
            Phase::Live => {
                let mut collected = Present::default();
                collected.apply(&notice);
                self.phase = Phase::Collecting { collected };
                Ok(())
            }
            Phase::Collecting { collected } => {
                collected.apply(&notice);
                within_limit(collected.len())
            }
        }
    }

    fn complete(
        &mut self,
        cursor: &str,
        now_ns: u64,
        arrivals: impl FnOnce() -> Arrivals,
        out: &mut VecDeque<Notice>,
    ) -> Result<(), Broken> {
        match std::mem::replace(&mut self.phase, Phase::Live) {
            Phase::First { records } => {
                for record in records {
                    if record.kind == NoticeKind::Snapshot {
                        self.told.apply(&record);
                        self.tell(record, out);
                    } else {
                        self.change(record, out)?;
                    }
                }
            }
            Phase::Collecting { collected } => {
                self.resync(collected, cursor, now_ns, &arrivals(), out);
            }
            Phase::Live => {}
        }
        self.told_to = cursor.parse().ok();
        Ok(())
    }

    fn change(&mut self, notice: Notice, out: &mut VecDeque<Notice>) -> Result<(), Broken> {
        match &mut self.phase {
            // A change before the first snapshot is complete belongs behind it.
            Phase::First { records } => {
                records.push(notice);
                return within_limit(records.len() / 2);
            }
            Phase::Collecting { collected } => {
                collected.apply(&notice);
                return within_limit(collected.len());
            }
            Phase::Live => {}
        }
        let known = match (notice.kind, &notice.interface, &notice.state) {
            // Another one cannot have arrived: the removal of this one would have come before.
            (NoticeKind::Arrival, Some(interface), _) => {
                self.told.interfaces.contains_key(&Key::of(interface))
            }
            (NoticeKind::Removal, Some(interface), _) => {
                !self.told.interfaces.contains_key(&Key::of(interface))
            }
            (NoticeKind::State, _, Some(state)) => {
                self.told.states.get(&state.service) == Some(state)
            }
            (
                NoticeKind::Arrival
                | NoticeKind::Removal
                | NoticeKind::State
                | NoticeKind::Snapshot
                | NoticeKind::Overrun
                | NoticeKind::Resync,
                _,
                _,
            ) => false,
        };
        if known {
            self.doubled += 1;
            return Ok(());
        }
        self.told.apply(&notice);
        self.tell(notice, out);
        Ok(())
    }

    /// Whether the interface that was told of is the one that is there now, and not another that
    /// took its place while nobody was told.
    ///
    /// The cursor of its arrival tells, if that is of the same epoch: one that arrived later than the
    /// last record that was told is another one. Without such a cursor it is another one if it
    /// looks different.
    fn is_same(&self, old: &Interface, new: &Interface, now: Cursor, arrivals: &Arrivals) -> bool {
        let arrival = arrivals.get(&Key::of(new)).copied();
        if let (Some(arrival), Some(told_to)) = (arrival, self.told_to)
            && arrival.epoch == told_to.epoch
            && now.epoch == told_to.epoch
            // What arrived after the snapshot will be told after it.
            && arrival.n <= now.n
        {
            return arrival.n <= told_to.n;
        }
        old.link == new.link
            && old.node == new.node
            && old.name == new.name
            && old.hardware_ids == new.hardware_ids
            && old.compatible_ids == new.compatible_ids
    }

    /// Tells the difference between what was told and what was collected.
    fn resync(
        &mut self,
        collected: Present,
        cursor: &str,
        now_ns: u64,
        arrivals: &Arrivals,
        out: &mut VecDeque<Notice>,
    ) {
        let now = cursor.parse().unwrap_or(Cursor { epoch: 0, n: 0 });
        let same = |old: &Interface, new: &Interface| self.is_same(old, new, now, arrivals);
        let pairs = collected.interfaces.iter().filter_map(|(key, new)| {
            let old = self.told.interfaces.get(key)?;
            same(old, new).then(|| key.clone())
        });
        let stays: BTreeSet<Key> = pairs.collect();
        let told = std::mem::replace(&mut self.told, collected.clone());
        let record = |kind| Notice::new(kind, cursor, now_ns);
        let mut resync = record(NoticeKind::Resync);
        resync.source = Some("connection".to_owned());
        self.tell(resync, out);
        for (key, old) in &told.interfaces {
            if !stays.contains(key) {
                let mut removal = record(NoticeKind::Removal);
                removal.interface = Some(old.clone());
                self.tell(removal, out);
            }
        }
        for (key, new) in &collected.interfaces {
            if !stays.contains(key) {
                let mut arrival = record(NoticeKind::Arrival);
                arrival.interface = Some(Interface {
                    cursor: arrivals
                        .get(key)
                        .map_or_else(|| new.cursor.clone(), ToString::to_string),
                    ..new.clone()
                });
                self.tell(arrival, out);
            }
        }
        for (name, new) in &collected.states {
            if told.states.get(name) != Some(new) {
                let mut state = record(NoticeKind::State);
                state.state = Some(new.clone());
                self.tell(state, out);
            }
        }
        // A service that is no longer defined has, in the end, stopped.
        for (name, old) in &told.states {
            if !collected.states.contains_key(name) && old.state != "STOPPED" {
                let mut state = record(NoticeKind::State);
                state.state = Some(StateChange {
                    service: name.clone(),
                    state: "STOPPED".to_owned(),
                    held_back: None,
                    run: None,
                    pid: None,
                    start_reason: None,
                    exit: None,
                });
                self.tell(state, out);
            }
        }
    }

    /// Appends a record; its predecessor is the record that was told before it.
    fn tell(&mut self, mut notice: Notice, out: &mut VecDeque<Notice>) {
        notice.previous = self.last_told.replace(notice.cursor.clone());
        out.push_back(notice);
    }
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
