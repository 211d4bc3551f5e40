//! udevd's entry of a device: a file `/run/udev/data/b8:1` of lines.
//!
//! | line | says |
//! |---|---|
//! | `S:disk/by-label/DATA` | a link below `/dev` that udevd made to the node |
//! | `I:1234567` | it has finished with the device, at so many microseconds after the boot |
//! | nothing at all: an empty file | it has finished with the device, and has nothing to say of it |
//! | `L:0`, `E:KEY=VALUE`, `G:tag`, `Q:tag`, `W:1`, `V:1` | its rank, properties and tags; not read here |
//!
//! Source: `src/libsystemd/sd-device/device-private.c` of systemd.

/// The longest entry that is read, in bytes.
pub const MAX_ENTRY: usize = 64 * 1024;
/// How many links of a node are kept.
pub const MAX_LINKS: usize = 64;
/// The longest link, in bytes, without `/dev/`.
const MAX_LINK: usize = 255;

/// The name of the entry of a node below `/run/udev/data`, if these are the numbers of one.
pub fn file_name(subsystem: &str, major: &str, minor: &str) -> Option<String> {
    let kind = if subsystem == "block" { 'b' } else { 'c' };
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    Some(format!("{kind}{major}:{minor}"))
}

/// What udevd knows of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdevEntry {
    /// It has finished with the device at least once.
    pub finished: bool,
    /// The links to its node, in order, each beginning with `/dev/`.
    pub links: Vec<String>,
}

impl UdevEntry {
    /// Reads an entry, which udevd writes as a whole when it has finished. A line that says nothing
    /// to us, or no sound path, is passed over.
    pub fn read(text: &[u8]) -> Self {
        let mut entry = UdevEntry {
            finished: text.is_empty(),
            links: Vec::new(),
        };
        for line in text.split(|byte| *byte == b'\n') {
            match line {
                [b'I', b':', ..] => entry.finished = true,
                [b'S', b':', link @ ..] if entry.links.len() < MAX_LINKS => {
                    let link = std::str::from_utf8(link).ok().filter(|link| is_sound(link));
                    entry.links.extend(link.map(|link| format!("/dev/{link}")));
                }
                _ => {}
            }
        }
        entry.links.sort_unstable();
        entry.links.dedup();
        entry
    }
}

/// Whether a link stays below `/dev` and can be shown.
fn is_sound(link: &str) -> bool {
    link.len() <= MAX_LINK
        && !link.chars().any(char::is_control)
        && link.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_says_links_and_whether_udevd_has_finished() {
        let entry = UdevEntry::read(
            b"S:disk/by-path/pci-0000:00:01.2-usb-0:2:1.0-scsi-0:0:0:0\nS:disk/by-diskseq/9\nI:20764312\n\
              E:ID_MODEL=QEMU_HARDDISK\nG:systemd\nQ:systemd\nV:1\n",
        );
        assert!(entry.finished);
        assert_eq!(
            entry.links,
            [
                "/dev/disk/by-diskseq/9",
                "/dev/disk/by-path/pci-0000:00:01.2-usb-0:2:1.0-scsi-0:0:0:0"
            ]
        );
        assert_eq!(UdevEntry::read(b"L:0\nE:I:1\n"), UdevEntry::default());
        assert!(UdevEntry::read(b"").finished, "it has nothing to say");
    }

    #[test]
    fn the_name_of_an_entry_has_two_numbers() {
        assert_eq!(file_name("block", "8", "1").as_deref(), Some("b8:1"));
        assert_eq!(file_name("tty", "188", "0").as_deref(), Some("c188:0"));
        assert_eq!(file_name("tty", "../../x", "0"), None);
    }

    #[test]
    fn a_link_that_leaves_the_folder_or_hides_something_is_none() {
        let odd: &[u8] = b"S:\nS:/etc/passwd\nS:a/../../etc\nS:./a\nS:a//b\nS:a\x1b[2J\nS:\xff\nS";
        assert_eq!(UdevEntry::read(odd).links, [""; 0]);
        let long = format!("S:{}\nS:{}\n", "a".repeat(256), "b".repeat(255));
        assert_eq!(UdevEntry::read(long.as_bytes()).links.len(), 1);
        let many: String = (0..200).map(|n| format!("S:l{n}\n")).collect();
        assert_eq!(UdevEntry::read(many.as_bytes()).links.len(), MAX_LINKS);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_stay_bounded(text in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let entry = UdevEntry::read(&text);
            prop_assert!(entry.links.len() <= MAX_LINKS);
            let sound = |link: &String| link.starts_with("/dev/") && !link.contains("/../");
            prop_assert!(entry.links.iter().all(sound));
        }
    }
}
