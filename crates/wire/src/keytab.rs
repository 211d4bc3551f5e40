//! Whose keys a Kerberos keytab holds.
//!
//! ```text
//! file   = 05 02 { entry }
//! entry  = length (4 bytes; a negative one is a hole to be skipped; 0 ends the file)
//!          number of components (2 bytes), realm, components, type of the name (4), time (4),
//!          version of the key (1), type of the key (2), key, [ version of the key (4) ]
//! text   = length (2 bytes), bytes; realm, components and the key have this form
//! ```
//!
//! Numbers are big-endian. Source: MIT Kerberos, "The keytab binary file format".

use std::fmt;

/// The most components of a name that are read; hosts have two.
const MOST: u16 = 16;

/// Why bytes are no keytab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeytabError {
    /// Where, in bytes from the beginning.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl fmt::Display for KeytabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no keytab: {} at byte {}", self.what, self.offset)
    }
}

impl std::error::Error for KeytabError {}

/// A name that has a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal {
    /// Its realm.
    pub realm: String,
    /// The parts of the name, such as `host` and `a.example.org`, or `A$`.
    pub components: Vec<String>,
}

/// Reads whose keys there are, in the order of the file, each once in a row.
///
/// # Errors
///
/// The first place at which the bytes are no keytab.
pub fn principals(bytes: &[u8]) -> Result<Vec<Principal>, KeytabError> {
    let wrong = |offset, what| KeytabError { offset, what };
    if !bytes.starts_with(&[5, 2]) {
        return Err(wrong(0, "it is of no known version"));
    }
    let mut principals: Vec<Principal> = Vec::new();
    let mut at = 2;
    while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let length = i32::from_be_bytes(*length);
        let size = length.unsigned_abs() as usize;
        if size == 0 {
            break;
        }
        let begin = at + 4;
        let Some(entry) = bytes.get(begin..begin.saturating_add(size)) else {
            return Err(wrong(at, "an entry ends behind the file"));
        };
        if length > 0 {
            let principal = principal(entry).ok_or(wrong(begin, "an entry is too short"))?;
            if principals.last() != Some(&principal) {
                principals.push(principal);
            }
        }
        at = begin + size;
    }
    Ok(principals)
}

fn principal(entry: &[u8]) -> Option<Principal> {
    let mut rest = entry;
    let number = |rest: &mut &[u8]| -> Option<u16> {
        let (two, behind) = rest.split_first_chunk::<2>()?;
        *rest = behind;
        Some(u16::from_be_bytes(*two))
    };
    let count = number(&mut rest)?.min(MOST);
    let mut text = || -> Option<String> {
        let length = number(&mut rest)?;
        let (text, behind) = rest.split_at_checked(length.into())?;
        rest = behind;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    let realm = text()?;
    let components = (0..count).map(|_| text()).collect::<Option<_>>()?;
    Some(Principal { realm, components })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(realm: &str, components: &[&str]) -> Vec<u8> {
        let text = |text: &str| {
            let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
            bytes.extend(text.bytes());
            bytes
        };
        let mut body = (components.len() as u16).to_be_bytes().to_vec();
        body.extend(text(realm));
        components.iter().for_each(|part| body.extend(text(part)));
        // Type, time, version, type of the key, key.
        body.extend([0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 18, 0, 2, 1, 2]);
        let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
        bytes.extend(body);
        bytes
    }

    #[test]
    fn every_name_is_read_and_holes_are_skipped() {
        let mut bytes = vec![5, 2];
        bytes.extend(entry("SCM.TEST", &["CL$"]));
        bytes.extend(entry("SCM.TEST", &["CL$"]));
        bytes.extend([0xff, 0xff, 0xff, 0xfe, 1, 2]);
        bytes.extend(entry("SCM.TEST", &["host", "cl.scm.test"]));
        bytes.extend([0, 0, 0, 0, 9, 9]);
        let found = principals(&bytes).unwrap();
        let names: Vec<String> = found
            .iter()
            .map(|one| format!("{}@{}", one.components.join("/"), one.realm))
            .collect();
        assert_eq!(names, ["CL$@SCM.TEST", "host/cl.scm.test@SCM.TEST"]);
    }

    #[test]
    fn what_is_no_keytab_is_refused_with_the_place() {
        let told = |bytes: &[u8]| principals(bytes).unwrap_err().to_string();
        assert_eq!(
            told(b"\x05\x01"),
            "no keytab: it is of no known version at byte 0"
        );
        assert_eq!(
            told(&[5, 2, 0, 0, 0, 9, 1]),
            "no keytab: an entry ends behind the file at byte 2"
        );
        assert_eq!(
            told(&[5, 2, 0, 0, 0, 1, 1]),
            "no keytab: an entry is too short at byte 6"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut keytab = vec![5, 2];
            keytab.extend(bytes);
            let _ = principals(&keytab);
        }
    }
}
