//! From the bytes of a file to its text.
//!
//! | the file begins with | and | it is read as |
//! |---|---|---|
//! | `FF FE` | | UTF-16, little endian |
//! | `FE FF` | | UTF-16, big endian |
//! | `EF BB BF` | | UTF-8 |
//! | anything else | every second byte of its beginning is 0 | UTF-16 without its mark |
//! | anything else | it is UTF-8 | UTF-8, of which ASCII is a part |
//! | anything else | | Windows-1252, the code page of western Windows |
//!
//! Windows itself reads UTF-16 with a mark and the system's code page; files in plain UTF-8 are what
//! people write today. What cannot be decoded becomes U+FFFD and is reported, at the first such place.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// The text of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The text, without a byte order mark.
    pub text: String,
    /// The name of the encoding.
    pub encoding: &'static str,
    /// What is doubtful about it, and at which byte of the text.
    pub doubt: Option<(usize, String)>,
}

/// Decodes a file's bytes.
pub fn decode(bytes: &[u8]) -> Decoded {
    let (encoding, rest, guessed) = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => (encoding, bytes.get(mark..).unwrap_or_default(), false),
        None => match without_mark(bytes) {
            Some(encoding) => (encoding, bytes, true),
            None if std::str::from_utf8(bytes).is_ok() => (UTF_8, bytes, false),
            None => (WINDOWS_1252, bytes, false),
        },
    };
    let (text, bad) = encoding.decode_without_bom_handling(rest);
    let doubt = if bad {
        let at = text.find('\u{fffd}').unwrap_or(0);
        Some((at, format!("this is not {}", encoding.name())))
    } else if guessed {
        let what = format!(
            "the file has no byte order mark and is taken for {}",
            encoding.name()
        );
        Some((0, what))
    } else {
        None
    };
    Decoded {
        text: text.into_owned(),
        encoding: encoding.name(),
        doubt,
    }
}

/// A text in the encoding, and with the mark, of the bytes that it was read from; none if that encoding lacks
/// a character.
pub fn encode(text: &str, like: &[u8]) -> Option<Vec<u8>> {
    let name = decode(like).encoding;
    let marked = Encoding::for_bom(like).is_some();
    let mark = if marked { "\u{feff}" } else { "" };
    if name == UTF_16LE.name() || name == UTF_16BE.name() {
        let bytes = |unit: u16| {
            if name == UTF_16LE.name() {
                unit.to_le_bytes()
            } else {
                unit.to_be_bytes()
            }
        };
        let units = mark.encode_utf16().chain(text.encode_utf16());
        return Some(units.flat_map(bytes).collect());
    }
    if name == UTF_8.name() {
        return Some([mark, text].concat().into_bytes());
    }
    let (bytes, _, unmappable) = WINDOWS_1252.encode(text);
    (!unmappable).then(|| bytes.into_owned())
}

/// The encoding of a text in UTF-16 whose mark is missing: it begins with ASCII, which has a zero byte
/// in each pair.
fn without_mark(bytes: &[u8]) -> Option<&'static Encoding> {
    let head: Vec<[u8; 2]> = bytes
        .chunks_exact(2)
        .take(16)
        .filter_map(|pair| <[u8; 2]>::try_from(pair).ok())
        .collect();
    if head.len() < 2 || !bytes.len().is_multiple_of(2) {
        return None;
    }
    if head.iter().all(|[low, high]| *low != 0 && *high == 0) {
        return Some(UTF_16LE);
    }
    head.iter()
        .all(|[high, low]| *low != 0 && *high == 0)
        .then_some(UTF_16BE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn utf16(text: &str, mark: bool, little: bool) -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        let units = mark.into_iter().chain(text.encode_utf16());
        units
            .flat_map(|unit| {
                if little {
                    unit.to_le_bytes()
                } else {
                    unit.to_be_bytes()
                }
            })
            .collect()
    }

    #[test]
    fn every_encoding_that_is_in_use_gives_the_same_text() {
        let text = "[Version]\r\n; Größe\r\n";
        let mut marked = b"\xef\xbb\xbf".to_vec();
        marked.extend(text.as_bytes());
        let ansi: Vec<u8> = text
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect();
        let files = [
            utf16(text, true, true),
            utf16(text, true, false),
            utf16(text, false, true),
            utf16(text, false, false),
            marked,
            text.as_bytes().to_vec(),
            ansi,
        ];
        for file in files {
            assert_eq!(decode(&file).text, text, "{file:?}");
            assert_eq!(encode(text, &file).as_ref(), Some(&file));
        }
        assert_eq!(decode(&utf16(text, true, true)).doubt, None);
        assert!(decode(&utf16(text, false, true)).doubt.is_some());
    }

    #[test]
    fn what_is_cut_off_is_reported_where_it_is() {
        let mut cut = utf16("[A]", true, true);
        cut.push(b'x');
        let decoded = decode(&cut);
        assert_eq!(decoded.text, "[A]\u{fffd}");
        assert_eq!(decoded.doubt, Some((3, "this is not UTF-16LE".to_owned())));
        assert_eq!(decode(b"").text, "");
        assert_eq!(encode("\u{65e5}", b"\xff"), None);
    }
}
