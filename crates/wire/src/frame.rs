//! The framing of Varlink on a stream: every message is one JSON object and a NUL byte.
//!
//! ```text
//! stream  = { message NUL }
//! message = bytes without NUL, at most the decoder's limit of them
//! ```
//!
//! Source: <https://varlink.org/Method-Call>. The limits are ours: a call is at most
//! [`CALL_LIMIT`], a reply at most [`REPLY_LIMIT`], and at most [`DESCRIPTOR_LIMIT`] file descriptors
//! travel with a message. Nothing here reads or writes a socket, so that one codec serves the
//! blocking client and the asynchronous daemon.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use serde::Serialize;

/// The most bytes of a call, without its NUL.
pub const CALL_LIMIT: usize = 64 * 1024;

/// The most bytes of a reply, without its NUL; longer answers are split by `continues`.
pub const REPLY_LIMIT: usize = 1024 * 1024;

/// The most file descriptors that travel with one message.
pub const DESCRIPTOR_LIMIT: usize = 4;

/// A stream or message that breaks the framing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A message is longer than the limit; its bytes were thrown away as they came.
    #[error("a message is longer than {limit} bytes")]
    TooLong {
        /// The limit of this direction.
        limit: usize,
    },
    /// The stream ended within a message.
    #[error("the stream ended after {got} bytes of a message")]
    Truncated {
        /// How many bytes of the message had come.
        got: u64,
    },
    /// More descriptors came with a message than are allowed.
    #[error("a message carries more than {DESCRIPTOR_LIMIT} file descriptors")]
    TooManyDescriptors,
    /// A value that JSON cannot express, such as a map whose keys are no strings.
    #[error("a message cannot be written as JSON: {0}")]
    NotJson(String),
}

/// What came of the stream so far, in order.
#[derive(Clone, Debug)]
enum Item {
    /// A whole message of this many bytes at the front of the buffer.
    Whole(usize),
    /// A message that was too long; none of its bytes are in the buffer.
    TooLong,
}

/// Cuts a stream of bytes into messages, however the bytes are chunked.
///
/// Feed it with [`push`](Decoder::push) and call `next` until it yields none; what `next` has not
/// fetched stays in memory, so that a reader which pushes only after `None` holds one limit and one
/// chunk at most. A message that is too long yields one error as soon as that is known; the rest of
/// it is dropped as it comes and the stream goes on after its NUL. Most readers end the connection.
#[derive(Clone, Debug)]
pub struct Decoder {
    /// Whole messages without their NULs, then the beginning of the next message.
    buffer: VecDeque<u8>,
    items: VecDeque<Item>,
    /// How many bytes of the next message are in the buffer.
    partial: usize,
    /// How many bytes of a message that is too long were dropped so far; 0 if none is.
    dropped: u64,
    limit: usize,
}

impl Decoder {
    /// A decoder for messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Decoder {
            buffer: VecDeque::new(),
            items: VecDeque::new(),
            partial: 0,
            dropped: 0,
            limit,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut pieces = bytes.split(|byte| *byte == 0).peekable();
        while let Some(piece) = pieces.next() {
            self.extend(piece);
            // Every piece but the last was ended by a NUL.
            if pieces.peek().is_some() {
                self.end_message();
            }
        }
    }

    /// Takes bytes of one message.
    fn extend(&mut self, piece: &[u8]) {
        if self.dropped > 0 {
            self.dropped = self.dropped.saturating_add(piece.len() as u64);
        } else if self.partial + piece.len() > self.limit {
            self.dropped = (self.partial + piece.len()) as u64;
            self.buffer.truncate(self.buffer.len() - self.partial);
            self.partial = 0;
            self.items.push_back(Item::TooLong);
        } else {
            self.buffer.extend(piece);
            self.partial += piece.len();
        }
    }

    fn end_message(&mut self) {
        if self.dropped > 0 {
            self.dropped = 0;
        } else {
            self.items.push_back(Item::Whole(self.partial));
            self.partial = 0;
        }
    }

    /// How many bytes lie in the decoder.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    ///
    /// [`FrameError::Truncated`] if it ends within a message.
    pub fn end(&self) -> Result<(), FrameError> {
        match self.partial as u64 + self.dropped {
            0 => Ok(()),
            got => Err(FrameError::Truncated { got }),
        }
    }
}

