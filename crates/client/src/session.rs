//! A session: notices and questions in one stream, calls and answers beside it.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrival_model::cursor::Cursor;
use arrival_model::error::Win32Error;
use arrival_model::state::{Accepts, ServiceState};
use arrival_wire::api::devices::Interface;
use arrival_wire::api::session::{
    AnswerCall, Ask, Notice, OpenCall, OpenReply, ReportCall, StopIfUnchangedCall, SubscribeCall,
    Subscription,
};

use crate::connection::{Access, Connection, Ignored, Patience, exchange, parse, read};
use crate::error::{Error, ErrorKind};
use crate::known::{Arrivals, Key};
use crate::root::Root;
use crate::transport::Transport;

/// What comes to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// Something changed, or a part of a snapshot.
    Notice(Box<Notice>),
    /// The manager asks something of a service; it waits for [`Sender::answer`].
    Ask(Ask),
}

/// A session with the manager, from its opening until this value is dropped.
///
/// ```no_run
/// use arrival_client::{Incoming, Root, Session, Subscription};
/// use std::time::Duration;
///
/// let subscription = Subscription { classes: vec!["net".into()], ..Default::default() };
/// let mut session = Session::open(&Root::system(), Some(&subscription))?;
/// let sender = session.sender();
/// while let Some(incoming) = session.receive_within(Duration::from_secs(60))? {
///     match incoming {
///         Incoming::Notice(notice) => println!("{:?} {}", notice.kind, notice.cursor),
///         Incoming::Ask(ask) => sender.answer(ask.ask, Default::default())?,
///         _ => {}
///     }
/// }
/// # Ok::<(), arrival_client::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    stream: Transport,
    run: Option<u64>,
    arguments: Vec<String>,
    sender: Sender,
}

impl Session {
    /// Opens a session; without a subscription it carries questions only.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchClass`] if the subscription names an unknown class, and those of
    /// [`Connection::connect`].
    pub fn open(root: &Root, subscription: Option<&Subscription>) -> Result<Self, Error> {
        Session::open_with(root, subscription, Patience::default())
    }

    /// Opens a session, with another patience for the opening and for its calls.
    ///
    /// # Errors
    ///
    /// As [`open`](Session::open).
    pub fn open_with(
        root: &Root,
        subscription: Option<&Subscription>,
        patience: Patience,
    ) -> Result<Self, Error> {
        let deadline = Instant::now() + patience.answer;
        let mut stream = Transport::connect(root, patience.answer)?;
        let call = OpenCall {
            subscription: subscription.cloned(),
        };
        let method = "org.arrivald.Session.Open";
        let reply = exchange(&mut stream, method, &call, true, deadline)?;
        let opened: OpenReply = read(&reply, stream.name())?;
        let Some(token) = opened.token.filter(|_| reply.continues) else {
            return Err(Error::new(ErrorKind::Protocol, stream.name())
                .because("the first answer is not the beginning of a session"));
        };
        let calls = Connection::connect_with(root, patience)?;
        Ok(Session {
            stream,
            run: opened.run,
            arguments: opened.arguments.unwrap_or_default(),
            sender: Sender {
                token,
                calls: Arc::new(Mutex::new(calls)),
            },
        })
    }

    /// The run whose process this is; none if it is not that of a service.
    pub fn run(&self) -> Option<u64> {
        self.run
    }

    /// The arguments of the service's main function.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The side that calls; it can be cloned and used from any thread.
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// What comes next, however long that takes.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] when the manager ends or ends this session.
    pub fn receive(&mut self) -> Result<Incoming, Error> {
        loop {
            if let Some(incoming) = self.take(None)? {
                return Ok(incoming);
            }
        }
    }

