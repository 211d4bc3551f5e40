//! The vocabulary of Arrival, shared by every other crate: what a service, a trigger, a device
//! interface and a state are, without any input or output.
//!
//! | module | holds |
//! |---|---|
//! | [`access`] | who asks, what they ask for, and whether they may |
//! | [`ce_name`] | names of interfaces in Windows CE's form |
//! | [`class`] | interface classes: a GUID, a short name, and a predicate over a device |
//! | [`cursor`] | the position in the stream of all interface changes |
//! | [`definition`] | what a service is: its program, its triggers, its policies |
//! | [`device`] | what was recorded of a device, and of its ancestors |
//! | [`diagnostic`] | what is wrong with a file, where, and what to do about it |
//! | [`error`] | Win32 error codes |
//! | [`event`] | custom events, and which of them a trigger waits for |
//! | [`exit`] | how a process ended |
//! | [`guid`] | 128-bit identifiers in Windows' text form |
//! | [`hwid`] | hardware and compatible ids, from what was recorded of a device |
//! | [`interface`] | a device interface: its identity, its names, its ids |
//! | [`pipe`] | names of pipes, and of the sockets that stand for them |
//! | [`port`] | which listening sockets a trigger means |
//! | [`service_trigger`] | a trigger as Windows keeps it: types, subtypes, actions, data items |
//! | [`state`] | the seven service states, accepted controls, reasons |
//! | [`time`] | nanoseconds of CLOCK_BOOTTIME |
//! | [`trigger`] | what starts a service, and what stops it |
#![forbid(unsafe_code)]

pub mod access;
pub mod ce_name;
pub mod class;
pub mod cursor;
pub mod definition;
pub mod device;
pub mod diagnostic;
pub mod error;
pub mod event;
pub mod exit;
pub mod guid;
pub mod hwid;
pub mod interface;
pub mod pipe;
pub mod port;
pub mod service_trigger;
pub mod state;
pub mod time;
pub mod trigger;