impl Default for Decoder {
    /// A decoder for calls.
    fn default() -> Self {
        Decoder::new(CALL_LIMIT)
    }
}

impl Iterator for Decoder {
    type Item = Result<Vec<u8>, FrameError>;

    /// The next message without its NUL; none if more bytes are needed, so this may yield again.
    fn next(&mut self) -> Option<Self::Item> {
        let item = match self.items.pop_front()? {
            Item::Whole(length) => Ok(self.buffer.drain(..length).collect()),
            Item::TooLong => Err(FrameError::TooLong { limit: self.limit }),
        };
        // A connection that once sent much shall not hold the memory while it is idle.
        if self.buffer.is_empty() && self.buffer.capacity() > 4096 {
            self.buffer = VecDeque::new();
        }
        Some(item)
    }
}

/// Writes a message with its NUL.
///
/// # Errors
///
/// [`FrameError::TooLong`] if it has more than `limit` bytes (no more than these are ever held), and
/// [`FrameError::NotJson`] if JSON cannot express it.
pub fn encode<T: Serialize + ?Sized>(message: &T, limit: usize) -> Result<Vec<u8>, FrameError> {
    let mut out = Bounded {
        bytes: Vec::new(),
        limit,
        full: false,
    };
    let result = serde_json::to_writer(&mut out, message);
    if out.full {
        return Err(FrameError::TooLong { limit });
    }
    result.map_err(|error| FrameError::NotJson(error.to_string()))?;
    out.bytes.push(0);
    Ok(out.bytes)
}

