//! What happens later unless something happens first.

use std::collections::BTreeSet;

use arrival_model::time::Time;

use crate::api::AskId;
use crate::index::Slot;
use crate::interfaces::Number;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// A run must have started, or stopped, by then.
    Deadline(Slot),
    /// The last interface went; the run is stopped then.
    Linger(Slot),
    /// A failed service is started again then.
    Retry(Slot),
    /// A flapping service is no longer held back then.
    Hold(Slot),
    /// A question's silence becomes an answer then.
    Ask(AskId),
    /// A port without a socket counts as closed then.
    Gone(Number),
}

/// All timers that run, by time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Timers {
    set: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Moves a timer from one time to another; `at` is where its owner remembers it.
    pub(crate) fn set(&mut self, timer: Timer, at: &mut Option<Time>, to: Option<Time>) {
        if let Some(old) = at.take() {
            self.set.remove(&(old, timer));
        }
        if let Some(new) = to {
            self.set.insert((new, timer));
        }
        *at = to;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Time, Timer)> {
        self.set.iter().copied()
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.set.first().map(|(time, _)| *time)
    }

    /// Takes the first timer that is due.
    pub(crate) fn due(&mut self, now: Time) -> Option<Timer> {
        let first = *self.set.first()?;
        if first.0 > now {
            return None;
        }
        self.set.remove(&first);
        Some(first.1)
    }
}

impl FromIterator<(Time, Timer)> for Timers {
    fn from_iter<I: IntoIterator<Item = (Time, Timer)>>(timers: I) -> Self {
        Timers {
            set: timers.into_iter().collect(),
        }
    }
}
