//! The story that the demonstration tells, and each of whose lines it checks.
//!
//! | scene | what happens | what must follow |
//! |---|---|---|
//! | 1 | demo0 is made | arrival, START_PENDING, main(), RUNNING |
//! | 2 | demo1 is made | arrival; the service is told, and goes on: same run, same pid |
//! | 3 | demo0 is removed | removal; the service is told, and goes on: same run, same pid |
//! | 4 | demo1 is removed | removal, STOP_PENDING, the service cleans up |
//! | 5 | demo1 is made while it does | arrival; STOPPED, START_PENDING, main(), RUNNING: another pid |
//! | 6 | demo1 is removed | removal, STOP_PENDING, STOPPED |
//! | 7 | the manager is shut down | exit 0, no other process, counts that agree |

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arrival_client::NoticeKind;

use super::devices::Devices;
use super::lines::{Line, Lines};
use super::service::{CLASS, GUID};
use super::stage::{Change, NAME, Stage, Stop, arguments};
use super::{Exit, Failure, Told, UNREAD};
use crate::args::Global;
use crate::screen::Screen;

/// How long the service takes to clean up, and how long a scene is left on the screen.
struct Pace {
    cleanup: Duration,
    scene: Duration,
}

/// `arrival __demo-story`: tells the story in the world in which it finds itself.
pub(super) fn story(told: Told) -> ExitCode {
    let global = Global {
        root: None,
        json: told.json,
        color: told.color,
    };
    let pace = if told.fast {
        Pace {
            cleanup: Duration::from_millis(1500),
            scene: Duration::ZERO,
        }
    } else {
        Pace {
            cleanup: Duration::from_millis(1500),
            scene: Duration::from_millis(600),
        }
    };
    let screen = &mut Screen::standard(&global);
    let result = Story::begin(&told.root, pace, &mut Lines::new(screen));
    let result = result.and_then(|()| Ok(screen.flush()?));
    match result {
        Ok(()) => Exit::Done.into(),
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            u8::try_from(UNREAD).map_or(Exit::Failed.into(), ExitCode::from)
        }
        Err(Stop::Output(error)) => Failure::from(error).report(),
        Err(Stop::Because(exit, message)) => {
            let _ = screen.flush();
            for line in message.lines() {
                anstream::eprintln!("arrival: demo: {}", crate::text::printable(line));
            }
            exit.into()
        }
    }
}

/// The class of the devices, as a file of `classes.d`.
fn class() -> String {
    format!(
        "[class]\n\
         name = \"{CLASS}\"\n\
         guid = \"{GUID}\"\n\
         description = \"devices of the demonstration\"\n\
         \n\
         [match]\n\
         subsystem = \"net\"\n\
         name = \"demo*\"\n"
    )
}

/// The service, as an INF file. Its program lies beside it, called `demo`.
pub(super) fn inf(arguments: &[String]) -> String {
    let binary = arrival_inf::service_binary(Some(13), "\\demo.exe", arguments);
    format!(
        "[Version]\n\
         Signature = \"$Windows NT$\"\n\
         [DefaultInstall.NT.Services]\n\
         AddService = {NAME}, , Service\n\
         \n\
         [Service]\n\
         ServiceType   = 0x10\n\
         StartType     = 3\n\
         ErrorControl  = 0\n\
         ServiceBinary = {binary}\n\
         AddTrigger    = Arrival\n\
         AddReg        = Parameters\n\
         \n\
         [Arrival]\n\
         TriggerType = 1\n\
         Action      = 1\n\
         SubType     = {GUID}\n\
         \n\
         [Parameters]\n\
         HKR, Parameters\\Arrival, Protocol, , notify\n\
         HKR, Parameters\\Arrival, Follow, 0x10001, 1\n"
    )
}

struct Story<'a, 'b, 'c> {
    lines: &'a mut Lines<'b, 'c>,
    stage: Stage,
    devices: Devices,
    pace: Pace,
    arrivals: u64,
    removals: u64,
    starts: u64,
    stops: u64,
}

impl<'a, 'b, 'c> Story<'a, 'b, 'c> {
    /// Sets the stage and plays every scene.
    fn begin(root: &Path, pace: Pace, lines: &'a mut Lines<'b, 'c>) -> Result<(), Stop> {
        lines
            .scene("A manager of its own, in namespaces of its own: nothing outside is touched")?;
        let devices = Devices::new().map_err(|why| Stop::Because(Exit::Cannot, why))?;
        let Some(arguments) = arguments(root, pace.cleanup) else {
            let message = format!("the path {} is not UTF-8", root.display());
            return Err(Stop::failed(message));
        };
        let inf = inf(&arguments);
        let begun = Instant::now();
        let mut stage = Stage::set(root, &class(), &inf)?;
        let took = begun.elapsed().as_millis();
        let info = stage.connection().info();
        let info = info.map_err(|error| stage.missing(&format!("its own account ({error})")))?;
        let pid = stage.manager_pid();
        lines.say(&Line {
            pid: i32::try_from(pid).ok(),
            ..Line::new(
                "manager",
                format!(
                    "the manager is up after {took} ms (pid {pid}, root {}, containment {})",
                    root.display(),
                    info.containment
                ),
            )
        })?;
        if !info.problems.is_empty() {
            return Err(stage.missing(&format!("a clean start ({:?})", info.problems)));
        }
        lines.say(&Line::new(
            "plan",
            "the service was installed from an INF file, as on Windows:",
        ))?;
        lines.file("demo.inf", &inf)?;
        let mut story = Story {
            lines,
            stage,
            devices,
            pace,
            arrivals: 0,
            removals: 0,
            starts: 0,
            stops: 0,
        };
        story.play()
    }

