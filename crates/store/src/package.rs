//! Installed packages.
//!
//! ```text
//! /var/lib/arrival/packages/NAME-HASH/          the files of a package; never changed once it is there
//! /var/lib/arrival/packages/NAME-HASH/.arrival/ what the manager needs: package.toml, services.d, classes.d
//! /var/lib/arrival/active/NAME                  a link to the folder that counts
//! ```
//!
//! A package is put together in a hidden folder, synced, renamed to its final name, and begins to count with
//! the one rename that makes its link: whatever fails or is cut off before that has changed nothing, and
//! whatever comes after finds it whole. An upgrade is the same rename over the old link; the folder of the
//! old version stays for as long as a program runs from it.
//!
//! | step of an install | what a crash behind it leaves |
//! |---|---|
//! | copy into `packages/.new-PID` | a hidden folder, removed by the next install |
//! | rename to `packages/NAME-HASH` | a folder that no link names, removed by the next install |
//! | rename of the link | the package, whole |
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the folder that a package comes from, and what is refused of it |
//! | [`program`] | ELF, script or a program of Windows |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use arrival_model::class::{ClassFile, Classes};
use arrival_model::definition::Definition;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::definition;
use crate::file;
use crate::layout::Layout;
use crate::lock::{Lock, LockError};
use program::{Kind, machine_program};
use source::{Opened, Source};

pub mod program;
pub mod source;

/// The folder of a package that is kept for the manager's own files.
pub const OWN: &str = ".arrival";

/// The most bytes of all files of a package.
pub const TOTAL_LIMIT: u64 = 2 * 1024 * 1024 * 1024;
/// The most files of a package.
pub const FILES_LIMIT: usize = 10_000;

/// Why a package cannot be installed or removed; nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The package, or what it comes from, is not as it must be.
    #[error("{0}")]
    Refused(String),
    /// There is no such package.
    #[error("there is no package '{0}'")]
    NoSuchPackage(String),
    /// Somebody else changes packages at this moment.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The system refused.
    #[error("cannot {verb} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> PackageError + 'a {
    move |cause| PackageError::Io {
        verb,
        path: path.to_owned(),
        cause,
    }
}

/// A package that somebody wants installed.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Its name: [`package_name`].
    pub name: String,
    /// The file that describes it, in the source folder; it is a part of the package.
    pub described_by: String,
    /// Who made it.
    pub provider: String,
    /// Its version.
    pub version: String,
    /// The files to copy.
    pub files: Vec<FileWish>,
    /// The services it brings.
    pub services: Vec<ServiceWish>,
    /// The classes it brings.
    pub classes: Vec<ClassFile>,
    /// Values for its services and devices, as a text that its programs read.
    pub parameters: Option<String>,
}

/// A file to copy.
#[derive(Clone, Debug)]
pub struct FileWish {
    /// Below the source folder; case does not count.
    pub source: String,
    /// Below the package's folder.
    pub target: String,
}

/// A service to install.
#[derive(Clone, Debug)]
pub struct ServiceWish {
    /// What it is; the program stands in `program`, and `exec` begins with its first argument.
    pub definition: Definition,
    /// The program.
    pub program: Program,
}

/// Where a program is.
#[derive(Clone, Debug)]
pub enum Program {
    /// A file of the package, by its target.
    Package(String),
    /// At an absolute path of this machine.
    Machine(PathBuf),
}

/// What is known of an installed package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Who made it.
    pub provider: String,
    /// Its version.
    pub version: String,
    /// The file that described it.
    pub described_by: String,
    /// The folder that it lies in.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The services that it brings.
    pub services: Vec<String>,
    /// The classes that it brings, by their short names.
    pub classes: Vec<String>,
    /// Its files, each with the digest of its bytes.
    pub files: BTreeMap<String, String>,
}

/// What an install did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The package as it is now.
    pub package: Package,
    /// The folder of the version that counted before, if there was one.
    pub before: Option<PathBuf>,
}

