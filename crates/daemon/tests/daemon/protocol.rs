//! The control socket: what clients of all kinds get to hear.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Failure, How, Root, call_as, is_root, skip, wait};

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

#[test]
fn it_describes_itself() {
    let root = Root::new();
    let daemon = How::plain().start(&root);
    let mut client = daemon.client();
    let info = client
        .call("org.varlink.service.GetInfo", json!({}))
        .unwrap();
    assert_eq!(info["product"], "arrivald");
    for name in info["interfaces"].as_array().unwrap() {
        let described = client
            .call(
                "org.varlink.service.GetInterfaceDescription",
                json!({ "interface": name }),
            )
            .unwrap();
        let text = described["description"].as_str().unwrap();
        assert!(
            text.contains(&format!("\ninterface {}\n", name.as_str().unwrap())),
            "{text}"
        );
    }
    let expected = json!([
        "org.varlink.service",
        "org.arrivald.Services",
        "org.arrivald.Devices",
        "org.arrivald.Session",
        "org.arrivald.Daemon",
    ]);
    assert_eq!(info["interfaces"], expected);
    daemon.terminate();
}

#[test]
fn what_does_not_exist_is_named_exactly() {
    let root = Root::new();
    let daemon = How::plain().start(&root);
    let mut client = daemon.client();
    let mut error = |method: &str, parameters: Value| client.call(method, parameters).unwrap_err();
    assert_eq!(
        error("org.example.Nothing.Do", json!({})),
        Failure(
            "org.varlink.service.InterfaceNotFound".into(),
            json!({ "interface": "org.example.Nothing" })
        )
    );
    assert_eq!(
        error("org.arrivald.Services.Nothing", json!({})),
        Failure(
            "org.varlink.service.MethodNotFound".into(),
            json!({ "method": "org.arrivald.Services.Nothing" })
        )
    );
    assert_eq!(
        error("org.arrivald.Services.Status", json!({})),
        Failure(
            "org.varlink.service.InvalidParameter".into(),
            json!({ "parameter": "name" })
        )
    );
    assert_eq!(
        error("org.arrivald.Services.Status", json!({ "name": "x" })),
        Failure(
            "org.arrivald.Services.NoSuchService".into(),
            json!({ "name": "x" })
        )
    );
    assert_eq!(
        error("org.arrivald.Devices.List", json!({ "class": "teapot" })),
        Failure(
            "org.arrivald.Devices.NoSuchClass".into(),
            json!({ "class": "teapot" })
        )
    );
    assert_eq!(
        error("org.arrivald.Session.Open", json!({})),
        Failure("org.varlink.service.ExpectedMore".into(), json!({}))
    );
    assert_eq!(
        error(
            "org.arrivald.Session.Subscribe",
            json!({ "token": "0", "subscription": {} })
        ),
        Failure("org.arrivald.Session.NoSuchSession".into(), json!({}))
    );
    daemon.terminate();
}

/// Sends bytes, and gives the one answer before the connection is closed.
fn refusal(root: &Root, bytes: &[u8]) -> Value {
    let mut client = Client::connect(&root.path);
    // The daemon may close before it has taken everything.
    let _ = client.stream.write_all(bytes);
    let reply = client.receive().expect("no answer");
    assert_eq!(reply["error"], "org.arrivald.Daemon.Denied", "{reply}");
    assert_eq!(client.receive(), None);
    reply["parameters"].clone()
}

#[test]
fn garbled_and_endless_messages_get_one_exact_error_and_harm_nobody() {
    let root = Root::new();
    let daemon = How::plain().start(&root);
    let mut other = daemon.client();
    let said = refusal(&root, b"hello\0");
    assert_eq!(said["code"], 13);
    assert!(
        said["reason"]
            .as_str()
            .unwrap()
            .starts_with("not a Varlink call: "),
        "{said}"
    );
    let said = refusal(&root, b"[]\0");
    assert!(
        said["reason"]
            .as_str()
            .unwrap()
            .starts_with("not a Varlink call: "),
        "{said}"
    );
    let said = refusal(&root, b"{\"method\":\"no\"}\0");
    assert!(
        said["reason"]
            .as_str()
            .unwrap()
            .contains("'no' names no method"),
        "{said}"
    );
    let said = refusal(&root, &vec![b'x'; 80_000]);
    assert_eq!(said["reason"], "a message is longer than 65536 bytes");
    // Whoever sends nothing at all waits in vain, and holds nobody up.
    let mut idle = daemon.client();
    idle.stream.write_all(b"{\"meth").unwrap();
    other.call("org.arrivald.Daemon.Info", json!({})).unwrap();
    idle.stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(idle.stream.read(&mut [0; 16]).is_err());
    drop(idle);
    daemon.terminate();
}

