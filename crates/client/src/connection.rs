//! Calls to the manager and their answers.

use std::fs::File;
use std::time::{Duration, Instant};

use arrival_wire::api::daemon::{InfoReply, ReloadReply, ShutdownReply, Source, SourcesReply};
use arrival_wire::api::devices::{
    Class, ClassesReply, ListCall, ListReply as InterfaceList, OpenCall, OpenReply,
};
use arrival_wire::api::services::{
    ListReply, Named, Service, StartCall, StartReply, StatusReply, StopCall, Trigger, TriggersCall,
    TriggersReply, WhyReply,
};
use arrival_wire::api::{Denied, Empty};
use arrival_wire::frame::{CALL_LIMIT, encode};
use arrival_wire::message::{Call, Reply, ServiceError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind};
use crate::root::Root;
use crate::transport::Transport;

/// How long an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For everything that the manager answers at once.
    pub answer: Duration,
    /// For a start, stop or shutdown that is waited for.
    pub completion: Duration,
}

impl Default for Patience {
    /// Ten seconds for an answer, ten minutes for a completion: longer than the deadlines that
    /// the manager itself keeps for a service, unless its definition says otherwise.
    fn default() -> Self {
        Patience {
            answer: Duration::from_secs(10),
            completion: Duration::from_secs(600),
        }
    }
}

/// What an opened device is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    #[default]
    ReadWrite,
}

impl Access {
    fn word(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::ReadWrite => "read_write",
        }
    }
}

/// A connection to the manager, on which one call is made after the other.
///
/// An answer that does not come in time ends the connection, and the next call makes a new one: a late
/// answer is never taken for that of another call.
///
/// ```no_run
/// use arrival_client::{Connection, Root};
///
/// let mut manager = Connection::connect(&Root::system())?;
/// for interface in manager.interfaces(Some("net"))?.interfaces {
///     println!("{} {}", interface.name, interface.link);
/// }
/// manager.start("gpsd", &[], true)?;
/// assert_eq!(manager.status("gpsd")?.state, "RUNNING");
/// # Ok::<(), arrival_client::Error>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    root: Root,
    patience: Patience,
    transport: Option<Transport>,
}

impl Connection {
    /// Connects to the manager of a root.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoDaemon`] if nobody answers there, [`ErrorKind::Timeout`] if the manager does
    /// not accept connections, [`ErrorKind::Denied`] if the socket may not be used.
    pub fn connect(root: &Root) -> Result<Self, Error> {
        Connection::connect_with(root, Patience::default())
    }

    /// Connects, with another patience.
    ///
    /// # Errors
    ///
    /// As [`connect`](Connection::connect).
    pub fn connect_with(root: &Root, patience: Patience) -> Result<Self, Error> {
        Ok(Connection {
            root: root.clone(),
            patience,
            transport: Some(Transport::connect(root, patience.answer)?),
        })
    }

