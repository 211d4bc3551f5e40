//! Sections, entries and fields.
//!
//! ```text
//! file         = { blank line | comment | header | entry } [ Ctrl-Z anything ]
//! header       = "[" name "]" anything eol         name: 1 to 255 characters, none of them "]"
//! entry        = [ field "=" ] field { "," field } eol
//! field        = { piece }                         blanks around it do not count, unless quoted
//! piece        = quoted | continuation | any character but , = ; " and eol ("=" counts in values)
//! quoted       = '"' { any but '"' and eol | '""' } '"'          '""' stands for one '"'
//! comment      = ";" anything eol                  not in quotes, and not within a %token%
//! continuation = "\" { "\" | blank } [ comment ] eol             nothing, with the blanks around it
//! blank        = space | tab | vertical tab | form feed | NUL
//! eol          = CR LF | CR | LF
//! ```
//!
//! A backslash anywhere else is a backslash. Names of sections and keys are compared without case. Sections
//! of one name are one section, in the order of the file. A line that breaks a rule is reported and left
//! out; reading goes on with the next one.
//!
//! Sources: Microsoft, "General Syntax Rules for INF Files"; the limits are those of the setup API.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;

use arrival_model::diagnostic::Report;

/// The most characters of a section's name.
pub const NAME_LIMIT: usize = 255;
/// The most characters of a field, before and after tokens are replaced.
pub const FIELD_LIMIT: usize = 4095;

/// A piece of an entry: a key or a value, without its quotes; tokens are still in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'t> {
    /// What it says.
    pub text: Cow<'t, str>,
    /// Where it stands, with its quotes.
    pub span: Range<usize>,
}

/// One logical line of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'t> {
    /// What stands before `=`.
    pub key: Option<Field<'t>>,
    /// The values, at least one; an empty one keeps its place.
    pub values: Vec<Field<'t>>,
    /// From the first to the last character that counts.
    pub span: Range<usize>,
}

impl<'t> Entry<'t> {
    /// Field 0 in the setup API's count: the key, or the only value of a line without one.
    pub fn name(&self) -> Option<&Field<'t>> {
        match (&self.key, self.values.as_slice()) {
            (Some(key), _) => Some(key),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// The value of this number, from 0, unless it is absent or empty.
    pub fn value(&self, number: usize) -> Option<&Field<'t>> {
        self.values
            .get(number)
            .filter(|field| !field.text.is_empty())
    }

    /// Whether the key is this one.
    pub fn is(&self, key: &str) -> bool {
        let own = self.key.as_ref();
        own.is_some_and(|own| own.text.eq_ignore_ascii_case(key))
    }
}

/// A section, as it stands in one place of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'t> {
    /// Its name.
    pub name: &'t str,
    /// Where the name stands.
    pub span: Range<usize>,
    /// Its lines.
    pub entries: Vec<Entry<'t>>,
}

/// A whole file.
#[derive(Clone, Debug, Default)]
pub struct Document<'t> {
    /// The sections in the order of the file.
    pub sections: Vec<Section<'t>>,
    /// The first and the last section of each folded name.
    by_name: HashMap<String, (usize, usize)>,
    /// The next section of the same name, by a section's place.
    next: Vec<Option<usize>>,
    /// The first section of the name that was asked for last: one name is mostly asked for many times.
    recent: Cell<usize>,
    /// The last entry of each key, of the large sections that were asked for one.
    indexes: RefCell<HashMap<usize, HashMap<String, usize>>>,
}

/// So many entries are looked through faster than they are put in order.
const SMALL: usize = 32;