    fn play(&mut self) -> Result<(), Stop> {
        self.scene("A device arrives: the service starts")?;
        let t0 = self.make("demo0")?;
        let pid = self.starts(t0)?;
        self.entry_told(pid, "snapshot demo0", t0)?;

        self.scene("Another one arrives: the service goes on, and is told")?;
        let t0 = self.make("demo1")?;
        self.entry_told(pid, "arrival demo1", t0)?;
        self.goes_on(pid, t0)?;

        self.scene("One of the two leaves: the service goes on")?;
        let t0 = self.remove("demo0")?;
        self.entry_told(pid, "removal demo0", t0)?;
        self.goes_on(pid, t0)?;

        self.scene("The last one leaves: the service is stopped")?;
        let t0 = self.remove("demo1")?;
        self.stop_begins(pid, t0)?;

        // The device comes back in the middle of the work; most of it is left, because a busy machine
        // may be slow to make the device.
        std::thread::sleep(self.pace.cleanup / 5);
        self.lines
            .scene("It comes back while the service is still stopping: no arrival is lost")?;
        let t0 = self.make("demo1")?;
        let status = self.stage.status()?;
        if status.state != "STOP_PENDING" || status.pid != Some(pid) {
            let what = format!("a service that is still stopping (it is {})", status.state);
            return Err(self.stage.missing(&what));
        }
        self.say(
            t0,
            Line::new("noted", "the service is still stopping: noted"),
        )?;
        self.stop_ends(pid, t0)?;
        let new = self.starts(t0)?;
        if new == pid {
            return Err(self.stage.missing("another process"));
        }
        self.entry_told(new, "snapshot demo1", t0)?;

        self.scene("It leaves for good")?;
        let t0 = self.remove("demo1")?;
        self.stop_begins(new, t0)?;
        self.stop_ends(new, t0)?;
        self.end()
    }

    /// Leaves the scene before on the screen for a while; nothing may happen in it any more.
    fn scene(&mut self, title: &str) -> Result<(), Stop> {
        std::thread::sleep(self.pace.scene);
        self.stage.expect_nothing_more()?;
        Ok(self.lines.scene(title)?)
    }

    /// Says a line about the service, at this moment.
    fn say(&mut self, t0: u64, line: Line) -> Result<(), Stop> {
        let now = super::record::boot_time_ns();
        self.say_at(t0, now, line)
    }

    fn say_at(&mut self, t0: u64, time_ns: u64, line: Line) -> Result<(), Stop> {
        let line = line.after(time_ns.saturating_sub(t0));
        let line = if line.subject.is_some() {
            line
        } else {
            line.about(NAME)
        };
        Ok(self.lines.say(&line)?)
    }

    /// Makes a device and waits until the manager has seen it; returns when the making began.
    fn make(&mut self, name: &str) -> Result<u64, Stop> {
        let kind = self.devices.kind().name();
        let t0 = self.devices.make(name);
        let t0 = t0.map_err(|error| Stop::failed(error.to_string()))?;
        self.say_at(
            t0,
            t0,
            Line::new("made", format!("made: {kind}")).about(name),
        )?;
        let seen = self.stage.interface(NoticeKind::Arrival, name)?;
        self.arrivals += 1;
        let line = Line::new("arrival", "arrival seen by the manager").about(name);
        self.say_at(t0, seen.time_ns, line)?;
        Ok(t0)
    }

    /// Removes a device and waits until the manager has seen it; returns when the removal began.
    fn remove(&mut self, name: &str) -> Result<u64, Stop> {
        let t0 = self.devices.remove(name);
        let t0 = t0.map_err(|error| Stop::failed(error.to_string()))?;
        self.say_at(t0, t0, Line::new("removed", "removed").about(name))?;
        let seen = self.stage.interface(NoticeKind::Removal, name)?;
        self.removals += 1;
        let line = Line::new("removal", "removal seen by the manager").about(name);
        self.say_at(t0, seen.time_ns, line)?;
        Ok(t0)
    }

