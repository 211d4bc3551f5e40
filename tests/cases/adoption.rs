//! The manager is killed at every place where it has done one thing and not the next, the device moves or does not, and
//! another manager goes on.
//!
//! A daemon built for tests kills itself at the boundary whose number it is given (`crates/daemon/src/boundary.rs`). The
//! scenario is played once to count the boundaries, then once for each of them in each of these variants:
//!
//! | variant | between the two managers |
//! |---|---|
//! | stays | nothing happens |
//! | flips | the device leaves, or comes |
//! | flips twice | it leaves and comes, or comes and leaves |
//!
//! In the end the service runs if and only if its device is there, in one process, the one that the manager names; no
//! two of its processes have lived at once; and one that ran, and was never told to stop, is still the same.
//! Every run takes one variant for each boundary; all of them with `ARRIVAL_ADOPTION=all`, as `cargo xtask slow adoption`
//! has it.

use std::fs;
use std::time::{Duration, Instant};

use arrival_tests::world::{World, recorders, wait_for};

use crate::devices::Link;

case!(
    a_manager_killed_at_any_boundary_of_a_life_is_continued as Root,
    any_boundary_of_a_life
);
case!(
    a_manager_killed_at_any_boundary_of_a_stop_by_hand_is_continued as Root,
    any_boundary_of_a_stop
);

/// Fewer boundaries than these, and the scenarios do not happen.
const LEAST_OF_A_LIFE: usize = 40;
const LEAST_OF_A_STOP: usize = 20;
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Stays,
    Flips,
    FlipsTwice,
}

const VARIANTS: [Variant; 3] = [Variant::Stays, Variant::Flips, Variant::FlipsTwice];

/// The device, which is there or not.
struct Device(Option<Link>);

impl Device {
    fn flip(&mut self) {
        self.0 = match self.0.take() {
            Some(link) => {
                drop(link);
                None
            }
            None => Some(Link::veth("lab0", "peer0")),
        };
    }
}

