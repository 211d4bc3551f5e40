//! What `arrival check` says of a definition beyond its errors.
//!
//! | code | what |
//! |---|---|
//! | `no-program` | the program is not there, or is no file |
//! | `not-executable` | the program cannot be executed |
//! | `no-user`, `no-group` | this machine does not know the user or group |
//! | `no-directory` | the folder is not there |
//! | `runs-as-root` | no `user` is given |
//! | `never-starts` | no trigger, and not `start = "auto"` |
//! | `never-stops` | `follow = false` with a program that is told nothing of its device |
//! | `no-effect` | a key that cannot do anything |
//! | `impossible-id` | an id that no device of the trigger's class has itself |
//! | `locks-out-root` | the security descriptor denies root a right |
//!
//! The questions to the machine are asked through [`Machine`], since a definition may be checked on
//! another one, and since looking up a user can take long.

use std::path::Path;

use arrival_model::access::{AccessPolicy, Descriptor, Peer, Right};
use arrival_model::class::{Class, Classes};
use arrival_model::definition::{Definition, Protocol, Replug, StartType};
use arrival_model::trigger::FoldedId;

use crate::definition::{self, Parsed, Places};
use arrival_model::diagnostic::Report;

/// Beginnings of ids that devices of a subsystem never have: what has them is above them. See
/// [`arrival_model::hwid`].
const NEVER: [(&str, &[&str]); 6] = [
    ("block", &["USB\\", "HID\\", "HDAUDIO\\", "DISPLAY\\"]),
    (
        "nvme-generic",
        &["USB\\", "HID\\", "HDAUDIO\\", "DISPLAY\\"],
    ),
    ("hidraw", &["USB\\", "USBSTOR\\", "SCSI\\", "PCI\\"]),
    ("usb", &["PCI\\", "HID\\", "USBSTOR\\", "SCSI\\"]),
    ("net", &["USBSTOR\\", "SCSI\\", "HID\\", "DISPLAY\\"]),
    ("tty", &["USBSTOR\\", "SCSI\\", "HID\\", "DISPLAY\\"]),
];

/// Whether no device of a class can have this id itself.
pub(crate) fn is_impossible(class: &Class, id: &FoldedId) -> bool {
    let Some(subsystem) = &class.when.subsystem else {
        return false;
    };
    // A pattern that fits more than these says too little.
    let known = |name: &str| NEVER.iter().find(|(own, _)| *own == name);
    let mut names = subsystem.iter().peekable();
    names.peek().is_some()
        && names.all(|name| {
            known(name)
                .is_some_and(|(_, never)| never.iter().any(|start| id.as_str().starts_with(start)))
        })
}

/// What a program's path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// A file that can be executed.
    Executable,
    /// A file that cannot.
    NotExecutable,
    /// Something else, or nothing.
    Missing,
}

/// What is known of the machine that the service is to run on.
pub struct Machine<'a> {
    /// Whether there is such a user.
    pub user_exists: &'a dyn Fn(&str) -> bool,
    /// Whether there is such a group.
    pub group_exists: &'a dyn Fn(&str) -> bool,
    /// What lies at a path.
    pub program: &'a dyn Fn(&Path) -> Program,
    /// Whether there is such a folder.
    pub directory_exists: &'a dyn Fn(&Path) -> bool,
    /// Whether services without `user` run as root.
    pub root: bool,
}

/// What lies at a path of this machine.
pub fn program(path: &Path) -> Program {
    use std::os::unix::fs::PermissionsExt;
    match path.metadata() {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Program::Executable,
        Ok(meta) if meta.is_file() => Program::NotExecutable,
        Ok(_) | Err(_) => Program::Missing,
    }
}

/// Reads a definition and says all that can be said of it.
pub fn check(path: &Path, text: &str, classes: &Classes, machine: &Machine<'_>) -> Parsed {
    let mut report = Report::new(path, text);
    let read = definition::read(&mut report, classes);
    if let Some((definition, places)) = &read {
        program_and_user(&mut report, definition, places, machine);
        behaviour(&mut report, definition, places);
        rights(&mut report, definition, places);
    }
    Parsed {
        definition: read.map(|(definition, _)| definition),
        problems: report.finish(),
    }
}

