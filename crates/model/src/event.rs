//! Custom events, and which of them a trigger waits for.
//!
//! ```text
//! item            an event passes                                        several of them
//! --------------+-------------------------------------------------------+----------------------
//! LEVEL           the item is 0, or the event's level is 0 or at most it  any will do
//! KEYWORD_ANY     the item is 0, or the event's keyword is 0 or shares    any will do
//!                   a bit with it
//! KEYWORD_ALL     the event's keyword is 0 or has all of its bits         any will do
//! BINARY          the payload is the same bytes                           any of these two kinds
//! STRING          the payload is the same text, in UTF-16LE or UTF-8,       will do
//!                   ignoring ASCII case and a NUL at the end
//! ```
//!
//! An event passes if it does by each of LEVEL, KEYWORD_ANY, KEYWORD_ALL and payload of which there are
//! items. A STRING of several texts is one text with NULs in it.
//!
//! Sources: Microsoft, "Filtering Events" and EnableTraceEx2 for levels and keywords; how items of
//! several kinds are combined, Microsoft says nowhere.

use crate::guid::Guid;
use crate::service_trigger::{DataItem, DataType};

/// The longest payload of an event, in bytes; Windows allows 64 KiB with everything.
pub const PAYLOAD_LIMIT: usize = 65_000;

/// What an event is, apart from its payload (EVENT_DESCRIPTOR of evntprov.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EventHead {
    /// Which event of the provider's.
    pub id: u16,
    /// Which version of it.
    pub version: u8,
    /// Which channel it is for.
    pub channel: u8,
    /// How severe it is: 1 critical to 5 verbose; 0 always.
    pub level: u8,
    /// Which step of an operation.
    pub opcode: u8,
    /// Which operation.
    pub task: u16,
    /// Which of the provider's kinds of events it is of: bits.
    pub keyword: u64,
}

/// Which events pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    levels: Vec<u8>,
    any: Vec<u64>,
    all: Vec<u64>,
    binaries: Vec<Vec<u8>>,
    texts: Vec<String>,
}

/// What a provider needs to write, so that everything that some filter passes is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    /// Whether anybody waits for its events.
    pub on: bool,
    /// The highest level; 0 means all.
    pub level: u8,
    /// The keywords, any of which will do; 0 means all.
    pub any: u64,
}

impl Enabled {
    /// Whether an event may be of interest.
    pub fn wants(&self, level: u8, keyword: u64) -> bool {
        self.on
            && (self.level == 0 || level <= self.level)
            && (self.any == 0 || keyword == 0 || keyword & self.any != 0)
    }

    /// What both need.
    #[must_use]
    pub fn and(self, other: Enabled) -> Enabled {
        match (self.on, other.on) {
            (false, _) => other,
            (_, false) => self,
            (true, true) => Enabled {
                on: true,
                level: if self.level == 0 || other.level == 0 {
                    0
                } else {
                    self.level.max(other.level)
                },
                any: if self.any == 0 || other.any == 0 {
                    0
                } else {
                    self.any | other.any
                },
            },
        }
    }
}

impl EventFilter {
    /// The filter that a trigger's items make; items whose bytes are none of their type are left out.
    pub fn from_items(items: &[DataItem]) -> Self {
        let mut filter = EventFilter::default();
        for item in items {
            let eight = <[u8; 8]>::try_from(item.bytes.as_slice()).map(u64::from_le_bytes);
            match item.kind {
                DataType::Binary => filter.binaries.push(item.bytes.clone()),
                DataType::String => filter
                    .texts
                    .extend(item.texts().map(|texts| texts.join("\0"))),
                DataType::Level => filter.levels.extend(item.bytes.first()),
                DataType::KeywordAny => filter.any.extend(eight),
                DataType::KeywordAll => filter.all.extend(eight),
            }
        }
        filter
    }

    /// Whether an event passes; allocates nothing.
    pub fn passes(&self, head: &EventHead, payload: &[u8]) -> bool {
        let EventHead { level, keyword, .. } = *head;
        let level = || {
            let fits = |most: &u8| *most == 0 || level <= *most;
            self.levels.is_empty() || level == 0 || self.levels.iter().any(fits)
        };
        let any = || {
            let fits = |mask: &u64| *mask == 0 || keyword & mask != 0;
            self.any.is_empty() || keyword == 0 || self.any.iter().any(fits)
        };
        let all = || {
            let fits = |mask: &u64| keyword & mask == *mask;
            self.all.is_empty() || keyword == 0 || self.all.iter().any(fits)
        };
        let payload = || {
            (self.binaries.is_empty() && self.texts.is_empty())
                || self.binaries.iter().any(|bytes| bytes == payload)
                || self.texts.iter().any(|text| is_text(payload, text))
        };
        level() && any() && all() && payload()
    }

