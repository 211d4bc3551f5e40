//! The services, devices, subscribers and settings that sequences are made of.

use std::sync::Arc;
use std::time::Duration;

use arrival_engine::api::{Filter, Settings};
use arrival_model::access::{AccessPolicy, Peer};
use arrival_model::definition::{Damping, Definition, Protocol, Replug, ServiceName, StartType};
use arrival_model::guid::Guid;
use arrival_model::interface::{EnabledBy, Incarnation, Interface, InterfaceKey, Owner};
use arrival_model::trigger::{DeviceTrigger, FoldedId, Trigger, Wait};

use crate::steps::{DEVICES, Look};

const CLASSES: [Guid; 2] = [Guid::from_u128(0xa), Guid::from_u128(0xb)];
pub(crate) fn settings() -> Settings {
    Settings {
        epoch: 1,
        queue_limit: 4,
        port_closed_after: Duration::from_secs(60),
        access: AccessPolicy {
            own_uid: 0,
            administrators: None,
        },
    }
}

pub(crate) fn name(service: usize) -> ServiceName {
    format!("Svc{service}").parse().unwrap()
}

pub(crate) fn place(name: &ServiceName) -> usize {
    name.as_str()["Svc".len()..].parse().unwrap()
}

pub(crate) fn definition(service: usize, kind: u8) -> Definition {
    let mut definition = Definition::new(name(service), vec!["/bin/true".to_owned()]);
    let trigger = |class: usize, id: Option<&str>, wait, ancestors| {
        Trigger::device(DeviceTrigger {
            class: CLASSES[class],
            ids: id.into_iter().map(FoldedId::new).collect(),
            ancestors,
            wait,
        })
    };
    definition.start_timeout = Duration::from_secs(4);
    definition.stop_timeout = Duration::from_secs(2);
    definition.triggers = match kind {
        0 => Vec::new(),
        1 => vec![trigger(0, None, Wait::Usable, false)],
        2 => vec![trigger(0, Some("id\\1"), Wait::Appeared, false)],
        3 => vec![trigger(0, Some("ID\\Up"), Wait::Usable, true)],
        4 => vec![
            trigger(1, None, Wait::Appeared, false),
            trigger(0, Some("Id\\2"), Wait::Usable, false),
        ],
        5 => vec![trigger(0, Some("ID\\UP"), Wait::Usable, false)],
        6 => vec![
            trigger(0, None, Wait::Usable, false),
            trigger(0, Some("ID\\0"), Wait::Appeared, false),
        ],
        _ => vec![trigger(usize::from(kind % 2), None, Wait::Usable, false)],
    };
    match kind {
        1 | 7 => definition.protocol = Protocol::Control,
        2 => definition.protocol = Protocol::Notify,
        4 => definition.follow = false,
        8 => definition.linger = Duration::from_secs(1),
        9 => definition.start = StartType::Auto,
        10 => definition.replug = Replug::Ignore,
        11 => {
            definition.failure.delay = Duration::ZERO;
            definition.damping = Some(Damping {
                starts: 2,
                within: Duration::from_secs(10),
                hold: Duration::from_secs(3),
            });
        }
        _ => {}
    }
    definition
}

pub(crate) fn filter(kind: u8) -> Filter {
    let all = Filter {
        interfaces: true,
        states: true,
        ..Filter::default()
    };
    match kind {
        0 => all,
        1 => Filter {
            wait: Wait::Appeared,
            states: false,
            ..all
        },
        2 => Filter {
            classes: vec![CLASSES[1]],
            ..all
        },
        3 => Filter {
            ids: vec![FoldedId::new("id\\1")],
            ..all
        },
        4 => Filter {
            ids: vec![FoldedId::new("id\\2")],
            wait: Wait::Appeared,
            ..all
        },
        _ => Filter {
            interfaces: false,
            ..all
        },
    }
}

pub(crate) fn peer() -> Peer {
    Peer {
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        interactive: false,
        service: false,
    }
}

/// The last device is a program that advertises its interface.
pub(crate) fn interface(device: usize, incarnation: u64, look: Look) -> Arc<Interface> {
    let owner = if device == DEVICES - 1 {
        let session = "program".to_owned();
        Owner::Program { session }
    } else {
        Owner::Device {
            devpath: format!("/devices/{}", device / 2),
            incarnation: Incarnation {
                inode: incarnation,
                ..Incarnation::default()
            },
        }
    };
    Arc::new(Interface {
        key: InterfaceKey {
            class: CLASSES[usize::from(device == 2)],
            owner,
            reference: if device % 2 == 1 { "second" } else { "" }.to_owned(),
        },
        link: format!("link{device}"),
        class_name: String::new(),
        node: None,
        name: format!("name{}", look.ids),
        hardware_ids: vec![format!("Id\\{}", look.ids)],
        compatible_ids: vec!["id\\ANY".to_owned()],
        ancestor_ids: vec!["id\\up".to_owned()],
        enabled_by: EnabledBy::Kernel,
        node_links: Vec::new(),
        ce_name: None,
        usable: look.usable,
    })
}
