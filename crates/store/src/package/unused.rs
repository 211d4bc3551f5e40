//! Folders of packages that do not count any more, and when they go.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use super::disk;
use crate::layout::Layout;

/// Removes what no link names and no program runs from; what cannot be removed stays for another time.
pub(super) fn collect(layout: &Layout) {
    // Who cannot tell what counts keeps everything.
    let Ok(counting) = counting(layout) else {
        return;
    };
    // What an install or uninstall that was cut off has left beside the links.
    each(&layout.active(), |name, path| {
        if is_hidden(name) {
            let _ = disk::remove_tree(path);
        }
    });
    each(&layout.packages(), |name, path| {
        if is_hidden(name) {
            let _ = disk::remove_tree(path);
        } else if !counting.contains(name) && !is_used(path) {
            // A folder that is half removed must not look whole.
            let hidden = format!(".old-{}", name.to_string_lossy());
            let hidden = layout.packages().join(hidden);
            let _ = disk::put(path, &hidden).and_then(|()| disk::remove_tree(&hidden));
        }
    });
}

fn is_hidden(name: &OsString) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Does something with each entry of a folder, of which more may be made meanwhile.
fn each(folder: &Path, mut what: impl FnMut(&OsString, &Path)) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.collect::<Vec<_>>() {
        what(&entry.file_name(), &entry.path());
    }
}

/// The names of the folders that links name.
fn counting(layout: &Layout) -> io::Result<Vec<OsString>> {
    let mut counting = Vec::new();
    for entry in fs::read_dir(layout.active())? {
        let entry = entry?;
        if is_hidden(&entry.file_name()) {
            continue;
        }
        match fs::canonicalize(entry.path()) {
            Ok(folder) => counting.extend(folder.file_name().map(ToOwned::to_owned)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(counting)
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
