//! A service's stdout and stderr: the journal's stream, or a log file.
//!
//! ```text
//! /run/systemd/journal/stdout exists   a stream of its own, headed by the service's name
//! else                                 ROOT/log/NAME.log, appended to; NAME.log.1 is the one before
//! ```
//!
//! Both outlive the daemon: the journal's socket belongs to journald, the file to nobody.
//!
//! A log file is at most [`LIMIT`] long when a run starts; else it is renamed to `.1` first. While a run
//! goes on its descriptor stays what it is, so [`enforce_limit`] moves the head of the file to `.1` and cuts
//! it off in place. Where the file system knows FALLOC_FL_COLLAPSE_RANGE (ext4, XFS, F2FS) no byte is lost.
//! Elsewhere (tmpfs, btrfs) the file is truncated, and what was written between the copy and the cut is lost.
//!
//! Sources: systemd-journald.service(8) (`JOURNAL_STREAM` in systemd.exec(5)), fallocate(2).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

/// The length beyond which a log file is moved aside: 8 MiB.
pub const LIMIT: u64 = 8 * 1024 * 1024;
/// Where journald takes streams.
pub const JOURNAL: &str = "/run/systemd/journal/stdout";

/// A service's output and what the service is told about it.
#[derive(Debug)]
pub struct Output {
    /// The descriptor for stdout and stderr.
    pub fd: OwnedFd,
    /// The value of `JOURNAL_STREAM` if it is the journal's.
    pub journal_stream: Option<String>,
}

/// Opens the journal's stream for this service if there is a journal, else `LOG/NAME.log`.
///
/// `name` must be one path component.
pub fn open(log: &Path, name: &str) -> io::Result<Output> {
    if Path::new(JOURNAL).exists() {
        // A journal that is being restarted must not keep a service from starting.
        if let Ok(output) = open_journal(Path::new(JOURNAL), name) {
            return Ok(output);
        }
    }
    open_file(log, name)
}

/// Opens a stream at the journal's socket.
pub fn open_journal(socket: &Path, name: &str) -> io::Result<Output> {
    let mut stream = UnixStream::connect(socket)?;
    stream.shutdown(Shutdown::Read)?;
    let name: String = name
        .chars()
        .map(|char| if char.is_control() { '_' } else { char })
        .collect();
    // Identifier, unit (empty: journald finds it), priority 6 (info), "<N>" prefixes are understood, and
    // nothing is forwarded to syslog, kmsg or the console beyond what journald does itself.
    stream.write_all(format!("{name}\n\n6\n1\n0\n0\n0\n").as_bytes())?;
    let fd = OwnedFd::from(stream);
    let stat = rustix::fs::fstat(&fd)?;
    Ok(Output {
        journal_stream: Some(format!("{}:{}", stat.st_dev, stat.st_ino)),
        fd,
    })
}

/// Opens `LOG/NAME.log` for appending, moving a long one aside first.
pub fn open_file(log: &Path, name: &str) -> io::Result<Output> {
    let path = file(log, name)?;
    match fs::symlink_metadata(&path) {
        Ok(found) if found.len() >= LIMIT => fs::rename(&path, older(&path))?,
        Ok(_) | Err(_) => {}
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY)
        .open(&path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the log is not a regular file",
        ));
    }
    Ok(Output {
        fd: file.into(),
        journal_stream: None,
    })
}

/// The log file of this name.
pub fn file(log: &Path, name: &str) -> io::Result<PathBuf> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a name for a log file",
        ));
    }
    Ok(log.join(format!("{name}.log")))
}

fn older(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    PathBuf::from(name)
}

