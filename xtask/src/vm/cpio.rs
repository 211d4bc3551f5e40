//! The archive that a kernel unpacks as its first file system.
//!
//! ```text
//! entry    "070701", 13 numbers of 8 hexadecimal digits, name, NUL, to a multiple of 4, data, to a multiple of 4
//! numbers  ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
//! end      an entry named TRAILER!!!
//! ```
//!
//! Source: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst` (newc).

use std::collections::BTreeSet;

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive that is being written.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    /// A folder, with those above it.
    pub(super) fn folder(&mut self, name: &str) {
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above);
        }
        if self.folders.insert(name.to_owned()) {
            self.entry(name, FOLDER | 0o755, &[]);
        }
    }

    /// A file, with the folders above it.
    pub(super) fn file(&mut self, name: &str, mode: u32, data: &[u8]) {
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above);
        }
        self.entry(name, FILE | mode, data);
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, name: &str, target: &str) {
        if let Some((above, _)) = name.rsplit_once('/') {
            self.folder(above);
        }
        self.entry(name, LINK | 0o777, target.as_bytes());
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let numbers = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            length(data.len()),
            0,
            0,
            0,
            0,
            length(name.len() + 1),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            self.bytes
                .extend_from_slice(format!("{number:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_brings_the_folders_above_it_once() {
        let mut archive = Archive::default();
        archive.file("a/b/c", 0o644, b"text");
        archive.file("a/b/d", 0o644, b"");
        let text = String::from_utf8_lossy(&archive.finish()).into_owned();
        assert_eq!(
            text.matches("070701").count(),
            5,
            "a, a/b, two files, the end"
        );
        assert!(text.contains("a/b/c\0text") || text.contains("a/b/c\0\0text"));
    }

    #[test]
    fn every_entry_begins_at_a_multiple_of_four() {
        let mut archive = Archive::default();
        for name in ["x", "xy", "xyz", "wxyz"] {
            archive.file(name, 0o600, name.as_bytes());
        }
        let bytes = archive.finish();
        let places = bytes
            .windows(6)
            .enumerate()
            .filter(|(_, six)| six == b"070701");
        assert!(places.map(|(place, _)| place % 4).all(|rest| rest == 0));
        assert_eq!(bytes.len() % 4, 0);
    }
}
