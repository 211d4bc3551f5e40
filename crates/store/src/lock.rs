//! One daemon per root, one writer at a time: flock(2) on a file that holds the holder's pid.
//!
//! The kernel drops the lock with its holder, however that ends; the file stays and says nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::layout::Layout;

/// A held lock; it ends with the value.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// A lock that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("{} is held by {}", path.display(), holder(*pid))]
    Held {
        /// The file.
        path: PathBuf,
        /// The holder, if it has written its pid yet.
        pid: Option<u32>,
    },
    /// The file cannot be opened or locked.
    #[error("cannot lock {}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

impl Lock {
    /// The lock of the daemon that serves this root.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] names the daemon that serves it already.
    pub fn daemon(layout: &Layout) -> Result<Self, LockError> {
        Self::acquire(&layout.daemon_lock())
    }

    /// The lock of whoever changes definitions and packages.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] names who is changing them at this moment.
    pub fn store(layout: &Layout) -> Result<Self, LockError> {
        Self::acquire(&layout.store_lock())
    }

    /// Takes the lock on a file, making the file if need be, without waiting.
    ///
    /// # Errors
    ///
    /// [`LockError::Held`] if somebody has it.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |cause: io::Error| LockError::Io {
            path: path.to_owned(),
            cause,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::Held {
                    path: path.to_owned(),
                    pid: read_pid(&mut file),
                });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        // Truncated first, so that nobody reads the pid of an earlier holder for ours.
        file.set_len(0).map_err(failed)?;
        // The lock is what counts: on a full disk it is held without a name.
        if file
            .write_all(format!("{}\n", std::process::id()).as_bytes())
            .is_err()
        {
            // A part of a number would name somebody else.
            let _ = file.set_len(0);
        }
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock ends in any case; a pid that stays behind would only mislead a reader.
        let _ = self.file.set_len(0);
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
