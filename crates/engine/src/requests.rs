//! Admission, and what each request does.
//!
//! ```text
//! request           denied when                                          code
//! ------------------+----------------------------------------------------+--------------------
//! any                the session is unknown                               6
//! start, stop,       the peer lacks the right                             5
//!   enable, disable,
//!   shutdown
//! start              no such service; not STOPPED; disabled; its          1060 1056 1058 1072
//!                      definition is gone; everything is being stopped    1115
//! stop               no such service; STOPPED and no restart planned;     1060 1062
//!                      STOP_PENDING                                       1061
//! StopIfUnchanged    the process is no service of ours; it is stopping;   6 1061
//!                      an interface arrived later than the cursor         1237
//! report             no service of ours; the transition is illegal        6 13
//! answer             no such question                                     1168
//! ```
//!
//! What is not denied gets exactly one reply, at once or when the run gets there.

use arrival_model::access::{Descriptor, Peer, Right};
use arrival_model::cursor::Cursor;
use arrival_model::definition::{Protocol, ServiceName};
use arrival_model::error::Win32Error;
use arrival_model::state::{HeldBack, ServiceState, StartReason};
use arrival_model::time::Time;

use crate::api::{Denied, Effect, HostId, Reply, Report, Request, SessionId, Ticket};
use crate::index::Slot;
use crate::instance::{Known, StopCause, Waiter};
use crate::sessions::Session;
use crate::timers::Timer;
use crate::{Dirty, Engine};

/// A shutdown that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shutdown {
    pub(crate) session: SessionId,
    pub(crate) ticket: Ticket,
    pub(crate) stopped: u64,
}

impl Engine {
    /// Does what a session asks for; an `Ok` is followed by exactly one [`Effect::Reply`].
    ///
    /// # Errors
    ///
    /// Says why the request is refused; it has changed nothing then.
    pub fn handle_request(
        &mut self,
        now: Time,
        session: SessionId,
        ticket: Ticket,
        request: Request,
    ) -> Result<(), Denied> {
        let outcome = self.admit(now, session, ticket, request);
        match outcome {
            Ok(Some(reply)) => {
                self.pending.push_back(Effect::Reply {
                    session,
                    ticket,
                    reply,
                });
                self.flush();
                Ok(())
            }
            Ok(None) => {
                self.flush();
                Ok(())
            }
            Err(denied) => Err(denied),
        }
    }

    /// Carries a request out, or refuses it; the reply if it is known already.
    fn admit(
        &mut self,
        now: Time,
        session: SessionId,
        ticket: Ticket,
        request: Request,
    ) -> Result<Option<Reply>, Denied> {
        match request {
            Request::Start {
                service,
                arguments,
                wait,
            } => {
                let slot = self.permitted(session, &service, Right::Start)?;
                self.start_by_hand(now, slot, arguments, wait.then_some((session, ticket)))
            }
            Request::Stop { service, wait } => {
                let slot = self.permitted(session, &service, Right::Stop)?;
                self.stop_by_hand(now, slot, wait.then_some((session, ticket)))
            }
            Request::Enable(service) => self.save_enabled(session, ticket, service, true),
            Request::Disable(service) => self.save_enabled(session, ticket, service, false),
            Request::Subscribe(filter) => {
                let entry = self
                    .sessions
                    .get_mut(&session)
                    .ok_or(Denied::NoSuchSession)?;
                entry.subscribe(filter);
                self.pending.push_back(Effect::Readable(session));
                self.speaks_for_run(session);
                Ok(Some(Reply::Done))
            }
            Request::StopIfUnchanged(cursor) => {
                let slot = self.own_service(session)?;
                self.stop_if_unchanged(now, slot, cursor)
            }
            Request::Report(report) => {
                let slot = self.own_service(session)?;
                self.speaks_for_run(session);
                self.report(now, slot, report)
            }
            Request::Answer { ask, code } => {
                self.answer(session, ask, code)?;
                Ok(Some(Reply::Done))
            }
            Request::Shutdown => {
                self.check(session, None, Right::Administer)?;
                self.shut_down(now, session, ticket)
            }
        }
    }

