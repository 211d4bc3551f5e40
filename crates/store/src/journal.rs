//! The run-time state of the daemon: records by key, which survive the daemon but not the boot.
//!
//! ```text
//! file   = header LF { change LF }
//! header = {"format":1,"boot":"<boot id>"}
//! change = [ item { "," item } ]           one line, one write(2)
//! item   = [ key, value ] | [ key ]        the second form removes the key
//! ```
//!
//! The file lies on a tmpfs. A write that has returned is kept whatever happens to the writer, so
//! nothing is synced, and a line is either whole or, if the writer was killed or the file system was
//! full in the midst of it, the last one and without its LF. The file is written anew, by rename, when
//! it is longer than four times what is alive, and than 64 KiB.
//!
//! | found | done |
//! |---|---|
//! | no file, or an empty one | begins empty |
//! | a last line without LF | dropped and reported |
//! | a line that is no change | what stands before it counts; the file is copied aside and reported |
//! | another boot id | begins empty, reported |
//! | a header that is none | begins empty; the file is put aside and reported |
//! | a newer format | refused; the file stays as it is |

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// The format that this version writes.
const FORMAT: u32 = 1;

/// Files shorter than this are never written anew.
const SMALL: u64 = 64 * 1024;

/// The most bytes of a file that are read; far beyond what a machine's devices can fill.
const FILE_LIMIT: u64 = 256 * 1024 * 1024;

/// The most bytes of one line.
const LINE_LIMIT: usize = 4 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    #[serde(default)]
    boot: String,
}

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A newer version wrote it; the file stays as it is.
    #[error(
        "{} has format {found}, and this version knows {FORMAT}: use the version that wrote it, or \
         move the file away and restart the services by hand",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A change is longer than a line may be.
    #[error("a change of {0} bytes is too long for the state file")]
    TooLong(usize),
    /// A value cannot be written as JSON.
    #[error("a value of the state cannot be written: {0}")]
    NotJson(serde_json::Error),
    /// The system refused; what the file held before is still in it.
    #[error("cannot {verb} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

/// What was remarkable about the file that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// It is of another boot, and nothing of it counts.
    #[error("the state is of another boot ({0}) and does not count")]
    OtherBoot(String),
    /// Its last line was not written to its end.
    #[error("the last {0} bytes of the state were not written to their end and do not count")]
    Torn(usize),
    /// A line in it is damaged; what stands before it counts.
    #[error("line {line} of the state is damaged; {}", rest_of(aside.as_deref()))]
    Damaged {
        /// The line, from 1.
        line: usize,
        /// Where the whole file was copied to, if there was space for that.
        aside: Option<PathBuf>,
    },
    /// Its first line is none of ours; the whole was put aside.
    #[error("the state does not begin with a header; it is kept in {}", aside.display())]
    NoHeader {
        /// Where the file is now.
        aside: PathBuf,
    },
}

fn rest_of(aside: Option<&Path>) -> String {
    match aside {
        Some(aside) => format!("all of it is kept in {}", aside.display()),
        None => "what follows it is lost".to_owned(),
    }
}

/// What the file held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// The records that are alive.
    pub records: BTreeMap<String, Value>,
    /// What was remarkable.
    pub findings: Vec<Finding>,
}

/// The open state file; it remembers keys and lengths, not values.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    boot: String,
    file: File,
    /// How many bytes of the file are whole lines.
    size: u64,
    /// Whether bytes of a failed write may lie behind them.
    dirty: bool,
    /// The bytes that each live record needs.
    live: BTreeMap<Box<str>, u64>,
    live_bytes: u64,
    /// Writing anew is not tried below this size, after it failed.
    retry_at: u64,
    failed_compactions: u64,
}

/// The id of this boot.
///
/// # Errors
///
/// If /proc is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

impl Journal {
    /// Opens `journal` in the folder and reads what is alive in it.
    ///
    /// # Errors
    ///
    /// [`JournalError::Newer`] leaves everything as it is; damage is no error but a [`Finding`].
    pub fn open(dir: &Path, boot: &str) -> Result<(Self, Recovered), JournalError> {
        let path = dir.join("journal");
        let mut recovered = Recovered::default();
        let loaded = load(&path, boot, &mut recovered)?;
        let mut journal = match loaded {
            Some(size) => {
                let file = open_to_append(&path).map_err(|cause| failed("open", &path, cause))?;
                // A torn line must not become the beginning of the next one.
                file.set_len(size)
                    .map_err(|cause| failed("shorten", &path, cause))?;
                Journal::around(path, boot, file, size)
            }
            None => {
                let header = header_line(boot)?;
                let file =
                    write_anew(&path, &header).map_err(|cause| failed("write", &path, cause))?;
                Journal::around(path, boot, file, header.len() as u64)
            }
        };
        for (key, value) in &recovered.records {
            let item = item(key, Some(value))?;
            journal.remember(key, Some(item.len() as u64 + 3));
        }
        Ok((journal, recovered))
    }

