//! The methods of the control protocol: from calls to requests, from outcomes to replies.
//!
//! The interfaces' texts, served verbatim, say what each method means. Requests that change
//! something are checked by the engine; those that only read ask the same place
//! ([`Engine::check`](arrival_engine::Engine::check)) here.

use arrival_engine::api::{
    AskId, Denied, Filter, Reply as Outcome, Report, Request, SessionId, Ticket,
};
use arrival_model::access::Right;
use arrival_model::cursor::Cursor;
use arrival_model::definition::ServiceName;
use arrival_model::error::Win32Error;
use arrival_model::guid::Guid;
use arrival_model::state::{Accepts, ServiceState};
use arrival_model::trigger::{FoldedId, Trigger, Wait};
use arrival_wire::api::services::{
    Named, StartCall, StartReply, StatusReply, StopCall, TriggerReport, TriggersCall,
    TriggersReply, WhyReply,
};
use arrival_wire::api::session::{
    AnswerCall, OpenCall, OpenReply, ReportCall, StopIfUnchangedCall, SubscribeCall, Subscription,
};
use arrival_wire::api::{self, Empty, daemon, devices, services};
use arrival_wire::frame::encode;
use arrival_wire::message::{Call, Parameters, Reply, SERVICE_INTERFACE, ServiceError};
use serde::Serialize;
use serde_json::json;

use crate::clock::now;
use crate::core::Core;
use crate::shapes;

/// The most bytes of a reply; the lists of a large machine are longer than the protocol's usual
/// messages.
const LONGEST: usize = 8 * 1024 * 1024;

/// The interfaces that are served, with their texts.
const INTERFACES: [(&str, &str); 5] = [
    (
        SERVICE_INTERFACE,
        include_str!("org.varlink.service.varlink"),
    ),
    ("org.arrivald.Services", api::SERVICES),
    ("org.arrivald.Devices", api::DEVICES),
    ("org.arrivald.Session", api::SESSION),
    ("org.arrivald.Daemon", api::DAEMON),
];

/// A request whose outcome is not known yet.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The connection that wants to know.
    pub(crate) connection: SessionId,
    /// How it is told.
    answer: Answer,
}

