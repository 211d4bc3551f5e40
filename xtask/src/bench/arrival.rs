//! `bench arrival` and `bench removal`: from a device to its service's first statement, and from its
//! going to the service's SIGTERM.
//!
//! | contender | starts the service by |
//! |---|---|
//! | `floor` | reading the kernel's events and posix_spawn(3), nothing else |
//! | `arrivald, appeared` | a trigger with `wait = "appeared"`, no udevd in the namespace |
//! | `arrivald, usable` | a trigger with `wait = "usable"`, a real udevd beside it |
//! | `busybox mdev` | `mdev -d` with a line for the device in mdev.conf |
//! | `udevd RUN` | systemd-udevd with a rule `RUN+=` |
//!
//! All start the same program. Each has a world of its own, and in every round each has its turn, so
//! that what disturbs the machine disturbs all alike. The clock is CLOCK_BOOTTIME: it is read just
//! before the rtnetlink call, and by the first statement of the service's main function.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use arrival_linux::rtnl::Links;
use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::daemon::{self, Daemon};
use super::measure::Series;
use super::world::{
    DEVICE, Inside, PATIENCE, Programs, World, clock, path, wait_for, wait_for_listeners,
};
use super::{Options, Row};
use crate::{Outcome, peers, udevd};

/// The first word says what is begun inside, the second is for people.
const CONTENDERS: [(&str, &str); 5] = [
    ("floor", "floor"),
    ("appeared", "arrivald, appeared"),
    ("usable", "arrivald, usable, beside udevd"),
    ("mdev", "busybox mdev -d"),
    ("udevd", "systemd-udevd RUN+="),
];

const WARM_UP: usize = 20;
const ROUNDS: usize = 2_000;
/// Fewer, since it is the kernel that takes its time here.
const REMOVALS: usize = 500;

pub(super) fn run(options: Options) -> Outcome<Vec<Row>> {
    Ok(both(options.samples(ROUNDS))?.0)
}

pub(super) fn run_removal(options: Options) -> Outcome<Vec<Row>> {
    Ok(both(options.samples(REMOVALS))?.1)
}

/// Rows of arrivals, and rows of removals.
fn both(rounds: usize) -> Outcome<(Vec<Row>, Vec<Row>)> {
    peers::fetch()?;
    Programs::build()?;
    let mut worlds = Vec::new();
    for (word, name) in CONTENDERS {
        worlds.push((name, World::enter(&["arrival", word])?));
    }
    let mut arrivals = vec![Vec::new(); worlds.len()];
    let mut removals = vec![Vec::new(); worlds.len()];
    for round in 0..WARM_UP + rounds {
        let times = arrivals.iter_mut().zip(&mut removals);
        for ((_, world), (arrivals, removals)) in worlds.iter_mut().zip(times) {
            let arrival: u64 = world.ask("arrive")?;
            let removal: u64 = world.ask("leave")?;
            if round >= WARM_UP {
                arrivals.push(Duration::from_nanos(arrival));
                removals.push(Duration::from_nanos(removal));
            }
        }
    }
    let rows = |times: Vec<Vec<Duration>>| {
        let series: Vec<Series> = times.into_iter().map(Series::from_iter).collect();
        let rows = worlds.iter().zip(&series);
        rows.map(|((name, _), times)| Row::times(*name, times, series.first()))
            .collect()
    };
    Ok((rows(arrivals), rows(removals)))
}

/// Where the service's stamps go.
const SOCKET: &str = "/run/bench/stamps";
/// The number of the running service's process, for starters that do not keep it.
const PID: &str = "/run/bench/pid";

/// One contender, inside.
pub(super) struct Contender {
    links: Links,
    stamps: UnixDatagram,
    service: u32,
    starter: Starter,
}

enum Starter {
    Arrivald(Daemon),
    /// With udevd, if there is one.
    Beside(Daemon, Child),
    Udevd(Child),
    /// The floor or mdev.
    Plain(Child),
}

