//! The steps that packages take on the disk.
//!
//! Each goes through [`step`](crate::fault::step), so that tests can let any of them fail.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use super::{PackageError, failed};
use crate::fault::step;

/// The mode of folders.
pub(super) const FOLDER: u32 = 0o755;
/// The mode of files that are no programs.
pub(super) const PLAIN: u32 = 0o644;
/// The mode of programs.
pub(super) const PROGRAM: u32 = 0o755;

/// Takes a step; if it fails, the error says what was tried.
pub(super) fn take<T>(
    verb: &'static str,
    path: &Path,
    what: impl FnOnce() -> io::Result<T>,
) -> Result<T, PackageError> {
    step(verb, path, what).map_err(failed(verb, path))
}

/// Makes a folder and its parents, unless they are there.
pub(super) fn make(path: &Path) -> Result<(), PackageError> {
    if path.is_dir() {
        return Ok(());
    }
    take("make", path, || {
        DirBuilder::new().recursive(true).mode(FOLDER).create(path)
    })
}

/// Makes a file that must not be there.
pub(super) fn create(path: &Path) -> Result<File, PackageError> {
    take("make", path, || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PLAIN)
            .open(path)
    })
}

/// Writes all of these bytes.
pub(super) fn append(mut file: &File, path: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    take("write", path, || file.write_all(bytes))
}

/// Changes the mode; the mask of whoever installs does not count.
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), PackageError> {
    take("change the mode of", path, || {
        fs::set_permissions(path, Permissions::from_mode(mode))
    })
}

/// Makes a file with these bytes.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    let file = create(path)?;
    append(&file, path, bytes)?;
    set_mode(path, PLAIN)
}

/// Has the system write down a file, or what a folder's entries are.
pub(super) fn sync(path: &Path) -> Result<(), PackageError> {
    take("sync", path, || File::open(path)?.sync_all())
}

/// Syncs every file and folder of a tree, and makes the folders readable for all.
pub(super) fn sync_tree(folder: &Path) -> Result<(), PackageError> {
    let entries = fs::read_dir(folder).map_err(failed("read", folder))?;
    for entry in entries {
        let path = entry.map_err(failed("read", folder))?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            sync(&path)?;
        }
    }
    set_mode(folder, FOLDER)?;
    sync(folder)
}

/// Makes a link.
pub(super) fn link(path: &Path, target: &Path) -> Result<(), PackageError> {
    take("make the link", path, || symlink(target, path))
}

/// Gives something another name, over whatever has it.
pub(super) fn put(from: &Path, to: &Path) -> Result<(), PackageError> {
    take("put in place", to, || fs::rename(from, to))
}

/// Removes a file or link.
pub(super) fn remove(path: &Path) -> Result<(), PackageError> {
    take("remove", path, || fs::remove_file(path))
}

/// Removes whatever is there, and all that is in it; links are not followed.
pub(super) fn remove_tree(path: &Path) -> Result<(), PackageError> {
    let meta = path.symlink_metadata().map_err(failed("look at", path))?;
    if !meta.is_dir() {
        return remove(path);
    }
    for entry in fs::read_dir(path).map_err(failed("read", path))? {
        remove_tree(&entry.map_err(failed("read", path))?.path())?;
    }
    take("remove", path, || fs::remove_dir(path))
}
