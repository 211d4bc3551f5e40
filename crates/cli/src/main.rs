//! The command line of Arrival.
//!
//! | module | holds |
//! |---|---|
//! | [`args`], [`examples`] | the arguments: the one source of help, man pages and completions |
//! | [`commands`] | what each command does |
//! | [`demo`] | the demonstration |
//! | [`exit`] | how a command ends |
//! | [`screen`], [`table`], [`text`] | how answers look |
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

mod args;
mod commands;
mod demo;
mod examples;
mod exit;
mod screen;
mod table;
mod text;

fn main() -> ExitCode {
    if let Some(exit) = demo::hidden() {
        return exit;
    }
    let mut command = args::Arguments::command();
    let matches = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) => error.exit(),
    };
    match args::Arguments::from_arg_matches(&matches) {
        Ok(arguments) => commands::run(arguments, command),
        Err(error) => error.format(&mut command).exit(),
    }
}
