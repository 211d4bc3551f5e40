//! The flap matrix: a service whose devices go and come back, and in which state it comes to rest.
//!
//! | | |
//! |---|---|
//! | gap | how long the devices are gone, and there again before they go for good: 0, 20, 50 and 200 ms, 1, 2.9 and 5 s |
//! | stop | how long the program takes to stop: 0, 50 ms, 1 and 3 s |
//! | devices | how many go and come at once: 1, 2, 5 |
//! | flaps | once with each gap; 20 and 200 times as fast as the kernel can |
//! | end | the devices are there at the end, or gone |
//! | killed | with one device and a program that takes 0 or 1 s: the program is killed while its device is there, or while it is told to stop |
//!
//! All cells run side by side in one manager, with devices of their own. With `ARRIVAL_FLAPS` set all are
//! run, and a line for each is written to the file that it names; else only those that take no time.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use arrival_linux::rtnl::Links;
use arrival_tests::uevents::Reader;
use arrival_tests::world::{World, recorders_of, signal_process};

const GAPS: [u64; 7] = [0, 20, 50, 200, 1000, 2900, 5000];
const STOPS: [u64; 4] = [0, 50, 1000, 3000];
const DEVICES: [u32; 3] = [1, 2, 5];
/// How many cells run side by side: they mostly wait.
const ABREAST: usize = 24;
/// How long a service may take to come to rest, besides the time that its program takes to stop.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it must stay so.
const REST: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    Never,
    Running,
    Stopping,
}

/// Times are milliseconds.
#[derive(Clone, Copy, Debug)]
struct Cell {
    flaps: u32,
    gap: u64,
    stop: u64,
    devices: u32,
    present: bool,
    killed: Killed,
}