    /// What a provider needs to write for this filter.
    pub fn enabled(&self) -> Enabled {
        let highest = if self.levels.contains(&0) {
            None
        } else {
            self.levels.iter().max()
        };
        let any = if self.any.contains(&0) {
            0
        } else {
            self.any.iter().fold(0, |all, mask| all | mask)
        };
        Enabled {
            on: true,
            level: highest.copied().unwrap_or(0),
            any,
        }
    }
}

/// Whether a payload is a text, in UTF-8 or UTF-16LE.
fn is_text(payload: &[u8], text: &str) -> bool {
    let utf8 = payload.strip_suffix(&[0]).unwrap_or(payload);
    if utf8.eq_ignore_ascii_case(text.as_bytes()) {
        return true;
    }
    let utf16 = payload.strip_suffix(&[0, 0]).unwrap_or(payload);
    let fold = |unit: u16| match u8::try_from(unit) {
        Ok(byte) => u16::from(byte.to_ascii_lowercase()),
        Err(_) => unit,
    };
    utf16.len().is_multiple_of(2)
        && utf16
            .chunks_exact(2)
            .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
            .map(fold)
            .eq(text.encode_utf16().map(fold))
}

/// An event that a provider has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomEvent<'p> {
    /// Who wrote it.
    pub provider: Guid,
    /// What it is.
    pub head: EventHead,
    /// Its data.
    pub payload: &'p [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(kind: DataType, mask: u64) -> DataItem {
        DataItem {
            kind,
            bytes: mask.to_le_bytes().to_vec(),
        }
    }

    fn level(level: u8) -> DataItem {
        DataItem {
            kind: DataType::Level,
            bytes: vec![level],
        }
    }

    fn event(level: u8, keyword: u64) -> EventHead {
        EventHead {
            level,
            keyword,
            ..EventHead::default()
        }
    }

    /// Microsoft's example: any of B and C, and A.
    #[test]
    fn keywords_are_combined_as_microsoft_shows() {
        let (a, b, c) = (1, 2, 4);
        let filter = EventFilter::from_items(&[
            mask(DataType::KeywordAny, b | c),
            mask(DataType::KeywordAll, a),
        ]);
        for passes in [a | b | c, a | b, a | c, 0] {
            assert!(filter.passes(&event(1, passes), b""), "{passes}");
        }
        for fails in [b | c, a, b, c] {
            assert!(!filter.passes(&event(1, fails), b""), "{fails}");
        }
    }

    #[test]
    fn a_level_lets_everything_up_to_it_through() {
        let filter = EventFilter::from_items(&[level(3)]);
        for (own, passes) in [(0, true), (1, true), (3, true), (4, false)] {
            assert_eq!(filter.passes(&event(own, 0), b""), passes, "{own}");
        }
        assert!(EventFilter::from_items(&[level(0)]).passes(&event(255, 0), b""));
        assert!(EventFilter::from_items(&[level(1), level(5)]).passes(&event(5, 0), b""));
    }

    #[test]
    fn the_payload_is_any_of_the_bytes_and_texts() {
        let bytes = DataItem {
            kind: DataType::Binary,
            bytes: vec![1, 2],
        };
        let filter = EventFilter::from_items(&[bytes, DataItem::strings(["Ready"])]);
        let passes = |payload: &[u8]| filter.passes(&event(1, 0), payload);
        assert!(passes(&[1, 2]) && passes(b"ready") && passes(b"READY\0"));
        assert!(passes(b"r\0e\0a\0d\0y\0") && passes(b"R\0e\0a\0d\0y\0\0\0"));
        assert!(!passes(&[1]) && !passes(b"ready!") && !passes(b"") && !passes(b"r\0e\0a\0d\0y"));
        let both = EventFilter::from_items(&[level(2), DataItem::strings(["x"])]);
        assert!(both.passes(&event(2, 0), b"x") && !both.passes(&event(3, 0), b"x"));
    }

    #[test]
    fn what_passes_a_filter_is_wanted_of_the_provider() {
        let items = [
            vec![],
            vec![level(3)],
            vec![level(0)],
            vec![mask(DataType::KeywordAny, 6)],
            vec![mask(DataType::KeywordAll, 5), level(2)],
        ];
        let filters: Vec<EventFilter> = items
            .iter()
            .map(|own| EventFilter::from_items(own))
            .collect();
        for number in 1_u32..32 {
            let chosen: Vec<&EventFilter> = filters
                .iter()
                .zip(0..)
                .filter(|(_, place)| number >> place & 1 == 1)
                .map(|(filter, _)| filter)
                .collect();
            let enabled = chosen
                .iter()
                .fold(Enabled::default(), |all, filter| all.and(filter.enabled()));
            for level in 0..6 {
                for keyword in 0..16 {
                    let head = event(level, keyword);
                    if chosen.iter().any(|filter| filter.passes(&head, b"")) {
                        assert!(enabled.wants(level, keyword), "{enabled:?} {head:?}");
                    }
                }
            }
        }
        assert!(!Enabled::default().wants(0, 0));
    }
}