    fn around(path: PathBuf, boot: &str, file: File, size: u64) -> Self {
        Journal {
            path,
            boot: boot.to_owned(),
            file,
            size,
            dirty: false,
            live: BTreeMap::new(),
            live_bytes: 0,
            retry_at: 0,
            failed_compactions: 0,
        }
    }

    /// Writes changes as one line: values to set, and none to remove a record.
    ///
    /// # Errors
    ///
    /// After an error the file holds what it held before, and nothing of these changes.
    pub fn append<K: AsRef<str>, V: Serialize>(
        &mut self,
        changes: &[(K, Option<V>)],
    ) -> Result<(), JournalError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut line = String::from("[");
        let mut lengths = Vec::with_capacity(changes.len());
        for (index, (key, value)) in changes.iter().enumerate() {
            if index > 0 {
                line.push(',');
            }
            let item = item(key.as_ref(), value.as_ref())?;
            // Brackets and the line's end count too: a line of its own is what rewriting makes of it.
            lengths.push(value.is_some().then_some(item.len() as u64 + 3));
            line.push_str(&item);
        }
        line.push_str("]\n");
        if line.len() > LINE_LIMIT {
            return Err(JournalError::TooLong(line.len()));
        }
        self.write(line.as_bytes())?;
        for ((key, _), length) in changes.iter().zip(lengths) {
            self.remember(key.as_ref(), length);
        }
        if self.size > SMALL.max(4 * self.live_bytes) && self.size >= self.retry_at {
            // The changes are safe in the long file, so this failure is no failure of theirs.
            if self.compact().is_err() {
                self.failed_compactions += 1;
                self.retry_at = self.size + SMALL;
            }
        }
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> Result<(), JournalError> {
        if self.dirty {
            self.cut()?;
        }
        // The file is open to append, so write_all is one write(2) unless the file system is full.
        match self.file.write_all(line) {
            Ok(()) => {
                self.size += line.len() as u64;
                Ok(())
            }
            Err(cause) => {
                self.dirty = true;
                // A second failure is found again before the next write.
                let _ = self.cut();
                Err(failed("write", &self.path, cause))
            }
        }
    }

    /// Removes what a failed write left behind the last whole line.
    fn cut(&mut self) -> Result<(), JournalError> {
        self.file
            .set_len(self.size)
            .map_err(|cause| failed("shorten", &self.path, cause))?;
        self.dirty = false;
        Ok(())
    }

    fn remember(&mut self, key: &str, length: Option<u64>) {
        let before = match length {
            Some(length) => {
                self.live_bytes += length;
                self.live.insert(key.into(), length)
            }
            None => self.live.remove(key),
        };
        self.live_bytes -= before.unwrap_or(0);
    }

    /// Writes the live records into a new file, which takes the old one's place.
    ///
    /// # Errors
    ///
    /// The old file is still in use then, with everything in it.
    pub fn compact(&mut self) -> Result<(), JournalError> {
        let error = |cause| failed("write anew", &self.path, cause);
        let mut latest: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
        let file = File::open(&self.path).map_err(error)?;
        let mut lines = BufReader::new(file.take(self.size));
        let mut line = Vec::new();
        let mut first = true;
        while lines.read_until(b'\n', &mut line).map_err(error)? > 0 {
            if !std::mem::take(&mut first) {
                // Every line was written by us, or read by us at the start.
                let items: Vec<Item> = parse_line(&line)
                    .ok_or_else(|| error(io::Error::from(io::ErrorKind::InvalidData)))?;
                for Item(key, value) in items {
                    match value {
                        Some(value) => drop(latest.insert(key, value)),
                        None => drop(latest.remove(&key)),
                    }
                }
            }
            line.clear();
        }
        let mut text = header_line(&self.boot)?;
        for (key, value) in &latest {
            text.push('[');
            text.push_str(&item(key, Some(value))?);
            text.push_str("]\n");
        }
        let file = write_anew(&self.path, &text).map_err(error)?;
        self.file = file;
        self.size = text.len() as u64;
        self.dirty = false;
        self.retry_at = 0;
        Ok(())
    }

    /// How many bytes the file has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many records are alive.
    pub fn records(&self) -> usize {
        self.live.len()
    }

    /// How many bytes the live records need.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// How often writing anew failed, for want of space mostly.
    pub fn failed_compactions(&self) -> u64 {
        self.failed_compactions
    }
}