impl Cell {
    fn takes_no_time(&self) -> bool {
        self.flaps <= 20 && self.gap <= 200 && self.stop <= 50 && self.devices <= 2
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut add = |flaps, gap, stop, devices, killed| {
        cells.extend([true, false].map(|present| Cell {
            flaps,
            gap,
            stop,
            devices,
            present,
            killed,
        }));
    };
    for stop in STOPS {
        for devices in DEVICES {
            for gap in GAPS {
                add(1, gap, stop, devices, Killed::Never);
            }
            for flaps in [20, 200] {
                add(flaps, 0, stop, devices, Killed::Never);
            }
        }
    }
    for gap in GAPS {
        for stop in [0, 1000] {
            for killed in [Killed::Running, Killed::Stopping] {
                add(1, gap, stop, 1, killed);
            }
        }
    }
    cells
}

/// What was seen of a service that has come to rest.
#[derive(Clone, Debug, Default)]
struct Seen {
    state: String,
    pid: Option<i32>,
    /// How often the manager says that it has started it.
    starts: u64,
    /// What its programs have noted, in order.
    notes: Vec<String>,
    /// Its programs that live.
    alive: Vec<i32>,
    /// How often the kernel has said that one of its devices came.
    added: u64,
    /// Killed by us.
    kills: u64,
}

/// What is wrong with it, if anything is.
fn judge(cell: &Cell, seen: &Seen) -> Result<(), String> {
    let noted = |word: &str| {
        let lines = seen.notes.iter().filter(|line| line.starts_with(word));
        lines.count() as u64
    };
    let expected = if cell.present { "RUNNING" } else { "STOPPED" };
    if seen.state != expected {
        return Err(format!("it is {}, not {expected}", seen.state));
    }
    let running: Vec<i32> = seen.pid.into_iter().collect();
    if seen.alive != running || running.len() != usize::from(cell.present) {
        return Err(format!("{:?} live, {running:?} is told", seen.alive));
    }
    if let Some(pid) = seen.pid
        && !seen
            .notes
            .iter()
            .any(|line| line.starts_with(&format!("start {pid} ")))
    {
        return Err(format!("{pid} has noted nothing"));
    }
    // A program that is told to stop before its first statement notes nothing.
    let (begun, ended) = (noted("start "), noted("exit "));
    if begun == 0 || begun > seen.starts {
        return Err(format!("{begun} notes of {} starts", seen.starts));
    }
    let cut_short = begun.checked_sub(ended + u64::from(cell.present));
    if cut_short.is_none_or(|cut_short| cut_short > seen.kills) {
        return Err(format!("{begun} programs have begun, {ended} have ended"));
    }
    if seen.starts > seen.added + seen.kills {
        return Err(format!(
            "{} starts for {} arrivals",
            seen.starts, seen.added
        ));
    }
    let arrivals = u64::from(cell.devices) * u64::from(cell.flaps + 1);
    if seen.added != arrivals {
        return Err(format!("{} arrivals, not {arrivals}", seen.added));
    }
    // An absence that nobody can overlook. Of several devices one may be left for a moment, with which the
    // service is started again; and one that leaves for good before its program has stopped starts nothing.
    let once = cell.flaps == 1 && cell.devices == 1 && cell.killed == Killed::Never;
    let waited_for = cell.present || 2 * cell.gap >= cell.stop + 200;
    if once && cell.gap >= 200 && waited_for && seen.starts != 2 {
        return Err(format!(
            "{} starts, not one before and one after",
            seen.starts
        ));
    }
    Ok(())
}

case!(every_cell_ends_in_the_right_state as Root, matrix);

fn matrix(world: &mut World) {
    let report = std::env::var_os("ARRIVAL_FLAPS");
    let mut cells: Vec<(usize, Cell)> = cells().into_iter().enumerate().collect();
    if report.is_none() {
        cells.retain(|(_, cell)| cell.takes_no_time());
    }
    for (number, cell) in &cells {
        let stop = cell.stop.to_string();
        world.follow(
            &format!("flap{number}"),
            &format!("f{number}-*"),
            &["--stop-ms", &stop],
            "",
        );
    }
    world.start();
    let reader = Reader::start();
    let (count, queue) = (cells.len(), Mutex::new(VecDeque::from(cells)));
    let lines = Mutex::new(Vec::new());
    let world = &*world;
    thread::scope(|scope| {
        for _ in 0..ABREAST {
            scope.spawn(|| {
                while let Some((number, cell)) = take(&queue) {
                    let seen = play(world, &reader, number, &cell);
                    let said = judge(&cell, &seen);
                    let line = (number, cell, seen, said);
                    lines.lock().unwrap().push(line);
                }
            });
        }
    });
    let mut lines = lines.into_inner().unwrap();
    lines.sort_by_key(|line| line.0);
    let (mut text, mut wrong, mut starts, mut added) = (String::new(), 0, 0, 0);
    for (_, cell, seen, said) in &lines {
        starts += seen.starts;
        added += seen.added;
        let said = match said {
            Ok(()) => "right".to_owned(),
            Err(why) => {
                wrong += 1;
                format!("WRONG: {why}; {seen:?}")
            }
        };
        writeln!(text, "{cell:?}: {} starts, {said}", seen.starts).unwrap();
    }
    writeln!(
        text,
        "{count} cells, {wrong} wrong final states; {added} arrivals, {starts} starts"
    )
    .unwrap();
    if let Some(report) = report {
        fs::write(report, &text).unwrap();
    }
    assert_eq!((lines.len(), wrong), (count, 0), "{text}");
}

fn take<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().unwrap().pop_front()
}

/// Lets the devices of a cell come and go, and looks at its service once that has come to rest.
fn play(world: &World, reader: &Reader, number: usize, cell: &Cell) -> Seen {
    let service = format!("flap{number}");
    let names: Vec<String> = (0..cell.devices)
        .map(|device| format!("f{number}-{device}"))
        .collect();
    let mut links = Links::open().unwrap();
    let mut all = |there: bool| {
        for name in &names {
            if there {
                links.create_bridge(name).unwrap();
            } else {
                links.delete(name).unwrap();
            }
        }
    };
    let pause = || thread::sleep(Duration::from_millis(cell.gap));
    all(true);
    let pid = world.wait_running(&service).pid.unwrap();
    let mut kills = 0;
    let mut kill = || {
        signal_process(pid, libc::SIGKILL);
        kills += 1;
    };
    if cell.killed == Killed::Running {
        kill();
    }
    for _ in 0..cell.flaps {
        all(false);
        if cell.killed == Killed::Stopping {
            kill();
        }
        pause();
        all(true);
    }
    if !cell.present {
        pause();
        all(false);
    }
    let look = || {
        let status = world.status(&service);
        Seen {
            state: status.state,
            pid: status.pid,
            starts: status.starts,
            notes: world.recorded(&service, ""),
            alive: recorders_of(&world.root, &service),
            added: (names.iter())
                .map(|name| reader.count("add", &format!("/{name}")) as u64)
                .sum(),
            kills,
        }
    };
    let deadline = Instant::now() + PATIENCE + Duration::from_millis(cell.stop);
    let mut seen = look();
    while judge(cell, &seen).is_err() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
        seen = look();
    }
    thread::sleep(REST);
    let seen = look();
    if cell.present {
        all(false);
    }
    seen
}

