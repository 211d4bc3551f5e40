//! `inf check`, `inf fmt` and `inf explain`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use arrival_inf::plan::{Plan, Trigger};
use arrival_inf::{Target, rank};
use arrival_linux::device::{DeviceConfig, DeviceEvent, DeviceSource};
use arrival_model::class::{ClassFile, ClassHeader, Classes};
use arrival_model::guid::Guid;
use arrival_model::interface::Interface;
use arrival_model::trigger::FoldedId;
use arrival_store::store::{Store, devices_with, name_of};
use arrival_store::{Diagnostic, Layout};
use serde_json::json;

use super::check::{Summary, to_problem, write_problems};
use super::install::this_machine;
use super::wish::{self, layout, ready};
use super::{Outcome, Place};
use crate::args::{Inf, InfTarget};
use crate::exit::{Exit, Failure};
use crate::screen::{FAINT, GOOD, NOTABLE, STRONG, Screen};
use crate::text::printable;

impl InfTarget {
    /// The target that is asked for.
    pub(super) fn read(&self) -> Result<Target, Failure> {
        let bad = |message: String| Failure::new(Exit::Usage, message);
        let mut target = match &self.arch {
            Some(arch) => Target::of(arch),
            None => this_machine(),
        };
        if let Some(os) = &self.os {
            let numbers: Option<Vec<u32>> = os.split('.').map(|part| part.parse().ok()).collect();
            target.version = match numbers.as_deref() {
                Some(&[major]) => (major, 0, 0),
                Some(&[major, minor]) => (major, minor, 0),
                Some(&[major, minor, build]) => (major, minor, build),
                _ => {
                    return Err(bad(format!(
                        "'{os}' is no version of Windows: write it as 10.0.22000"
                    )));
                }
            };
        }
        if let Some(language) = &self.language {
            let digits = language.strip_prefix("0x").unwrap_or(language);
            target.language = match u16::from_str_radix(digits, 16) {
                Ok(language) => Some(language),
                Err(_) => {
                    return Err(bad(format!(
                        "'{language}' is no LANGID: German is 0407, Japanese 0411"
                    )));
                }
            };
        }
        Ok(target)
    }
}

/// `arrival inf ...`.
pub(super) fn inf(place: &Place, screen: &mut Screen<'_>, what: Inf) -> Outcome {
    match what {
        Inf::Check {
            files,
            windows,
            target,
        } => {
            let target = Target {
                windows,
                here: false,
                ..target.read()?
            };
            check(screen, &files, &target)
        }
        Inf::Fmt { files, check } => format(screen, &files, check),
        Inf::Explain { file, target } => explain(place, screen, &file, &target.read()?),
    }
}

