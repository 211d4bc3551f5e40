//! The frames of the event bus: one is one datagram of a SOCK_SEQPACKET socket.
//!
//! ```text
//! every frame begins with   version (1 byte: 1), kind (1 byte)
//!
//! kind  from      rest
//! 1     provider  zeros (6), provider (16)                         register: I will write its events
//! 2     provider  level (1), opcode (1), id (2), task (2),         an event of a provider that was
//!                 keyword (8), provider (16), version (1),           registered
//!                 channel (1), zeros (6), payload (to the end)
//! 3     provider  zeros (6), provider (16), count (8)              so many events could not be written
//! 16    manager   on (1), level (1), zeros (4), provider (16),     registered, or what is needed has
//!                 keywords (8)                                       changed
//! 17    manager   zeros (6), provider (16), reason (UTF-8)         may not be registered
//! ```
//!
//! Numbers are little-endian; a provider's GUID has Windows' bytes. Zeros are not looked at.

use std::fmt;

use arrival_model::event::{CustomEvent, Enabled, EventHead, PAYLOAD_LIMIT};
use arrival_model::guid::Guid;

const VERSION: u8 = 1;
const REGISTER: u8 = 1;
const WRITE: u8 = 2;
const LOST: u8 = 3;
const ENABLED: u8 = 16;
const REFUSED: u8 = 17;

/// The longest frame.
pub const FRAME_LIMIT: usize = 40 + PAYLOAD_LIMIT;
/// The longest reason, in bytes.
const REASON: usize = 1024;

/// A frame of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromProvider<'b> {
    /// It will write events of this provider.
    Register(Guid),
    /// An event.
    Write(CustomEvent<'b>),
    /// Events that it could not write.
    Lost {
        /// Whose.
        provider: Guid,
        /// How many.
        count: u64,
    },
}

/// A frame of the manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromManager {
    /// What is needed of a provider that is registered.
    Enabled {
        /// Which.
        provider: Guid,
        /// What.
        enabled: Enabled,
    },
    /// A provider may not be registered.
    Refused {
        /// Which.
        provider: Guid,
        /// Why.
        reason: String,
    },
}

/// Why a datagram is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It ends too early, or is too long.
    Length(usize),
    /// It is of another version.
    Version(u8),
    /// Its kind is unknown.
    Kind(u8),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Length(length) => write!(f, "a frame cannot have {length} bytes"),
            FrameError::Version(version) => write!(f, "frames of version {version} are unknown"),
            FrameError::Kind(kind) => write!(f, "frames of kind {kind} are unknown"),
        }
    }
}

impl std::error::Error for FrameError {}

/// Takes fixed parts from the front of a frame.
struct Parts<'b> {
    rest: &'b [u8],
    length: usize,
}

impl<'b> Parts<'b> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let (part, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(FrameError::Length(self.length))?;
        self.rest = rest;
        Ok(*part)
    }

    fn byte(&mut self) -> Result<u8, FrameError> {
        let [byte] = self.take::<1>()?;
        Ok(byte)
    }

    fn guid(&mut self) -> Result<Guid, FrameError> {
        Ok(Guid::from_bytes_le(self.take::<16>()?))
    }

    fn end(&self) -> Result<(), FrameError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(FrameError::Length(self.length))
        }
    }
}

/// The kind of a frame, and what follows.
fn begin(bytes: &[u8]) -> Result<(u8, Parts<'_>), FrameError> {
    let length = bytes.len();
    let mut parts = Parts {
        rest: bytes,
        length,
    };
    if length > FRAME_LIMIT {
        return Err(FrameError::Length(length));
    }
    match parts.byte()? {
        VERSION => Ok((parts.byte()?, parts)),
        other => Err(FrameError::Version(other)),
    }
}

impl<'b> FromProvider<'b> {
    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// [`FrameError`].
    pub fn read(bytes: &'b [u8]) -> Result<Self, FrameError> {
        let (kind, mut parts) = begin(bytes)?;
        match kind {
            REGISTER => {
                parts.take::<6>()?;
                let provider = parts.guid()?;
                parts.end()?;
                Ok(FromProvider::Register(provider))
            }
            WRITE => {
                let (level, opcode) = (parts.byte()?, parts.byte()?);
                let id = u16::from_le_bytes(parts.take()?);
                let task = u16::from_le_bytes(parts.take()?);
                let keyword = u64::from_le_bytes(parts.take()?);
                let provider = parts.guid()?;
                let (version, channel) = (parts.byte()?, parts.byte()?);
                parts.take::<6>()?;
                Ok(FromProvider::Write(CustomEvent {
                    provider,
                    head: EventHead {
                        id,
                        version,
                        channel,
                        level,
                        opcode,
                        task,
                        keyword,
                    },
                    payload: parts.rest,
                }))
            }
            LOST => {
                parts.take::<6>()?;
                let provider = parts.guid()?;
                let count = u64::from_le_bytes(parts.take()?);
                parts.end()?;
                Ok(FromProvider::Lost { provider, count })
            }
            other => Err(FrameError::Kind(other)),
        }
    }

