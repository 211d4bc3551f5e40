//! `list`, `status` and `triggers`: what services are and what starts them.

use std::io::{self, Write};

use anstyle::Style;
use arrival_client::{InfoReply, ServiceStatus, Trigger};
use serde::Serialize;

use super::{Outcome, Place, boot_time_ns};
use crate::exit::{Exit, Failure};
use crate::screen::{BAD, FAINT, GOOD, NOTABLE, PLAIN, STRONG, Screen};
use crate::table::{Cell, Table};
use crate::text::{count, printable, span};

/// The answer of `list` and `status` for programs.
#[derive(Serialize)]
struct Services<'a> {
    services: &'a [ServiceStatus],
}

/// The answer of `triggers` for programs.
#[derive(Serialize)]
struct Triggers<'a> {
    triggers: &'a [Trigger],
}

/// `arrival list`.
pub(super) fn list(place: &Place, screen: &mut Screen<'_>) -> Outcome {
    let services = place
        .connect()?
        .services()
        .map_err(|error| Failure::of("cannot list services", &error))?;
    write_list(screen, &services)?;
    Ok(Exit::Done)
}

/// `arrival status [NAME...]`.
pub(super) fn status(place: &Place, screen: &mut Screen<'_>, names: &[String]) -> Outcome {
    let mut manager = place.connect()?;
    let failure = |error| Failure::of("cannot tell the status", &error);
    if names.is_empty() {
        let services = manager.services().map_err(failure)?;
        if !screen.json {
            write_manager(screen, &manager.info().map_err(failure)?)?;
        }
        write_list(screen, &services)?;
        return Ok(Exit::Done);
    }
    let mut services = Vec::new();
    for name in names {
        services.push(manager.status(name).map_err(failure)?);
    }
    if screen.json {
        screen.value(&Services {
            services: &services,
        })?;
    } else {
        let now = boot_time_ns();
        for (at, service) in services.iter().enumerate() {
            if at > 0 {
                writeln!(screen)?;
            }
            write_service(screen, service, now)?;
        }
    }
    if services.iter().all(|service| service.state == "RUNNING") {
        Ok(Exit::Done)
    } else {
        Ok(Exit::NotRunning)
    }
}

/// `arrival triggers [NAME]`.
pub(super) fn triggers(place: &Place, screen: &mut Screen<'_>, name: Option<&str>) -> Outcome {
    let triggers = place
        .connect()?
        .triggers(name)
        .map_err(|error| Failure::of("cannot list triggers", &error))?;
    if screen.json {
        screen.value(&Triggers {
            triggers: &triggers,
        })?;
        return Ok(Exit::Done);
    }
    write_triggers(screen, &triggers)?;
    Ok(Exit::Done)
}

/// The words for a reason that the protocol writes with underscores.
pub(super) fn words(name: &str) -> String {
    match name {
        "stopped_by_operator" => "stopped by its operator".to_owned(),
        other => other.replace('_', " "),
    }
}

/// The style of a state.
pub(super) fn state_style(state: &str, held_back: bool) -> Style {
    match state {
        "RUNNING" => GOOD,
        "STOPPED" if held_back => BAD,
        "STOPPED" => FAINT,
        _ => NOTABLE,
    }
}

/// What is most worth knowing of a service in a few words.
fn remark(service: &ServiceStatus) -> String {
    if let Some(reason) = &service.held_back {
        let mut text = format!("held back: {}", words(reason));
        if let Some(error) = &service.last_error {
            text.push_str(&format!(" ({error})"));
        }
        return text;
    }
    let texts = [&service.note, &service.status_text, &service.last_error];
    let mut parts: Vec<&str> = texts.into_iter().flatten().map(String::as_str).collect();
    if !service.enabled {
        parts.insert(0, "disabled");
    }
    parts.join("; ")
}

pub(super) fn write_list(screen: &mut Screen<'_>, services: &[ServiceStatus]) -> io::Result<()> {
    if screen.json {
        return screen.value(&Services { services });
    }
    let mut table = Table::new(["NAME", "STATE", "PID", "STARTS", "INTERFACES", "REMARK"]);
    for service in services {
        let held_back = service.held_back.is_some();
        table.row([
            Cell::new(&service.name).style(STRONG),
            Cell::new(&service.state).style(state_style(&service.state, held_back)),
            service.pid.map(|pid| pid.to_string()).into(),
            service.starts.into(),
            (service.interfaces.len() as u64).into(),
            Cell::new(&remark(service)).style(if held_back { BAD } else { PLAIN }),
        ]);
    }
    table.write(
        screen,
        "no services: definitions lie in /etc/arrival/services.d, or below the root",
    )
}

