//! One layout for INF files.
//!
//! | what | becomes |
//! |---|---|
//! | a header | `[name]`, with one empty line before it and its comments, but not at the beginning |
//! | an entry | `key = value, value`; the `=` of neighbours in one column |
//! | values | as they are written, with their quotes and empty places |
//! | a line that goes on behind `\` | one line; one of more than 100 characters is cut behind a comma |
//! | comments | alone on their line, or two blanks behind an entry or header |
//! | several empty lines | one |
//! | the end of lines | that of the first line; one at the end of the file |
//!
//! What the file means is not changed. A file with a mistake of grammar is not laid out: nobody knows what
//! its author meant.

use std::ops::Range;
use std::path::Path;

use arrival_model::diagnostic::{Diagnostic, Report};

use crate::syntax::{self, Entry, Field};

/// The longest line that is not cut.
const WIDTH: usize = 100;
/// The longest key that others are aligned with.
const KEY: usize = 24;

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
    let end = text.find('\u{1a}').unwrap_or(text.len());
    let mut lines = Vec::new();
    let mut at = 0;
    for (span, entry) in &items {
        gap(
            text.get(at..span.start).unwrap_or_default(),
            &mut lines,
            at == 0,
        );
        lines.push(match entry {
            None => Line::Header(text.get(span.clone()).unwrap_or_default().to_owned(), None),
            Some(entry) => {
                let fields = entry.key.iter().chain(&entry.values);
                let mut fields: Vec<String> = fields.map(|field| source(text, field)).collect();
                // Behind a line that goes on even a bracket begins no header.
                let own = entry.key.as_ref().or(entry.values.first());
                if let Some((first, own)) = fields.first_mut().zip(own)
                    && first.starts_with('[')
                {
                    *first = quote(&own.text);
                }
                let key = entry.key.as_ref().map(|_| fields.remove(0));
                Line::Entry {
                    key,
                    values: fields,
                    comment: None,
                }
            }
        });
        at = span.end;
    }
    gap(
        text.get(at..end.max(at)).unwrap_or_default(),
        &mut lines,
        at == 0,
    );
    let eol = match text.find(['\r', '\n']) {
        Some(at) if text.get(at..).is_some_and(|rest| rest.starts_with("\r\n")) => "\r\n",
        Some(_) | None => "\n",
    };
    Ok(write(&lines, eol))
}

/// A field as it is written; one over several lines is written anew.
fn source(text: &str, field: &Field<'_>) -> String {
    let written = text.get(field.span.clone()).unwrap_or_default();
    // A backslash at the end of the file's last line would go on behind the line end that it gets.
    if written.contains(['\r', '\n', '\0']) || written.ends_with('\\') {
        return quote(&field.text);
    }
    written.to_owned()
}

/// A field that reads as this text; tokens in it stay tokens.
fn quote(text: &str) -> String {
    let plain = |c: char| !matches!(c, ',' | ';' | '=' | '"' | '\\' | '%');
    let bare = text.chars().all(plain) && text.trim() == text && !text.starts_with('[');
    if bare {
        return text.to_owned();
    }
    std::format!("\"{}\"", text.replace('"', "\"\""))
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
                // Comments right above a header belong to it.
                let rest = lines.get(at..).unwrap_or_default();
                let next = rest.iter().find(|line| !matches!(line, Line::Comment(_)));
                let run = at == 0 || !matches!(lines.get(at - 1), Some(Line::Comment(_)));
                if run && matches!(next, Some(Line::Header(..))) {
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

/// A line without the blanks at its end; only those that the grammar takes for blanks.
fn without_end(line: &str) -> String {
    line.trim_end_matches([' ', '\t', '\x0b', '\x0c'])
        .to_owned()
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
    let mut line = start;
    for (number, value) in values.iter().enumerate() {
        let last = number + 1 == values.len();
        let comma = if last { "" } else { "," };
        let added = value.chars().count() + comma.len() + 3;
        // Only behind a comma can a line be cut without a change.
        if number > 0 && line.chars().count() + added > WIDTH {
            line.push_str(" \\");
            out.push(without_end(&line));
            line = "   ".to_owned();
        }
        if !line.is_empty() && (!value.is_empty() || !last) {
            line.push(' ');
        }
        line.push_str(value);
        line.push_str(comma);
    }
    let line = without_end(&line);
    out.push(with_comment(line, comment));
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
