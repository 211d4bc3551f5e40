//! TOML tables read key by key, so that every wrong key and value gets its own place and remedy.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::duration;
use arrival_model::diagnostic::{Report, closest};

/// A value of the document.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// Something read, and where it stood.
#[derive(Clone, Debug)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<T> Found<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Found<U> {
        Found {
            value: f(self.value),
            span: self.span,
        }
    }
}

/// Reads a whole document; none if it is not TOML, which is then in the report.
pub(crate) fn parse<'i>(report: &mut Report<'i>) -> Option<Spanned<DeTable<'i>>> {
    let (table, errors) = DeTable::parse_recoverable(report.text());
    if errors.is_empty() {
        return Some(table);
    }
    let mut lines = BTreeSet::new();
    for error in errors {
        // The parser's messages are sentences of their own; ours begin in lower case.
        let message = error.message().trim().replace('\n', ", ");
        let span = error.span().unwrap_or(0..0);
        // The parser stumbles on over what follows a mistake; the first of a line is the one.
        if !lines.insert(report.line_of(span.start)) {
            continue;
        }
        report.error("syntax", span, format!("not TOML: {message}"), None);
    }
    None
}

/// A table whose keys are taken one by one; what nobody asked for is an unknown key.
pub(crate) struct Section<'a> {
    /// How messages call it: `[service]`.
    label: &'static str,
    /// Where it begins, for what is missing from it.
    pub(crate) span: Range<usize>,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(label: &'static str, table: &'a DeTable<'a>, span: Range<usize>) -> Self {
        Section {
            label,
            span,
            table,
            known: Vec::new(),
        }
    }

    /// The key and value, if they are there; from now on the key is a known one.
    pub(crate) fn entry(&mut self, key: &'static str) -> Option<(Range<usize>, &'a Value<'a>)> {
        self.known.push(key);
        let (name, value) = self.table.get_key_value(key)?;
        Some((name.span(), value))
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        self.entry(key).map(|(_, value)| value)
    }

    /// A string.
    pub(crate) fn string(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
    ) -> Option<Found<String>> {
        let value = self.value(key)?;
        string(report, key, value)
    }

    /// A string that is one line without control characters and not longer than `limit` bytes.
    pub(crate) fn line(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        limit: usize,
    ) -> Option<Found<String>> {
        let found = self.string(report, key)?;
        let wrong = if found.value.chars().any(char::is_control) {
            "contains control characters".to_owned()
        } else if found.value.len() > limit {
            format!("is longer than {limit} bytes")
        } else {
            return Some(found);
        };
        report.error("bad-value", found.span, format!("'{key}' {wrong}"), None);
        None
    }

    /// `true` or `false`.
    pub(crate) fn boolean(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
    ) -> Option<Found<bool>> {
        let value = self.value(key)?;
        match value.get_ref().as_bool() {
            Some(flag) => Some(Found {
                value: flag,
                span: value.span(),
            }),
            None => {
                let remedy = match value
                    .get_ref()
                    .as_str()
                    .map(str::to_ascii_lowercase)
                    .as_deref()
                {
                    Some("true" | "yes" | "on") => Some(format!("write {key} = true")),
                    Some("false" | "no" | "off") => Some(format!("write {key} = false")),
                    _ => None,
                };
                wrong_type(report, key, value, "true or false", remedy);
                None
            }
        }
    }

    /// A whole number in a range.
    pub(crate) fn number(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Option<Found<u32>> {
        let value = self.value(key)?;
        let Some(number) = value.get_ref().as_integer() else {
            wrong_type(report, key, value, "a whole number", None);
            return None;
        };
        let read = u32::from_str_radix(number.as_str(), number.radix()).ok();
        match read.filter(|read| range.contains(read)) {
            Some(read) => Some(Found {
                value: read,
                span: value.span(),
            }),
            None => {
                let message = format!("'{key}' must be from {} to {}", range.start(), range.end());
                report.error("bad-value", value.span(), message, None);
                None
            }
        }
    }

    /// A duration: a text with units, or a number of seconds.
    pub(crate) fn duration(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
    ) -> Option<Found<Duration>> {
        let value = self.value(key)?;
        let read = match value.get_ref() {
            DeValue::String(text) => duration::parse(text),
            DeValue::Integer(number) => (number.radix() == 10)
                .then(|| number.as_str().parse().ok())
                .flatten()
                .and_then(duration::seconds_from),
            DeValue::Float(number) => number
                .as_str()
                .parse()
                .ok()
                .and_then(duration::seconds_from),
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                wrong_type(report, key, value, duration::EXPECTED, None);
                return None;
            }
        };
        if read.is_none() {
            let message = format!("'{key}' is not {}", duration::EXPECTED);
            report.error("bad-value", value.span(), message, None);
        }
        Some(Found {
            value: read?,
            span: value.span(),
        })
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<Found<T>> {
        let found = self.string(report, key)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == found.value) {
            return Some(found.map(|_| *value));
        }
        let words: Vec<String> = choices
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        let message = format!("'{key}' must be {}", either(&words));
        let meant = closest(&found.value, choices.iter().map(|(word, _)| *word));
        let remedy = meant.map(|word| format!("did you mean \"{word}\"?"));
        report.error("bad-value", found.span, message, remedy);
        None
    }

    /// A list of strings; with `or_one`, a string alone is a list of one.
    pub(crate) fn strings(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        or_one: bool,
    ) -> Option<Found<Vec<Found<String>>>> {
        let value = self.value(key)?;
        let span = value.span();
        let expected = if or_one {
            "a string or a list of strings"
        } else {
            "a list of strings"
        };
        match value.get_ref() {
            DeValue::Array(array) => {
                let mut strings = Vec::new();
                let mut good = true;
                for item in array.iter() {
                    match string(report, key, item) {
                        Some(found) => strings.push(found),
                        None => good = false,
                    }
                }
                // What is good in a list with a wrong item is still worth checking.
                (good || !strings.is_empty()).then_some(Found {
                    value: strings,
                    span,
                })
            }
            DeValue::String(text) if or_one => {
                let one = Found {
                    value: text.clone().into_owned(),
                    span: span.clone(),
                };
                Some(Found {
                    value: vec![one],
                    span,
                })
            }
            DeValue::String(text) => {
                let words: Vec<String> = text
                    .split_whitespace()
                    .map(|word| format!("{word:?}"))
                    .collect();
                let remedy = format!("write {key} = [{}]", words.join(", "));
                wrong_type(report, key, value, expected, Some(remedy));
                None
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => {
                wrong_type(report, key, value, expected, None);
                None
            }
        }
    }

    /// A table within this one.
    pub(crate) fn section(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        label: &'static str,
    ) -> Option<Section<'a>> {
        let (name, value) = self.entry(key)?;
        match value.get_ref().as_table() {
            Some(table) => Some(Section::new(label, table, name)),
            None => {
                let remedy = format!("write {label} on a line of its own, and its keys below it");
                wrong_type(report, key, value, "a table", Some(remedy));
                None
            }
        }
    }

    /// The tables of a list of tables.
    pub(crate) fn sections(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        label: &'static str,
    ) -> Vec<Section<'a>> {
        let Some((name, value)) = self.entry(key) else {
            return Vec::new();
        };
        let remedy = || {
            Some(format!(
                "write {label} on a line of its own, and its keys below it"
            ))
        };
        let Some(array) = value.get_ref().as_array() else {
            let expected = if value.get_ref().is_table() {
                "a list of tables"
            } else {
                "a table"
            };
            // The value's own place is the whole table; the name is where the mistake is.
            let message = format!("'{key}' is {}, not {expected}", article(value.get_ref()));
            report.error("wrong-type", name, message, remedy());
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section::new(label, table, item.span())),
                None => wrong_type(report, key, item, "a table", remedy()),
            }
        }
        sections
    }

    /// All keys and values of a table whose keys are free.
    pub(crate) fn free(&self) -> impl Iterator<Item = (Found<String>, &'a Value<'a>)> {
        self.table.iter().map(|(name, value)| {
            let key = Found {
                value: name.get_ref().clone().into_owned(),
                span: name.span(),
            };
            (key, value)
        })
    }

    /// Reports what is missing.
    pub(crate) fn missing(&self, report: &mut Report<'_>, key: &str, remedy: &str) {
        let message = format!("'{key}' is missing from {}", self.label);
        report.error("missing-key", self.span.clone(), message, remedy.to_owned());
    }

    /// Reports the keys that nobody asked for; `elsewhere` knows keys that belong to another place,
    /// or that other programs use, in lower case.
    pub(crate) fn finish(self, report: &mut Report<'_>, elsewhere: &[(&str, &str)]) {
        for name in self.table.keys() {
            let key: &str = name.get_ref();
            if self.known.contains(&key) {
                continue;
            }
            let folded = key.to_ascii_lowercase();
            let other = elsewhere.iter().find(|(word, _)| *word == folded);
            let remedy = match other {
                Some((_, remedy)) => (*remedy).to_owned(),
                None => match closest(key, self.known.iter().copied()) {
                    Some(meant) => format!("did you mean '{meant}'?"),
                    None => {
                        let mut known = self.known.clone();
                        known.sort_unstable();
                        known.dedup();
                        format!("the keys are {}", known.join(", "))
                    }
                },
            };
            let message = format!("unknown key '{key}' in {}", self.label);
            report.error("unknown-key", name.span(), message, remedy);
        }
    }
}

/// A value that must be a string without NUL.
pub(crate) fn string(
    report: &mut Report<'_>,
    key: &str,
    value: &Value<'_>,
) -> Option<Found<String>> {
    let Some(text) = value.get_ref().as_str() else {
        let remedy = match value.get_ref() {
            DeValue::Integer(number) => Some(format!("write \"{}\"", number.as_str())),
            DeValue::String(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        wrong_type(report, key, value, "a string", remedy);
        return None;
    };
    if text.contains('\0') {
        report.error(
            "bad-value",
            value.span(),
            format!("'{key}' contains a NUL"),
            None,
        );
        return None;
    }
    Some(Found {
        value: text.to_owned(),
        span: value.span(),
    })
}

/// Reports a value of the wrong type.
pub(crate) fn wrong_type(
    report: &mut Report<'_>,
    key: &str,
    value: &Value<'_>,
    expected: &str,
    remedy: Option<String>,
) {
    let message = format!("'{key}' is {}, not {expected}", article(value.get_ref()));
    report.error("wrong-type", value.span(), message, remedy);
}

/// The type of a value, with its article.
fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// "a", "a or b", "a, b or c".
fn either(words: &[String]) -> String {
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}
