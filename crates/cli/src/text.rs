//! Text from outside, made safe to print: names and ids of devices are chosen by whoever built the
//! device, and must not be able to write to the terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a character does something to a terminal or to the order of writing.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with each active character written as its escape.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_active) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_active(c) => {
                let code = u32::from(c);
                // Writing to a String cannot fail.
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    _ => write!(out, "\\u{{{code:x}}}"),
                };
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// JSON in which every active character is written as its escape.
///
/// serde_json escapes those below a space. Beyond ASCII, JSON allows characters only within
/// strings, where an escape means the same.
pub(crate) fn printable_json(json: String) -> String {
    if !json.contains(|c| is_active(c) && c != '\n') {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_active(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Nanoseconds as people say them: `3.4 s`, `2 min 5 s`, `4 h 10 min`, `3 d 4 h`.
pub(crate) fn span(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, ns / 100_000_000 % 10),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A number with its noun: `1 service`, `3 services`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{end}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_device_name_cannot_write_to_the_terminal() {
        assert_eq!(printable("plain \\ name ü"), "plain \\ name ü");
        assert_eq!(
            printable("\u{1b}[2J\u{9b}1m\r\n\t"),
            "\\x1b[2J\\x9b1m\\r\\n\\t"
        );
        assert_eq!(printable("a\u{202e}b\u{7f}"), "a\\u{202e}b\\x7f");
    }

    #[test]
    fn json_for_a_terminal_means_the_same() {
        let text = "\u{1b}\u{9b}\u{7f}\u{202e}\u{e0001}ü\n".to_owned();
        let json = printable_json(serde_json::to_string(&text).unwrap());
        assert_eq!(json, "\"\\u001b\\u009b\\u007f\\u202e\\udb40\\udc01ü\\n\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn spans_have_two_units_at_most() {
        assert_eq!(span(0), "0.0 s");
        assert_eq!(span(59_960_000_000), "59.9 s");
        assert_eq!(span(125_000_000_000), "2 min 5 s");
        assert_eq!(span(15_000_000_000_000), "4 h 10 min");
        assert_eq!(span(273_600_000_000_000), "3 d 4 h");
    }
}
