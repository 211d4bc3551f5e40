//! `info`, `reload` and `shutdown`: the manager itself.

use std::io::{self, Write};

use arrival_client::{InfoReply, Problem};
use serde_json::json;

use super::services::field;
use super::{Outcome, Place};
use crate::exit::{Exit, Failure};
use crate::screen::{BAD, NOTABLE, STRONG, Screen};
use crate::text::{count, printable};

/// `arrival info`.
pub(super) fn info(place: &Place, screen: &mut Screen<'_>) -> Outcome {
    let info = place
        .connect()?
        .info()
        .map_err(|error| Failure::of("cannot ask the manager", &error))?;
    if screen.json {
        screen.value(&info)?;
    } else {
        write_info(screen, &info)?;
    }
    Ok(Exit::Done)
}

/// `arrival reload`.
pub(super) fn reload(place: &Place, screen: &mut Screen<'_>) -> Outcome {
    let reply = place
        .connect()?
        .reload()
        .map_err(|error| Failure::of("cannot reload", &error))?;
    if screen.json {
        screen.value(&reply)?;
    } else {
        write_problems(screen, &reply.problems)?;
    }
    if reply.problems.iter().any(is_error) {
        Ok(Exit::BadInput)
    } else {
        Ok(Exit::Done)
    }
}

/// `arrival shutdown`.
pub(super) fn shutdown(place: &Place, screen: &mut Screen<'_>, timeout: Option<u64>) -> Outcome {
    let stopped = place
        .connect_with(timeout)?
        .shutdown()
        .map_err(|error| Failure::of("cannot shut down", &error))?;
    if screen.json {
        screen.value(&json!({ "stopped": stopped }))?;
    } else {
        let stopped = count(stopped, "service");
        writeln!(screen, "stopped {stopped} and the manager")?;
    }
    Ok(Exit::Done)
}

fn is_error(problem: &Problem) -> bool {
    problem.severity == "error"
}

pub(super) fn write_info(screen: &mut Screen<'_>, info: &InfoReply) -> io::Result<()> {
    let version = printable(&info.version);
    writeln!(screen, "{STRONG}arrivald {version}{STRONG:#}")?;
    field(screen, "pid", &info.pid.to_string())?;
    field(screen, "root", &printable(&info.root))?;
    field(screen, "boot id", &printable(&info.boot_id))?;
    field(screen, "cursor", &printable(&info.cursor))?;
    field(screen, "containment", &printable(&info.containment))?;
    let udev = if info.udev { "waited for" } else { "not used" };
    field(screen, "udev", udev)?;
    field(screen, "services", &info.services.to_string())?;
    field(screen, "interfaces", &info.interfaces.to_string())?;
    for stray in &info.strays {
        let stray = printable(stray);
        field(screen, "stray", &format!("{NOTABLE}{stray}{NOTABLE:#}"))?;
    }
    let counters = &info.counters;
    let rows = [
        ("device events", counters.events, false),
        ("of a wrong sender", counters.spoofed, true),
        ("cut short", counters.truncated, true),
        ("overruns of a source", counters.overruns, true),
        ("sources read again", counters.resyncs, false),
        ("devices that did not answer", counters.wedged, true),
        ("waits for udev given up", counters.udev_timeouts, true),
        ("notify messages refused", counters.notify_refused, true),
        ("subscribers too slow", counters.subscriber_overruns, true),
        ("connections refused", counters.connections_refused, true),
    ];
    writeln!(screen, "counts since its start")?;
    for (title, value, notable) in rows {
        if notable && value > 0 {
            writeln!(screen, "  {title:<28} {NOTABLE}{value}{NOTABLE:#}")?;
        } else {
            writeln!(screen, "  {title:<28} {value}")?;
        }
    }
    if !info.problems.is_empty() {
        writeln!(screen)?;
        write_problems(screen, &info.problems)?;
    }
    Ok(())
}

fn write_problems(screen: &mut Screen<'_>, problems: &[Problem]) -> io::Result<()> {
    for problem in problems {
        let style = if is_error(problem) { BAD } else { NOTABLE };
        let severity = printable(&problem.severity);
        let code = printable(&problem.code);
        let message = printable(&problem.message);
        writeln!(screen, "{style}{severity}[{code}]{style:#}: {message}")?;
        write!(screen, " --> {}", printable(&problem.path))?;
        if let Some(line) = problem.line {
            write!(screen, ":{line}")?;
            if let Some(column) = problem.column {
                write!(screen, ":{column}")?;
            }
        }
        writeln!(screen)?;
        if let Some(remedy) = &problem.remedy {
            writeln!(screen, "  = help: {}", printable(remedy))?;
        }
    }
    let errors = problems.iter().filter(|problem| is_error(problem)).count() as u64;
    let warnings = problems.len() as u64 - errors;
    writeln!(
        screen,
        "{}, {}",
        count(errors, "error"),
        count(warnings, "warning")
    )
}
