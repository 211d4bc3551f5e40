//! Answers of a manager, for tests of how they look.
#![allow(clippy::unwrap_used)]

use arrival_client::{
    Class, Condition, Counters, InfoReply, Interface, Notice, NoticeKind, Problem, ServiceStatus,
    StateChange, Trigger, TriggerReport, WhyReply,
};

use crate::screen::Screen;

/// What a function writes, without its colours.
pub(super) fn written(
    width: Option<usize>,
    json: bool,
    write: impl FnOnce(&mut Screen<'_>) -> std::io::Result<()>,
) -> String {
    let mut out = Vec::new();
    let mut screen = Screen::on(&mut out, json, width);
    write(&mut screen).unwrap();
    drop(screen);
    let text = String::from_utf8(out).unwrap();
    anstream::adapter::strip_str(&text).to_string()
}

pub(super) fn service(name: &str, state: &str) -> ServiceStatus {
    ServiceStatus {
        name: name.to_owned(),
        description: String::new(),
        state: state.to_owned(),
        desired: "stopped".to_owned(),
        held_back: None,
        note: None,
        enabled: true,
        protocol: "exec".to_owned(),
        run: None,
        pid: None,
        start_reason: None,
        starts: 0,
        failures: 0,
        interfaces: Vec::new(),
        last_exit: None,
        last_error: None,
        status_text: None,
        checkpoint: 0,
        wait_hint_ms: 0,
        since_ns: 1_000_000_000,
        definition: None,
    }
}

pub(super) fn running() -> ServiceStatus {
    ServiceStatus {
        description: "position from a serial receiver".to_owned(),
        desired: "running".to_owned(),
        run: Some(7),
        pid: Some(4242),
        start_reason: Some("trigger".to_owned()),
        starts: 3,
        failures: 1,
        interfaces: vec!["\\\\?\\USB#VID_067B&PID_2303#1-4#{86e0d1e0}".to_owned()],
        last_exit: Some("signal 15".to_owned()),
        status_text: Some("3D fix\u{1b}[2J".to_owned()),
        definition: Some("/etc/arrival/services.d/gpsd.toml".to_owned()),
        ..service("gpsd", "RUNNING")
    }
}

pub(super) fn held_back() -> ServiceStatus {
    ServiceStatus {
        held_back: Some("given_up".to_owned()),
        desired: "running".to_owned(),
        starts: 5,
        failures: 5,
        last_exit: Some("exit status 1".to_owned()),
        last_error: Some("5 runs failed within 10 s".to_owned()),
        ..service("modem", "STOPPED")
    }
}

pub(super) fn interface() -> Interface {
    Interface {
        link: "\\\\?\\USB#VID_067B&PID_2303#1-4#{86e0d1e0-8089-11d0-9ce4-08003e301f73}".to_owned(),
        class: "{86e0d1e0-8089-11d0-9ce4-08003e301f73}".to_owned(),
        class_name: "comport".to_owned(),
        node: Some("/dev/ttyUSB0".to_owned()),
        node_links: vec!["/dev/serial/by-path/pci-0000:00-usb-0:4:1.0-port0".to_owned()],
        ce_name: Some("COM1:".to_owned()),
        name: "ttyUSB0".to_owned(),
        owner: "/devices/pci0000:00/usb1/1-4/1-4:1.0/ttyUSB0".to_owned(),
        reference: String::new(),
        hardware_ids: vec!["USB\\VID_067B&PID_2303&REV_0300".to_owned()],
        compatible_ids: vec!["USB\\Class_FF".to_owned()],
        enabled_by: "kernel".to_owned(),
        usable: true,
        cursor: "17-4".to_owned(),
    }
}

pub(super) fn tap() -> Interface {
    Interface {
        link: "\\\\?\\NET#TAP0#{cac88484-7515-4c03-82e6-71a87abac361}".to_owned(),
        class: "{cac88484-7515-4c03-82e6-71a87abac361}".to_owned(),
        class_name: "net".to_owned(),
        node: None,
        node_links: Vec::new(),
        ce_name: None,
        name: "tap0".to_owned(),
        owner: "/devices/virtual/net/tap0".to_owned(),
        hardware_ids: Vec::new(),
        compatible_ids: Vec::new(),
        usable: false,
        cursor: "17-9".to_owned(),
        ..interface()
    }
}

pub(super) fn class() -> Class {
    Class {
        guid: interface().class,
        name: "comport".to_owned(),
        description: "serial ports".to_owned(),
        origin: "built in".to_owned(),
    }
}

pub(super) fn trigger(ids: &[&str], present: u64) -> Trigger {
    Trigger {
        service: "gpsd".to_owned(),
        action: "start".to_owned(),
        kind: "device".to_owned(),
        what: format!("a device of the class {} arrives", interface().class),
        class: Some(interface().class),
        class_name: Some("comport".to_owned()),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ancestors: false,
        wait: "usable".to_owned(),
        present,
    }
}

fn condition(holds: bool, what: &str, remedy: Option<&str>) -> Condition {
    Condition {
        holds,
        what: what.to_owned(),
        remedy: remedy.map(str::to_owned),
    }
}

pub(super) fn why() -> WhyReply {
    WhyReply {
        service: service("gpsd", "STOPPED"),
        answer: "gpsd does not run: no device with its id is present".to_owned(),
        conditions: vec![condition(true, "it is enabled", None)],
        triggers: vec![TriggerReport {
            trigger: trigger(&["USB\\VID_067B&PID_2303"], 0),
            conditions: vec![
                condition(true, "2 interfaces of class comport present", None),
                condition(
                    false,
                    "0 of them with the id USB\\VID_067B&PID_2303",
                    Some("one that is there has the id USB\\VID_0403&PID_6001"),
                ),
                condition(false, "its node is usable", Some("wait")),
            ],
        }],
    }
}

pub(super) fn info() -> InfoReply {
    InfoReply {
        version: "0.1.0".to_owned(),
        pid: 99,
        root: "/".to_owned(),
        boot_id: "6f0c".to_owned(),
        cursor: "17-9".to_owned(),
        containment: "cgroup".to_owned(),
        udev: true,
        services: 2,
        interfaces: 1,
        strays: vec!["/arrival/host-3".to_owned()],
        counters: Counters {
            events: 512,
            overruns: 1,
            resyncs: 1,
            ..Counters::default()
        },
        problems: vec![Problem {
            path: "/etc/arrival/services.d/x.toml".to_owned(),
            line: Some(3),
            column: Some(1),
            severity: "error".to_owned(),
            code: "unknown-key".to_owned(),
            message: "unknown key 'exce' in [service]".to_owned(),
            remedy: Some("did you mean 'exec'?".to_owned()),
        }],
    }
}

pub(super) fn notice(kind: NoticeKind) -> Notice {
    Notice::new(kind, "17-9", 5)
}

pub(super) fn state() -> StateChange {
    StateChange {
        service: "gpsd".to_owned(),
        state: "RUNNING".to_owned(),
        held_back: None,
        run: Some(7),
        pid: Some(4242),
        start_reason: Some("trigger".to_owned()),
        exit: None,
    }
}