impl<'t> Document<'t> {
    /// Whether there is a section of this name.
    pub fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// The places where a section of this name stands.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Section<'t>> {
        let next = |place: &usize| self.next.get(*place).copied().flatten();
        let places = std::iter::successors(self.first(name), next);
        places.filter_map(|place| self.sections.get(place))
    }

    fn first(&self, name: &str) -> Option<usize> {
        let recent = self.recent.get();
        let same = |section: &Section<'_>| section.name.eq_ignore_ascii_case(name);
        if self.sections.get(recent).is_some_and(same) {
            return Some(recent);
        }
        let first = self.first_of(&fold(name))?;
        self.recent.set(first);
        Some(first)
    }

    /// The place of the first section of this folded name.
    pub(crate) fn first_of(&self, folded: &str) -> Option<usize> {
        self.by_name.get(folded).map(|(first, _)| *first)
    }

    /// The entries of all sections of this name.
    pub fn entries(&self, name: &str) -> impl Iterator<Item = &Entry<'t>> {
        self.named(name).flat_map(|section| &section.entries)
    }

    /// The last entry of a section with this key: what is said later counts.
    pub fn entry(&self, section: &str, key: &str) -> Option<&Entry<'t>> {
        let first = self.first(section)?;
        let size: usize = self
            .named(section)
            .map(|section| section.entries.len())
            .sum();
        if size <= SMALL {
            return self.entries(section).filter(|entry| entry.is(key)).last();
        }
        let mut indexes = self.indexes.borrow_mut();
        let index = indexes.entry(first).or_insert_with(|| {
            let mut index = HashMap::new();
            for (place, entry) in self.entries(section).enumerate() {
                if let Some(key) = &entry.key {
                    index.insert(fold(&key.text), place);
                }
            }
            index
        });
        let mut place = *index.get(&fold(key))?;
        for section in self.named(section) {
            match section.entries.get(place) {
                Some(entry) => return Some(entry),
                None => place -= section.entries.len(),
            }
        }
        None
    }

    fn add(&mut self, section: Section<'t>) {
        let place = self.sections.len();
        let (_, last) = self
            .by_name
            .entry(fold(section.name))
            .or_insert((place, place));
        let before = std::mem::replace(last, place);
        if before != place
            && let Some(next) = self.next.get_mut(before)
        {
            *next = Some(place);
        }
        self.next.push(None);
        self.sections.push(section);
    }
}

/// The form in which names are compared.
pub fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// Reads the sections of a text.
pub fn parse<'t>(report: &mut Report<'t>) -> Document<'t> {
    let text = report.text();
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        report,
        document: Document::default(),
        section: None,
        homeless: false,
    };
    reader.file();
    let document = reader.document;
    duplicates(report, &document);
    document
}

/// The parser merges sections of one name, but seldom did their author mean it.
fn duplicates(report: &mut Report<'_>, document: &Document<'_>) {
    // More are not shown, and each costs a look through the whole text.
    const MOST: usize = 100;
    let mut found = 0;
    for section in &document.sections {
        let mut others = document.named(section.name);
        let first = others
            .next()
            .map(|first| first.span.start)
            .unwrap_or(section.span.start);
        if first < section.span.start && found < MOST {
            found += 1;
            let line = report.line_of(first);
            let message = format!(
                "the section [{}] stands in line {line} already; both count as one",
                section.name
            );
            report.warn("1209", section.span.clone(), message, None);
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0b | 0x0c | 0)
}

fn is_eol(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | CTRL_Z)
}

/// Where the line goes on behind this backslash; else the place that says that it does not, before which no
/// other backslash goes on either and need not be looked behind.
pub(crate) fn continued(bytes: &[u8], at: usize) -> Result<usize, usize> {
    let byte = |at: usize| bytes.get(at).copied();
    let mut at = at + 1;
    while byte(at).is_some_and(|byte| byte == b'\\' || is_blank(byte)) {
        at += 1;
    }
    if byte(at) == Some(b';') {
        while byte(at).is_some_and(|byte| !is_eol(byte)) {
            at += 1;
        }
    }
    match (byte(at), byte(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(at + 2),
        (Some(b'\r' | b'\n'), _) => Ok(at + 1),
        _ => Err(at),
    }
}

/// Ends the file, as it did in CP/M.
const CTRL_Z: u8 = 0x1a;

/// What ended a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Equals,
    Comma,
    Line,
}

struct Reader<'t, 'r> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    report: &'r mut Report<'t>,
    document: Document<'t>,
    /// The section that entries go to; none at the beginning and behind a header that is none.
    section: Option<Section<'t>>,
    /// Entries before the first section have been reported.
    homeless: bool,
}

