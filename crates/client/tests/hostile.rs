//! What a client does when the other end misbehaves: every case ends with an exact error, in time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod fake;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use arrival_client::{Connection, Error, ErrorKind, Patience, Root, Session, Subscription};
use fake::{Fake, answer, call};

const SHORT: Patience = Patience {
    answer: Duration::from_millis(200),
    completion: Duration::from_millis(400),
};

const LONG: Patience = Patience {
    answer: Duration::from_secs(60),
    completion: Duration::from_secs(60),
};

/// The error of a call to a manager that answers it like this.
fn error_of(patience: Patience, script: impl FnOnce(UnixStream) + Send + 'static) -> Error {
    let fake = Fake::new(vec![Box::new(script)]);
    let mut manager = Connection::connect_with(&fake.root(), patience).unwrap();
    manager.services().unwrap_err()
}

/// Answers the first call with these bytes, and waits for the other end to close.
fn answering(bytes: &'static [u8]) -> impl FnOnce(UnixStream) + Send {
    move |mut stream| {
        call(&mut stream);
        let _ = stream.write_all(bytes);
        let _ = stream.read(&mut [0]);
    }
}

#[test]
fn an_answer_that_is_no_json_is_a_protocol_error() {
    let error = error_of(LONG, answering(b"\xff\xfe{]\0"));
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("makes no sense"), "{error}");
}

#[test]
fn an_answer_of_another_form_is_a_protocol_error_that_names_the_parameter() {
    let error = error_of(LONG, answering(b"{\"parameters\":{\"services\":5}}\0"));
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("'services'"), "{error}");
}

