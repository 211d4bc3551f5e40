//! Definitions that come, change, break and go.

use serde_json::{Value, json};

use crate::support::{Daemon, How, Root, is_alive, wait};

const SLEEP: &str = "[service]\ndescription = \"one\"\nexec = [\"/bin/sleep\", \"1000\"]\n";

fn names(daemon: &Daemon) -> Vec<String> {
    let reply = daemon
        .client()
        .call("org.arrivald.Services.List", json!({}));
    let services = reply.unwrap()["services"].as_array().unwrap().clone();
    services
        .iter()
        .map(|service| service["name"].as_str().unwrap().to_owned())
        .collect()
}

fn problems(daemon: &Daemon) -> Vec<Value> {
    let reply = daemon.client().call("org.arrivald.Daemon.Info", json!({}));
    reply.unwrap()["problems"].as_array().unwrap().clone()
}

#[test]
fn a_definition_is_there_from_the_start_and_its_file_is_named() {
    let root = Root::new();
    root.define("a", SLEEP);
    let daemon = How::plain().start(&root);
    let service = daemon.status("A");
    assert_eq!(service["name"], "a");
    assert_eq!(service["state"], "STOPPED");
    assert_eq!(service["description"], "one");
    let path = root.path.join("services.d/a.toml");
    assert_eq!(service["definition"], path.to_str().unwrap());
    daemon.terminate();
}

#[test]
fn definitions_that_come_change_and_go_are_noticed() {
    let root = Root::new();
    let daemon = How::plain().start(&root);
    assert!(names(&daemon).is_empty());
    root.define("a", SLEEP);
    wait("a is defined", || (names(&daemon) == ["a"]).then_some(()));
    root.define("a", &SLEEP.replace("one", "two"));
    wait("a is changed", || {
        (daemon.status("a")["description"] == "two").then_some(())
    });
    root.undefine("a");
    wait("a is gone", || names(&daemon).is_empty().then_some(()));
    daemon.terminate();
}

#[test]
fn a_package_that_is_installed_later_is_noticed_and_so_is_its_next_version() {
    let root = Root::new();
    let daemon = How::plain().start(&root);
    let (active, packages) = (root.path.join("lib/active"), root.path.join("lib/packages"));
    for (version, name) in [("p-1", "b"), ("p-2", "c")] {
        let folder = packages.join(version).join(".arrival/services.d");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.toml")), SLEEP).unwrap();
        std::fs::create_dir_all(&active).unwrap();
        let link = active.join(".p");
        std::os::unix::fs::symlink(format!("../packages/{version}"), &link).unwrap();
        std::fs::rename(&link, active.join("p")).unwrap();
        wait("its service is defined", || {
            (names(&daemon) == [name]).then_some(())
        });
    }
    std::fs::remove_file(active.join("p")).unwrap();
    wait("its service is gone", || {
        names(&daemon).is_empty().then_some(())
    });
    daemon.terminate();
}

#[test]
fn a_broken_file_keeps_the_old_definition_and_is_reported_with_its_place() {
    let root = Root::new();
    root.define("a", SLEEP);
    let daemon = How::plain().start(&root);
    let pid = daemon.start("a")["pid"].as_i64().unwrap();
    root.define("a", "[service]\nexce = [\"/bin/sleep\"]\n");
    let found = wait("the problem is shown", || {
        problems(&daemon)
            .into_iter()
            .find(|problem| problem["code"] == "unknown-key")
    });
    assert_eq!(found["line"], 2);
    assert_eq!(found["severity"], "error");
    assert!(
        found["remedy"].as_str().unwrap().contains("exec"),
        "{found}"
    );
    let service = daemon.status("a");
    assert_eq!(service["state"], "RUNNING");
    assert_eq!(service["description"], "one");
    assert!(is_alive(pid));
    // Reload says the same to whoever asks.
    let reload = daemon
        .client()
        .call("org.arrivald.Daemon.Reload", json!({}))
        .unwrap();
    assert!(reload["problems"].as_array().unwrap().contains(&found));
    root.define("a", SLEEP);
    wait("no problem is left", || {
        problems(&daemon).is_empty().then_some(())
    });
    daemon.shut_down();
}

#[test]
fn enabling_and_disabling_outlive_the_daemon() {
    let root = Root::new();
    root.define("a", SLEEP);
    let daemon = How::plain().start(&root);
    let mut client = daemon.client();
    client
        .call("org.arrivald.Services.Disable", json!({ "name": "a" }))
        .unwrap();
    let refused = client
        .call(
            "org.arrivald.Services.Start",
            json!({ "name": "a", "arguments": [], "wait": false }),
        )
        .unwrap_err();
    assert_eq!(refused.0, "org.arrivald.Services.Denied");
    assert_eq!(refused.1["code"], 1058);
    assert_eq!(daemon.status("a")["held_back"], "disabled");
    daemon.terminate();

    let daemon = How::plain().start(&root);
    assert_eq!(daemon.status("a")["enabled"], false);
    daemon
        .client()
        .call("org.arrivald.Services.Enable", json!({ "name": "a" }))
        .unwrap();
    assert_eq!(daemon.status("a")["enabled"], true);
    daemon.start("a");
    daemon.shut_down();
}

#[test]
fn an_undefined_service_runs_on_until_it_ends() {
    let root = Root::new();
    root.define("a", SLEEP);
    let daemon = How::plain().start(&root);
    let pid = daemon.start("a")["pid"].as_i64().unwrap();
    root.undefine("a");
    wait("the note says so", || {
        (daemon.status("a")["note"] == "its definition is gone").then_some(())
    });
    assert!(is_alive(pid));
    daemon.stop("a");
    wait("a is forgotten", || names(&daemon).is_empty().then_some(()));
    daemon.terminate();
}

#[test]
fn a_class_file_defines_a_class_that_can_be_asked_for() {
    let root = Root::new();
    let daemon = How::plain().start(&root);
    let ask = || {
        let reply = daemon
            .client()
            .call("org.arrivald.Devices.Classes", json!({}));
        reply.unwrap()["classes"].as_array().unwrap().clone()
    };
    assert!(ask().iter().all(|class| class["origin"] == "built-in"));
    std::fs::create_dir_all(root.path.join("classes.d")).unwrap();
    let text = "[class]\nname = \"null\"\n[match]\nsubsystem = \"mem\"\nname = \"null\"\n";
    std::fs::write(root.path.join("classes.d/null.toml"), text).unwrap();
    wait("the class is there", || {
        ask()
            .into_iter()
            .find(|class| class["name"] == "null" && class["origin"] == "classes.d")
    });
    let found = wait("its device is there", || {
        let reply = daemon
            .client()
            .call("org.arrivald.Devices.List", json!({ "class": "null" }));
        reply.ok()?["interfaces"].as_array()?.first().cloned()
    });
    assert_eq!(found["node"], "/dev/null");
    daemon.terminate();
}
