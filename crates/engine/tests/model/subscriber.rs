//! A subscriber that believes what it is told.

use std::collections::{BTreeMap, BTreeSet};

use arrival_engine::api::{Filter, Notice, NoticeKind, SessionId, StateChange};
use arrival_model::cursor::Cursor;
use arrival_model::interface::InterfaceKey;
use arrival_model::state::ServiceState;

#[derive(Clone, Debug)]
pub(crate) struct Subscriber {
    pub(crate) session: SessionId,
    pub(crate) filter: Filter,
    /// Whether it was told that there is something to take.
    pub(crate) readable: bool,
    /// Whether its picture is complete.
    pub(crate) complete: bool,
    pub(crate) interfaces: BTreeSet<InterfaceKey>,
    pub(crate) states: BTreeMap<String, ServiceState>,
    last: Option<Cursor>,
}

impl Subscriber {
    pub(crate) fn new(session: SessionId, filter: Filter) -> Self {
        Subscriber {
            session,
            filter,
            readable: true,
            complete: false,
            interfaces: BTreeSet::new(),
            states: BTreeMap::new(),
            last: None,
        }
    }

    /// Takes a notice in, as a client would.
    pub(crate) fn hear(&mut self, notice: Notice) {
        assert_eq!(notice.previous, self.last, "a hole before {notice:?}");
        if let Some(last) = self.last {
            assert_eq!(last.epoch, notice.cursor.epoch);
            assert!(last.n <= notice.cursor.n, "time runs backwards: {notice:?}");
        }
        self.last = Some(notice.cursor);
        match notice.kind {
            NoticeKind::Interface(interface) => {
                assert!(!self.complete, "a snapshot that nobody announced");
                assert!(
                    self.interfaces.insert(interface.key.clone()),
                    "{interface:?} twice"
                );
            }
            NoticeKind::Service(change) => {
                assert!(!self.complete, "a snapshot that nobody announced");
                self.state(change);
            }
            NoticeKind::SnapshotComplete => {
                assert!(!self.complete, "a snapshot that nobody announced");
                self.complete = true;
            }
            NoticeKind::Arrival(interface) => {
                assert!(self.complete, "a change before the end of the snapshot");
                let new = self.interfaces.insert(interface.key.clone());
                assert!(new, "{} arrived twice", interface.key);
            }
            NoticeKind::Removal(interface) => {
                assert!(self.complete, "a change before the end of the snapshot");
                let known = self.interfaces.remove(&interface.key);
                assert!(known, "{} was removed but never there", interface.key);
            }
            NoticeKind::State(change) => {
                assert!(self.complete, "a change before the end of the snapshot");
                self.state(change);
            }
            NoticeKind::SubscriberOverrun { lost } => {
                assert!(lost > 0, "an overrun that lost nothing");
                self.complete = false;
                self.interfaces.clear();
                self.states.clear();
            }
            NoticeKind::SourceOverrun(_) | NoticeKind::Resync(_) => {
                assert!(self.complete, "a change before the end of the snapshot");
            }
        }
    }

    fn state(&mut self, change: StateChange) {
        self.states.insert(change.service.folded(), change.state);
    }
}