#[test]
fn many_calls_at_once_are_answered_in_their_order() {
    let root = Root::new();
    root.define("a", SLEEP);
    let daemon = How::plain().start(&root);
    let mut client = daemon.client();
    let start = json!({ "name": "a", "arguments": [], "wait": true });
    client.send(&json!({ "method": "org.arrivald.Services.Start", "parameters": start }));
    for _ in 0..100 {
        let status = json!({ "name": "a" });
        client.send(&json!({ "method": "org.arrivald.Services.Status", "parameters": status }));
    }
    assert!(client.receive().unwrap()["parameters"]["run"].is_u64());
    for _ in 0..100 {
        let reply = client.receive().unwrap();
        assert_eq!(reply["parameters"]["service"]["state"], "RUNNING");
    }
    daemon.shut_down();
}

#[test]
fn a_oneway_call_is_carried_out_without_an_answer() {
    let root = Root::new();
    root.define("a", SLEEP);
    let daemon = How::plain().start(&root);
    let mut client = daemon.client();
    let start = json!({ "name": "a", "arguments": [], "wait": true });
    let call =
        json!({ "method": "org.arrivald.Services.Start", "parameters": start, "oneway": true });
    client.send(&call);
    let info = client
        .call("org.varlink.service.GetInfo", json!({}))
        .unwrap();
    assert_eq!(info["product"], "arrivald");
    daemon.wait_for("a", "RUNNING");
    daemon.shut_down();
}

#[test]
fn whoever_closes_its_sending_side_still_gets_its_answer() {
    let root = Root::new();
    let daemon = How::plain().start(&root);
    let mut client = daemon.client();
    client.send(&json!({ "method": "org.arrivald.Daemon.Info" }));
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.receive().unwrap()["parameters"]["pid"].is_u64());
    assert_eq!(client.receive(), None);
    daemon.terminate();
}

#[test]
fn a_session_tells_a_snapshot_and_then_every_change() {
    let root = Root::new();
    root.define("a", SLEEP);
    let daemon = How::plain().start(&root);
    let mut session = daemon.client();
    let opened = session.open(json!({ "classes": [], "ids": [], "states": true }));
    let token = opened["token"].as_str().unwrap();
    assert_eq!(token.len(), 32);
    assert!(opened.get("run").is_none());
    let first = session.notice(|notice| !notice["state"].is_null());
    assert_eq!(
        (&first["kind"], &first["state"]["state"]),
        (&json!("snapshot"), &json!("STOPPED"))
    );
    session.notice(|notice| notice["complete"] == true);
    daemon.start("a");
    let mut states = Vec::new();
    let mut previous = None;
    while states.last() != Some(&json!("RUNNING")) {
        let notice = session.notice(|_| true);
        if let Some(previous) = previous.replace(notice["cursor"].clone()) {
            assert_eq!(notice["previous"], previous);
        }
        // Devices of this machine may come and go meanwhile.
        if notice["kind"] != "state" {
            continue;
        }
        states.push(notice["state"]["state"].clone());
    }
    assert_eq!(states, [json!("START_PENDING"), json!("RUNNING")]);
    // A second connection speaks for the session by its token.
    let mut calls = daemon.client();
    let subscription = json!({ "classes": ["net"], "ids": [], "states": false });
    let parameters = json!({ "token": token, "subscription": subscription });
    calls
        .call("org.arrivald.Session.Subscribe", parameters.clone())
        .unwrap();
    session.notice(|notice| notice["complete"] == true);
    drop(session);
    wait("the session ends with its stream", || {
        let gone = calls.call("org.arrivald.Session.Subscribe", parameters.clone());
        (gone.is_err_and(|error| error.0 == "org.arrivald.Session.NoSuchSession")).then_some(())
    });
    daemon.shut_down();
}

#[test]
fn a_call_behind_a_stream_ends_the_session_with_a_reason() {
    let root = Root::new();
    let daemon = How::plain().start(&root);
    let mut session = daemon.client();
    session.open(Value::Null);
    session.send(&json!({ "method": "org.arrivald.Daemon.Info" }));
    let reply = session.receive().unwrap();
    assert!(
        reply["parameters"]["reason"]
            .as_str()
            .unwrap()
            .contains("another connection"),
        "{reply}"
    );
    assert_eq!(session.receive(), None);
    daemon.terminate();
}

