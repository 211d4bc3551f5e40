//! Carrying out what the engine decided, in its order.

use arrival_engine::api::{Effect, NoticeKind, Reply, SessionId, Spawn, StateChange};
use arrival_linux::host::{HostError, HostId, Passed};
use arrival_model::access::Right;
use arrival_model::error::Win32Error;
use arrival_model::state::{Control, ServiceState};
use arrival_model::trigger::Signal;
use arrival_wire::api::session::{Ask, OpenReply};

use crate::boundary::boundary;
use crate::clock::now;
use crate::core::{Core, Ending};
use crate::shapes;

/// SIGTERM; the number is the same on all architectures (signal(7)).
const SIGTERM: i32 = 15;

impl Core {
    /// Does everything that the engine wants done.
    pub(crate) fn drain(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Persist(changes) => {
                    self.state.note(changes);
                    continue;
                }
                // What it needs is written together with the engine's own records.
                Effect::Spawn(spawn) => {
                    self.spawn(spawn);
                    continue;
                }
                Effect::StateChanged(change) => {
                    self.to_attune = true;
                    self.to_say.push(change);
                    continue;
                }
                Effect::Terminate { .. }
                | Effect::Kill { .. }
                | Effect::Ask { .. }
                | Effect::Reply { .. }
                | Effect::Readable(_)
                | Effect::SaveEnabled { .. }
                | Effect::ShutDown => {}
            }
            self.state.write();
            let name = name_of(&effect);
            boundary(&format!("before {name}"));
            self.carry_out(effect);
            boundary(&format!("behind {name}"));
        }
        self.state.write();
        // What is to be started has been handed over by now.
        for change in std::mem::take(&mut self.to_say) {
            log_state(&change);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(_) | Effect::Spawn(_) | Effect::StateChanged(_) => {}
            Effect::Terminate { host } => self.terminate(HostId(host.0)),
            Effect::Kill { host } => self.kill(HostId(host.0)),
            Effect::Ask {
                session,
                ask,
                control,
                deadline,
            } => {
                let control = match control {
                    Control::Stop => "stop",
                    Control::TriggerEvent => "trigger_event",
                };
                let ask = Ask {
                    ask: ask.0,
                    control: control.to_owned(),
                    deadline_ns: deadline.0,
                };
                let item = OpenReply {
                    ask: Some(ask),
                    ..OpenReply::default()
                };
                self.stream(session, &item);
            }
            Effect::Reply { ticket, reply, .. } => self.replied(ticket, reply),
            Effect::Readable(session) => self.pump(session),
            Effect::SaveEnabled {
                ticket,
                service,
                enabled,
            } => {
                if !self.files.set_enabled(ticket, service, enabled) {
                    let reply = Reply::Failed {
                        code: Win32Error::GEN_FAILURE,
                        reason: "the thread that writes files has ended".to_owned(),
                    };
                    self.replied(ticket, reply);
                }
            }
            Effect::ShutDown => self.ending = Some(Ending::Shutdown),
        }
    }

    fn spawn(&mut self, spawn: Spawn) {
        let record = self
            .hosts
            .get_ref()
            .containment()
            .plan(HostId(spawn.host.0));
        self.state.note_host(&record);
        self.state.write();
        self.starting.insert(spawn.host, record.token.clone());
        let listen = self.sockets_of(&spawn);
        boundary("before the spawn");
        self.spawner.start(record, spawn, listen);
        boundary("behind the spawn");
    }

    /// The sockets that a service is given: those of its pipes.
    fn sockets_of(&self, spawn: &Spawn) -> Vec<Passed> {
        let triggers = spawn.definition.triggers.iter();
        let names = triggers.flat_map(|trigger| trigger.cause.signals());
        let sockets = names.filter_map(|signal| match signal {
            Signal::Pipe(name) => Some(Passed {
                fd: self.signals.pipes.socket(&name)?,
                name: name.file_name(),
            }),
            Signal::Side(..) | Signal::Policy(_) | Signal::Rpc(_) | Signal::Custom(_) => None,
        });
        sockets.collect()
    }

    fn terminate(&mut self, host: HostId) {
        let hosts = self.hosts.get_mut();
        let done = match hosts.signal(host, SIGTERM) {
            // What its main process left behind is asked instead.
            Err(HostError::NoMain(_)) => hosts.signal_all(host, SIGTERM).map(drop),
            done => done,
        };
        log_host(done);
    }

    fn kill(&mut self, host: HostId) {
        let done = self.hosts.get_mut().kill(host);
        log_host(done);
    }

    /// Writes the engine's changes down and carries nothing out; for the daemon's end.
    pub(crate) fn note_persistence(&mut self) {
        while let Some(effect) = self.engine.poll_effect() {
            if let Effect::Persist(changes) = effect {
                self.state.note(changes);
            }
        }
        self.state.write();
    }

    /// Hands a session as many notices as its connection has room for.
    pub(crate) fn pump(&mut self, session: SessionId) {
        loop {
            let Some(known) = self.connections.get(&session) else {
                return;
            };
            if !known.outbox.has_room() {
                return;
            }
            let Some(notice) = self.engine.take_notice(now(), session) else {
                return;
            };
            let service = match &notice.kind {
                NoticeKind::Service(change) | NoticeKind::State(change) => Some(&change.service),
                NoticeKind::Interface(_)
                | NoticeKind::SnapshotComplete
                | NoticeKind::Arrival(_)
                | NoticeKind::Removal(_)
                | NoticeKind::SubscriberOverrun { .. }
                | NoticeKind::SourceOverrun(_)
                | NoticeKind::Resync(_) => None,
            };
            let hidden = service.is_some_and(|service| {
                let may = self
                    .engine
                    .check(session, Some(service), Right::QueryStatus);
                may.is_err()
            });
            if hidden {
                continue;
            }
            let item = OpenReply {
                notice: Some(shapes::notice(notice)),
                ..OpenReply::default()
            };
            self.stream(session, &item);
        }
    }
}