/// The name of the package that a file of this name describes.
///
/// # Errors
///
/// If the name has characters that a package's name cannot have.
pub fn package_name(described_by: &str) -> Result<String, PackageError> {
    let stem = match described_by.rsplit_once('.') {
        Some((stem, extension))
            if ["inf", "inx"]
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known)) =>
        {
            stem
        }
        Some(_) | None => described_by,
    };
    let name = stem.to_ascii_lowercase();
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 80 || !name.chars().all(good) || name.starts_with(['.', '-'])
    {
        return Err(PackageError::Refused(format!(
            "'{described_by}' cannot name a package: rename the file to 1 to 80 of the characters 0-9 a-z . _ -"
        )));
    }
    Ok(name)
}

/// Installs a package, or another version of it.
///
/// # Errors
///
/// If something of it is refused, the disk is full, or somebody else installs at this moment.
pub fn install(layout: &Layout, source: &Source, wish: &Wish) -> Result<Installed, PackageError> {
    let _lock = prepare(layout)?;
    let packages = layout.packages();
    let staging = packages.join(format!(".new-{}", std::process::id()));
    collect(layout);
    let staged = stage(&packages, &staging, source, wish);
    let package = match staged {
        Ok(package) => package,
        Err(error) => {
            let _ = fs::remove_dir_all(&staging);
            return Err(error);
        }
    };
    let before = target_of(layout, &wish.name);
    if package.folder.is_dir() {
        // The same bytes are there already.
        let _ = fs::remove_dir_all(&staging);
    } else if let Err(cause) = fs::rename(&staging, &package.folder) {
        let _ = fs::remove_dir_all(&staging);
        return Err(failed("make", &package.folder)(cause));
    }
    sync(&packages)?;
    activate(layout, &package)?;
    Ok(Installed { package, before })
}

/// What [`install`] would do; everything of it is tried but the last steps, and nothing stays of it.
///
/// # Errors
///
/// As [`install`].
pub fn plan(layout: &Layout, source: &Source, wish: &Wish) -> Result<Installed, PackageError> {
    let _lock = prepare(layout)?;
    let packages = layout.packages();
    let staging = packages.join(format!(".new-{}", std::process::id()));
    let staged = stage(&packages, &staging, source, wish);
    let _ = fs::remove_dir_all(&staging);
    Ok(Installed {
        package: staged?,
        before: target_of(layout, &wish.name),
    })
}

/// Removes a package; its folder goes once no program runs from it.
///
/// # Errors
///
/// [`PackageError::NoSuchPackage`], and those of the system.
pub fn uninstall(layout: &Layout, name: &str) -> Result<Package, PackageError> {
    let _lock = prepare(layout)?;
    let folded = name.to_ascii_lowercase();
    let package = list(layout)
        .into_iter()
        .find(|package| package.name == folded);
    let link = layout.active().join(&folded);
    let known = package.is_some() || link.symlink_metadata().is_ok();
    if !known || folded.contains('/') || folded.starts_with('.') {
        return Err(PackageError::NoSuchPackage(name.to_owned()));
    }
    file::remove(&link).map_err(failed("remove", &link))?;
    Ok(package.unwrap_or(Package {
        // Its folder is damaged: what is left of it goes nevertheless.
        name: folded,
        provider: String::new(),
        version: String::new(),
        described_by: String::new(),
        folder: PathBuf::new(),
        services: Vec::new(),
        classes: Vec::new(),
        files: BTreeMap::new(),
    }))
}

/// Removes the folders of packages that do not count and from which no program runs.
///
/// # Errors
///
/// If somebody else changes packages at this moment.
pub fn tidy(layout: &Layout) -> Result<(), PackageError> {
    let _lock = prepare(layout)?;
    collect(layout);
    Ok(())
}

