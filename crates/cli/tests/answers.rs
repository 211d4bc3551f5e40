//! What the command line makes of a manager's answers: exit statuses, words and waiting.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What a method is answered with, one after the other; the last answer stays.
type Answers = Vec<(&'static str, Vec<String>)>;

/// Arguments, the method that is called, its answer; the exit status and the line of the error.
type Row = (
    &'static [&'static str],
    &'static str,
    Vec<String>,
    i32,
    &'static str,
);

/// A manager of one connection.
struct Fake(PathBuf);

impl Fake {
    fn new(answers: Answers) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("arrival-answers-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(dir.join("run")).unwrap();
        let listener = UnixListener::bind(dir.join("run/control")).unwrap();
        // It ends with the only connection, or with the test's process.
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            serve(stream, answers);
        });
        Fake(dir)
    }

    fn arrival(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_arrival"))
            .args(arguments)
            .env("ARRIVAL_ROOT", &self.0)
            .output()
            .unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn serve(mut stream: UnixStream, mut answers: Answers) {
    loop {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap_or(0) == 1 && byte != [0] {
            bytes.extend(byte);
        }
        if bytes.is_empty() {
            return;
        }
        let call: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let method = call["method"].as_str().unwrap();
        let known = answers.iter_mut().find(|(name, _)| method.ends_with(name));
        let (_, replies) = known.unwrap_or_else(|| panic!("nobody expects {method}"));
        let reply = if replies.len() > 1 {
            replies.remove(0)
        } else {
            replies[0].clone()
        };
        if write!(stream, "{reply}\0").is_err() {
            return;
        }
    }
}

fn good(parameters: &str) -> Vec<String> {
    vec![format!(r#"{{"parameters":{parameters}}}"#)]
}

fn bad(name: &str, parameters: &str) -> Vec<String> {
    vec![format!(r#"{{"error":"{name}","parameters":{parameters}}}"#)]
}

fn denied(code: u32, reason: &str) -> Vec<String> {
    let parameters = format!(r#"{{"code":{code},"reason":"{reason}"}}"#);
    bad("org.arrivald.Services.Denied", &parameters)
}

fn status(state: &str) -> String {
    format!(
        r#"{{"parameters":{{"service":{{"name":"x","description":"","state":"{state}",
        "desired":"running","held_back":null,"note":null,"enabled":true,"protocol":"exec",
        "run":4,"pid":null,"start_reason":null,"starts":1,"failures":0,"interfaces":[],
        "last_exit":null,"last_error":null,"status_text":null,"checkpoint":0,"wait_hint_ms":0,
        "since_ns":0,"definition":null}}}}}}"#
    )
}

#[test]
fn status_of_a_service_that_does_not_run_ends_with_3() {
    for (state, code) in [("RUNNING", 0), ("STOPPED", 3), ("START_PENDING", 3)] {
        let fake = Fake::new(vec![("Status", vec![status(state)])]);
        let (got, out, err) = fake.arrival(&["status", "x"]);
        assert_eq!(got, code, "{state}: {err}");
        assert!(out.contains(state), "{out}");
    }
}

#[test]
fn status_of_several_services_ends_with_3_if_one_does_not_run() {
    let replies = vec![status("RUNNING"), status("STOPPED"), status("RUNNING")];
    let fake = Fake::new(vec![("Status", replies)]);
    let (code, out, _) = fake.arrival(&["status", "x", "y", "z", "--json"]);
    assert_eq!(code, 3);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["services"].as_array().unwrap().len(), 3);
}

