//! `AddService` and the sections behind it.
//!
//! ```text
//! AddService = name, [flags], service-install-section [, event-log-section ...]
//! ```
//!
//! | key | is |
//! |---|---|
//! | ServiceType | required; 0x10 or 0x20, with or without 0x100; drivers (1, 2) are left out with a warning |
//! | StartType | required; 2 auto, 3 demand, 4 disabled |
//! | ErrorControl | required; 0 to 3, without effect |
//! | ServiceBinary | required; `%dirid%\file` or an absolute path, with arguments, quoted where it has blanks |
//! | DisplayName, Description | the line for people |
//! | StartName | LocalSystem, `NT AUTHORITY\LocalService`, `NT AUTHORITY\NetworkService`, `.\user` |
//! | ServiceSidType | other than 0: LocalService and NetworkService get a user of this service's own |
//! | Dependencies | services that must run before it |
//! | Security | SDDL |
//! | AddTrigger | sections of triggers |
//! | AddReg | of `HKR,Parameters\Arrival`: Protocol (`exec`, `notify`, `control`), Follow (0, 1), Linger (ms) |
//!
//! Source: Microsoft, "INF AddService Directive".

use std::time::Duration;

use arrival_model::access::Descriptor;
use arrival_model::definition::{Protocol, ServiceName, StartType};

use crate::install::Context;
use crate::plan::{Account, Place, Plan, Service, flags};
use crate::strings::{Part, Value};
use crate::syntax::{Entry, Field, fold};
use crate::{place, trigger};

const KEYS: [&str; 21] = [
    "DisplayName",
    "Description",
    "ServiceType",
    "StartType",
    "ErrorControl",
    "ServiceBinary",
    "StartName",
    "AddReg",
    "DelReg",
    "BitReg",
    "LoadOrderGroup",
    "Dependencies",
    "Security",
    "RequiredPrivileges",
    "ServiceSidType",
    "DelayedAutoStart",
    "AddTrigger",
    "FailureActions",
    "BootFlags",
    "DependOnService",
    "UserServiceFlags",
];

/// Keys that are right and change nothing here.
const WITHOUT_EFFECT: [&str; 9] = [
    "DelReg",
    "BitReg",
    "LoadOrderGroup",
    "RequiredPrivileges",
    "DelayedAutoStart",
    "FailureActions",
    "BootFlags",
    "DependOnService",
    "UserServiceFlags",
];

/// A line of a `.Services` section.
pub(crate) fn directive(context: &mut Context<'_, '_, '_>, plan: &mut Plan, entry: &Entry<'_>) {
    if entry.is("AddService") {
        if let Some(service) = add(context, entry) {
            insert(context, plan, service);
        }
        return;
    }
    let span = entry
        .key
        .as_ref()
        .map_or(entry.span.clone(), |key| key.span.clone());
    let known = ["DelService", "Include", "Needs"]
        .into_iter()
        .find(|known| entry.is(known));
    match known {
        Some(known) => {
            let message = format!("{known} has no effect on this system");
            context.report.warn("no-effect", span, message, None);
        }
        None => {
            let remedy = "write AddService = NAME, , SECTION".to_owned();
            context.report.warn(
                "unknown-key",
                span,
                "this means nothing in a section of services",
                remedy,
            );
        }
    }
}

/// The same service may be named by several models.
fn insert(context: &mut Context<'_, '_, '_>, plan: &mut Plan, service: Service) {
    let known = plan
        .services
        .iter()
        .find(|known| known.name.folded() == service.name.folded());
    match known {
        None => plan.services.push(service),
        Some(known) if *known == service => {}
        Some(known) => {
            let message = format!("the service '{}' is described in two ways", known.name);
            let remedy = "let every AddService of it name the same section".to_owned();
            context
                .report
                .error("1331", service.span.clone(), message, remedy);
        }
    }
}

