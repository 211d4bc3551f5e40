//! `install`, `uninstall` and `packages`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use arrival_client::{Connection, ErrorKind, Win32Error};
use arrival_inf::Target;
use arrival_inf::plan::{Service as PlanService, flags};
use arrival_model::service_trigger::Action;
use arrival_store::Layout;
use arrival_store::package::{self, Installed, Package, Wish};
use serde::Serialize;

use super::check::{to_problem, write_problems};
use super::plan::shown;
use super::wish::{Ready, layout, ready, refused};
use super::{Outcome, Place};
use crate::args::Install;
use crate::exit::{Exit, Failure};
use crate::screen::{FAINT, GOOD, STRONG, Screen};
use crate::table::{Cell, Table};
use crate::text::{count, printable};

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    package: Shown<'a>,
    replaced: bool,
    dry_run: bool,
    manager: bool,
    /// What the file asks for; only of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<serde_json::Value>,
    problems: Vec<arrival_client::Problem>,
}

/// A package for programs.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    package: &'a Package,
    folder: &'a Path,
}

impl<'a> Shown<'a> {
    fn of(package: &'a Package) -> Self {
        Shown {
            package,
            folder: &package.folder,
        }
    }
}

/// What an INF is compared with here.
pub(crate) fn this_machine() -> Target {
    Target::of(std::env::consts::ARCH)
}

/// Installs a file below a root that no manager serves yet; says what is wrong, if anything is.
pub(crate) fn quietly(root: &Path, file: &Path) -> Result<(), String> {
    let told = |failure: Failure| failure.to_string();
    let layout = Layout::at(root).map_err(|error| error.to_string())?;
    let ready = ready(&layout, file, false, &this_machine()).map_err(told)?;
    let Some(wish) = ready.wish else {
        let problems = ready.problems.iter().map(ToString::to_string);
        return Err(problems.collect::<Vec<_>>().join("\n"));
    };
    let installed = package::install(&layout, &ready.source, &wish);
    installed.map(drop).map_err(|error| error.to_string())
}

/// `arrival install FILE`.
pub(super) fn install(place: &Place, screen: &mut Screen<'_>, options: &Install) -> Outcome {
    let layout = layout(place)?;
    let Ready {
        source,
        plan,
        wish,
        problems,
    } = ready(
        &layout,
        &options.file,
        options.trust,
        &options.target.read()?,
    )?;
    if !screen.json {
        write_problems(screen, &problems)?;
    }
    let Some(wish) = wish else {
        if screen.json {
            let problems: Vec<_> = problems.iter().map(to_problem).collect();
            screen.value(&serde_json::json!({ "problems": problems }))?;
        }
        screen.flush()?;
        let message = format!(
            "nothing is installed: {} has errors",
            options.file.display()
        );
        return Err(Failure::new(Exit::BadInput, message));
    };
    let installed = if options.dry_run {
        package::plan(&layout, &source, &wish).map_err(refused)?
    } else {
        package::install(&layout, &source, &wish).map_err(refused)?
    };
    let manager = if options.dry_run {
        None
    } else {
        let manager = reload(place)?;
        // Until the manager has read the new one, it may start a program of the version before.
        let _ = package::tidy(&layout);
        manager
    };
    if screen.json {
        screen.value(&Answer {
            package: Shown::of(&installed.package),
            replaced: installed.before.is_some(),
            dry_run: options.dry_run,
            manager: manager.is_some(),
            plan: plan.as_ref().filter(|_| options.dry_run).map(shown),
            problems: problems.iter().map(to_problem).collect(),
        })?;
    } else {
        write_installed(screen, &installed, &wish, options.dry_run)?;
        if let Some(plan) = plan.as_ref().filter(|_| options.dry_run) {
            super::plan::write(screen, plan)?;
        }
    }
    if let Some(mut manager) = manager {
        let started = plan.iter().flat_map(|plan| &plan.services);
        for service in started.filter(|service| service.flags & flags::STARTSERVICE != 0) {
            start(&mut manager, service)?;
        }
        if !screen.json {
            write_states(screen, &mut manager, &installed.package)?;
        }
    } else if !options.dry_run && !screen.json {
        writeln!(
            screen,
            "no manager runs here: it counts when one is started"
        )?;
    }
    Ok(Exit::Done)
}

/// Has the manager read its files, if there is one.
fn reload(place: &Place) -> Result<Option<Connection>, Failure> {
    let mut manager = match Connection::connect(&place.root) {
        Ok(manager) => manager,
        Err(error) if error.kind() == ErrorKind::NoDaemon => return Ok(None),
        Err(error) => return Err(Failure::of("cannot connect", &error)),
    };
    manager
        .reload()
        .map_err(|error| Failure::of("cannot reload", &error))?;
    Ok(Some(manager))
}

