//! Reading files that others wrote, and writing files that must not be half there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// The most bytes of a file that a person writes.
pub(crate) const FILE_LIMIT: u64 = 1024 * 1024;

/// What a file turned out to be.
#[derive(Debug)]
pub(crate) enum Content {
    /// Text, and the file's mode.
    Text(String, u32),
    /// A link to /dev/null: as if neither this file nor those that it overrides were there.
    Masked,
}

/// Reads a text file of at most [`FILE_LIMIT`] bytes, without ever waiting for a pipe.
pub(crate) fn read(path: &Path) -> Result<Content, String> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
        .map_err(|error| format!("cannot open the file: {error}"))?;
    let meta = file
        .metadata()
        .map_err(|error| format!("cannot look at the file: {error}"))?;
    if meta.file_type().is_char_device() && meta.rdev() == rustix::fs::makedev(1, 3) {
        return Ok(Content::Masked);
    }
    if !meta.is_file() {
        return Err("not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read the file: {error}"))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(format!("the file is longer than {FILE_LIMIT} bytes"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Content::Text(text, meta.mode())),
        Err(error) => Err(format!(
            "the file is not UTF-8 (byte {})",
            error.utf8_error().valid_up_to() + 1
        )),
    }
}

/// Replaces a file so that a reader, or a crash at any moment, finds the old or the new content.
///
/// On failure nothing has changed, unless it is the folder that cannot be synced.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = dir.join(temporary);
    // A daemon that had our pid and crashed may have left one behind.
    let _ = fs::remove_file(&temporary);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_dir(dir)
}

/// Removes a file durably; one that is not there is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
