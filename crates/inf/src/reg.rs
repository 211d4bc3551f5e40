//! A service in the text form of the registry: what `reg export` writes and `reg import` reads.
//!
//! ```text
//! file  = "Windows Registry Editor Version 5.00" { blank line | comment | key | value }
//! key   = "[" [ "-" ] path "]"
//! value = ( "@" | quoted ) "=" ( quoted | "dword:" hex8 | "hex" [ "(" type ")" ] ":" [ hex2 { "," hex2 } ] | "-" )
//! quoted = '"' { any but '"' and '\' | '\"' | '\\' } '"'        a line of hex goes on behind "\"
//! comment = ";" anything
//! ```
//!
//! | below `HKLM\SYSTEM\CurrentControlSet\Services\NAME` | is |
//! |---|---|
//! | ImagePath | the program and its arguments |
//! | Start, Type, ErrorControl | numbers, as in an INF |
//! | Description, DisplayName, ObjectName, ServiceSidType, DependOnService | as in an INF |
//! | FailureActions | SERVICE_FAILURE_ACTIONS: period, two zeros, number, offset; type and delay of each |
//! | TriggerInfo\n: Type, Action, GUID, DataTypek, Datak | trigger n and its items |
//! | Security\Security | not read: a binary descriptor; ours is `Parameters\Arrival`, Security |
//! | Parameters\Arrival | what Windows has no word for |
//!
//! Sources: Microsoft, ".reg file"; facts of shipping services for TriggerInfo.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use arrival_model::access::Descriptor;
use arrival_model::definition::{Definition, ServiceName, StartType};
use arrival_model::diagnostic::{Diagnostic, Report};
use arrival_model::guid::Guid;
use arrival_model::service_trigger::{Action, DataItem, DataType, ServiceTrigger, TriggerType};
use arrival_model::trigger::Cause;

use crate::plan::{self, Account, Data, FailureAction, FailureActions, Place, Service};
use crate::syntax::fold;
use crate::write::{settings as settings_of, start_name, start_number};
use crate::{command, encoding, service, settings};

const HEADER: &str = "Windows Registry Editor Version 5.00";
const SERVICES: &str = "HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\";

/// The registry form of a service.
///
/// # Errors
///
/// What of the definition a command line of Windows cannot say, such as a quote in the program's path.
pub fn write(definition: &Definition) -> Result<String, String> {
    let text = text(definition);
    let again = read(Path::new("export.reg"), text.as_bytes());
    if again.services.first() == Some(definition) {
        return Ok(text);
    }
    let errors = again.problems.iter().filter(|problem| problem.is_error());
    let why = errors.map(|problem| problem.message.clone()).next();
    Err(format!(
        "the service '{}' cannot be written for the registry: {}",
        definition.name,
        why.unwrap_or_else(|| "it would be read as another one".to_owned())
    ))
}