fn start(manager: &mut Connection, service: &PlanService) -> Result<(), Failure> {
    let name = service.name.as_str();
    match manager.start(name, &[], true) {
        Ok(_) => Ok(()),
        // Its device is there, and was quicker.
        Err(error) if error.code() == Win32Error::SERVICE_ALREADY_RUNNING => Ok(()),
        Err(error) => Err(Failure::of(
            format!("it is installed, but '{name}' cannot be started"),
            &error,
        )),
    }
}

fn write_installed(
    screen: &mut Screen<'_>,
    installed: &Installed,
    wish: &Wish,
    dry_run: bool,
) -> io::Result<()> {
    let Package {
        name,
        version,
        provider,
        folder,
        files,
        ..
    } = &installed.package;
    let verb = match (dry_run, &installed.before) {
        (true, _) => "would install",
        (false, Some(before)) if before == folder => "installed already:",
        (false, Some(_)) => "upgraded",
        (false, None) => "installed",
    };
    write!(screen, "{verb} {STRONG}{}{STRONG:#}", printable(name))?;
    if !version.is_empty() {
        write!(screen, " {}", printable(version))?;
    }
    if !provider.is_empty() {
        write!(screen, " of {}", printable(provider))?;
    }
    writeln!(
        screen,
        ", {} in {}",
        count(files.len() as u64, "file"),
        folder.display()
    )?;
    for class in &wish.classes {
        writeln!(
            screen,
            "  {FAINT}class{FAINT:#}   {}",
            printable(&class.class.name)
        )?;
    }
    for service in &wish.services {
        let definition = &service.definition;
        let user = definition.user.as_deref().unwrap_or("root");
        writeln!(
            screen,
            "  {FAINT}service{FAINT:#} {}, runs as {}",
            definition.name,
            printable(user)
        )?;
        for trigger in &definition.triggers {
            let verb = match trigger.action {
                Action::Start => "starts",
                Action::Stop => "stops",
            };
            let cause = trigger.cause.to_string();
            writeln!(screen, "          {verb} when {}", printable(&cause))?;
        }
    }
    Ok(())
}

fn write_states(
    screen: &mut Screen<'_>,
    manager: &mut Connection,
    package: &Package,
) -> Result<(), Failure> {
    for name in &package.services {
        let why = manager
            .why(name)
            .map_err(|error| Failure::of(format!("cannot tell the state of '{name}'"), &error))?;
        let state = &why.service.state;
        writeln!(
            screen,
            "{GOOD}{}{GOOD:#}: {state}: {}",
            printable(name),
            printable(&why.answer)
        )?;
    }
    Ok(())
}

/// `arrival uninstall NAME...`.
pub(super) fn uninstall(place: &Place, screen: &mut Screen<'_>, names: &[String]) -> Outcome {
    let layout = layout(place)?;
    let mut removed = Vec::new();
    for name in names {
        let name = package::package_name(name).map_err(refused)?;
        let package = package::uninstall(&layout, &name).map_err(refused)?;
        if let Some(mut manager) = reload(place)? {
            for service in &package.services {
                stop(&mut manager, service)?;
            }
        }
        if !screen.json {
            writeln!(screen, "removed {STRONG}{}{STRONG:#}", printable(&name))?;
        }
        removed.push(name);
    }
    // They are removed; folders that stay go with the next install or uninstall.
    let _ = package::tidy(&layout);
    if screen.json {
        screen.value(&serde_json::json!({ "removed": removed }))?;
    }
    Ok(Exit::Done)
}

/// Stops a service that nothing defines any more.
fn stop(manager: &mut Connection, name: &str) -> Result<(), Failure> {
    loop {
        match manager.stop(name, true) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NoSuchService => return Ok(()),
            Err(error) if error.code() == Win32Error::SERVICE_DOES_NOT_EXIST => return Ok(()),
            Err(error) if error.code() == Win32Error::SERVICE_NOT_ACTIVE => return Ok(()),
            // It stops already.
            Err(error) if error.code() == Win32Error::SERVICE_CANNOT_ACCEPT_CTRL => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Err(error) => {
                return Err(Failure::of(
                    format!("it is removed, but '{name}' cannot be stopped"),
                    &error,
                ));
            }
        }
    }
}

/// `arrival packages`.
pub(super) fn packages(place: &Place, screen: &mut Screen<'_>) -> Outcome {
    let packages = package::list(&layout(place)?);
    if screen.json {
        let packages: Vec<_> = packages.iter().map(Shown::of).collect();
        screen.value(&BTreeMap::from([("packages", packages)]))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["PACKAGE", "VERSION", "PROVIDER", "FILES", "SERVICES"]);
    for package in &packages {
        table.row([
            Cell::new(&package.name).style(STRONG),
            Cell::new(&package.version),
            Cell::new(&package.provider),
            (package.files.len() as u64).into(),
            Cell::new(&package.services.join(", ")),
        ]);
    }
    table.write(
        screen,
        "no packages: 'arrival install FILE.inf' installs one",
    )?;
    Ok(Exit::Done)
}
