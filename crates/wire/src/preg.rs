//! Registry.pol, the file of a group policy's registry values.
//!
//! ```text
//! file   = "PReg" 01 00 00 00 { record }
//! record = "[" key NUL ";" value NUL ";" type ";" size ";" data "]"
//! ```
//!
//! Texts and punctuation are UTF-16LE; type and size are 4 bytes each, little-endian, and the data have
//! exactly that size. Some values do something else than to be set:
//!
//! | value | does |
//! |---|---|
//! | `**del.NAME` | deletes NAME |
//! | `**delvals.` | deletes all values of the key |
//! | `**DeleteValues` | deletes those that the data names |
//! | `**DeleteKeys` | deletes the subkeys that the data names |
//! | `**soft.NAME` | sets NAME unless it is set |
//! | `**SecureKey` | changes who may write to the key |
//!
//! Source: Microsoft, "Registry Policy File Format"; [MS-GPREG] 2.2.1.

use std::fmt;

const HEAD: &[u8] = b"PReg\x01\0\0\0";
/// The most UTF-16 units of a key or the name of a value; Windows allows 255 and 16,383.
const TEXT: usize = 16_384;

/// Why bytes are no Registry.pol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Where, in bytes from the beginning.
    pub offset: usize,
    /// What is expected there.
    pub expected: &'static str,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no Registry.pol: expected {} at byte {}",
            self.expected, self.offset
        )
    }
}

impl std::error::Error for PolicyError {}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key, below the hive of the machine or the user.
    pub key: String,
    /// The name of the value; empty means the key's own.
    pub value: String,
    /// The type of the data (REG_*).
    pub kind: u32,
    /// The data.
    pub data: Vec<u8>,
}

/// The names of the types of data (winnt.h, REG_*).
const KINDS: [&str; 12] = [
    "NONE",
    "SZ",
    "EXPAND_SZ",
    "BINARY",
    "DWORD",
    "DWORD_BIG_ENDIAN",
    "LINK",
    "MULTI_SZ",
    "RESOURCE_LIST",
    "FULL_RESOURCE_DESCRIPTOR",
    "RESOURCE_REQUIREMENTS_LIST",
    "QWORD",
];

impl Record {
    /// The name of the type, without REG_.
    pub fn kind_name(&self) -> Option<&'static str> {
        KINDS.get(self.kind as usize).copied()
    }

    /// The data for people: a text, a number, or bytes.
    pub fn shown(&self) -> String {
        let number = |bytes: &[u8]| -> Option<String> {
            match bytes.len() {
                4 => Some(u32::from_le_bytes(bytes.try_into().ok()?).to_string()),
                8 => Some(u64::from_le_bytes(bytes.try_into().ok()?).to_string()),
                _ => None,
            }
        };
        let text = || {
            let units: Vec<u16> = self
                .data
                .chunks_exact(2)
                .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
                .collect();
            String::from_utf16(&units)
                .ok()
                .filter(|_| self.data.len().is_multiple_of(2))
        };
        let shown = match self.kind_name() {
            Some("SZ" | "EXPAND_SZ") => text().map(|text| text.trim_end_matches('\0').to_owned()),
            Some("MULTI_SZ") => text().map(|text| text.trim_end_matches('\0').replace('\0', ", ")),
            Some("DWORD" | "QWORD") => number(&self.data),
            Some(_) | None => None,
        };
        let bytes = || {
            let bytes: Vec<String> = self.data.iter().map(|byte| format!("{byte:02x}")).collect();
            bytes.join(" ")
        };
        shown.unwrap_or_else(bytes)
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Reader<'_> {
    fn wrong<T>(&self, expected: &'static str) -> Result<T, PolicyError> {
        Err(PolicyError {
            offset: self.at,
            expected,
        })
    }

    fn take(&mut self, length: usize, expected: &'static str) -> Result<&[u8], PolicyError> {
        match self.bytes.get(self.at..self.at.saturating_add(length)) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => self.wrong(expected),
        }
    }

    fn unit(&mut self, expected: &'static str) -> Result<u16, PolicyError> {
        let taken = self.take(2, expected)?;
        Ok(taken
            .first_chunk::<2>()
            .map_or(0, |two| u16::from_le_bytes(*two)))
    }

    fn sign(&mut self, sign: u8, expected: &'static str) -> Result<(), PolicyError> {
        let before = self.at;
        if self.unit(expected)? != u16::from(sign) {
            self.at = before;
            return self.wrong(expected);
        }
        Ok(())
    }

    fn number(&mut self, expected: &'static str) -> Result<u32, PolicyError> {
        let taken = self.take(4, expected)?;
        Ok(taken
            .first_chunk::<4>()
            .map_or(0, |four| u32::from_le_bytes(*four)))
    }

    fn text(&mut self, expected: &'static str) -> Result<String, PolicyError> {
        let begin = self.at;
        let mut units = Vec::new();
        loop {
            match self.unit("a NUL that ends the text")? {
                0 => break,
                _ if units.len() == TEXT => return self.wrong("the end of the text"),
                unit => units.push(unit),
            }
        }
        String::from_utf16(&units).map_err(|_| PolicyError {
            offset: begin,
            expected,
        })
    }
}