/// What is wrong with an INF, which may include others of its folder.
pub(super) fn problems(path: &Path, target: &Target) -> Result<Vec<Diagnostic>, String> {
    let bytes = bytes_of(path)?;
    let mut open = |name: &str| beside(path, name);
    Ok(arrival_inf::read_package(path, &bytes, target, &mut open).problems)
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let cannot = |error: std::io::Error| format!("cannot read the file: {error}");
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(wish::INF_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > wish::INF_LIMIT {
        return Err(format!("the file has more than {} bytes", wish::INF_LIMIT));
    }
    Ok(bytes)
}

/// A file of this name in the folder of another one, in any case.
fn beside(path: &Path, name: &str) -> Option<Vec<u8>> {
    if name.contains(['/', '\\']) {
        return None;
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let mut found = entries.flatten().filter(|entry| {
        let own = entry.file_name();
        own.to_str()
            .is_some_and(|own| own.eq_ignore_ascii_case(name))
    });
    bytes_of(&found.next()?.path()).ok()
}

fn check(screen: &mut Screen<'_>, files: &[PathBuf], target: &Target) -> Outcome {
    let mut all = Vec::new();
    for path in files {
        match problems(path, target) {
            Ok(problems) => all.extend(problems),
            Err(message) => all.push(Diagnostic::file(path, "1000", message)),
        }
    }
    Summary::of(&all, files.len() as u64).write(screen)
}

fn format(screen: &mut Screen<'_>, files: &[PathBuf], check: bool) -> Outcome {
    let mut exit = Exit::Done;
    for path in files {
        let shown = path.display().to_string();
        let bytes = bytes_of(path)
            .map_err(|error| Failure::new(Exit::BadInput, format!("{shown}: {error}")))?;
        let decoded = arrival_inf::encoding::decode(&bytes);
        let laid_out = match arrival_inf::format::format(path, &decoded.text) {
            Ok(text) => text,
            Err(problems) => {
                write_problems(screen, &problems)?;
                exit = Exit::BadInput;
                continue;
            }
        };
        if laid_out == decoded.text {
            continue;
        }
        if check {
            writeln!(
                screen,
                "{NOTABLE}would change{NOTABLE:#} {}",
                printable(&shown)
            )?;
            if exit == Exit::Done {
                exit = Exit::Failed;
            }
            continue;
        }
        let Some(bytes) = arrival_inf::encoding::encode(&laid_out, &bytes) else {
            let message = format!(
                "{shown} cannot be written in its encoding, {}",
                decoded.encoding
            );
            return Err(Failure::new(Exit::Failed, message));
        };
        write_back(path, &bytes)?;
        writeln!(screen, "{GOOD}laid out{GOOD:#} {}", printable(&shown))?;
    }
    Ok(exit)
}

/// Replaces a file, which keeps its mode.
fn write_back(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let written = path.metadata().and_then(|meta| {
        // Of a link the file that it leads to is changed.
        let path = path.canonicalize()?;
        arrival_store::file::replace(&path, bytes, meta.permissions().mode() & 0o7777)
    });
    written.map_err(|error| {
        let message = format!("cannot write {}: {error}", path.display());
        Failure::new(Exit::Failed, message)
    })
}

/// The owners of the interfaces of a class whose devices a model fits, the best first.
fn matching(
    interfaces: &[Arc<Interface>],
    class: Option<Guid>,
    ids: &[String],
) -> Vec<(u16, String)> {
    let own = interfaces.iter().filter(|one| Some(one.key.class) == class);
    let mut ranked: Vec<(u16, String)> = own
        .filter_map(|one| {
            let rank = rank::rank(&one.hardware_ids, &one.compatible_ids, ids)?;
            Some((rank, one.key.owner.name().to_owned()))
        })
        .collect();
    ranked.sort();
    ranked
}

/// The present interfaces that fire a trigger.
fn firing<'i>(interfaces: &'i [Arc<Interface>], trigger: &Trigger) -> Vec<&'i Interface> {
    let device = trigger.device();
    let all = interfaces.iter().map(|one| &**one);
    all.filter(|one| device.as_ref().is_some_and(|device| device.matches(one)))
        .collect()
}

/// The classes that there would be once the package is installed, and one of all devices that it is for.
fn classes_of(layout: &Layout, plan: &Plan, own: &[ClassFile]) -> (Classes, Option<Guid>) {
    let mut store = Store::open(layout.clone());
    let mut classes = store.load().classes;
    for class in own {
        if let Ok(class) = class.clone().into_class() {
            // A class that is there already with devices of its own stays as it is.
            let _ = classes.insert(class);
        }
    }
    let triggers = plan.services.iter().flat_map(|service| &service.triggers);
    for trigger in triggers.filter_map(|trigger| trigger.device()) {
        if classes.get(trigger.class).is_none() && !trigger.ids.is_empty() {
            let class = class_for(&name_of(trigger.class), Some(trigger.class), &trigger.ids);
            if let Ok(class) = class.into_class() {
                let _ = classes.insert(class);
            }
        }
    }
    let ids = plan.devices.iter().flat_map(|device| &device.ids);
    let ids: Vec<FoldedId> = ids.map(|id| FoldedId::new(id)).collect();
    if ids.is_empty() {
        return (classes, None);
    }
    match class_for("arrival-inf-devices", None, &ids).into_class() {
        Ok(class) => {
            let guid = class.guid;
            let inserted = classes.insert(class).is_ok();
            (classes, inserted.then_some(guid))
        }
        Err(_) => (classes, None),
    }
}

/// A class of the devices with any of these ids.
fn class_for(name: &str, guid: Option<Guid>, ids: &[FoldedId]) -> ClassFile {
    ClassFile {
        class: ClassHeader {
            name: name.to_owned(),
            guid,
            aliases: Vec::new(),
            description: String::new(),
            ce_prefix: None,
        },
        when: devices_with(ids),
    }
}

