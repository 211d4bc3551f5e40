//! The folder that a package comes from. It is a stranger's.
//!
//! | trick | is met by |
//! |---|---|
//! | a name that leaves the folder, or is absolute | every part is looked for in the folder that was opened |
//! | a link out of the folder, or one put there meanwhile | openat2(2) with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS |
//! | two files whose names differ in case | refused, unless one is spelled exactly so |
//! | a pipe, device or folder in place of a file | only regular files; never waited for |
//! | a hard link to somebody else's secret | refused, if it belongs to another user than the folder |
//! | a folder that others can write to | refused, unless it is trusted |
//! | a file that is changed while it is copied | the bytes that are copied are those that are checked and digested |
//! | set-user-id, capabilities, extended attributes | only bytes are copied |
//! | a file without end | at most [`FILE_LIMIT`] bytes |

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

use super::program::{HEAD, Kind};

/// The most bytes of one file.
pub const FILE_LIMIT: u64 = 512 * 1024 * 1024;

/// An opened source folder.
#[derive(Debug)]
pub struct Source {
    folder: OwnedFd,
    path: PathBuf,
    owner: u32,
}

/// A file of it.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes, from the beginning.
    pub file: File,
    /// How it is called, for messages.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

impl Source {
    /// Opens a folder; with `trust` it may be writable by others, who could then run programs as us.
    ///
    /// # Errors
    ///
    /// If it is no folder, or somebody else's.
    pub fn open(path: &Path, trust: bool) -> Result<Self, String> {
        let shown = path.display();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty())
            .map_err(|error| format!("cannot open the folder {shown}: {error}"))?;
        let stat = fstat(&folder)
            .map_err(|error| format!("cannot look at the folder {shown}: {error}"))?;
        let own = rustix::process::geteuid().as_raw();
        if !trust {
            if !is_friend(stat.st_uid, own) {
                return Err(format!(
                    "the folder {shown} belongs to user {}, who could change the package: copy it, or say --trust",
                    stat.st_uid
                ));
            }
            let mode = stat.st_mode & 0o7777;
            // A group of the owner's own is the owner.
            let group = mode & 0o020 != 0
                && ![0, stat.st_uid, rustix::process::getegid().as_raw()].contains(&stat.st_gid);
            if mode & 0o002 != 0 || group {
                return Err(format!(
                    "the folder {shown} is writable by others (mode {mode:04o}), who could change the package: \
                     chmod go-w {shown}, or say --trust"
                ));
            }
        }
        Ok(Source {
            folder,
            path: path.to_owned(),
            owner: stat.st_uid,
        })
    }

    /// Opens the file that a relative path with `/` between its parts means; case does not count.
    ///
    /// # Errors
    ///
    /// If there is none, or more than one, or it is not a regular file that may be taken.
    pub fn open_file(&self, path: &str) -> Result<Opened, String> {
        let mut folder: Option<OwnedFd> = None;
        let mut real = self.path.clone();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let here = folder.as_ref().map_or(self.folder.as_fd(), AsFd::as_fd);
            let name = find(here, part, &real)?;
            real.push(OsStr::from_bytes(&name));
            let last = parts.peek().is_none();
            // A pipe in place of a file would be waited for without NONBLOCK.
            let kind = if last {
                OFlags::NONBLOCK | OFlags::NOCTTY
            } else {
                OFlags::DIRECTORY
            };
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | kind;
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let opened = openat2(here, name.as_slice(), flags, Mode::empty(), resolve);
            let shown = real.display();
            let opened = opened.map_err(|error| match error {
                Errno::LOOP => format!("{shown} is a link, and links are not followed"),
                error => format!("cannot open {shown}: {error}"),
            })?;
            if last {
                return self.take(File::from(opened), real);
            }
            folder = Some(opened);
        }
        Err(format!("'{path}' names no file"))
    }

    /// Checks that an opened file may be taken.
    fn take(&self, mut file: File, path: PathBuf) -> Result<Opened, String> {
        let shown = path.display();
        let stat = fstat(&file).map_err(|error| format!("cannot look at {shown}: {error}"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(format!("{shown} is not a regular file"));
        }
        let own = rustix::process::geteuid().as_raw();
        // Whoever may put a link into the folder could have us publish a file that only root may read.
        if stat.st_uid != self.owner && stat.st_nlink > 1 && self.owner != own {
            return Err(format!(
                "{shown} is another name of a file of user {}, and not the folder's: copy it",
                stat.st_uid
            ));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > FILE_LIMIT {
            return Err(format!("{shown} has more than {FILE_LIMIT} bytes"));
        }
        let mut head = Vec::new();
        (&mut file)
            .take(HEAD as u64)
            .read_to_end(&mut head)
            .and_then(|_| file.rewind())
            .map_err(|error| format!("cannot read {shown}: {error}"))?;
        let kind = Kind::of(&head);
        Ok(Opened { file, path, kind })
    }
}

/// Whether a user may decide what we run: root, ourselves, and whoever became root with sudo(8).
fn is_friend(uid: u32, own: u32) -> bool {
    let sudo = || {
        std::env::var("SUDO_UID")
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
    };
    uid == 0 || uid == own || (own == 0 && sudo() == Some(uid))
}

/// The name of the only entry of a folder that is called so, in any case; the exact one comes first.
fn find(folder: std::os::fd::BorrowedFd<'_>, wanted: &str, path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let cannot = |error: Errno| format!("cannot read the folder {shown}: {error}");
    let folded = wanted.to_lowercase();
    let mut found: Vec<Vec<u8>> = Vec::new();
    for entry in Dir::read_from(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name().to_bytes();
        if name == wanted.as_bytes() {
            return Ok(name.to_vec());
        }
        if std::str::from_utf8(name).is_ok_and(|name| name.to_lowercase() == folded) {
            found.push(name.to_vec());
        }
    }
    match found.as_mut_slice() {
        [only] => Ok(std::mem::take(only)),
        [] => Err(format!("there is no file '{wanted}' in {shown}")),
        _ => Err(format!(
            "several files in {shown} are called '{wanted}' but for their case"
        )),
    }
}
