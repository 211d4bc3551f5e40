//! 128-bit identifiers in Windows' text form: `{86e0d1e0-8089-11d0-9ce4-08003e301f73}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A GUID; its text form has braces and lower-case digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(uuid::Uuid);

/// A text that is no GUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a GUID (expected the form {{86e0d1e0-8089-11d0-9ce4-08003e301f73}})")]
pub struct GuidError {
    /// The text as it was given.
    pub text: String,
}

impl Guid {
    /// The GUID whose text form has these 32 hexadecimal digits, read as one number.
    pub const fn from_u128(value: u128) -> Self {
        Guid(uuid::Uuid::from_u128(value))
    }

    /// The bytes as Windows lays the structure out in memory and on the wire.
    pub fn to_bytes_le(self) -> [u8; 16] {
        self.0.to_bytes_le()
    }

    /// The GUID that Windows lays out as these bytes.
    pub fn from_bytes_le(bytes: [u8; 16]) -> Self {
        Guid(uuid::Uuid::from_bytes_le(bytes))
    }
}

impl FromStr for Guid {
    type Err = GuidError;

    /// Reads the form with or without braces, in either case.
    fn from_str(text: &str) -> Result<Self, GuidError> {
        let bad = || GuidError {
            text: text.to_owned(),
        };
        let inner = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').ok_or_else(bad)?,
            None => text,
        };
        if inner.len() != 36 {
            return Err(bad());
        }
        uuid::Uuid::try_parse(inner).map(Guid).map_err(|_| bad())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_braced())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_class_has_the_bytes_that_windows_writes() {
        let disk: Guid = "{53f56307-b6bf-11d0-94f2-00a0c91efb8b}"
            .parse()
            .expect("a valid GUID");
        let bytes = [
            0x07, 0x63, 0xf5, 0x53, 0xbf, 0xb6, 0xd0, 0x11, 0x94, 0xf2, 0x00, 0xa0, 0xc9, 0x1e,
            0xfb, 0x8b,
        ];
        assert_eq!(disk.to_bytes_le(), bytes);
        assert_eq!(Guid::from_bytes_le(bytes), disk);
    }

    #[test]
    fn braces_and_case_do_not_matter_but_everything_else_does() {
        let a: Guid = "{86E0D1E0-8089-11D0-9CE4-08003E301F73}"
            .parse()
            .expect("a valid GUID");
        let b: Guid = "86e0d1e0-8089-11d0-9ce4-08003e301f73"
            .parse()
            .expect("a valid GUID");
        assert_eq!(a, b);
        assert_eq!(a.to_string(), "{86e0d1e0-8089-11d0-9ce4-08003e301f73}");
        for bad in [
            "",
            "{}",
            "{86e0d1e0-8089-11d0-9ce4-08003e301f73",
            "86e0d1e0808911d09ce408003e301f73",
            "x",
        ] {
            assert!(bad.parse::<Guid>().is_err(), "{bad} was accepted");
        }
    }
}
