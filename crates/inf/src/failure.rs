//! The section that `FailureActions` names: what follows a failure.
//!
//! | key | is |
//! |---|---|
//! | ResetPeriod | so many seconds without a failure begin the count anew; without it, nothing does |
//! | NonCrashFailures | 1: a stop with an error is a failure too, as it always is here |
//! | Action | type, milliseconds; the n-th failure has the n-th, and the last repeats |
//!
//! | type | on Windows | here |
//! |---|---|---|
//! | 0 | nothing | the service is given up |
//! | 1, 4 | restart | restart |
//! | 2, 3 | reboot, run a command | as 0, with a warning |
//!
//! Source: Microsoft, "INF AddService Directive"; winsvc.h, SC_ACTION_TYPE.

use std::time::Duration;

use crate::context::Context;
use crate::plan::{FailureAction, FailureActions};

const KEYS: [&str; 3] = ["ResetPeriod", "NonCrashFailures", "Action"];

/// The failure actions of a service-install-section.
pub(crate) fn read(context: &mut Context<'_, '_>, section: &str) -> Option<FailureActions> {
    let document = context.document;
    let field = document.entry(section, "FailureActions")?.value(0)?;
    let name = context.text(field);
    if !document.has(&name) {
        context.no_section("1203", field, &name, format!("add [{name}] with Action"));
        return None;
    }
    context.unknown_keys(&name, &KEYS);
    let mut read = FailureActions::default();
    if let Some(field) = document
        .entry(&name, "ResetPeriod")
        .and_then(|entry| entry.value(0))
    {
        read.reset = context.number(field).map(|s| Duration::from_secs(s.into()));
    }
    if let Some(field) = document
        .entry(&name, "NonCrashFailures")
        .and_then(|entry| entry.value(0))
    {
        let number = context.number(field);
        read.non_crash = number == Some(1);
        if number == Some(0) {
            let message = "a run that ends with an error counts as failed here in any case";
            context
                .report
                .warn("no-effect", field.span.clone(), message, None);
        } else if number.is_some_and(|number| number > 1) {
            let message = "NonCrashFailures is 0 or 1";
            context
                .report
                .error("1014", field.span.clone(), message, None);
        }
    }
    for entry in document.entries(&name).filter(|entry| entry.is("Action")) {
        let Some(field) = entry.value(0) else {
            let remedy = "write Action = 1, 5000".to_owned();
            context
                .report
                .error("1006", entry.span.clone(), "the action has no type", remedy);
            continue;
        };
        let Some(number) = context.number(field) else {
            continue;
        };
        let Some(action) = FailureAction::from_raw(number) else {
            let message = format!("there is no action {number} for a failure");
            let remedy = "write 1, SC_ACTION_RESTART".to_owned();
            context
                .report
                .error("1014", field.span.clone(), message, remedy);
            continue;
        };
        if matches!(action, FailureAction::Reboot | FailureAction::RunCommand) {
            let message = "this system neither reboots nor runs a command after a failure: the service is given up";
            context
                .report
                .warn("no-effect", field.span.clone(), message, None);
        }
        let delay = match entry.value(1) {
            Some(field) => context.number(field).unwrap_or(0),
            None => 0,
        };
        let delay = Duration::from_millis(delay.into());
        let differs = |(known, first): &(FailureAction, Duration)| {
            known.restarts() && action.restarts() && *first != delay
        };
        if read.actions.last().is_some_and(differs) {
            let message = "all restarts wait for the time of the first";
            let span = entry
                .value(1)
                .map_or(entry.span.clone(), |field| field.span.clone());
            context.report.warn("no-effect", span, message, None);
        }
        read.actions.push((action, delay));
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use arrival_model::definition::FailurePolicy;

    use super::*;

    fn policy(reset: Option<u64>, actions: &[(u32, u64)]) -> (bool, u64, u32, u64) {
        let actions = actions.iter().filter_map(|(kind, delay)| {
            Some((
                FailureAction::from_raw(*kind)?,
                Duration::from_millis(*delay),
            ))
        });
        let read = FailureActions {
            reset: reset.map(Duration::from_secs),
            non_crash: false,
            actions: actions.collect(),
        };
        let FailurePolicy {
            restart,
            delay,
            limit,
            within,
        } = read.policy();
        (restart, delay.as_millis() as u64, limit, within.as_secs())
    }

    #[test]
    fn the_nth_failure_has_the_nth_action_and_the_last_repeats() {
        let year = 366 * 24 * 3600;
        assert!(!policy(None, &[]).0);
        assert!(!policy(Some(5), &[(0, 0), (1, 5)]).0);
        // Restarts for ever.
        assert_eq!(policy(Some(60), &[(1, 500)]), (true, 500, 1000, 1));
        // The third failure gives up.
        assert_eq!(
            policy(Some(60), &[(1, 500), (1, 500), (0, 0)]),
            (true, 500, 3, 60)
        );
        assert_eq!(policy(None, &[(4, 0), (3, 0)]), (true, 0, 2, year));
    }
}
