//! The demonstration, from a folder that holds nothing but the executable.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

/// Who may use a user's namespaces without being anybody in particular.
const NOBODY: u32 = 65534;

/// A folder with the executable, and one for temporary files that must be empty in the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("arrival-test-{name}-{}", std::process::id()));
        let place = Place(path);
        fs::create_dir(&place.0).unwrap();
        for folder in ["bin", "tmp"] {
            fs::create_dir(place.0.join(folder)).unwrap();
        }
        fs::set_permissions(place.tmp(), fs::Permissions::from_mode(0o1777)).unwrap();
        // By another process: while a child of another test holds our descriptor, the copy is "busy".
        let made = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_arrival"))
            .arg(place.program())
            .status();
        assert!(made.unwrap().success());
        place
    }

    fn program(&self) -> PathBuf {
        self.0.join("bin/arrival")
    }

    fn tmp(&self) -> PathBuf {
        self.0.join("tmp")
    }

    /// The command, in a surrounding that holds nothing else.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(self.0.join("bin"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("TMPDIR", self.tmp());
        command
    }

    /// Fails if anything of it is left.
    fn assert_clean(&self) {
        let left: Vec<_> = fs::read_dir(self.tmp()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        // After a kill the kernel may still be at it.
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Some(line) = self.process() {
            assert!(Instant::now() < deadline, "{line} is left");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The command line of a process that has to do with this place.
    fn process(&self) -> Option<String> {
        let own = self.tmp().into_os_string().into_string().unwrap();
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .find(|line| line.contains(&own))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a test cannot be run here; fails if this machine is required to.
fn cannot(need: &str, why: &str) {
    let required = std::env::var("ARRIVAL_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|word| word == need), "{why}");
    println!("skipped: {why}");
}

/// The records of a demonstration that was given; none where namespaces are refused.
fn given(output: &Output) -> Option<Vec<Value>> {
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(7) {
        cannot("netns", &errors);
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{errors}\n{text}");
    assert_eq!(errors, "");
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn check_story(records: &[Value]) {
    let kinds: Vec<&str> = records
        .iter()
        .map(|record| record["kind"].as_str().unwrap())
        .filter(|kind| !matches!(*kind, "scene" | "file" | "plan" | "manager"))
        .collect();
    let expected = "made arrival start_pending main running told \
                    made arrival told running \
                    removed removal told running \
                    removed removal stop_pending asked \
                    made arrival noted cleaned stopped start_pending main running told \
                    removed removal stop_pending asked cleaned stopped \
                    shutdown summary gone";
    assert_eq!(kinds, expected.split_whitespace().collect::<Vec<_>>());
    let mains: Vec<i64> = records
        .iter()
        .filter(|record| record["kind"] == "main")
        .map(|record| record["pid"].as_i64().unwrap())
        .collect();
    assert_eq!(mains.len(), 2);
    assert_ne!(mains[0], mains[1]);
    for record in records {
        let timed = record["subject"].is_string() && record["kind"] != "file";
        assert_eq!(record["after_ns"].is_u64(), timed, "{record}");
    }
}

#[test]
fn it_holds_from_a_folder_with_nothing_but_the_executable() {
    let place = Place::new("demo-alone");
    let mut command = place.command(place.program());
    let output = command.args(["demo", "--fast", "--json"]).output().unwrap();
    if let Some(records) = given(&output) {
        check_story(&records);
    }
    place.assert_clean();
}

#[test]
fn it_holds_for_an_ordinary_user_in_a_folder_that_he_cannot_read() {
    if !geteuid().is_root() {
        return cannot("root", "only root can become another user");
    }
    let place = Place::new("demo-nobody");
    let secret = place.0.join("secret");
    fs::create_dir(&secret).unwrap();
    // A shell goes there first: std changes the user before the folder.
    let script = "cd \"$0\" && chmod 0700 . && exec setpriv --reuid 65534 --regid 65534 \
                  --clear-groups \"$@\"";
    let output = place
        .command("/bin/sh")
        .args(["-c", script])
        .arg(&secret)
        .arg(place.program())
        .args(["demo", "--fast", "--json"])
        .output()
        .unwrap();
    if let Some(records) = given(&output) {
        check_story(&records);
    }
    place.assert_clean();
}

#[test]
fn a_refusal_names_the_setting_and_the_remedy() {
    if !geteuid().is_root() {
        return cannot("root", "only root can limit a user namespace");
    }
    let place = Place::new("demo-refused");
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && \
                  exec setpriv --bounding-set=-all \"$0\" \"$@\"";
    let output = place
        .command("unshare")
        .args(["--user", "--map-root-user", "/bin/sh", "-c", script])
        .arg(place.program())
        .arg("demo")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"");
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "arrival: the demo needs a private world, and user.max_user_namespaces is 0: nobody may \
         make private namespaces (No space left on device (os error 28)); run it as root, or raise \
         it with: sysctl -w user.max_user_namespaces=1024\n"
    );
    place.assert_clean();
}

#[test]
fn an_interrupt_ends_all_of_it_and_leaves_nothing() {
    let place = Place::new("demo-interrupt");
    let mut command = place.command(place.program());
    command
        .args(["demo", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = lines.find(|line| line.as_ref().unwrap().contains("\"kind\":\"running\""));
    if running.is_none() {
        let output = child.wait_with_output().unwrap();
        given(&output);
        return;
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130), "{rest:?}");
    assert!(rest.last().unwrap().contains("\"kind\":\"interrupted\""));
    place.assert_clean();
}

#[test]
fn a_kill_leaves_an_empty_folder_and_no_process() {
    let place = Place::new("demo-kill");
    let mut command = place.command(place.program());
    command
        .args(["demo", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let runs = lines.any(|line| line.unwrap().contains("\"kind\":\"running\""));
    // Whatever it is, it has no time to clean up.
    let _ = child.kill();
    let status = child.wait().unwrap();
    if !runs {
        return cannot("netns", "the demonstration does not run here");
    }
    assert_eq!(status.signal(), Some(9));
    // The last writer is gone when this ends.
    assert!(lines.all(|line| line.is_ok()));
    let folders: Vec<_> = fs::read_dir(place.tmp()).unwrap().flatten().collect();
    assert_eq!(folders.len(), 1);
    fs::remove_dir(folders[0].path()).unwrap();
    place.assert_clean();
}

#[test]
fn a_reader_that_goes_away_ends_it_without_a_word() {
    let place = Place::new("demo-reader");
    let mut command = place.command(place.program());
    command
        .args(["demo", "--fast"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
    while !line.contains("manager is up") {
        line.clear();
        if reader.read_line(&mut line).unwrap() == 0 {
            break;
        }
    }
    drop(reader);
    let output = child.wait_with_output().unwrap();
    if given(&Output {
        stdout: Vec::new(),
        ..output
    })
    .is_some()
    {
        place.assert_clean();
    }
}
