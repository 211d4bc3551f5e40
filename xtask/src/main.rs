//! Developer commands, one file each.
//!
//! | command | file | does |
//! |---|---|---|
//! | `test` | [`mod@test`] | every test, and one line that counts them |
//! | `slow` | [`slow`] | deep exploration, long property runs, mutants |
//! | `bench` | [`mod@bench`] | measurements |
//! | `docs` | [`mod@docs`] | the parts of the manual that come from data files |
//! | `deb` | [`deb`] | a Debian package |
//! | `record` | [`mod@record`] | the devices of this machine as text, and back |
//! | `fetch-peers` | [`peers`] | other systems to measure against, unpacked and not installed |
//! | `vm-test` | [`vm`] | cases in a virtual machine with a real USB bus |
//! | `udevd` | [`udevd`] | a command in namespaces of its own with a real udevd |
#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::process::ExitCode;

mod bench;
mod count;
mod deb;
mod docs;
#[cfg(test)]
mod documents;
mod packages;
mod peers;
mod record;
mod slow;
mod test;
mod udevd;
mod vm;
mod workspace;

/// How a command ends that could not do its work.
type Outcome<T> = Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [CARGO TEST ARGUMENTS]      run every test (or those that cargo test would run) and count them
  slow [explore] [flaps] [adoption] [mutants]
                                   deep exploration, long property runs, the whole flap matrix, a kill at every boundary,
                                   mutants of the engine
  bench NAME [--json] [--quick]    measure; `bench` alone lists the names
  docs                             write the parts of docs/ that come from data files
  deb [--profile NAME] [--out DIR]  make a Debian package in target/deb
  record [--sysfs DIR] [--run-udev DIR]
                                   write the devices of this machine as text (tests/recordings)
  record --replay FILE DIR         make DIR/sys and DIR/udev of a recording, for arrivald's --sysfs and --run-udev
  fetch-peers                      unpack busybox and systemd-udevd into target/peers
  vm-test [--list] [--shell] [--no-udevd | --udevd] [CASE...]
                                   run cases in a virtual machine, without and with udevd
  udevd [--rules FILE] -- COMMAND...
                                   run COMMAND beside a real udevd in namespaces of its own (root)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", arguments.as_slice()),
    };
    let outcome = match command {
        "test" => test::run(rest),
        "slow" => slow::run(rest),
        "bench" => bench::run(rest),
        "docs" => docs::run(rest),
        "deb" => deb::run(rest),
        "record" => record::run(rest),
        "fetch-peers" => peers::run(rest),
        "vm-test" => vm::run(rest),
        "udevd" => udevd::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => {
            eprint!("xtask: no command '{other}'\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask {command}: {error}");
        ExitCode::FAILURE
    })
}