/// Looks at the program of a service in the folder that a package comes from.
///
/// # Errors
///
/// Why it is none that runs here, and what to do about it.
pub fn look(source: &Source, wish: &Wish, target: &str, service: &str) -> Result<(), String> {
    let wished = wish
        .files
        .iter()
        .find(|file| file.target.eq_ignore_ascii_case(target));
    let Some(wished) = wished else {
        return Err(format!(
            "the program of '{service}', {target}, is none of the package's files"
        ));
    };
    let (opened, path) = open(source, wished).map_err(|error| error.to_string())?;
    opened.kind.check(service, &path)
}

/// The packages that count, by the order of their names.
pub fn list(layout: &Layout) -> Vec<Package> {
    let mut packages: Vec<Package> = layout
        .active_packages()
        .iter()
        .filter_map(|folder| read(folder))
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

/// What a package's folder says of itself.
fn read(folder: &Path) -> Option<Package> {
    let text = fs::read_to_string(folder.join(OWN).join("package.toml")).ok()?;
    let mut package: Package = toml::from_str(&text).ok()?;
    package.folder = fs::canonicalize(folder).ok()?;
    Some(package)
}

/// Makes the folders of packages, and takes the lock.
fn prepare(layout: &Layout) -> Result<Lock, PackageError> {
    layout
        .check()
        .map_err(|error| PackageError::Refused(error.to_string()))?;
    for folder in [layout.lib(), layout.packages(), layout.active()] {
        let made = DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&folder);
        made.map_err(failed("make", &folder))?;
    }
    Ok(Lock::store(layout)?)
}

/// The folder that a name's link names.
fn target_of(layout: &Layout, name: &str) -> Option<PathBuf> {
    fs::canonicalize(layout.active().join(name)).ok()
}

/// Lets a package count: the one step that is seen.
fn activate(layout: &Layout, package: &Package) -> Result<(), PackageError> {
    let active = layout.active();
    let link = active.join(&package.name);
    let folder = package.folder.file_name().unwrap_or_default();
    let temporary = active.join(format!(".{}.{}", package.name, std::process::id()));
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(Path::new("../packages").join(folder), &temporary)
        .and_then(|()| fs::rename(&temporary, &link))
        .map_err(|cause| {
            let _ = fs::remove_file(&temporary);
            failed("make the link", &link)(cause)
        })?;
    sync(&active)
}