    /// Which manager this is a connection to.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Calls any method, by its name with its interface.
    ///
    /// # Errors
    ///
    /// Every kind of [`ErrorKind`].
    pub fn call<P: Serialize, R: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: &P,
    ) -> Result<R, Error> {
        self.call_within(method, parameters, self.patience.answer)
    }

    fn call_within<P: Serialize, R: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: &P,
        patience: Duration,
    ) -> Result<R, Error> {
        let deadline = Instant::now() + patience;
        let mut transport = match self.transport.take() {
            Some(transport) => transport,
            None => Transport::connect(&self.root, self.patience.answer)?,
        };
        let reply = exchange(&mut transport, method, parameters, false, deadline)?;
        if reply.continues {
            return Err(Error::new(ErrorKind::Protocol, transport.name())
                .because("more answers than were asked for"));
        }
        let result = read(&reply, transport.name());
        self.transport = Some(transport);
        result
    }

    /// All services.
    ///
    /// # Errors
    ///
    /// Those of a call.
    pub fn services(&mut self) -> Result<Vec<Service>, Error> {
        let reply: ListReply = self.call("org.arrivald.Services.List", &Empty {})?;
        Ok(reply.services)
    }

    /// One service.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchService`], and those of a call.
    pub fn status(&mut self, name: &str) -> Result<Service, Error> {
        let reply: StatusReply = self.call("org.arrivald.Services.Status", &named(name))?;
        Ok(reply.service)
    }

    /// Starts a service, and gives the number of its run; with `wait` when it is running.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Failed`] if it did not become RUNNING, [`ErrorKind::Denied`] with code 1056 if
    /// it runs already and 1058 if it is disabled.
    #[doc(alias = "StartService")]
    pub fn start(&mut self, name: &str, arguments: &[String], wait: bool) -> Result<u64, Error> {
        let call = StartCall {
            name: name.to_owned(),
            arguments: arguments.to_vec(),
            wait,
        };
        let patience = self.patience_for(wait);
        let reply: StartReply = self.call_within("org.arrivald.Services.Start", &call, patience)?;
        Ok(reply.run)
    }

    /// Stops a service; with `wait` it has stopped when this returns.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] with code 1062 if it does not run.
    #[doc(alias = "ControlService")]
    pub fn stop(&mut self, name: &str, wait: bool) -> Result<(), Error> {
        let call = StopCall {
            name: name.to_owned(),
            wait,
        };
        let patience = self.patience_for(wait);
        self.call_within("org.arrivald.Services.Stop", &call, patience)
            .map(|Ignored {}| ())
    }

    /// Allows a service to be started.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchService`], [`ErrorKind::Denied`], and those of a call.
    pub fn enable(&mut self, name: &str) -> Result<(), Error> {
        self.call("org.arrivald.Services.Enable", &named(name))
            .map(|Ignored {}| ())
    }

    /// Forbids a service to be started; a run goes on.
    ///
    /// # Errors
    ///
    /// As [`enable`](Connection::enable).
    pub fn disable(&mut self, name: &str) -> Result<(), Error> {
        self.call("org.arrivald.Services.Disable", &named(name))
            .map(|Ignored {}| ())
    }

    /// What starts one service, or any.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchService`], and those of a call.
    pub fn triggers(&mut self, name: Option<&str>) -> Result<Vec<Trigger>, Error> {
        let call = TriggersCall {
            name: name.map(str::to_owned),
        };
        let reply: TriggersReply = self.call("org.arrivald.Services.Triggers", &call)?;
        Ok(reply.triggers)
    }

    /// Why a service runs or does not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchService`], and those of a call.
    pub fn why(&mut self, name: &str) -> Result<WhyReply, Error> {
        self.call("org.arrivald.Services.Why", &named(name))
    }

    /// The interfaces that are present: all, or those of one class by its short name or GUID.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchClass`], and those of a call.
    #[doc(alias = "CM_Get_Device_Interface_List")]
    pub fn interfaces(&mut self, class: Option<&str>) -> Result<InterfaceList, Error> {
        let call = ListCall {
            class: class.map(str::to_owned),
        };
        self.call("org.arrivald.Devices.List", &call)
    }

    /// Opens the node of a present interface, named by its link: the manager opens it and hands it over, so that
    /// a service needs no right of its own to the node.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] with code 5 for whoever is neither root nor a service that the interface starts, 433
    /// if it is gone, 50 if it has no node, 170 if it is busy.
    #[doc(alias = "CreateFile")]
    pub fn open(&mut self, link: &str, access: Access) -> Result<File, Error> {
        let call = OpenCall {
            link: link.to_owned(),
            access: Some(access.word().to_owned()),
        };
        let _: OpenReply = self.call("org.arrivald.Devices.Open", &call)?;
        let descriptor = self.transport.as_mut().and_then(Transport::take_descriptor);
        descriptor.map(File::from).ok_or_else(|| {
            Error::new(ErrorKind::Protocol, link).because("the answer came without the opened node")
        })
    }

    /// The interface classes that are known.
    ///
    /// # Errors
    ///
    /// Those of a call.
    pub fn classes(&mut self) -> Result<Vec<Class>, Error> {
        let reply: ClassesReply = self.call("org.arrivald.Devices.Classes", &Empty {})?;
        Ok(reply.classes)
    }

    /// What the manager says of itself.
    ///
    /// # Errors
    ///
    /// Those of a call.
    pub fn info(&mut self) -> Result<InfoReply, Error> {
        self.call("org.arrivald.Daemon.Info", &Empty {})
    }

    /// Where events come from, and what each source has lost.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`], and those of a call.
    pub fn sources(&mut self) -> Result<Vec<Source>, Error> {
        let reply: SourcesReply = self.call("org.arrivald.Daemon.Sources", &Empty {})?;
        Ok(reply.sources)
    }

    /// Has definitions and classes read again now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`], and those of a call.
    pub fn reload(&mut self) -> Result<ReloadReply, Error> {
        self.call("org.arrivald.Daemon.Reload", &Empty {})
    }

    /// Stops all services in order, then the manager; returns how many services were stopped.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`], and those of a call.
    pub fn shutdown(&mut self) -> Result<u64, Error> {
        let patience = self.patience.completion;
        let reply: ShutdownReply =
            self.call_within("org.arrivald.Daemon.Shutdown", &Empty {}, patience)?;
        Ok(reply.stopped)
    }

    fn patience_for(&self, wait: bool) -> Duration {
        if wait {
            self.patience.completion
        } else {
            self.patience.answer
        }
    }
}

