//! All definitions and classes of a root, and which services are enabled.
//!
//! | rule | example |
//! |---|---|
//! | only files called `NAME.toml` count | `gpsd.toml.bak` does not |
//! | a file overrides those of the same name in later folders | `/etc` over `/var/lib` over `/usr/lib` |
//! | a link to /dev/null masks them | `ln -s /dev/null /etc/arrival/services.d/gpsd.toml` |
//! | of two files that define one name, the first in the order of file names wins | an error names both |
//! | a file that has become wrong keeps what it defined before | until the next start of the daemon |

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrival_model::class::{Class, ClassError, ClassFile, Classes, Match, Patterns};
use arrival_model::definition::{Definition, ServiceName, StartType};
use arrival_model::guid::Guid;
use arrival_model::trigger::{Cause, FoldedId};

use crate::definition;
use crate::document;
use crate::file::{self, Content};
use crate::layout::Layout;
use arrival_model::diagnostic::{Diagnostic, Report};

/// The most files of one folder that are read.
const FOLDER_LIMIT: usize = 10_000;

/// A definition and the file that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The definition.
    pub definition: Arc<Definition>,
    /// The file.
    pub path: PathBuf,
}

/// Everything that the files say.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The definitions by the order of their names.
    pub definitions: Vec<Placed>,
    /// The built-in classes, those of class files, and those that exist because a trigger names
    /// them.
    pub classes: Classes,
    /// What is wrong with the files.
    pub problems: Vec<Diagnostic>,
}

/// What a look at the files changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Definitions that are new or other than before.
    pub defined: Vec<Placed>,
    /// Services that no file defines any more.
    pub undefined: Vec<ServiceName>,
    /// The classes, if they are other than before.
    pub classes: Option<Classes>,
    /// What is wrong with the files now.
    pub problems: Vec<Diagnostic>,
}

/// Why a service could not be enabled or disabled; nothing has changed then.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} '{name}': {}: {cause}", path.display())]
pub struct EnableError {
    verb: &'static str,
    name: ServiceName,
    path: PathBuf,
    /// Why not.
    #[source]
    pub cause: io::Error,
}

/// The files of one root.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    /// The built-in classes and those of class files.
    classes: Classes,
    /// The same, and those that exist because a trigger names them.
    all_classes: Classes,
    /// What the class file of each name said last.
    class_files: BTreeMap<OsString, Class>,
    /// What the definition file of each name said last.
    files: BTreeMap<OsString, Placed>,
    /// The definition of each service, by its folded name.
    services: BTreeMap<String, Placed>,
    problems: Vec<Diagnostic>,
    /// Which services were enabled or disabled, by folded name.
    overrides: BTreeMap<String, bool>,
}

