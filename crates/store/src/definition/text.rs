//! A definition as TOML, with the keys that differ from their defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use arrival_model::definition::{Definition, FailurePolicy, Protocol, Replug, StartType};
use arrival_model::trigger::{Trigger, Wait};
use serde::Serialize;

#[derive(Serialize)]
struct File<'a> {
    service: Service<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    start: Vec<Start>,
}

#[derive(Serialize)]
struct Service<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    exec: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    follow: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    linger: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replug: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_timeout: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damping: Option<Damping>,
}

#[derive(Serialize)]
struct Failure {
    restart: bool,
    delay: String,
    limit: u32,
    within: String,
}

#[derive(Serialize)]
struct Damping {
    starts: u32,
    within: String,
    hold: String,
}

#[derive(Serialize)]
struct Start {
    class: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    id: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ancestors: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<&'static str>,
}

/// Nothing finer than a microsecond is ever read.
fn span(time: Duration) -> String {
    if time.subsec_micros() == 0 {
        format!("{}s", time.as_secs())
    } else if time.subsec_micros().is_multiple_of(1000) {
        format!("{}ms", time.as_millis())
    } else {
        format!("{}us", time.as_micros())
    }
}

pub(super) fn write(definition: &Definition) -> String {
    let Definition {
        name,
        description,
        exec,
        user,
        group,
        directory,
        environment,
        protocol,
        start,
        follow,
        linger,
        replug,
        failure,
        damping,
        start_timeout,
        stop_timeout,
        depends,
        triggers,
        security,
    } = definition;
    let other = |time: &Duration, default: Duration| (*time != default).then(|| span(*time));
    let file = File {
        service: Service {
            name: name.as_str(),
            description,
            exec,
            user: user.as_deref(),
            group: group.as_deref(),
            directory: directory.as_deref(),
            protocol: match protocol {
                Protocol::Exec => None,
                Protocol::Notify => Some("notify"),
                Protocol::Control => Some("control"),
            },
            start: match start {
                StartType::Demand => None,
                StartType::Auto => Some("auto"),
                StartType::Disabled => Some("disabled"),
            },
            follow: (!follow).then_some(false),
            linger: other(linger, Duration::ZERO),
            replug: match replug {
                Replug::Restart => None,
                Replug::Ignore => Some("ignore"),
            },
            start_timeout: other(start_timeout, Definition::START_TIMEOUT),
            stop_timeout: other(stop_timeout, Definition::STOP_TIMEOUT),
            depends: depends.iter().map(|name| name.as_str()).collect(),
            security: security.as_deref(),
            environment,
            failure: (*failure != FailurePolicy::default()).then(|| Failure {
                restart: failure.restart,
                delay: span(failure.delay),
                limit: failure.limit,
                within: span(failure.within),
            }),
            damping: damping.as_ref().map(|damping| Damping {
                starts: damping.starts,
                within: span(damping.within),
                hold: span(damping.hold),
            }),
        },
        start: triggers
            .iter()
            .map(|Trigger::Device(trigger)| Start {
                class: trigger.class.to_string(),
                id: trigger
                    .ids
                    .iter()
                    .map(|id| id.as_str().to_owned())
                    .collect(),
                ancestors: trigger.ancestors,
                wait: match trigger.wait {
                    Wait::Usable => None,
                    Wait::Appeared => Some("appeared"),
                },
            })
            .collect(),
    };
    // Texts, numbers and lists of them can always be written.
    toml::to_string(&file).unwrap_or_default()
}

#[cfg(test)]
#[path = "strategy.rs"]
mod strategy;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use arrival_model::class::Classes;
    use proptest::prelude::*;

    use super::strategy::definitions;
    use super::*;
    use crate::definition::parse;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(definition in definitions()) {
            let text = write(&definition);
            let path = format!("{}.toml", definition.name);
            let read = parse(Path::new(&path), &text, &Classes::built_in());
            let errors: Vec<_> = read.problems.iter().filter(|problem| problem.is_error()).collect();
            prop_assert!(errors.is_empty(), "{text}\n{errors:?}");
            prop_assert_eq!(read.definition, Some(definition), "{}", text);
        }
    }
}