#[derive(Clone, Debug)]
enum Answer {
    /// The run that was started.
    Run(ServiceName),
    /// Nothing but that it is done; errors are of this interface.
    Done(&'static str),
    /// How many services were stopped.
    Stopped,
    /// What is wrong with the files now.
    Problems,
    /// Not at all: the subscription of a session that has just been opened.
    Nobody,
    /// Not at all, because the caller does not want to know.
    Oneway,
}

/// What a call leads to at once.
enum Step {
    /// A reply.
    Reply(Reply),
    /// A request to the engine, on behalf of a session.
    Request(SessionId, Request, Answer),
    /// A reply comes later, or has been given.
    Later,
}

type Stepped = Result<Step, Refusal>;

/// Why a call gets an error.
enum Refusal {
    Varlink(ServiceError),
    Denied(&'static str, Denied),
    NoSuchClass(&'static str, String),
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        Refusal::Varlink(error)
    }
}

impl Refusal {
    fn to_reply(&self) -> Reply {
        match self {
            Refusal::Varlink(error) => error.to_reply(),
            Refusal::Denied(_, Denied::NoSuchService(name)) => {
                let mut parameters = Parameters::new();
                parameters.insert("name".to_owned(), json!(name));
                Reply::error("org.arrivald.Services.NoSuchService", parameters)
            }
            Refusal::Denied(_, Denied::NoSuchSession) => {
                Reply::error("org.arrivald.Session.NoSuchSession", Parameters::new())
            }
            Refusal::Denied(interface, denied) => coded(
                &format!("{interface}.Denied"),
                denied.code(),
                &denied.to_string(),
            ),
            Refusal::NoSuchClass(interface, class) => {
                let mut parameters = Parameters::new();
                parameters.insert("class".to_owned(), json!(class));
                Reply::error(format!("{interface}.NoSuchClass"), parameters)
            }
        }
    }
}

/// An error with a Win32 code and a reason.
fn coded(name: &str, code: Win32Error, reason: &str) -> Reply {
    let mut parameters = Parameters::new();
    parameters.insert("code".to_owned(), json!(code.0));
    parameters.insert("reason".to_owned(), json!(reason));
    Reply::error(name, parameters)
}

fn reply<T: Serialize>(value: T) -> Stepped {
    Ok(Step::Reply(plain(value)))
}

fn plain<T: Serialize>(value: T) -> Reply {
    Reply::new(value).unwrap_or_else(|error| {
        // No type of ours is written as anything but an object.
        coded(
            "org.arrivald.Daemon.Denied",
            Win32Error::GEN_FAILURE,
            &error.to_string(),
        )
    })
}

fn wrong(parameter: &str) -> Refusal {
    Refusal::Varlink(ServiceError::InvalidParameter {
        parameter: parameter.to_owned(),
    })
}

const SERVICES: &str = "org.arrivald.Services";
const DEVICES: &str = "org.arrivald.Devices";
const SESSION: &str = "org.arrivald.Session";
const DAEMON: &str = "org.arrivald.Daemon";

impl Core {
    /// Somebody calls a method.
    pub(crate) fn called(&mut self, id: SessionId, call: Call) {
        let oneway = call.oneway;
        let step = match call.interface() {
            SERVICE_INTERFACE => Core::call_service(&call),
            SERVICES => self.call_services(id, &call),
            DEVICES => self.call_devices(id, &call),
            SESSION => self.call_session(id, &call),
            DAEMON => self.call_daemon(id, &call),
            other => Err(Refusal::Varlink(ServiceError::InterfaceNotFound {
                interface: other.to_owned(),
            })),
        };
        let reply = match step {
            Ok(Step::Reply(reply)) => reply,
            Ok(Step::Later) => return,
            Ok(Step::Request(session, request, answer)) => {
                let answer = if oneway { Answer::Oneway } else { answer };
                let interface = interface_of(&call);
                match self.request(id, session, request, answer) {
                    Ok(()) if oneway => {
                        self.end_call(id);
                        return;
                    }
                    Ok(()) => return,
                    Err(denied) => Refusal::Denied(interface, denied).to_reply(),
                }
            }
            Err(refusal) => refusal.to_reply(),
        };
        if oneway {
            self.end_call(id);
        } else {
            self.answer(id, &reply);
        }
    }

    /// Hands a request to the engine; its outcome is told to the connection later.
    fn request(
        &mut self,
        connection: SessionId,
        session: SessionId,
        request: Request,
        answer: Answer,
    ) -> Result<(), Denied> {
        let ticket = self.new_ticket();
        self.asked.insert(ticket, Asked { connection, answer });
        let done = self.engine.handle_request(now(), session, ticket, request);
        if done.is_err() {
            self.asked.remove(&ticket);
        }
        done
    }

    /// The engine has an outcome for a request.
    pub(crate) fn replied(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(asked) = self.asked.remove(&ticket) else {
            return;
        };
        let reply = match (asked.answer, outcome) {
            (Answer::Nobody | Answer::Oneway, _) => return,
            (Answer::Run(_), Outcome::Started(run)) => plain(StartReply { run: run.0 }),
            (Answer::Run(service), Outcome::Done | Outcome::ShutDown { .. }) => {
                let run = self.engine.service(&service).and_then(|view| view.run);
                plain(StartReply {
                    run: run.map_or(0, |run| run.0),
                })
            }
            (Answer::Run(_), Outcome::Failed { code, reason }) => {
                coded("org.arrivald.Services.Failed", code, &reason)
            }
            (Answer::Done(SERVICES), Outcome::Failed { code, reason }) => {
                coded("org.arrivald.Services.Failed", code, &reason)
            }
            (Answer::Done(interface), Outcome::Failed { code, reason }) => {
                coded(&format!("{interface}.Denied"), code, &reason)
            }
            (Answer::Stopped | Answer::Problems, Outcome::Failed { code, reason }) => {
                coded("org.arrivald.Daemon.Denied", code, &reason)
            }
            (Answer::Stopped, Outcome::ShutDown { stopped }) => {
                plain(daemon::ShutdownReply { stopped })
            }
            (Answer::Problems, Outcome::Started(_) | Outcome::Done | Outcome::ShutDown { .. }) => {
                plain(daemon::ReloadReply {
                    problems: self.all_problems(),
                })
            }
            (
                Answer::Done(_) | Answer::Stopped,
                Outcome::Started(_) | Outcome::Done | Outcome::ShutDown { .. },
            ) => plain(Empty {}),
        };
        self.answer(asked.connection, &reply);
    }