fn text(definition: &Definition) -> String {
    let mut out = format!("{HEADER}\r\n");
    let name = definition.name.as_str();
    let mut keys: Vec<(String, Vec<String>)> = Vec::new();
    let mut own = Vec::new();
    let program = definition
        .exec
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let line = command::line(program, definition.exec.get(1..).unwrap_or_default());
    own.push(format!("\"ImagePath\"={}", wide(2, &[&line])));
    own.push(format!(
        "\"Start\"=dword:{:08x}",
        start_number(definition.start)
    ));
    own.push("\"Type\"=dword:00000010".to_owned());
    own.push("\"ErrorControl\"=dword:00000001".to_owned());
    if !definition.description.is_empty() {
        own.push(format!(
            "\"Description\"={}",
            quoted(&definition.description)
        ));
    }
    let account = start_name(definition.user.as_deref());
    let object = account.as_ref().map_or("LocalSystem", |(name, _)| name);
    own.push(format!("\"ObjectName\"={}", quoted(object)));
    if account.is_some_and(|(_, own)| own) {
        own.push("\"ServiceSidType\"=dword:00000001".to_owned());
    }
    if !definition.depends.is_empty() {
        let names: Vec<&str> = definition
            .depends
            .iter()
            .map(|name| name.as_str())
            .collect();
        own.push(format!("\"DependOnService\"={}", wide(7, &names)));
    }
    keys.push((String::new(), own));
    for (number, trigger) in definition.triggers.iter().enumerate() {
        let form = ServiceTrigger::from(trigger);
        let mut values = vec![
            format!("\"Type\"=dword:{:08x}", form.kind.to_raw()),
            format!("\"Action\"=dword:{:08x}", form.action.to_raw()),
            format!("\"GUID\"=hex:{}", hex(&form.subtype.to_bytes_le())),
        ];
        for (item, k) in form.items.iter().zip(0..) {
            values.push(format!("\"DataType{k}\"=dword:{:08x}", item.kind.to_raw()));
            values.push(format!("\"Data{k}\"=hex:{}", hex(&item.bytes)));
        }
        keys.push((format!("\\TriggerInfo\\{number}"), values));
    }
    let mut ours: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, name, values) in settings_of(definition) {
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        let value = match (name, texts.as_slice()) {
            ("Environment" | "Provides", texts) => wide(7, texts),
            (_, [only]) => quoted(only),
            (_, _) => continue,
        };
        let values = ours.entry(format!("\\{key}")).or_default();
        values.push(format!("\"{name}\"={value}"));
    }
    if let Some(security) = &definition.security {
        let values = ours.entry("\\Parameters\\Arrival".to_owned()).or_default();
        values.push(format!("\"Security\"={}", quoted(security)));
    }
    keys.extend(ours);
    for (key, values) in keys {
        // Writing to a text cannot fail.
        let _ = write!(out, "\r\n[{SERVICES}{name}{key}]\r\n");
        for value in values {
            let _ = write!(out, "{value}\r\n");
        }
    }
    out
}

/// A text in quotes; one that quotes cannot hold as bytes.
fn quoted(text: &str) -> String {
    if text.contains(char::is_control) {
        return wide(1, &[text]);
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Texts as bytes of UTF-16 with their NULs.
fn wide(kind: u32, texts: &[&str]) -> String {
    let mut units: Vec<u16> = Vec::new();
    for text in texts {
        units.extend(text.encode_utf16().chain([0]));
    }
    if kind == 7 {
        units.push(0);
    }
    let bytes: Vec<u8> = units.into_iter().flat_map(u16::to_le_bytes).collect();
    format!("hex({kind}):{}", hex(&bytes))
}

/// Bytes in lines of at most 24.
fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(24).map(|line| {
        let bytes: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(",")
    });
    lines.collect::<Vec<_>>().join(",\\\r\n  ")
}

/// What a file says, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Read {
    /// The services that it has; none if there is an error.
    pub services: Vec<Definition>,
    /// What is wrong.
    pub problems: Vec<Diagnostic>,
}

/// Reads the services of a registry file.
pub fn read(path: &Path, bytes: &[u8]) -> Read {
    let decoded = encoding::decode(bytes);
    let mut report = Report::new(path, &decoded.text);
    let keys = parse(&mut report);
    let mut services = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for key in keys.keys() {
        if let Some((name, _)) = split(key) {
            names.entry(fold(name)).or_insert_with(|| name.to_owned());
        }
    }
    if names.is_empty() && !report.has_errors() {
        let message = "the file has no service";
        let remedy = format!("it needs a key [{SERVICES}NAME]");
        report.error("no-service", 0..0, message, remedy);
    }
    for name in names.values() {
        services.extend(one(&mut report, name, &keys));
    }
    if report.has_errors() {
        services.clear();
    }
    Read {
        services,
        problems: report.finish(),
    }
}

/// The service of a key, and the rest of its path, folded.
fn split(key: &str) -> Option<(&str, String)> {
    let start = key.get(..SERVICES.len())?;
    // Any control set will do.
    if !start.eq_ignore_ascii_case(SERVICES) {
        return None;
    }
    let rest = key.get(SERVICES.len()..)?;
    match rest.split_once('\\') {
        Some((name, rest)) => Some((name, fold(rest))),
        None => Some((rest, String::new())),
    }
}

type Keys = BTreeMap<String, Vec<plan::Value>>;

