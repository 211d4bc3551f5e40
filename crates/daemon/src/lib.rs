//! The Arrival service manager: a library with a thin binary.
//!
//! | module | holds |
//! |---|---|
//! | `options` | what the command line says |
//! | `daemon` | from options to a running daemon, and to its end |
//! | `core` | the task that owns the engine, and what goes into it |
//! | `effects` | what comes out of it |
//! | `calls`, `shapes` | the methods of the control protocol, and how the engine's things look there |
//! | `connection`, `outbox` | the control socket, and each connection's own task |
//! | `spawner`, `program`, `names` | threads that start programs, what exactly is started, as whom |
//! | `files`, `watch` | the thread that reads definitions, and what makes it look again |
//! | `state` | what survives the daemon |
//! | `outcome` | what the threads report back |
//! | `clock`, `readable`, `log` | time, descriptors, and messages |
#![forbid(unsafe_code)]

mod boundary;
mod calls;
mod clock;
mod connection;
mod core;
mod daemon;
mod effects;
mod files;
mod log;
mod names;
mod options;
mod outbox;
mod outcome;
mod pipes;
mod ports;
mod program;
mod readable;
mod shapes;
mod signals;
mod spawner;
mod state;
mod watch;

pub use daemon::run;
pub use options::{Containment, LogLevel, Options, Parsed, USAGE, UsageError, VERSION};