/// Puts a package together in the staging folder; its own folder is where it will be.
fn stage(
    packages: &Path,
    staging: &Path,
    source: &Source,
    wish: &Wish,
) -> Result<Package, PackageError> {
    let _ = fs::remove_dir_all(staging);
    make(staging)?;
    let mut copier = Copier {
        staging,
        source,
        left: TOTAL_LIMIT,
        files: BTreeMap::new(),
        programs: BTreeMap::new(),
    };
    let described_by = FileWish {
        source: wish.described_by.clone(),
        target: wish.described_by.clone(),
    };
    if wish.files.len() >= FILES_LIMIT {
        return Err(PackageError::Refused(format!(
            "the package has more than {FILES_LIMIT} files"
        )));
    }
    for file in wish.files.iter().chain([&described_by]) {
        copier.copy(file)?;
    }
    let Copier {
        files, programs, ..
    } = copier;

    let mut hash = Sha256::new();
    hash.update(format!("{wish:?}"));
    for (path, digest) in &files {
        hash.update(path);
        hash.update([0]);
        hash.update(digest);
    }
    let digest = hex(&hash.finalize());
    let folder = packages.join(format!(
        "{}-{}",
        wish.name,
        digest.get(..12).unwrap_or_default()
    ));

    let own = staging.join(OWN);
    make(&own.join("services.d"))?;
    make(&own.join("classes.d"))?;
    let parameters = own.join("parameters.json");
    if let Some(text) = &wish.parameters {
        write(&parameters, text.as_bytes())?;
    }
    for service in &wish.services {
        let name = &service.definition.name;
        let program = match &service.program {
            Program::Package(target) => {
                let (path, kind) = programs.get(&target.to_lowercase()).ok_or_else(|| {
                    PackageError::Refused(format!(
                        "the program of '{name}', {target}, is none of the package's files"
                    ))
                })?;
                kind.check(name.as_str(), path)
                    .map_err(PackageError::Refused)?;
                folder.join(path)
            }
            Program::Machine(path) => machine_program(path).map_err(PackageError::Refused)?,
        };
        let mut definition = service.definition.clone();
        let program = program.to_str().ok_or_else(|| {
            PackageError::Refused(format!("the path {} is not UTF-8", program.display()))
        })?;
        definition.exec.insert(0, program.to_owned());
        if wish.parameters.is_some() {
            let path = folder.join(OWN).join("parameters.json");
            let path = path.display().to_string();
            definition
                .environment
                .insert(definition::PARAMETERS.to_owned(), path);
        }
        let text = format!(
            "# Of the package '{}', from {}; `arrival uninstall {}` removes it.\n\n{}",
            wish.name,
            wish.described_by,
            wish.name,
            definition::write(&definition),
        );
        let path = own.join("services.d").join(format!("{name}.toml"));
        // What the manager would not read must not look installed.
        let parsed = definition::parse(&path, &text, &Classes::built_in());
        if parsed.definition.as_ref() != Some(&definition) {
            let mut errors = parsed.problems.iter().filter(|problem| problem.is_error());
            let why = errors
                .next()
                .map_or("it is read differently", |error| &error.message);
            return Err(PackageError::Refused(format!(
                "the service '{name}' cannot be defined: {why}"
            )));
        }
        write(&path, text.as_bytes())?;
    }
    for class in &wish.classes {
        let text =
            toml::to_string(class).map_err(|error| PackageError::Refused(error.to_string()))?;
        // Several packages may add to one class: their files must not override each other.
        let file = format!("{}.{}.toml", wish.name, class.class.name);
        write(&own.join("classes.d").join(file), text.as_bytes())?;
    }
    let package = Package {
        name: wish.name.clone(),
        provider: wish.provider.clone(),
        version: wish.version.clone(),
        described_by: wish.described_by.clone(),
        folder,
        services: wish
            .services
            .iter()
            .map(|service| service.definition.name.to_string())
            .collect(),
        classes: wish
            .classes
            .iter()
            .map(|class| class.class.name.clone())
            .collect(),
        files,
    };
    let text =
        toml::to_string(&package).map_err(|error| PackageError::Refused(error.to_string()))?;
    write(&own.join("package.toml"), text.as_bytes())?;
    sync_tree(staging)?;
    Ok(package)
}

struct Copier<'a> {
    staging: &'a Path,
    source: &'a Source,
    left: u64,
    /// The digest of each file, by its place in the package.
    files: BTreeMap<String, String>,
    /// The place and kind of each file, by its folded name in the wish.
    programs: BTreeMap<String, (String, Kind)>,
}

impl Copier<'_> {
    fn copy(&mut self, wish: &FileWish) -> Result<(), PackageError> {
        let folded = wish.target.to_lowercase();
        if self.programs.contains_key(&folded) {
            return Ok(());
        }
        let (mut opened, target) = open(self.source, wish)?;
        // Whoever wishes has looked at this too; here is where it would do harm.
        let wrong = |part: &str| {
            part.is_empty() || part == "." || part == ".." || part.eq_ignore_ascii_case(OWN)
        };
        if target.split('/').any(wrong) || target.contains(['\\', '\0']) {
            return Err(PackageError::Refused(format!(
                "'{target}' cannot be a file of a package"
            )));
        }
        if self
            .files
            .keys()
            .any(|known| known.eq_ignore_ascii_case(&target))
        {
            return Err(PackageError::Refused(format!(
                "two files of the package would be called {target}"
            )));
        }
        let path = self.staging.join(&target);
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        let kind = opened.kind;
        let mode = if kind.is_program() { 0o755 } else { 0o644 };
        let digest = self.pour(&mut opened, &path, mode)?;
        self.files.insert(target.clone(), digest);
        self.programs.insert(folded, (target, kind));
        Ok(())
    }

    /// Copies the bytes; nothing else of the source goes with them.
    fn pour(
        &mut self,
        opened: &mut Opened,
        path: &Path,
        mode: u32,
    ) -> Result<String, PackageError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(failed("make", path))?;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 128 * 1024];
        loop {
            let read = match opened.file.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed("read", &opened.path)(error)),
            };
            self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
                PackageError::Refused(format!(
                    "the files of the package have more than {TOTAL_LIMIT} bytes"
                ))
            })?;
            let bytes = chunk.get(..read).unwrap_or_default();
            hash.update(bytes);
            file.write_all(bytes).map_err(failed("write", path))?;
        }
        // The mask of whoever installs does not count.
        file.set_permissions(fs::Permissions::from_mode(mode))
            .map_err(failed("change the mode of", path))?;
        Ok(hex(&hash.finalize()))
    }
}