/// Reads all records.
///
/// # Errors
///
/// The first place at which the bytes are no Registry.pol.
pub fn read(bytes: &[u8]) -> Result<Vec<Record>, PolicyError> {
    if !bytes.starts_with(HEAD) {
        return Err(PolicyError {
            offset: 0,
            expected: "'PReg' and version 1",
        });
    }
    let mut reader = Reader {
        bytes,
        at: HEAD.len(),
    };
    let mut records = Vec::new();
    while reader.at < bytes.len() {
        reader.sign(b'[', "'['")?;
        let key = reader.text("a key in UTF-16")?;
        reader.sign(b';', "';' behind the key")?;
        let value = reader.text("the name of a value in UTF-16")?;
        reader.sign(b';', "';' behind the value")?;
        let kind = reader.number("the type of the data")?;
        reader.sign(b';', "';' behind the type")?;
        let size = reader.number("the size of the data")?;
        reader.sign(b';', "';' behind the size")?;
        let data = reader
            .take(size as usize, "as many bytes as the size says")?
            .to_vec();
        reader.sign(b']', "']' behind the data")?;
        records.push(Record {
            key,
            value,
            kind,
            data,
        });
    }
    Ok(records)
}

/// The file of these records; texts with a NUL are cut there.
pub fn write(records: &[Record]) -> Vec<u8> {
    let mut bytes = HEAD.to_vec();
    let sign = |bytes: &mut Vec<u8>, sign: u8| bytes.extend([sign, 0]);
    let text = |bytes: &mut Vec<u8>, text: &str| {
        let text = text.split('\0').next().unwrap_or_default();
        bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    };
    for record in records {
        sign(&mut bytes, b'[');
        text(&mut bytes, &record.key);
        sign(&mut bytes, b';');
        text(&mut bytes, &record.value);
        sign(&mut bytes, b';');
        bytes.extend(record.kind.to_le_bytes());
        sign(&mut bytes, b';');
        bytes.extend(
            u32::try_from(record.data.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        sign(&mut bytes, b';');
        bytes.extend(&record.data);
        sign(&mut bytes, b']');
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn level() -> Record {
        Record {
            key: r"Software\Policies\Scm".to_owned(),
            value: "Level".to_owned(),
            kind: 4,
            data: vec![7, 0, 0, 0],
        }
    }

    #[test]
    fn a_record_has_the_bytes_that_samba_writes() {
        let bytes = write(&[level()]);
        assert_eq!(bytes[..10], [0x50, 0x52, 0x65, 0x67, 1, 0, 0, 0, 0x5b, 0]);
        assert_eq!(
            bytes[bytes.len() - 20..],
            [
                0x3b, 0, 4, 0, 0, 0, 0x3b, 0, 4, 0, 0, 0, 0x3b, 0, 7, 0, 0, 0, 0x5d, 0
            ]
        );
        assert_eq!(read(&bytes).unwrap(), [level()]);
        assert_eq!(level().shown(), "7");
        assert_eq!(level().kind_name(), Some("DWORD"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let told = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert_eq!(
            told(b""),
            "no Registry.pol: expected 'PReg' and version 1 at byte 0"
        );
        let bytes = write(&[level()]);
        let mut wrong = bytes.clone();
        wrong[8] = b'x';
        assert_eq!(told(&wrong), "no Registry.pol: expected '[' at byte 8");
        assert_eq!(
            told(&bytes[..bytes.len() - 1]),
            format!(
                "no Registry.pol: expected ']' behind the data at byte {}",
                bytes.len() - 2
            )
        );
        assert_eq!(
            told(&bytes[..bytes.len() - 4]),
            format!(
                "no Registry.pol: expected as many bytes as the size says at byte {}",
                bytes.len() - 6
            )
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            records in proptest::collection::vec(
                ("[^\0]{0,12}", "[^\0]{0,12}", 0u32..13, proptest::collection::vec(any::<u8>(), 0..20)),
                0..6,
            ),
        ) {
            let records: Vec<Record> = records
                .into_iter()
                .map(|(key, value, kind, data)| Record { key, value, kind, data })
                .collect();
            prop_assert_eq!(read(&write(&records)).unwrap(), records.clone());
            for record in &records {
                let _ = record.shown();
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            at in 0usize..90,
            bytes in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut file = write(&[level(), level()]);
            file.splice(at..at, bytes.iter().copied());
            let _ = read(&file);
            let _ = read(&bytes);
        }
    }
}
