//! `org.arrivald.Session`.

use arrival_engine::api::{AskId, Denied, Filter, Report, Request, SessionId};
use arrival_engine::view::ServiceView;
use arrival_model::access::Right;
use arrival_model::cursor::Cursor;
use arrival_model::error::Win32Error;
use arrival_model::guid::Guid;
use arrival_model::state::{Accepts, ServiceState, StartReason};
use arrival_model::trigger::{FoldedId, Wait};
use arrival_wire::api::session::{
    AnswerCall, OpenCall, OpenReply, ReportCall, StopIfUnchangedCall, SubscribeCall, Subscription,
};
use arrival_wire::message::{Call, ServiceError};

use super::{Answer, Refusal, SESSION, Step, Stepped, no_method, wrong};
use crate::core::Core;

impl Core {
    pub(super) fn call_session(&mut self, id: SessionId, call: &Call) -> Stepped {
        match call.member() {
            "Open" => self.open(id, call),
            "Subscribe" => {
                let SubscribeCall {
                    token,
                    subscription,
                } = call.parameters_as()?;
                let session = self.session(id, &token)?;
                let filter = self.filter(&subscription)?;
                let request = Request::Subscribe(filter);
                Ok(Step::Request(session, request, Answer::Done(SESSION)))
            }
            "Answer" => {
                let AnswerCall { token, ask, code } = call.parameters_as()?;
                let session = self.session(id, &token)?;
                let request = Request::Answer {
                    ask: AskId(ask),
                    code: Win32Error(code),
                };
                Ok(Step::Request(session, request, Answer::Done(SESSION)))
            }
            "Report" => {
                let report: ReportCall = call.parameters_as()?;
                let session = self.session(id, &report.token)?;
                let state = ServiceState::ALL
                    .into_iter()
                    .find(|state| state.name() == report.state)
                    .ok_or_else(|| wrong("state"))?;
                let request = Request::Report(Report {
                    state,
                    accepts: Accepts(report.accepts),
                    checkpoint: report.checkpoint,
                    wait_hint: std::time::Duration::from_millis(report.wait_hint_ms.into()),
                    exit_code: Win32Error(report.exit_code),
                });
                Ok(Step::Request(session, request, Answer::Done(SESSION)))
            }
            "StopIfUnchanged" => {
                let StopIfUnchangedCall { token, cursor } = call.parameters_as()?;
                let session = self.session(id, &token)?;
                let cursor: Cursor = cursor.parse().map_err(|_| wrong("cursor"))?;
                let request = Request::StopIfUnchanged(cursor);
                Ok(Step::Request(session, request, Answer::Done(SESSION)))
            }
            _ => Err(no_method(call)),
        }
    }

    fn open(&mut self, id: SessionId, call: &Call) -> Stepped {
        if !call.more {
            return Err(ServiceError::ExpectedMore.into());
        }
        let OpenCall { subscription } = call.parameters_as()?;
        self.may(SESSION, id, Right::QueryStatus)?;
        let filter = subscription
            .map(|subscription| self.filter(&subscription))
            .transpose()?;
        let token = new_token().map_err(|error| {
            Refusal::Denied(
                SESSION,
                Denied::AccessDenied(format!("no random numbers: {error}")),
            )
        })?;
        let Some(known) = self.connections.get_mut(&id) else {
            return Ok(Step::Later);
        };
        known.outbox.begin_stream();
        known.token = Some(token.clone());
        let host = known.host;
        self.tokens.insert(token.clone(), id);
        let view = host.and_then(|host| {
            let mut services = self.engine.services();
            services.find(|view| view.host == Some(host))
        });
        let opened = OpenReply {
            token: Some(token),
            run: view.as_ref().and_then(|view| view.run).map(|run| run.0),
            arguments: view.as_ref().map(main_arguments),
            ..OpenReply::default()
        };
        self.stream(id, &opened);
        if let Some(filter) = filter
            && let Err(denied) = self.request(id, id, Request::Subscribe(filter), Answer::Nobody)
        {
            return Err(Refusal::Denied(SESSION, denied));
        }
        Ok(Step::Later)
    }

    /// The session of a token, which only a connection of the same user may use.
    fn session(&self, id: SessionId, token: &str) -> Result<SessionId, Refusal> {
        let none = || Refusal::Denied(SESSION, Denied::NoSuchSession);
        let session = *self.tokens.get(token).ok_or_else(none)?;
        let uid = |id| self.connections.get(&id).map(|known| known.uid);
        if uid(id).is_some() && uid(id) == uid(session) {
            Ok(session)
        } else {
            Err(none())
        }
    }

    fn filter(&self, subscription: &Subscription) -> Result<Filter, Refusal> {
        let classes = subscription.classes.iter();
        let classes: Result<Vec<Guid>, Refusal> =
            classes.map(|class| self.class(SESSION, class)).collect();
        let ids = subscription.ids.iter();
        Ok(Filter {
            classes: classes?,
            ids: ids.map(|id| FoldedId::new(id)).collect(),
            wait: match subscription.wait.as_deref() {
                None | Some("usable") => Wait::Usable,
                Some("appeared") => Wait::Appeared,
                Some(_) => return Err(wrong("wait")),
            },
            interfaces: true,
            states: subscription.states,
        })
    }
}

/// What ServiceMain is called with: the service's name, then what was given to the start, or
/// `TriggerStarted` (SERVICE_TRIGGER_STARTED_ARGUMENT) if a trigger was its reason.
fn main_arguments(view: &ServiceView<'_>) -> Vec<String> {
    let mut arguments = vec![view.definition.name.to_string()];
    match view.reason {
        Some(StartReason::Trigger) => arguments.push("TriggerStarted".to_owned()),
        _ => arguments.extend_from_slice(view.arguments),
    }
    arguments
}

/// 128 random bits in hexadecimal.
fn new_token() -> rustix::io::Result<String> {
    let mut bytes = [0_u8; 16];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
