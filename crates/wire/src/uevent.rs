//! Kernel object events as the kernel and udev send them over netlink.
//!
//! The kernel (multicast group 1) sends text strings, each ended by a zero byte; the first one is
//! the header, the others are properties:
//!
//! ```text
//! datagram = action "@" devpath NUL { key "=" value NUL }
//! ```
//!
//! udevd (group 2) sends a header of at least 40 bytes and then the properties alone:
//!
//! | offset | field | byte order |
//! |---|---|---|
//! | 0 | prefix, `libudev` and a zero byte | |
//! | 8 | magic 0xfeedcafe | big endian |
//! | 12 | size of the header | native |
//! | 16 | where the properties begin | native |
//! | 20 | how many bytes they have | native |
//! | 24 | hash of the subsystem, for filters | big endian |
//! | 28 | hash of the device type | big endian |
//! | 32 | Bloom filter of the tags, high half, then low half | big endian |
//!
//! Both always have ACTION, DEVPATH, SUBSYSTEM and SEQNUM. Nothing here says who sent a datagram:
//! whoever receives it must check that first. Parsing borrows; values are bytes, because the
//! kernel copies names that devices and users chose.
//!
//! Sources: `lib/kobject_uevent.c` and `Documentation/ABI/testing/sysfs-uevent` of the kernel,
//! `sd-device/device-monitor.c` of systemd.

use std::fmt;

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action<'a> {
    /// The device exists.
    Add,
    /// The device is gone.
    Remove,
    /// Something about it changed.
    Change,
    /// It has another path; the old one is in DEVPATH_OLD.
    Move,
    /// It may be used again.
    Online,
    /// It is about to be unused.
    Offline,
    /// A driver was bound.
    Bind,
    /// A driver was unbound.
    Unbind,
    /// A word that this version does not know.
    Other(&'a [u8]),
}

impl<'a> Action<'a> {
    /// The action that this word names.
    pub fn from_bytes(word: &'a [u8]) -> Self {
        match word {
            b"add" => Action::Add,
            b"remove" => Action::Remove,
            b"change" => Action::Change,
            b"move" => Action::Move,
            b"online" => Action::Online,
            b"offline" => Action::Offline,
            b"bind" => Action::Bind,
            b"unbind" => Action::Unbind,
            other => Action::Other(other),
        }
    }

    /// The word on the wire.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Action::Add => b"add",
            Action::Remove => b"remove",
            Action::Change => b"change",
            Action::Move => b"move",
            Action::Online => b"online",
            Action::Offline => b"offline",
            Action::Bind => b"bind",
            Action::Unbind => b"unbind",
            Action::Other(word) => word,
        }
    }
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

/// One event, borrowed from its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uevent<'a> {
    action: Action<'a>,
    devpath: &'a [u8],
    subsystem: &'a [u8],
    seqnum: u64,
    properties: &'a [u8],
}

/// Why a datagram is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UeventError {
    /// There is nothing in it.
    #[error("the datagram is empty")]
    Empty,
    /// The last string has no end.
    #[error("the string at byte {offset} is not ended by a zero byte")]
    Unterminated {
        /// Where the string begins.
        offset: usize,
    },
    /// The first string of a kernel datagram is not `ACTION@DEVPATH`.
    #[error("the first string '{text}' is not ACTION@DEVPATH")]
    NoHeader {
        /// The string, escaped.
        text: String,
    },
    /// A string is not `KEY=VALUE`.
    #[error("the string '{text}' at byte {offset} is not KEY=VALUE")]
    NoProperty {
        /// Where the string begins.
        offset: usize,
        /// The string, escaped.
        text: String,
    },
    /// A property that every event has is missing.
    #[error("the property {key} is missing")]
    Missing {
        /// Its name.
        key: &'static str,
    },
    /// A property contradicts the header or is not of its form.
    #[error("the property {key} has the value '{value}', expected {expected}")]
    Wrong {
        /// Its name.
        key: &'static str,
        /// Its value, escaped.
        value: String,
        /// What would have been right.
        expected: &'static str,
    },
    /// A udev packet is shorter than its header says, or than any header.
    #[error("the packet has {length} bytes, expected at least {expected}")]
    Short {
        /// How long it is.
        length: usize,
        /// How long it would have to be.
        expected: usize,
    },
    /// A udev packet does not begin as one.
    #[error("the packet does not begin with 'libudev' and 0xfeedcafe")]
    NoMagic,
    /// The udev header's properties begin inside the header.
    #[error("the properties begin at byte {offset}, inside the header")]
    BadOffset {
        /// Where they are said to begin.
        offset: usize,
    },
}