/// Moves the head of a log file that has grown beyond [`LIMIT`] to `.1`, in place; true if it was cut.
///
/// It copies up to 8 MiB, so it belongs on a thread that may wait.
/// A program that opened the file by itself without O_APPEND keeps its offset and leaves a hole.
pub fn enforce_limit(path: &Path) -> io::Result<bool> {
    let mut source = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    let found = source.metadata()?;
    if found.len() < LIMIT {
        return Ok(false);
    }
    // Only whole blocks can be cut off in front, and at least one byte has to stay.
    let block = found.blksize().max(4096);
    let head = (found.len() - 1) / block * block;

    let aside = older(path);
    let mut fresh = OsString::from(&aside);
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let _ = fs::remove_file(&fresh);
    let mut copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&fresh)?;
    // Of a file that grew far beyond the limit the newest part is what the older file may hold.
    let skip = head.saturating_sub(LIMIT);
    io::Seek::seek(&mut source, io::SeekFrom::Start(skip))?;
    io::copy(&mut (&mut source).take(head - skip), &mut copy)?;

    let cut = match rustix::fs::fallocate(source.as_fd(), FallocateFlags::COLLAPSE_RANGE, 0, head) {
        Ok(()) => Ok(()),
        Err(_) => {
            io::copy(&mut source, &mut copy)?;
            File::set_len(&source, 0)
        }
    };
    fs::rename(&fresh, &aside)?;
    cut.map(|()| true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A folder that goes with the test.
    pub(in super::super) struct Folder(pub(in super::super) PathBuf);

    impl Folder {
        pub(in super::super) fn new() -> Self {
            let name = format!("arrival-{}", super::super::sys::random_word());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_journal_is_told_the_name_and_nothing_that_breaks_its_header() {
        let folder = Folder::new();
        let path = folder.0.join("stdout");
        let listener = UnixListener::bind(&path).unwrap();
        let output = open_journal(&path, "gps\nd").unwrap();
        let stat = rustix::fs::fstat(&output.fd).unwrap();
        assert_eq!(
            output.journal_stream.unwrap(),
            format!("{}:{}", stat.st_dev, stat.st_ino)
        );
        File::from(output.fd).write_all(b"hello\n").unwrap();
        let mut text = String::new();
        listener
            .accept()
            .unwrap()
            .0
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "gps_d\n\n6\n1\n0\n0\n0\nhello\n");
    }

    #[test]
    fn a_long_log_is_moved_aside_when_a_run_starts() {
        let folder = Folder::new();
        let path = file(&folder.0, "svc").unwrap();
        fs::write(&path, "first\n").unwrap();
        File::from(open_file(&folder.0, "svc").unwrap().fd)
            .write_all(b"second\n")
            .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\nsecond\n");
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(LIMIT)
            .unwrap();
        File::from(open_file(&folder.0, "svc").unwrap().fd)
            .write_all(b"third\n")
            .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third\n");
        assert_eq!(fs::metadata(older(&path)).unwrap().len(), LIMIT);
    }

    #[test]
    fn a_log_that_grows_during_a_run_is_cut_in_front_and_keeps_its_tail() {
        let folder = Folder::new();
        let mut log = File::from(open_file(&folder.0, "svc").unwrap().fd);
        let path = file(&folder.0, "svc").unwrap();
        assert!(!enforce_limit(&path).unwrap());
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..LIMIT / 1024 {
            log.write_all(line.as_bytes()).unwrap();
        }
        log.write_all(b"the end\n").unwrap();
        assert!(enforce_limit(&path).unwrap());
        log.write_all(b"and on\n").unwrap();
        let tail = fs::read_to_string(&path).unwrap();
        let head = fs::read_to_string(older(&path)).unwrap();
        assert!(tail.len() < 100_000, "{}", tail.len());
        let all = head + &tail;
        assert!(all.ends_with("the end\nand on\n"));
        assert_eq!(all.len() as u64, LIMIT + 15);
    }

    #[test]
    fn a_log_is_never_written_through_a_link() {
        let folder = Folder::new();
        let victim = folder.0.join("victim");
        fs::write(&victim, "").unwrap();
        std::os::unix::fs::symlink(&victim, folder.0.join("svc.log")).unwrap();
        assert!(open_file(&folder.0, "svc").is_err());
        for bad in ["", ".", "..", "a/b", ".hidden"] {
            assert!(open_file(&folder.0, bad).is_err(), "{bad}");
        }
    }
}
