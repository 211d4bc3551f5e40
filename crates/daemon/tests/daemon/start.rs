//! How the daemon starts and ends.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{How, Root, is_alive, wait};

#[test]
fn a_second_daemon_on_the_same_root_is_refused_and_names_the_first() {
    let root = Root::new();
    let daemon = How::plain().start(&root);
    let (status, said) = How::plain().fail(&root);
    assert_eq!(status.code(), Some(1));
    let lock = root.path.join("run/lock");
    let expected = format!(
        "arrivald: a daemon serves this root already: {} is held by process {}\n",
        lock.display(),
        daemon.pid()
    );
    assert_eq!(said, expected);
    // The first one has not noticed.
    daemon
        .client()
        .call("org.arrivald.Daemon.Info", json!({}))
        .unwrap();
    daemon.terminate();
}

#[test]
fn a_root_that_everyone_can_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let root = Root::new();
    std::fs::set_permissions(&root.path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let (status, said) = How::plain().fail(&root);
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("writable by everyone"), "{said}");
}

#[test]
fn a_wrong_command_line_ends_with_two_and_says_what_is_wrong() {
    let output = Command::new(env!("CARGO_BIN_EXE_arrivald"))
        .arg("--rot")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "arrivald: unknown option '--rot'; see arrivald --help\n"
    );
}

#[test]
fn the_run_folder_is_open_and_the_state_is_not() {
    use std::os::unix::fs::PermissionsExt;
    let root = Root::new();
    let daemon = How::plain().start(&root);
    let mode = |name: &str| {
        let path = root.path.join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("run"), 0o755);
    assert_eq!(mode("run/control"), 0o666);
    assert_eq!(mode("run/state"), 0o700);
    daemon.terminate();
}

#[test]
fn a_root_with_a_path_longer_than_a_socket_address_works() {
    let outer = Root::new();
    let deep = outer.path.join("d".repeat(100)).join("e".repeat(60));
    std::fs::create_dir_all(&deep).unwrap();
    let root = Root::below(&deep);
    root.define("a", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    // A client has to go the same way round.
    let mut child = Command::new(env!("CARGO_BIN_EXE_arrivald"))
        .args(["--no-udev", "--root"])
        .arg(&root.path)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let folder = root.path.join("run");
    let stream = wait("the daemon answers", || {
        let folder = std::fs::File::open(&folder).ok()?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
        std::os::unix::net::UnixStream::connect(format!("/proc/self/fd/{number}/control")).ok()
    });
    drop(stream);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn sigint_says_how_many_services_stay() {
    let root = Root::new();
    root.define("a", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    let daemon = How::plain().start(&root);
    let pid = daemon.start("a")["pid"].as_i64().unwrap();
    daemon.signal(Signal::INT);
    let (status, said) = daemon.end();
    assert_eq!(status.code(), Some(0));
    assert!(said.ends_with("\narrivald: 1 service goes on\n"), "{said}");
    assert!(is_alive(pid));
}

#[test]
fn whoever_started_it_is_told_when_it_is_ready_and_services_are_not_told_how() {
    let root = Root::new();
    root.define(
        "a",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"env; exec sleep 1000\"]\n",
    );
    let path = root.path.join("told");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_arrivald"))
        .args(["--no-udev", "--root"])
        .arg(&root.path)
        .env("NOTIFY_SOCKET", &path)
        .env("SECRET_OF_THE_DAEMON", "x")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut bytes = [0; 64];
    let length = socket.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"READY=1\n");
    let mut client = crate::support::Client::connect(&root.path);
    let start = json!({ "name": "a", "arguments": [], "wait": true });
    client.call("org.arrivald.Services.Start", start).unwrap();
    let log = wait("the environment is printed", || {
        Some(root.log("a")).filter(|log| log.contains("ARRIVAL_RUN="))
    });
    assert!(!log.contains("NOTIFY_SOCKET"), "{log}");
    assert!(!log.contains("SECRET"), "{log}");
    child.kill().unwrap();
    child.wait().unwrap();
}
