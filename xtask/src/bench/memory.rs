//! `bench memory`: what the manager costs while nothing happens.
//!
//! VmRSS is read once the manager is at rest: with nothing to do; with 200 services that each wait
//! for an id of their own while 400 devices are there, which is what the limit is for; and with 200
//! services that run, each for two devices of a class of its own. In the last two cases the
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
        row("VmRSS, nothing defined, no device", found.empty_kib, "KiB"),
        row(
            "VmRSS, 200 services wait, 400 devices",
            found.waiting_kib,
            "KiB",
        ),
        row(
            "VmRSS, 200 services of 200 classes run",
            found.running_kib,
            "KiB",
        ),
        row("of it anonymous", found.anonymous_kib, "KiB"),
        row("threads", found.threads, ""),
        row("wake-ups in 20 s", found.wakeups, ""),
    ];
    if found.waiting_kib > LIMIT_KIB || found.wakeups > 0 {
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
    waiting_kib: u64,
    running_kib: u64,
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

    /// Ends the manager, puts other definitions in its folder and starts it anew.
    fn again(&mut self, definitions: &[(String, String)]) -> Outcome<()> {
        self.daemon.end()?;
        self.daemon = Daemon::start(definitions, &["--no-udev"])?;
        Ok(())
    }

    fn measure(&mut self) -> Outcome<Found> {
        self.rest()?;
        let empty_kib = self.status("VmRSS:")?;
        let mut links = Links::open()?;
        for device in 0..DEVICES {
            links.create_bridge(&format!("net{}-{device}", device % SERVICES))?;
        }
        let definition = |service: usize, trigger: String| {
            let text = format!(
                "[service]\ndescription = \"number {service}\"\nexec = [\"/bin/sleep\", \"1000\"]\n\n\
                 [[start]]\n{trigger}\n"
            );
            (format!("service-{service}"), text)
        };

        let waiting = |it| definition(it, format!("device = \"net\"\nid = \"usb:1209:{it:04x}\""));
        self.again(&(0..SERVICES).map(waiting).collect::<Vec<_>>())?;
        self.wait_for_devices()?;
        self.rest()?;
        let waiting_kib = self.status("VmRSS:")?;
        let (before, threads) = self.sleeps()?;
        thread::sleep(IDLE);
        let (after, _) = self.sleeps()?;
        let mut wakeups = after.saturating_sub(before);

        let folder = super::world::path("root/classes.d");
        for it in 0..SERVICES {
            let text = format!(
                "[class]\nname = \"pair-{it}\"\n\n[match]\nsubsystem = \"net\"\nname = \"net{it}-*\"\n"
            );
            std::fs::write(folder.join(format!("pair-{it}.toml")), text)?;
        }
        let running = |it| definition(it, format!("device = \"pair-{it}\""));
        let running: Vec<_> = (0..SERVICES).map(running).collect();
        self.again(&running)?;
        for (name, _) in &running {
            self.daemon.wait_state(name, "RUNNING")?;
        }
        self.rest()?;
        let running_kib = self.status("VmRSS:")?;
        let anonymous_kib = self.status("RssAnon:")?;
        let (before, _) = self.sleeps()?;
        thread::sleep(IDLE);
        let (after, _) = self.sleeps()?;
        wakeups += after.saturating_sub(before);
        Ok(Found {
            empty_kib,
            waiting_kib,
            running_kib,
            anonymous_kib,
            threads,
            wakeups,
        })
    }

    fn wait_for_devices(&mut self) -> Outcome<()> {
        let all = || {
            let list = self.daemon.calls().interfaces(Some("net")).ok()?;
            (list.interfaces.len() >= DEVICES).then_some(())
        };
        wait_for(PATIENCE, all).ok_or_else(|| "the manager does not see all devices".into())
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