/// The values of each key, in the order of the file.
fn parse(report: &mut Report<'_>) -> Keys {
    let text = report.text();
    let mut keys = Keys::new();
    let mut current: Option<String> = None;
    let mut at = 0;
    let mut headed = false;
    while at < text.len() {
        let rest = text.get(at..).unwrap_or_default();
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let mut line = rest.get(..length).unwrap_or_default().trim().to_owned();
        let start = at;
        at += length;
        // A list of bytes goes on in the next line.
        while line.ends_with('\\') && at < text.len() && line.contains("hex") {
            line.pop();
            let rest = text.get(at..).unwrap_or_default();
            let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
            line.push_str(rest.get(..length).unwrap_or_default().trim());
            at += length;
        }
        let span = start..start + text.get(start..at).unwrap_or_default().trim_end().len();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        if !headed {
            headed = true;
            if line == HEADER || line == "REGEDIT4" {
                continue;
            }
            report.error(
                "no-registry",
                span.clone(),
                "this is no registry file",
                format!("begin with {HEADER}"),
            );
        }
        if let Some(key) = line.strip_prefix('[') {
            current = key.strip_suffix(']').map(str::to_owned);
            match &current {
                None => report.error("no-registry", span, "the key has no closing bracket", None),
                Some(key) if key.starts_with('-') => current = None,
                Some(key) => drop(keys.entry(key.clone()).or_default()),
            }
            continue;
        }
        let Some(key) = &current else {
            continue;
        };
        match value(&line) {
            Some((name, Some(data))) => {
                let inner = split(key).map(|(_, rest)| rest).unwrap_or_default();
                let values = keys.entry(key.clone()).or_default();
                values.retain(|known| !known.name.eq_ignore_ascii_case(&name));
                values.push(plan::Value {
                    key: inner,
                    name,
                    data,
                    span: span.clone(),
                    line: span,
                });
            }
            Some((_, None)) => {}
            None => {
                let remedy = "write \"NAME\"=\"TEXT\", dword:0000000a or hex:0a,ff".to_owned();
                report.error(
                    "no-registry",
                    span,
                    "this is no value of the registry",
                    remedy,
                );
            }
        }
    }
    keys
}

/// A quoted text at the beginning, and what stands behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, text.get(at + 2..)?)),
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

/// A line `name=data`; no data deletes the value.
fn value(line: &str) -> Option<(String, Option<Data>)> {
    let (name, rest) = match line.strip_prefix('@') {
        Some(rest) => (String::new(), rest),
        None => unquote(line)?,
    };
    let rest = rest.trim_start().strip_prefix('=')?.trim();
    if rest == "-" {
        return Some((name, None));
    }
    if rest.starts_with('"') {
        let (text, behind) = unquote(rest)?;
        return behind
            .trim()
            .is_empty()
            .then_some((name, Some(Data::Text(text))));
    }
    let (kind, digits) = rest.split_once(':')?;
    if kind.eq_ignore_ascii_case("dword") {
        let number = u32::from_str_radix(digits.trim(), 16).ok()?;
        return Some((name, Some(Data::Number(number.into(), 4))));
    }
    let kind = match fold(kind).strip_prefix("hex")? {
        "" => 3,
        kind => u32::from_str_radix(kind.strip_prefix('(')?.strip_suffix(')')?, 16).ok()?,
    };
    let mut bytes = Vec::new();
    for byte in digits
        .split(',')
        .map(str::trim)
        .filter(|byte| !byte.is_empty())
    {
        bytes.push(u8::from_str_radix(byte, 16).ok()?);
    }
    let data = match kind {
        1 | 2 | 7 => {
            let units = bytes
                .chunks_exact(2)
                .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)));
            let text = String::from_utf16(&units.collect::<Vec<_>>()).ok()?;
            match kind {
                7 => {
                    let text = text.strip_suffix('\0').unwrap_or(&text);
                    let texts = text.split_terminator('\0').map(str::to_owned);
                    Data::Texts(texts.collect())
                }
                2 => Data::Expand(text.trim_end_matches('\0').to_owned()),
                _ => Data::Text(text.trim_end_matches('\0').to_owned()),
            }
        }
        11 => Data::Number(u64::from_le_bytes(bytes.try_into().ok()?), 8),
        // Windows counts REG_BINARY as 3; here the kind of plain bytes is 0.
        3 => Data::Bytes(bytes, 0),
        other => Data::Bytes(bytes, other),
    };
    Some((name, Some(data)))
}

/// The values of one service, by their folded keys below its own.
struct Own<'k> {
    values: Vec<&'k plan::Value>,
}