/// The interfaces that are present, without a manager.
pub(super) fn present(classes: Classes) -> Result<Vec<Arc<Interface>>, Failure> {
    /// A machine with thousands of devices is read in a second or two.
    const PATIENCE: Duration = Duration::from_secs(10);
    let cannot =
        |why: String| Failure::new(Exit::Cannot, format!("cannot look at the devices: {why}"));
    let (sender, receiver) = mpsc::channel();
    let config = DeviceConfig {
        classes,
        udev: false,
        receive_buffer: 128 * 1024,
        ..DeviceConfig::default()
    };
    let source = DeviceSource::start(config, move |event| {
        if let DeviceEvent::Snapshot(interfaces) = event {
            let _ = sender.send(interfaces);
        }
    })
    .map_err(|error| cannot(error.to_string()))?;
    let interfaces = receiver
        .recv_timeout(PATIENCE)
        .map_err(|_| cannot("nothing was found in 10 s".to_owned()))?;
    source.stop();
    Ok(interfaces)
}

fn explain(place: &Place, screen: &mut Screen<'_>, file: &Path, target: &Target) -> Outcome {
    let layout = layout(place)?;
    // Nothing is taken from the folder: whoever may write to it does not matter.
    let ready = ready(&layout, file, true, target)?;
    if !screen.json {
        write_problems(screen, &ready.problems)?;
    }
    let Some((plan, wish)) = ready.plan.as_ref().zip(ready.wish.as_ref()) else {
        if screen.json {
            let problems: Vec<_> = ready.problems.iter().map(to_problem).collect();
            screen.value(&json!({ "problems": problems }))?;
        }
        screen.flush()?;
        let message = format!("{} has errors", file.display());
        return Err(Failure::new(Exit::BadInput, message));
    };
    let (classes, everything) = classes_of(&layout, plan, &wish.classes);
    let interfaces = present(classes)?;
    if screen.json {
        let devices = plan.devices.iter().map(|device| {
            let matching = matching(&interfaces, everything, &device.ids);
            json!({
                "description": device.description,
                "section": device.section,
                "present": matching.iter().map(|(rank, owner)| json!({ "rank": rank, "owner": owner })).collect::<Vec<_>>(),
            })
        });
        let services = plan.services.iter().map(|service| {
            let starts: Vec<_> = service
                .triggers
                .iter()
                .map(|trigger| {
                    let names: Vec<&str> = firing(&interfaces, trigger)
                        .iter()
                        .map(|one| one.name.as_str())
                        .collect();
                    json!({ "says": trigger.form.to_string(), "present": names })
                })
                .collect();
            json!({ "name": service.name, "triggers": starts })
        });
        screen.value(&json!({
            "devices": devices.collect::<Vec<_>>(),
            "services": services.collect::<Vec<_>>(),
            "plan": super::plan::shown(plan),
            "problems": ready.problems.iter().map(to_problem).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    for device in &plan.devices {
        let matching = matching(&interfaces, everything, &device.ids);
        let what = if device.description.is_empty() {
            &device.section
        } else {
            &device.description
        };
        writeln!(
            screen,
            "device {STRONG}{}{STRONG:#} ({})",
            printable(what),
            printable(&device.ids.join(", "))
        )?;
        if matching.is_empty() {
            writeln!(screen, "  {FAINT}is not present{FAINT:#}")?;
        }
        for (rank, owner) in matching {
            writeln!(
                screen,
                "  {GOOD}present{GOOD:#} {}, rank {rank:#06x}",
                printable(&owner)
            )?;
        }
    }
    for service in &plan.services {
        writeln!(
            screen,
            "service {STRONG}{}{STRONG:#}",
            printable(service.name.as_str())
        )?;
        if service.triggers.is_empty() {
            writeln!(screen, "  {FAINT}no trigger{FAINT:#}")?;
        }
        for trigger in &service.triggers {
            writeln!(screen, "  {}", printable(&trigger.form.to_string()))?;
            let firing = firing(&interfaces, trigger);
            for interface in &firing {
                writeln!(
                    screen,
                    "    {GOOD}now{GOOD:#}: {}",
                    printable(&interface.name)
                )?;
            }
            if firing.is_empty() {
                writeln!(screen, "    {FAINT}no such interface is present{FAINT:#}")?;
            }
        }
    }
    super::plan::write(screen, plan)?;
    Ok(Exit::Done)
}
