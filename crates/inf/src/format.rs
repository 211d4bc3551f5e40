//! One layout for INF files.
//!
//! | what | becomes |
//! |---|---|
//! | a header | `[name]`, with one empty line before it and its comments, but not at the beginning |
//! | an entry | `key = value, value`; the `=` of neighbours in one column, if their keys have at most 24 characters |
//! | values | as they are written, with their quotes and empty places |
//! | a line that goes on behind `\` | one line; one of more than 100 characters is cut behind a comma |
//! | a value over several lines | in quotes only if they are needed |
//! | comments | alone on their line, or two blanks behind an entry or header |
//! | comments behind a `\` that goes on | alone on their line, above the entry |
//! | several empty lines | one |
//! | the end of lines | that of the first line; one at the end of the file, if there is anything in it |
//! | what stands behind Ctrl-Z | nothing |
//!
//! What the file means is not changed. A file with a mistake of grammar is not laid out: nobody knows what
//! its author meant.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use arrival_model::diagnostic::{Diagnostic, Report};

use crate::syntax::{self, Entry, Field};

/// The longest line that is not cut.
const WIDTH: usize = 100;
/// The longest key that others are aligned with.
const KEY: usize = 24;

/// What the grammar takes for blanks within a line, but for NUL.
const BLANKS: [char; 4] = [' ', '\t', '\x0b', '\x0c'];

/// A line of the file.
#[derive(Debug)]
enum Line {
    Empty,
    /// A comment alone.
    Comment(String),
    Header(String, Option<String>),
    Entry {
        key: Option<String>,
        values: Vec<String>,
        comment: Option<String>,
    },
}