impl Store {
    /// Opens the store of a root; nothing is read of the definitions yet.
    pub fn open(layout: Layout) -> Self {
        let overrides = read_overrides(&layout.enabled());
        Store {
            layout,
            classes: Classes::built_in(),
            all_classes: Classes::built_in(),
            class_files: BTreeMap::new(),
            files: BTreeMap::new(),
            services: BTreeMap::new(),
            problems: Vec::new(),
            overrides,
        }
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Reads everything.
    pub fn load(&mut self) -> Loaded {
        let changes = self.reload();
        Loaded {
            definitions: self.services.values().cloned().collect(),
            classes: self.all_classes.clone(),
            problems: changes.problems,
        }
    }

    /// Reads everything again and says what is different.
    pub fn reload(&mut self) -> Changes {
        let mut problems = Vec::new();
        self.classes = self.read_classes(&mut problems);
        let services = self.read_services(&mut problems);
        let definitions = services.values().map(|placed| &*placed.definition);
        let all_classes = with_classes_of_triggers(&self.classes, definitions);

        let mut changes = Changes::default();
        if all_classes != self.all_classes {
            changes.classes = Some(all_classes.clone());
            self.all_classes = all_classes;
        }
        for (name, placed) in &services {
            if self.services.get(name) != Some(placed) {
                changes.defined.push(placed.clone());
            }
        }
        for (name, placed) in &self.services {
            if !services.contains_key(name) {
                changes.undefined.push(placed.definition.name.clone());
            }
        }
        self.services = services;
        self.overrides = read_overrides(&self.layout.enabled());
        changes.problems = problems.clone();
        self.problems = problems;
        changes
    }

    /// The definition of a service, whatever the case of the name.
    pub fn get(&self, name: &ServiceName) -> Option<&Placed> {
        self.services.get(&name.folded())
    }

    /// How many services are defined.
    pub fn definition_count(&self) -> usize {
        self.services.len()
    }

    /// What was wrong with the files at the last look.
    pub fn problems(&self) -> &[Diagnostic] {
        &self.problems
    }

    /// The built-in classes and those of class files, as of the last look: what a definition can
    /// be checked against.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    fn read_classes(&mut self, problems: &mut Vec<Diagnostic>) -> Classes {
        let mut classes = Classes::built_in();
        let mut kept = BTreeMap::new();
        let mut places: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (file_name, path) in effective(&self.layout.classes(), problems) {
            let old = self.class_files.get(&file_name);
            let class = match file::read(&path) {
                Ok(Content::Masked) => continue,
                Ok(Content::Text(text, mode)) => {
                    check_mode(&path, mode, problems);
                    let (class, found) = parse_class(&path, &text);
                    problems.extend(found);
                    class
                }
                Err(message) => {
                    problems.push(Diagnostic::file(&path, "unreadable", message));
                    None
                }
            };
            let Some(class) = class.or_else(|| old.cloned()) else {
                continue;
            };
            let of_package = path.starts_with(self.layout.active());
            let joins = of_package && classes.get(class.guid).is_some();
            if let Some(other) = places.get(&class.name).filter(|_| !joins) {
                let message = format!(
                    "the class '{}' is defined by {} already",
                    class.name,
                    other.display()
                );
                problems.push(Diagnostic::file(&path, "duplicate-class", message));
                continue;
            }
            kept.insert(file_name, class.clone());
            // Packages whose devices have interfaces of one class add their devices to it.
            let joined = classes
                .get(class.guid)
                .filter(|_| joins)
                .map(|known| Class {
                    when: Match {
                        any: vec![known.when.clone(), class.when.clone()],
                        ..Match::default()
                    },
                    ..known.clone()
                });
            let class = joined.unwrap_or(class);
            places.insert(class.name.clone(), path.clone());
            if let Err(error) = classes.insert(class) {
                problems.push(Diagnostic::file(
                    &path,
                    "duplicate-class",
                    error.to_string(),
                ));
            }
        }
        self.class_files = kept;
        classes
    }

    fn read_services(&mut self, problems: &mut Vec<Diagnostic>) -> BTreeMap<String, Placed> {
        let mut services: BTreeMap<String, Placed> = BTreeMap::new();
        let mut kept = BTreeMap::new();
        for (file_name, path) in effective(&self.layout.services(), problems) {
            let old = self.files.get(&file_name);
            let new = match file::read(&path) {
                Ok(Content::Masked) => continue,
                Ok(Content::Text(text, mode)) => {
                    check_mode(&path, mode, problems);
                    let parsed = definition::parse(&path, &text, &self.classes);
                    problems.extend(parsed.problems);
                    parsed.definition.map(|new| Placed {
                        definition: match old {
                            Some(old) if *old.definition == new => Arc::clone(&old.definition),
                            Some(_) | None => Arc::new(new),
                        },
                        path: path.clone(),
                    })
                }
                Err(message) => {
                    problems.push(Diagnostic::file(&path, "unreadable", message));
                    None
                }
            };
            // What this name meant before, be it in another folder, stands in for a wrong file.
            let Some(placed) = new.or_else(|| old.cloned()) else {
                continue;
            };
            kept.insert(file_name, placed.clone());
            let name = &placed.definition.name;
            if let Some(first) = services.get(&name.folded()) {
                let first = first.path.display();
                let message = format!("the service '{name}' is defined by {first} already");
                let diagnostic = Diagnostic::file(&path, "duplicate-service", message);
                problems.push(diagnostic.help("remove one of the two files"));
                continue;
            }
            services.insert(name.folded(), placed);
        }
        self.files = kept;
        services
    }