    /// The files have been read again, as somebody asked.
    pub(crate) fn reply_reload(&mut self, ticket: Ticket) {
        self.replied(ticket, Outcome::Done);
    }

    /// Gives the last reply to the call that a connection waits for.
    fn answer(&self, id: SessionId, reply: &Reply) {
        let Some(known) = self.connections.get(&id) else {
            return;
        };
        let message = encode(reply, LONGEST).or_else(|error| {
            let name = "org.arrivald.Daemon.Denied";
            let reply = coded(name, Win32Error::GEN_FAILURE, &error.to_string());
            encode(&reply, LONGEST)
        });
        known.outbox.push(message.unwrap_or_default());
        known.outbox.end_call();
    }

    fn end_call(&self, id: SessionId) {
        if let Some(known) = self.connections.get(&id) {
            known.outbox.end_call();
        }
    }

    /// Adds one reply to a session's stream.
    pub(crate) fn stream(&self, session: SessionId, item: &OpenReply) {
        let Some(known) = self.connections.get(&session) else {
            return;
        };
        let message = Reply::more(item)
            .map_err(|error| error.to_string())
            .and_then(|reply| encode(&reply, LONGEST).map_err(|error| error.to_string()));
        match message {
            Ok(message) => known.outbox.push(message),
            Err(error) => {
                // A hole in the stream would be worse than its end.
                tracing::error!("a notice cannot be told: {error}");
                known.outbox.close();
            }
        }
    }

    fn call_service(call: &Call) -> Stepped {
        match call.member() {
            "GetInfo" => {
                let names: Vec<&str> = INTERFACES.iter().map(|(name, _)| *name).collect();
                reply(json!({
                    "vendor": "Arrival",
                    "product": "arrivald",
                    "version": env!("CARGO_PKG_VERSION"),
                    "url": env!("CARGO_PKG_REPOSITORY"),
                    "interfaces": names,
                }))
            }
            "GetInterfaceDescription" => {
                let wanted = call.parameters.get("interface");
                let wanted = wanted
                    .and_then(|name| name.as_str())
                    .ok_or_else(|| wrong("interface"))?;
                let text = INTERFACES.iter().find(|(name, _)| *name == wanted);
                let Some((_, text)) = text else {
                    return Err(Refusal::Varlink(ServiceError::InterfaceNotFound {
                        interface: wanted.to_owned(),
                    }));
                };
                reply(json!({ "description": text }))
            }
            _ => Err(no_method(call)),
        }
    }

