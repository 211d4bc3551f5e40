//! What the service writes down about itself: lines that are appended to a file.
//!
//! ```text
//! line  = verb SP time SP pid SP rest LF
//! verb  = "main" | "told" | "deaf" | "asked" | "cleaned"
//! time  = nanoseconds of CLOCK_BOOTTIME
//! rest  = main: why it was started    told: kind and name of an interface    deaf: why it is not told
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) verb: String,
    pub(super) time_ns: u64,
    pub(super) pid: i32,
    pub(super) rest: String,
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        Some(Entry {
            verb: words.next()?.to_owned(),
            time_ns: words.next()?.parse().ok()?,
            pid: words.next()?.parse().ok()?,
            rest: words.next()?.to_owned(),
        })
    }
}

/// Appends a line; one write, so that lines of several threads do not mix.
pub(super) fn append(path: &Path, verb: &str, time_ns: u64, rest: &str) -> io::Result<()> {
    let pid = std::process::id();
    let line = format!("{verb} {time_ns} {pid} {rest}\n");
    File::options()
        .append(true)
        .create(true)
        .open(path)?
        .write_all(line.as_bytes())
}

/// All complete lines; none if the service has never run.
pub(super) fn read(path: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').and_then(|end| text.get(..end));
    whole
        .map(|text| text.lines().filter_map(Entry::parse).collect())
        .unwrap_or_default()
}

/// Nanoseconds of the clock that the manager stamps its records with.
pub(super) fn boot_time_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
