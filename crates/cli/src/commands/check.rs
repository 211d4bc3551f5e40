//! `check`: mistakes in files, found without a manager.
//!
//! | file | is read as |
//! |---|---|
//! | `arrivald.toml` | settings |
//! | `.inf`, `.inx` | an INF, with the files of its folder that it includes |
//! | `.reg` | services in the text form of the registry |
//! | in a folder `classes.d`, or with a table `[class]` | a class |
//! | any other | a definition |

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrival_client::Problem;
use arrival_model::class::{Class, Classes};
use arrival_store::lint::{self, Machine};
use arrival_store::package::{self, Program};
use arrival_store::store::{Store, parse_class};
use arrival_store::{Diagnostic, Layout, Settings};
use serde::Serialize;

use super::inf::present;
use super::install::this_machine;
use super::wish::ready;
use super::{Outcome, Place};
use crate::exit::{Exit, Failure};
use crate::screen::{BAD, GOOD, NOTABLE, Screen};
use crate::text::count;

/// The most bytes of a file that a person writes; the manager takes no more either.
const FILE_LIMIT: u64 = 1024 * 1024;

/// What is wrong with some files.
pub(super) struct Summary<'p> {
    problems: &'p [Diagnostic],
    files: u64,
}

/// The same for programs.
#[derive(Serialize)]
struct Found {
    problems: Vec<Problem>,
    files: u64,
    errors: u64,
    warnings: u64,
}

impl<'p> Summary<'p> {
    pub(super) fn of(problems: &'p [Diagnostic], files: u64) -> Self {
        Summary { problems, files }
    }

    /// Shows it; the status is that of the worst.
    pub(super) fn write(self, screen: &mut Screen<'_>) -> Outcome {
        let Summary { problems, files } = self;
        let errors = problems.iter().filter(|problem| problem.is_error()).count() as u64;
        let warnings = problems.len() as u64 - errors;
        if screen.json {
            screen.value(&Found {
                problems: problems.iter().map(to_problem).collect(),
                files,
                errors,
                warnings,
            })?;
        } else {
            write_problems(screen, problems)?;
            let style = match (errors, warnings) {
                (0, 0) => GOOD,
                (0, _) => NOTABLE,
                _ => BAD,
            };
            writeln!(
                screen,
                "{style}{}, {}{style:#} in {}",
                count(errors, "error"),
                count(warnings, "warning"),
                count(files, "file")
            )?;
        }
        Ok(if errors > 0 {
            Exit::BadInput
        } else {
            Exit::Done
        })
    }
}

/// `arrival check [FILE...]`.
pub(super) fn check(place: &Place, screen: &mut Screen<'_>, files: &[PathBuf]) -> Outcome {
    let root = place.root.dir();
    let layout = Layout::new(root)
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot find the root: {error}")))?;
    if let Some(root) = layout.root().filter(|root| !root.is_dir()) {
        let root = root.display();
        return Err(Failure::new(
            Exit::NoSuchObject,
            format!("there is no folder '{root}' to check"),
        ));
    }
    let (looked_at, problems) = if files.is_empty() {
        everything(layout)
    } else {
        named(layout, files)
    };
    Summary::of(&problems, looked_at).write(screen)
}

/// All files of a root: how many were looked at, and what is wrong with them.
fn everything(layout: Layout) -> (u64, Vec<Diagnostic>) {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut problems = Vec::new();
    let settings = layout.settings();
    if settings.exists() {
        files.push(settings);
        problems.extend(match Settings::load(&layout) {
            Ok((_, problems)) | Err(problems) => problems,
        });
    }
    let mut store = Store::open(layout);
    let loaded = store.load();
    for placed in &loaded.definitions {
        files.push(placed.path.clone());
        if let Ok(text) = read(&placed.path) {
            let parsed = on_this_machine(&placed.path, &text, &store);
            problems.extend(parsed);
        }
    }
    for folder in store.layout().classes() {
        for path in toml_files(&folder) {
            if let Some(class) = read(&path)
                .ok()
                .and_then(|text| parse_class(&path, &text).0)
            {
                problems.extend(many_nodes(&path, class));
            }
        }
    }
    // What the store found is mostly the same again; only the rest is news, such as a name that
    // two files define.
    for problem in loaded.problems {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    problems.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
    files.extend(problems.iter().map(|problem| problem.path.clone()));
    files.sort();
    files.dedup();
    (files.len() as u64, problems)
}

/// The files of a folder that count.
fn toml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|own| own == "toml"))
        .collect()
}