    fn call_services(&mut self, id: SessionId, call: &Call) -> Stepped {
        match call.member() {
            "List" => {
                let _: Empty = call.parameters_as()?;
                let services = self
                    .engine
                    .services()
                    .filter(|view| {
                        let name = &view.definition.name;
                        self.engine
                            .check(id, Some(name), Right::QueryStatus)
                            .is_ok()
                    })
                    .map(|view| self.shape(&view))
                    .collect();
                reply(services::ListReply { services })
            }
            "Status" => {
                let Named { name } = call.parameters_as()?;
                let name = self.readable(id, &name, Right::QueryStatus)?;
                let view = self.engine.service(&name).ok_or_else(|| missing(&name))?;
                reply(StatusReply {
                    service: self.shape(&view),
                })
            }
            "Start" => {
                let StartCall {
                    name,
                    arguments,
                    wait,
                } = call.parameters_as()?;
                let service = self.named(&name)?;
                let answer = Answer::Run(service.clone());
                let request = Request::Start {
                    service,
                    arguments,
                    wait,
                };
                Ok(Step::Request(id, request, answer))
            }
            "Stop" => {
                let StopCall { name, wait } = call.parameters_as()?;
                let service = self.named(&name)?;
                let request = Request::Stop { service, wait };
                Ok(Step::Request(id, request, Answer::Done(SERVICES)))
            }
            "Enable" => {
                let Named { name } = call.parameters_as()?;
                let request = Request::Enable(self.named(&name)?);
                Ok(Step::Request(id, request, Answer::Done(SERVICES)))
            }
            "Disable" => {
                let Named { name } = call.parameters_as()?;
                let request = Request::Disable(self.named(&name)?);
                Ok(Step::Request(id, request, Answer::Done(SERVICES)))
            }
            "Triggers" => {
                let TriggersCall { name } = call.parameters_as()?;
                let names: Vec<ServiceName> = match name {
                    Some(name) => vec![self.readable(id, &name, Right::QueryConfig)?],
                    None => self
                        .engine
                        .services()
                        .map(|view| view.definition.name.clone())
                        .filter(|name| {
                            let may = self.engine.check(id, Some(name), Right::QueryConfig);
                            may.is_ok()
                        })
                        .collect(),
                };
                let triggers = names
                    .iter()
                    .flat_map(|name| self.triggers_of(name))
                    .collect();
                reply(TriggersReply { triggers })
            }
            "Why" => {
                let Named { name } = call.parameters_as()?;
                let name = self.readable(id, &name, Right::QueryStatus)?;
                let view = self.engine.service(&name).ok_or_else(|| missing(&name))?;
                let why = self.engine.why(&name, |guid| self.class_name(guid));
                let why = why.ok_or_else(|| missing(&name))?;
                let triggers = self.triggers_of(&name).into_iter().zip(why.triggers);
                reply(WhyReply {
                    service: self.shape(&view),
                    answer: why.answer,
                    conditions: why.conditions.into_iter().map(shapes::condition).collect(),
                    triggers: triggers
                        .map(|(trigger, conditions)| TriggerReport {
                            trigger,
                            conditions: conditions.into_iter().map(shapes::condition).collect(),
                        })
                        .collect(),
                })
            }
            _ => Err(no_method(call)),
        }
    }

    fn shape(&self, view: &arrival_engine::view::ServiceView<'_>) -> services::Service {
        let path = self.paths.get(&view.definition.name.folded());
        shapes::service(view, path.map(std::path::PathBuf::as_path))
    }

    fn triggers_of(&self, name: &ServiceName) -> Vec<services::Trigger> {
        let Some(view) = self.engine.service(name) else {
            return Vec::new();
        };
        let triggers = view
            .definition
            .triggers
            .iter()
            .map(|trigger| match trigger {
                Trigger::Device(device) => {
                    let present = self.engine.present_for(device);
                    shapes::trigger(view.definition, device, &self.classes, present)
                }
            });
        triggers.collect()
    }

    fn call_devices(&mut self, id: SessionId, call: &Call) -> Stepped {
        self.may(DEVICES, id, Right::QueryStatus)?;
        match call.member() {
            "List" => {
                let devices::ListCall { class } = call.parameters_as()?;
                let wanted = class.map(|class| self.class(DEVICES, &class)).transpose()?;
                let interfaces = self
                    .engine
                    .interfaces()
                    .filter(|(one, _)| wanted.is_none_or(|class| one.key.class == class))
                    .map(|(one, cursor)| shapes::interface(one, cursor))
                    .collect();
                reply(devices::ListReply {
                    interfaces,
                    cursor: self.engine.cursor().to_string(),
                })
            }
            "Classes" => {
                let _: Empty = call.parameters_as()?;
                let built_in = arrival_model::class::Classes::built_in();
                let classes = self.classes.iter();
                reply(devices::ClassesReply {
                    classes: classes
                        .map(|class| shapes::class(class, &built_in))
                        .collect(),
                })
            }
            _ => Err(no_method(call)),
        }
    }

