//! The measured manager, in a world of its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use arrival_client::{Connection, Patience, Root};
use rustix::process::{Pid, Signal, kill_process};

use super::world::{PATIENCE, Programs, path, wait_for};
use crate::Outcome;

/// The class of the devices that the benches make.
const CLASS: &str = "\
[class]
name = \"bench\"

[match]
subsystem = \"net\"
name = \"arr*\"
";

/// A running manager.
pub(super) struct Daemon {
    process: Child,
    calls: Connection,
}

/// A definition whose service follows the devices of the benches.
pub(super) fn definition(exec: &[String], wait: &str) -> String {
    format!("[service]\nexec = {exec:?}\n\n[[start]]\ndevice = \"bench\"\nwait = \"{wait}\"\n")
}

impl Daemon {
    /// Starts one with definitions, each a name and a text, and waits until it answers.
    pub(super) fn start(definitions: &[(String, String)], options: &[&str]) -> Outcome<Daemon> {
        let root = path("root");
        for folder in ["services.d", "classes.d"] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("classes.d/bench.toml"), CLASS)?;
        for (name, text) in definitions {
            fs::write(root.join(format!("services.d/{name}.toml")), text)?;
        }
        let log = File::create(log())?;
        let process = Command::new(Programs::find().arrivald)
            .arg("--root")
            .arg(&root)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let root = Root::at(root);
        let patience = Patience {
            answer: PATIENCE,
            ..Patience::default()
        };
        let connect = || Connection::connect_with(&root, patience).ok();
        let calls = wait_for(PATIENCE, connect).ok_or_else(|| said("it does not answer"))?;
        Ok(Daemon { process, calls })
    }

    /// A connection to it.
    pub(super) fn calls(&mut self) -> &mut Connection {
        &mut self.calls
    }

    /// Which manager it is.
    pub(super) fn root(&self) -> Root {
        self.calls.root().clone()
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) -> Outcome<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }

    /// Waits until a service is in a state.
    pub(super) fn wait_state(&mut self, service: &str, state: &str) -> Outcome<()> {
        let mut last = String::new();
        let reached = wait_for(PATIENCE, || match self.calls.status(service) {
            Ok(now) if now.state == state => Some(()),
            Ok(now) => {
                last = now.state;
                None
            }
            Err(error) => {
                last = error.to_string();
                None
            }
        });
        reached.ok_or_else(|| said(&format!("{service} is {last}, not {state}")).into())
    }

    /// Ends it and all its services.
    pub(super) fn end(&mut self) -> Outcome<()> {
        self.calls.shutdown()?;
        self.process.wait()?;
        Ok(())
    }
}

fn log() -> PathBuf {
    path("arrivald.log")
}

/// What went wrong, and what the manager said of it.
fn said(what: &str) -> String {
    let mut text = format!("arrivald: {what}");
    let log = fs::read_to_string(log()).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(10)) {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {line}");
    }
    text
}