impl<'k> Own<'k> {
    fn get(&self, key: &str, name: &str) -> Option<&'k plan::Value> {
        self.values
            .iter()
            .copied()
            .find(|value| value.is(key, name))
    }

    fn number(&self, key: &str, name: &str) -> Option<u32> {
        match &self.get(key, name)?.data {
            Data::Number(number, _) => u32::try_from(*number).ok(),
            Data::Text(_) | Data::Expand(_) | Data::Texts(_) | Data::Bytes(..) => None,
        }
    }

    fn text(&self, key: &str, name: &str) -> Option<String> {
        match &self.get(key, name)?.data {
            Data::Text(text) | Data::Expand(text) => Some(text.clone()),
            Data::Texts(_) | Data::Number(..) | Data::Bytes(..) => None,
        }
    }

    fn bytes(&self, key: &str, name: &str) -> Option<&'k [u8]> {
        match &self.get(key, name)?.data {
            Data::Bytes(bytes, _) => Some(bytes),
            Data::Text(_) | Data::Expand(_) | Data::Texts(_) | Data::Number(..) => None,
        }
    }

    fn span(&self, key: &str, name: &str) -> Range<usize> {
        self.get(key, name).map_or(0..0, |value| value.span.clone())
    }
}

fn one(report: &mut Report<'_>, name: &str, keys: &Keys) -> Option<Definition> {
    let values = keys
        .iter()
        .filter(|(key, _)| split(key).is_some_and(|(own, _)| own.eq_ignore_ascii_case(name)))
        .flat_map(|(_, values)| values);
    let own = Own {
        values: values.collect(),
    };
    let parsed = match name.parse::<ServiceName>() {
        Ok(parsed) => parsed,
        Err(error) => {
            report.error("1014", 0..0, error.to_string(), None);
            return None;
        }
    };
    let Some(image) = own.text("", "ImagePath") else {
        let message = format!("the service '{name}' has no ImagePath");
        report.error("1013", 0..0, message, None);
        return None;
    };
    let words = match command::words(&image) {
        Ok(words) => words,
        Err((message, remedy)) => {
            report.error("1254", own.span("", "ImagePath"), message, remedy);
            return None;
        }
    };
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    if !program.starts_with('/') {
        let message = format!("'{program}' is no absolute path of this machine");
        let remedy = "write the path of the program on Linux".to_owned();
        report.error("1254", own.span("", "ImagePath"), message, remedy);
    }
    let start = match own.number("", "Start") {
        Some(2) => StartType::Auto,
        Some(3) => StartType::Demand,
        Some(4) => StartType::Disabled,
        _ => {
            let message = format!("the service '{name}' needs Start: 2, 3 or 4");
            report.error("1252", own.span("", "Start"), message, None);
            return None;
        }
    };
    if let Some(kind) = own.number("", "Type").filter(|kind| kind & 0x30 == 0) {
        let message = format!("{kind:#x} is no type of a service");
        report.error("1014", own.span("", "Type"), message, None);
    }
    let sid = own
        .number("", "ServiceSidType")
        .is_some_and(|kind| kind != 0);
    let object = own.text("", "ObjectName");
    let account = match object
        .as_deref()
        .map(|object| service::account_of(object, sid))
    {
        None => Account::System,
        Some(Some(account)) => account,
        Some(None) => {
            let message = format!("'{}' cannot name a user", object.unwrap_or_default());
            report.error("1014", own.span("", "ObjectName"), message, None);
            Account::System
        }
    };
    let mut depends = Vec::new();
    if let Some(Data::Texts(names)) = own.get("", "DependOnService").map(|value| &value.data) {
        for one in names {
            match one.parse() {
                Ok(name) => depends.push(name),
                Err(error) => {
                    let error: arrival_model::definition::NameError = error;
                    report.error(
                        "1014",
                        own.span("", "DependOnService"),
                        error.to_string(),
                        None,
                    );
                }
            }
        }
    }
    let mut parameters: Vec<plan::Value> = own
        .values
        .iter()
        .filter(|value| value.below("parameters").is_some())
        .map(|value| (*value).clone())
        .collect();
    let security = take_security(report, &mut parameters);
    let settings = settings::take(report, &mut parameters);
    let service = Service {
        name: parsed,
        flags: 0,
        description: own
            .text("", "Description")
            .or_else(|| own.text("", "DisplayName"))
            .unwrap_or_default(),
        start,
        program: Place::Machine(program.clone()),
        arguments: words.collect(),
        account,
        depends,
        triggers: triggers(report, &own),
        failure: own.bytes("", "FailureActions").and_then(failure),
        security,
        settings,
        parameters,
        span: 0..0,
    };
    for trigger in &service.triggers {
        let why = match trigger.form.meaning() {
            Ok(meant) if matches!(meant.cause, Cause::State(_) | Cause::Aggregate(_)) => {
                let (kind, name) = (trigger.form.kind.to_raw(), trigger.form.kind.name());
                format!("triggers of type {kind}, {name}, happen on Windows only")
            }
            Ok(_) => continue,
            Err(error) => error.to_string(),
        };
        report.error("unsupported-trigger", trigger.span.clone(), why, None);
    }
    Some(service.definition(&program))
}

