//! The tables `[[start]]` and `[[stop]]`: what fires a trigger.
//!
//! ```text
//! the one of these keys that is there     further keys                       is
//! device, class                           id, ancestors, wait                the arrival of a device
//! network = "available", "unavailable"                                       addresses
//! domain = "joined", "left"                                                  membership of a domain
//! policy = "machine", "user"                                                 a change of policy
//! port = "udp:5001", "tcp:rpc"; a list    when = "open", "closed"; program;  listening sockets
//!                                         user
//! pipe = NAME; a list                     mode of the socket                 a client that connects
//! rpc = GUID; a list                                                         a client that asks for it
//! event = GUID of the provider            level, any, all, text, binary      an event that is written
//! ```
//!
//! Pipes, RPC interfaces and what only Windows has cannot stop a service. An item of an event that no
//! other key can say, a text of several, is its bytes in `text_bytes`.

use std::ops::Range;

use arrival_model::class::Classes;
use arrival_model::diagnostic::{Report, closest};
use arrival_model::guid::Guid;
use arrival_model::pipe::PipeName;
use arrival_model::port::{Port, PortMatch, Program};
use arrival_model::service_trigger::{Action, DataItem, DataType, MOST};
use arrival_model::trigger::{
    Cause, CustomTrigger, DeviceTrigger, FoldedId, PIPE_MODE, PolicyKind, Wait,
};

use crate::document::Section;
use crate::{identity, lint};

/// The keys that say what kind of cause it is, each with what a person writes.
const KINDS: [(&str, &str); 9] = [
    ("device", "device = \"serial\""),
    ("class", "class = \"{...}\""),
    ("network", "network = \"available\""),
    ("domain", "domain = \"joined\""),
    ("policy", "policy = \"machine\""),
    ("port", "port = \"tcp:5001\""),
    ("pipe", "pipe = \"name\""),
    ("rpc", "rpc = \"{...}\""),
    ("event", "event = \"{...}\""),
];

/// Keys that people may write instead.
const ELSEWHERE: [(&str, &str); 9] = [
    ("ids", "the key is 'id', a string or a list"),
    ("hardware_id", "the key is 'id'"),
    ("guid", "the key is 'class'"),
    ("subsystem", "classes are named by 'device'"),
    ("protocol", "write it before the port: port = \"udp:5001\""),
    ("provider", "the provider is 'event'"),
    ("keyword", "keywords are 'any' and 'all'"),
    ("address", "write network = \"available\""),
    ("gpo", "write policy = \"machine\", or \"user\""),
];

/// Reads what fires a trigger.
pub(super) fn read(
    report: &mut Report<'_>,
    mut section: Section<'_>,
    action: Action,
    classes: &Classes,
) -> Option<Cause> {
    let given: Vec<(&str, Range<usize>)> = KINDS
        .iter()
        .filter_map(|(key, _)| section.entry(key).map(|(span, _)| (*key, span)))
        .collect();
    let cause = match given.as_slice() {
        [] if ["id", "ancestors", "wait"]
            .iter()
            .any(|key| section.entry(key).is_some()) =>
        {
            read_device(report, &mut section, classes)
        }
        [] => {
            let ways: Vec<&str> = KINDS.iter().map(|(_, write)| *write).collect();
            let remedy = format!("write one of {}", ways.join(", "));
            let message = "the trigger does not say what fires it".to_owned();
            report.error("missing-key", section.span.clone(), message, remedy);
            None
        }
        [("device" | "class", _)] | [("device", _), ("class", _)] => {
            read_device(report, &mut section, classes)
        }
        [(first, _), .., (second, span)] => {
            let message = format!("'{first}' and '{second}' are two triggers");
            let remedy = "write one of them below a table of its own".to_owned();
            report.error("conflict", span.clone(), message, remedy);
            return None;
        }
        [(kind, span)] => {
            if action == Action::Stop && matches!(*kind, "pipe" | "rpc") {
                let message = format!("a trigger with '{kind}' cannot stop a service");
                let remedy = "write it below [[start]]".to_owned();
                report.error("bad-trigger", span.clone(), message, remedy);
            }
            read_other(report, &mut section, kind)
        }
    };
    section.finish(report, &ELSEWHERE);
    cause
}