    fn call_session(&mut self, id: SessionId, call: &Call) -> Stepped {
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
            arguments: view.as_ref().map(|view| view.arguments.to_vec()),
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

    fn call_daemon(&mut self, id: SessionId, call: &Call) -> Stepped {
        let _: Empty = call.parameters_as()?;
        match call.member() {
            "Info" => {
                self.may(DAEMON, id, Right::QueryStatus)?;
                reply(self.info())
            }
            "Reload" => {
                self.may(DAEMON, id, Right::Administer)?;
                let ticket = self.new_ticket();
                let answer = if call.oneway {
                    Answer::Oneway
                } else {
                    Answer::Problems
                };
                let connection = id;
                self.asked.insert(ticket, Asked { connection, answer });
                if !self.files.look(Some((id, ticket))) {
                    self.asked.remove(&ticket);
                    return Ok(Step::Reply(coded(
                        "org.arrivald.Daemon.Denied",
                        Win32Error::GEN_FAILURE,
                        "the thread that reads files has ended",
                    )));
                }
                if call.oneway {
                    self.end_call(id);
                }
                Ok(Step::Later)
            }
            "Shutdown" => Ok(Step::Request(id, Request::Shutdown, Answer::Stopped)),
            _ => Err(no_method(call)),
        }
    }

    fn info(&self) -> daemon::InfoReply {
        let devices = self.devices.counters();
        let engine = self.engine.counters();
        let notify_dropped = self.notify.get_ref().dropped();
        let strays = self.facts.strays.clone();
        daemon::InfoReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            root: self.facts.root.clone(),
            boot_id: self.facts.boot_id.clone(),
            cursor: self.engine.cursor().to_string(),
            containment: self.hosts.get_ref().containment().kind().to_owned(),
            udev: self.facts.udev && std::path::Path::new("/run/udev/control").exists(),
            services: self.engine.service_count() as u64,
            interfaces: self.engine.interfaces().count() as u64,
            strays,
            counters: daemon::Counters {
                events: devices.events,
                spoofed: devices.spoofed,
                truncated: devices.truncated,
                overruns: devices.overruns,
                resyncs: engine.resyncs,
                wedged: devices.wedged,
                udev_timeouts: devices.udev_timeouts,
                notify_refused: self.notify_refused + notify_dropped,
                subscriber_overruns: engine.subscriber_overruns,
                connections_refused: self.gate.borrow().refused,
            },
            problems: self.all_problems(),
        }
    }

    /// What is wrong with files, and with writing the state.
    fn all_problems(&self) -> Vec<daemon::Problem> {
        let mut problems: Vec<daemon::Problem> =
            self.problems.iter().map(shapes::problem).collect();
        if let Some(error) = &self.state.error {
            let failures = self.state.failures;
            problems.push(daemon::Problem {
                path: self.facts.root.clone(),
                line: None,
                column: None,
                severity: "error".to_owned(),
                code: "state-not-saved".to_owned(),
                message: format!("{error} (failed {failures} times)"),
                remedy: Some("make room in the folder of the state".to_owned()),
            });
        }
        problems
    }

    /// The service of a name in any case.
    fn named(&self, name: &str) -> Result<ServiceName, Refusal> {
        self.engine
            .find(name)
            .ok_or_else(|| Refusal::Denied(SERVICES, Denied::NoSuchService(name.to_owned())))
    }

    /// The service of a name, if the peer may read it.
    fn readable(&self, id: SessionId, name: &str, right: Right) -> Result<ServiceName, Refusal> {
        let name = self.named(name)?;
        let checked = self.engine.check(id, Some(&name), right);
        checked.map_err(|denied| Refusal::Denied(SERVICES, denied))?;
        Ok(name)
    }

    /// Whether the peer has a right to the manager itself.
    fn may(&self, interface: &'static str, id: SessionId, right: Right) -> Result<(), Refusal> {
        let checked = self.engine.check(id, None, right);
        checked.map_err(|denied| Refusal::Denied(interface, denied))
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

    /// The class that somebody means; any GUID will do.
    fn class(&self, interface: &'static str, text: &str) -> Result<Guid, Refusal> {
        if let Some(class) = self.classes.resolve(text) {
            return Ok(class.guid);
        }
        let guid = text.parse();
        guid.map_err(|_| Refusal::NoSuchClass(interface, text.to_owned()))
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

fn missing(name: &ServiceName) -> Refusal {
    Refusal::Denied(SERVICES, Denied::NoSuchService(name.to_string()))
}

fn no_method(call: &Call) -> Refusal {
    Refusal::Varlink(ServiceError::MethodNotFound {
        method: call.method.clone(),
    })
}

fn interface_of(call: &Call) -> &'static str {
    let known = [SERVICES, DEVICES, SESSION, DAEMON];
    let interface = call.interface();
    known
        .into_iter()
        .find(|known| *known == interface)
        .unwrap_or(DAEMON)
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
