//! Patterns for names and values.
//!
//! ```text
//! *      any characters, also none
//! ?      any one character
//! [a-z]  one of these; [!a-z] none of these; "]" may come first
//! ```
//!
//! A backslash is a character like any other, since ids hold it; `[*]` is a star itself.

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// One or more patterns, any of which will do.
///
/// In a file it is a string or a list of strings.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Patterns(Vec<String>);

/// A pattern that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `[` has no `]`.
    #[error("the pattern '{pattern}' has a '[' without ']'")]
    OpenBracket {
        /// The pattern.
        pattern: String,
    },
    /// The pattern is longer than [`MAX_PATTERN`] bytes.
    #[error("a pattern has {length} bytes, at most {MAX_PATTERN} are allowed")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// There is no pattern in the list.
    #[error("a list of patterns is empty, so nothing could match")]
    None,
}

/// The longest pattern, in bytes; matching costs at most pattern times text.
pub const MAX_PATTERN: usize = 256;

impl Patterns {
    /// Patterns from texts.
    pub fn new<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Self {
        Patterns(patterns.into_iter().map(Into::into).collect())
    }

    /// Whether any pattern fits the whole text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| glob(pattern, text, false))
    }

    /// Whether any pattern fits the whole text when the case of ASCII letters does not matter.
    pub fn matches_ignoring_case(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| glob(pattern, text, true))
    }

    /// The patterns as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether every pattern is one.
    pub fn check(&self) -> Result<(), PatternError> {
        if self.0.is_empty() {
            return Err(PatternError::None);
        }
        self.0.iter().try_for_each(|pattern| check(pattern))
    }
}

fn check(pattern: &str) -> Result<(), PatternError> {
    if pattern.len() > MAX_PATTERN {
        return Err(PatternError::TooLong {
            length: pattern.len(),
        });
    }
    let mut rest = pattern;
    while !rest.is_empty() {
        let (token, after) = Token::split(rest);
        // A set that has no end is read as the character alone.
        if token == Token::Literal('[') {
            return Err(PatternError::OpenBracket {
                pattern: pattern.to_owned(),
            });
        }
        rest = after;
    }
    Ok(())
}

/// One step of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Any,
    One,
    Set(Set<'a>),
    Literal(char),
    End,
}

/// The inside of `[...]`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Set<'a> {
    members: &'a str,
    negated: bool,
}

impl<'a> Set<'a> {
    /// The set that begins after a `[`, and what follows its `]`.
    fn split(text: &'a str) -> Option<(Self, &'a str)> {
        let (negated, inner) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        // A ] that comes first is a member.
        let first = inner.chars().next()?;
        let end = first.len_utf8() + inner.get(first.len_utf8()..)?.find(']')?;
        let members = inner.get(..end)?;
        Some((Set { members, negated }, inner.get(end + 1..)?))
    }

    fn contains(self, c: char, fold: bool) -> bool {
        let mut rest = self.members.chars();
        let mut found = false;
        while let Some(low) = rest.next() {
            let mut ahead = rest.clone();
            let high = match (ahead.next(), ahead.next()) {
                (Some('-'), Some(high)) => {
                    rest = ahead;
                    high
                }
                _ => low,
            };
            let within = |c: char| (low..=high).contains(&c);
            found |= within(c)
                || fold && (within(c.to_ascii_lowercase()) || within(c.to_ascii_uppercase()));
        }
        found != self.negated
    }
}

impl<'a> Token<'a> {
    /// The first step of a pattern, and the rest.
    fn split(pattern: &'a str) -> (Self, &'a str) {
        let mut rest = pattern.chars();
        let token = match rest.next() {
            None => Token::End,
            Some('*') => Token::Any,
            Some('?') => Token::One,
            Some('[') => match Set::split(rest.as_str()) {
                Some((set, after)) => return (Token::Set(set), after),
                None => Token::Literal('['),
            },
            Some(c) => Token::Literal(c),
        };
        (token, rest.as_str())
    }
}

/// Whether the pattern fits the whole text. It goes back to the last `*` alone, so the work is
/// bounded by the product of both lengths.
fn glob(pattern: &str, text: &str, fold: bool) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let mut star: Option<(&str, &str)> = None;
    loop {
        let (token, after) = Token::split(pattern);
        let mut ahead = text.chars();
        let next = ahead.next();
        let fits = match token {
            Token::Any => {
                star = Some((after, text));
                pattern = after;
                continue;
            }
            Token::End if next.is_none() => return true,
            Token::End => false,
            Token::One => next.is_some(),
            Token::Set(set) => next.is_some_and(|c| set.contains(c, fold)),
            Token::Literal(wanted) => {
                next.is_some_and(|c| c == wanted || fold && c.eq_ignore_ascii_case(&wanted))
            }
        };
        if fits {
            pattern = after;
            text = ahead.as_str();
            continue;
        }
        // Let the last star swallow one more character.
        let Some((after_star, from)) = star else {
            return false;
        };
        let mut swallowed = from.chars();
        if swallowed.next().is_none() {
            return false;
        }
        star = Some((after_star, swallowed.as_str()));
        pattern = after_star;
        text = swallowed.as_str();
    }
}

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Patterns;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a pattern or a list of patterns")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Patterns, E> {
                Ok(Patterns(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Patterns, A::Error> {
                let mut list = Vec::new();
                while let Some(text) = seq.next_element()? {
                    list.push(text);
                }
                Ok(Patterns(list))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn patterns_fit_whole_texts() {
        let cases = [
            ("tap*", "tap0", true),
            ("tap*", "xtap0", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("?", "é", true),
            ("?", "", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("*ab", "aab", true),
            ("ram[0-9]*", "ram12", true),
            ("ram[0-9]*", "ramdisk", false),
            ("[!a]x", "bx", true),
            ("[!a]x", "ax", false),
            ("[]]", "]", true),
            ("a[*]", "a*", true),
            ("a[*]", "ab", false),
            ("a\\*", "a\\b", true),
            ("TAP?", "tap0", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(
                Patterns::new([pattern]).matches(text),
                expected,
                "'{pattern}' and '{text}'"
            );
        }
        assert!(Patterns::new(["a", "b*"]).matches("bc"));
        assert!(Patterns::new(["TAP[a-c]"]).matches_ignoring_case("tapB"));
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_the_product_of_the_lengths() {
        let pattern = "*a".repeat(100);
        assert!(!Patterns::new([pattern]).matches(&"a".repeat(4000).replace("aaaa", "aaab")));
    }

    #[test]
    fn a_broken_pattern_is_named() {
        let error = |pattern: &str| Patterns::new([pattern]).check().unwrap_err().to_string();
        assert_eq!(error("a[b"), "the pattern 'a[b' has a '[' without ']'");
        assert!(error(&"x".repeat(300)).contains("300 bytes"));
        assert!(Patterns::new(Vec::<String>::new()).check().is_err());
        for good in ["a[]]b", "[!]]", "a\\", "[[]", "*?"] {
            Patterns::new([good]).check().unwrap();
        }
    }
}
