//! Every method of the control protocol has its typed counterpart.
#![allow(clippy::unwrap_used)]

use arrival_wire::api::{DAEMON, DEVICES, SERVICES, SESSION};

#[test]
fn every_method_of_every_interface_is_called_somewhere() {
    let sources = concat!(
        include_str!("../src/connection.rs"),
        include_str!("../src/session.rs")
    );
    let mut methods = 0;
    for text in [SERVICES, DEVICES, SESSION, DAEMON] {
        let interface = text
            .lines()
            .find_map(|line| line.strip_prefix("interface "))
            .unwrap();
        for line in text.lines() {
            let Some(method) = line.strip_prefix("method ") else {
                continue;
            };
            let (name, _) = method.split_once('(').unwrap();
            // A session's methods are named without their interface, which is the same for all.
            let called = sources.contains(&format!("\"{interface}.{name}\""))
                || interface == "org.arrivald.Session" && sources.contains(&format!("\"{name}\""));
            assert!(called, "{interface}.{name}");
            methods += 1;
        }
    }
    assert_eq!(methods, 20);
}
