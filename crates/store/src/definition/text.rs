//! A definition as TOML, with the keys that differ from their defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use arrival_model::definition::{Definition, FailurePolicy, Protocol, Replug, StartType};
use arrival_model::port::PortMatch;
use arrival_model::service_trigger::{Action, DataItem, DataType};
use arrival_model::trigger::{Cause, CustomTrigger, PIPE_MODE, PolicyKind, Trigger, Wait};
use serde::Serialize;

#[derive(Serialize)]
struct File<'a> {
    service: Service<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    start: Vec<Start>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop: Vec<Start>,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    provides: Vec<String>,
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

/// A table of one trigger: its keys in the order in which people read them.
#[derive(Serialize)]
#[serde(transparent)]
struct Start(#[serde(serialize_with = "serialize_keys")] Vec<(&'static str, Given)>);

#[derive(Serialize)]
#[serde(untagged)]
enum Given {
    Text(String),
    Texts(Vec<String>),
    Flag(bool),
}

fn serialize_keys<S: serde::Serializer>(
    keys: &[(&'static str, Given)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(keys.iter().map(|(key, given)| (*key, given)))
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
        provides,
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
            provides: provides.iter().map(ToString::to_string).collect(),
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
        start: tables(triggers, Action::Start),
        stop: tables(triggers, Action::Stop),
    };
    // Texts, numbers and lists of them can always be written.
    toml::to_string(&file).unwrap_or_default()
}

fn tables(triggers: &[Trigger], action: Action) -> Vec<Start> {
    let own = triggers.iter().filter(|trigger| trigger.action == action);
    own.map(|trigger| Start(keys(&trigger.cause))).collect()
}

/// One text alone, several as a list.
fn list(mut texts: Vec<String>) -> Given {
    match texts.pop() {
        Some(only) if texts.is_empty() => Given::Text(only),
        last => {
            texts.extend(last);
            Given::Texts(texts)
        }
    }
}

/// The keys of a cause.
fn keys(cause: &Cause) -> Vec<(&'static str, Given)> {
    let word = |word: &str| Given::Text(word.to_owned());
    match cause {
        Cause::Device(device) => {
            let mut keys = vec![("class", Given::Text(device.class.to_string()))];
            if !device.ids.is_empty() {
                let ids = device.ids.iter().map(|id| id.as_str().to_owned());
                keys.push(("id", list(ids.collect())));
            }
            if device.ancestors {
                keys.push(("ancestors", Given::Flag(true)));
            }
            if device.wait == Wait::Appeared {
                keys.push(("wait", word("appeared")));
            }
            keys
        }
        Cause::Network { available: true } => vec![("network", word("available"))],
        Cause::Network { available: false } => vec![("network", word("unavailable"))],
        Cause::Domain { joined: true } => vec![("domain", word("joined"))],
        Cause::Domain { joined: false } => vec![("domain", word("left"))],
        Cause::Policy(PolicyKind::Machine) => vec![("policy", word("machine"))],
        Cause::Policy(PolicyKind::User) => vec![("policy", word("user"))],
        Cause::Port { open, ports } => {
            let mut keys = vec![("port", list(ports.iter().map(port).collect()))];
            if !open {
                keys.push(("when", word("closed")));
            }
            keys
        }
        Cause::Pipe { names, mode } => {
            let names = names.iter().map(|name| name.as_str().to_owned());
            let mut keys = vec![("pipe", list(names.collect()))];
            if *mode != PIPE_MODE {
                keys.push(("mode", Given::Text(format!("{mode:04o}"))));
            }
            keys
        }
        Cause::Rpc(interfaces) => {
            let interfaces = interfaces.iter().map(ToString::to_string);
            vec![("rpc", list(interfaces.collect()))]
        }
        Cause::Custom(custom) => event(custom),
        // Read as a trigger of nothing: a definition in TOML has none of these.
        Cause::State(_) | Cause::Aggregate(_) => Vec::new(),
    }
}

fn port(port: &PortMatch) -> String {
    let texts = port.texts();
    match texts.as_slice() {
        [number, protocol] => format!("{protocol}:{number}").to_ascii_lowercase(),
        texts => texts.join(";"),
    }
}

fn event(custom: &CustomTrigger) -> Vec<(&'static str, Given)> {
    let mut keys = vec![("event", Given::Text(custom.provider.to_string()))];
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let number = |bytes: &[u8]| -> String {
        let number = <[u8; 8]>::try_from(bytes).map_or(0, u64::from_le_bytes);
        format!("{number:#x}")
    };
    let mut columns: BTreeMap<usize, (&'static str, Vec<String>)> = BTreeMap::new();
    for item in &custom.items {
        let only = item.texts().filter(|texts| texts.len() == 1);
        let only =
            only.filter(|texts| DataItem::strings(texts.iter().map(String::as_str)) == *item);
        let (place, key, text) = match (item.kind, only) {
            (DataType::Binary, _) => (0, "binary", hex(&item.bytes)),
            (DataType::String, Some(texts)) => (1, "text", texts.concat()),
            (DataType::String, None) => (2, "text_bytes", hex(&item.bytes)),
            (DataType::Level, _) => {
                let level = item.bytes.first().copied().unwrap_or_default();
                (3, "level", level.to_string())
            }
            (DataType::KeywordAny, _) => (4, "any", number(&item.bytes)),
            (DataType::KeywordAll, _) => (5, "all", number(&item.bytes)),
        };
        columns
            .entry(place)
            .or_insert((key, Vec::new()))
            .1
            .push(text);
    }
    let columns = columns.into_values();
    keys.extend(columns.map(|(key, texts)| (key, list(texts))));
    keys
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
