//! Questions to a service's session, and what their answers mean.
//!
//! ```text
//! control        answer                       then
//! STOP           0                            the service stops itself; its stop deadline runs
//! STOP           any error, or silence        SIGTERM
//! TRIGGEREVENT   0                            the event is taken
//! TRIGGEREVENT   1115, other, or silence      the event stays queued
//! ```

use arrival_model::error::Win32Error;
use arrival_model::state::Control;
use arrival_model::time::Time;

use crate::api::{AskId, Denied, Effect, SessionId};
use crate::index::Slot;
use crate::timers::Timer;
use crate::{Dirty, Engine};

/// A question that has not been answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) session: SessionId,
    pub(crate) slot: Slot,
    pub(crate) control: Control,
    pub(crate) deadline: Option<Time>,
}

impl Engine {
    /// Asks a service's session to carry out a control.
    pub(crate) fn ask(&mut self, session: SessionId, slot: Slot, control: Control, deadline: Time) {
        let ask = AskId(self.new_id());
        let mut at = None;
        self.timers.set(Timer::Ask(ask), &mut at, Some(deadline));
        self.asks.insert(
            ask,
            Question {
                session,
                slot,
                control,
                deadline: at,
            },
        );
        self.pending.push_back(Effect::Ask {
            session,
            ask,
            control,
            deadline,
        });
    }

    pub(crate) fn open_asks(&self, slot: Slot, control: Control) -> u32 {
        let open = self
            .asks
            .values()
            .filter(|q| q.slot == slot && q.control == control)
            .count();
        u32::try_from(open).unwrap_or(u32::MAX)
    }

    /// The answer to a question, from the session that was asked.
    pub(crate) fn answer(
        &mut self,
        session: SessionId,
        ask: AskId,
        code: Win32Error,
    ) -> Result<(), Denied> {
        match self.asks.get(&ask) {
            Some(question) if question.session == session => {}
            Some(_) | None => return Err(Denied::NoSuchAsk(ask)),
        }
        self.close_ask(ask, code);
        Ok(())
    }

    /// Silence until the deadline is the answer 1053.
    pub(crate) fn ask_expired(&mut self, _now: Time, ask: AskId) {
        if let Some(question) = self.asks.get_mut(&ask) {
            question.deadline = None;
        }
        self.close_ask(ask, Win32Error::SERVICE_REQUEST_TIMEOUT);
    }

    pub(crate) fn close_ask(&mut self, ask: AskId, code: Win32Error) {
        let Some(mut question) = self.asks.remove(&ask) else {
            return;
        };
        self.timers
            .set(Timer::Ask(ask), &mut question.deadline, None);
        let Some(run) = self
            .instance_mut(question.slot)
            .and_then(|instance| instance.life.run.as_mut())
        else {
            return;
        };
        match (question.control, code) {
            (Control::Stop, Win32Error::SUCCESS) => {}
            (Control::Stop, _) => {
                let host = run.host;
                self.terminate(host);
            }
            (Control::TriggerEvent, Win32Error::SUCCESS) => {
                run.queued = run.queued.saturating_sub(1);
                self.dirty.insert(Dirty::Life(question.slot));
            }
            (Control::TriggerEvent, _) => {}
        }
    }

    /// A run is over: its questions have no answers any more.
    pub(crate) fn forget_asks_of(&mut self, slot: Slot) {
        let of_slot: Vec<AskId> = self
            .asks
            .iter()
            .filter(|(_, q)| q.slot == slot)
            .map(|(ask, _)| *ask)
            .collect();
        for ask in of_slot {
            if let Some(mut question) = self.asks.remove(&ask) {
                self.timers
                    .set(Timer::Ask(ask), &mut question.deadline, None);
            }
        }
    }
}