/// Begins one of [`CONTENDERS`].
pub(super) fn begin(words: &[&str]) -> Outcome<Contender> {
    let [word] = words else {
        return Err("one contender is expected".into());
    };
    let stamps = UnixDatagram::bind(SOCKET)?;
    stamps.set_read_timeout(Some(PATIENCE))?;
    let starter = match *word {
        "floor" => Starter::Plain(floor()?),
        "appeared" => Starter::Arrivald(arrivald("appeared", &["--no-udev"])?),
        "usable" => {
            let udevd = udevd::start(&peers::fetch()?, None)?;
            Starter::Beside(arrivald("usable", &[])?, udevd)
        }
        "mdev" => Starter::Plain(mdev()?),
        "udevd" => Starter::Udevd(udevd()?),
        other => return Err(format!("no contender '{other}'").into()),
    };
    Ok(Contender {
        links: Links::open()?,
        stamps,
        service: 0,
        starter,
    })
}

fn stamp() -> String {
    Programs::find().stamp.display().to_string()
}

fn arrivald(wait: &str, options: &[&str]) -> Outcome<Daemon> {
    let exec = [stamp(), SOCKET.to_owned()];
    let definition = daemon::definition(&exec, wait);
    let mut daemon = Daemon::start(&[("bench".to_owned(), definition)], options)?;
    daemon.wait_state("bench", "STOPPED")?;
    // The first list follows the first look at all devices.
    daemon.calls().interfaces(None)?;
    Ok(daemon)
}

fn floor() -> Outcome<Child> {
    // As many variables, of about the same length, as a service of arrivald has.
    let variables = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LANG", "C.UTF-8"),
        ("ARRIVAL_SERVICE", "bench"),
        ("ARRIVAL_RUN", "1000"),
        ("ARRIVAL_HOST", "0123456789abcdef0123456789abcdef"),
        ("ARRIVAL_CONTROL", "/run/bench/root/run/control"),
        ("ARRIVAL_START_REASON", "trigger"),
        (
            "ARRIVAL_INTERFACE",
            r"\\?\ROOT#NET#arr0#{cac88484-7515-4c03-82e6-71a87abac361}",
        ),
    ];
    let floor = Command::new(Programs::find().stamp)
        .args(["--react", DEVICE, SOCKET])
        .current_dir("/")
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    wait_for_listeners(1)?;
    Ok(floor)
}