#[test]
fn a_client_that_never_reads_loses_only_its_own_stream_and_is_told() {
    let root = Root::new();
    for name in ["s0", "s1"] {
        root.define(name, SLEEP);
    }
    let daemon = How::plain().start(&root);
    let mut deaf = daemon.client();
    let subscription = json!({ "classes": [], "ids": [], "states": true });
    deaf.open(subscription.clone());
    let mut calls = daemon.client();
    let mut other = daemon.client();
    other.open(subscription);
    other.notice(|notice| notice["complete"] == true);
    let mut told = 0;
    let mut cycles = 0;
    let overruns = |calls: &mut Client| {
        let info = calls.call("org.arrivald.Daemon.Info", json!({})).unwrap();
        info["counters"]["subscriber_overruns"].as_u64().unwrap()
    };
    while overruns(&mut calls) == 0 {
        assert!(cycles < 2000, "a stream that nobody reads has no end");
        daemon.start("s0");
        daemon.stop("s0");
        cycles += 1;
        // Whoever reads is told of everything at once.
        while told < cycles {
            let notice = other.notice(|_| true);
            assert_ne!(notice["kind"], "overrun");
            told += i32::from(notice["state"]["state"] == "STOPPED");
        }
    }
    let overrun = deaf.notice(|notice| notice["kind"] == "overrun");
    assert!(overrun["lost"].as_u64().unwrap() > 0, "{overrun}");
    deaf.notice(|notice| notice["complete"] == true);
    daemon.start("s1");
    deaf.notice(|notice| notice["kind"] == "state" && notice["state"]["service"] == "s1");
    daemon.shut_down();
}

#[test]
fn a_waiting_client_that_goes_away_leaves_nothing_behind() {
    let root = Root::new();
    root.define(
        "a",
        &crate::support::role("notify", "protocol = \"notify\""),
    );
    let daemon = How::plain().start(&root);
    let open = || {
        let folder = format!("/proc/{}/fd", daemon.pid());
        let sockets = std::fs::read_dir(folder).unwrap().flatten();
        sockets
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    };
    let mut idle = 0;
    wait("it is quiet", || {
        std::thread::sleep(Duration::from_millis(50));
        let before = std::mem::replace(&mut idle, open());
        (before == idle).then_some(())
    });
    for _ in 0..10 {
        let mut client = daemon.client();
        let start = json!({ "name": "a", "arguments": [], "wait": true });
        client.send(&json!({ "method": "org.arrivald.Services.Start", "parameters": start }));
    }
    daemon.wait_for("a", "START_PENDING");
    wait("the connections are closed", || {
        (open() <= idle).then_some(())
    });
    let one = daemon.client();
    wait("one more is open", || (open() > idle).then_some(()));
    drop(one);
    wait("and closed", || (open() <= idle).then_some(()));
    daemon.shut_down();
}

#[test]
fn another_user_may_look_and_not_touch() {
    if !is_root() {
        return skip("root", "calling as another user needs root");
    }
    let root = Root::new();
    root.define("a", SLEEP);
    let daemon = How::plain().start(&root);
    let nobody = 65534;
    let call = |method: &str, parameters: Value| {
        call_as(
            nobody,
            &root.path,
            &json!({ "method": method, "parameters": parameters }),
        )
    };
    let status = call("org.arrivald.Services.Status", json!({ "name": "a" }));
    assert_eq!(status["parameters"]["service"]["state"], "STOPPED");
    let start = json!({ "name": "a", "arguments": [], "wait": false });
    let refused = call("org.arrivald.Services.Start", start);
    assert_eq!(refused["error"], "org.arrivald.Services.Denied");
    assert_eq!(refused["parameters"]["code"], 5);
    let reason = refused["parameters"]["reason"].as_str().unwrap();
    assert_eq!(reason, "user 65534 may not start 'a': only root may");
    for method in ["Shutdown", "Reload"] {
        let refused = call(&format!("org.arrivald.Daemon.{method}"), json!({}));
        assert_eq!(refused["error"], "org.arrivald.Daemon.Denied", "{refused}");
        assert_eq!(refused["parameters"]["code"], 5);
    }
    // Nor may it speak for somebody else's session.
    let mut session = daemon.client();
    let token = session.open(Value::Null)["token"].clone();
    let parameters = json!({ "token": token, "subscription": {} });
    let refused = call("org.arrivald.Session.Subscribe", parameters);
    assert_eq!(refused["error"], "org.arrivald.Session.NoSuchSession");
    assert_eq!(daemon.status("a")["state"], "STOPPED");
    daemon.terminate();
}
