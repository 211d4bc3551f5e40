//! Whether the files of a package are still those that were installed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::stage::hex;
use super::{OWN, Package, PackageError, list};
use crate::layout::Layout;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It is not there.
    Missing,
    /// It has other bytes, or is no file.
    Changed,
    /// Others than its owner may change it.
    Writable,
    /// It was not installed.
    Added,
}

/// What was found of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Its name.
    pub package: String,
    /// How many files were looked at.
    pub files: usize,
    /// The files that are not as they were, by their paths below the package's folder.
    pub differences: BTreeMap<String, Difference>,
}

/// Compares every file of a package with what was installed.
///
/// # Errors
///
/// [`PackageError::NoSuchPackage`], and those of the system.
pub fn verify(layout: &Layout, name: &str) -> Result<Verified, PackageError> {
    let folded = name.to_ascii_lowercase();
    let package: Package = list(layout)
        .into_iter()
        .find(|package| package.name == folded)
        .ok_or_else(|| PackageError::NoSuchPackage(name.to_owned()))?;
    let mut there = BTreeMap::new();
    let folder = &package.folder;
    digests(folder, folder, &mut there).map_err(|cause| PackageError::Io {
        verb: "read",
        path: folder.clone(),
        cause,
    })?;
    let own = package.own.iter();
    let own = own.map(|(path, digest)| (format!("{OWN}/{path}"), digest.clone()));
    let mut expected: BTreeMap<String, String> = package.files.clone();
    expected.extend(own);
    // It holds the digests, and not its own.
    there.remove(&format!("{OWN}/package.toml"));
    if package.own.is_empty() {
        // Installed before the digests of these were kept.
        there.retain(|path, _| !path.starts_with(OWN));
    }
    let mut differences = BTreeMap::new();
    for (path, digest) in &expected {
        let full = folder.join(path);
        let difference = match there.remove(path) {
            None => Some(Difference::Missing),
            Some(own) if own != *digest => Some(Difference::Changed),
            Some(_) => fs::metadata(&full)
                .is_ok_and(|meta| meta.mode() & 0o022 != 0)
                .then_some(Difference::Writable),
        };
        if let Some(difference) = difference {
            differences.insert(path.clone(), difference);
        }
    }
    let added = there.into_keys().map(|path| (path, Difference::Added));
    differences.extend(added);
    Ok(Verified {
        package: package.name,
        files: expected.len(),
        differences,
    })
}

/// The digest of every file below a folder, by its path there; what is no file has the digest `-`.
pub(super) fn digests(
    top: &Path,
    folder: &Path,
    found: &mut BTreeMap<String, String>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() {
            digests(top, &path, found)?;
            continue;
        }
        let name = path.strip_prefix(top).unwrap_or(&path);
        let digest = if kind.is_file() {
            let mut hash = Sha256::new();
            io::copy(&mut File::open(&path)?, &mut hash)?;
            hex(&hash.finalize())
        } else {
            "-".to_owned()
        };
        found.insert(name.to_string_lossy().into_owned(), digest);
    }
    Ok(())
}
