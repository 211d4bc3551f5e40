//! What a program links to talk to Arrival: to be a service of devices, to list and watch device interfaces, to
//! control services. Everything blocks, nothing needs a runtime.
//!
//! # A service that lives exactly as long as its device
//!
//! A service of a device has a pattern, whatever the device is, and most services get a part of it wrong:
//!
//! 1. Register for notices of arrivals and removals **first**, list what is there **second**: otherwise what arrives in
//!    between is lost.
//! 2. Take each interface **once**, although notice and list both tell of it.
//! 3. Open the device, and know when it goes: **release** the handle then, or the device cannot be removed in an
//!    orderly way, and its successor may be refused.
//! 4. When the **last** device has gone, stop. A device that arrives while the service stops must not be lost: ask to
//!    stop only if nothing has changed since what you know.
//! 5. When **asked** to stop, close every handle, then say that you have stopped.
//!
//! [`Service`] is this pattern. The author says what a device needs, in a function that returns whatever is to be
//! kept while the device is there:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use arrival_client::Service;
//!
//! fn main() -> ExitCode {
//!     Service::of_class("comport").with_id("USB\\VID_067B&PID_2303").run(|device| device.open())
//! }
//! ```
//!
//! That is a whole service: it reports its states, opens every such port as it arrives, closes it when it goes, and
//! stops after the last. Its definition says `protocol = "control"` and `follow = false`, or an INF file installs it.
//! The manager opens the node and hands it over, so that the service may run as a user without any right to it.
//!
//! # The rest
//!
//! | to | use | instead of |
//! |---|---|---|
//! | be a service of devices | [`Service`] | ServiceMain, CM_Register_Notification, CreateFile |
//! | be any other service | [`Session`] | RegisterServiceCtrlHandlerEx, SetServiceStatus |
//! | follow what arrives, leaves and changes | [`Watch`] | CM_Register_Notification |
//! | the same in an async program | `Watch::into_stream` (feature `stream`) | |
//! | list interfaces, start and stop services | [`Connection`] | CM_Get_Device_Interface_List, StartService |
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
//! # A service by hand
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
mod event;
mod known;
mod root;
mod service;
mod session;
#[cfg(feature = "stream")]
mod stream;
mod transport;
mod watch;

pub use arrival_model::cursor::Cursor;
pub use arrival_model::error::Win32Error;
pub use arrival_model::event::EventHead as Event;
pub use arrival_model::guid::Guid;
pub use arrival_model::state::{Accepts, ServiceState};
pub use arrival_wire::api::daemon::{Counters, InfoReply, Problem, ReloadReply, Source};
pub use arrival_wire::api::devices::{Class, Interface, ListReply as InterfaceList};
pub use arrival_wire::api::services::{
    Condition, Service as ServiceStatus, Trigger, TriggerReport, WhyReply,
};
pub use arrival_wire::api::session::{Ask, Notice, NoticeKind, StateChange, Subscription};

pub use connection::{Access, Connection, Patience};
pub use error::{Error, ErrorKind};
pub use event::EventProvider;
pub use root::Root;
pub use service::{Device, Service};
pub use session::{Incoming, Report, Sender, Session};
#[cfg(feature = "stream")]
pub use stream::WatchStream;
pub use watch::Watch;