#[test]
fn every_refusal_has_its_status_and_one_line() {
    let no_service = || bad("org.arrivald.Services.NoSuchService", r#"{"name":"x"}"#);
    let rows: Vec<Row> = vec![
        (
            &["status", "x"],
            "Status",
            no_service(),
            4,
            "arrival: there is no service 'x': 'arrival list' shows all\n",
        ),
        (
            &["why", "x"],
            "Why",
            no_service(),
            4,
            "arrival: there is no service 'x': 'arrival list' shows all\n",
        ),
        (
            &["devices", "--class", "nte"],
            "List",
            bad("org.arrivald.Devices.NoSuchClass", r#"{"class":"nte"}"#),
            4,
            "arrival: there is no interface class 'nte': 'arrival classes' shows all\n",
        ),
        (
            &["start", "x"],
            "Start",
            denied(5, "user 1000 may not start it"),
            5,
            "arrival: cannot start 'x': denied: user 1000 may not start it; root may do it\n",
        ),
        (
            &["start", "x"],
            "Start",
            denied(1058, "it is disabled"),
            5,
            "arrival: cannot start 'x': denied: it is disabled\n",
        ),
        (
            &["start", "x"],
            "Start",
            bad(
                "org.arrivald.Services.Failed",
                r#"{"code":1053,"reason":"not ready within 30 s"}"#,
            ),
            1,
            "arrival: cannot start 'x': not ready within 30 s\n",
        ),
        (
            &["start", "x"],
            "Start",
            bad(
                "org.arrivald.Services.Failed",
                r#"{"code":31,"reason":"\u001b[2J\ngone"}"#,
            ),
            1,
            "arrival: cannot start 'x': \\x1b[2J\\ngone\n",
        ),
        (
            &["info"],
            "Info",
            bad(
                "org.varlink.service.MethodNotFound",
                r#"{"method":"org.arrivald.Daemon.Info"}"#,
            ),
            7,
            "",
        ),
    ];
    for (arguments, method, reply, code, line) in rows {
        let fake = Fake::new(vec![(method, reply)]);
        let (got, out, err) = fake.arrival(arguments);
        assert_eq!(got, code, "{arguments:?}: {err}");
        assert_eq!(out, "", "{arguments:?}");
        assert_eq!(err.lines().count(), 1, "{err}");
        if !line.is_empty() {
            assert_eq!(err, line);
        }
    }
}

#[test]
fn starting_what_runs_already_is_done() {
    let fake = Fake::new(vec![
        ("Start", denied(1056, "'x' is already RUNNING")),
        ("Status", vec![status("RUNNING")]),
    ]);
    let (code, out, err) = fake.arrival(&["start", "x"]);
    assert_eq!((code, out.as_str()), (0, "x runs already\n"), "{err}");
}

#[test]
fn starting_what_is_starting_already_waits_for_it() {
    let replies = vec![
        status("START_PENDING"),
        status("START_PENDING"),
        status("RUNNING"),
    ];
    let fake = Fake::new(vec![
        ("Start", denied(1056, "'x' is already START_PENDING")),
        ("Status", replies),
    ]);
    let (code, out, err) = fake.arrival(&["start", "x", "--json"]);
    assert_eq!(code, 0, "{err}");
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["run"], 4);
    assert_eq!(value["already"], true);
}

#[test]
fn starting_what_fails_to_start_fails_too() {
    let replies = vec![status("START_PENDING"), status("STOPPED")];
    let fake = Fake::new(vec![
        ("Start", denied(1056, "'x' is already START_PENDING")),
        ("Status", replies),
    ]);
    let (code, _, err) = fake.arrival(&["start", "x"]);
    assert_eq!(code, 1);
    assert_eq!(err, "arrival: cannot start 'x': it is STOPPED\n");
}

#[test]
fn waiting_ends_with_its_timeout() {
    let fake = Fake::new(vec![
        ("Start", denied(1056, "'x' is already START_PENDING")),
        ("Status", vec![status("START_PENDING")]),
    ]);
    let (code, _, err) = fake.arrival(&["start", "x", "--timeout", "1"]);
    assert_eq!(code, 1);
    assert_eq!(
        err,
        "arrival: cannot start 'x': it is still START_PENDING\n"
    );
}

#[test]
fn stopping_what_does_not_run_is_done() {
    let fake = Fake::new(vec![("Stop", denied(1062, "'x' is not running"))]);
    let (code, out, err) = fake.arrival(&["stop", "x"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out, "x is not running\n");
}

#[test]
fn stopping_what_is_stopping_already_waits_for_it() {
    let replies = vec![
        status("STOP_PENDING"),
        status("STOP_PENDING"),
        status("STOPPED"),
    ];
    let fake = Fake::new(vec![
        ("Stop", denied(1061, "it is STOP_PENDING")),
        ("Status", replies),
    ]);
    let (code, out, err) = fake.arrival(&["stop", "x"]);
    assert_eq!((code, out.as_str()), (0, "x has stopped\n"), "{err}");
}

#[test]
fn stopping_what_is_starting_is_denied() {
    let fake = Fake::new(vec![
        ("Stop", denied(1061, "it is START_PENDING")),
        ("Status", vec![status("START_PENDING")]),
    ]);
    let (code, _, err) = fake.arrival(&["stop", "x"]);
    assert_eq!(code, 5);
    assert_eq!(
        err,
        "arrival: cannot stop 'x': denied: it is START_PENDING\n"
    );
}

#[test]
fn reload_ends_with_8_if_a_file_has_errors() {
    let problem = |severity: &str| {
        good(&format!(
            r#"{{"problems":[{{"path":"/f","line":3,"column":1,"severity":"{severity}",
            "code":"c","message":"m","remedy":null}}]}}"#
        ))
    };
    let fake = Fake::new(vec![("Reload", problem("error"))]);
    let (code, out, _) = fake.arrival(&["reload"]);
    assert_eq!(code, 8);
    assert_eq!(out, "error[c]: m\n --> /f:3:1\n1 error, 0 warnings\n");
    let fake = Fake::new(vec![("Reload", problem("warning"))]);
    assert_eq!(fake.arrival(&["reload"]).0, 0);
}

#[test]
fn enabling_several_services_tells_each() {
    let fake = Fake::new(vec![("Enable", good("{}"))]);
    let (code, out, _) = fake.arrival(&["enable", "a", "b"]);
    assert_eq!((code, out.as_str()), (0, "a is enabled\nb is enabled\n"));
}