/// The descriptor in words, which Windows keeps as bytes elsewhere.
fn take_security(report: &mut Report<'_>, values: &mut Vec<plan::Value>) -> Option<String> {
    let at = values
        .iter()
        .position(|value| value.is(settings::KEY, "Security"))?;
    let value = values.remove(at);
    let Data::Text(text) = value.data else {
        return None;
    };
    if let Err(error) = text.parse::<Descriptor>() {
        report.error("1014", value.span, error.to_string(), None);
    }
    Some(text)
}

fn triggers(report: &mut Report<'_>, own: &Own<'_>) -> Vec<plan::Trigger> {
    let mut triggers = Vec::new();
    for number in 0..arrival_model::service_trigger::MOST {
        let key = format!("triggerinfo\\{number}");
        if own.get(&key, "Type").is_none() {
            continue;
        }
        let span = own.span(&key, "Type");
        let kind = own.number(&key, "Type").and_then(TriggerType::from_raw);
        let action = own.number(&key, "Action").and_then(Action::from_raw);
        let guid = own
            .bytes(&key, "GUID")
            .and_then(|bytes| Some(Guid::from_bytes_le(bytes.try_into().ok()?)));
        let (Some(kind), Some(action), Some(subtype)) = (kind, action, guid) else {
            let message = format!(
                "trigger {number} needs a known Type, an Action of 1 or 2, and a GUID of 16 bytes"
            );
            report.error("1014", span, message, None);
            continue;
        };
        let mut items = Vec::new();
        for k in 0..arrival_model::service_trigger::MOST {
            let Some(bytes) = own.bytes(&key, &format!("Data{k}")) else {
                break;
            };
            let kind = own
                .number(&key, &format!("DataType{k}"))
                .and_then(DataType::from_raw);
            let Some(kind) = kind else {
                let message = format!("item {k} of trigger {number} has no known type");
                report.error("1014", span.clone(), message, None);
                break;
            };
            items.push(DataItem {
                kind,
                bytes: bytes.to_vec(),
            });
        }
        let form = ServiceTrigger {
            kind,
            action,
            subtype,
            items,
        };
        if let Err(error) = form.check() {
            report.error("1014", span.clone(), error.to_string(), None);
            continue;
        }
        triggers.push(plan::Trigger {
            section: key,
            form,
            span,
        });
    }
    triggers
}

/// SERVICE_FAILURE_ACTIONS as the registry has it.
fn failure(bytes: &[u8]) -> Option<FailureActions> {
    let mut numbers = bytes
        .chunks_exact(4)
        .filter_map(|four| Some(u32::from_le_bytes(four.try_into().ok()?)));
    let reset = numbers.next()?;
    // Message, command, and the place of the list behind its length.
    let count = numbers.nth(2)?;
    numbers.next()?;
    let mut actions = Vec::new();
    for _ in 0..count.min(1000) {
        let (Some(kind), Some(delay)) = (numbers.next(), numbers.next()) else {
            break;
        };
        actions.push((
            FailureAction::from_raw(kind)?,
            Duration::from_millis(delay.into()),
        ));
    }
    Some(FailureActions {
        reset: (reset != u32::MAX).then(|| Duration::from_secs(reset.into())),
        non_crash: false,
        actions,
    })
}
