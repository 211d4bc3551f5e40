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
//! | `stage` | putting a package together |
//! | `verify` | whether its files are still those that were installed |
//! | `disk` | each change of the disk, which tests can let fail |

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use arrival_model::class::ClassFile;
use arrival_model::definition::Definition;
use serde::{Deserialize, Serialize};

use crate::file;
use crate::layout::Layout;
use crate::lock::{Lock, LockError};
use disk::{failed, step, sync};
use source::Source;
use stage::stage;

mod disk;
pub mod program;
pub mod source;
mod stage;
mod verify;

pub use stage::look;
pub use verify::{Difference, Verified, verify};

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
    /// The manager's own files in it, below [`OWN`], with theirs.
    #[serde(default)]
    pub own: BTreeMap<String, String>,
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
    } else if let Err(cause) = step().and_then(|()| fs::rename(&staging, &package.folder)) {
        let _ = fs::remove_dir_all(&staging);
        return Err(failed("make", &package.folder)(cause));
    }
    let counts = sync(&packages).and_then(|()| activate(layout, &package, before.as_deref()));
    if let Err(error) = counts {
        // What does not count must not stay; the version that does is another folder, or this one.
        collect(layout);
        return Err(error);
    }
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
    step()
        .and_then(|()| file::remove(&link))
        .map_err(failed("remove", &link))?;
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
        own: BTreeMap::new(),
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

/// Lets a package count: the one step that is seen. If the disk refuses at the end, the version before counts
/// again.
fn activate(layout: &Layout, package: &Package, before: Option<&Path>) -> Result<(), PackageError> {
    let active = layout.active();
    let link = active.join(&package.name);
    point(&active, &package.name, &package.folder)?;
    let synced = sync(&active);
    if synced.is_err() {
        let _ = match before {
            Some(before) => point(&active, &package.name, before),
            None => fs::remove_file(&link).map_err(failed("remove", &link)),
        };
    }
    synced
}

/// Makes a link to a package's folder, in one step also if there is one.
fn point(active: &Path, name: &str, folder: &Path) -> Result<(), PackageError> {
    let link = active.join(name);
    let folder = folder.file_name().unwrap_or_default();
    let temporary = active.join(format!(".{name}.{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    step()
        .and_then(|()| {
            std::os::unix::fs::symlink(Path::new("../packages").join(folder), &temporary)
        })
        .and_then(|()| step())
        .and_then(|()| fs::rename(&temporary, &link))
        .map_err(|cause| {
            let _ = fs::remove_file(&temporary);
            failed("make the link", &link)(cause)
        })
}

/// Removes what no link names and no program runs from; what cannot be removed stays for another time.
fn collect(layout: &Layout) {
    let active: Vec<OsString> = layout
        .active_packages()
        .iter()
        .filter_map(|link| Some(fs::canonicalize(link).ok()?.file_name()?.to_owned()))
        .collect();
    // Links that were never renamed: whoever made them was ended, since the lock is ours.
    for entry in fs::read_dir(layout.active())
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            let _ = fs::remove_file(entry.path());
        }
    }
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