    /// Whether a session's peer has a right to a service, or to the manager itself.
    ///
    /// # Errors
    ///
    /// Denied without the right, or where the session or the service does not exist.
    pub fn check(
        &self,
        session: SessionId,
        service: Option<&ServiceName>,
        right: Right,
    ) -> Result<(), Denied> {
        let peer = &self
            .sessions
            .get(&session)
            .ok_or(Denied::NoSuchSession)?
            .peer;
        let Some(name) = service else {
            let checked = self.settings.access.check(peer, None, right);
            return checked.map_err(|denied| Denied::AccessDenied(denied.to_string()));
        };
        let instance = self
            .slot(name)
            .and_then(|slot| self.instance(slot))
            .ok_or_else(|| Denied::NoSuchService(name.to_string()))?;
        // The store refuses a definition whose descriptor does not parse.
        let descriptor: Option<Descriptor> = instance
            .definition
            .security
            .as_deref()
            .and_then(|text| text.parse().ok());
        self.settings
            .access
            .check(peer, descriptor.as_ref(), right)
            .map_err(|denied| Denied::AccessDenied(denied.to(name.as_str()).to_string()))
    }

    fn permitted(
        &self,
        session: SessionId,
        service: &ServiceName,
        right: Right,
    ) -> Result<Slot, Denied> {
        self.check(session, Some(service), right)?;
        self.slot(service)
            .ok_or_else(|| Denied::NoSuchService(service.to_string()))
    }

    /// The service whose host a session's process is in.
    fn own_service(&self, session: SessionId) -> Result<Slot, Denied> {
        let entry = self.sessions.get(&session).ok_or(Denied::NoSuchSession)?;
        entry
            .host
            .and_then(|host| self.hosts.get(&host))
            .and_then(|host| host.slot)
            .ok_or(Denied::NotAService)
    }

    fn start_by_hand(
        &mut self,
        now: Time,
        slot: Slot,
        arguments: Vec<String>,
        waiting: Option<(SessionId, Ticket)>,
    ) -> Result<Option<Reply>, Denied> {
        if self.shutdown.is_some() {
            return Err(Denied::ShuttingDown);
        }
        let Some(instance) = self.instance_mut(slot) else {
            return Ok(Some(Reply::Done));
        };
        let name = instance.definition.name.clone();
        if instance.known == Known::Gone {
            return Err(Denied::MarkedForDelete(name));
        }
        if !instance.enabled {
            return Err(Denied::Disabled(name));
        }
        if instance.life.state != ServiceState::Stopped {
            return Err(Denied::AlreadyRunning(name, instance.life.state));
        }
        instance.life.held = None;
        instance.life.failed_at.clear();
        instance.life.retry_by_hand = false;
        let waiter = waiting.map(|(session, ticket)| Waiter {
            session,
            ticket,
            for_running: true,
        });
        self.start(now, slot, StartReason::Demand, arguments, waiter);
        if waiting.is_some() {
            return Ok(None);
        }
        let run = self
            .instance(slot)
            .and_then(|instance| instance.life.run.as_ref());
        Ok(Some(run.map_or(Reply::Done, |run| Reply::Started(run.id))))
    }

    fn stop_by_hand(
        &mut self,
        now: Time,
        slot: Slot,
        waiting: Option<(SessionId, Ticket)>,
    ) -> Result<Option<Reply>, Denied> {
        let cursor = self.n;
        let Some(instance) = self.instance_mut(slot) else {
            return Ok(Some(Reply::Done));
        };
        let name = instance.definition.name.clone();
        match instance.life.state {
            ServiceState::StopPending => {
                Err(Denied::CannotAcceptControl(name, ServiceState::StopPending))
            }
            ServiceState::Stopped if instance.life.retry_at.is_none() => {
                Err(Denied::NotActive(name))
            }
            ServiceState::Stopped => {
                instance.life.held = Some(HeldBack::StoppedByOperator);
                self.cancel_retry(slot);
                self.tell_state(now, slot);
                Ok(Some(Reply::Done))
            }
            ServiceState::StartPending
            | ServiceState::Running
            | ServiceState::ContinuePending
            | ServiceState::PausePending
            | ServiceState::Paused => {
                instance.life.held = Some(HeldBack::StoppedByOperator);
                if let (Some(run), Some((session, ticket))) = (&mut instance.life.run, waiting) {
                    run.waiters.push(Waiter {
                        session,
                        ticket,
                        for_running: false,
                    });
                }
                self.stop(now, slot, StopCause::Operator, cursor);
                Ok(waiting.is_none().then_some(Reply::Done))
            }
        }
    }

