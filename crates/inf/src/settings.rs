//! `HKR,Parameters\Arrival`: what Windows has no word for.
//!
//! | value | is | else |
//! |---|---|---|
//! | Protocol | `exec`, `notify`, `control`: how the service says that it runs | `control` |
//! | Follow | 1: the manager stops it with its last interface | 0, as on Windows |
//! | Linger | so long after that | 0 |
//! | Replug | `restart`, `ignore`: what happens when its interface is replaced | `restart` |
//! | Group, Directory | the group it runs in, the folder it starts in | the user's, `/` |
//! | Environment | texts `NAME=value` | none |
//! | Provides | GUIDs of event providers and RPC interfaces that the service may publish | none |
//! | StartTimeout, StopTimeout | how long a start or stop may take | 30 s, 20 s |
//! | FailureRestart (0, 1), FailureDelay, FailureLimit, FailureWithin | instead of FailureActions | the default policy |
//! | DampingStarts, DampingWithin, DampingHold | how often its triggers may start it | any number of times |
//! | Triggers\N: Ancestors (0, 1), Wait (`usable`, `appeared`) | of the N-th trigger, from 0 | 0, `usable` |
//! | Triggers\N: Mode (octal) | of the socket of the N-th trigger's pipe | 0600 |
//!
//! A time is a number of milliseconds, or one with `us` behind it. Numbers may be text or of 32 bits.

use std::collections::BTreeMap;
use std::time::Duration;

use arrival_model::definition::{Damping, FailurePolicy, Protocol, Replug};
use arrival_model::diagnostic::{Report, closest};
use arrival_model::guid::Guid;
use arrival_model::trigger::Wait;

use crate::plan::{Data, Settings, Value};

/// The key, folded.
pub(crate) const KEY: &str = "parameters\\arrival";

pub(crate) const NAMES: [&str; 17] = [
    "Protocol",
    "Follow",
    "Linger",
    "Replug",
    "Group",
    "Directory",
    "Environment",
    "Provides",
    "StartTimeout",
    "StopTimeout",
    "FailureRestart",
    "FailureDelay",
    "FailureLimit",
    "FailureWithin",
    "DampingStarts",
    "DampingWithin",
    "DampingHold",
];

/// A value in the words of whoever wrote it.
fn text(value: &Value) -> String {
    match &value.data {
        Data::Text(text) | Data::Expand(text) => text.clone(),
        Data::Texts(texts) => texts.join(","),
        Data::Number(number, _) => number.to_string(),
        Data::Bytes(..) => "bytes".to_owned(),
    }
}

/// A time, written as milliseconds, or with its unit.
pub(crate) fn time(text: &str) -> Option<Duration> {
    let (digits, micro) = match text.strip_suffix("us") {
        Some(digits) => (digits, true),
        None => (text.strip_suffix("ms").unwrap_or(text), false),
    };
    let number: u64 = digits.trim().parse().ok()?;
    let time = if micro {
        Duration::from_micros(number)
    } else {
        Duration::from_millis(number)
    };
    // A definition takes no longer ones.
    (time <= Duration::from_secs(366 * 24 * 3600)).then_some(time)
}

/// The opposite of [`time`].
pub(crate) fn time_text(time: Duration) -> String {
    if time.subsec_micros().is_multiple_of(1000) {
        time.as_millis().to_string()
    } else {
        format!("{}us", time.as_micros())
    }
}

/// Takes the settings out of a service's values.
pub(crate) fn take(report: &mut Report<'_>, values: &mut Vec<Value>) -> Settings {
    let mut settings = Settings::default();
    let (own, others): (Vec<Value>, Vec<Value>) = std::mem::take(values)
        .into_iter()
        .partition(|value| value.below(KEY).is_some());
    *values = others;
    let (mut failure, mut damping) = (Partial::default(), Partial::default());
    for value in &own {
        let wrong = match value.below(KEY).as_deref() {
            Some("") => set(&mut settings, &mut failure, &mut damping, value),
            Some(rest) => match rest.strip_prefix("triggers\\").map(str::parse::<usize>) {
                Some(Ok(number)) => trigger(settings.triggers.entry(number).or_default(), value),
                _ => Err(Wrong::Name),
            },
            None => Ok(()),
        };
        match wrong {
            Ok(()) => {}
            Err(Wrong::Value(expected)) => {
                let message = format!("'{}' is no value of {}", text(value), value.name);
                report.error(
                    "1014",
                    value.span.clone(),
                    message,
                    format!("write {expected}"),
                );
            }
            Err(Wrong::Name) => {
                let message = format!("there is no value '{}' of Parameters\\Arrival", value.name);
                let remedy = match closest(&value.name, NAMES) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => "docs/inf.md names the values".to_owned(),
                };
                report.error("1014", value.line.clone(), message, remedy);
            }
        }
    }
    if failure.given {
        let default = FailurePolicy::default();
        settings.failure = Some(FailurePolicy {
            restart: failure.switch.unwrap_or(default.restart),
            delay: failure.second.unwrap_or(default.delay),
            limit: failure.number.unwrap_or(default.limit),
            within: failure.first.unwrap_or(default.within),
        });
    }
    if damping.given {
        settings.damping = match (damping.number, damping.first, damping.second) {
            (Some(starts), Some(within), Some(hold)) => Some(Damping {
                starts,
                within,
                hold,
            }),
            _ => {
                let message = "damping needs DampingStarts, DampingWithin and DampingHold";
                let place = own.iter().find(|value| {
                    value.name.len() > 7
                        && value.name.is_char_boundary(7)
                        && value
                            .name
                            .get(..7)
                            .is_some_and(|start| start.eq_ignore_ascii_case("damping"))
                });
                let span = place.map_or(0..0, |value| value.line.clone());
                report.error("1014", span, message, None);
                None
            }
        };
    }
    settings
}

