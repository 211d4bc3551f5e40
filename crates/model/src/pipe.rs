//! Names of pipes, and of the sockets that stand for them.
//!
//! ```text
//! name        = [ "\\\\.\\pipe\\" ] part { "\\" part }   1 to 256 UTF-16 units behind the prefix; no part is empty
//! file name   = every byte of the name's UTF-8 but 0-9 A-Z a-z . _ - as "%XX", and a dot at the beginning too
//! ```
//!
//! A name is compared exactly, as a NETWORK_ENDPOINT trigger is. Its file name is at most 200 bytes long.
//!
//! Sources: Microsoft, "Pipe Names"; SERVICE_TRIGGER structure.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What Windows puts before the name of a local pipe.
const PREFIX: &str = r"\\.\pipe\";
/// The most UTF-16 units of a name.
const UNITS: usize = 256;
/// The most bytes of a file name, so that it fits into a directory entry with something added.
const FILE_NAME: usize = 200;

/// The name of a pipe, without the prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PipeName(Arc<str>);

/// A text that cannot name a pipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{}' cannot name a pipe: {why}", text.escape_debug())]
pub struct PipeNameError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl PipeName {
    /// The name, without the prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the socket's file; different names have different ones.
    pub fn file_name(&self) -> String {
        let mut name = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            if plain && !(byte == b'.' && name.is_empty()) {
                name.push(char::from(byte));
            } else {
                // Writing into a text cannot fail.
                let _ = write!(name, "%{byte:02X}");
            }
        }
        name
    }
}

impl FromStr for PipeName {
    type Err = PipeNameError;

    fn from_str(text: &str) -> Result<Self, PipeNameError> {
        let refuse = |why| {
            Err(PipeNameError {
                text: text.to_owned(),
                why,
            })
        };
        let has_prefix = text
            .get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
        let name = if has_prefix {
            text.get(PREFIX.len()..).unwrap_or_default()
        } else {
            text
        };
        if name.split('\\').any(str::is_empty) {
            return refuse("a part of it is empty");
        }
        if name.contains('\0') {
            return refuse("it has a NUL");
        }
        if name.encode_utf16().count() > UNITS {
            return refuse("it has more than 256 UTF-16 units");
        }
        let name = PipeName(name.into());
        if name.file_name().len() > FILE_NAME {
            return refuse("its file's name would have more than 200 bytes");
        }
        Ok(name)
    }
}

impl TryFrom<String> for PipeName {
    type Error = PipeNameError;

    fn try_from(text: String) -> Result<Self, PipeNameError> {
        text.parse()
    }
}

impl From<PipeName> for String {
    fn from(name: PipeName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for PipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_with_and_without_its_prefix() {
        let name: PipeName = r"\\.\PIPE\demo".parse().unwrap();
        assert_eq!(name, "demo".parse().unwrap());
        assert_ne!(name, "Demo".parse().unwrap());
        assert_eq!(name.file_name(), "demo");
    }

    #[test]
    fn a_file_name_is_one_component_that_nothing_else_has() {
        let file = |text: &str| text.parse::<PipeName>().unwrap().file_name();
        assert_eq!(file(r"a\b"), "a%5Cb");
        assert_eq!(file("a/b"), "a%2Fb");
        assert_eq!(file("a%2Fb"), "a%252Fb");
        assert_eq!(file(".."), "%2E.");
        assert_eq!(file(".hidden"), "%2Ehidden");
        assert_eq!(file("é"), "%C3%A9");
    }

    #[test]
    fn what_cannot_be_a_name_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "a part of it is empty"),
            (r"\\.\pipe\", "a part of it is empty"),
            (r"a\\b", "a part of it is empty"),
            ("a\0b", "it has a NUL"),
            (&"x".repeat(257), "it has more than 256 UTF-16 units"),
            (
                &"x".repeat(201),
                "its file's name would have more than 200 bytes",
            ),
        ] {
            assert_eq!(text.parse::<PipeName>().unwrap_err().why, why, "{text}");
        }
    }
}