/// The first bytes of a udev packet.
const UDEV_PREFIX: &[u8; 8] = b"libudev\0";
/// The number after them.
const UDEV_MAGIC: u32 = 0xfeed_cafe;
/// The size of the header of the only version there is.
const UDEV_HEADER: usize = 40;

impl<'a> Uevent<'a> {
    /// Reads a datagram of the kernel's group.
    pub fn parse_kernel(datagram: &'a [u8]) -> Result<Self, UeventError> {
        if datagram.is_empty() {
            return Err(UeventError::Empty);
        }
        let (header, properties) =
            split_once(datagram, 0).ok_or(UeventError::Unterminated { offset: 0 })?;
        let no_header = || UeventError::NoHeader {
            text: header.escape_ascii().to_string(),
        };
        let (action, devpath) = split_once(header, b'@').ok_or_else(no_header)?;
        if action.is_empty() || !devpath.starts_with(b"/") {
            return Err(no_header());
        }
        let event = Self::parse_properties(properties, header.len() + 1)?;
        if event.action.as_bytes() != action {
            return Err(event.wrong("ACTION", event.action.as_bytes(), "that of the header"));
        }
        if event.devpath != devpath {
            return Err(event.wrong("DEVPATH", event.devpath, "that of the header"));
        }
        Ok(event)
    }

    /// Reads a packet of udevd's group.
    pub fn parse_udev(packet: &'a [u8]) -> Result<Self, UeventError> {
        if packet.is_empty() {
            return Err(UeventError::Empty);
        }
        let short = |expected| UeventError::Short {
            length: packet.len(),
            expected,
        };
        let word = |offset: usize| -> Result<[u8; 4], UeventError> {
            let bytes = packet.get(offset..offset + 4);
            bytes
                .and_then(|b| b.try_into().ok())
                .ok_or_else(|| short(UDEV_HEADER))
        };
        if packet.len() < UDEV_HEADER {
            return Err(short(UDEV_HEADER));
        }
        if !packet.starts_with(UDEV_PREFIX) || u32::from_be_bytes(word(8)?) != UDEV_MAGIC {
            return Err(UeventError::NoMagic);
        }
        let size = |offset| -> Result<usize, UeventError> {
            Ok(usize::try_from(u32::from_ne_bytes(word(offset)?)).unwrap_or(usize::MAX))
        };
        let (header, offset, length) = (size(12)?, size(16)?, size(20)?);
        if offset < UDEV_HEADER || offset < header {
            return Err(UeventError::BadOffset { offset });
        }
        let end = offset.saturating_add(length);
        let properties = packet.get(offset..end).ok_or_else(|| short(end))?;
        Self::parse_properties(properties, offset)
    }

    /// Reads the strings that both forms share; `base` is where they begin in the datagram.
    fn parse_properties(properties: &'a [u8], base: usize) -> Result<Self, UeventError> {
        let mut rest = properties;
        let mut offset = base;
        let mut known: [Option<&'a [u8]>; 4] = [None; 4];
        while !rest.is_empty() {
            let (string, after) =
                split_once(rest, 0).ok_or(UeventError::Unterminated { offset })?;
            let (key, value) = split_once(string, b'=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| UeventError::NoProperty {
                    offset,
                    text: string.escape_ascii().to_string(),
                })?;
            if let Some(slot) = REQUIRED
                .iter()
                .position(|name| name.as_bytes() == key)
                .and_then(|index| known.get_mut(index))
            {
                // The kernel appends, so the first of two equal keys is its own.
                slot.get_or_insert(value);
            }
            offset += string.len() + 1;
            rest = after;
        }
        let missing = |key| UeventError::Missing { key };
        let [action, devpath, subsystem, seqnum] = known;
        let event = Uevent {
            action: Action::from_bytes(action.ok_or(missing("ACTION"))?),
            devpath: devpath.ok_or(missing("DEVPATH"))?,
            subsystem: subsystem.ok_or(missing("SUBSYSTEM"))?,
            seqnum: 0,
            properties,
        };
        if !event.devpath.starts_with(b"/") {
            return Err(event.wrong("DEVPATH", event.devpath, "a path from the root"));
        }
        let digits = seqnum.ok_or(missing("SEQNUM"))?;
        let seqnum = decimal(digits)
            .ok_or_else(|| event.wrong("SEQNUM", digits, "a decimal number of 64 bits"))?;
        Ok(Uevent { seqnum, ..event })
    }

