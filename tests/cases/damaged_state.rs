//! What an earlier manager wrote down is cut off, of another boot, of a newer version, or names a process that is
//! another one now. Programs that live are never killed for it, and the manager says what it found.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use arrival_tests::world::{World, recorders, wait_for};

use crate::devices::Link;

case!(
    a_journal_that_was_cut_off_in_its_last_line_loses_no_service as Root,
    cut_off
);
case!(
    the_state_of_another_boot_does_not_count_and_what_lives_is_shown as Root,
    another_boot
);
case!(
    the_state_of_a_newer_version_is_left_alone_and_so_are_the_services as Root,
    newer_version
);
case!(
    a_process_that_has_the_number_of_a_service_is_not_taken_for_it as Root,
    number_of_another
);

fn journal(world: &World) -> PathBuf {
    world.root.join("run/state/journal")
}

/// A service that runs, of a manager that was killed; its process.
fn orphan(world: &mut World) -> (Link, i32) {
    world.follow("lab", "lab*", &[], "");
    world.start();
    let link = Link::veth("lab0", "peer0");
    let pid = world.wait_running("lab").pid.unwrap();
    world.end_daemon(libc::SIGKILL);
    (link, pid)
}

fn cut_off(world: &mut World) {
    let (link, pid) = orphan(world);
    let whole = fs::read(journal(world)).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    assert!(whole.len() - last > 20, "the last line says nothing");
    let step = (whole.len() - last).div_ceil(12).max(1);
    let mut plays = 0;
    for length in (last..whole.len()).step_by(step).chain([whole.len() - 1]) {
        fs::write(journal(world), &whole[..length]).unwrap();
        let _ = fs::remove_file(world.root.join("manager.log"));
        world.start();
        let now = world.wait_state("lab", "RUNNING");
        assert_eq!(
            now.pid,
            Some(pid),
            "cut at {length} of {}\n{}",
            whole.len(),
            world.log()
        );
        if length > last {
            assert!(
                world.log().contains("were not written to their end"),
                "{}",
                world.log()
            );
        }
        world.end_daemon(libc::SIGKILL);
        plays += 1;
    }
    assert!(plays >= 10, "{plays}");
    world.start();
    drop(link);
    world.wait_state("lab", "STOPPED");
    assert_eq!(world.recorded("lab", "start").len(), 1);
}

fn another_boot(world: &mut World) {
    let (link, pid) = orphan(world);
    let text = fs::read_to_string(journal(world)).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = text.replace(boot.trim(), "00000000-0000-4000-8000-000000000000");
    assert_ne!(other, text);
    fs::write(journal(world), other).unwrap();
    world.start();
    assert!(world.log().contains("another boot"), "{}", world.log());
    let strays = world.info().strays;
    assert!(
        strays
            .iter()
            .any(|stray| stray.ends_with(&format!("process {pid}"))),
        "{strays:?}"
    );
    // The device is there, as at the first start in a boot.
    let new = world.wait_running("lab").pid.unwrap();
    assert_ne!(new, pid);
    drop(link);
    world.wait_state("lab", "STOPPED");
    assert_eq!(
        recorders(&world.root),
        [pid],
        "what nobody knows is not killed"
    );
    // SAFETY: a system call that takes numbers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    wait_for("its end", || recorders(&world.root).is_empty());
}

fn newer_version(world: &mut World) {
    let (link, pid) = orphan(world);
    let text = fs::read_to_string(journal(world)).unwrap();
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    assert_ne!(newer, text);
    fs::write(journal(world), &newer).unwrap();
    world.launch();
    wait_for("the manager to give up", || !world.has_daemon());
    assert!(
        world
            .log()
            .contains("has format 2, and this version knows 1"),
        "{}",
        world.log()
    );
    assert_eq!(fs::read_to_string(journal(world)).unwrap(), newer);
    assert_eq!(recorders(&world.root), [pid]);
    // The version that wrote it finds everything as it was.
    fs::write(journal(world), text).unwrap();
    world.start();
    assert_eq!(world.wait_state("lab", "RUNNING").pid, Some(pid));
    drop(link);
    world.wait_state("lab", "STOPPED");
}

fn number_of_another(world: &mut World) {
    world.with(&["--containment", "process"]);
    let (link, pid) = orphan(world);
    // SAFETY: a system call that takes numbers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    wait_for("its end", || recorders(&world.root).is_empty());
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let text = fs::read_to_string(journal(world)).unwrap();
    let edited = text.replace(
        &format!("\"pid\":{pid}"),
        &format!("\"pid\":{}", other.id()),
    );
    let edited = edited.replace(&format!("[{pid},"), &format!("[{},", other.id()));
    assert_ne!(edited, text);
    fs::write(journal(world), edited).unwrap();
    world.start();
    let new = world.wait_running("lab");
    assert_ne!(new.pid, Some(pid));
    assert_ne!(new.pid, i32::try_from(other.id()).ok());
    assert_eq!(world.recorded("lab", "start").len(), 2);
    drop(link);
    world.wait_state("lab", "STOPPED");
    assert!(
        other.try_wait().unwrap().is_none(),
        "a process of somebody else was killed"
    );
    other.kill().unwrap();
    other.wait().unwrap();
}
