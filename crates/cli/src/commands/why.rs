//! `why`: one screen, the answer first.

use std::io::{self, Write};

use arrival_client::{Condition, WhyReply};

use super::services::{class_of, ids_of, state_style};
use super::{Outcome, Place};
use crate::exit::{Exit, Failure};
use crate::screen::{BAD, FAINT, GOOD, NOTABLE, STRONG, Screen};
use crate::text::{count, printable};

/// `arrival why NAME`.
pub(super) fn why(place: &Place, screen: &mut Screen<'_>, name: &str) -> Outcome {
    let reply = place
        .connect()?
        .why(name)
        .map_err(|error| Failure::of(format!("cannot explain '{name}'"), &error))?;
    if screen.json {
        screen.value(&reply)?;
    } else {
        write_why(screen, &reply)?;
    }
    Ok(Exit::Done)
}

pub(super) fn write_why(screen: &mut Screen<'_>, reply: &WhyReply) -> io::Result<()> {
    let service = &reply.service;
    writeln!(screen, "{STRONG}{}{STRONG:#}", printable(&reply.answer))?;
    writeln!(screen)?;
    let style = state_style(&service.state, service.held_back.is_some());
    let state = printable(&service.state);
    writeln!(
        screen,
        "{} is {style}{state}{style:#}",
        printable(&service.name)
    )?;
    write_conditions(screen, &reply.conditions)?;
    for (at, report) in reply.triggers.iter().enumerate() {
        let trigger = &report.trigger;
        writeln!(screen)?;
        match class_of(trigger) {
            Some(class) => writeln!(
                screen,
                "trigger {}: {} with a device of class {}, id {}",
                at + 1,
                printable(&trigger.action),
                printable(class),
                printable(&ids_of(trigger)),
            )?,
            None => writeln!(
                screen,
                "trigger {}: {} when {}",
                at + 1,
                printable(&trigger.action),
                printable(&trigger.what),
            )?,
        }
        write_conditions(screen, &report.conditions)?;
    }
    if reply.triggers.is_empty() {
        writeln!(screen)?;
        writeln!(
            screen,
            "{FAINT}it has no triggers: only 'arrival start' starts it{FAINT:#}"
        )?;
    }
    Ok(())
}

/// The conditions up to and including the first that does not hold; those behind it say nothing
/// about why.
fn write_conditions(screen: &mut Screen<'_>, conditions: &[Condition]) -> io::Result<()> {
    let failing = conditions.iter().position(|condition| !condition.holds);
    let shown = failing.map_or(conditions.len(), |at| at + 1);
    for condition in conditions.iter().take(shown) {
        let (style, sign) = if condition.holds {
            (GOOD, "✓")
        } else {
            (BAD, "✗")
        };
        let what = printable(&condition.what);
        writeln!(screen, "  {style}{sign}{style:#}  {what}")?;
        if let Some(remedy) = condition.remedy.as_deref().filter(|_| !condition.holds) {
            writeln!(
                screen,
                "     {NOTABLE}remedy:{NOTABLE:#} {}",
                printable(remedy)
            )?;
        }
    }
    let left = conditions.len() - shown;
    if left > 0 {
        let left = count(left as u64, "condition");
        writeln!(
            screen,
            "     {FAINT}({left} behind it not looked at){FAINT:#}"
        )?;
    }
    Ok(())
}