fn program_and_user(
    report: &mut Report<'_>,
    definition: &Definition,
    places: &Places,
    machine: &Machine<'_>,
) {
    if let (Some(path), Some(place)) = (definition.exec.first(), places.exec.first()) {
        match (machine.program)(Path::new(path)) {
            Program::Executable => {}
            Program::NotExecutable => {
                let remedy = format!("chmod +x {path}");
                let message = format!("the program '{path}' is not executable");
                report.warn("not-executable", place.clone(), message, remedy);
            }
            Program::Missing => {
                let message = format!("there is no program '{path}'");
                report.warn("no-program", place.clone(), message, None);
            }
        }
    }
    if let (Some(user), Some(place)) = (&definition.user, &places.user) {
        if user != "own" && !(machine.user_exists)(user) {
            let message = format!("there is no user '{user}'");
            let remedy = format!("useradd --system {user}");
            report.warn("no-user", place.clone(), message, remedy);
        }
    } else if machine.root {
        let remedy = "give a user, or user = \"own\" for one made for this service".to_owned();
        report.warn(
            "runs-as-root",
            places.service.clone(),
            "the service runs as root, since no 'user' is given",
            remedy,
        );
    }
    if let (Some(group), Some(place)) = (&definition.group, &places.group)
        && !(machine.group_exists)(group)
    {
        let message = format!("there is no group '{group}'");
        let remedy = format!("groupadd --system {group}");
        report.warn("no-group", place.clone(), message, remedy);
    }
    if let (Some(directory), Some(place)) = (&definition.directory, &places.directory)
        && !(machine.directory_exists)(Path::new(directory))
    {
        let message = format!("there is no folder '{directory}'");
        report.warn("no-directory", place.clone(), message, None);
    }
}

fn behaviour(report: &mut Report<'_>, definition: &Definition, places: &Places) {
    let plain = definition.protocol != Protocol::Control;
    if definition.triggers.is_empty() {
        if definition.start == StartType::Demand {
            let remedy = "add a [[start]], or start = \"auto\"".to_owned();
            report.warn(
                "never-starts",
                places.service.clone(),
                "nothing starts the service but a person: it has no [[start]]",
                remedy,
            );
        }
        let useless = [
            ("linger", !definition.linger.is_zero()),
            ("replug", definition.replug != Replug::default()),
            ("damping", definition.damping.is_some()),
        ];
        for (key, _) in useless.iter().filter(|(_, given)| *given) {
            let message = format!("'{key}' has no effect without a [[start]]");
            report.warn("no-effect", places.service.clone(), message, None);
        }
        return;
    }
    if let Some(place) = places.follow.as_ref().filter(|_| !definition.follow) {
        if plain {
            let remedy = "leave 'follow' out, or protocol = \"control\" if it watches its device";
            report.warn(
                "never-stops",
                place.clone(),
                "the service is neither stopped nor told when its device is gone",
                remedy.to_owned(),
            );
        }
        if !definition.linger.is_zero() {
            let message = "'linger' has no effect with follow = false";
            report.warn("no-effect", place.clone(), message, None);
        }
    }
}

fn rights(report: &mut Report<'_>, definition: &Definition, places: &Places) {
    let (Some(text), Some(place)) = (&definition.security, &places.security) else {
        return;
    };
    let Ok(descriptor) = text.parse::<Descriptor>() else {
        return;
    };
    let root = Peer {
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        interactive: false,
        service: false,
    };
    let policy = AccessPolicy::default();
    let denied: Vec<String> = [Right::QueryStatus, Right::Start, Right::Stop]
        .into_iter()
        .filter_map(|right| policy.check(&root, Some(&descriptor), right).err())
        .map(|denied| denied.right.verb().to_owned())
        .collect();
    if !denied.is_empty() {
        let message = format!("root may not {} the service", denied.join(" or "));
        let remedy = "add (A;;GA;;;SY) unless this is meant".to_owned();
        report.warn("locks-out-root", place.clone(), message, remedy);
    }
}
