//! Services that run, fail, say that they are ready, and stop.

use std::time::Duration;

use serde_json::json;

use crate::support::{How, Root, is_alive, role, wait};

const BOTH: [&str; 2] = ["auto", "process"];

#[test]
fn a_service_is_started_and_stopped_by_hand_and_leaves_nothing() {
    for containment in BOTH {
        let root = Root::new();
        // A grandchild in a session of its own must not escape.
        let script = "setsid sleep 1000 & exec sleep 1000";
        root.define(
            "a",
            &format!("[service]\nexec = [\"/bin/sh\", \"-c\", {script:?}]\n"),
        );
        let daemon = How::plain()
            .option(&["--containment", containment])
            .start(&root);
        let service = daemon.start("a");
        assert_eq!(service["state"], "RUNNING");
        assert_eq!(service["start_reason"], "demand");
        assert_eq!(service["starts"], 1);
        let pid = service["pid"].as_i64().unwrap();
        wait("the grandchild runs", || {
            (root.processes().len() == 2).then_some(())
        });
        daemon.stop("a");
        assert!(!is_alive(pid));
        assert_eq!(root.processes(), [0_i64; 0]);
        let service = daemon.status("a");
        assert_eq!(service["state"], "STOPPED");
        assert_eq!(service["held_back"], "stopped_by_operator");
        assert_eq!(service["last_exit"], "signal 15");
        assert_eq!(daemon.shut_down(), 0);
        assert!(root.cgroups().is_empty());
    }
}

#[test]
fn the_environment_is_exactly_what_is_promised() {
    let root = Root::new();
    root.define(
        "a",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"env -u PWD; echo \\\"$0\\\"; echo END\", \"${ARRIVAL_SERVICE}/${ARRIVAL_RUN}\"]\n\
         [service.environment]\nGREETING = \"good day\"\nPATH = \"/bin:/usr/bin\"\n",
    );
    let daemon = How::plain().variable("LEAK", "1").start(&root);
    let client = daemon.client().call(
        "org.arrivald.Services.Start",
        json!({ "name": "a", "arguments": [], "wait": true }),
    );
    let run = client.unwrap()["run"].as_i64().unwrap();
    let log = wait("it has printed", || {
        Some(root.log("a")).filter(|log| log.contains("END"))
    });
    let mut names: Vec<&str> = log
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .filter(|name| *name != "JOURNAL_STREAM" && *name != "_" && *name != "SHLVL")
        .collect();
    names.sort_unstable();
    let expected = [
        "ARRIVAL_CONTROL",
        "ARRIVAL_HOST",
        "ARRIVAL_RUN",
        "ARRIVAL_SERVICE",
        "ARRIVAL_START_REASON",
        "GREETING",
        "HOME",
        "LANG",
        "PATH",
        "USER",
    ];
    assert_eq!(names, expected, "{log}");
    assert!(log.contains("GREETING=good day\n"));
    assert!(log.contains("PATH=/bin:/usr/bin\n"));
    assert!(log.contains("ARRIVAL_START_REASON=demand\n"));
    assert!(log.contains(&format!("\na/{run}\n")), "{log}");
    daemon.shut_down();
}

#[test]
fn a_missing_program_is_named_and_goes_to_the_failure_policy() {
    let root = Root::new();
    root.define(
        "a",
        "[service]\nexec = [\"/no/such/program\"]\n[service.failure]\nrestart = false\n",
    );
    let daemon = How::plain().start(&root);
    let failed = daemon
        .client()
        .call(
            "org.arrivald.Services.Start",
            json!({ "name": "a", "arguments": [], "wait": true }),
        )
        .unwrap_err();
    assert_eq!(failed.0, "org.arrivald.Services.Failed");
    assert_eq!(failed.1["code"], 2);
    assert_eq!(
        failed.1["reason"],
        "cannot execute /no/such/program: no such file or directory"
    );
    let service = daemon.wait_for("a", "STOPPED");
    assert_eq!(service["last_error"], failed.1["reason"]);
    assert_eq!(service["failures"], 1);
    daemon.terminate();
}

