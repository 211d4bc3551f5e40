//! A watcher survives its manager: what it tells before, across and after a restart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod fake;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use arrival_client::{ErrorKind, Notice, NoticeKind, Subscription, Watch};
use fake::{Fake, Script, answer, call};

const PATIENCE: Duration = Duration::from_secs(60);

fn interface(name: &str, cursor: &str) -> String {
    format!(
        r#"{{"link":"link-{name}","class":"{{c}}","class_name":"net","node":null,"name":"{name}",
        "owner":"/devices/{name}","reference":"","hardware_ids":[],"compatible_ids":[],
        "enabled_by":"kernel","usable":true,"cursor":"{cursor}"}}"#
    )
}

fn record(kind: &str, cursor: &str, rest: &str) -> String {
    format!(r#"{{"notice":{{"cursor":"{cursor}","time_ns":5,"kind":"{kind}"{rest}}}}}"#)
}

fn of(kind: &str, cursor: &str, name: &str) -> String {
    let interface = interface(name, cursor);
    record(kind, cursor, &format!(r#","interface":{interface}"#))
}

fn complete(cursor: &str) -> String {
    record("snapshot", cursor, r#","complete":true"#)
}

/// Two connections: one streams these records until it is told to end, the other lists these.
fn session(records: Vec<String>, list: String, end: Receiver<()>) -> Vec<Script> {
    let stream = move |mut stream: UnixStream| {
        let opening = call(&mut stream);
        assert!(opening.contains("org.arrivald.Session.Open"), "{opening}");
        answer(&mut stream, r#"{"token":"t"}"#, true).unwrap();
        for record in records {
            answer(&mut stream, &record, true).unwrap();
        }
        let _ = end.recv_timeout(PATIENCE);
    };
    let calls = move |mut stream: UnixStream| {
        if call(&mut stream).contains("org.arrivald.Devices.List") {
            let reply = format!(r#"{{"interfaces":[{list}],"cursor":"1-9"}}"#);
            let _ = answer(&mut stream, &reply, false);
            let _ = stream.read(&mut [0]);
        }
    };
    vec![Box::new(stream), Box::new(calls)]
}

fn take(watch: &mut Watch, number: usize) -> Vec<(NoticeKind, String)> {
    let told = |notice: Notice| {
        let name = notice
            .interface
            .map_or(String::new(), |interface| interface.name);
        (notice.kind, name)
    };
    (0..number)
        .map(|_| {
            told(
                watch
                    .next_within(PATIENCE)
                    .unwrap()
                    .expect("a record in time"),
            )
        })
        .collect()
}

fn ended() -> (Sender<()>, Receiver<()>) {
    channel()
}

#[test]
fn across_a_restart_only_the_difference_is_told() {
    let (end, ends) = ended();
    let records = vec![
        of("snapshot", "1-4", "stays"),
        of("snapshot", "1-4", "leaves"),
        of("snapshot", "1-4", "replaced"),
        complete("1-4"),
        of("arrival", "1-5", "late"),
    ];
    let mut fake = Fake::new(session(records, String::new(), ends));
    let mut watch = Watch::open(&fake.root(), Subscription::default()).unwrap();
    let kinds: Vec<NoticeKind> = take(&mut watch, 5).into_iter().map(|told| told.0).collect();
    let mut expected = vec![NoticeKind::Snapshot; 4];
    expected.push(NoticeKind::Arrival);
    assert_eq!(kinds, expected);

    fake.stop_listening();
    drop(end);
    // The watcher notices the end of the connection before the next manager is there.
    assert!(
        watch
            .next_within(Duration::from_millis(50))
            .unwrap()
            .is_none()
    );
    let (_end, ends) = ended();
    let names = [
        ("stays", "1-2"),
        ("replaced", "1-8"),
        ("late", "1-5"),
        ("new", "1-9"),
    ];
    let mut records: Vec<String> = names.map(|(name, _)| of("snapshot", "1-9", name)).into();
    records.push(complete("1-9"));
    records.push(of("removal", "1-10", "new"));
    let list = names
        .map(|(name, cursor)| interface(name, cursor))
        .join(",");
    fake.restart(session(records, list, ends));
    let told = take(&mut watch, 6);
    let expected = [
        (NoticeKind::Resync, ""),
        (NoticeKind::Removal, "leaves"),
        (NoticeKind::Removal, "replaced"),
        (NoticeKind::Arrival, "new"),
        (NoticeKind::Arrival, "replaced"),
        (NoticeKind::Removal, "new"),
    ];
    assert_eq!(told, expected.map(|(kind, name)| (kind, name.to_owned())));
    assert_eq!(watch.reconnections(), 1);
}

#[test]
fn a_watch_can_begin_before_its_manager() {
    let mut fake = Fake::new(vec![]);
    fake.stop_listening();
    let error = Watch::open(&fake.root(), Subscription::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDaemon);
    let mut watch = Watch::waiting(&fake.root(), Subscription::default());
    assert!(
        watch
            .next_within(Duration::from_millis(100))
            .unwrap()
            .is_none()
    );
    let (_end, ends) = ended();
    fake.restart(session(vec![complete("1-0")], String::new(), ends));
    assert_eq!(take(&mut watch, 1), [(NoticeKind::Snapshot, String::new())]);
    assert_eq!(watch.reconnections(), 0);
}

#[test]
fn a_watcher_that_lost_records_is_told_the_difference_in_the_same_stream() {
    let (_end, ends) = ended();
    let records = vec![
        of("snapshot", "1-4", "a"),
        complete("1-4"),
        record("overrun", "1-90", r#","lost":86"#),
        of("snapshot", "1-90", "b"),
        complete("1-90"),
        of("arrival", "1-91", "c"),
    ];
    let fake = Fake::new(session(records, interface("b", "1-50"), ends));
    let mut watch = Watch::open(&fake.root(), Subscription::default()).unwrap();
    let told = take(&mut watch, 7);
    let expected = [
        (NoticeKind::Snapshot, "a"),
        (NoticeKind::Snapshot, ""),
        (NoticeKind::Overrun, ""),
        (NoticeKind::Resync, ""),
        (NoticeKind::Removal, "a"),
        (NoticeKind::Arrival, "b"),
        (NoticeKind::Arrival, "c"),
    ];
    assert_eq!(told, expected.map(|(kind, name)| (kind, name.to_owned())));
}

#[test]
fn a_record_that_cannot_be_read_ends_the_watch_with_an_error() {
    let (_end, ends) = ended();
    let records = vec![record("explosion", "1-1", "")];
    let fake = Fake::new(session(records, String::new(), ends));
    let mut watch = Watch::open(&fake.root(), Subscription::default()).unwrap();
    let error = watch.next_within(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
}