fn read_other(report: &mut Report<'_>, section: &mut Section<'_>, kind: &str) -> Option<Cause> {
    match kind {
        "network" => {
            let choices = [("available", true), ("unavailable", false)];
            let available = section.choice(report, "network", &choices)?.value;
            Some(Cause::Network { available })
        }
        "domain" => {
            let choices = [("joined", true), ("left", false)];
            let joined = section.choice(report, "domain", &choices)?.value;
            Some(Cause::Domain { joined })
        }
        "policy" => {
            let choices = [("machine", PolicyKind::Machine), ("user", PolicyKind::User)];
            let kind = section.choice(report, "policy", &choices)?.value;
            Some(Cause::Policy(kind))
        }
        "port" => read_port(report, section),
        "pipe" => {
            let read = |text: &str| text.parse::<PipeName>().map_err(|error| error.to_string());
            let names = read_list(report, section, "pipe", read);
            let mode = section.string(report, "mode").map(|found| {
                let octal = u16::from_str_radix(&found.value, 8).ok();
                octal.filter(|mode| *mode <= 0o777).unwrap_or_else(|| {
                    let message = format!("'{}' is no mode of a file", found.value);
                    let remedy = "write \"0600\", or \"0666\" for everybody".to_owned();
                    report.error("bad-value", found.span, message, remedy);
                    PIPE_MODE
                })
            });
            let mode = mode.unwrap_or(PIPE_MODE);
            names.map(|names| Cause::Pipe { names, mode })
        }
        "rpc" => {
            let read = |text: &str| text.parse::<Guid>().map_err(|error| error.to_string());
            if let Some((span, _)) = section.entry("rpc") {
                unwatched(report, span);
            }
            read_list(report, section, "rpc", read).map(Cause::Rpc)
        }
        _ => read_event(report, section),
    }
}

/// Says that nothing fires a trigger yet.
fn unwatched(report: &mut Report<'_>, span: Range<usize>) {
    let message = "RPC interfaces are not watched yet: nothing fires this trigger";
    report.warn("not-watched", span, message, None);
}

/// A list of what a function reads, without doubles; none if one is wrong or there is none.
fn read_list<T: PartialEq>(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let found = section.strings(report, key, true)?;
    if found.value.is_empty() {
        let message = format!("'{key}' is an empty list");
        report.error("bad-value", found.span.clone(), message, None);
        return None;
    }
    if found.value.len() > MOST {
        let message = format!("'{key}' has more than {MOST} items");
        report.error("too-many", found.span.clone(), message, None);
    }
    let mut items: Vec<T> = Vec::new();
    let mut good = true;
    for item in found.value {
        match read(&item.value) {
            Ok(value) if items.contains(&value) => {}
            Ok(value) => items.push(value),
            Err(message) => {
                report.error("bad-value", item.span, message, None);
                good = false;
            }
        }
    }
    good.then_some(items)
}

/// The GUIDs of event providers and RPC interfaces that a service may publish.
pub(super) fn read_provides(report: &mut Report<'_>, section: &mut Section<'_>) -> Vec<Guid> {
    if section.entry("provides").is_none() {
        return Vec::new();
    }
    let read = |text: &str| text.parse::<Guid>().map_err(|error| error.to_string());
    let mut provides = read_list(report, section, "provides", read).unwrap_or_default();
    provides.sort_unstable();
    provides
}

/// A socket: `udp:5001`, or as sc.exe writes it, `5001;udp;program;user`.
fn port(text: &str) -> Result<PortMatch, String> {
    let texts: Vec<&str> = if text.contains(';') {
        text.split(';').collect()
    } else {
        let (protocol, port) = text
            .split_once(':')
            .ok_or_else(|| format!("'{text}' is no port: write tcp:{text}, udp:5001 or tcp:rpc"))?;
        vec![port, protocol]
    };
    PortMatch::from_texts(&texts).map_err(|error| error.to_string())
}