fn add(context: &mut Context<'_, '_, '_>, entry: &Entry<'_>) -> Option<Service> {
    let flags = match entry.value(1) {
        Some(field) => {
            let flags = context.number(field)?;
            if flags & !flags::ALL != 0 {
                let message = format!("AddService has no flags {:#x}", flags & !flags::ALL);
                context
                    .report
                    .warn("1085", field.span.clone(), message, None);
            }
            flags
        }
        None => 0,
    };
    let Some(name_field) = entry.value(0) else {
        // `AddService = ,2`: the device needs no driver.
        if flags & flags::ASSOCSERVICE == 0 {
            context.report.error(
                "1253",
                entry.span.clone(),
                "AddService names no service",
                None,
            );
        }
        return None;
    };
    let Some(section_field) = entry.value(2) else {
        let remedy = "write AddService = NAME, , SECTION".to_owned();
        context.report.error(
            "1005",
            entry.span.clone(),
            "AddService names no section that describes the service",
            remedy,
        );
        return None;
    };
    let section = context.text(section_field);
    if !context.document.has(&section) {
        let message = format!("there is no section [{section}]");
        context.report.error(
            "2006",
            section_field.span.clone(),
            message,
            format!("add [{section}] with ServiceType and so on"),
        );
        return None;
    }
    let name = context.text(name_field);
    let service_type = required(context, &section, "ServiceType")?;
    match service_type & !0x100 {
        0x10 | 0x20 => {}
        1 | 2 | 4 | 8 => {
            let message = format!(
                "'{name}' is a driver of Windows; a driver of Linux serves the device, and it is left out"
            );
            context
                .report
                .warn("driver", name_field.span.clone(), message, None);
            return None;
        }
        _ => {
            let message = format!("{service_type:#x} is no type of a service");
            let span = value_span(context, &section, "ServiceType");
            context.report.error(
                "1014",
                span,
                message,
                "write 0x10, SERVICE_WIN32_OWN_PROCESS".to_owned(),
            );
            return None;
        }
    }
    let parsed = name.parse::<ServiceName>();
    if let Err(error) = &parsed {
        context
            .report
            .error("1014", name_field.span.clone(), error.to_string(), None);
    }
    context.unknown_keys(&section, &KEYS);
    no_effect(context, &section);
    let start = start_type(context, &section);
    error_control(context, &section);
    let program = binary(context, &section);
    let account = account(context, &section);
    let (protocol, follow, linger) = parameters(context, &section);
    let (program, arguments) = program?;
    Some(Service {
        name: parsed.ok()?,
        flags,
        description: description(context, &section),
        start: start?,
        program,
        arguments,
        account,
        depends: depends(context, &section),
        triggers: trigger::all(context, &section),
        security: security(context, &section),
        protocol,
        follow,
        linger,
        span: name_field.span.clone(),
    })
}

/// The first value of a key of a section.
fn field<'d, 't>(context: &Context<'d, 't, '_>, section: &str, key: &str) -> Option<&'d Field<'t>> {
    context
        .document
        .entry(section, key)
        .and_then(|entry| entry.value(0))
}

fn value_span(context: &Context<'_, '_, '_>, section: &str, key: &str) -> std::ops::Range<usize> {
    field(context, section, key).map_or(0..0, |field| field.span.clone())
}

fn text(context: &mut Context<'_, '_, '_>, section: &str, key: &str) -> Option<String> {
    let field = field(context, section, key)?;
    Some(context.text(field))
}

/// Reports a key that a service cannot be without.
fn missing(context: &mut Context<'_, '_, '_>, section: &str, key: &str) {
    let span = context
        .document
        .named(section)
        .next()
        .map_or(0..0, |section| section.span.clone());
    let example = match key {
        "ServiceType" => "write ServiceType = 0x10",
        "StartType" => "write StartType = 3",
        "ErrorControl" => "write ErrorControl = 0",
        _ => "write ServiceBinary = %13%\\NAME",
    };
    let message = format!("[{section}] has no {key}");
    context
        .report
        .error("1013", span, message, example.to_owned());
}

fn required(context: &mut Context<'_, '_, '_>, section: &str, key: &str) -> Option<u32> {
    match field(context, section, key) {
        Some(field) => context.number(field),
        None => {
            missing(context, section, key);
            None
        }
    }
}

fn no_effect(context: &mut Context<'_, '_, '_>, section: &str) {
    for key in WITHOUT_EFFECT {
        if let Some(entry) = context.document.entry(section, key) {
            let span = entry
                .key
                .as_ref()
                .map_or(entry.span.clone(), |key| key.span.clone());
            let message = format!("{key} has no effect on this system yet");
            context.report.warn("no-effect", span, message, None);
        }
    }
}

