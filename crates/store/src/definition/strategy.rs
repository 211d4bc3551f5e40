//! Any definition, for properties of what writes and reads them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use arrival_model::definition::{Damping, Definition, FailurePolicy, Protocol, Replug, StartType};
use arrival_model::guid::Guid;
use arrival_model::port::{Port, PortMatch, Program, Transport};
use arrival_model::service_trigger::{DataItem, DataType};
use arrival_model::trigger::{
    Cause, CustomTrigger, DeviceTrigger, FoldedId, PolicyKind, Trigger, Wait,
};
use proptest::prelude::*;

fn times() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1u64..100_000).prop_map(Duration::from_secs),
        (1u64..100_000).prop_map(Duration::from_millis),
        (1u64..100_000).prop_map(Duration::from_micros),
    ]
}

prop_compose! {
    fn devices()(
        class in any::<u128>(),
        ids in proptest::collection::btree_set("[A-Z0-9&_\\\\#'\"]{1,12}", 0..3),
        appeared in any::<bool>(),
        ancestors in any::<bool>(),
    ) -> Cause {
        Cause::Device(DeviceTrigger {
            class: Guid::from_u128(class),
            ancestors: ancestors && !ids.is_empty(),
            ids: ids.iter().map(|id| FoldedId::new(id)).collect(),
            wait: if appeared { Wait::Appeared } else { Wait::Usable },
        })
    }
}

prop_compose! {
    fn ports()(
        number in proptest::option::of(1u16..),
        udp in any::<bool>(),
        program in proptest::option::of("[%/a-zA-Z][a-zA-Z %/._-]{0,12}[a-z]"),
        user in proptest::option::of("[a-z0-9]{1,8}"),
    ) -> PortMatch {
        PortMatch {
            port: number.map_or(Port::Rpc, Port::Number),
            protocol: if udp { Transport::Udp } else { Transport::Tcp },
            program: program.map(|path| match path.to_ascii_lowercase().as_str() {
                "system" => Program::System,
                _ => Program::Path(path),
            }),
            user,
        }
    }
}

fn items() -> impl Strategy<Value = DataItem> {
    let bytes = |kind| move |bytes: Vec<u8>| DataItem { kind, bytes };
    let words = proptest::collection::vec(any::<u8>(), 1..6);
    let eight = || proptest::collection::vec(any::<u8>(), 8);
    prop_oneof![
        words.prop_map(bytes(DataType::Binary)),
        "[ -~\u{e9}]{1,8}".prop_map(|text| DataItem::strings([text.as_str()])),
        ("[a-z]{1,4}", "[a-z]{1,4}").prop_map(|(a, b)| DataItem::strings([a.as_str(), b.as_str()])),
        any::<u8>().prop_map(|level| DataItem {
            kind: DataType::Level,
            bytes: vec![level]
        }),
        eight().prop_map(bytes(DataType::KeywordAny)),
        eight().prop_map(bytes(DataType::KeywordAll)),
    ]
}

/// Any trigger that a definition in TOML can have.
fn triggers() -> impl Strategy<Value = Trigger> {
    let user = |user| {
        if user {
            PolicyKind::User
        } else {
            PolicyKind::Machine
        }
    };
    let pipes = proptest::collection::btree_set("[a-zA-Z0-9 %/.]{1,9}", 1..3);
    let guids = proptest::collection::btree_set(any::<u128>(), 1..3);
    let custom = (any::<u128>(), proptest::collection::vec(items(), 0..4));
    let both = prop_oneof![
        devices(),
        any::<bool>().prop_map(|available| Cause::Network { available }),
        any::<bool>().prop_map(|joined| Cause::Domain { joined }),
        any::<bool>().prop_map(move |kind| Cause::Policy(user(kind))),
        (
            any::<bool>(),
            proptest::collection::btree_set(ports(), 1..3)
        )
            .prop_map(|(open, ports)| Cause::Port {
                open,
                ports: ports.into_iter().collect(),
            }),
        custom.prop_map(|(provider, items)| {
            Cause::Custom(CustomTrigger::new(Guid::from_u128(provider), items))
        }),
    ];
    prop_oneof![
        6 => (both, any::<bool>()).prop_map(|(cause, stop)| {
            if stop { Trigger::stop(cause) } else { Trigger::start(cause) }
        }),
        1 => (pipes, any::<bool>()).prop_map(|(names, all)| {
            let names = names.iter().map(|name| name.parse().unwrap());
            Trigger::start(Cause::Pipe {
                names: names.collect(),
                mode: if all { 0o666 } else { 0o600 },
            })
        }),
        1 => guids.prop_map(|guids| {
            let guids = guids.into_iter().map(Guid::from_u128);
            Trigger::start(Cause::Rpc(guids.collect()))
        }),
    ]
}

prop_compose! {
    pub(crate) fn definitions()(
        words in ("[a-zA-Z0-9][a-zA-Z0-9._@-]{0,20}", "[ -~\u{e9}]{0,40}", "/[ -~]{1,20}"),
        arguments in proptest::collection::vec("[ -#%-~\u{e9}\n\t\"'\\\\]{0,12}", 0..3),
        user in proptest::option::of("[a-z][a-z0-9_-]{0,8}"),
        environment in proptest::collection::btree_map("[A-Z]{1,6}X", "[ -~]{0,8}", 0..3),
        choices in (0usize..3, 0usize..3, any::<bool>(), any::<bool>()),
        spans in proptest::collection::vec(times(), 6),
        failure in proptest::option::of((any::<bool>(), 1u32..1000)),
        damping in proptest::option::of(1u32..1000),
        provides in proptest::collection::btree_set(any::<u128>(), 0..3),
        triggers in proptest::collection::btree_set(triggers(), 0..4),
    ) -> Definition {
        let mut exec = vec![words.2.replace('$', "x")];
        exec.extend(arguments);
        let mut definition = Definition::new(words.0.parse().unwrap(), exec);
        definition.description = words.1;
        definition.user.clone_from(&user);
        definition.group = user;
        definition.directory = choices.2.then(|| "/tmp".to_owned());
        definition.environment = environment;
        definition.protocol = [Protocol::Exec, Protocol::Notify, Protocol::Control][choices.0];
        definition.start = [StartType::Demand, StartType::Auto, StartType::Disabled][choices.1];
        definition.follow = choices.2;
        definition.replug = if choices.3 { Replug::Ignore } else { Replug::Restart };
        definition.linger = spans[0];
        definition.start_timeout = spans[1];
        definition.stop_timeout = spans[2];
        if let Some((restart, limit)) = failure {
            definition.failure = FailurePolicy { restart, delay: spans[3], limit, within: spans[4] };
        }
        definition.damping = damping.map(|starts| Damping { starts, within: spans[4], hold: spans[5] });
        definition.provides = provides.into_iter().map(Guid::from_u128).collect();
        // In TOML those that start come first.
        definition.triggers = triggers.into_iter().collect();
        definition.triggers.sort_by_key(|trigger| trigger.action);
        definition
    }
}
