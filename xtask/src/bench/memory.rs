//! `bench memory`: what the manager costs while nothing happens.
//!
//! 200 services follow two devices each, and run. VmRSS is read once it is at rest; then the
//! voluntary context switches of all its threads are counted for ten seconds.

use std::fs::{read_dir, read_to_string};
use std::thread;
use std::time::Duration;

use arrival_linux::rtnl::Links;
use serde::{Deserialize, Serialize};

use super::daemon::Daemon;
use super::world::{Inside, PATIENCE, Programs, World, wait_for};
use super::{Options, Row};
use crate::Outcome;

const SERVICES: usize = 200;
const DEVICES: usize = 400;
/// The most that 200 services and 400 devices may take.
const LIMIT_KIB: u64 = 5 * 1024;
const IDLE: Duration = Duration::from_secs(10);

pub(super) fn run(_options: Options) -> Outcome<Vec<Row>> {
    Programs::build()?;
    let mut world = World::enter(&["memory"])?;
    let found: Found = world.ask("measure")?;
    let row = |what: &str, value: u64, unit| Row::value(what, value as f64, unit);
    let rows = vec![
        row("VmRSS, nothing defined", found.empty_kib, "KiB"),
        row(
            "VmRSS, 200 services run, 400 devices",
            found.full_kib,
            "KiB",
        ),
        row("of it anonymous", found.anonymous_kib, "KiB"),
        row("threads", found.threads, ""),
        row("wake-ups in 10 s", found.wakeups, ""),
    ];
    if found.full_kib > LIMIT_KIB || found.wakeups > 0 {
        for row in &rows {
            eprintln!("{}: {}", row.what, row.value.unwrap_or_default());
        }
        return Err(format!("more than {LIMIT_KIB} KiB or more than no wake-up").into());
    }
    Ok(rows)
}

#[derive(Debug, Serialize, Deserialize)]
struct Found {
    empty_kib: u64,
    full_kib: u64,
    anonymous_kib: u64,
    threads: u64,
    wakeups: u64,
}

pub(super) struct Memory {
    daemon: Daemon,
}

pub(super) fn begin() -> Outcome<Memory> {
    let daemon = Daemon::start(&[], &["--no-udev"])?;
    Ok(Memory { daemon })
}

/// The number in a line of a process's or thread's status.
fn number(text: &str, name: &str) -> Outcome<u64> {
    let line = text.lines().find(|line| line.starts_with(name));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(word
        .ok_or_else(|| format!("no {name} in a status"))?
        .parse()?)
}

impl Memory {
    fn status(&self, name: &str) -> Outcome<u64> {
        let text = read_to_string(format!("/proc/{}/status", self.daemon.pid()))?;
        number(&text, name)
    }

    /// How often any thread has gone to sleep by itself, and how many threads there are.
    fn sleeps(&self) -> Outcome<(u64, u64)> {
        let (mut sleeps, mut threads) = (0, 0);
        for entry in read_dir(format!("/proc/{}/task", self.daemon.pid()))? {
            let text = read_to_string(entry?.path().join("status"))?;
            sleeps += number(&text, "voluntary_ctxt_switches:")?;
            threads += 1;
        }
        Ok((sleeps, threads))
    }

    /// Waits until no thread has woken for a second.
    fn rest(&self) -> Outcome<()> {
        let rests = || {
            let before = self.sleeps().ok()?;
            thread::sleep(Duration::from_secs(1));
            (self.sleeps().ok()? == before).then_some(())
        };
        // A manager that never rests is measured all the same, and then fails by its wake-ups.
        wait_for(PATIENCE, rests).map_or(Ok(()), Ok)
    }

    fn measure(&mut self) -> Outcome<Found> {
        self.rest()?;
        let empty_kib = self.status("VmRSS:")?;
        self.daemon.end()?;
        let mut links = Links::open()?;
        for device in 0..DEVICES {
            links.create_bridge(&format!("net{}-{device}", device % SERVICES))?;
        }
        let definition = |service: usize| {
            let text = format!(
                "[service]\ndescription = \"number {service}\"\nexec = [\"/bin/sleep\", \"1000\"]\n\n\
                 [[start]]\ndevice = \"pair-{service}\"\n"
            );
            (format!("service-{service}"), text)
        };
        let definitions: Vec<_> = (0..SERVICES).map(definition).collect();
        let folder = super::world::path("root/classes.d");
        for service in 0..SERVICES {
            let text = format!(
                "[class]\nname = \"pair-{service}\"\n\n[match]\nsubsystem = \"net\"\nname = \"net{service}-*\"\n"
            );
            std::fs::write(folder.join(format!("pair-{service}.toml")), text)?;
        }
        self.daemon = Daemon::start(&definitions, &["--no-udev"])?;
        for (name, _) in &definitions {
            self.daemon.wait_state(name, "RUNNING")?;
        }
        self.rest()?;
        let full_kib = self.status("VmRSS:")?;
        let anonymous_kib = self.status("RssAnon:")?;
        let (before, threads) = self.sleeps()?;
        thread::sleep(IDLE);
        let (after, _) = self.sleeps()?;
        Ok(Found {
            empty_kib,
            full_kib,
            anonymous_kib,
            threads,
            wakeups: after.saturating_sub(before),
        })
    }
}

impl Inside for Memory {
    fn answer(&mut self, _question: &str) -> Outcome<serde_json::Value> {
        Ok(serde_json::to_value(self.measure()?)?)
    }

    fn end(&mut self) -> Outcome<()> {
        self.daemon.end()
    }
}