    /// Whether somebody enabled (true) or disabled (false) the service.
    pub fn enabled_override(&self, name: &ServiceName) -> Option<bool> {
        self.overrides.get(&name.folded()).copied()
    }

    /// Whether the service is enabled: by an override, else unless its definition says `disabled`.
    pub fn is_enabled(&self, name: &ServiceName) -> bool {
        match self.enabled_override(name) {
            Some(enabled) => enabled,
            None => self
                .get(name)
                .is_some_and(|placed| placed.definition.start != StartType::Disabled),
        }
    }

    /// How the service starts once overrides are counted; enabling a disabled one means by demand.
    pub fn start_type(&self, definition: &Definition) -> StartType {
        match (self.enabled_override(&definition.name), definition.start) {
            (Some(false), _) => StartType::Disabled,
            (Some(true), StartType::Disabled) => StartType::Demand,
            (Some(true) | None, start) => start,
        }
    }

    /// Enables or disables a service durably; none goes back to what its definition says.
    ///
    /// # Errors
    ///
    /// On a full disk, for example; nothing has changed then.
    pub fn set_enabled(
        &mut self,
        name: &ServiceName,
        enabled: Option<bool>,
    ) -> Result<(), EnableError> {
        let dir = self.layout.enabled();
        let path = dir.join(name.folded());
        let written = fs::create_dir_all(&dir).and_then(|()| match enabled {
            Some(true) => file::replace(&path, b"enabled\n", 0o644),
            Some(false) => file::replace(&path, b"disabled\n", 0o644),
            None => file::remove(&path),
        });
        if let Err(cause) = written {
            return Err(EnableError {
                verb: if enabled == Some(false) {
                    "disable"
                } else {
                    "enable"
                },
                name: name.clone(),
                path,
                cause,
            });
        }
        match enabled {
            Some(enabled) => drop(self.overrides.insert(name.folded(), enabled)),
            None => drop(self.overrides.remove(&name.folded())),
        }
        Ok(())
    }
}

/// The files that count, in the order of their names; of each name the first folder's.
fn effective(dirs: &[PathBuf], problems: &mut Vec<Diagnostic>) -> BTreeMap<OsString, PathBuf> {
    let mut files: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for dir in dirs {
        let mut names = BTreeSet::new();
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                let message = format!("cannot read the folder: {error}");
                problems.push(Diagnostic::file(dir, "unreadable", message));
                continue;
            }
        };
        for entry in entries {
            match entry {
                Ok(entry) => drop(names.insert(entry.file_name())),
                Err(error) => {
                    let message = format!("cannot read the folder to its end: {error}");
                    problems.push(Diagnostic::file(dir, "unreadable", message));
                    break;
                }
            }
            if names.len() > FOLDER_LIMIT {
                let message =
                    format!("the folder has more than {FOLDER_LIMIT} files; some are not read");
                problems.push(Diagnostic::file(dir, "too-many", message));
                break;
            }
        }
        for name in names {
            let path = dir.join(&name);
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if !hidden
                && path
                    .extension()
                    .is_some_and(|extension| extension == "toml")
            {
                files.entry(name).or_insert(path);
            }
        }
    }
    files
}

/// Whoever can write to a definition can run programs as us.
fn check_mode(path: &Path, mode: u32, problems: &mut Vec<Diagnostic>) {
    if mode & 0o002 != 0 {
        let message = format!(
            "the file is writable by everyone (mode {:04o})",
            mode & 0o7777
        );
        let diagnostic = Diagnostic::file(path, "writable-by-all", message).warning();
        problems.push(diagnostic.help(format!("chmod o-w {}", path.display())));
    }
}