/// A buffer that refuses to grow beyond its limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The file descriptors that came with, or go with, one message.
#[derive(Debug, Default)]
pub struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; it is closed if there are too many.
    ///
    /// # Errors
    ///
    /// [`FrameError::TooManyDescriptors`] beyond [`DESCRIPTOR_LIMIT`].
    pub fn push(&mut self, descriptor: OwnedFd) -> Result<(), FrameError> {
        if self.0.len() >= DESCRIPTOR_LIMIT {
            return Err(FrameError::TooManyDescriptors);
        }
        self.0.push(descriptor);
        Ok(())
    }

    /// The descriptors, to lend them to sendmsg(2).
    pub fn as_slice(&self) -> &[OwnedFd] {
        &self.0
    }

    /// The descriptor that the message calls by this index.
    pub fn take(&mut self, index: usize) -> Option<OwnedFd> {
        (index < self.0.len()).then(|| self.0.swap_remove(index))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<Result<Vec<u8>, FrameError>> {
        decoder.by_ref().collect()
    }

    #[test]
    fn messages_are_cut_at_their_nuls() {
        let mut decoder = Decoder::default();
        decoder.push(b"{\"a\":1}\0{}\0{\"b");
        assert_eq!(
            all(&mut decoder),
            [Ok(b"{\"a\":1}".to_vec()), Ok(b"{}".to_vec())]
        );
        assert_eq!(decoder.end(), Err(FrameError::Truncated { got: 3 }));
        decoder.push(b"\":2}\0");
        assert_eq!(all(&mut decoder), [Ok(b"{\"b\":2}".to_vec())]);
        assert_eq!(decoder.end(), Ok(()));
    }

    #[test]
    fn a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        let mut decoder = Decoder::new(8);
        decoder.push(b"12345678\x00123456789\x00abc\x00");
        let expected = [
            Ok(b"12345678".to_vec()),
            Err(FrameError::TooLong { limit: 8 }),
            Ok(b"abc".to_vec()),
        ];
        assert_eq!(all(&mut decoder), expected);
        assert_eq!(
            FrameError::TooLong { limit: 8 }.to_string(),
            "a message is longer than 8 bytes"
        );
    }

    #[test]
    fn an_endless_message_yields_one_error_and_holds_no_memory() {
        let mut decoder = Decoder::default();
        let mut errors = Vec::new();
        for _ in 0..1000 {
            decoder.push(&[b'x'; 4096]);
            errors.extend(all(&mut decoder));
            assert!(decoder.buffered() <= CALL_LIMIT);
        }
        assert_eq!(errors, [Err(FrameError::TooLong { limit: CALL_LIMIT })]);
        assert_eq!(decoder.buffered(), 0);
        assert_eq!(decoder.end(), Err(FrameError::Truncated { got: 4_096_000 }));
        decoder.push(b"tail\0{}\0");
        assert_eq!(all(&mut decoder), [Ok(b"{}".to_vec())]);
    }

    #[test]
    fn what_is_encoded_ends_with_its_only_nul_and_is_bounded() {
        assert_eq!(encode("a\0b", 100).unwrap(), b"\"a\\u0000b\"\0");
        assert_eq!(encode("12345678", 10).unwrap().len(), 11);
        assert_eq!(
            encode("123456789", 10),
            Err(FrameError::TooLong { limit: 10 })
        );
        let nameless = BTreeMap::from([([1, 2], 3)]);
        assert!(matches!(encode(&nameless, 10), Err(FrameError::NotJson(_))));
    }

    #[test]
    fn a_fifth_descriptor_is_refused() {
        let mut descriptors = Descriptors::new();
        let open = || std::fs::File::open("/dev/null").unwrap().into();
        for _ in 0..DESCRIPTOR_LIMIT {
            descriptors.push(open()).unwrap();
        }
        assert_eq!(
            descriptors.push(open()),
            Err(FrameError::TooManyDescriptors)
        );
        assert_eq!(descriptors.as_slice().len(), DESCRIPTOR_LIMIT);
        assert!(descriptors.take(3).is_some());
        assert!(descriptors.take(3).is_none());
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_messages(
            stream in proptest::collection::vec(
                prop_oneof![3 => Just(0u8), 7 => any::<u8>()], 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..20),
            fetch_often in any::<bool>(),
        ) {
            let mut whole = Decoder::new(6);
            whole.push(&stream);
            let expected = all(&mut whole);

            let mut cuts = cuts;
            cuts.push(0);
            cuts.push(stream.len());
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(stream.len()));
            cuts.sort_unstable();
            let mut decoder = Decoder::new(6);
            let mut got = Vec::new();
            for cut in cuts.windows(2) {
                decoder.push(&stream[cut[0]..cut[1]]);
                if fetch_often {
                    got.extend(all(&mut decoder));
                    prop_assert!(decoder.buffered() <= 6);
                }
            }
            got.extend(all(&mut decoder));
            prop_assert_eq!(&got, &expected);
            prop_assert_eq!(decoder.end(), whole.end());

            // The specification in one line: the pieces that NULs ended, none of them too long.
            let mut pieces: Vec<&[u8]> = stream.split(|byte| *byte == 0).collect();
            let tail = pieces.pop().unwrap_or_default();
            let mut plain: Vec<_> = pieces.iter().map(|piece| match piece.len() {
                0..=6 => Ok(piece.to_vec()),
                _ => Err(FrameError::TooLong { limit: 6 }),
            }).collect();
            if tail.len() > 6 {
                plain.push(Err(FrameError::TooLong { limit: 6 }));
            }
            prop_assert_eq!(got, plain);
        }

        #[test]
        fn what_is_encoded_is_decoded(texts in proptest::collection::vec(any::<String>(), 0..5)) {
            let mut decoder = Decoder::default();
            for text in &texts {
                decoder.push(&encode(text, CALL_LIMIT).unwrap());
            }
            let got: Vec<String> = all(&mut decoder)
                .into_iter()
                .map(|message| serde_json::from_slice(&message.unwrap()).unwrap())
                .collect();
            prop_assert_eq!(got, texts);
        }
    }
}