/// Some files, with the classes of the root.
fn named(layout: Layout, files: &[PathBuf]) -> (u64, Vec<Diagnostic>) {
    let mut store = Store::open(layout);
    store.load();
    let mut problems = Vec::new();
    for path in files {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        if extension == "inf" || extension == "inx" {
            problems.extend(inf(path, &store));
            continue;
        }
        if extension == "reg" {
            problems.extend(registry(path));
            continue;
        }
        match read(path) {
            Ok(text) => problems.extend(one(path, &text, &store)),
            Err(message) => problems.push(Diagnostic::file(path, "unreadable", message)),
        }
    }
    (files.len() as u64, problems)
}

/// An INF: its grammar, what it means for this root, and whether its services can live here.
fn inf(path: &Path, store: &Store) -> Vec<Diagnostic> {
    // Nothing is taken from the folder: whoever may write to it does not matter.
    let ready = match ready(store.layout(), path, true, &this_machine()) {
        Ok(ready) => ready,
        Err(failure) => return vec![Diagnostic::file(path, "unreadable", failure.to_string())],
    };
    let mut problems = ready.problems;
    let services = ready.wish.iter().flat_map(|wish| &wish.services);
    for service in services {
        let mut definition = service.definition.clone();
        let program = match &service.program {
            Program::Machine(program) => program.display().to_string(),
            Program::Package(target) => format!("/{target}"),
        };
        definition.exec.insert(0, program);
        let text = arrival_store::definition::write(&definition);
        let told = on_this_machine(path, &text, store).into_iter();
        // The text is not the author's: what is said is about the file as a whole.
        let packaged = matches!(service.program, Program::Package(_));
        problems.extend(
            told.filter(|one| !(packaged && one.code == "no-program"))
                .filter(|one| {
                    !["runs-as-root", "undefined-class", "name-differs"].contains(&&*one.code)
                })
                .map(|one| Diagnostic {
                    line: 0,
                    column: 0,
                    excerpt: None,
                    message: format!("service '{}': {}", definition.name, one.message),
                    ..one
                }),
        );
    }
    if let Some(wish) = &ready.wish {
        for service in &wish.services {
            if let Program::Package(target) = &service.program
                && let Err(message) = package::look(
                    &ready.source,
                    wish,
                    target,
                    service.definition.name.as_str(),
                )
            {
                problems.push(Diagnostic::file(path, "no-program", message));
            }
        }
    }
    problems
}

fn registry(path: &Path) -> Vec<Diagnostic> {
    match std::fs::read(path) {
        Ok(bytes) => arrival_inf::reg::read(path, &bytes).problems,
        Err(error) => vec![Diagnostic::file(
            path,
            "unreadable",
            format!("cannot read the file: {error}"),
        )],
    }
}

fn one(path: &Path, text: &str, store: &Store) -> Vec<Diagnostic> {
    let parent = path.parent().and_then(Path::file_name);
    if path.file_name().is_some_and(|name| name == "arrivald.toml") {
        match Settings::parse(path, text) {
            Ok((_, problems)) | Err(problems) => problems,
        }
    } else if parent.is_some_and(|name| name == "classes.d")
        || text.lines().any(|line| line.trim() == "[class]")
    {
        let (class, mut problems) = parse_class(path, text);
        problems.extend(class.and_then(|class| many_nodes(path, class)));
        problems
    } else {
        on_this_machine(path, text, store)
    }
}

/// The paths that belong to one device, of the device that has the most.
fn nodes_of_one<'p>(paths: &BTreeSet<&'p str>) -> Vec<&'p str> {
    let mut found: Vec<&str> = Vec::new();
    for one in paths {
        let below = |other: &&&str| {
            other
                .strip_prefix(*one)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let parent = one.rsplit_once('/').map_or("", |(parent, _)| parent);
        // What the kernel makes of nothing has its folder in common with others like it.
        let beside = |other: &&&str| {
            *other != one
                && !parent.starts_with("/devices/virtual/")
                && other.rsplit_once('/').is_some_and(|(own, _)| own == parent)
        };
        let mut nodes: Vec<&str> = paths
            .iter()
            .filter(|other| below(other) || beside(other))
            .copied()
            .collect();
        nodes.push(one);
        if nodes.len() > found.len().max(1) {
            nodes.sort_unstable();
            found = nodes;
        }
    }
    found
}