    /// Writes the frame behind what is in a buffer.
    pub fn write(&self, into: &mut Vec<u8>) {
        match self {
            FromProvider::Register(provider) => {
                into.extend([VERSION, REGISTER, 0, 0, 0, 0, 0, 0]);
                into.extend(provider.to_bytes_le());
            }
            FromProvider::Write(event) => {
                let head = &event.head;
                into.extend([VERSION, WRITE, head.level, head.opcode]);
                into.extend(head.id.to_le_bytes());
                into.extend(head.task.to_le_bytes());
                into.extend(head.keyword.to_le_bytes());
                into.extend(event.provider.to_bytes_le());
                into.extend([head.version, head.channel, 0, 0, 0, 0, 0, 0]);
                into.extend(event.payload);
            }
            FromProvider::Lost { provider, count } => {
                into.extend([VERSION, LOST, 0, 0, 0, 0, 0, 0]);
                into.extend(provider.to_bytes_le());
                into.extend(count.to_le_bytes());
            }
        }
    }
}

impl FromManager {
    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// [`FrameError`].
    pub fn read(bytes: &[u8]) -> Result<Self, FrameError> {
        let (kind, mut parts) = begin(bytes)?;
        match kind {
            ENABLED => {
                let (on, level) = (parts.byte()? != 0, parts.byte()?);
                parts.take::<4>()?;
                let provider = parts.guid()?;
                let any = u64::from_le_bytes(parts.take()?);
                parts.end()?;
                Ok(FromManager::Enabled {
                    provider,
                    enabled: Enabled { on, level, any },
                })
            }
            REFUSED => {
                parts.take::<6>()?;
                let provider = parts.guid()?;
                let reason = parts.rest.get(..REASON).unwrap_or(parts.rest);
                let reason = String::from_utf8_lossy(reason).into_owned();
                Ok(FromManager::Refused { provider, reason })
            }
            other => Err(FrameError::Kind(other)),
        }
    }

    /// The frame's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            FromManager::Enabled { provider, enabled } => {
                let on = u8::from(enabled.on);
                bytes.extend([VERSION, ENABLED, on, enabled.level, 0, 0, 0, 0]);
                bytes.extend(provider.to_bytes_le());
                bytes.extend(enabled.any.to_le_bytes());
            }
            FromManager::Refused { provider, reason } => {
                bytes.extend([VERSION, REFUSED, 0, 0, 0, 0, 0, 0]);
                bytes.extend(provider.to_bytes_le());
                let mut end = reason.len().min(REASON);
                while !reason.is_char_boundary(end) {
                    end -= 1;
                }
                bytes.extend(reason.bytes().take(end));
            }
        }
        bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_has_the_bytes_of_the_table() {
        let event = FromProvider::Write(CustomEvent {
            provider: Guid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff),
            head: EventHead {
                id: 0x0102,
                version: 3,
                channel: 4,
                level: 5,
                opcode: 6,
                task: 0x0708,
                keyword: 0x1112_1314_1516_1718,
            },
            payload: b"hi",
        });
        let mut bytes = Vec::new();
        event.write(&mut bytes);
        assert_eq!(
            bytes,
            [
                1, 2, 5, 6, 2, 1, 8, 7, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x33, 0x22,
                0x11, 0, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 3,
                4, 0, 0, 0, 0, 0, 0, b'h', b'i'
            ]
        );
        assert_eq!(FromProvider::read(&bytes), Ok(event));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(FromProvider::read(&[]), Err(FrameError::Length(0)));
        assert_eq!(FromProvider::read(&[2, 1]), Err(FrameError::Version(2)));
        assert_eq!(FromProvider::read(&[1, 9]), Err(FrameError::Kind(9)));
        assert_eq!(FromProvider::read(&[1, 1, 0]), Err(FrameError::Length(3)));
        assert_eq!(FromProvider::read(&[1; 25]), Err(FrameError::Length(25)));
        let long = vec![1; FRAME_LIMIT + 1];
        assert_eq!(
            FromProvider::read(&long),
            Err(FrameError::Length(long.len()))
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            guid in any::<u128>(),
            numbers in any::<(u16, u8, u8, u8, u8, u16, u64)>(),
            payload in proptest::collection::vec(any::<u8>(), 0..50),
            reason in ".{0,30}",
        ) {
            let provider = Guid::from_u128(guid);
            let (id, version, channel, level, opcode, task, keyword) = numbers;
            let head = EventHead { id, version, channel, level, opcode, task, keyword };
            for frame in [
                FromProvider::Register(provider),
                FromProvider::Write(CustomEvent { provider, head, payload: &payload }),
                FromProvider::Lost { provider, count: keyword },
            ] {
                let mut bytes = Vec::new();
                frame.write(&mut bytes);
                prop_assert_eq!(FromProvider::read(&bytes).unwrap(), frame);
            }
            let enabled = Enabled { on: level > 3, level, any: keyword };
            for frame in [
                FromManager::Enabled { provider, enabled },
                FromManager::Refused { provider, reason },
            ] {
                prop_assert_eq!(FromManager::read(&frame.to_bytes()).unwrap(), frame);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = FromProvider::read(&bytes);
            let _ = FromManager::read(&bytes);
            let mut bytes = bytes;
            bytes.splice(0..0, [1, 2]);
            let _ = FromProvider::read(&bytes);
        }
    }
}
