//! `install`, `uninstall` and `packages`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrival_client::{Connection, ErrorKind, Win32Error};
use arrival_inf::plan::{self, Account, Place as Location, Plan, Service as PlanService, flags};
use arrival_inf::{Target, read};
use arrival_model::class::{ClassFile, ClassHeader, Classes, is_class_name};
use arrival_model::definition::Definition;
use arrival_model::trigger::{DeviceTrigger, Trigger};
use arrival_store::lock::LockError;
use arrival_store::package::source::Source;
use arrival_store::package::{
    self, FileWish, Installed, Package, PackageError, Program, ServiceWish, Wish,
};
use arrival_store::store::{Store, devices_with, name_of};
use arrival_store::{Diagnostic, Layout};
use serde::Serialize;

use super::check::{to_problem, write_problems};
use super::{Outcome, Place};
use crate::args::Install;
use crate::exit::{Exit, Failure};
use crate::screen::{FAINT, GOOD, STRONG, Screen};
use crate::table::{Cell, Table};
use crate::text::{count, printable};

/// The most bytes of an INF.
const INF_LIMIT: u64 = 16 * 1024 * 1024;

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    package: Shown<'a>,
    replaced: bool,
    dry_run: bool,
    manager: bool,
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

pub(super) fn refused(error: PackageError) -> Failure {
    let exit = match &error {
        PackageError::Refused(_) => Exit::BadInput,
        PackageError::NoSuchPackage(_) => Exit::NoSuchObject,
        PackageError::Locked(LockError::Io { cause, .. }) | PackageError::Io { cause, .. }
            if cause.kind() == io::ErrorKind::PermissionDenied =>
        {
            Exit::Denied
        }
        PackageError::Locked(_) | PackageError::Io { .. } => Exit::Failed,
    };
    Failure::new(exit, error.to_string())
}

pub(super) fn layout(place: &Place) -> Result<Layout, Failure> {
    Layout::new(place.root.dir())
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot find the root: {error}")))
}

/// A file that was read.
struct Ready {
    source: Source,
    plan: Option<Plan>,
    /// What to install; none if there is an error.
    wish: Option<Wish>,
    problems: Vec<Diagnostic>,
}

fn ready(layout: &Layout, file: &Path, trust: bool) -> Result<Ready, Failure> {
    let bad = |message: String| Failure::new(Exit::BadInput, message);
    let (folder, name) = split(file)?;
    let source = Source::open(&folder, trust).map_err(bad)?;
    let bytes = text_of(&source, &name).map_err(bad)?;
    let read = read(file, &bytes, &Target::of(std::env::consts::ARCH));
    let (plan, mut problems) = (read.plan, read.problems);
    let wish = plan
        .as_ref()
        .map(|plan| wish(layout, &name, plan, file, &mut problems))
        .transpose()?;
    let wish = wish.filter(|_| !problems.iter().any(Diagnostic::is_error));
    Ok(Ready {
        source,
        plan,
        wish,
        problems,
    })
}

/// Installs a file below a root that no manager serves yet; says what is wrong, if anything is.
pub(crate) fn quietly(root: &Path, file: &Path) -> Result<(), String> {
    let told = |failure: Failure| failure.to_string();
    let layout = Layout::at(root).map_err(|error| error.to_string())?;
    let ready = ready(&layout, file, false).map_err(told)?;
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
    } = ready(&layout, &options.file, options.trust)?;
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
        reload(place)?
    };
    if screen.json {
        screen.value(&Answer {
            package: Shown::of(&installed.package),
            replaced: installed.before.is_some(),
            dry_run: options.dry_run,
            manager: manager.is_some(),
            problems: problems.iter().map(to_problem).collect(),
        })?;
    } else {
        write_installed(screen, &installed, &wish, options.dry_run)?;
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

/// The folder and the name of the file.
fn split(file: &Path) -> Result<(PathBuf, String), Failure> {
    let bad = || {
        Failure::new(
            Exit::BadInput,
            format!("'{}' names no INF file", file.display()),
        )
    };
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(bad)?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    Ok((folder, name.to_owned()))
}

fn text_of(source: &Source, name: &str) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let opened = source.open_file(name)?;
    let mut bytes = Vec::new();
    let shown = opened.path.display();
    let mut file = opened.file.take(INF_LIMIT + 1);
    file.read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    if bytes.len() as u64 > INF_LIMIT {
        return Err(format!("{shown} has more than {INF_LIMIT} bytes"));
    }
    Ok(bytes)
}