/// What was said of failures or damping so far.
#[derive(Default)]
struct Partial {
    given: bool,
    switch: Option<bool>,
    number: Option<u32>,
    first: Option<Duration>,
    second: Option<Duration>,
}

enum Wrong {
    Value(&'static str),
    Name,
}

fn switch(text: &str) -> Result<bool, Wrong> {
    match text {
        "0" | "0x0" => Ok(false),
        "1" | "0x1" => Ok(true),
        _ => Err(Wrong::Value("0 or 1")),
    }
}

fn span(text: &str) -> Result<Duration, Wrong> {
    time(text).ok_or(Wrong::Value("a number of milliseconds"))
}

fn number(text: &str) -> Result<u32, Wrong> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=1000).contains(number));
    number.ok_or(Wrong::Value("a number from 1 to 1000"))
}

fn set(
    settings: &mut Settings,
    failure: &mut Partial,
    damping: &mut Partial,
    value: &Value,
) -> Result<(), Wrong> {
    let text = text(value);
    let name = value.name.to_ascii_lowercase();
    failure.given |= name.starts_with("failure");
    damping.given |= name.starts_with("damping");
    match name.as_str() {
        "protocol" => {
            settings.protocol = Some(match text.to_ascii_lowercase().as_str() {
                "exec" => Protocol::Exec,
                "notify" => Protocol::Notify,
                "control" => Protocol::Control,
                _ => return Err(Wrong::Value("exec, notify or control")),
            });
        }
        "follow" => settings.follow = switch(&text)?,
        "linger" => settings.linger = span(&text)?,
        "replug" => {
            settings.replug = match text.to_ascii_lowercase().as_str() {
                "restart" => Replug::Restart,
                "ignore" => Replug::Ignore,
                _ => return Err(Wrong::Value("restart or ignore")),
            };
        }
        "group" => settings.group = Some(text),
        "directory" if text.starts_with('/') => settings.directory = Some(text),
        "directory" => return Err(Wrong::Value("an absolute path of this machine")),
        "environment" => settings.environment = environment(&value.data)?,
        "provides" => settings.provides = provides(&value.data)?,
        "starttimeout" => settings.start_timeout = Some(span(&text)?),
        "stoptimeout" => settings.stop_timeout = Some(span(&text)?),
        "failurerestart" => failure.switch = Some(switch(&text)?),
        "failuredelay" => failure.second = Some(span(&text)?),
        "failurelimit" => failure.number = Some(number(&text)?),
        "failurewithin" => failure.first = Some(span(&text)?),
        "dampingstarts" => damping.number = Some(number(&text)?),
        "dampingwithin" => damping.first = Some(span(&text)?),
        "dampinghold" => damping.second = Some(span(&text)?),
        _ => return Err(Wrong::Name),
    }
    Ok(())
}

fn provides(data: &Data) -> Result<Vec<Guid>, Wrong> {
    let texts = match data {
        Data::Texts(texts) => texts.as_slice(),
        Data::Text(text) => std::slice::from_ref(text),
        Data::Expand(_) | Data::Number(..) | Data::Bytes(..) => &[],
    };
    let guids: Result<std::collections::BTreeSet<Guid>, _> =
        texts.iter().map(|text| text.parse()).collect();
    guids
        .ok()
        .filter(|guids| !guids.is_empty())
        .map(|guids| guids.into_iter().collect())
        .ok_or(Wrong::Value("0x10000 as the flags, and GUIDs"))
}

fn environment(data: &Data) -> Result<BTreeMap<String, String>, Wrong> {
    let texts = match data {
        Data::Texts(texts) => texts.as_slice(),
        Data::Text(text) => std::slice::from_ref(text),
        Data::Expand(_) | Data::Number(..) | Data::Bytes(..) => &[],
    };
    let pairs = texts.iter().map(|text| {
        let (name, value) = text.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    });
    let pairs: Option<BTreeMap<String, String>> = pairs.collect();
    pairs
        .filter(|pairs| !pairs.is_empty())
        .ok_or(Wrong::Value("0x10000 as the flags, and texts NAME=value"))
}

fn trigger(own: &mut crate::plan::TriggerSettings, value: &Value) -> Result<(), Wrong> {
    let text = text(value);
    match value.name.to_ascii_lowercase().as_str() {
        "ancestors" => own.ancestors = switch(&text)?,
        "wait" => {
            own.wait = match text.to_ascii_lowercase().as_str() {
                "usable" => Wait::Usable,
                "appeared" => Wait::Appeared,
                _ => return Err(Wrong::Value("usable or appeared")),
            };
        }
        "mode" => {
            let mode = u16::from_str_radix(&text, 8).ok();
            let mode = mode.filter(|mode| *mode <= 0o777);
            own.mode = Some(mode.ok_or(Wrong::Value("0600, or 0666 for everybody"))?);
        }
        _ => return Err(Wrong::Name),
    }
    Ok(())
}
