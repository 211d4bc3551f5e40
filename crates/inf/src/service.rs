//! `AddService` and the sections behind it.
//!
//! ```text
//! AddService = name, [flags], service-install-section [, event-log-section [, [log] [, name]]]
//! DelService = name [, [flags] [, [log] [, name]]]
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
//! | FailureActions | what follows a failure: the module `failure` |
//! | AddReg, DelReg | values of HKR: the service's parameters, and `HKR,Parameters\Arrival`, the module `settings` |
//! | BitReg, LoadOrderGroup, RequiredPrivileges, DelayedAutoStart, BootFlags, UserServiceFlags | without effect |
//!
//! Source: Microsoft, "INF AddService Directive".

use arrival_model::access::Descriptor;
use arrival_model::definition::{ServiceName, StartType};

use crate::context::Context;
use crate::plan::{Account, Plan, Removed, Service, flags};
use crate::registry::{self, Registry};
use crate::syntax::{Entry, Field, fold};
use crate::{command, failure, settings, trigger};

pub(crate) const KEYS: [&str; 20] = [
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
    "UserServiceFlags",
];

/// Keys that are right and change nothing here.
const WITHOUT_EFFECT: [(&str, &str); 6] = [
    ("BitReg", "single bits of the registry are not changed"),
    ("LoadOrderGroup", "services have no groups"),
    (
        "RequiredPrivileges",
        "Windows' privileges are not those of Linux",
    ),
    ("DelayedAutoStart", "an automatic start is not delayed"),
    ("BootFlags", "they are for drivers"),
    ("UserServiceFlags", "there are no services of each user"),
];

/// A line of a `.Services` section.
pub(crate) fn directive(context: &mut Context<'_, '_>, plan: &mut Plan, entry: &Entry<'_>) {
    if entry.is("AddService") {
        if let Some(service) = add(context, entry) {
            insert(context, plan, service);
        }
        return;
    }
    if entry.is("DelService") {
        delete(context, plan, entry);
        return;
    }
    if entry.is("Include") || entry.is("Needs") {
        return;
    }
    let span = match &entry.key {
        Some(key) => key.span.clone(),
        None => entry.span.clone(),
    };
    let remedy = "write AddService = NAME, , SECTION".to_owned();
    let message = "this means nothing in a section of services";
    context.report.warn("unknown-key", span, message, remedy);
}

/// The flags of a line, of which these are known.
fn flags(
    context: &mut Context<'_, '_>,
    entry: &Entry<'_>,
    known: u32,
    directive: &str,
) -> Option<u32> {
    let Some(field) = entry.value(1) else {
        return Some(0);
    };
    let flags = context.number(field)?;
    if flags & !known != 0 {
        let message = format!("{directive} has no flags {:#x}", flags & !known);
        context
            .report
            .warn("1085", field.span.clone(), message, None);
    }
    Some(flags)
}

/// Checks the type of an event log, whose other parts have no effect: journald or a file has the log.
fn event_log(context: &mut Context<'_, '_>, field: Option<&Field<'_>>) {
    let Some(field) = field else {
        return;
    };
    let text = context.text(field);
    if !["system", "application", "security"].contains(&fold(&text).as_str()) {
        let message = format!("'{text}' is no event log of Windows");
        let remedy = "write System, Application or Security".to_owned();
        context
            .report
            .error("1250", field.span.clone(), message, remedy);
    }
}

fn delete(context: &mut Context<'_, '_>, plan: &mut Plan, entry: &Entry<'_>) {
    let Some(flags) = flags(context, entry, flags::DEL, "DelService") else {
        return;
    };
    let Some(field) = entry.value(0) else {
        let message = "DelService names no service";
        context
            .report
            .error("1253", entry.span.clone(), message, None);
        return;
    };
    event_log(context, entry.value(2));
    let text = context.text(field);
    let name = match text.parse::<ServiceName>() {
        Ok(name) => name,
        Err(error) => {
            context
                .report
                .error("1014", field.span.clone(), error.to_string(), None);
            return;
        }
    };
    let added = context.services.contains_key(&name.folded());
    if added {
        let message = format!("'{name}' is added by this file too, and stays");
        context
            .report
            .warn("1212", field.span.clone(), message, None);
        return;
    }
    let known = !context.removed.insert(name.folded());
    if !known {
        let span = context.span(field.span.clone());
        plan.removed.push(Removed { name, flags, span });
    }
}

