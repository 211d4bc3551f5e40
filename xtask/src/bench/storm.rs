//! `bench storm`: many events at once.
//!
//! | row | what happens |
//! |---|---|
//! | drained | events wait in the manager's socket while it is stopped; then it goes on |
//! | overflow | 50,000 events pass while it is stopped, with 100 devices that come or go among them; then it goes on until what it lists is what sysfs lists |
//!
//! The overflow is done twice: with the queue that a socket has from the kernel, where the count of
//! overruns must rise, and with the manager's own, where it must not. The events are of the kind
//! that udev's trigger makes: `change`, written to the `uevent` files of the devices that stay.

use std::fs::{File, read_to_string};
use std::io::Write;
use std::time::{Duration, Instant};

use arrival_linux::rtnl::Links;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::daemon::Daemon;
use super::measure::Series;
use super::world::{Inside, PATIENCE, Programs, World, listeners, network_devices, wait_for};
use super::{Options, Row};
use crate::Outcome;

/// Devices that stay, and whose events pass.
const CALM: usize = 20;
/// How many events are drained in one go.
const WAITING: usize = 20_000;
/// How many pass during an overflow, and how many devices come or go among them.
const PASSING: usize = 50_000;
const CHANGES: usize = 100;

pub(super) fn run(options: Options) -> Outcome<Vec<Row>> {
    Programs::build()?;
    let kernels: usize = read_to_string("/proc/sys/net/core/rmem_default")?
        .trim()
        .parse()?;
    let rounds = options.samples(20);
    let mut rows = Vec::new();

    let mut world = World::enter(&["storm"])?;
    let mut rates = Vec::new();
    for _ in 0..rounds {
        let time: u64 = world.ask("drain")?;
        rates.push(Duration::from_nanos(time));
    }
    drop(world);
    let rates = Series::from_iter(rates);
    let rate = WAITING as f64 / rates.percentile(50.0).as_secs_f64();
    rows.push(Row {
        samples: rates.len(),
        ..Row::value("events drained (median)", rate, "events/s")
    });

    // A socket's size is stored doubled, so half of it gives the kernel's own.
    let half = (kernels / 2).to_string();
    for (name, options, overruns) in [
        (
            "overflow of the kernel's queue",
            vec!["--uevent-buffer", half.as_str()],
            true,
        ),
        ("the same events, our queue", vec![], false),
    ] {
        let mut world = World::enter(&[&["storm"], options.as_slice()].concat())?;
        let mut times = Vec::new();
        for _ in 0..rounds {
            let end: Overflow = world.ask("overflow")?;
            if (end.overruns > 0) != overruns {
                return Err(format!("{name}: {} overruns were counted", end.overruns).into());
            }
            times.push(Duration::from_nanos(end.time_ns));
        }
        let series = Series::from_iter(times);
        rows.push(Row::times(
            format!("{name}, until all is right"),
            &series,
            None,
        ));
    }
    Ok(rows)
}

/// How an overflow ended.
#[derive(Debug, Serialize, Deserialize)]
struct Overflow {
    /// From the moment when the manager went on until it was right.
    time_ns: u64,
    /// How many overruns it counted in this round.
    overruns: u64,
}

pub(super) struct Storm {
    daemon: Daemon,
    links: Links,
    /// The `uevent` files of the devices that stay.
    calm: Vec<File>,
    /// Numbers in the names of those that come and go: present ones, and the next one.
    passing: std::ops::Range<usize>,
}

pub(super) fn begin(options: &[&str]) -> Outcome<Storm> {
    let mut links = Links::open()?;
    let mut calm = Vec::new();
    for number in 0..CALM {
        let name = format!("calm{number}");
        links.create_bridge(&name)?;
        let file = format!("/sys/class/net/{name}/uevent");
        calm.push(File::options().write(true).open(file)?);
    }
    for number in 0..CHANGES {
        links.create_bridge(&format!("pass{number}"))?;
    }
    let daemon = Daemon::start(&[], &[&["--no-udev"], options].concat())?;
    let mut storm = Storm {
        daemon,
        links,
        calm,
        passing: 0..CHANGES,
    };
    storm.wait_until_right()?;
    Ok(storm)
}