#[test]
fn an_unknown_user_is_named() {
    let root = Root::new();
    root.define(
        "a",
        "[service]\nexec = [\"/bin/true\"]\nuser = \"no-such-user-here\"\n[service.failure]\nrestart = false\n",
    );
    let daemon = How::plain().start(&root);
    let failed = daemon
        .client()
        .call(
            "org.arrivald.Services.Start",
            json!({ "name": "a", "arguments": [], "wait": true }),
        )
        .unwrap_err();
    assert_eq!(failed.1["code"], 1069);
    assert_eq!(
        failed.1["reason"],
        "user 'no-such-user-here' does not exist"
    );
    daemon.terminate();
}

#[test]
fn a_program_that_dies_at_once_is_given_up_after_five_failures() {
    let root = Root::new();
    root.define(
        "a",
        "[service]\nexec = [\"/bin/sh\", \"-c\", \"echo died; exit 3\"]\n\
         [service.failure]\ndelay = \"10ms\"\n",
    );
    let daemon = How::plain().start(&root);
    let start = json!({ "name": "a", "arguments": [], "wait": false });
    daemon
        .client()
        .call("org.arrivald.Services.Start", start)
        .unwrap();
    let service = wait("it is given up", || {
        Some(daemon.status("a")).filter(|service| service["held_back"] == "given_up")
    });
    assert_eq!(service["state"], "STOPPED");
    assert_eq!(service["last_exit"], "exit status 3");
    assert_eq!(root.log("a").matches("died").count(), 5);
    daemon.terminate();
}

#[test]
fn a_service_of_the_notify_protocol_runs_when_it_says_so() {
    for containment in BOTH {
        let root = Root::new();
        root.define("a", &role("notify", "protocol = \"notify\""));
        let daemon = How::plain()
            .option(&["--containment", containment])
            .start(&root);
        let start = json!({ "name": "a", "arguments": [], "wait": false });
        daemon
            .client()
            .call("org.arrivald.Services.Start", start)
            .unwrap();
        wait("its status text is shown", || {
            (daemon.status("a")["status_text"] == "waiting for it").then_some(())
        });
        assert_eq!(daemon.status("a")["state"], "START_PENDING");
        std::fs::write(root.path.join("run/go"), "").unwrap();
        let service = daemon.wait_for("a", "RUNNING");
        assert_eq!(service["status_text"], "there");
        daemon.shut_down();
    }
}

#[test]
fn a_notify_datagram_of_a_stranger_is_refused_and_counted() {
    let root = Root::new();
    root.define("a", &role("notify", "protocol = \"notify\""));
    let daemon = How::plain().start(&root);
    let start = json!({ "name": "a", "arguments": [], "wait": false });
    daemon
        .client()
        .call("org.arrivald.Services.Start", start)
        .unwrap();
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    socket
        .send_to(b"READY=1", root.path.join("run/notify"))
        .unwrap();
    wait("it is counted", || {
        let info = daemon
            .client()
            .call("org.arrivald.Daemon.Info", json!({}))
            .unwrap();
        (info["counters"]["notify_refused"] == 1).then_some(())
    });
    assert_eq!(daemon.status("a")["state"], "START_PENDING");
    daemon.shut_down();
}

#[test]
fn a_service_of_the_control_protocol_is_asked_to_stop_and_stops_itself() {
    for containment in BOTH {
        let root = Root::new();
        root.define("a", &role("control", "protocol = \"control\""));
        let daemon = How::plain()
            .option(&["--containment", containment])
            .start(&root);
        let started = daemon.client().call(
            "org.arrivald.Services.Start",
            json!({ "name": "a", "arguments": ["one", "two"], "wait": true }),
        );
        let run = started.unwrap()["run"].clone();
        daemon.stop("a");
        let service = daemon.status("a");
        assert_eq!(service["last_exit"], "exit status 0");
        let log = root.log("a");
        assert!(log.contains("stopped by control"), "{log}");
        let opened = log.lines().find_map(|line| line.strip_prefix("opened "));
        let opened: serde_json::Value = serde_json::from_str(opened.unwrap()).unwrap();
        assert_eq!(opened["run"], run);
        let arguments = opened["arguments"].as_array().unwrap();
        assert!(
            arguments.ends_with(&[json!("one"), json!("two")]),
            "{opened}"
        );
        daemon.terminate();
    }
}

