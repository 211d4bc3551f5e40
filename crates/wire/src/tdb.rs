//! Samba's trivial database, read only.
//!
//! ```text
//! offset  bytes  what
//! 0       32     "TDB file\n", then anything
//! 32      4      version: 0x2601196d
//! 36      4      number of hash chains
//! 168     4      the chain of free records
//! 172     4 * n  the offset of each chain's first record; 0 means none
//!
//! record: next, room, length of the key, length of the data, hash, magic 0x26011999: 4 bytes each;
//!         then the key, then the data
//! ```
//!
//! Numbers are in the byte order of whoever made the file, which the version shows. Other magics mean
//! free and dead records, which stand in no chain. A file that is being written may have any of its
//! numbers wrong: an offset beyond its end, or a chain that comes back to itself, is an error.
//!
//! Source: Samba, lib/tdb/common/tdb_private.h.

use std::collections::BTreeSet;
use std::fmt;

const MAGIC: &[u8] = b"TDB file\n";
const VERSION: u32 = 0x2601_196d;
const RECORD: u32 = 0x2601_1999;
/// Where the offsets of the chains begin.
const CHAINS: usize = 172;
/// How long the head of a record is.
const HEAD: usize = 24;
/// The most hash chains; Samba makes 131 unless told otherwise.
const MOST_CHAINS: usize = 1 << 20;
/// The most records that are read.
const MOST_RECORDS: usize = 1 << 20;

/// Why bytes are no database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdbError {
    /// Where, in bytes from the beginning.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for TdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no TDB file: {} at byte {}", self.what, self.offset)
    }
}

impl std::error::Error for TdbError {}

/// A key and its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'b> {
    /// The key, as it is stored.
    pub key: &'b [u8],
    /// The data.
    pub data: &'b [u8],
}

/// Reads all records, chain by chain.
///
/// # Errors
///
/// The first place at which the bytes are no database.
pub fn records(bytes: &[u8]) -> Result<Vec<Record<'_>>, TdbError> {
    let wrong = |offset, what| TdbError { offset, what };
    if !bytes.starts_with(MAGIC) {
        return Err(wrong(0, "the magic is missing"));
    }
    let raw = |offset: usize| -> Result<[u8; 4], TdbError> {
        let four = bytes.get(offset..).and_then(|rest| rest.first_chunk::<4>());
        four.copied().ok_or(wrong(offset, "the file ends"))
    };
    let version = raw(32)?;
    let swapped = if u32::from_le_bytes(version) == VERSION {
        false
    } else if u32::from_be_bytes(version) == VERSION {
        true
    } else {
        return Err(wrong(32, "the version is unknown"));
    };
    let number = |offset: usize| -> Result<usize, TdbError> {
        let four = raw(offset)?;
        let number = if swapped {
            u32::from_be_bytes(four)
        } else {
            u32::from_le_bytes(four)
        };
        Ok(number as usize)
    };
    let chains = number(36)?;
    if chains == 0 || chains > MOST_CHAINS {
        return Err(wrong(36, "the number of hash chains is impossible"));
    }
    let mut seen = BTreeSet::new();
    let mut records = Vec::new();
    for chain in 0..chains {
        let mut place = CHAINS + 4 * chain;
        loop {
            let record = number(place)?;
            if record == 0 {
                break;
            }
            if !seen.insert(record) {
                return Err(wrong(place, "a chain comes back to itself"));
            }
            if records.len() == MOST_RECORDS {
                return Err(wrong(place, "there are too many records"));
            }
            // The sums cannot overflow: each part has 32 bits, a place 64 or the slices fail.
            let (key, data) = (
                number(record.saturating_add(8))?,
                number(record.saturating_add(12))?,
            );
            if number(record.saturating_add(20))? != RECORD as usize {
                return Err(wrong(record, "a record has no magic"));
            }
            let begin = record.saturating_add(HEAD);
            let middle = begin.saturating_add(key);
            let end = middle.saturating_add(data);
            let (Some(key), Some(data)) = (bytes.get(begin..middle), bytes.get(middle..end)) else {
                return Err(wrong(record, "a record ends behind the file"));
            };
            records.push(Record { key, data });
            place = record;
        }
    }
    Ok(records)
}