/// Lays out a text.
///
/// # Errors
///
/// The mistakes of grammar in it.
pub fn format(path: &Path, text: &str) -> Result<String, Vec<Diagnostic>> {
    let mut report = Report::new(path, text);
    let document = syntax::parse(&mut report);
    let mut problems = report.finish();
    // Sections of one name are no mistake of grammar.
    problems.retain(|problem| problem.code != "1209");
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut items: Vec<(Range<usize>, Option<&Entry<'_>>)> = Vec::new();
    for section in &document.sections {
        // With the brackets around the name.
        let name = section.span.start.saturating_sub(1)..section.span.end + 1;
        items.push((name, None));
        items.extend(
            section
                .entries
                .iter()
                .map(|entry| (entry.span.clone(), Some(entry))),
        );
    }
    let text = text.split('\u{1a}').next().unwrap_or_default();
    let mut lines = Vec::new();
    let mut at = 0;
    for (span, entry) in &items {
        gap(
            text.get(at..span.start).unwrap_or_default(),
            &mut lines,
            at == 0,
        );
        match entry {
            None => lines.push(Line::Header(header(text, span), None)),
            Some(entry) => {
                lines.extend(within(text, span).map(Line::Comment));
                lines.push(line(text, entry));
            }
        }
        at = span.end;
    }
    gap(text.get(at..).unwrap_or_default(), &mut lines, at == 0);
    let eol = match text.find(['\r', '\n']) {
        Some(at) if text.get(at..).is_some_and(|rest| rest.starts_with("\r\n")) => "\r\n",
        Some(_) | None => "\n",
    };
    Ok(write(&lines, eol))
}

/// A header as it is written, without the blanks around the name.
fn header(text: &str, span: &Range<usize>) -> String {
    let written = text.get(span.clone()).unwrap_or_default();
    let name = written.strip_prefix('[').unwrap_or(written);
    let name = name.strip_suffix(']').unwrap_or(name);
    std::format!("[{}]", name.trim())
}

/// An entry without its comments.
fn line(text: &str, entry: &Entry<'_>) -> Line {
    let fields = entry.key.iter().chain(&entry.values);
    let mut fields: Vec<String> = fields.map(|field| source(text, field)).collect();
    // Behind a line that goes on even a bracket begins no header.
    let own = entry.key.as_ref().or(entry.values.first());
    if let Some((first, own)) = fields.first_mut().zip(own)
        && first.starts_with('[')
    {
        *first = quote(&own.text).into_owned();
    }
    // Alone on its line, what says nothing is an entry only in quotes.
    if let [only] = fields.as_mut_slice()
        && only.is_empty()
    {
        *only = "\"\"".to_owned();
    }
    let key = entry.key.as_ref().map(|_| fields.remove(0));
    Line::Entry {
        key,
        values: fields,
        comment: None,
    }
}

/// The comments of an entry that stand where its line goes on.
fn within(text: &str, span: &Range<usize>) -> impl Iterator<Item = String> {
    let bytes = text.as_bytes();
    let mut at = span.start;
    let mut quoted = false;
    let mut straight = at;
    let end = span.end;
    std::iter::from_fn(move || {
        while at < end {
            let start = at;
            at += 1;
            match bytes.get(start) {
                Some(b'"') => quoted = !quoted,
                Some(b'\\') if !quoted && start >= straight => {
                    let next = match syntax::continued(bytes, start) {
                        Ok(next) => next,
                        Err(until) => {
                            straight = until;
                            continue;
                        }
                    };
                    at = next;
                    let passed = text.get(start..next).unwrap_or_default();
                    if let Some(comment) = passed.find(';').and_then(|at| passed.get(at..)) {
                        return Some(comment.trim_end().to_owned());
                    }
                }
                _ => {}
            }
        }
        None
    })
}

/// A field as it is written; one over several lines is written anew.
fn source(text: &str, field: &Field<'_>) -> String {
    let written = text.get(field.span.clone()).unwrap_or_default();
    // A backslash at the end of the file's last line would go on behind the line end that it gets.
    if written.contains(['\r', '\n', '\0']) || written.ends_with('\\') {
        return quote(&field.text).into_owned();
    }
    written.to_owned()
}

/// A field, key or value, that reads as exactly this text, in quotes only if they are needed.
///
/// Tokens in it stay tokens. An empty field is nothing, and alone on its line it is no entry. Line ends,
/// Ctrl-Z and NUL cannot be said in a field.
pub fn quote(value: &str) -> Cow<'_, str> {
    let bare = !value.contains([',', ';', '=', '"'])
        && !value.starts_with('[')
        // The line would go on, if this is its last field.
        && !value.ends_with('\\')
        && !value.starts_with(BLANKS)
        && !value.ends_with(BLANKS);
    if bare {
        return Cow::Borrowed(value);
    }
    Cow::Owned(std::format!("\"{}\"", value.replace('"', "\"\"")))
}

/// What stands between two items: the end of the first one's line, empty lines, comments.
fn gap(text: &str, lines: &mut Vec<Line>, first: bool) {
    let normal = text.replace("\r\n", "\n").replace('\r', "\n");
    for (number, line) in normal.split('\n').enumerate() {
        // Behind the last value stand commas without anything, and a backslash that continued nothing.
        let comment = line
            .find(';')
            .and_then(|at| line.get(at..))
            .map(|text| text.trim_end().to_owned());
        match (comment, lines.last_mut()) {
            (Some(text), Some(Line::Header(_, place) | Line::Entry { comment: place, .. }))
                if number == 0 && !first && place.is_none() =>
            {
                *place = Some(text);
            }
            (Some(text), _) => lines.push(Line::Comment(text)),
            // The last piece is the beginning of the next item's line.
            (None, _) if number > 0 && line.trim().is_empty() => lines.push(Line::Empty),
            (None, _) => {}
        }
    }
    // What the split counts behind the last line end is no empty line.
    if normal.contains('\n') && matches!(lines.last(), Some(Line::Empty)) {
        lines.pop();
    }
}