/// One item of a change, as it is read.
struct Item(String, Option<Box<RawValue>>);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> serde::de::Visitor<'de> for Pair {
            type Value = Item;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a key and perhaps a value")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Item, A::Error> {
                let key = seq
                    .next_element()?
                    .ok_or_else(|| serde::de::Error::invalid_length(0, &self))?;
                let value = seq.next_element()?;
                if value.is_some() && seq.next_element::<serde::de::IgnoredAny>()?.is_some() {
                    return Err(serde::de::Error::invalid_length(3, &self));
                }
                Ok(Item(key, value))
            }
        }
        deserializer.deserialize_seq(Pair)
    }
}

fn item<V: Serialize>(key: &str, value: Option<&V>) -> Result<String, JournalError> {
    let json = match value {
        Some(value) => serde_json::to_string(&(key, value)),
        None => serde_json::to_string(&(key,)),
    };
    json.map_err(JournalError::NotJson)
}

/// Reads a whole line; none if it is no change.
fn parse_line(line: &[u8]) -> Option<Vec<Item>> {
    // A rewritten record and a change of one item look alike: a list of items.
    serde_json::from_slice(line.strip_suffix(b"\n")?).ok()
}

fn header_line(boot: &str) -> Result<String, JournalError> {
    let header = Header {
        format: FORMAT,
        boot: boot.to_owned(),
    };
    let mut line = serde_json::to_string(&header).map_err(JournalError::NotJson)?;
    line.push('\n');
    Ok(line)
}

/// Reads the file; the length of its good part, or none if it must be begun anew.
fn load(path: &Path, boot: &str, recovered: &mut Recovered) -> Result<Option<u64>, JournalError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed("open", path, cause)),
    };
    let read_error = |cause| failed("read", path, cause);
    let mut lines = BufReader::new(file.take(FILE_LIMIT));
    let mut line = Vec::new();
    read_line(&mut lines, &mut line).map_err(read_error)?;
    if line.is_empty() {
        return Ok(None);
    }
    let header = line
        .ends_with(b"\n")
        .then(|| serde_json::from_slice::<Header>(&line).ok())
        .flatten();
    let Some(header) = header else {
        let aside = free_name(path);
        fs::rename(path, &aside).map_err(|cause| failed("put aside", path, cause))?;
        recovered.findings.push(Finding::NoHeader { aside });
        return Ok(None);
    };
    if header.format > FORMAT {
        return Err(JournalError::Newer {
            path: path.to_owned(),
            found: header.format,
        });
    }
    if header.boot != boot {
        recovered.findings.push(Finding::OtherBoot(header.boot));
        return Ok(None);
    }
    let mut good = line.len() as u64;
    let mut number = 1;
    loop {
        line.clear();
        number += 1;
        read_line(&mut lines, &mut line).map_err(read_error)?;
        if line.is_empty() {
            return Ok(Some(good));
        }
        let Some(items) = parse_line(&line) else {
            let last = !line.ends_with(b"\n") && line.len() <= LINE_LIMIT;
            if last {
                recovered.findings.push(Finding::Torn(line.len()));
            } else {
                let aside = free_name(path);
                let copied = fs::copy(path, &aside).is_ok();
                if !copied {
                    // A part of a copy helps nobody, and the space is needed.
                    let _ = fs::remove_file(&aside);
                }
                let aside = copied.then_some(aside);
                recovered.findings.push(Finding::Damaged {
                    line: number,
                    aside,
                });
            }
            return Ok(Some(good));
        };
        for Item(key, value) in items {
            let value = value.map(|value| serde_json::from_str(value.get()));
            match value {
                Some(Ok(value)) => drop(recovered.records.insert(key, value)),
                Some(Err(_)) | None => drop(recovered.records.remove(&key)),
            }
        }
        good += line.len() as u64;
    }
}

/// Reads to the next LF, or one byte beyond the limit.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    lines
        .by_ref()
        .take(LINE_LIMIT as u64 + 1)
        .read_until(b'\n', line)
        .map(drop)
}

/// A name beside the file that is not taken; the last one is used again when all are.
fn free_name(path: &Path) -> PathBuf {
    let name = |n: u32| path.with_extension(format!("aside-{n}"));
    (1..10)
        .map(name)
        .find(|name| !name.exists())
        .unwrap_or_else(|| name(10))
}

fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).open(path)
}

/// Writes a new file of mode 0600 and lets it take the place of the old one.
fn write_anew(path: &Path, text: &str) -> io::Result<File> {
    let new = path.with_extension("new");
    let written = (|| {
        // One that a crash left behind is of no use to anybody.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)?;
        Ok(file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

fn failed(verb: &'static str, path: &Path, cause: io::Error) -> JournalError {
    JournalError::Io {
        verb,
        path: path.to_owned(),
        cause,
    }
}
