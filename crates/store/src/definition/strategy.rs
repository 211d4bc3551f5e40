//! Any definition, for properties of what writes and reads them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use arrival_model::definition::{Damping, Definition, FailurePolicy, Protocol, Replug, StartType};
use arrival_model::trigger::{DeviceTrigger, FoldedId, Trigger, Wait};
use proptest::prelude::*;

fn times() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1u64..100_000).prop_map(Duration::from_secs),
        (1u64..100_000).prop_map(Duration::from_millis),
        (1u64..100_000).prop_map(Duration::from_micros),
    ]
}

prop_compose! {
    fn triggers()(
        class in any::<u128>(),
        ids in proptest::collection::btree_set("[A-Z0-9&_\\\\#'\"]{1,12}", 0..3),
        appeared in any::<bool>(),
        ancestors in any::<bool>(),
    ) -> Trigger {
        Trigger::Device(DeviceTrigger {
            class: arrival_model::guid::Guid::from_u128(class),
            ancestors: ancestors && !ids.is_empty(),
            ids: ids.iter().map(|id| FoldedId::new(id)).collect(),
            wait: if appeared { Wait::Appeared } else { Wait::Usable },
        })
    }
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
        triggers in proptest::collection::btree_set(triggers(), 0..3),
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
        definition.triggers = triggers.into_iter().collect();
        definition
    }
}