    /// What comes next, or none if nothing comes in time.
    ///
    /// # Errors
    ///
    /// As [`receive`](Session::receive).
    pub fn receive_within(&mut self, time: Duration) -> Result<Option<Incoming>, Error> {
        let deadline = Instant::now() + time;
        loop {
            match self.take(Some(deadline)) {
                Ok(Some(incoming)) => return Ok(Some(incoming)),
                // A record of a kind that is newer than this program.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Timeout => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, deadline: Option<Instant>) -> Result<Option<Incoming>, Error> {
        let message = self.stream.receive(deadline)?;
        let reply = parse(&message, self.stream.name())?;
        let item: OpenReply = read(&reply, self.stream.name())?;
        if !reply.continues {
            return Err(Error::new(ErrorKind::Disconnected, self.stream.name())
                .because("the session was ended"));
        }
        Ok(match (item.notice, item.ask) {
            (Some(notice), _) => Some(Incoming::Notice(Box::new(notice))),
            (None, Some(ask)) => Some(Incoming::Ask(ask)),
            (None, None) => None,
        })
    }
}

/// The side of a session that calls.
#[derive(Clone, Debug)]
pub struct Sender {
    token: String,
    calls: Arc<Mutex<Connection>>,
}

impl Sender {
    fn call<P: serde::Serialize>(&self, method: &str, parameters: &P) -> Result<(), Error> {
        // A thread that panicked in a call has left at most a connection that is made anew.
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls
            .call(&format!("org.arrivald.Session.{method}"), parameters)
            .map(|Ignored {}| ())
    }

    /// When each present interface arrived.
    pub(crate) fn arrivals(&self) -> Result<Arrivals, Error> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let list = calls.interfaces(None)?;
        let cursor = |interface: &Interface| interface.cursor.parse().ok();
        Ok(list
            .interfaces
            .iter()
            .filter_map(|interface| Some((Key::of(interface), cursor(interface)?)))
            .collect())
    }

    /// Opens the node of a present interface: [`Connection::open`].
    ///
    /// # Errors
    ///
    /// As [`Connection::open`].
    pub fn open(&self, link: &str, access: Access) -> Result<File, Error> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.open(link, access)
    }

    /// Replaces what the session is subscribed to; a snapshot comes first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoSuchSession`], [`ErrorKind::NoSuchClass`], and those of a call.
    pub fn subscribe(&self, subscription: Subscription) -> Result<(), Error> {
        let token = self.token.clone();
        self.call(
            "Subscribe",
            &SubscribeCall {
                token,
                subscription,
            },
        )
    }

    /// Answers a question; [`Win32Error::SUCCESS`] says that it is or will be done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] with code 1168 if the question is not open.
    pub fn answer(&self, ask: u64, code: Win32Error) -> Result<(), Error> {
        let token = self.token.clone();
        let code = code.0;
        self.call("Answer", &AnswerCall { token, ask, code })
    }

    /// Says which state the service of this process is in.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] if this process is not that of a service, or the service cannot
    /// become that.
    #[doc(alias = "SetServiceStatus")]
    pub fn report(&self, report: Report) -> Result<(), Error> {
        let wait_hint_ms = u32::try_from(report.wait_hint.as_millis()).unwrap_or(u32::MAX);
        self.call(
            "Report",
            &ReportCall {
                token: self.token.clone(),
                state: report.state.name().to_owned(),
                accepts: report.accepts.0,
                checkpoint: report.checkpoint,
                wait_hint_ms,
                exit_code: report.exit_code.0,
            },
        )
    }

    /// Stops the service of this process, unless an interface arrived later than the cursor.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] with code 1237 if one did: the service has work to do, and goes on.
    pub fn stop_if_unchanged(&self, cursor: Cursor) -> Result<(), Error> {
        self.call(
            "StopIfUnchanged",
            &StopIfUnchangedCall {
                token: self.token.clone(),
                cursor: cursor.to_string(),
            },
        )
    }
}

/// What a service says of itself.
#[doc(alias = "SERVICE_STATUS")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The state it is in.
    pub state: ServiceState,
    /// The controls that it accepts in this state.
    pub accepts: Accepts,
    /// Grows while a pending operation makes progress.
    pub checkpoint: u32,
    /// How long until the next checkpoint or the end of the operation.
    pub wait_hint: Duration,
    /// The exit code; counts with STOPPED.
    pub exit_code: Win32Error,
}

impl Report {
    /// A report of this state and nothing else.
    pub fn new(state: ServiceState) -> Self {
        Report {
            state,
            accepts: Accepts::default(),
            checkpoint: 0,
            wait_hint: Duration::ZERO,
            exit_code: Win32Error::SUCCESS,
        }
    }
}