    fn save_enabled(
        &mut self,
        session: SessionId,
        ticket: Ticket,
        service: ServiceName,
        enabled: bool,
    ) -> Result<Option<Reply>, Denied> {
        self.permitted(session, &service, Right::ChangeConfig)?;
        self.saving.insert(ticket, session);
        self.pending.push_back(Effect::SaveEnabled {
            ticket,
            service,
            enabled,
        });
        Ok(None)
    }

    /// The store has written that a service is enabled or disabled, or could not.
    pub(crate) fn enabled_saved(
        &mut self,
        now: Time,
        ticket: Ticket,
        service: &ServiceName,
        enabled: bool,
        error: Option<String>,
    ) {
        let session = self.saving.remove(&ticket);
        let reply = match error {
            Some(reason) => Reply::Failed {
                code: Win32Error::GEN_FAILURE,
                reason,
            },
            None => {
                if let Some(slot) = self.slot(service) {
                    self.set_enabled(now, slot, enabled);
                }
                Reply::Done
            }
        };
        if let Some(session) = session {
            self.pending.push_back(Effect::Reply {
                session,
                ticket,
                reply,
            });
        }
    }

    fn set_enabled(&mut self, now: Time, slot: Slot, enabled: bool) {
        let Some(instance) = self.instance_mut(slot) else {
            return;
        };
        if std::mem::replace(&mut instance.enabled, enabled) == enabled {
            return;
        }
        self.dirty.insert(Dirty::Definition(slot));
        if enabled {
            self.start_if_present(now, slot, StartReason::Trigger);
        } else {
            self.cancel_retry(slot);
        }
        self.tell_state(now, slot);
    }

    fn stop_if_unchanged(
        &mut self,
        now: Time,
        slot: Slot,
        cursor: Cursor,
    ) -> Result<Option<Reply>, Denied> {
        let epoch = self.epoch;
        let Some(instance) = self.instance(slot) else {
            return Err(Denied::NotAService);
        };
        let Some(run) = &instance.life.run else {
            return Err(Denied::NotAService);
        };
        if run.stop.is_some() {
            let name = instance.definition.name.clone();
            return Err(Denied::CannotAcceptControl(name, instance.life.state));
        }
        let later = instance
            .present
            .iter()
            .find(|(_, arrival)| cursor.epoch != epoch || **arrival > cursor.n);
        if let Some((number, _)) = later {
            let link = self
                .interfaces
                .get(*number)
                .map(|entry| entry.interface.link.clone());
            let level = || {
                let mut levels = self.levels.iter();
                let found = levels.find(|(_, entry)| entry.number == *number);
                found.map_or("an interface".to_owned(), |(level, _)| level.to_string())
            };
            return Err(Denied::Changed(link.unwrap_or_else(level)));
        }
        let missed = |edge: u64| cursor.epoch != epoch || edge > cursor.n;
        if run.queued > 0 || run.last_edge.is_some_and(missed) {
            return Err(Denied::Changed("a trigger event".to_owned()));
        }
        // A cursor that lies ahead must not hide what arrives until then.
        let horizon = if cursor.epoch == epoch {
            cursor.n.min(self.n)
        } else {
            self.n
        };
        self.stop(now, slot, StopCause::Itself, horizon);
        Ok(Some(Reply::Done))
    }