fn mdev() -> Outcome<Child> {
    let stamp = stamp();
    let settings = format!(
        "-SUBSYSTEM=net;{DEVICE} root:root 600 @{stamp} {SOCKET} --detach\n\
         SUBSYSTEM=net;{DEVICE} root:root 600 ${stamp} --end {PID}\n"
    );
    overlay_etc("mdev.conf", &settings)?;
    let mdev = Command::new(peers::fetch()?.busybox())
        .args(["mdev", "-df"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    wait_for_listeners(1)?;
    Ok(mdev)
}

/// Adds a file to /etc, in this mount namespace only.
fn overlay_etc(name: &str, text: &str) -> Outcome<()> {
    let host = path("etc-of-the-host");
    fs::create_dir(&host)?;
    mount_bind("/etc", &host)?;
    mount("tmpfs", "/etc", "tmpfs", MountFlags::empty(), None)?;
    for entry in fs::read_dir(&host)? {
        let entry = entry?;
        let here = Path::new("/etc").join(entry.file_name());
        std::os::unix::fs::symlink(entry.path(), here)?;
    }
    let file = Path::new("/etc").join(name);
    fs::remove_file(&file).ok();
    fs::write(file, text)?;
    Ok(())
}

fn udevd() -> Outcome<Child> {
    let stamp = stamp();
    let rules = path("bench.rules");
    let rule = |action: &str, command: &str| {
        format!(
            "ACTION==\"{action}\", SUBSYSTEM==\"net\", KERNEL==\"{DEVICE}\", RUN+=\"{stamp} {command}\"\n"
        )
    };
    let add = rule("add", &format!("{SOCKET} --detach"));
    let remove = rule("remove", &format!("--end {PID}"));
    fs::write(&rules, add + &remove)?;
    udevd::start(&peers::fetch()?, Some(&rules))
}

impl Contender {
    /// Waits for a stamp of a kind: the process and the time.
    fn stamp(&self, kind: u32) -> Outcome<(u32, u64)> {
        let mut bytes = [0; 16];
        let length = self.stamps.recv(&mut bytes).map_err(|error| {
            format!(
                "the service was not heard of: {error}; {}",
                self.starter.said()
            )
        })?;
        let whole = u128::from_ne_bytes(bytes);
        let (low, high) = (whole as u64, (whole >> 64) as u64);
        // The order of the two halves and of the two quarters is the machine's.
        let (head, time) = if cfg!(target_endian = "little") {
            (low, high)
        } else {
            (high, low)
        };
        let (low, high) = (head as u32, (head >> 32) as u32);
        let (found, pid) = if cfg!(target_endian = "little") {
            (low, high)
        } else {
            (high, low)
        };
        if length == bytes.len() && found == kind {
            Ok((pid, time))
        } else {
            Err(format!("a stamp of kind {found} came instead of {kind}").into())
        }
    }

    /// Nanoseconds from the device to the service.
    fn arrive(&mut self) -> Outcome<u64> {
        let begun = clock();
        self.links.create_bridge(DEVICE)?;
        let (pid, time) = self.stamp(1)?;
        self.service = pid;
        fs::write(PID, pid.to_string())?;
        self.starter.settle_arrival()?;
        Ok(time.saturating_sub(begun))
    }

    /// Nanoseconds from the device's going to the service's signal.
    fn leave(&mut self) -> Outcome<u64> {
        let begun = clock();
        self.links.delete(DEVICE)?;
        let (pid, time) = self.stamp(2)?;
        if pid != self.service {
            return Err(format!("process {pid} ended, not {}", self.service).into());
        }
        self.wait_until_gone()?;
        self.starter.settle_removal()?;
        Ok(time.saturating_sub(begun))
    }

    fn wait_until_gone(&self) -> Outcome<()> {
        let process = Pid::from_raw(i32::try_from(self.service)?);
        let folder = Path::new("/proc").join(self.service.to_string());
        let gone = wait_for(PATIENCE, || {
            // One whose parent has ended is a child of this process, and waits to be reaped.
            if process
                .is_some_and(|it| matches!(waitpid(Some(it), WaitOptions::NOHANG), Ok(Some(_))))
            {
                return Some(());
            }
            (!folder.exists()).then_some(())
        });
        gone.ok_or_else(|| "the service does not end".into())
    }
}

impl Starter {
    fn settle_arrival(&mut self) -> Outcome<()> {
        match self {
            Starter::Arrivald(daemon) | Starter::Beside(daemon, _) => {
                daemon.wait_state("bench", "RUNNING")?;
            }
            Starter::Udevd(_) | Starter::Plain(_) => {}
        }
        self.settle()
    }

    fn settle_removal(&mut self) -> Outcome<()> {
        match self {
            Starter::Arrivald(daemon) | Starter::Beside(daemon, _) => {
                daemon.wait_state("bench", "STOPPED")?;
            }
            Starter::Udevd(_) | Starter::Plain(_) => {}
        }
        self.settle()
    }

    /// Waits until nothing is under way any more.
    fn settle(&self) -> Outcome<()> {
        if matches!(self, Starter::Beside(..) | Starter::Udevd(_)) {
            // The file exists while udevd has work; it looks at it a moment after its last worker.
            let queue = Path::new("/run/udev/queue");
            let idle = wait_for(PATIENCE, || (!queue.exists()).then_some(()));
            idle.ok_or("udevd does not come to rest")?;
        }
        thread::sleep(Duration::from_millis(2));
        Ok(())
    }

    fn said(&self) -> String {
        let log = match self {
            Starter::Arrivald(_) | Starter::Beside(..) => path("arrivald.log"),
            Starter::Udevd(_) => "/run/udevd.log".into(),
            Starter::Plain(_) => return String::new(),
        };
        let text = fs::read_to_string(log).unwrap_or_default();
        let start = text.len().saturating_sub(2000);
        text.get(start..).unwrap_or_default().to_owned()
    }
}

impl Inside for Contender {
    fn answer(&mut self, question: &str) -> Outcome<serde_json::Value> {
        match question {
            "arrive" => Ok(self.arrive()?.into()),
            "leave" => Ok(self.leave()?.into()),
            other => Err(format!("'{other}' is no question").into()),
        }
    }

    fn end(&mut self) -> Outcome<()> {
        match &mut self.starter {
            Starter::Arrivald(daemon) => daemon.end(),
            Starter::Beside(daemon, udevd) => {
                daemon.end()?;
                Ok(udevd.kill()?)
            }
            Starter::Udevd(child) | Starter::Plain(child) => Ok(child.kill()?),
        }
    }
}