/// A security identifier as Samba stores it, in its text form; none if it is none.
pub fn sid(bytes: &[u8]) -> Option<String> {
    let (revision, rest) = bytes.split_first()?;
    let (count, rest) = rest.split_first()?;
    let (authority, rest) = rest.split_at_checked(6)?;
    let authority = authority
        .iter()
        .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mut text = format!("S-{revision}-{authority}");
    let parts = rest.get(..4 * usize::from(*count))?;
    for part in parts.chunks_exact(4) {
        let part = u32::from_le_bytes(part.try_into().ok()?);
        text.push_str(&format!("-{part}"));
    }
    (*revision == 1 && *count <= 15).then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JOINED: &[u8] = include_bytes!("../tests/data/secrets_joined.tdb");
    const LEFT: &[u8] = include_bytes!("../tests/data/secrets_left.tdb");

    fn keys(bytes: &[u8]) -> Vec<String> {
        let mut keys: Vec<String> = records(bytes)
            .unwrap()
            .iter()
            .map(|record| {
                String::from_utf8_lossy(record.key)
                    .trim_end_matches('\0')
                    .to_owned()
            })
            .collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_secrets_of_a_member_are_read() {
        let keys = keys(JOINED);
        for key in [
            "SECRETS/MACHINE_PASSWORD/SCM",
            "SECRETS/MACHINE_DOMAIN_INFO/SCM",
        ] {
            assert!(keys.iter().any(|own| own == key), "{keys:?}");
        }
        let records = records(JOINED).unwrap();
        let own = records
            .iter()
            .find(|record| record.key.starts_with(b"SECRETS/SID/SCM"));
        let text = sid(own.unwrap().data).unwrap();
        assert!(text.starts_with("S-1-5-21-"), "{text}");
    }

    #[test]
    fn the_secrets_of_one_that_has_left_have_no_password() {
        let keys = keys(LEFT);
        assert!(
            !keys
                .iter()
                .any(|key| key.starts_with("SECRETS/MACHINE_PASSWORD/")),
            "{keys:?}"
        );
    }

    #[test]
    fn what_is_no_database_is_refused_with_the_place() {
        let told = |bytes: &[u8]| records(bytes).unwrap_err().to_string();
        assert_eq!(told(b""), "no TDB file: the magic is missing at byte 0");
        assert_eq!(told(b"TDB file\n"), "no TDB file: the file ends at byte 32");
        let mut bytes = JOINED.to_vec();
        bytes[32] = 0;
        assert_eq!(
            told(&bytes),
            "no TDB file: the version is unknown at byte 32"
        );
        let mut bytes = JOINED.to_vec();
        bytes.truncate(500);
        assert!(told(&bytes).contains("the file ends"));
        // A record that is its own successor.
        let mut bytes = JOINED.to_vec();
        let chain = (0..).find(|chain| bytes[CHAINS + 4 * chain] != 0).unwrap();
        let place = CHAINS + 4 * chain;
        let record = u32::from_le_bytes(bytes[place..place + 4].try_into().unwrap()) as usize;
        bytes[record..record + 4].copy_from_slice(&(record as u32).to_le_bytes());
        assert!(told(&bytes).contains("comes back to itself"));
    }

    #[test]
    fn sids_have_their_text_form() {
        let bytes = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
        assert_eq!(sid(&bytes).unwrap(), "S-1-5-32-544");
        assert_eq!(sid(&bytes[..12]), None);
        assert_eq!(sid(&[]), None);
    }

    proptest! {
        #[test]
        fn any_change_of_a_database_is_read_or_refused(
            at in 0..JOINED.len(),
            length in 0..=JOINED.len(),
            bytes in proptest::collection::vec(any::<u8>(), 1..8),
        ) {
            let mut changed = JOINED.to_vec();
            for (place, byte) in changed.iter_mut().skip(at).zip(bytes) {
                *place = byte;
            }
            changed.truncate(length);
            let _ = records(&changed);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = records(&bytes);
            let _ = sid(&bytes);
        }
    }
}