mod judging {
    use super::*;

    fn cell() -> Cell {
        Cell {
            flaps: 1,
            gap: 200,
            stop: 50,
            devices: 2,
            present: true,
            killed: Killed::Never,
        }
    }

    fn seen() -> Seen {
        let notes = [
            "start 10 trigger x",
            "term 10",
            "exit 10",
            "start 11 trigger x",
        ];
        Seen {
            state: "RUNNING".to_owned(),
            pid: Some(11),
            starts: 2,
            notes: notes.map(str::to_owned).to_vec(),
            alive: vec![11],
            added: 4,
            kills: 0,
        }
    }

    #[track_caller]
    fn wrong(cell: Cell, change: impl FnOnce(&mut Seen), why: &str) {
        let mut seen = seen();
        change(&mut seen);
        let said = judge(&cell, &seen).expect_err("it is wrong");
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn a_service_that_runs_once_with_its_devices_is_right() {
        assert_eq!(judge(&cell(), &seen()), Ok(()));
        let gone = Cell {
            present: false,
            ..cell()
        };
        let mut after = seen();
        after.notes.push("exit 11".to_owned());
        (after.state, after.pid, after.alive) = ("STOPPED".to_owned(), None, Vec::new());
        assert_eq!(judge(&gone, &after), Ok(()));
    }

    #[test]
    fn every_kind_of_wrong_is_told() {
        wrong(cell(), |s| s.state = "STOPPED".to_owned(), "not RUNNING");
        wrong(cell(), |s| s.alive = vec![10, 11], "live");
        wrong(cell(), |s| s.alive.clear(), "live");
        wrong(cell(), |s| (s.pid, s.alive) = (None, Vec::new()), "live");
        wrong(
            cell(),
            |s| (s.pid, s.alive) = (Some(12), vec![12]),
            "noted nothing",
        );
        wrong(cell(), |s| s.starts = 1, "notes of");
        wrong(
            cell(),
            |s| s.notes.retain(|l| !l.starts_with("exit")),
            "have begun",
        );
        wrong(cell(), |s| s.notes.push("exit 11".to_owned()), "have begun");
        wrong(cell(), |s| s.starts = 5, "starts for");
        wrong(cell(), |s| s.added = 3, "arrivals, not");
        wrong(
            Cell {
                devices: 1,
                ..cell()
            },
            |s| (s.starts, s.added) = (3, 3),
            "arrivals, not",
        );
        let one = Cell {
            devices: 1,
            ..cell()
        };
        wrong(
            one,
            |s| (s.starts, s.added, s.kills) = (3, 2, 1),
            "one before and one after",
        );
        let gone = Cell {
            present: false,
            ..cell()
        };
        wrong(gone, |_| {}, "not STOPPED");
        wrong(gone, |s| s.state = "STOPPED".to_owned(), "live");
        wrong(
            gone,
            |s| (s.state, s.pid) = ("STOPPED".to_owned(), None),
            "live",
        );
    }

    #[test]
    fn the_matrix_is_whole() {
        let all = cells();
        assert_eq!(all.len(), 2 * (4 * 3 * (7 + 2) + 7 * 2 * 2));
        assert!(all.iter().any(Cell::takes_no_time) && !all.iter().all(Cell::takes_no_time));
    }
}
