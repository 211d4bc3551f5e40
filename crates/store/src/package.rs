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
//! If a step fails, the package is as it was before. A link beside the others, whose name is hidden, holds the old
//! version until the new one is sure to last.
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the folder that a package comes from, and what is refused of it |
//! | [`program`] | ELF, script or a program of Windows |
//! | `copy` | how its files are copied |
//! | `disk` | the steps on the disk |
//! | `unused` | when a folder goes |
//! | [`verify`](mod@verify) | whether a package is as it was installed |

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arrival_model::class::{ClassFile, Classes};
use arrival_model::definition::Definition;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::definition;
use crate::layout::Layout;
use crate::lock::{Lock, LockError};
use copy::Copier;
pub use copy::look;
use program::machine_program;
use source::Source;
use unused::collect;
pub use verify::{Problem, Verified, What, names, verify};

mod copy;
mod disk;
pub mod program;
pub mod source;
mod unused;
pub mod verify;

/// The folder of a package that is kept for the manager's own files.
pub const OWN: &str = ".arrival";

/// What the manager knows of a package, below [`OWN`].
const DESCRIPTION: &str = "package.toml";

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
    /// The files that the manager has made of it, below [`OWN`], each with the digest of its bytes; none if an
    /// older version of the manager has installed it.
    #[serde(default)]
    pub own: BTreeMap<String, String>,
}

impl Package {
    /// A package of which only the name is known.
    fn unknown(name: String) -> Self {
        Package {
            name,
            provider: String::new(),
            version: String::new(),
            described_by: String::new(),
            folder: PathBuf::new(),
            services: Vec::new(),
            classes: Vec::new(),
            files: BTreeMap::new(),
            own: BTreeMap::new(),
        }
    }
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
    collect(layout);
    let before = target_of(layout, &wish.name);
    match place(layout, source, wish) {
        Ok(package) => Ok(Installed { package, before }),
        Err(error) => {
            // Nothing that was made counts.
            collect(layout);
            Err(error)
        }
    }
}

/// Puts a package where it belongs, and lets it count.
fn place(layout: &Layout, source: &Source, wish: &Wish) -> Result<Package, PackageError> {
    let packages = layout.packages();
    let staging = staging(&packages);
    let package = stage(&packages, &staging, source, wish)?;
    if package.folder.is_dir() {
        // As it is intact, the same bytes are there already.
        let _ = disk::remove_tree(&staging);
    } else {
        disk::put(&staging, &package.folder)?;
    }
    disk::sync(&packages)?;
    activate(layout, &package)?;
    Ok(package)
}

/// Where a package is put together.
fn staging(packages: &Path) -> PathBuf {
    packages.join(format!(".new-{}", std::process::id()))
}

/// What [`install`] would do; everything of it is tried but the last steps, and nothing stays of it.
///
/// # Errors
///
/// As [`install`].
pub fn plan(layout: &Layout, source: &Source, wish: &Wish) -> Result<Installed, PackageError> {
    let _lock = prepare(layout)?;
    let packages = layout.packages();
    let staging = staging(&packages);
    let staged = stage(&packages, &staging, source, wish);
    let _ = disk::remove_tree(&staging);
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
    deactivate(layout, &folded)?;
    // If its folder is damaged, what is left of it goes nevertheless.
    Ok(package.unwrap_or_else(|| Package::unknown(folded)))
}

/// Lets a package count no more: one step is seen, and undone if it cannot be made to last.
fn deactivate(layout: &Layout, name: &str) -> Result<(), PackageError> {
    let active = layout.active();
    let link = active.join(name);
    let old = hidden(&active, name, "old");
    disk::take("remove", &link, || fs::rename(&link, &old))?;
    if let Err(error) = disk::sync(&active) {
        let _ = disk::put(&old, &link);
        return Err(error);
    }
    // The next install removes what stays.
    let _ = disk::remove_tree(&old);
    Ok(())
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
    let text = fs::read_to_string(folder.join(OWN).join(DESCRIPTION)).ok()?;
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
        if !folder.is_dir() {
            disk::make(&folder)?;
            // What lies in it lasts only if it does.
            folder.parent().map_or(Ok(()), disk::sync)?;
        }
    }
    let lock = layout.store_lock();
    disk::take("lock", &lock, || Ok(Lock::store(layout)))?.map_err(PackageError::from)
}