fn read_port(report: &mut Report<'_>, section: &mut Section<'_>) -> Option<Cause> {
    let ports = read_list(report, section, "port", port);
    let choices = [("open", true), ("closed", false)];
    let open = section.choice(report, "when", &choices);
    let program = section.line(report, "program", 512);
    let user = section.line(report, "user", 256);
    let mut ports = ports?;
    if ports.iter().any(|known| known.port == Port::Rpc)
        && let Some((span, _)) = section.entry("port")
    {
        unwatched(report, span);
    }
    for port in &mut ports {
        if let Some(program) = &program {
            port.program = Some(match program.value.as_str() {
                "system" => Program::System,
                path => Program::Path(path.to_owned()),
            });
        }
        if let Some(user) = &user {
            port.user = Some(user.value.clone());
        }
    }
    Some(Cause::Port {
        open: open.is_none_or(|open| open.value),
        ports,
    })
}

/// Eight bytes as "0x..." or in decimal.
fn keywords(text: &str) -> Result<DataItem, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let number = number.map_err(|_| format!("'{text}' is no mask of 64 bits, such as \"0x5\""))?;
    Ok(DataItem {
        kind: DataType::KeywordAny,
        bytes: number.to_le_bytes().to_vec(),
    })
}

fn level(text: &str) -> Result<DataItem, String> {
    let level = text
        .parse::<u8>()
        .map_err(|_| format!("'{text}' is no level from \"0\" to \"255\""))?;
    Ok(DataItem {
        kind: DataType::Level,
        bytes: vec![level],
    })
}

/// Bytes as pairs of hexadecimal digits, with blanks between them or without.
fn bytes(text: &str) -> Result<DataItem, String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok().filter(|_| pair.len() == 2)?;
        u8::from_str_radix(text, 16)
            .ok()
            .filter(|_| !text.starts_with('+'))
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(pair).collect();
    Ok(DataItem {
        kind: DataType::Binary,
        bytes: bytes.ok_or_else(|| format!("'{text}' is not pairs of hexadecimal digits"))?,
    })
}