fn write(lines: &[Line], eol: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        match line {
            Line::Empty => {
                if out.last().is_some_and(|last| !last.is_empty()) {
                    out.push(String::new());
                }
                at += 1;
            }
            Line::Comment(text) => {
                // Comments right above a header belong to it. Only the first of them looks for it, or many
                // would take long.
                let rest = lines.get(at..).unwrap_or_default();
                let run = at == 0 || !matches!(lines.get(at - 1), Some(Line::Comment(_)));
                let next = || rest.iter().find(|line| !matches!(line, Line::Comment(_)));
                if run && matches!(next(), Some(Line::Header(..))) {
                    separate(&mut out);
                }
                out.push(text.clone());
                at += 1;
            }
            Line::Header(name, comment) => {
                let above = at > 0 && matches!(lines.get(at - 1), Some(Line::Comment(_)));
                if !above {
                    separate(&mut out);
                }
                out.push(with_comment(name.clone(), comment.as_deref()));
                at += 1;
            }
            Line::Entry { .. } => {
                let rest = lines.get(at..).unwrap_or_default();
                let run = rest
                    .iter()
                    .take_while(|line| matches!(line, Line::Entry { .. } | Line::Comment(_)))
                    .count();
                // Comments behind the run may belong to a header.
                let run = rest.get(..run).unwrap_or_default();
                let run = run
                    .iter()
                    .rposition(|line| matches!(line, Line::Entry { .. }))
                    .map_or(1, |last| last + 1);
                entries(rest.get(..run).unwrap_or_default(), &mut out);
                at += run;
            }
        }
    }
    while out.last().is_some_and(String::is_empty) {
        out.pop();
    }
    let mut text = out.join(eol);
    if !text.is_empty() {
        text.push_str(eol);
    }
    text
}

fn separate(out: &mut Vec<String>) {
    if out.last().is_some_and(|last| !last.is_empty()) {
        out.push(String::new());
    }
}

fn with_comment(line: String, comment: Option<&str>) -> String {
    match comment {
        Some(comment) if line.is_empty() => comment.to_owned(),
        Some(comment) => std::format!("{line}  {comment}"),
        None => line,
    }
}

/// Neighbouring entries, with their `=` in one column.
fn entries(run: &[Line], out: &mut Vec<String>) {
    let lengths = run.iter().filter_map(|line| match line {
        Line::Entry { key: Some(key), .. } => Some(key.chars().count()),
        Line::Entry { key: None, .. } | Line::Empty | Line::Comment(_) | Line::Header(..) => None,
    });
    let column = lengths.filter(|length| *length <= KEY).max().unwrap_or(0);
    for line in run {
        match line {
            Line::Entry {
                key,
                values,
                comment,
            } => entry(key.as_deref(), values, comment.as_deref(), column, out),
            Line::Comment(text) => out.push(text.clone()),
            Line::Empty | Line::Header(..) => {}
        }
    }
}

fn entry(
    key: Option<&str>,
    values: &[String],
    comment: Option<&str>,
    column: usize,
    out: &mut Vec<String>,
) {
    let start = match key {
        Some("") => "=".to_owned(),
        Some(key) => std::format!("{key:column$} ="),
        None => String::new(),
    };
    let joined = values.join(", ");
    // A value ends with no blank, unless in quotes; this one stands before an empty last value.
    let joined = joined.strip_suffix(' ').unwrap_or(&joined);
    let blank = if start.is_empty() || joined.is_empty() {
        ""
    } else {
        " "
    };
    let whole = std::format!("{start}{blank}{joined}");
    if whole.chars().count() <= WIDTH {
        out.push(with_comment(whole, comment));
        return;
    }
    let mut line = start;
    let mut columns = line.chars().count();
    for (number, value) in values.iter().enumerate() {
        let last = number + 1 == values.len();
        let mut added = value.chars().count() + usize::from(!last);
        // With the blank before it and, if more follow, the ` \` behind it.
        let needed = 1 + added + if last { 0 } else { 2 };
        // Only behind a comma can a line be cut without a change, and an empty last value would leave an
        // empty line.
        let nothing = last && value.is_empty();
        if number > 0 && columns + needed > WIDTH && !nothing {
            line.push_str(" \\");
            out.push(std::mem::replace(&mut line, "   ".to_owned()));
            columns = line.len();
        }
        if !line.is_empty() && !nothing {
            line.push(' ');
            added += 1;
        }
        line.push_str(value);
        if !last {
            line.push(',');
        }
        columns += added;
    }
    out.push(with_comment(line, comment));
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