/// The classes, and one for each class that nobody defines but a trigger names with ids: it holds
/// for the devices that have one of these ids, and not once more for what hangs below such a device
/// and has its ids too.
fn with_classes_of_triggers<'a>(
    classes: &Classes,
    definitions: impl Iterator<Item = &'a Definition>,
) -> Classes {
    let mut undefined: BTreeMap<Guid, Match> = BTreeMap::new();
    let triggers = definitions.flat_map(|definition| &definition.triggers);
    for trigger in triggers {
        let Cause::Device(trigger) = &trigger.cause else {
            continue;
        };
        if trigger.ids.is_empty() || classes.get(trigger.class).is_some() {
            continue;
        }
        let has_id = has_any(&trigger.ids);
        let when = undefined.entry(trigger.class).or_default();
        if trigger.ancestors {
            when.any.push(Match {
                ancestor: Some(Box::new(has_id.clone())),
                ..Match::default()
            });
        }
        when.any.push(devices_with(&trigger.ids));
    }
    let mut all = classes.clone();
    for (guid, when) in undefined {
        let class = Class {
            guid,
            name: name_of(guid),
            aliases: Vec::new(),
            description: "devices that have an id of a trigger".to_owned(),
            ce_prefix: None,
            when,
        };
        // Its GUID is nobody's, so it cannot be refused.
        let _ = all.insert(class);
    }
    all
}

/// The short name of a class that has none.
pub fn name_of(guid: Guid) -> String {
    let text = guid.to_string();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    format!("guid-{}", digits.get(..16).unwrap_or_default())
}

fn has_any(ids: &[FoldedId]) -> Match {
    Match {
        id: Some(Patterns::new(ids.iter().map(|id| literal(id.as_str())))),
        ..Match::default()
    }
}

/// The devices that have any of these ids, and not what hangs below such a device and has its ids too.
pub fn devices_with(ids: &[FoldedId]) -> Match {
    Match {
        not: Some(Box::new(Match {
            ancestor: Some(Box::new(has_any(ids))),
            ..Match::default()
        })),
        ..has_any(ids)
    }
}

/// A pattern that only this text fits.
fn literal(id: &str) -> String {
    id.chars()
        .map(|c| match c {
            '*' | '?' | '[' => format!("[{c}]"),
            c => c.to_string(),
        })
        .collect()
}

/// Reads a class file.
pub fn parse_class(path: &Path, text: &str) -> (Option<Class>, Vec<Diagnostic>) {
    let mut report = Report::new(path, text);
    let class = read_class(&mut report);
    (class, report.finish())
}

fn read_class(report: &mut Report<'_>) -> Option<Class> {
    let document = document::parse(report)?;
    let parsed: ClassFile = match toml::from_str(report.text()) {
        Ok(parsed) => parsed,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            report.error(
                "bad-class",
                span,
                error.message().trim().replace('\n', ", "),
                None,
            );
            return None;
        }
    };
    let place = |keys: [&str; 2]| {
        let (name, value) = document.get_ref().get_key_value(keys[0])?;
        let inner = value
            .get_ref()
            .as_table()
            .and_then(|table| table.get(keys[1]));
        Some(inner.map_or(name.span(), toml::Spanned::span))
    };
    match parsed.into_class() {
        Ok(class) => Some(class),
        Err(error) => {
            let keys = match &error {
                ClassError::Name { .. } => ["class", "name"],
                ClassError::Prefix { .. } => ["class", "ce_prefix"],
                ClassError::ZeroGuid { .. } | ClassError::GuidTaken { .. } => ["class", "guid"],
                ClassError::Match { .. } => ["match", ""],
            };
            report.error(
                "bad-class",
                place(keys).unwrap_or(0..0),
                error.to_string(),
                None,
            );
            None
        }
    }
}

/// Reads which services were enabled or disabled; a file that says neither says nothing.
fn read_overrides(dir: &Path) -> BTreeMap<String, bool> {
    let mut overrides = BTreeMap::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return overrides;
    };
    for entry in entries.flatten().take(FOLDER_LIMIT) {
        let Some(name) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<ServiceName>().ok())
        else {
            continue;
        };
        let enabled = match file::read(&entry.path()) {
            Ok(Content::Text(text, _)) if text.trim() == "enabled" => true,
            Ok(Content::Text(text, _)) if text.trim() == "disabled" => false,
            Ok(_) | Err(_) => continue,
        };
        overrides.insert(name.folded(), enabled);
    }
    overrides
}