/// Waits until something is so, or the manager has died; false in that case.
#[track_caller]
fn unless_dead(world: &mut World, what: &str, mut so: impl FnMut(&World) -> bool) -> bool {
    let start = Instant::now();
    loop {
        if !world.has_daemon() {
            return false;
        }
        if so(world) {
            return true;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "waited in vain for: {what}\n{}",
            world.log()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What the service is, if the manager answers.
fn state(world: &World) -> Option<(String, Option<i32>)> {
    let root = arrival_client::Root::at(&world.root);
    let service = arrival_client::Connection::connect(&root)
        .ok()?
        .status("lab")
        .ok()?;
    Some((service.state, service.pid))
}

fn is(world: &World, wanted: &str) -> bool {
    state(world).is_some_and(|(state, pid)| {
        // A program that is told to stop before it has begun notes nothing, and is no case of ours.
        let begun = pid.is_none_or(|pid| {
            world
                .recorded("lab", "start")
                .iter()
                .any(|line| line.starts_with(&format!("start {pid} ")))
        });
        state == wanted && begun
    })
}

/// A life: the device comes, leaves, comes back while the service is stopping, is replaced, and the program dies. True if
/// the manager has outlived it.
fn life(world: &mut World, device: &mut Device) -> bool {
    if !unless_dead(world, "the manager to answer", |world| {
        state(world).is_some()
    }) {
        return false;
    }
    device.flip();
    if !unless_dead(world, "the first run", |world| is(world, "RUNNING")) {
        return false;
    }
    device.flip();
    if !unless_dead(world, "its stop", |world| {
        is(world, "STOP_PENDING") || is(world, "STOPPED")
    }) {
        return false;
    }
    device.flip();
    if !unless_dead(world, "the second run", |world| {
        is(world, "RUNNING") && recorders(&world.root).len() == 1
    }) {
        return false;
    }
    // A program that is killed has failed, and is started again.
    let pid = state(world).and_then(|(_, pid)| pid);
    if let Some(pid) = pid {
        kill(pid);
    }
    unless_dead(world, "the third run", |world| {
        is(world, "RUNNING") && state(world).is_some_and(|(_, now)| now.is_some() && now != pid)
    })
}

fn kill(pid: i32) {
    // SAFETY: a system call that takes numbers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// No two processes of the service have lived at once: each has noted its end before the next its start, or was killed.
#[track_caller]
fn one_at_a_time(world: &World, what: &str) {
    let mut alive: Option<String> = None;
    let text = fs::read_to_string(world.root.join("lab.record")).unwrap_or_default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (word, pid) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default().to_owned(),
        );
        match word {
            "start" => {
                let before = alive.replace(pid);
                // One that was killed has noted nothing; it must be gone for good.
                let gone = before
                    .as_ref()
                    .is_none_or(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true));
                assert!(
                    gone,
                    "{what}: two at once: {before:?}\n{text}\n{}",
                    world.log()
                );
            }
            "exit" => assert_eq!(alive.take(), Some(pid), "{what}\n{text}"),
            _ => {}
        }
    }
}

/// Lets another manager go on, and looks at what it makes of it.
#[track_caller]
fn continued(world: &mut World, device: &Device, what: &str) {
    world.with_environment(&[]);
    world.start();
    let wanted = if device.0.is_some() {
        "RUNNING"
    } else {
        "STOPPED"
    };
    let start = Instant::now();
    loop {
        let live = recorders(&world.root);
        let now = state(world);
        let pids: Vec<i32> = now.iter().filter_map(|(_, pid)| *pid).collect();
        let settled = now.as_ref().is_some_and(|(state, _)| state == wanted) && live == pids;
        if settled && live.len() == usize::from(device.0.is_some()) {
            break;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: wanted {wanted}: {now:?}, {live:?} live\n{}",
            world.log()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    one_at_a_time(world, what);
    assert_eq!(world.info().strays, Vec::<String>::new(), "{what}");
    assert_eq!(
        world.hosts().len(),
        usize::from(device.0.is_some()),
        "{what}: {:?}",
        world.hosts()
    );
}

/// Everything is as before the first manager.
fn clean(world: &mut World, device: &mut Device) {
    device.0 = None;
    world.connect().shutdown().unwrap();
    wait_for("the manager's end", || !world.has_daemon());
    for file in ["lab.record", "boundaries", "manager.log"] {
        let _ = fs::remove_file(world.root.join(file));
    }
    fs::remove_dir_all(world.root.join("run")).unwrap();
}

/// How many boundaries a scenario has.
fn boundaries(
    world: &mut World,
    least: usize,
    scenario: fn(&mut World, &mut Device) -> bool,
) -> u64 {
    let mut device = Device(None);
    let names = world.root.join("boundaries");
    world.with_environment(&[("ARRIVAL_BOUNDARIES", names.display().to_string())]);
    world.launch();
    assert!(scenario(world, &mut device));
    let passed = fs::read_to_string(&names).unwrap().lines().count();
    assert!(passed >= least, "only {passed} boundaries");
    clean(world, &mut device);
    passed as u64
}

/// The variants that a run takes at a boundary.
fn variants(number: u64) -> Vec<Variant> {
    if std::env::var_os("ARRIVAL_ADOPTION").is_some() {
        return VARIANTS.to_vec();
    }
    VARIANTS
        .iter()
        .copied()
        .cycle()
        .skip((number % 3) as usize)
        .take(1)
        .collect()
}

fn any_boundary_of_a_life(world: &mut World) {
    world.follow(
        "lab",
        "lab*",
        &["--stop-ms", "30"],
        "[service.failure]\ndelay = \"10ms\"",
    );
    let count = boundaries(world, LEAST_OF_A_LIFE, life);
    let (mut played, mut died, mut kept) = (0, 0, 0);
    for number in 1..=count {
        for variant in variants(number) {
            let what = format!("killed at boundary {number}, {variant:?}");
            let mut device = Device(None);
            world.with_environment(&[("ARRIVAL_DIE_AT", number.to_string())]);
            world.launch();
            // Times differ a little from one play to the next; what is not reached is no death.
            if life(world, &mut device) {
                world.end_daemon(libc::SIGKILL);
            } else {
                died += 1;
            }
            let ran = recorders(&world.root);
            let told: Vec<String> = world.recorded("lab", "term");
            let untold: Vec<i32> = ran
                .iter()
                .copied()
                .filter(|pid| !told.contains(&format!("term {pid}")))
                .collect();
            match variant {
                Variant::Stays => {}
                Variant::Flips => device.flip(),
                Variant::FlipsTwice => {
                    device.flip();
                    device.flip();
                }
            }
            continued(world, &device, &what);
            // Of one that ran for a device that is there, and was not told to stop.
            if variant == Variant::Stays
                && device.0.is_some()
                && world.recorded("lab", "term") == told
            {
                assert!(
                    untold.iter().all(|pid| recorders(&world.root) == [*pid]),
                    "{what}: {untold:?}\n{}",
                    world.log()
                );
                kept += untold.len();
            }
            played += 1;
            clean(world, &mut device);
        }
    }
    println!("{count} boundaries, {played} plays, {died} deaths, {kept} programs kept");
    assert!(
        died * 10 >= played * 9,
        "only {died} of {played} managers died at their boundaries"
    );
    assert!(kept > 0, "no program was ever kept");
    world.with_environment(&[]);
}

/// An operator stops a service whose device stays. True if the manager has outlived it.
fn stopped_by_hand(world: &mut World, device: &mut Device) -> bool {
    if !unless_dead(world, "the manager to answer", |world| {
        state(world).is_some()
    }) {
        return false;
    }
    device.flip();
    if !unless_dead(world, "the run", |world| is(world, "RUNNING")) {
        return false;
    }
    let root = arrival_client::Root::at(&world.root);
    let asked = arrival_client::Connection::connect(&root)
        .and_then(|mut manager| manager.stop("lab", true));
    if asked.is_ok() {
        // From here on it may not be forgotten.
        world.write("told", "");
    }
    unless_dead(world, "the stop", |world| is(world, "STOPPED"))
}

fn any_boundary_of_a_stop(world: &mut World) {
    world.follow("lab", "lab*", &["--stop-ms", "10"], "");
    let count = boundaries(world, LEAST_OF_A_STOP, stopped_by_hand);
    let (mut died, mut remembered) = (0, 0);
    for number in 1..=count {
        let what = format!("killed at boundary {number} of a stop by hand");
        let _ = fs::remove_file(world.root.join("told"));
        let mut device = Device(None);
        world.with_environment(&[("ARRIVAL_DIE_AT", number.to_string())]);
        world.launch();
        if stopped_by_hand(world, &mut device) {
            world.end_daemon(libc::SIGKILL);
        } else {
            died += 1;
        }
        let told = world.root.join("told").exists();
        if device.0.is_none() {
            device.flip();
        }
        world.with_environment(&[]);
        world.start();
        // Stopped and held back, or running: nothing in between lasts, and a stop that was acknowledged stays.
        let start = Instant::now();
        let held = loop {
            let service = world.status("lab");
            let live = recorders(&world.root);
            if service.state == "RUNNING" && service.pid.is_some_and(|pid| live == [pid]) {
                break false;
            }
            if service.state == "STOPPED"
                && service.held_back.as_deref() == Some("stopped_by_operator")
                && live.is_empty()
            {
                break true;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{what}: {service:?}, {live:?} live\n{}",
                world.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        };
        assert!(
            held || !told,
            "{what}: the operator's stop is forgotten\n{}",
            world.log()
        );
        remembered += usize::from(held);
        one_at_a_time(world, &what);
        clean(world, &mut device);
    }
    println!("{count} boundaries, {died} deaths, {remembered} stops remembered");
    assert!(
        died * 10 >= count as usize * 9,
        "only {died} of {count} managers died at their boundaries"
    );
    assert!(remembered > 0, "no stop was ever remembered");
}
