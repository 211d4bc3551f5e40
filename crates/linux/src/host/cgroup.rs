//! One host's cgroup: made fresh, killed whole, removed when empty.
//!
//! Source: Documentation/admin-guide/cgroup-v2.rst (`cgroup.events`, `cgroup.kill`, `cgroup.procs`). No controller
//! is ever enabled here, so that the daemon itself may stay in the folder above.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// The depth to which a service's own sub-cgroups are followed.
const MAX_DEPTH: usize = 32;

/// A cgroup folder with the file that tells when its last process is gone.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
    events: File,
}

impl Cgroup {
    /// Opens an existing cgroup.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        let events = File::open(folder.join("cgroup.events"))?;
        Ok(Self { folder, events })
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether any process lives in it or below. Reading also re-arms the notification of [`Self::events`].
    pub(super) fn populated(&mut self) -> io::Result<bool> {
        let mut text = String::new();
        let read = self
            .events
            .seek(SeekFrom::Start(0))
            .and_then(|_| (&mut self.events).take(4096).read_to_string(&mut text));
        match read {
            Ok(_) => Ok(text.lines().any(|line| line == "populated 1")),
            // ENODEV: somebody removed the folder, which is possible only when it was empty.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The file that becomes ready with POLLPRI when `populated` changes.
    pub(super) fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Sends SIGKILL to everything in it and below, also to what is being forked at this moment.
    pub(super) fn kill(&self) -> io::Result<()> {
        kill(&self.folder)
    }
}

/// Kills everything in a cgroup (Linux 5.14).
pub(super) fn kill(folder: &Path) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(folder.join("cgroup.kill"))
        .and_then(|mut file| io::Write::write_all(&mut file, b"1"))
}

/// Every process in a cgroup and below it.
pub(super) fn processes(folder: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    collect(folder, MAX_DEPTH, &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<u32>) -> io::Result<()> {
    match fs::read_to_string(folder.join("cgroup.procs")) {
        // 0 stands for a process of another pid namespace, which has no number here.
        Ok(text) => {
            found.extend(
                text.lines()
                    .filter_map(|line| line.parse().ok())
                    .filter(|pid: &u32| *pid != 0),
            );
        }
        // A threaded sub-cgroup lists its processes in the one above.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
        Err(error) => return Err(error),
    }
    if depth > 0 {
        for child in folders(folder) {
            // One that vanished meanwhile held nothing.
            let _ = collect(&child, depth - 1, found);
        }
    }
    Ok(())
}

/// The folders directly below.
pub(super) fn folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes an empty cgroup and the empty ones a service made below it. One that is gone already is fine.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    remove_below(folder, MAX_DEPTH)
}

fn remove_below(folder: &Path, depth: usize) -> io::Result<()> {
    if depth > 0 {
        for child in folders(folder) {
            let _ = remove_below(&child, depth - 1);
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The cgroup v2 path of a process as the kernel names it (`0::/arrival/h1`), also of a zombie.
pub(super) fn of_process(pid: u32) -> io::Result<Option<PathBuf>> {
    Ok(path_in(&fs::read_to_string(format!("/proc/{pid}/cgroup"))?))
}

/// The cgroup v2 path of this process.
pub(super) fn of_self() -> io::Result<Option<PathBuf>> {
    Ok(path_in(&fs::read_to_string("/proc/self/cgroup")?))
}

fn path_in(text: &str) -> Option<PathBuf> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(PathBuf::from(
        path.strip_suffix(" (deleted)").unwrap_or(path),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_line_is_found_among_those_of_version_one() {
        let text = "9:name=systemd:/x\n1:cpu:/\n0::/arrival/h1-ab\n";
        assert_eq!(path_in(text), Some(PathBuf::from("/arrival/h1-ab")));
        assert_eq!(
            path_in("0::/gone (deleted)\n"),
            Some(PathBuf::from("/gone"))
        );
        assert_eq!(path_in("1:cpu:/\n"), None);
    }
}