#[test]
fn a_service_that_ignores_the_stop_is_killed_at_its_deadline() {
    let root = Root::new();
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    root.define(
        "a",
        &format!("[service]\nexec = [\"/bin/sh\", \"-c\", {script:?}]\nstop_timeout = \"300ms\"\n"),
    );
    let daemon = How::plain().start(&root);
    daemon.start("a");
    wait("it ignores the signal", || {
        root.log("a").contains("ready").then_some(())
    });
    let begun = std::time::Instant::now();
    daemon.stop("a");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(daemon.status("a")["last_exit"], "signal 9");
    assert_eq!(root.processes(), [0_i64; 0]);
    daemon.terminate();
}

#[test]
fn shutdown_stops_all_services_and_leaves_nothing() {
    for containment in BOTH {
        let root = Root::new();
        for name in ["a", "b", "c"] {
            root.define(name, "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
        }
        let daemon = How::plain()
            .option(&["--containment", containment])
            .start(&root);
        for name in ["a", "b", "c"] {
            daemon.start(name);
        }
        wait("all three run", || {
            (root.processes().len() == 3).then_some(())
        });
        assert_eq!(daemon.shut_down(), 3);
        assert_eq!(root.processes(), [0_i64; 0]);
        assert!(root.cgroups().is_empty());
        assert!(!root.path.join("run/control").exists());
        assert!(!root.path.join("run/notify").exists());
    }
}

#[test]
fn a_daemon_whose_session_is_led_from_outside_its_namespace_runs_services() {
    if !crate::support::is_root() {
        return crate::support::skip("root", "a PID namespace needs root");
    }
    for containment in ["auto", "process"] {
        let root = Root::new();
        let script = "sleep 1000 & exec sleep 1000";
        root.define(
            "a",
            &format!("[service]\nexec = [\"/bin/sh\", \"-c\", {script:?}]\n"),
        );
        let daemon = How::first_of_its_namespace()
            .option(&["--containment", containment])
            .start(&root);
        daemon.start("a");
        daemon.stop("a");
        assert_eq!(root.processes(), [0_i64; 0]);
        daemon.start("a");
        assert_eq!(daemon.shut_down(), 1);
        assert_eq!(root.processes(), [0_i64; 0]);
    }
}

#[test]
fn a_full_disk_costs_the_state_and_the_log_but_no_service() {
    if !crate::support::is_root() {
        return crate::support::skip("root", "mounting a small file system needs root");
    }
    let root = Root::new();
    root.define("a", "[service]\nexec = [\"/bin/sleep\", \"1000\"]\n");
    let state = root.path.join("run/state");
    std::fs::create_dir_all(&state).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "arrival-test"])
        .arg(&state)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        return crate::support::skip("root", "a tmpfs cannot be mounted here");
    }
    struct Unmount(std::path::PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount")
                .arg("-l")
                .arg(&self.0)
                .status();
        }
    }
    let _unmount = Unmount(state.clone());
    let daemon = How::plain().start(&root);
    // Whatever fits, and no more.
    let mut filler = std::fs::File::create(state.join("filler")).unwrap();
    while std::io::Write::write(&mut filler, &[0; 512]).is_ok_and(|written| written > 0) {}
    let mut last = 0;
    for _ in 0..20 {
        daemon.start("a");
        daemon.stop("a");
        last += 1;
    }
    assert_eq!(daemon.status("a")["starts"], last);
    let info = daemon
        .client()
        .call("org.arrivald.Daemon.Info", json!({}))
        .unwrap();
    let problems = info["problems"].as_array().unwrap();
    assert!(
        problems
            .iter()
            .any(|problem| problem["code"] == "state-not-saved"),
        "{info}"
    );
    drop(filler);
    std::fs::remove_file(state.join("filler")).unwrap();
    let pid = daemon.start("a")["pid"].clone();
    let info = daemon
        .client()
        .call("org.arrivald.Daemon.Info", json!({}))
        .unwrap();
    assert_eq!(info["problems"], json!([]));
    // What could not be written for a while is not forgotten.
    daemon.kill();
    let daemon = How::plain().start(&root);
    let service = daemon.status("a");
    assert_eq!(
        (&service["pid"], &service["starts"]),
        (&pid, &json!(last + 1))
    );
    daemon.shut_down();
}