/// The same service may be named by several models.
fn insert(context: &mut Context<'_, '_>, plan: &mut Plan, service: Service) {
    let place = context.services.entry(service.name.folded());
    let place = *place.or_insert(plan.services.len());
    let known = plan.services.get(place);
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

fn add(context: &mut Context<'_, '_>, entry: &Entry<'_>) -> Option<Service> {
    let flags = flags(context, entry, flags::ADD, "AddService")?;
    event_log(context, entry.value(4));
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
        let remedy = format!("add [{section}] with ServiceType and so on");
        context.no_section("2006", section_field, &section, remedy);
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
        context.unfit("1014", name_field.span.clone(), error.to_string(), None);
    }
    context.unknown_keys(&section, &KEYS);
    no_effect(context, &section);
    let start = start_type(context, &section);
    error_control(context, &section);
    let program = command::read(context, &section);
    let account = account(context, &section);
    let mut registry = Registry::default();
    registry::read(context, &section, &mut registry);
    let mut parameters = registry.into_values();
    let settings = settings::take(&mut context.report, &mut parameters);
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
        failure: failure::read(context, &section),
        security: security(context, &section),
        settings,
        parameters,
        span: context.span(name_field.span.clone()),
    })
}

/// The first value of a key of a section.
fn field<'d, 't>(context: &Context<'d, 't>, section: &str, key: &str) -> Option<&'d Field<'t>> {
    context
        .document
        .entry(section, key)
        .and_then(|entry| entry.value(0))
}

fn value_span(context: &Context<'_, '_>, section: &str, key: &str) -> std::ops::Range<usize> {
    field(context, section, key).map_or(0..0, |field| field.span.clone())
}

fn text(context: &mut Context<'_, '_>, section: &str, key: &str) -> Option<String> {
    let field = field(context, section, key)?;
    Some(context.text(field))
}

/// Reports a key that a service cannot be without.
fn missing(context: &mut Context<'_, '_>, section: &str, key: &str) {
    let span = context.header(section);
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

/// The first value of a key that a service cannot be without.
pub(crate) fn required_field<'d, 't>(
    context: &mut Context<'d, 't>,
    section: &str,
    key: &str,
) -> Option<&'d Field<'t>> {
    let field = field(context, section, key);
    if field.is_none() {
        missing(context, section, key);
    }
    field
}

fn required(context: &mut Context<'_, '_>, section: &str, key: &str) -> Option<u32> {
    let field = required_field(context, section, key)?;
    context.number(field)
}

fn no_effect(context: &mut Context<'_, '_>, section: &str) {
    for (key, why) in WITHOUT_EFFECT {
        if let Some(entry) = context.document.entry(section, key) {
            let span = entry
                .key
                .as_ref()
                .map_or(entry.span.clone(), |key| key.span.clone());
            let message = format!("{key} has no effect on this system: {why}");
            context.report.warn("no-effect", span, message, None);
        }
    }
}

fn start_type(context: &mut Context<'_, '_>, section: &str) -> Option<StartType> {
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

fn error_control(context: &mut Context<'_, '_>, section: &str) {
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

fn description(context: &mut Context<'_, '_>, section: &str) -> String {
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

fn account(context: &mut Context<'_, '_>, section: &str) -> Account {
    let own = match field(context, section, "ServiceSidType") {
        Some(field) => context.number(field).is_some_and(|kind| kind != 0),
        None => false,
    };
    let Some(field) = field(context, section, "StartName") else {
        return Account::System;
    };
    let name = context.text(field);
    account_of(&name, own).unwrap_or_else(|| {
        let message = format!("'{name}' cannot name a user");
        let remedy = "write LocalSystem, NT AUTHORITY\\LocalService, NT AUTHORITY\\NetworkService or .\\USER".to_owned();
        context.unfit("1014", field.span.clone(), message, remedy);
        Account::System
    })
}

/// The account that a name means; `own` says that the service has a SID.
pub(crate) fn account_of(name: &str, own: bool) -> Option<Account> {
    let short = match name.split_once('\\') {
        Some((domain, short))
            if [".", "nt authority", "nt-autorität"].contains(&&*domain.to_lowercase()) =>
        {
            short
        }
        Some(_) | None => name,
    };
    Some(match fold(short).as_str() {
        "localsystem" | "system" => Account::System,
        "localservice" | "local service" | "networkservice" | "network service" if own => {
            Account::Own
        }
        "localservice" | "local service" => Account::LocalService,
        "networkservice" | "network service" => Account::NetworkService,
        _ => {
            let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@');
            if short.is_empty() || short.starts_with('-') || !short.chars().all(good) {
                return None;
            }
            Account::User(short.to_owned())
        }
    })
}

fn depends(context: &mut Context<'_, '_>, section: &str) -> Vec<ServiceName> {
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

fn security(context: &mut Context<'_, '_>, section: &str) -> Option<String> {
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