impl<'t> Reader<'t, '_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn slice(&self, range: Range<usize>) -> &'t str {
        self.text.get(range).unwrap_or_default()
    }

    fn file(&mut self) {
        while let Some(byte) = self.byte(self.at) {
            match byte {
                CTRL_Z => break,
                b'\r' | b'\n' => self.at += 1,
                byte if is_blank(byte) => self.at += 1,
                b';' => self.skip_line(),
                b'[' => self.header(),
                _ => self.entry(),
            }
        }
        self.end_section();
    }

    fn skip_line(&mut self) {
        while self.byte(self.at).is_some_and(|byte| !is_eol(byte)) {
            self.at += 1;
        }
    }

    fn end_section(&mut self) {
        if let Some(section) = self.section.take() {
            self.document.add(section);
        }
    }

    fn header(&mut self) {
        self.end_section();
        // What stands behind a header that is none belongs to no section and is not reported again.
        self.homeless = true;
        let start = self.at;
        self.skip_line();
        let line = self.slice(start..self.at);
        let Some(length) = line.find(']') else {
            let message = "the section's name has no closing bracket";
            let remedy = format!("write {}]", line.trim_end());
            self.report.error("1002", start..self.at, message, remedy);
            return;
        };
        let raw = line.get(1..length).unwrap_or_default();
        let name = raw.trim();
        let span = start + 1..start + length;
        if name.is_empty() || name.chars().count() > NAME_LIMIT {
            let message = format!("a section's name has 1 to {NAME_LIMIT} characters");
            self.report.error("1002", span, message, None);
            return;
        }
        let rest = line.get(length + 1..).unwrap_or_default().trim_start();
        if !rest.is_empty() && !rest.starts_with(';') {
            let at = self.at - rest.len()..self.at;
            let message = "what stands behind the section's name does not count";
            self.report
                .warn("behind-header", at, message, "begin a new line".to_owned());
        }
        self.section = Some(Section {
            name,
            span,
            entries: Vec::new(),
        });
    }

    fn entry(&mut self) {
        let start = self.at;
        let (mut first, mut stop) = self.field(false);
        let mut key = None;
        if stop == Stop::Equals {
            key = Some(first);
            (first, stop) = self.field(true);
        }
        let mut end = first.span.end;
        let mut values = vec![first];
        while stop == Stop::Comma {
            let field;
            (field, stop) = self.field(true);
            end = end.max(field.span.end);
            values.push(field);
        }
        if let Some(key) = &key {
            end = end.max(key.span.end);
        }
        // Nothing but a line that goes on, and nothing in the next.
        if key.is_none() && matches!(values.as_slice(), [only] if only.span.is_empty()) {
            return;
        }
        let span = start..end.max(start);
        match &mut self.section {
            Some(section) => section.entries.push(Entry { key, values, span }),
            None if self.homeless => {}
            None => {
                self.homeless = true;
                let message = "this stands before the first section";
                let remedy = "begin the file with [Version]".to_owned();
                self.report.error("1002", span, message, remedy);
            }
        }
    }

    /// Reads a field and what ends it; `in_value` says that `=` is a character like others.
    fn field(&mut self, in_value: bool) -> (Field<'t>, Stop) {
        self.skip_blanks();
        let mut piece = Piece::new(self.at);
        let mut straight = self.at;
        let stop = loop {
            let at = self.at;
            let Some(byte) = self.byte(at) else {
                break Stop::Line;
            };
            match byte {
                byte if is_eol(byte) => break Stop::Line,
                b',' => break Stop::Comma,
                b'=' if !in_value => break Stop::Equals,
                b';' if piece.token.flatten().is_none_or(|end| end < at) => break Stop::Line,
                b'"' => {
                    piece.cut(self.slice(piece.run..at));
                    self.quoted(&mut piece);
                }
                b'\\' if at < straight => self.at += 1,
                b'\\' => match continued(self.bytes, at) {
                    Ok(next) => {
                        piece.cut(self.slice(piece.run..at));
                        piece.trim();
                        self.at = next;
                        self.skip_blanks();
                        piece.run = self.at;
                        piece.begin(self.at);
                        continue;
                    }
                    Err(until) => {
                        straight = until;
                        self.at += 1;
                    }
                },
                0 => {
                    piece.cut(self.slice(piece.run..at));
                    piece.push(" ");
                    self.at += 1;
                    piece.run = self.at;
                }
                b'%' => {
                    piece.token = match piece.token {
                        Some(_) => None,
                        None => Some(self.end_of_token(at)),
                    };
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            if self
                .byte(self.at.wrapping_sub(1))
                .is_some_and(|byte| !is_blank(byte))
            {
                piece.end = self.at;
            }
        };
        let field = piece.finish(self.text, self.at);
        if field.text.len() > FIELD_LIMIT && field.text.chars().count() > FIELD_LIMIT {
            let message = format!("the field is longer than {FIELD_LIMIT} characters");
            self.report.error("1002", field.span.clone(), message, None);
        }
        match stop {
            Stop::Comma | Stop::Equals => self.at += 1,
            Stop::Line => self.skip_line(),
        }
        (field, stop)
    }

    fn skip_blanks(&mut self) {
        while self.byte(self.at).is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// Reads from one quote behind the other.
    fn quoted(&mut self, piece: &mut Piece) {
        let open = self.at;
        self.at += 1;
        let mut run = self.at;
        loop {
            match self.byte(self.at) {
                Some(b'"') if self.byte(self.at + 1) == Some(b'"') => {
                    piece.push(self.slice(run..self.at + 1));
                    self.at += 2;
                    run = self.at;
                }
                Some(b'"') => {
                    piece.push(self.slice(run..self.at));
                    self.at += 1;
                    break;
                }
                Some(0) => {
                    piece.push(self.slice(run..self.at));
                    piece.push(" ");
                    self.at += 1;
                    run = self.at;
                }
                Some(byte) if !is_eol(byte) => self.at += 1,
                Some(_) | None => {
                    piece.push(self.slice(run..self.at));
                    let message = "the quotation has no end; it is taken to end with the line";
                    self.report.warn(
                        "1002",
                        open..self.at,
                        message,
                        "write a quote behind it".to_owned(),
                    );
                    break;
                }
            }
        }
        piece.protect();
        piece.run = self.at;
    }

    /// Where the token ends that this percent sign may begin; a semicolon before that is no comment.
    fn end_of_token(&self, open: usize) -> Option<usize> {
        let ends =
            |byte: &u8| is_blank(*byte) || is_eol(*byte) || matches!(byte, b',' | b'=' | b'"');
        let after = self.bytes.get(open + 1..)?;
        let close = after.iter().position(|byte| *byte == b'%' || ends(byte))?;
        (after.get(close) == Some(&b'%')).then_some(open + 1 + close)
    }
}

/// A field that is being read: what was cut together of it, and the run of plain text behind that.
struct Piece {
    owned: Option<String>,
    start: usize,
    run: usize,
    /// Behind the last character that is no blank.
    end: usize,
    /// So many bytes of what was cut together were quoted: blanks count there.
    protected: usize,
    /// Behind an odd percent sign: where the token ends that it begins, if it begins one.
    token: Option<Option<usize>>,
}

impl Piece {
    fn new(start: usize) -> Self {
        Piece {
            owned: None,
            start,
            run: start,
            end: start,
            protected: 0,
            token: None,
        }
    }

    /// A field of which nothing has been read yet begins in the next line.
    fn begin(&mut self, at: usize) {
        if self.end == self.start && self.owned.as_ref().is_none_or(String::is_empty) {
            (self.start, self.end) = (at, at);
        }
    }

    /// Takes the run of plain text, because something else follows.
    fn cut(&mut self, run: &str) {
        self.owned.get_or_insert_default().push_str(run);
    }

    fn push(&mut self, text: &str) {
        self.owned.get_or_insert_default().push_str(text);
    }

    fn protect(&mut self) {
        self.protected = self.owned.as_ref().map_or(0, String::len);
    }

    fn trim(&mut self) {
        let protected = self.protected;
        if let Some(owned) = &mut self.owned {
            let kept = owned.trim_end_matches(blank).len().max(protected);
            owned.truncate(kept);
        }
    }

    fn finish(mut self, text: &str, at: usize) -> Field<'_> {
        let span = self.start..self.end.max(self.start);
        let run = text.get(self.run..at).unwrap_or_default();
        if self.owned.is_none() {
            return Field {
                text: Cow::Borrowed(run.trim_end_matches(blank)),
                span,
            };
        }
        self.push(run);
        self.trim();
        Field {
            text: Cow::Owned(self.owned.unwrap_or_default()),
            span,
        }
    }
}

fn blank(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_blank)
}

#[cfg(test)]
#[path = "syntax_tests.rs"]
mod tests;
