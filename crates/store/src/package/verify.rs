//! Whether an installed package is as it was installed.
//!
//! | of a package | must be |
//! |---|---|
//! | a file of the package | regular, with the bytes that were copied, mode 0755 if it is a program, else 0644 |
//! | `.arrival/services.d/*`, `.arrival/classes.d/*` | regular, with the bytes that were written, mode 0644 |
//! | `.arrival/package.toml` | the same; its last line is the digest of the others |
//! | a folder | there for one of these, mode 0755 |
//!
//! This finds what a disk, a person or a program has damaged. Whoever may write to the folder can write the digests
//! anew, and is not found. A package that an older version of the manager has installed has no digests of the
//! manager's own files: it is seen whether these are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::disk::{FOLDER, PLAIN, PROGRAM};
use super::program::{HEAD, Kind};
use super::{DESCRIPTION, OWN, Package, PackageError, digest_of, failed, hex};
use crate::layout::Layout;

/// The beginning of the last line of what describes a package.
const SEAL: &str = "# sha256 of the lines above: ";

/// What was found of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The package, as its folder describes it.
    pub package: Package,
    /// How it differs from what was installed, by the order of paths.
    pub problems: Vec<Problem>,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Below the package's folder; `.` is the folder itself.
    pub path: String,
    /// What has happened to it.
    pub what: What,
}

/// What has happened to a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is gone.
    Missing,
    /// It has other bytes, another mode, or is of another kind.
    Changed,
    /// It was not installed.
    Added,
}

/// The names of the packages that count, also of those whose folders are damaged.
pub fn names(layout: &Layout) -> Vec<String> {
    let links = layout.active_packages();
    let names = links.iter().filter_map(|link| link.file_name()?.to_str());
    names.map(str::to_owned).collect()
}

/// Compares a package with what was installed.
///
/// # Errors
///
/// [`PackageError::NoSuchPackage`], and those of the system.
pub fn verify(layout: &Layout, name: &str) -> Result<Verified, PackageError> {
    let name = name.to_ascii_lowercase();
    let no_such = || PackageError::NoSuchPackage(name.clone());
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(no_such());
    }
    let link = layout.active().join(&name);
    match link.symlink_metadata() {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_such()),
        Err(error) => return Err(failed("look at", &link)(error)),
    }
    match fs::canonicalize(&link) {
        Ok(folder) => compare(&folder, &name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Verified {
            package: Package::unknown(name),
            problems: vec![Problem {
                path: ".".to_owned(),
                what: What::Missing,
            }],
        }),
        Err(error) => Err(failed("look at", &link)(error)),
    }
}

/// Whether a package's folder is as it was installed.
pub(super) fn is_intact(folder: &Path) -> bool {
    compare(folder, "").is_ok_and(|verified| verified.problems.is_empty())
}

/// What describes a package, with a last line that tells whether the others were changed.
pub(super) fn sealed(text: String) -> String {
    let digest = digest_of(&text);
    format!("{text}{SEAL}{digest}\n")
}

/// Whether the last line is that of [`sealed`]; none if there is no such line.
fn is_sealed(text: &str) -> Option<bool> {
    let (body, line) = text.split_at(text.rfind(SEAL)?);
    Some(line == format!("{SEAL}{}\n", digest_of(body)))
}

fn compare(folder: &Path, name: &str) -> Result<Verified, PackageError> {
    let described = format!("{OWN}/{DESCRIPTION}");
    let (mut package, seal) = match description(&folder.join(&described))? {
        Ok(known) => known,
        Err(what) => {
            // Without it nothing is known of the other files.
            return Ok(Verified {
                package: Package {
                    folder: folder.to_owned(),
                    ..Package::unknown(name.to_owned())
                },
                problems: vec![Problem {
                    path: described,
                    what,
                }],
            });
        }
    };
    package.folder = folder.to_owned();
    let mut known = known(&package, seal == Seal::Older);
    known.insert(
        described,
        match seal {
            Seal::Broken => Expected::Others,
            Seal::Whole | Seal::Older => Expected::Any,
        },
    );
    let mut walk = Walk {
        top: folder,
        known,
        seen: BTreeSet::new(),
        problems: Vec::new(),
    };
    walk.folder("")?;
    let mut problems = walk.problems;
    let seen = walk.seen;
    let missing = walk.known.into_keys().filter(|path| !seen.contains(path));
    problems.extend(missing.map(|path| Problem {
        path,
        what: What::Missing,
    }));
    problems.sort();
    Ok(Verified { package, problems })
}

/// What describes a package, or what has happened to that file.
fn description(path: &Path) -> Result<Result<(Package, Seal), What>, PackageError> {
    let mut text = String::new();
    match look_at(path)? {
        Found::Nothing => return Ok(Err(What::Missing)),
        Found::Other => return Ok(Err(What::Changed)),
        Found::Regular(mut file, _) => match file.read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Ok(Err(What::Changed));
            }
            Err(error) => return Err(failed("read", path)(error)),
        },
    }
    let Ok(package) = toml::from_str::<Package>(&text) else {
        return Ok(Err(What::Changed));
    };
    let seal = match is_sealed(&text) {
        Some(true) => Seal::Whole,
        None if package.own.is_empty() => Seal::Older,
        Some(false) | None => Seal::Broken,
    };
    Ok(Ok((package, seal)))
}

