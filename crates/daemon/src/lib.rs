//! The Arrival service manager: a library with a thin binary.
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod options;

pub use options::{Containment, LogLevel, Options, Parsed, USAGE, UsageError, VERSION};

/// Runs the daemon until it is told to end.
pub fn run(_options: Options) -> ExitCode {
    ExitCode::FAILURE
}
