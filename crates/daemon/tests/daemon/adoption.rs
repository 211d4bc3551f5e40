//! Services go on without the daemon, and the next one follows them.

use serde_json::json;

use crate::support::{How, Root, is_alive, wait};

const BOTH: [&str; 2] = ["auto", "process"];
const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n";

#[test]
fn a_service_outlives_sigterm_and_kill_of_the_daemon_and_is_followed_again() {
    for containment in BOTH {
        let root = Root::new();
        root.define("a", SLEEP);
        let start = || {
            How::plain()
                .option(&["--containment", containment])
                .start(&root)
        };
        let daemon = start();
        let before = daemon.start("a");
        let pid = before["pid"].as_i64().unwrap();

        daemon.terminate();
        assert!(is_alive(pid));
        let daemon = start();
        let after = daemon.status("a");
        for key in ["pid", "run", "state", "starts", "start_reason", "since_ns"] {
            assert_eq!(after[key], before[key], "{containment}: {key}");
        }

        daemon.kill();
        assert!(is_alive(pid));
        let daemon = start();
        assert_eq!(daemon.status("a")["pid"], pid);

        // Its end is seen although it is not this daemon's child.
        let pid_of_it = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid_of_it, rustix::process::Signal::KILL).unwrap();
        let service = wait("its end is noticed", || {
            Some(daemon.status("a")).filter(|service| service["pid"] != pid)
        });
        assert_eq!(service["failures"], 1, "{service}");
        daemon.shut_down();
        assert!(root.processes().is_empty());
        assert!(root.cgroups().is_empty());
    }
}

#[test]
fn a_service_that_ended_meanwhile_is_not_taken_for_running() {
    let root = Root::new();
    root.define("a", &format!("{SLEEP}[service.failure]\nrestart = false\n"));
    let daemon = How::plain().start(&root);
    let pid = daemon.start("a")["pid"].as_i64().unwrap();
    daemon.kill();
    let number = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
    wait("it has ended", || (!is_alive(pid)).then_some(()));
    let daemon = How::plain().start(&root);
    let service = daemon.wait_for("a", "STOPPED");
    assert_eq!(service["last_exit"], "unknown");
    assert_eq!(service["pid"], json!(null));
    daemon.terminate();
}

#[test]
fn an_adopted_service_is_stopped_like_any_other() {
    for containment in BOTH {
        let root = Root::new();
        root.define("a", SLEEP);
        let start = || {
            How::plain()
                .option(&["--containment", containment])
                .start(&root)
        };
        let daemon = start();
        let pid = daemon.start("a")["pid"].as_i64().unwrap();
        daemon.kill();
        let daemon = start();
        daemon.stop("a");
        assert!(!is_alive(pid));
        assert_eq!(daemon.status("a")["state"], "STOPPED");
        assert_eq!(daemon.status("a")["held_back"], "stopped_by_operator");
        daemon.terminate();
        assert!(root.cgroups().is_empty());
    }
}

#[test]
fn a_stop_by_the_operator_and_the_count_of_starts_outlive_the_daemon() {
    let root = Root::new();
    root.define("a", SLEEP);
    let daemon = How::plain().start(&root);
    daemon.start("a");
    daemon.stop("a");
    daemon.kill();
    let daemon = How::plain().start(&root);
    let service = daemon.status("a");
    assert_eq!(service["held_back"], "stopped_by_operator");
    assert_eq!(service["starts"], 1);
    daemon.terminate();
}

#[test]
fn a_notify_service_reaches_the_next_daemon_at_the_same_address() {
    let root = Root::new();
    root.define(
        "a",
        &crate::support::role("notify", "protocol = \"notify\""),
    );
    let daemon = How::plain().start(&root);
    let start = json!({ "name": "a", "arguments": [], "wait": false });
    daemon
        .client()
        .call("org.arrivald.Services.Start", start)
        .unwrap();
    wait("it waits", || {
        (daemon.status("a")["status_text"] == "waiting for it").then_some(())
    });
    daemon.kill();
    let daemon = How::plain().start(&root);
    assert_eq!(daemon.status("a")["state"], "START_PENDING");
    std::fs::write(root.path.join("run/go"), "").unwrap();
    daemon.wait_for("a", "RUNNING");
    daemon.shut_down();
}
