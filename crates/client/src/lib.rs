//! What a program links to talk to Arrival: to list and watch device interfaces, to control
//! services, and to be one. Everything blocks, nothing needs a runtime.
//!
//! | to | use |
//! |---|---|
//! | list interfaces, ask for services, start and stop them | [`Connection`] |
//! | follow what arrives, leaves and changes | [`Watch`] |
//! | be a service that reports its states and is asked to stop | [`Session`] |
//!
//! # Which network interfaces are there, and which arrive later?
//!
//! ```no_run
//! use arrival_client::{NoticeKind, Root, Subscription, Watch};
//!
//! let subscription = Subscription { classes: vec!["net".into()], ..Default::default() };
//! for notice in Watch::open(&Root::system(), subscription)? {
//!     let notice = notice?;
//!     let Some(interface) = &notice.interface else { continue };
//!     match notice.kind {
//!         NoticeKind::Snapshot => println!("{} is there", interface.name),
//!         NoticeKind::Arrival => println!("{} arrived", interface.name),
//!         NoticeKind::Removal => println!("{} is gone", interface.name),
//!         NoticeKind::State | NoticeKind::Overrun | NoticeKind::Resync => {}
//!     }
//! }
//! # Ok::<(), arrival_client::Error>(())
//! ```
//!
//! # Does this service run, and if not, why?
//!
//! ```no_run
//! use arrival_client::{Connection, ErrorKind, Root};
//!
//! let mut manager = Connection::connect(&Root::system())?;
//! match manager.why("gpsd") {
//!     Ok(why) => println!("{}: {}", why.service.state, why.answer),
//!     Err(error) if error.kind() == ErrorKind::NoSuchService => println!("never heard of it"),
//!     Err(error) => return Err(error),
//! }
//! # Ok::<(), arrival_client::Error>(())
//! ```
//!
//! # A service
//!
//! A program whose definition says `protocol = "control"` opens a session, reports that it runs, and
//! lets go when it is asked to.
//!
//! ```no_run
//! use arrival_client::{Accepts, Incoming, Report, Root, ServiceState, Session, Win32Error};
//!
//! let mut session = Session::open(&Root::of_service(), None)?;
//! let sender = session.sender();
//! sender.report(Report { accepts: Accepts::STOP, ..Report::new(ServiceState::Running) })?;
//! loop {
//!     if let Incoming::Ask(ask) = session.receive()? && ask.control == "stop" {
//!         sender.answer(ask.ask, Win32Error::SUCCESS)?;
//!         sender.report(Report::new(ServiceState::StopPending))?;
//!         // ... let go ...
//!         sender.report(Report::new(ServiceState::Stopped))?;
//!         break;
//!     }
//! }
//! # Ok::<(), arrival_client::Error>(())
//! ```
#![forbid(unsafe_code)]

mod connection;
mod error;
mod known;
mod root;
mod session;
mod transport;
mod watch;

pub use arrival_model::cursor::Cursor;
pub use arrival_model::error::Win32Error;
pub use arrival_model::state::{Accepts, ServiceState};
pub use arrival_wire::api::daemon::{Counters, InfoReply, Problem, ReloadReply};
pub use arrival_wire::api::devices::{Class, Interface, ListReply as InterfaceList};
pub use arrival_wire::api::services::{Condition, Service, Trigger, TriggerReport, WhyReply};
pub use arrival_wire::api::session::{Ask, Notice, NoticeKind, StateChange, Subscription};

pub use connection::{Connection, Patience};
pub use error::{Error, ErrorKind};
pub use root::Root;
pub use session::{Incoming, Report, Sender, Session};
pub use watch::Watch;
