//! What somebody may do who is not root, and as whom services run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use arrival_tests::world::World;

use crate::devices::Link;

/// Debian's nobody, and its group.
const NOBODY: u32 = 65534;

/// The command line as nobody.
fn as_nobody(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(world.program("arrival"));
    command.arg("--root").arg(&world.root).args(arguments);
    command.uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    command
}

fn output(world: &World, arguments: &[&str]) -> Output {
    as_nobody(world, arguments).output().unwrap()
}

case!(
    somebody_else_may_look_but_change_nothing as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "");
        world.follow("oth", "oth*", &[], "");
        world.start();
        let _link = Link::bridge("lab0");
        let before = world.wait_state("lab", "RUNNING");
        for refused in [
            &["start", "oth"][..],
            &["stop", "lab"],
            &["enable", "oth"],
            &["disable", "lab"],
            &["reload"],
            &["shutdown"],
        ] {
            let refused_output = output(world, refused);
            assert_eq!(
                refused_output.status.code(),
                Some(5),
                "{refused:?} {refused_output:?}"
            );
            let said = String::from_utf8_lossy(&refused_output.stderr).into_owned();
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        for allowed in [
            &["list"][..],
            &["status", "lab", "--json"],
            &["why", "oth"],
            &["devices", "--json"],
            &["triggers", "lab"],
        ] {
            let allowed_output = output(world, allowed);
            assert_eq!(
                allowed_output.status.code(),
                Some(0),
                "{allowed:?} {allowed_output:?}"
            );
        }
        let after = world.status("lab");
        assert_eq!((after.state, after.run), (before.state, before.run));
        let other = world.status("oth");
        assert_eq!((other.state.as_str(), other.held_back), ("STOPPED", None));
    }
);

case!(somebody_else_may_watch as Root, |world: &mut World| {
    world.follow("lab", "lab*", &[], "");
    world.start();
    let mut watch = as_nobody(world, &["watch", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    // Devices of the machine may come and go beside ours.
    let mut wait_for_line = |kind: &str, name: &str| {
        let found = lines.by_ref().map(Result::unwrap).find(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["kind"] == kind && line.to_string().contains(name)
        });
        assert!(found.is_some(), "the watch ended before {kind} of {name}");
    };
    wait_for_line("snapshot", "complete");
    let link = Link::bridge("lab0");
    wait_for_line("arrival", "lab0");
    drop(link);
    wait_for_line("removal", "lab0");
    watch.kill().unwrap();
    watch.wait().unwrap();
});

case!(
    a_service_of_nobody_runs_as_nobody_without_any_right as Root,
    |world: &mut World| {
        let record = world.root.join("lab.record");
        fs::write(&record, "").unwrap();
        fs::set_permissions(&record, fs::Permissions::from_mode(0o666)).unwrap();
        world.follow(
            "lab",
            "lab*",
            &["--ready"],
            "protocol = \"notify\"\nuser = \"nobody\"",
        );
        world.start();
        let _link = Link::bridge("lab0");
        let pid = world.wait_state("lab", "RUNNING").pid.unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| -> Vec<&str> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().split_whitespace().collect()
        };
        assert_eq!(field("Uid:"), ["65534"; 4]);
        assert_eq!(field("Gid:"), ["65534"; 4]);
        assert_eq!(field("Groups:"), ["65534"]);
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}");
        }
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        assert!(environment.split('\0').any(|entry| entry == "USER=nobody"));
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        assert_eq!(
            open, 3,
            "it has its three streams and nothing of the manager's"
        );
    }
);