/// The file that is meant, and where it goes: a program that the file calls `x.exe` is `x` on Linux.
fn open(source: &Source, wish: &FileWish) -> Result<(Opened, String), PackageError> {
    let without = |path: &str| {
        let (stem, extension) = path.rsplit_once('.')?;
        let named = !stem.is_empty() && !stem.ends_with('/');
        (named && extension.eq_ignore_ascii_case("exe")).then(|| stem.to_owned())
    };
    if let Some(stem) = without(&wish.source)
        && let Ok(opened) = source.open_file(&stem)
        && opened.kind.is_program()
    {
        let target = without(&wish.target).unwrap_or_else(|| wish.target.clone());
        return Ok((opened, target));
    }
    let opened = source
        .open_file(&wish.source)
        .map_err(PackageError::Refused)?;
    Ok((opened, wish.target.clone()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn make(path: &Path) -> Result<(), PackageError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(failed("make", path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .map_err(failed("write", path))
}

fn sync(path: &Path) -> Result<(), PackageError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(failed("sync", path))
}

/// Syncs every file and folder of a tree, and makes the folders readable for all.
fn sync_tree(folder: &Path) -> Result<(), PackageError> {
    let entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    for entry in entries {
        let path = entry.map_err(failed("read", folder))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            sync(&path)?;
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .map_err(failed("change the mode of", folder))?;
    sync(folder)
}

/// Removes what no link names and no program runs from; what cannot be removed stays for another time.
fn collect(layout: &Layout) {
    let active: Vec<OsString> = layout
        .active_packages()
        .iter()
        .filter_map(|link| Some(fs::canonicalize(link).ok()?.file_name()?.to_owned()))
        .collect();
    let Ok(entries) = fs::read_dir(layout.packages()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let path = entry.path();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if active.contains(&name) || (!hidden && is_used(&path)) {
            continue;
        }
        if hidden {
            let _ = fs::remove_dir_all(&path);
            continue;
        }
        // A folder that is half removed must not look whole.
        let hidden = layout
            .packages()
            .join(format!(".old-{}", name.to_string_lossy()));
        if fs::rename(&path, &hidden).is_ok() {
            let _ = fs::remove_dir_all(&hidden);
        }
    }
}

/// Whether a process runs a program from this folder, or works in it.
fn is_used(folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else {
        return false;
    };
    let Ok(processes) = fs::read_dir("/proc") else {
        // Who cannot tell keeps it.
        return true;
    };
    let needle = format!("{}/", folder.display());
    processes.flatten().any(|process| {
        let process = process.path();
        let links = ["exe", "cwd"].map(|link| fs::read_link(process.join(link)));
        links.iter().flatten().any(|target| target.starts_with(&folder))
            // A script is an argument of its interpreter.
            || fs::read(process.join("cmdline")).is_ok_and(|line| {
                line.split(|byte| *byte == 0).any(|word| word.starts_with(needle.as_bytes()))
            })
    })
}