#[test]
fn an_answer_without_end_is_refused_at_the_limit() {
    let error = error_of(LONG, |mut stream| {
        call(&mut stream);
        let chunk = [b'x'; 1 << 16];
        while stream.write_all(&chunk).is_ok() {}
    });
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn a_manager_that_does_not_answer_costs_no_more_than_the_patience() {
    let error = error_of(SHORT, |mut stream| {
        call(&mut stream);
        let _ = stream.read(&mut [0]);
    });
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[test]
fn a_manager_that_answers_byte_by_byte_costs_no_more_than_the_patience() {
    let error = error_of(SHORT, |mut stream| {
        call(&mut stream);
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[test]
fn a_connection_that_ends_within_an_answer_says_so() {
    let error = error_of(LONG, |mut stream| {
        call(&mut stream);
        let _ = stream.write_all(b"{\"parameters\":{\"ser");
    });
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.to_string().contains("19 bytes"), "{error}");
}

#[test]
fn more_answers_than_were_asked_for_are_a_protocol_error() {
    let bytes = b"{\"parameters\":{\"services\":[]},\"continues\":true}\0";
    let error = error_of(LONG, answering(bytes));
    assert_eq!(error.kind(), ErrorKind::Protocol);
}

#[test]
fn errors_of_the_manager_keep_kind_subject_code_and_reason() {
    let rows: [(&[u8], ErrorKind, u32, &str); 6] = [
        (
            b"{\"error\":\"org.arrivald.Services.NoSuchService\",\"parameters\":{\"name\":\"x\"}}\0",
            ErrorKind::NoSuchService,
            1060,
            "there is no service 'x'",
        ),
        (
            b"{\"error\":\"org.arrivald.Devices.NoSuchClass\",\"parameters\":{\"class\":\"x\"}}\0",
            ErrorKind::NoSuchClass,
            1168,
            "there is no interface class 'x'",
        ),
        (
            b"{\"error\":\"org.arrivald.Services.Denied\",\"parameters\":{\"code\":1058,\"reason\":\"off\"}}\0",
            ErrorKind::Denied,
            1058,
            "denied: off",
        ),
        (
            b"{\"error\":\"org.arrivald.Services.Failed\",\"parameters\":{\"code\":1053,\"reason\":\"late\"}}\0",
            ErrorKind::Failed,
            1053,
            "failed: late",
        ),
        (
            b"{\"error\":\"org.varlink.service.MethodNotFound\",\"parameters\":{\"method\":\"a.b.C\"}}\0",
            ErrorKind::Unsupported,
            120,
            "no method 'a.b.C'",
        ),
        (
            b"{\"error\":\"org.example.Other.Surprise\"}\0",
            ErrorKind::Protocol,
            13,
            "unknown error 'org.example.Other.Surprise'",
        ),
    ];
    for (bytes, kind, code, text) in rows {
        let error = error_of(LONG, answering(bytes));
        assert_eq!(error.kind(), kind);
        assert_eq!(error.code().0, code, "{kind:?}");
        assert!(error.to_string().ends_with(text), "{error}");
    }
}

#[test]
fn a_manager_that_lets_nobody_in_is_heard_before_it_closes() {
    let mut fake = Fake::new(vec![Box::new(|mut stream| {
        let refusal =
            r#"{"error":"org.arrivald.Daemon.Denied","parameters":{"code":13,"reason":"full"}}"#;
        write!(stream, "{refusal}\0").unwrap();
    })]);
    let mut manager = Connection::connect_with(&fake.root(), LONG).unwrap();
    fake.ended();
    let error = manager.services().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(error.reason().as_deref(), Some("full"));
}

#[test]
fn a_late_answer_is_never_taken_for_that_of_the_next_call() {
    let fake = Fake::new(vec![
        Box::new(|mut stream| {
            call(&mut stream);
            // The client closes when its patience ends; only then comes the answer.
            let _ = stream.read(&mut [0]);
            let _ = answer(&mut stream, r#"{"services":[]}"#, false);
        }),
        Box::new(|mut stream| {
            call(&mut stream);
            let _ = answer(&mut stream, r#"{"stopped":7}"#, false);
        }),
    ]);
    let mut manager = Connection::connect_with(&fake.root(), SHORT).unwrap();
    assert_eq!(manager.services().unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(manager.shutdown().unwrap(), 7);
}

#[test]
fn waiting_for_a_completion_has_a_patience_of_its_own() {
    let patience = Patience {
        answer: Duration::from_millis(50),
        completion: Duration::from_secs(60),
    };
    let fake = Fake::new(vec![Box::new(|mut stream| {
        let text = call(&mut stream);
        assert!(text.contains("\"wait\":true"), "{text}");
        std::thread::sleep(Duration::from_millis(150));
        let _ = answer(&mut stream, r#"{"run":3}"#, false);
    })]);
    let mut manager = Connection::connect_with(&fake.root(), patience).unwrap();
    assert_eq!(manager.start("x", &[], true).unwrap(), 3);
}

#[test]
fn nobody_at_the_socket_is_no_daemon() {
    let mut fake = Fake::new(vec![]);
    let root = fake.root();
    fake.stop_listening();
    // The file is there, and nobody behind it.
    assert!(root.control().exists());
    let error = Connection::connect(&root).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDaemon);
    let error = Connection::connect(&Root::at("/nonexistent")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoDaemon);
}

#[test]
fn a_manager_that_accepts_nobody_costs_no_more_than_the_patience() {
    let fake = Fake::without_accepting(0);
    // The backlog takes one connection beyond its length (listen(2)), then connect(2) waits.
    let mut waiting = Vec::new();
    let error = loop {
        match Connection::connect_with(&fake.root(), SHORT) {
            Ok(connection) => waiting.push(connection),
            Err(error) => break error,
        }
        assert!(waiting.len() < 10, "a full backlog takes everything");
    };
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[test]
fn a_root_may_be_longer_than_a_socket_address() {
    let fake = Fake::in_long_folder(vec![Box::new(|mut stream| {
        call(&mut stream);
        let _ = answer(&mut stream, r#"{"services":[]}"#, false);
    })]);
    assert!(fake.root().control().as_os_str().len() > 200);
    let mut manager = Connection::connect(&fake.root()).unwrap();
    assert_eq!(manager.services().unwrap(), []);
}

#[test]
fn a_session_needs_a_token_first() {
    let rows: [&[u8]; 3] = [
        b"{\"parameters\":{},\"continues\":true}\0",
        b"{\"parameters\":{\"token\":\"t\"}}\0",
        b"{\"error\":\"org.varlink.service.ExpectedMore\"}\0",
    ];
    for bytes in rows {
        let fake = Fake::new(vec![Box::new(answering(bytes))]);
        let error = Session::open_with(&fake.root(), None, LONG).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    }
}

#[test]
fn an_unknown_class_in_a_subscription_is_told() {
    let bytes =
        b"{\"error\":\"org.arrivald.Session.NoSuchClass\",\"parameters\":{\"class\":\"nte\"}}\0";
    let fake = Fake::new(vec![Box::new(answering(bytes))]);
    let subscription = Subscription {
        classes: vec!["nte".to_owned()],
        ..Subscription::default()
    };
    let error = Session::open_with(&fake.root(), Some(&subscription), LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchClass);
    assert_eq!(error.subject(), "nte");
}

#[test]
fn waiting_for_a_session_keeps_what_has_come_of_a_record() {
    let fake = Fake::new(vec![
        Box::new(|mut stream| {
            call(&mut stream);
            let _ = answer(&mut stream, r#"{"token":"t"}"#, true);
            let record = "{\"parameters\":{\"ask\":{\"ask\":4,\"control\":\"stop\",\"deadline_ns\":9}},\
                \"continues\":true}\0";
            let (first, second) = record.split_at(30);
            let _ = stream.write_all(first.as_bytes());
            std::thread::sleep(Duration::from_millis(100));
            let _ = stream.write_all(second.as_bytes());
            let _ = stream.read(&mut [0]);
        }),
        Box::new(|mut stream| drop(stream.read(&mut [0]))),
    ]);
    let mut session = Session::open_with(&fake.root(), None, LONG).unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let incoming = loop {
        assert!(Instant::now() < end);
        if let Some(incoming) = session.receive_within(Duration::from_millis(5)).unwrap() {
            break incoming;
        }
    };
    let expected = arrival_client::Incoming::Ask(arrival_client::Ask {
        ask: 4,
        control: "stop".to_owned(),
        deadline_ns: 9,
    });
    assert_eq!(incoming, expected);
}