/// What the plan means for this root.
fn wish(
    layout: &Layout,
    name: &str,
    plan: &Plan,
    file: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Result<Wish, Failure> {
    let mut store = Store::open(layout.clone());
    let loaded = store.load();
    let package = package::package_name(name).map_err(refused)?;
    let own = layout.active().join(&package);
    for service in &plan.services {
        let Some(placed) = store
            .get(&service.name)
            .filter(|placed| !placed.path.starts_with(&own))
        else {
            continue;
        };
        let path = placed.path.display();
        let overrides = layout
            .services()
            .first()
            .is_some_and(|first| placed.path.starts_with(first));
        let diagnostic = if overrides {
            let message = format!("the service '{}' is overridden by {path}", service.name);
            Diagnostic::file(file, "overridden", message).warning()
        } else {
            let message = format!(
                "the service '{}' is defined by {path} already",
                service.name
            );
            Diagnostic::file(file, "duplicate-service", message)
                .help("uninstall that package first, or rename one of the two")
        };
        problems.push(diagnostic);
    }
    let classes = classes(plan, &loaded.classes);
    undefined(plan, &classes, &loaded.classes, file, problems);
    Ok(Wish {
        name: package,
        described_by: name.to_owned(),
        provider: plan.provider.clone(),
        version: plan.version.clone(),
        files: plan
            .files
            .iter()
            .map(|file| FileWish {
                source: file.source.clone(),
                target: file.target.clone(),
            })
            .collect(),
        services: plan.services.iter().map(service).collect(),
        classes,
    })
}

/// The classes that the package's own devices make; those that everybody knows stay as they are.
fn classes(plan: &Plan, known: &Classes) -> Vec<ClassFile> {
    let built_in = Classes::built_in();
    let new = plan
        .interfaces
        .iter()
        .filter(|interface| built_in.get(interface.class).is_none() && !interface.ids.is_empty());
    new.map(|interface| ClassFile {
        class: ClassHeader {
            name: class_name(interface, known),
            guid: Some(interface.class),
            aliases: interface.names.clone(),
            description: "devices of an installed package".to_owned(),
            ce_prefix: None,
        },
        when: devices_with(&interface.ids),
    })
    .collect()
}

/// `GUID_DEVINTERFACE_OSRFX2` is `osrfx2`, unless another class is called so.
fn class_name(interface: &plan::Interface, known: &Classes) -> String {
    if let Some(known) = known
        .get(interface.class)
        .filter(|known| known.name != name_of(interface.class))
    {
        return known.name.clone();
    }
    let short = interface.names.iter().map(|name| {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("guid_").unwrap_or(&name);
        let name = name.strip_prefix("devinterface_").unwrap_or(name);
        name.replace('_', "-")
    });
    let mut free = short.filter(|name| is_class_name(name) && known.resolve(name).is_none());
    free.next().unwrap_or_else(|| name_of(interface.class))
}

/// Says which triggers wait for a class that nobody defines.
fn undefined(
    plan: &Plan,
    classes: &[ClassFile],
    known: &Classes,
    file: &Path,
    problems: &mut Vec<Diagnostic>,
) {
    let triggers = plan.services.iter().flat_map(|service| {
        service
            .triggers
            .iter()
            .map(move |trigger| (service, trigger))
    });
    for (service, trigger) in triggers {
        let own = classes
            .iter()
            .any(|class| class.class.guid == Some(trigger.class));
        if own
            || known
                .get(trigger.class)
                .is_some_and(|known| known.name != name_of(trigger.class))
        {
            continue;
        }
        let class = trigger.class;
        let diagnostic = if trigger.ids.is_empty() {
            let message = format!(
                "nobody defines the class {class}, so that nothing starts '{}'",
                service.name
            );
            Diagnostic::file(file, "undefined-class", message)
                .help("add a DataItem with a hardware id, or AddInterface to the device's section")
        } else {
            let message = format!("nobody defines the class {class}");
            Diagnostic::file(file, "undefined-class", message)
                .help("it is defined for devices that have one of the trigger's ids")
        };
        problems.push(diagnostic.warning());
    }
}

fn service(plan: &PlanService) -> ServiceWish {
    let mut definition = Definition::new(plan.name.clone(), plan.arguments.clone());
    definition.description.clone_from(&plan.description);
    definition.start = plan.start;
    definition.protocol = plan.protocol;
    definition.follow = plan.follow;
    definition.linger = plan.linger;
    definition.depends.clone_from(&plan.depends);
    definition.security.clone_from(&plan.security);
    definition.user = match &plan.account {
        Account::System => None,
        Account::LocalService => Some("arrival-local".to_owned()),
        Account::NetworkService => Some("arrival-network".to_owned()),
        Account::Own => Some("own".to_owned()),
        Account::User(name) => Some(name.clone()),
    };
    let triggers = plan.triggers.iter().cloned();
    definition.triggers = triggers
        .map(|trigger: DeviceTrigger| Trigger::Device(trigger))
        .collect();
    ServiceWish {
        definition,
        program: match &plan.program {
            Location::Package(path) => Program::Package(path.clone()),
            Location::Machine(path) => Program::Machine(PathBuf::from(path)),
        },
    }
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
        for Trigger::Device(trigger) in &definition.triggers {
            let ids: Vec<&str> = trigger.ids.iter().map(|id| id.as_str()).collect();
            let of = if ids.is_empty() {
                String::new()
            } else {
                format!(" with {}", ids.join(" or "))
            };
            writeln!(
                screen,
                "          starts with an interface of {}{}",
                trigger.class,
                printable(&of)
            )?;
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
