//! The daemon as a program of its own.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use arrivald::{Options, Parsed, USAGE, VERSION};

fn main() -> ExitCode {
    match Options::parse(std::env::args_os().skip(1)) {
        Ok(Parsed::Run(options)) => arrivald::run(options),
        Ok(Parsed::Help) => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        Ok(Parsed::Version) => {
            println!("{VERSION}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("arrivald: {error}; see arrivald --help");
            ExitCode::from(2)
        }
    }
}