pub(super) fn write_manager(screen: &mut Screen<'_>, info: &InfoReply) -> io::Result<()> {
    writeln!(
        screen,
        "{STRONG}arrivald {}{STRONG:#}, pid {}, root {}: {}, {} present",
        printable(&info.version),
        info.pid,
        printable(&info.root),
        count(info.services, "service"),
        count(info.interfaces, "interface"),
    )?;
    let problems = info.problems.len() as u64;
    if problems > 0 {
        let found = count(problems, "problem");
        writeln!(
            screen,
            "{BAD}{found} in its files{BAD:#}: 'arrival info' shows all"
        )?;
    }
    writeln!(screen)
}

pub(super) fn write_service(
    screen: &mut Screen<'_>,
    service: &ServiceStatus,
    now_ns: u64,
) -> io::Result<()> {
    let name = printable(&service.name);
    write!(screen, "{STRONG}{name}{STRONG:#}")?;
    if !service.description.is_empty() {
        write!(screen, " - {}", printable(&service.description))?;
    }
    writeln!(screen)?;
    let style = state_style(&service.state, service.held_back.is_some());
    let state = printable(&service.state);
    let since = span(now_ns.saturating_sub(service.since_ns));
    let wanted = printable(&service.desired);
    field(
        screen,
        "state",
        &format!("{style}{state}{style:#} for {since}, wanted {wanted}"),
    )?;
    if let Some(reason) = &service.held_back {
        let reason = words(reason);
        let reason = printable(&reason);
        field(screen, "held back", &format!("{BAD}{reason}{BAD:#}"))?;
    }
    if let Some(note) = &service.note {
        field(screen, "note", &printable(note))?;
    }
    if let Some(run) = service.run {
        let mut text = format!("{run}");
        if let Some(pid) = service.pid {
            text.push_str(&format!(", pid {pid}"));
        }
        if let Some(reason) = &service.start_reason {
            text.push_str(&format!(", started by {}", printable(reason)));
        }
        field(screen, "run", &text)?;
    }
    if let Some(text) = &service.status_text {
        field(screen, "says", &printable(text))?;
    }
    for interface in &service.interfaces {
        field(screen, "interface", &printable(interface))?;
    }
    let starts = count(service.starts, "start");
    let failures = count(service.failures, "failure");
    field(screen, "counts", &format!("{starts}, {failures}"))?;
    if let Some(exit) = &service.last_exit {
        field(screen, "last exit", &printable(exit))?;
    }
    if let Some(error) = &service.last_error {
        let error = printable(error);
        field(screen, "last error", &format!("{BAD}{error}{BAD:#}"))?;
    }
    let enabled = if service.enabled { "yes" } else { "no" };
    field(screen, "enabled", enabled)?;
    if let Some(definition) = &service.definition {
        field(screen, "defined in", &printable(definition))?;
    }
    Ok(())
}

/// One line of a description; the text is printable already.
pub(super) fn field(screen: &mut Screen<'_>, title: &str, text: &str) -> io::Result<()> {
    writeln!(screen, "  {FAINT}{title:<11}{FAINT:#} {text}")
}

/// The ids that a trigger asks for, in words.
pub(super) fn ids_of(trigger: &Trigger) -> String {
    if trigger.ids.is_empty() {
        return "any".to_owned();
    }
    let ids = trigger.ids.join(" | ");
    if trigger.ancestors {
        format!("{ids} (also of ancestors)")
    } else {
        ids
    }
}

/// The class of a device's trigger, by its short name if it has one.
pub(super) fn class_of(trigger: &Trigger) -> Option<&str> {
    trigger.class_name.as_deref().or(trigger.class.as_deref())
}

pub(super) fn write_triggers(screen: &mut Screen<'_>, triggers: &[Trigger]) -> io::Result<()> {
    let mut table = Table::new(["SERVICE", "ACTION", "BY", "PRESENT", "WHEN"]);
    for trigger in triggers {
        let when = match class_of(trigger) {
            Some(_) => format!("{}: {}", trigger.wait, ids_of(trigger)),
            None => trigger.what.clone(),
        };
        table.row([
            Cell::new(&trigger.service).style(STRONG),
            trigger.action.as_str().into(),
            Cell::new(class_of(trigger).unwrap_or(&trigger.kind)),
            Cell::from(trigger.present).style(if trigger.present > 0 { GOOD } else { FAINT }),
            Cell::new(&when),
        ]);
    }
    table.write(screen, "no triggers")
}