/// What the last line says of the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seal {
    /// They are as they were written.
    Whole,
    /// They are others.
    Broken,
    /// There is none: an older version of the manager wrote none, and no digests of its own files.
    Older,
}

/// What the bytes of a file must be.
#[derive(Debug)]
enum Expected {
    /// Those with this digest.
    Digest(String),
    /// Nobody has written down which, or it was looked at already.
    Any,
    /// It is known that they are others.
    Others,
}

/// The files of a package.
fn known(package: &Package, older: bool) -> BTreeMap<String, Expected> {
    let own = package.own.iter();
    let own = own.map(|(path, digest)| (format!("{OWN}/{path}"), digest));
    let files = package.files.iter();
    let files = files.map(|(path, digest)| (path.clone(), digest));
    let mut known: BTreeMap<String, Expected> = own
        .chain(files)
        .map(|(path, digest)| (path, Expected::Digest(digest.clone())))
        .collect();
    if older {
        let services = package.services.iter();
        let services = services.map(|name| format!("{OWN}/services.d/{name}.toml"));
        let classes = package.classes.iter();
        let classes = classes.map(|class| format!("{OWN}/classes.d/{}.{class}.toml", package.name));
        known.extend(services.chain(classes).map(|path| (path, Expected::Any)));
    }
    known
}

/// What stands at a path.
enum Found {
    Nothing,
    /// A regular file with this mode.
    Regular(File, u32),
    /// A link, pipe, device or folder.
    Other,
}

/// Looks at a path; no link is followed, and no pipe waited for.
fn look_at(path: &Path) -> Result<Found, PackageError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        // A link; a socket, or a device that nothing drives; something in place of the folder.
        Err(error)
            if [Errno::LOOP, Errno::NXIO, Errno::NODEV, Errno::NOTDIR]
                .iter()
                .any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) =>
        {
            return Ok(Found::Other);
        }
        Err(error) => return Err(failed("open", path)(error)),
    };
    let meta = file.metadata().map_err(failed("look at", path))?;
    Ok(if meta.is_file() {
        Found::Regular(file, meta.mode() & 0o7777)
    } else {
        Found::Other
    })
}

/// The digest of a file's bytes, and what they make it.
fn digest(mut file: File) -> io::Result<(String, Kind)> {
    let mut head = Vec::new();
    (&mut file).take(HEAD as u64).read_to_end(&mut head)?;
    let mut hash = Sha256::new();
    hash.update(&head);
    io::copy(&mut file, &mut hash)?;
    Ok((hex(&hash.finalize()), Kind::of(&head)))
}

/// A walk through a package's folder.
struct Walk<'a> {
    top: &'a Path,
    known: BTreeMap<String, Expected>,
    seen: BTreeSet<String>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn found(&mut self, path: &str, what: What) {
        let path = path.to_owned();
        self.problems.push(Problem { path, what });
    }

    /// Looks at a folder whose path below the top is empty or ends with a stroke, and at all that is in it.
    fn folder(&mut self, below: &str) -> Result<(), PackageError> {
        let folder = self.top.join(below);
        let meta = fs::metadata(&folder).map_err(failed("look at", &folder))?;
        if meta.mode() & 0o7777 != FOLDER {
            let path = below.strip_suffix('/').unwrap_or(".");
            self.found(path, What::Changed);
        }
        for entry in fs::read_dir(&folder).map_err(failed("read", &folder))? {
            let entry = entry.map_err(failed("read", &folder))?;
            let kind = entry.file_type().map_err(failed("look at", &folder))?;
            let path = format!("{below}{}", entry.file_name().to_string_lossy());
            if kind.is_dir() && self.is_parent(&path) {
                self.folder(&format!("{path}/"))?;
            } else if entry.file_name().to_str().is_some() && self.known.contains_key(&path) {
                self.file(&path)?;
            } else {
                self.found(&path, What::Added);
            }
        }
        Ok(())
    }

    /// Whether a folder belongs to the package.
    fn is_parent(&self, path: &str) -> bool {
        let own = [OWN, ".arrival/services.d", ".arrival/classes.d"];
        let prefix = format!("{path}/");
        let mut behind = self.known.range(prefix.clone()..);
        own.contains(&path)
            || behind
                .next()
                .is_some_and(|(known, _)| known.starts_with(&prefix))
    }

    /// Compares a file that belongs to the package.
    fn file(&mut self, path: &str) -> Result<(), PackageError> {
        let place = self.top.join(path);
        let same = match look_at(&place)? {
            // It will be missed.
            Found::Nothing => return Ok(()),
            Found::Other => false,
            Found::Regular(file, mode) => {
                let (digest, kind) = digest(file).map_err(failed("read", &place))?;
                let own = path.split('/').next() == Some(OWN);
                let due = if kind.is_program() && !own {
                    PROGRAM
                } else {
                    PLAIN
                };
                mode == due
                    && match self.known.get(path) {
                        Some(Expected::Digest(known)) => *known == digest,
                        Some(Expected::Any) => true,
                        Some(Expected::Others) | None => false,
                    }
            }
        };
        if !same {
            self.found(path, What::Changed);
        }
        self.seen.insert(path.to_owned());
        Ok(())
    }
}