fn start_type(context: &mut Context<'_, '_, '_>, section: &str) -> Option<StartType> {
    match required(context, section, "StartType")? {
        2 => Some(StartType::Auto),
        3 => Some(StartType::Demand),
        4 => Some(StartType::Disabled),
        other => {
            let span = value_span(context, section, "StartType");
            let message = format!("a service cannot have the start type {other}");
            let remedy =
                "write 3 (by its triggers and by hand), 2 (with the system) or 4 (disabled)"
                    .to_owned();
            context.report.error("1252", span, message, remedy);
            None
        }
    }
}

fn error_control(context: &mut Context<'_, '_, '_>, section: &str) {
    if let Some(control) = required(context, section, "ErrorControl")
        && control > 3
    {
        let span = value_span(context, section, "ErrorControl");
        context.report.error(
            "1014",
            span,
            format!("there is no ErrorControl {control}"),
            "write 0, 1, 2 or 3".to_owned(),
        );
    }
}

fn description(context: &mut Context<'_, '_, '_>, section: &str) -> String {
    let text =
        text(context, section, "Description").or_else(|| text(context, section, "DisplayName"));
    let text = text.unwrap_or_default();
    // One line of at most 512 characters, as a definition has it.
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(512)
        .collect();
    line.trim().to_owned()
}

/// The program and its arguments.
fn binary(context: &mut Context<'_, '_, '_>, section: &str) -> Option<(Place, Vec<String>)> {
    let Some(field) = field(context, section, "ServiceBinary") else {
        missing(context, section, "ServiceBinary");
        return None;
    };
    let value = context.value(field);
    let read = split(&value).and_then(|(program, arguments)| Ok((place::of(&program)?, arguments)));
    match read {
        Ok(read) => Some(read),
        Err((message, remedy)) => {
            context
                .report
                .error("1254", field.span.clone(), message, remedy);
            None
        }
    }
}

/// Cuts a command line: the program first, in quotes if it has blanks; no shorter path is ever tried.
fn split(value: &Value) -> Result<(Value, Vec<String>), place::Refusal> {
    // A directory id is one character of a private use area while the line is cut.
    const DIRID: char = '\u{f8ff}';
    let mut dirids = Vec::new();
    let line: String = value
        .parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.replace(DIRID, "\u{fffd}"),
            Part::Dirid(id) => {
                dirids.push(*id);
                DIRID.to_string()
            }
        })
        .collect();
    let mut words: Vec<String> = Vec::new();
    let mut chars = line.trim().chars().peekable();
    while chars.peek().is_some() {
        let mut word = String::new();
        let mut quoted = false;
        while let Some(&c) = chars.peek() {
            if c == ' ' && !quoted {
                break;
            }
            chars.next();
            match c {
                '"' => quoted = !quoted,
                // As the C runtime of Windows reads it: \" is a quote within a word.
                '\\' if chars.peek() == Some(&'"') && !words.is_empty() => {
                    word.extend(chars.next())
                }
                c => word.push(c),
            }
        }
        if quoted {
            return Err((
                "the command line has a quote without its end".to_owned(),
                None,
            ));
        }
        words.push(word);
        while chars.peek() == Some(&' ') {
            chars.next();
        }
    }
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let mut parts = Vec::new();
    let mut ids = dirids.into_iter();
    for (number, text) in program.split(DIRID).enumerate() {
        if number > 0 {
            parts.extend(ids.next().map(Part::Dirid));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
    }
    let arguments: Vec<String> = words.collect();
    if arguments.iter().any(|argument| argument.contains(DIRID)) {
        let remedy = "the program finds its folder by its own path".to_owned();
        return Err((
            "a directory id in an argument is not replaced".to_owned(),
            Some(remedy),
        ));
    }
    let program = Value {
        parts,
        span: value.span.clone(),
    };
    Ok((program, arguments))
}

fn account(context: &mut Context<'_, '_, '_>, section: &str) -> Account {
    let own = match field(context, section, "ServiceSidType") {
        Some(field) => context.number(field).is_some_and(|kind| kind != 0),
        None => false,
    };
    let Some(field) = field(context, section, "StartName") else {
        return Account::System;
    };
    let name = context.text(field);
    let short = match name.split_once('\\') {
        Some((domain, short))
            if [".", "nt authority", "nt-autorität"].contains(&fold(domain).as_str()) =>
        {
            short
        }
        _ => name.as_str(),
    };
    match fold(short).as_str() {
        "localsystem" | "system" => Account::System,
        "localservice" | "networkservice" if own => Account::Own,
        "localservice" | "local service" => Account::LocalService,
        "networkservice" | "network service" => Account::NetworkService,
        _ => {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@');
            if short.is_empty() || short.starts_with('-') || !short.chars().all(good) {
                let message = format!("'{name}' cannot name a user");
                let remedy = "write LocalSystem, NT AUTHORITY\\LocalService, NT AUTHORITY\\NetworkService or .\\USER".to_owned();
                context
                    .report
                    .error("1014", field.span.clone(), message, remedy);
            }
            Account::User(short.to_owned())
        }
    }
}

