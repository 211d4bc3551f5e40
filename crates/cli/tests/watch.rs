//! `arrival watch` as a program: its lines come at once, and it ends with its reader.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

struct Fake(PathBuf, UnixListener);

impl Fake {
    fn new(name: &str) -> Self {
        let name = format!("arrival-watch-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(dir.join("run")).unwrap();
        let listener = UnixListener::bind(dir.join("run/control")).unwrap();
        Fake(dir, listener)
    }

    /// Accepts the two connections of a session, which last as long as what is returned.
    fn session(&self, records: &[String]) -> [UnixStream; 2] {
        let (mut stream, _) = self.1.accept().unwrap();
        let mut byte = [1];
        while byte != [0] {
            stream.read_exact(&mut byte).unwrap();
        }
        send(&mut stream, r#"{"token":"t"}"#);
        for record in records {
            send(&mut stream, record);
        }
        let (calls, _) = self.1.accept().unwrap();
        [stream, calls]
    }

    fn watch(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_arrival"))
            .args(["watch"])
            .args(arguments)
            .env("ARRIVAL_ROOT", &self.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn send(stream: &mut UnixStream, parameters: &str) {
    write!(
        stream,
        "{{\"parameters\":{parameters},\"continues\":true}}\0"
    )
    .unwrap();
}

fn record(kind: &str, rest: &str) -> String {
    format!(r#"{{"notice":{{"cursor":"1-4","time_ns":5,"kind":"{kind}"{rest}}}}}"#)
}

fn state(kind: &str, service: &str) -> String {
    let state = format!(r#","state":{{"service":"{service}","state":"RUNNING","run":1}}"#);
    record(kind, &state)
}

/// The exit status, once the program has ended by itself.
fn end(mut child: Child) -> (Option<i32>, String) {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn lines_come_at_once_and_an_idle_watch_ends_with_its_reader() {
    let fake = Fake::new("reader");
    let mut child = fake.watch(&["--json"]);
    let end_of_snapshot = record("snapshot", r#","complete":true"#);
    let _session = fake.session(&[state("snapshot", "a"), end_of_snapshot]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first.pointer("/state/service").unwrap(), "a");
    lines.next().unwrap().unwrap();
    // Nothing more will be written: the end of the reader alone must be noticed.
    drop(lines);
    assert_eq!(end(child), (Some(0), String::new()));
}

#[test]
fn without_the_snapshot_the_first_line_is_the_first_change() {
    let fake = Fake::new("changes");
    let mut child = fake.watch(&["--no-snapshot"]);
    let end_of_snapshot = record("snapshot", r#","complete":true"#);
    let _session = fake.session(&[state("snapshot", "a"), end_of_snapshot, state("state", "b")]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("* service   b "), "{line}");
    assert!(line.ends_with("RUNNING (run 1)"), "{line}");
    drop(lines);
    assert_eq!(end(child), (Some(0), String::new()));
}

#[test]
fn a_watch_that_waits_begins_when_the_manager_comes() {
    let fake = Fake::new("waits");
    let control = fake.0.join("run/control");
    let aside = fake.0.join("run/aside");
    std::fs::rename(&control, &aside).unwrap();
    let mut child = fake.watch(&["--wait"]);
    std::fs::rename(&aside, &control).unwrap();
    let end_of_snapshot = record("snapshot", r#","complete":true"#);
    let _session = fake.session(&[state("snapshot", "a"), end_of_snapshot]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("= service   a "));
    drop(lines);
    assert_eq!(end(child), (Some(0), String::new()));
}

#[test]
fn an_unknown_class_ends_with_4() {
    let fake = Fake::new("class");
    let child = fake.watch(&["--class", "nte"]);
    let (mut stream, _) = fake.1.accept().unwrap();
    let error = r#"{"error":"org.arrivald.Session.NoSuchClass","parameters":{"class":"nte"}}"#;
    write!(stream, "{error}\0").unwrap();
    let (code, text) = end(child);
    assert_eq!(code, Some(4));
    assert!(text.contains("there is no interface class 'nte'"), "{text}");
}