fn read_event(report: &mut Report<'_>, section: &mut Section<'_>) -> Option<Cause> {
    let provider = section.string(report, "event")?;
    let place = provider.span.clone();
    let provider = match provider.value.parse::<Guid>() {
        Ok(guid) => Some(guid),
        Err(error) => {
            report.error("bad-value", provider.span, error.to_string(), None);
            None
        }
    };
    let mut items = Vec::new();
    type Read = fn(&str) -> Result<DataItem, String>;
    let text: Read = |text| Ok(DataItem::strings([text]));
    let keys: [(&'static str, DataType, Read); 6] = [
        ("binary", DataType::Binary, bytes),
        ("text", DataType::String, text),
        ("text_bytes", DataType::String, bytes),
        ("level", DataType::Level, level),
        ("any", DataType::KeywordAny, keywords),
        ("all", DataType::KeywordAll, keywords),
    ];
    for (key, kind, read) in keys {
        if section.entry(key).is_none() {
            continue;
        }
        let read = |text: &str| {
            let item = DataItem {
                kind,
                ..read(text)?
            };
            item.check().map_err(|error| error.to_string())?;
            Ok(item)
        };
        items.extend(read_list(report, section, key, read).unwrap_or_default());
    }
    if items.len() > MOST {
        let message = format!("a trigger has at most {MOST} data items");
        report.error("too-many", place, message, None);
    }
    Some(Cause::Custom(CustomTrigger::new(provider?, items)))
}

fn read_device(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    classes: &Classes,
) -> Option<Cause> {
    let (ids, places) = read_ids(report, section);
    let class = read_class(report, section, classes, &ids);
    let ancestors = section.boolean(report, "ancestors");
    if !ancestors.as_ref().is_some_and(|flag| flag.value)
        && let Some(class) = class.and_then(|class| classes.get(class))
    {
        for (id, place) in ids.iter().zip(places) {
            if lint::is_impossible(class, id) {
                let name = &class.name;
                let message = format!("no device of the class '{name}' has the id '{id}' itself");
                let remedy = "ancestors = true compares the devices above it too; \
                              'arrival devices --long' shows what ids there are";
                report.warn("impossible-id", place, message, remedy.to_owned());
            }
        }
    }
    if let Some(ancestors) = ancestors
        .as_ref()
        .filter(|flag| flag.value && ids.is_empty())
    {
        let message = "'ancestors' has no effect without 'id'".to_owned();
        report.warn("no-effect", ancestors.span.clone(), message, None);
    }
    let waits = [("usable", Wait::Usable), ("appeared", Wait::Appeared)];
    let wait = section.choice(report, "wait", &waits);
    Some(Cause::Device(DeviceTrigger {
        class: class?,
        ids,
        ancestors: ancestors.is_some_and(|flag| flag.value),
        wait: wait.map(|wait| wait.value).unwrap_or_default(),
    }))
}

fn read_ids(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
) -> (Vec<FoldedId>, Vec<Range<usize>>) {
    let (mut ids, mut places) = (Vec::new(), Vec::new());
    let Some(found) = section.strings(report, "id", true) else {
        return (ids, places);
    };
    if found.value.is_empty() {
        let message = "'id' is an empty list".to_owned();
        let remedy = "leave it out to match every device of the class".to_owned();
        report.error("bad-value", found.span, message, remedy);
    }
    for item in found.value {
        match identity::expand(&item.value) {
            Ok(id) => {
                let id = FoldedId::new(&id);
                if !ids.contains(&id) {
                    ids.push(id);
                    places.push(item.span);
                }
            }
            Err((message, remedy)) => report.error("bad-id", item.span, message, remedy),
        }
    }
    (ids, places)
}

fn read_class(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    classes: &Classes,
    ids: &[FoldedId],
) -> Option<Guid> {
    let named = section.entry("device").is_some();
    let numbered = section.entry("class").is_some();
    let device = section.string(report, "device");
    let class = section.string(report, "class");
    match (device, class) {
        (Some(_), Some(class)) => {
            let message = "'device' and 'class' name the same thing".to_owned();
            report.error(
                "conflict",
                class.span,
                message,
                "leave one of them out".to_owned(),
            );
            None
        }
        (Some(device), None) => {
            let numeric = device.value.parse::<Guid>().is_ok();
            if let Some(class) = classes.resolve(&device.value).filter(|_| !numeric) {
                return Some(class.guid);
            }
            let names = || classes.iter().map(|class| class.name.as_str());
            let remedy = if numeric {
                format!("write class = \"{}\"", device.value)
            } else {
                match closest(&device.value, names()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("the classes are {}", names().collect::<Vec<_>>().join(", ")),
                }
            };
            let message = format!("there is no device class '{}'", device.value);
            report.error("unknown-class", device.span, message, remedy);
            None
        }
        (None, Some(class)) => match class.value.parse::<Guid>() {
            Ok(guid) => {
                if classes.get(guid).is_none() {
                    let (message, remedy) = if ids.is_empty() {
                        (
                            format!(
                                "nobody defines the class {guid}, so that nothing starts the service"
                            ),
                            "define it in a file of classes.d, or list ids".to_owned(),
                        )
                    } else {
                        (
                            format!("nobody defines the class {guid}"),
                            "it will be defined for devices that have one of these ids".to_owned(),
                        )
                    };
                    report.warn("undefined-class", class.span, message, remedy);
                }
                Some(guid)
            }
            Err(error) => {
                let remedy = classes
                    .resolve(&class.value)
                    .map(|_| format!("write device = \"{}\"", class.value));
                report.error("bad-value", class.span, error.to_string(), remedy);
                None
            }
        },
        (None, None) => {
            if !named && !numbered {
                section.missing(
                    report,
                    "device",
                    "write device = \"serial\", or class = \"{...}\"",
                );
            }
            None
        }
    }
}