fn depends(context: &mut Context<'_, '_, '_>, section: &str) -> Vec<ServiceName> {
    let mut depends: Vec<ServiceName> = Vec::new();
    let Some(entry) = context.document.entry(section, "Dependencies") else {
        return depends;
    };
    for field in entry.values.iter().filter(|field| !field.text.is_empty()) {
        let name = context.text(field);
        match name.parse::<ServiceName>() {
            Ok(name) => depends.push(name),
            Err(_) if name.starts_with('+') => {
                let message =
                    format!("'{name}' is a group of services, which this system does not have");
                context
                    .report
                    .warn("no-effect", field.span.clone(), message, None);
            }
            Err(error) => context
                .report
                .error("1014", field.span.clone(), error.to_string(), None),
        }
    }
    depends
}

fn security(context: &mut Context<'_, '_, '_>, section: &str) -> Option<String> {
    let field = field(context, section, "Security")?;
    let text = context.text(field);
    match text.parse::<Descriptor>() {
        Ok(_) => Some(text),
        Err(error) => {
            context.report.error(
                "1014",
                field.span.clone(),
                error.to_string(),
                "the grammar is in docs/definition.md".to_owned(),
            );
            None
        }
    }
}

/// The values of `HKR,Parameters\Arrival`.
fn parameters(context: &mut Context<'_, '_, '_>, section: &str) -> (Protocol, bool, Duration) {
    let (mut protocol, mut follow, mut linger) = (Protocol::Control, false, Duration::ZERO);
    let document = context.document;
    let Some(entry) = document.entry(section, "AddReg") else {
        return (protocol, follow, linger);
    };
    for field in entry.values.iter().filter(|field| !field.text.is_empty()) {
        let name = context.text(field);
        if !document.has(&name) {
            context.report.error(
                "1203",
                field.span.clone(),
                format!("there is no section [{name}]"),
                None,
            );
            continue;
        }
        for line in document.entries(&name) {
            let texts: Vec<String> = line
                .values
                .iter()
                .map(|value| context.text(value))
                .collect();
            let get = |number: usize| texts.get(number).map(String::as_str).unwrap_or_default();
            let ours = line.key.is_none()
                && get(0).eq_ignore_ascii_case("HKR")
                && get(1).eq_ignore_ascii_case("Parameters\\Arrival");
            if !ours {
                let message = "only HKR,Parameters\\Arrival is read of the registry";
                context
                    .report
                    .warn("no-effect", line.span.clone(), message, None);
                continue;
            }
            let span = line
                .values
                .get(4)
                .map_or(line.span.clone(), |value| value.span.clone());
            let mut wrong = |expected: &str| {
                let message = format!("'{}' is no value of {}", get(4), get(2));
                context
                    .report
                    .error("1014", span.clone(), message, format!("write {expected}"));
            };
            match (fold(get(2)).as_str(), fold(get(4)).as_str()) {
                ("protocol", "exec") => protocol = Protocol::Exec,
                ("protocol", "notify") => protocol = Protocol::Notify,
                ("protocol", "control") => protocol = Protocol::Control,
                ("protocol", _) => wrong("exec, notify or control"),
                ("follow", "0" | "0x0") => follow = false,
                ("follow", "1" | "0x1") => follow = true,
                ("follow", _) => wrong("0 or 1"),
                ("linger", text) => match text.parse::<u32>() {
                    Ok(ms) => linger = Duration::from_millis(ms.into()),
                    Err(_) => wrong("a number of milliseconds"),
                },
                (other, _) => {
                    let message = format!("there is no value '{other}' of Parameters\\Arrival");
                    let remedy = "the values are Protocol, Follow and Linger".to_owned();
                    context
                        .report
                        .error("1014", line.span.clone(), message, remedy);
                }
            }
        }
    }
    (protocol, follow, linger)
}
