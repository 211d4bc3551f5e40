//! Each change of the disk that an install or a removal makes.
//!
//! In a debug build the environment lets one of them fail: with `ARRIVAL_FAIL_AT=N` the N-th step of the process
//! finds the disk full, with `ARRIVAL_DIE_AT_STEP=N` the process is killed in front of it. So tests go through
//! every step that there is.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::PackageError;

pub(super) fn failed<'a>(
    verb: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> PackageError + 'a {
    move |cause| PackageError::Io {
        verb,
        path: path.to_owned(),
        cause,
    }
}

/// Comes before every change of the disk; fails where a test asks for it.
pub(super) fn step() -> io::Result<()> {
    static STEPS: AtomicU64 = AtomicU64::new(0);
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    let number = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
    let asked = |name: &str| std::env::var(name).is_ok_and(|text| text == number.to_string());
    if asked("ARRIVAL_DIE_AT_STEP") {
        let own = rustix::process::getpid();
        let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    }
    if asked("ARRIVAL_FAIL_AT") {
        return Err(io::Error::from(rustix::io::Errno::NOSPC));
    }
    Ok(())
}

pub(super) fn make(path: &Path) -> Result<(), PackageError> {
    step()
        .and_then(|()| DirBuilder::new().recursive(true).mode(0o755).create(path))
        .map_err(failed("make", path))
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    step()
        .and_then(|()| fs::write(path, bytes))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .map_err(failed("write", path))
}

pub(super) fn sync(path: &Path) -> Result<(), PackageError> {
    step()
        .and_then(|()| File::open(path)?.sync_all())
        .map_err(failed("sync", path))
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
    step()
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o755)))
        .map_err(failed("change the mode of", folder))?;
    sync(folder)
}