/// An answer of which nothing is needed; a newer manager may say more in it.
#[derive(serde::Deserialize)]
pub(crate) struct Ignored {}

fn named(name: &str) -> Named {
    Named {
        name: name.to_owned(),
    }
}

/// Sends a call and receives its first answer.
pub(crate) fn exchange<P: Serialize>(
    transport: &mut Transport,
    method: &str,
    parameters: &P,
    more: bool,
    deadline: Instant,
) -> Result<Reply, Error> {
    let unsendable = |cause: String| Error::new(ErrorKind::Io, method).because(cause);
    let mut call = Call::new(method)
        .with(parameters)
        .map_err(|error| unsendable(error.to_string()))?;
    call.more = more;
    let bytes = encode(&call, CALL_LIMIT).map_err(|error| unsendable(error.to_string()))?;
    let sent = transport.send(&bytes, deadline);
    let message = match (sent, transport.receive(Some(deadline))) {
        (_, Ok(message)) => message,
        // A manager that lets nobody in says why before it closes: only without that does it matter
        // that the call could not be sent.
        (Err(error), Err(_)) | (Ok(()), Err(error)) => return Err(error),
    };
    parse(&message, transport.name())
}

pub(crate) fn parse(message: &[u8], name: &str) -> Result<Reply, Error> {
    Reply::parse(message)
        .map_err(|error| Error::new(ErrorKind::Protocol, name).because(error.to_string()))
}

/// Reads the parameters of a reply, or the error that it is.
pub(crate) fn read<R: DeserializeOwned>(reply: &Reply, name: &str) -> Result<R, Error> {
    if let Some(error) = &reply.error {
        return Err(refusal(reply, error, name));
    }
    reply
        .parameters_as()
        .map_err(|error| Error::new(ErrorKind::Protocol, name).because(error.to_string()))
}

/// The error that the manager answered with.
fn refusal(reply: &Reply, error: &str, name: &str) -> Error {
    if let Some(error) = ServiceError::from_reply(reply) {
        let kind = match &error {
            ServiceError::InterfaceNotFound { .. }
            | ServiceError::MethodNotFound { .. }
            | ServiceError::MethodNotImplemented { .. } => ErrorKind::Unsupported,
            ServiceError::PermissionDenied => ErrorKind::Denied,
            ServiceError::InvalidParameter { .. } => ErrorKind::Failed,
            ServiceError::ExpectedMore => ErrorKind::Protocol,
        };
        let result = Error::new(kind, name).because(error.to_string());
        return match error {
            // ERROR_INVALID_PARAMETER.
            ServiceError::InvalidParameter { .. } => result.with_code(87),
            ServiceError::InterfaceNotFound { .. }
            | ServiceError::MethodNotFound { .. }
            | ServiceError::MethodNotImplemented { .. }
            | ServiceError::PermissionDenied
            | ServiceError::ExpectedMore => result,
        };
    }
    let text = |key: &str| {
        let value = reply.parameters.get(key).and_then(|value| value.as_str());
        value.unwrap_or_default().to_owned()
    };
    let member = error.rsplit_once('.').map_or(error, |(_, member)| member);
    match member {
        "NoSuchService" => Error::new(ErrorKind::NoSuchService, text("name")),
        "NoSuchClass" => Error::new(ErrorKind::NoSuchClass, text("class")),
        "NoSuchSession" => Error::new(ErrorKind::NoSuchSession, name),
        "Denied" | "Failed" => {
            let kind = if member == "Denied" {
                ErrorKind::Denied
            } else {
                ErrorKind::Failed
            };
            match reply.parameters_as::<Denied>() {
                Ok(denied) => Error::new(kind, name)
                    .because(denied.reason)
                    .with_code(denied.code),
                Err(error) => Error::new(ErrorKind::Protocol, name).because(error.to_string()),
            }
        }
        _ => Error::new(ErrorKind::Protocol, name).because(format!("unknown error '{error}'")),
    }
}
