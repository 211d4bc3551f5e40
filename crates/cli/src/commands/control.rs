//! `start`, `stop`, `enable` and `disable`.

use std::io::Write;
use std::time::{Duration, Instant};

use arrival_client::{Connection, Error, ErrorKind, Patience, ServiceStatus, Win32Error};
use serde_json::json;

use super::{Outcome, Place};
use crate::args::{Start, Stop, Wait};
use crate::exit::{Exit, Failure};
use crate::screen::Screen;
use crate::text::printable;

/// How often a service that is on its way without us is looked at.
const LOOK: Duration = Duration::from_millis(50);

fn is(error: &Error, code: Win32Error) -> bool {
    error.kind() == ErrorKind::Denied && error.code() == code
}

/// `arrival start NAME [ARG...]`.
pub(super) fn start(place: &Place, screen: &mut Screen<'_>, options: &Start) -> Outcome {
    let name = options.name.as_str();
    let what = format!("cannot start '{name}'");
    let mut manager = place.connect_with(options.wait.timeout)?;
    let (run, already) = match manager.start(name, &options.arguments, !options.wait.no_wait) {
        Ok(run) => (Some(run), false),
        Err(error) if is(&error, Win32Error::SERVICE_ALREADY_RUNNING) => {
            let service = settled(&mut manager, &options.wait, name, &what)?;
            if service.state != "RUNNING" && !options.wait.no_wait {
                let mut message = format!("{what}: it is {}", service.state);
                if let Some(why) = service.last_error {
                    message.push_str(&format!(": {why}"));
                }
                return Err(Failure::new(Exit::Failed, message));
            }
            (service.run, true)
        }
        Err(error) => return Err(Failure::of(what, &error)),
    };
    if screen.json {
        screen.value(&json!({ "name": name, "run": run, "already": already }))?;
    } else if already {
        writeln!(screen, "{} runs already", printable(name))?;
    } else {
        let begun = if options.wait.no_wait {
            "is starting"
        } else {
            "runs"
        };
        let run = run.unwrap_or_default();
        writeln!(screen, "{} {begun} (run {run})", printable(name))?;
    }
    Ok(Exit::Done)
}

/// `arrival stop NAME`.
pub(super) fn stop(place: &Place, screen: &mut Screen<'_>, options: &Stop) -> Outcome {
    let name = options.name.as_str();
    let what = format!("cannot stop '{name}'");
    let mut manager = place.connect_with(options.wait.timeout)?;
    let outcome = match manager.stop(name, !options.wait.no_wait) {
        Ok(()) if options.wait.no_wait => "is stopping",
        Ok(()) => "has stopped",
        Err(error) if is(&error, Win32Error::SERVICE_NOT_ACTIVE) => "is not running",
        Err(error) if is(&error, Win32Error::SERVICE_CANNOT_ACCEPT_CTRL) => {
            let service = manager.status(name).map_err(|e| Failure::of(&what, &e))?;
            if service.state != "STOP_PENDING" {
                return Err(Failure::of(what, &error));
            }
            // Somebody else stops it already: that is what was wanted.
            let service = settled(&mut manager, &options.wait, name, &what)?;
            if service.state == "STOP_PENDING" {
                "is stopping"
            } else {
                "has stopped"
            }
        }
        Err(error) => return Err(Failure::of(what, &error)),
    };
    if screen.json {
        let already = outcome == "is not running";
        screen.value(&json!({ "name": name, "already": already }))?;
    } else {
        writeln!(screen, "{} {outcome}", printable(name))?;
    }
    Ok(Exit::Done)
}

/// Looks at a service until it is on its way no more, unless nobody waits.
fn settled(
    manager: &mut Connection,
    wait: &Wait,
    name: &str,
    what: &str,
) -> Result<ServiceStatus, Failure> {
    let patience = wait
        .timeout
        .map_or(Patience::default().completion, Duration::from_secs);
    let deadline = Instant::now() + patience;
    loop {
        let service = manager
            .status(name)
            .map_err(|error| Failure::of(what, &error))?;
        if wait.no_wait || !service.state.ends_with("_PENDING") {
            return Ok(service);
        }
        if Instant::now() >= deadline {
            let state = service.state;
            return Err(Failure::new(
                Exit::Failed,
                format!("{what}: it is still {state}"),
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// `arrival enable NAME...` and `arrival disable NAME...`.
pub(super) fn enable(
    place: &Place,
    screen: &mut Screen<'_>,
    names: &[String],
    enabled: bool,
) -> Outcome {
    let mut manager = place.connect()?;
    let verb = if enabled { "enable" } else { "disable" };
    for name in names {
        let done = if enabled {
            manager.enable(name)
        } else {
            manager.disable(name)
        };
        done.map_err(|error| Failure::of(format!("cannot {verb} '{name}'"), &error))?;
        if !screen.json {
            writeln!(screen, "{} is {verb}d", printable(name))?;
        }
    }
    if screen.json {
        screen.value(&json!({ "names": names, "enabled": enabled }))?;
    }
    Ok(Exit::Done)
}
