//! The methods of the control protocol: from calls to requests, from outcomes to replies.
//!
//! The interfaces' texts, served verbatim, say what each method means. Requests that change
//! something are checked by the engine; those that only read ask the same place
//! ([`Engine::check`](arrival_engine::Engine::check)) here.

use arrival_engine::api::{Denied, Reply as Outcome, Request, SessionId, Ticket};
use arrival_model::access::Right;
use arrival_model::definition::ServiceName;
use arrival_model::error::Win32Error;
use arrival_model::guid::Guid;
use arrival_wire::api::services::StartReply;
use arrival_wire::api::session::OpenReply;
use arrival_wire::api::{self, Empty, daemon};
use arrival_wire::frame::encode;
use arrival_wire::message::{Call, Parameters, Reply, SERVICE_INTERFACE, ServiceError};
use serde::Serialize;
use serde_json::json;

use crate::clock::now;
use crate::core::Core;

mod devices;
mod manager;
mod services;
mod session;

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

    /// The class that somebody means; any GUID will do.
    fn class(&self, interface: &'static str, text: &str) -> Result<Guid, Refusal> {
        if let Some(class) = self.classes.resolve(text) {
            return Ok(class.guid);
        }
        let guid = text.parse();
        guid.map_err(|_| Refusal::NoSuchClass(interface, text.to_owned()))
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