impl Storm {
    fn listed(&mut self) -> Outcome<Vec<String>> {
        let list = self.daemon.calls().interfaces(Some("net"))?;
        let mut names: Vec<String> = list.interfaces.into_iter().map(|it| it.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn wait_until_right(&mut self) -> Outcome<()> {
        let truth = network_devices()?;
        let mut last = Vec::new();
        let right = wait_for(PATIENCE, || {
            last = self.listed().ok()?;
            (last == truth).then_some(())
        });
        right.ok_or_else(|| {
            let missing: Vec<_> = truth.iter().filter(|name| !last.contains(name)).collect();
            let extra: Vec<_> = last.iter().filter(|name| !truth.contains(name)).collect();
            format!("the manager's list stays wrong: without {missing:?}, with {extra:?}").into()
        })
    }

    fn overruns(&mut self) -> Outcome<u64> {
        Ok(self.daemon.calls().info()?.counters.overruns)
    }

    /// Lets one event pass.
    fn event(&mut self, number: usize) -> Outcome<()> {
        let count = self.calm.len().max(1);
        let file = self.calm.get_mut(number % count).ok_or("no device stays")?;
        Ok(file.write_all(b"change")?)
    }

    /// Stops the manager, for certain.
    fn stop(&self) -> Outcome<()> {
        self.daemon.signal(Signal::STOP)?;
        let status = format!("/proc/{}/status", self.daemon.pid());
        let stopped = || {
            let text = read_to_string(&status).ok()?;
            text.contains("State:\tT").then_some(())
        };
        wait_for(PATIENCE, stopped).ok_or_else(|| "it does not stop".into())
    }

    fn drain(&mut self) -> Outcome<u64> {
        let overruns = self.overruns()?;
        self.stop()?;
        for number in 0..WAITING {
            self.event(number)?;
        }
        let begun = Instant::now();
        self.daemon.signal(Signal::CONT)?;
        let drained = || listeners().is_ok_and(|(_, bytes)| bytes == 0).then_some(());
        wait_for(PATIENCE, drained).ok_or("the manager does not read its events")?;
        let time = begun.elapsed();
        if self.overruns()? != overruns {
            return Err(format!("{WAITING} events do not fit into the manager's queue").into());
        }
        self.wait_until_right()?;
        Ok(u64::try_from(time.as_nanos())?)
    }

    fn overflow(&mut self) -> Outcome<Overflow> {
        let before = self.overruns()?;
        self.stop()?;
        for number in 0..PASSING {
            self.event(number)?;
            if number % (PASSING / CHANGES) == 0 {
                // In turns one goes and one comes.
                let change = number / (PASSING / CHANGES);
                if change.is_multiple_of(2) {
                    let oldest = self.passing.start;
                    self.links.delete(&format!("pass{oldest}"))?;
                    self.passing.start += 1;
                } else {
                    let newest = self.passing.end;
                    self.links.create_bridge(&format!("pass{newest}"))?;
                    self.passing.end += 1;
                }
            }
        }
        let begun = Instant::now();
        self.daemon.signal(Signal::CONT)?;
        self.wait_until_right()?;
        let time = begun.elapsed();
        // The list may be right before all events are read.
        let drained = || listeners().is_ok_and(|(_, bytes)| bytes == 0).then_some(());
        wait_for(PATIENCE, drained).ok_or("the manager does not read its events")?;
        self.wait_until_right()?;
        Ok(Overflow {
            time_ns: u64::try_from(time.as_nanos())?,
            overruns: self.overruns()? - before,
        })
    }
}

impl Inside for Storm {
    fn answer(&mut self, question: &str) -> Outcome<serde_json::Value> {
        Ok(match question {
            "drain" => self.drain()?.into(),
            "overflow" => serde_json::to_value(self.overflow()?)?,
            other => return Err(format!("'{other}' is no question").into()),
        })
    }

    fn end(&mut self) -> Outcome<()> {
        self.daemon.end()
    }
}