/// The folder that a name's link names.
fn target_of(layout: &Layout, name: &str) -> Option<PathBuf> {
    fs::canonicalize(layout.active().join(name)).ok()
}

/// Lets a package count: one step is seen, the renaming of the link. If that cannot be made to last, it is undone.
fn activate(layout: &Layout, package: &Package) -> Result<(), PackageError> {
    let active = layout.active();
    let link = active.join(&package.name);
    let [new, old] = ["new", "old"].map(|what| hidden(&active, &package.name, what));
    let folder = package.folder.file_name().unwrap_or_default();
    let before = fs::read_link(&link).ok();
    disk::link(&new, &Path::new("../packages").join(folder))?;
    if let Some(before) = &before {
        // On a full disk there may be no room for it once it is needed.
        disk::link(&old, before)?;
    }
    disk::put(&new, &link)?;
    if let Err(error) = disk::sync(&active) {
        let _ = match before {
            Some(_) => disk::put(&old, &link),
            None => disk::remove(&link),
        };
        return Err(error);
    }
    if before.is_some() {
        // The next install removes what stays.
        let _ = disk::remove(&old);
    }
    Ok(())
}

/// A place beside the links, which nobody takes for one.
fn hidden(active: &Path, name: &str, what: &str) -> PathBuf {
    active.join(format!(".{name}.{}.{what}", std::process::id()))
}

/// Puts a package together in the staging folder; its own folder is where it will be.
fn stage(
    packages: &Path,
    staging: &Path,
    source: &Source,
    wish: &Wish,
) -> Result<Package, PackageError> {
    // A process that had our pid may have left one behind.
    let _ = disk::remove_tree(staging);
    disk::make(staging)?;
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
    let folder = folder_for(packages, &wish.name, digest.get(..12).unwrap_or_default());

    let own = staging.join(OWN);
    disk::make(&own.join("services.d"))?;
    disk::make(&own.join("classes.d"))?;
    let mut made = BTreeMap::new();
    if let Some(text) = &wish.parameters {
        let file = "parameters.json";
        disk::write(&own.join(file), text.as_bytes())?;
        made.insert(file.to_owned(), digest_of(text));
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
            let environment = &mut definition.environment;
            environment.insert(definition::PARAMETERS.to_owned(), path);
        }
        let text = format!(
            "# Of the package '{}', from {}; `arrival uninstall {}` removes it.\n\n{}",
            wish.name,
            wish.described_by,
            wish.name,
            definition::write(&definition),
        );
        let file = format!("services.d/{name}.toml");
        let path = own.join(&file);
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
        disk::write(&path, text.as_bytes())?;
        made.insert(file, digest_of(&text));
    }
    for class in &wish.classes {
        let text =
            toml::to_string(class).map_err(|error| PackageError::Refused(error.to_string()))?;
        // Several packages may add to one class: their files must not override each other.
        let file = format!("classes.d/{}.{}.toml", wish.name, class.class.name);
        disk::write(&own.join(&file), text.as_bytes())?;
        made.insert(file, digest_of(&text));
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
        own: made,
    };
    let text =
        toml::to_string(&package).map_err(|error| PackageError::Refused(error.to_string()))?;
    disk::write(&own.join(DESCRIPTION), verify::sealed(text).as_bytes())?;
    disk::sync_tree(staging)?;
    Ok(package)
}

/// Where a package will lie: where the same lies already, if it is as it was installed; else a folder that is not
/// there yet, and a damaged one is left to what runs from it.
fn folder_for(packages: &Path, name: &str, digest: &str) -> PathBuf {
    let first = packages.join(format!("{name}-{digest}"));
    let others = (1..).map(|number: u32| packages.join(format!("{name}-{digest}-{number}")));
    let mut free = None;
    // A damaged one goes as soon as nothing runs from it, so that there are never many.
    for folder in std::iter::once(first).chain(others).take(100) {
        if folder.symlink_metadata().is_err() {
            free.get_or_insert(folder);
        } else if verify::is_intact(&folder) {
            return folder;
        }
    }
    // If all are there, the rename to the last fails.
    free.unwrap_or_else(|| packages.join(format!("{name}-{digest}-99")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest_of(text: &str) -> String {
    hex(&Sha256::digest(text))
}