    /// Waits until the service runs; returns its pid.
    fn starts(&mut self, t0: u64) -> Result<i32, Stop> {
        let Change { time_ns, change } = self.stage.state("START_PENDING")?;
        let reason = change.start_reason.as_deref().unwrap_or("unknown");
        let text = format!("START_PENDING, started by: {reason}");
        self.say_at(t0, time_ns, Line::new("start_pending", text))?;
        let main = self.stage.entry(None, "main", "")?;
        let pid = Some(main.pid);
        let text = format!("first statement of its main(), pid {}", main.pid);
        self.say_at(t0, main.time_ns, Line::new("main", text).of(pid))?;
        let Change { time_ns, change } = self.stage.state("RUNNING")?;
        self.starts += 1;
        if change.pid != pid {
            let what = format!("RUNNING with pid {} (it has {:?})", main.pid, change.pid);
            return Err(self.stage.missing(&what));
        }
        self.say_at(t0, time_ns, Line::new("running", "RUNNING").of(pid))?;
        Ok(main.pid)
    }

    /// Waits until the service was told something over its own session.
    fn entry_told(&mut self, pid: i32, what: &str, t0: u64) -> Result<(), Stop> {
        let told = self.stage.entry(Some(pid), "told", what)?;
        let text = format!("was told: {what}");
        self.say_at(t0, told.time_ns, Line::new("told", text).of(Some(pid)))
    }

    /// Checks that the same process still runs.
    fn goes_on(&mut self, pid: i32, t0: u64) -> Result<(), Stop> {
        let status = self.stage.status()?;
        if status.state != "RUNNING" || status.pid != Some(pid) || status.starts != self.starts {
            let what = format!(
                "the service as it was (it is {}, pid {:?}, {} starts)",
                status.state, status.pid, status.starts
            );
            return Err(self.stage.missing(&what));
        }
        let text = format!("RUNNING as before, pid {pid}");
        self.say(t0, Line::new("running", text).of(Some(pid)))
    }

    /// Waits until the service was asked to stop.
    fn stop_begins(&mut self, pid: i32, t0: u64) -> Result<(), Stop> {
        let Change { time_ns, .. } = self.stage.state("STOP_PENDING")?;
        self.say_at(t0, time_ns, Line::new("stop_pending", "STOP_PENDING"))?;
        let asked = self.stage.entry(Some(pid), "asked", "")?;
        let text = format!(
            "asked to stop; cleaning up, which takes {} ms",
            self.pace.cleanup.as_millis()
        );
        self.say_at(t0, asked.time_ns, Line::new("asked", text).of(Some(pid)))
    }

    /// Waits until the service has stopped, and in order.
    fn stop_ends(&mut self, pid: i32, t0: u64) -> Result<(), Stop> {
        let cleaned = self.stage.entry(Some(pid), "cleaned", "")?;
        let line = Line::new("cleaned", "cleaned up").of(Some(pid));
        self.say_at(t0, cleaned.time_ns, line)?;
        let Change { time_ns, change } = self.stage.state("STOPPED")?;
        self.stops += 1;
        let exit = change.exit.map(|exit| format!(" ({exit})"));
        let text = format!("STOPPED{}", exit.unwrap_or_default());
        self.say_at(t0, time_ns, Line::new("stopped", text))
    }

    /// Ends the manager, and compares what everybody counted.
    fn end(&mut self) -> Result<(), Stop> {
        self.scene("The end")?;
        let status = self.stage.status()?;
        let service = (self.stage.count("main"), self.stage.count("cleaned"));
        let told = (self.starts, self.stops);
        let agreed = usize::try_from(told.0) == Ok(service.0)
            && usize::try_from(told.1) == Ok(service.1)
            && status.starts == self.starts
            && status.failures == 0
            && status.state == "STOPPED";
        if !agreed {
            let what = format!(
                "counts that agree: the manager says {} starts, {} failures and {}; it told of {} \
                 starts and {} stops; the service counted {} and {}",
                status.starts, status.failures, status.state, told.0, told.1, service.0, service.1
            );
            return Err(self.stage.missing(&what));
        }
        let ended = self.stage.clear()?;
        if !ended.success() {
            return Err(Stop::failed(format!("the manager ended with {ended}")));
        }
        let left = others();
        if !left.is_empty() {
            return Err(Stop::failed(format!("processes are left: {left:?}")));
        }
        let text = "the manager is shut down (exit 0), and no process was left over";
        self.lines.say(&Line::new("shutdown", text))?;
        let text = format!(
            "{} arrivals and {} removals; {} starts and {} stops, by the manager's account and by \
             the service's own",
            self.arrivals, self.removals, self.starts, self.stops
        );
        Ok(self.lines.say(&Line::new("summary", text))?)
    }
}

/// The processes of this world other than its PID 1 and ourselves.
fn others() -> Vec<u32> {
    let own = std::process::id();
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != 1 && *pid != own)
        .collect()
}
