//! Which processes have a socket: those of whose descriptors one is it.
//!
//! Source: proc_pid_fd(5), proc_pid_exe(5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;

/// The most owners of one socket that are kept.
const MOST: usize = 64;
/// What the kernel writes behind the path of a program whose file is gone.
const DELETED: &str = " (deleted)";

/// A process that has a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// The path of its program; none if that may not be seen.
    pub program: Option<String>,
}

/// What was found out about the owners of sockets.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// The owners by inode.
    pub(super) of: BTreeMap<u32, Vec<Owner>>,
    /// Whether every process could be looked into.
    pub(super) complete: bool,
}

/// Looks for the owners of sockets with these inodes.
pub(super) fn find(inodes: &BTreeSet<u32>) -> Owners {
    let mut owners = Owners {
        complete: true,
        ..Owners::default()
    };
    if inodes.is_empty() {
        return owners;
    }
    let Ok(processes) = fs::read_dir("/proc") else {
        owners.complete = false;
        return owners;
    };
    for process in processes.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let descriptors = match fs::read_dir(process.path().join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                // One that has ended has nothing.
                owners.complete &= error.kind() != std::io::ErrorKind::PermissionDenied;
                continue;
            }
        };
        let mut program = None;
        for descriptor in descriptors.flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else {
                continue;
            };
            let inode = target
                .as_os_str()
                .as_bytes()
                .strip_prefix(b"socket:[")
                .and_then(|rest| rest.strip_suffix(b"]"))
                .and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
            let Some(inode) = inode.filter(|inode| inodes.contains(inode)) else {
                continue;
            };
            let program = program.get_or_insert_with(|| program_of(pid));
            let own = owners.of.entry(inode).or_default();
            if own.len() < MOST && own.last().is_none_or(|last| last.pid != pid) {
                own.push(Owner {
                    pid,
                    program: program.clone(),
                });
            }
        }
    }
    owners
}

fn program_of(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let path = path.to_string_lossy();
    Some(path.strip_suffix(DELETED).unwrap_or(&path).to_owned())
}