/// The name of an effect, for [`boundary`].
fn name_of(effect: &Effect) -> &'static str {
    match effect {
        Effect::Persist(_) => "the journal",
        Effect::Spawn(_) => "the spawn",
        Effect::Terminate { .. } => "the signal",
        Effect::Kill { .. } => "the kill",
        Effect::Ask { .. } => "the question",
        Effect::Reply { .. } => "the reply",
        Effect::Readable(_) => "the notices",
        Effect::SaveEnabled { .. } => "the file",
        Effect::StateChanged(_) => "the log",
        Effect::ShutDown => "the end",
    }
}

fn log_host(done: Result<(), HostError>) {
    match done {
        // It has ended by itself; that is told by another way.
        Ok(()) | Err(HostError::NoMain(_) | HostError::NoHost(_)) => {}
        Err(
            error @ (HostError::Taken(_) | HostError::Foreign { .. } | HostError::System { .. }),
        ) => tracing::error!("{error}"),
    }
}

fn log_state(change: &StateChange) {
    let StateChange {
        service,
        state,
        held_back,
        pid,
        reason,
        exit,
        ..
    } = change;
    let mut text = format!("{service}: {state}");
    let mut add = |part: String| {
        text.push_str(", ");
        text.push_str(&part);
    };
    if let Some(reason) = reason {
        add(format!("started by {reason}"));
    }
    if let Some(pid) = pid {
        add(format!("process {pid}"));
    }
    if let Some(exit) = exit {
        add(format!("ended with {exit}"));
    }
    if let Some(held_back) = held_back {
        add(held_back.to_string());
    }
    if *state == ServiceState::Stopped && exit.is_none() && held_back.is_none() {
        // It was only defined, or forgotten.
        tracing::debug!("{text}");
    } else {
        tracing::info!("{text}");
    }
}