    /// A service says which state it is in.
    fn report(&mut self, now: Time, slot: Slot, report: Report) -> Result<Option<Reply>, Denied> {
        let Some(instance) = self.instances.get_mut(slot) else {
            return Err(Denied::NotAService);
        };
        let state = instance.life.state;
        if !state.may_become(report.state) || instance.life.run.is_none() {
            return Err(Denied::IllegalTransition(state, report.state));
        }
        let (start, stop) = (
            instance.definition.start_timeout,
            instance.definition.stop_timeout,
        );
        let Some(run) = &mut instance.life.run else {
            return Err(Denied::NotAService);
        };
        run.accepts = report.accepts;
        run.checkpoint = report.checkpoint;
        run.wait_hint = report.wait_hint;
        let deadline = match report.state {
            ServiceState::StartPending
            | ServiceState::ContinuePending
            | ServiceState::PausePending => Some(now.after(start.max(report.wait_hint))),
            ServiceState::StopPending | ServiceState::Stopped => {
                Some(now.after(stop.max(report.wait_hint)))
            }
            ServiceState::Running | ServiceState::Paused => None,
        };
        match report.state {
            ServiceState::StopPending => self.stop_itself(now, slot, StopCause::Itself),
            ServiceState::Stopped => {
                run.reported_stopped = Some(report.exit_code);
                self.stop_itself(now, slot, StopCause::Itself);
            }
            ServiceState::StartPending
            | ServiceState::Running
            | ServiceState::ContinuePending
            | ServiceState::PausePending
            | ServiceState::Paused => self.set_state(now, slot, report.state),
        }
        if let Some(instance) = self.instances.get_mut(slot)
            && let Some(run) = &mut instance.life.run
        {
            run.checkpoint = report.checkpoint;
            run.wait_hint = report.wait_hint;
            self.timers
                .set(Timer::Deadline(slot), &mut run.deadline, deadline);
        }
        self.dirty.insert(Dirty::Life(slot));
        self.deliver_trigger_events(now, slot);
        Ok(Some(Reply::Done))
    }

    fn shut_down(
        &mut self,
        now: Time,
        session: SessionId,
        ticket: Ticket,
    ) -> Result<Option<Reply>, Denied> {
        if self.shutdown.is_some() {
            return Err(Denied::ShuttingDown);
        }
        self.shutdown = Some(Shutdown {
            session,
            ticket,
            stopped: 0,
        });
        let cursor = self.n;
        for slot in self.slots().into_iter().rev() {
            self.cancel_retry(slot);
            self.stop(now, slot, StopCause::Shutdown, cursor);
        }
        self.continue_shutdown(false);
        Ok(None)
    }

    /// Counts a stop of a shutdown, and ends it with the last one.
    pub(crate) fn continue_shutdown(&mut self, stopped_one: bool) {
        let Some(shutdown) = &mut self.shutdown else {
            return;
        };
        shutdown.stopped += u64::from(stopped_one);
        let Shutdown {
            session,
            ticket,
            stopped,
        } = *shutdown;
        if self.hosts.is_empty() {
            let reply = Reply::ShutDown { stopped };
            self.pending.push_back(Effect::Reply {
                session,
                ticket,
                reply,
            });
            self.pending.push_back(Effect::ShutDown);
        }
    }

    /// A session begins; a process of a host speaks for its service.
    pub(crate) fn session_opened(
        &mut self,
        _now: Time,
        session: SessionId,
        peer: Peer,
        host: Option<HostId>,
    ) {
        self.sessions.insert(session, Session::new(peer, host));
    }

    /// A session's stream is closed: its tickets, questions and subscription end with it.
    pub(crate) fn session_closed(&mut self, _now: Time, session: SessionId) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        let asked: Vec<_> = self
            .asks
            .iter()
            .filter(|(_, q)| q.session == session)
            .map(|(ask, _)| *ask)
            .collect();
        for ask in asked {
            self.close_ask(ask, Win32Error::SERVICE_REQUEST_TIMEOUT);
        }
        self.saving.retain(|_, owner| *owner != session);
        for instance in self.instances.iter_mut() {
            if let Some(run) = &mut instance.life.run {
                run.waiters.retain(|waiter| waiter.session != session);
                if run.session == Some(session) {
                    run.session = None;
                }
            }
        }
    }

    /// The session of a service that takes notices or controls speaks for its run from now on.
    pub(crate) fn speaks_for_run(&mut self, session: SessionId) {
        let Ok(slot) = self.own_service(session) else {
            return;
        };
        let Some(instance) = self.instance_mut(slot) else {
            return;
        };
        let control = instance.definition.protocol == Protocol::Control;
        if let Some(run) = &mut instance.life.run
            && (run.session.is_none() || control)
        {
            run.session = Some(session);
        }
    }
}