    fn wrong(&self, key: &'static str, value: &[u8], expected: &'static str) -> UeventError {
        UeventError::Wrong {
            key,
            value: value.escape_ascii().to_string(),
            expected,
        }
    }

    /// What happened.
    pub fn action(&self) -> Action<'a> {
        self.action
    }

    /// The device's path below the sysfs mount, beginning with `/`.
    pub fn devpath(&self) -> &'a [u8] {
        self.devpath
    }

    /// The kernel subsystem, such as `net`.
    pub fn subsystem(&self) -> &'a [u8] {
        self.subsystem
    }

    /// The event's number in the kernel's one counter over all namespaces.
    pub fn seqnum(&self) -> u64 {
        self.seqnum
    }

    /// The old path, in a `move`.
    pub fn devpath_old(&self) -> Option<&'a [u8]> {
        self.get("DEVPATH_OLD")
    }

    /// Whether a program asked for this event by writing to a `uevent` file.
    pub fn is_synthetic(&self) -> bool {
        self.get("SYNTH_UUID").is_some()
    }

    /// The first value of a property.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.properties()
            .find(|(name, _)| *name == key.as_bytes())
            .map(|(_, value)| value)
    }

    /// All properties, in order.
    pub fn properties(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.properties
            .split(|byte| *byte == 0)
            .filter_map(|string| split_once(string, b'='))
    }
}

/// The properties that every event has.
const REQUIRED: [&str; 4] = ["ACTION", "DEVPATH", "SUBSYSTEM", "SEQNUM"];

fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = bytes.iter().position(|byte| *byte == at)?;
    let (before, after) = bytes.split_at_checked(position)?;
    Some((before, after.get(1..)?))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    const TAP: &[u8] =
        b"add@/devices/virtual/net/tap0\0ACTION=add\0DEVPATH=/devices/virtual/net/tap0\0\
        SUBSYSTEM=net\0INTERFACE=tap0\0IFINDEX=2\0SEQNUM=824\0";

    fn udev_packet(properties: &[u8]) -> Vec<u8> {
        let mut packet = UDEV_PREFIX.to_vec();
        packet.extend(UDEV_MAGIC.to_be_bytes());
        for number in [40_u32, 40, properties.len() as u32] {
            packet.extend(number.to_ne_bytes());
        }
        packet.extend([0; 16]);
        packet.extend(properties);
        packet
    }

    const LOOP: &[u8] = b"ACTION=add\0DEVPATH=/devices/virtual/block/loop77\0SUBSYSTEM=block\0\
        DEVNAME=/dev/loop77\0SEQNUM=9\0";

    #[test]
    fn a_kernel_event_is_read_with_its_properties() {
        let event = Uevent::parse_kernel(TAP).unwrap();
        assert_eq!(event.action(), Action::Add);
        assert_eq!(event.devpath(), b"/devices/virtual/net/tap0");
        assert_eq!(event.subsystem(), b"net");
        assert_eq!(event.seqnum(), 824);
        assert_eq!(event.get("IFINDEX"), Some(&b"2"[..]));
        assert_eq!(event.get("DRIVER"), None);
        assert_eq!(event.properties().count(), 6);
        assert!(!event.is_synthetic());
    }

    #[test]
    fn a_udev_packet_is_read_with_its_properties() {
        let packet = udev_packet(LOOP);
        let event = Uevent::parse_udev(&packet).unwrap();
        assert_eq!(event.seqnum(), 9);
        assert_eq!(event.get("DEVNAME"), Some(&b"/dev/loop77"[..]));
    }

    #[test]
    fn every_action_is_known_by_its_word_and_unknown_words_are_kept() {
        for word in [
            "add", "remove", "change", "move", "online", "offline", "bind", "unbind", "melt",
        ] {
            let action = Action::from_bytes(word.as_bytes());
            assert_eq!(action.as_bytes(), word.as_bytes());
            assert_eq!(matches!(action, Action::Other(_)), word == "melt");
        }
    }

    #[test]
    fn each_defect_has_its_own_exact_error() {
        let kernel = |bytes: &[u8]| Uevent::parse_kernel(bytes).unwrap_err().to_string();
        assert_eq!(kernel(b""), "the datagram is empty");
        assert_eq!(
            kernel(b"add@/x"),
            "the string at byte 0 is not ended by a zero byte"
        );
        assert_eq!(
            kernel(b"add /x\0"),
            "the first string 'add /x' is not ACTION@DEVPATH"
        );
        assert_eq!(
            kernel(b"add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=s\0"),
            "the property SEQNUM is missing"
        );
        assert_eq!(
            kernel(b"add@/x\0ACTION=add\0rubbish\0"),
            "the string 'rubbish' at byte 18 is not KEY=VALUE"
        );
        assert_eq!(
            kernel(b"add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=s\0SEQNUM=1"),
            "the string at byte 41 is not ended by a zero byte"
        );
        assert_eq!(
            kernel(b"add@/x\0ACTION=add\0DEVPATH=/y\0SUBSYSTEM=s\0SEQNUM=1\0"),
            "the property DEVPATH has the value '/y', expected that of the header"
        );
        assert_eq!(
            kernel(b"add@/x\0ACTION=add\0DEVPATH=/x\0SUBSYSTEM=s\0SEQNUM=-1\0"),
            "the property SEQNUM has the value '-1', expected a decimal number of 64 bits"
        );

        let udev = |bytes: &[u8]| Uevent::parse_udev(bytes).unwrap_err().to_string();
        let good = udev_packet(LOOP);
        assert_eq!(
            udev(&good[..39]),
            "the packet has 39 bytes, expected at least 40"
        );
        assert_eq!(
            udev(&good[..good.len() - 1]),
            format!(
                "the packet has {} bytes, expected at least {}",
                good.len() - 1,
                good.len()
            )
        );
        assert_eq!(
            udev(TAP),
            "the packet does not begin with 'libudev' and 0xfeedcafe"
        );
        let mut inside = good.clone();
        inside[16..20].copy_from_slice(&12_u32.to_ne_bytes());
        assert_eq!(
            udev(&inside),
            "the properties begin at byte 12, inside the header"
        );
        let mut endless = good;
        endless[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(Uevent::parse_udev(&endless).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Uevent::parse_kernel(&bytes);
            let _ = Uevent::parse_udev(&bytes);
            let _ = Uevent::parse_udev(&udev_packet(&bytes));
        }

        #[test]
        fn a_damaged_event_is_refused_or_still_has_a_path(
            position in 0..TAP.len(), byte in any::<u8>(), cut in 0..TAP.len(),
        ) {
            let mut bytes = TAP.to_vec();
            bytes[position] = byte;
            for bytes in [&bytes[..], &bytes[..cut]] {
                if let Ok(event) = Uevent::parse_kernel(bytes) {
                    prop_assert!(event.devpath().starts_with(b"/"));
                    prop_assert!(event.properties().all(|(key, _)| !key.is_empty()));
                }
            }
        }

        #[test]
        fn an_event_survives_the_way_through_its_text(
            action in "[a-z]{1,8}", path in "/[ -~&&[^\0]]{0,40}", seqnum in any::<u64>(),
            extra in prop::collection::vec(("[A-Z_]{9,12}", "[ -~]{0,12}"), 0..5),
        ) {
            let mut text = format!(
                "{action}@{path}\0ACTION={action}\0DEVPATH={path}\0SUBSYSTEM=s\0SEQNUM={seqnum}\0"
            );
            for (key, value) in &extra {
                text.push_str(&format!("{key}={value}\0"));
            }
            let event = Uevent::parse_kernel(text.as_bytes()).unwrap();
            prop_assert_eq!(event.action().as_bytes(), action.as_bytes());
            prop_assert_eq!(event.devpath(), path.as_bytes());
            prop_assert_eq!(event.seqnum(), seqnum);
            for (index, (key, value)) in event.properties().skip(4).enumerate() {
                prop_assert_eq!(key, extra[index].0.as_bytes());
                prop_assert_eq!(value, extra[index].1.as_bytes());
            }
        }
    }
}
