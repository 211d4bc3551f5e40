//! A process in namespaces of its own, in which a bench does its work.
//!
//! ```text
//! xtask bench NAME                          asks; measures nothing itself
//!  └─ unshare --net --mount --pid
//!      └─ xtask bench --inside WORK ...     PID 1: makes devices, takes the stamps, answers
//!          ├─ arrivald, udevd, mdev or the floor
//!          └─ the service
//! ```
//!
//! A question is a line with a word, an answer a line of JSON: `{"Ok": value}` or `{"Err": text}`.
//! The first answer comes unasked, when everything inside runs; a closed pipe ends the world, and
//! with its PID 1 whatever was left in it. The events of network devices stay in their namespace, so
//! worlds beside each other do not disturb each other.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{arrival, decision, memory, storm};
use crate::{Outcome, udevd, workspace};

/// What stands behind `bench` instead of a name that a person would type.
pub(super) const INSIDE: &str = "--inside";

/// How long anything inside may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The folder inside for sockets, settings and a manager's root.
pub(super) const FOLDER: &str = "/run/bench";

/// The name of the device that comes and goes.
pub(super) const DEVICE: &str = "arr0";

/// The programs that are measured.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    /// The manager, as it is shipped.
    pub(super) arrivald: PathBuf,
    /// The service and the floor.
    pub(super) stamp: PathBuf,
}

impl Programs {
    /// Where [`build`](Programs::build) puts them.
    pub(super) fn find() -> Programs {
        Programs {
            arrivald: workspace::target().join("release/arrivald"),
            stamp: workspace::target().join("tool/arrival-stamp"),
        }
    }

    /// Builds them, the manager in the profile in which it is shipped.
    pub(super) fn build() -> Outcome<Programs> {
        let cargo = |words: &[&str]| -> Outcome<()> {
            let mut cargo = workspace::cargo();
            cargo.args(["build", "--quiet"]).args(words);
            let built = cargo.stderr(Stdio::inherit()).status()?.success();
            built
                .then_some(())
                .ok_or_else(|| "the programs to measure could not be built".into())
        };
        cargo(&["--release", "--package", "arrivald", "--bin", "arrivald"])?;
        cargo(&["--profile=tool", "--package=xtask", "--bin=arrival-stamp"])?;
        Ok(Programs::find())
    }
}

/// The outside of a world.
pub(super) struct World {
    inside: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    work: String,
}

impl World {
    /// Makes one and waits until everything in it runs.
    pub(super) fn enter(work: &[&str]) -> Outcome<World> {
        if !workspace::is_root() {
            return Err("this bench makes namespaces and needs root".into());
        }
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--"]);
        unshare.arg(env::current_exe()?).args(["bench", INSIDE]);
        let mut inside = unshare
            .args(work)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = inside.stdin.take();
        let answers = inside.stdout.take().ok_or("no pipe")?;
        let mut world = World {
            inside,
            questions,
            answers: BufReader::new(answers),
            work: work.join(" "),
        };
        world.answer::<()>()?;
        Ok(world)
    }

    /// Asks and waits for the answer.
    pub(super) fn ask<T: DeserializeOwned>(&mut self, question: &str) -> Outcome<T> {
        let pipe = self.questions.as_mut().ok_or("the world has ended")?;
        writeln!(pipe, "{question}")?;
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Outcome<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Result<Result<T, String>, _> = serde_json::from_str(&line);
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(format!("{}: {error}", self.work).into()),
            Err(error) => Err(format!("{}: no answer ({error}): {line}", self.work).into()),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.questions.take());
        let gone = wait_for(PATIENCE, || self.inside.try_wait().ok().flatten());
        if gone.is_none() {
            // Its PID 1 dies with it, and everything inside with that.
            self.inside.kill().ok();
            self.inside.wait().ok();
        }
    }
}

/// What answers the questions inside.
pub(super) trait Inside {
    /// The answer, as JSON.
    fn answer(&mut self, question: &str) -> Outcome<serde_json::Value>;

    /// Ends what runs.
    fn end(&mut self) -> Outcome<()>;
}

/// `xtask bench --inside WORK ...`
pub(super) fn inside(words: &[String]) -> Outcome<ExitCode> {
    let begun = begin(words);
    let mut work = match begun {
        Ok(work) => {
            say(Ok(()));
            work
        }
        Err(error) => {
            say::<()>(Err(error.to_string()));
            return Ok(ExitCode::FAILURE);
        }
    };
    for line in std::io::stdin().lines() {
        say(work.answer(&line?).map_err(|error| error.to_string()));
    }
    work.end()?;
    Ok(ExitCode::SUCCESS)
}

fn begin(words: &[String]) -> Outcome<Box<dyn Inside>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [work, rest @ ..] = words.as_slice() else {
        return Err("what is to be done?".into());
    };
    udevd::namespaces()?;
    std::fs::create_dir_all(FOLDER)?;
    Ok(match *work {
        "arrival" => Box::new(arrival::begin(rest)?),
        "decision" => Box::new(decision::begin()?),
        "storm" => Box::new(storm::begin(rest)?),
        "memory" => Box::new(memory::begin()?),
        other => return Err(format!("nobody knows how to do '{other}'").into()),
    })
}

fn say<T: Serialize>(answer: Result<T, String>) {
    // Whoever does not read any more has gone, and the next question ends this.
    let text = serde_json::to_string(&answer).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).ok();
}

/// Nanoseconds of CLOCK_BOOTTIME.
pub(super) fn clock() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Asks again and again until there is an answer, or the patience ends.
pub(super) fn wait_for<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if begun.elapsed() > patience {
            return None;
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// How many bytes wait in sockets for the kernel's device events in this network namespace, of as
/// many sockets.
///
/// Columns of /proc/net/netlink: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode.
pub(super) fn listeners() -> Outcome<(usize, u64)> {
    let text = std::fs::read_to_string("/proc/self/net/netlink")?;
    let (mut sockets, mut bytes) = (0, 0);
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        if let [_, "15", _, groups, waiting, ..] = columns.as_slice()
            && u32::from_str_radix(groups, 16)? & 1 != 0
        {
            sockets += 1;
            bytes += waiting.parse::<u64>()?;
        }
    }
    Ok((sockets, bytes))
}

/// Waits until so many sockets listen to the kernel's device events.
pub(super) fn wait_for_listeners(count: usize) -> Outcome<()> {
    let listening = || listeners().is_ok_and(|(now, _)| now >= count).then_some(());
    wait_for(PATIENCE, listening).ok_or_else(|| "nobody listens to device events".into())
}

/// The names of network devices in sysfs, but for loopback.
pub(super) fn network_devices() -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/sys/class/net")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "lo" {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A path inside the folder of this world.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(FOLDER).join(name)
}