/// A warning if a class has several nodes of one of this machine's devices, each of which would start a service.
fn many_nodes(path: &Path, class: Class) -> Option<Diagnostic> {
    let name = class.name.clone();
    let mut classes = Classes::new();
    classes.insert(class).ok()?;
    // Who may not look at the devices is told nothing of them.
    let interfaces = present(classes).ok()?;
    let paths: BTreeSet<&str> = interfaces.iter().map(|one| one.key.owner.name()).collect();
    let found = nodes_of_one(&paths);
    if found.len() < 2 {
        return None;
    }
    let shown = found
        .iter()
        .take(3)
        .map(|path| path.rsplit('/').next().unwrap_or(path));
    let shown: Vec<&str> = shown.collect();
    let message = format!(
        "the class '{name}' has {} nodes of one device of this machine, such as {}: a service sees each arrive",
        found.len(),
        shown.join(", ")
    );
    let remedy = format!(
        "narrow it with 'devtype', 'name' or an attribute; 'arrival devices --class {name}' shows them"
    );
    Some(
        Diagnostic::file(path, "many-nodes", message)
            .warning()
            .help(remedy),
    )
}

fn on_this_machine(path: &Path, text: &str, store: &Store) -> Vec<Diagnostic> {
    let machine = Machine {
        user_exists: &|name| exists("passwd", name),
        group_exists: &|name| exists("group", name),
        program: &lint::program,
        directory_exists: &Path::is_dir,
        root: store.layout().root().is_none() || rustix::process::geteuid().is_root(),
    };
    lint::check(path, text, store.classes(), &machine).problems
}

/// Whether this machine knows a user or group: by its file, or by whatever else getent(1) asks.
fn exists(database: &str, name: &str) -> bool {
    let in_file = std::fs::read_to_string(format!("/etc/{database}")).is_ok_and(|text| {
        let mut entries = text.lines().map(|line| line.split(':'));
        entries.any(|mut fields| {
            fields.next() == Some(name) || fields.nth(1).is_some_and(|number| number == name)
        })
    });
    in_file
        || Command::new("getent")
            .args(["--", database, name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

fn read(path: &Path) -> Result<String, String> {
    let cannot = |error: io::Error| format!("cannot read the file: {error}");
    let file = File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(format!("the file is longer than {FILE_LIMIT} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        format!("the file is not UTF-8 (byte {at})")
    })
}

pub(super) fn to_problem(diagnostic: &Diagnostic) -> Problem {
    let place = |number: usize| u32::try_from(number).ok().filter(|number| *number > 0);
    Problem {
        path: diagnostic.path.display().to_string(),
        line: place(diagnostic.line),
        column: place(diagnostic.column),
        severity: diagnostic.severity.name().to_owned(),
        code: diagnostic.code.clone().into_owned(),
        message: diagnostic.message.clone(),
        remedy: diagnostic.remedy.clone(),
    }
}

/// As a compiler shows them; the store has made their texts safe to print.
pub(super) fn write_problems(screen: &mut Screen<'_>, problems: &[Diagnostic]) -> io::Result<()> {
    for problem in problems {
        let style = if problem.is_error() { BAD } else { NOTABLE };
        let text = problem.to_string();
        let name = problem.severity.name();
        let rest = text.strip_prefix(name).unwrap_or(&text);
        writeln!(screen, "{style}{name}{style:#}{rest}\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_below_or_beside_each_other_are_of_one_device() {
        let most = |paths: &[&'static str]| nodes_of_one(&paths.iter().copied().collect()).len();
        let disk = "/devices/pci0/host0/block/sda";
        assert_eq!(
            most(&[
                disk,
                "/devices/pci0/host0/block/sda/sda1",
                "/devices/pci1/sdb"
            ]),
            2
        );
        let event = "/devices/pci0/input/input5/event3";
        assert_eq!(most(&[event, "/devices/pci0/input/input5/mouse0"]), 2);
        assert_eq!(most(&[disk, "/devices/pci0/host0/block/sdab"]), 2);
        assert_eq!(most(&[disk, "/devices/pci1/host0/block/sdb"]), 0);
        // Loop devices have nothing in common but that they are made of nothing.
        let loops = [
            "/devices/virtual/block/loop0",
            "/devices/virtual/block/loop1",
        ];
        assert_eq!(most(&loops), 0);
        assert_eq!(most(&[loops[0], "/devices/virtual/block/loop0/loop0p1"]), 2);
    }
}
