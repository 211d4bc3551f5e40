//! Real devices in a network namespace of the daemon's own: arrival starts, removal stops.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Daemon, How, Root, is_root, skip, wait};

const ON_NET: &str = r#"
[service]
exec = ["/bin/sh", "-c", 'printf "for %s %s\n" "$ARRIVAL_NODE" "$ARRIVAL_INTERFACE"; exec sleep 1000']
# The ends of a veth leave one after the other: without this, the second could be worth a new run.
replug = "ignore"
[[start]]
device = "net"
"#;

/// Runs ip(8) in the daemon's network namespace.
fn ip(daemon: &Daemon, arguments: &[&str]) {
    let done = Command::new("nsenter")
        .arg(format!("--net=/proc/{}/ns/net", daemon.pid()))
        .arg("ip")
        .args(arguments)
        .status();
    assert!(done.unwrap().success(), "ip {arguments:?}");
}

/// Waits until the daemon has looked at all devices once.
fn wait_for_devices(daemon: &Daemon) {
    wait("the devices are read", || {
        let info = daemon.client().call("org.arrivald.Daemon.Info", json!({}));
        (info.ok()?["interfaces"].as_u64()? > 0).then_some(())
    });
}

/// Whether namespaces with devices in them can be had.
fn possible() -> bool {
    if !is_root() {
        skip("root", "a network namespace needs root");
        return false;
    }
    let made = Command::new("unshare")
        .args([
            "--net", "--mount", "ip", "link", "add", "a0", "type", "veth", "peer", "name", "a1",
        ])
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        skip("netns", "no network namespace with a veth can be made here");
        return false;
    }
    true
}

#[test]
fn the_first_interface_starts_the_service_and_the_last_one_stops_it() {
    if !possible() {
        return;
    }
    for containment in ["auto", "process"] {
        let root = Root::new();
        root.define("a", ON_NET);
        let daemon = How::alone(&root)
            .option(&["--containment", containment])
            .start(&root);
        wait_for_devices(&daemon);
        let mut session = daemon.client();
        session.open(json!({ "classes": ["net"], "ids": [], "states": false }));
        session.notice(|notice| notice["complete"] == true);
        assert_eq!(daemon.status("a")["state"], "STOPPED");

        ip(
            &daemon,
            &["link", "add", "va", "type", "veth", "peer", "name", "vb"],
        );
        let service = daemon.wait_for("a", "RUNNING");
        assert_eq!(service["start_reason"], "trigger");
        let first = session.notice(|notice| notice["kind"] == "arrival");
        let log = wait("it has printed", || {
            Some(root.log("a")).filter(|log| log.contains("for "))
        });
        let name = first["interface"]["name"].as_str().unwrap();
        let link = first["interface"]["link"].as_str().unwrap();
        assert!(["va", "vb"].contains(&name));
        assert!(
            log.contains(&format!("for {name} {link}\n")),
            "{log} {first}"
        );

        ip(&daemon, &["link", "del", "va"]);
        let service = daemon.wait_for("a", "STOPPED");
        assert_eq!(service["held_back"], Value::Null);
        assert_eq!(service["starts"], 1);
        session.notice(|notice| notice["kind"] == "removal");
        session.notice(|notice| notice["kind"] == "removal");

        // And again: one arrival, one start.
        ip(
            &daemon,
            &["link", "add", "va", "type", "veth", "peer", "name", "vb"],
        );
        assert_eq!(daemon.wait_for("a", "RUNNING")["starts"], 2);
        daemon.shut_down();
        assert!(root.processes().is_empty());
    }
}

#[test]
fn a_device_that_comes_while_no_daemon_is_there_starts_its_service_later() {
    if !possible() {
        return;
    }
    let root = Root::new();
    root.define("a", ON_NET);
    // The namespace must outlive the first daemon.
    let mut keeper = Command::new("unshare")
        .args(["--net", "sleep", "1000"])
        .spawn()
        .unwrap();
    let keeper_namespace = format!("/proc/{}/ns/net", keeper.id());
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    wait("the namespace is there", || {
        let other = std::fs::read_link(&keeper_namespace).ok()?;
        (other != own).then_some(())
    });
    let enter = format!("--net={keeper_namespace}");
    let link = |arguments: &[&str]| {
        let done = Command::new("nsenter")
            .arg(&enter)
            .arg("ip")
            .args(arguments)
            .status();
        assert!(done.unwrap().success());
    };
    let start = || How::within(&keeper_namespace, &root).start(&root);
    let daemon = start();
    wait_for_devices(&daemon);
    assert_eq!(daemon.status("a")["state"], "STOPPED");
    daemon.terminate();
    link(&["link", "add", "va", "type", "veth", "peer", "name", "vb"]);
    let daemon = start();
    let pid = daemon.wait_for("a", "RUNNING")["pid"].clone();
    daemon.kill();
    // Nothing has changed: the same run goes on, and no other is begun.
    let daemon = start();
    let service = daemon.wait_for("a", "RUNNING");
    assert_eq!((&service["pid"], &service["starts"]), (&pid, &json!(1)));
    daemon.kill();
    link(&["link", "del", "va"]);
    let daemon = start();
    daemon.wait_for("a", "STOPPED");
    daemon.shut_down();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
}
