//! What is wrong with a file, where, and what to do about it, in the style of a compiler:
//!
//! ```text
//! error[unknown-key]: unknown key 'exce' in [service]
//!   --> /etc/arrival/services.d/gpsd.toml:3:1
//!    |
//!  3 | exce = ["/usr/sbin/gpsd"]
//!    | ^^^^
//!    = help: did you mean 'exec'?
//! ```

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most diagnostics that are kept of one file.
const LIMIT: usize = 100;

/// The most characters of a line that are shown.
const EXCERPT_LIMIT: usize = 160;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, and probably does not do what its author wants.
    Warning,
}

impl Severity {
    /// The word that messages begin with.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// The character in the line, from 1; 0 if it is about the file as a whole.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// A word for programs, such as `unknown-key`.
    pub code: Cow<'static, str>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The line's text, safe to print.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// How many characters are meant.
    #[serde(default)]
    pub width: usize,
}

impl Diagnostic {
    /// An error about a file as a whole.
    pub fn file(path: &Path, code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic {
            path: path.to_owned(),
            line: 0,
            column: 0,
            severity: Severity::Error,
            code: Cow::Borrowed(code),
            message: message.into(),
            remedy: None,
            excerpt: None,
            width: 0,
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(self) -> Self {
        Diagnostic {
            severity: Severity::Warning,
            ..self
        }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn help(self, remedy: impl Into<String>) -> Self {
        Diagnostic {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// Whether the file cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Diagnostic { code, message, .. } = self;
        write!(
            f,
            "{}[{code}]: {}",
            self.severity.name(),
            printable(message)
        )?;
        let path = printable(&self.path.to_string_lossy()).into_owned();
        let gutter = self.line.to_string().len();
        if self.line == 0 {
            write!(f, "\n --> {path}")?;
        } else {
            write!(
                f,
                "\n{:gutter$} --> {path}:{}:{}",
                "", self.line, self.column
            )?;
        }
        if let Some(excerpt) = &self.excerpt {
            let before = self.column.saturating_sub(1);
            let carets = "^".repeat(self.width.max(1));
            write!(f, "\n {:gutter$} |\n {} |", "", self.line)?;
            if !excerpt.is_empty() {
                write!(f, " {excerpt}")?;
            }
            write!(f, "\n {:gutter$} | {:before$}{carets}", "", "")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n {:gutter$} = help: {}", "", printable(remedy))?;
        }
        Ok(())
    }
}

/// The text with control characters and those that turn the direction of writing replaced, one
/// character for one, so that columns stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let unsafe_char = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(unsafe_char) {
        return Cow::Borrowed(text);
    }
    let safe = |c| match c {
        '\t' => ' ',
        c if unsafe_char(c) => '\u{fffd}',
        c => c,
    };
    Cow::Owned(text.chars().map(safe).collect())
}

/// A file's text, and what is wrong with it so far.
#[derive(Debug)]
pub struct Report<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Diagnostic>,
    dropped: usize,
}

impl<'a> Report<'a> {
    /// Nothing is wrong yet.
    pub fn new(path: &'a Path, text: &'a str) -> Self {
        Report {
            path,
            text,
            problems: Vec::new(),
            dropped: 0,
        }
    }

    /// The text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The number of the line that this byte is in.
    pub fn line_of(&self, at: usize) -> usize {
        self.text
            .get(..at)
            .unwrap_or(self.text)
            .matches('\n')
            .count()
            + 1
    }

    /// Where the text comes from.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// Adds an error about these bytes of the text.
    pub fn error(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.add(Severity::Error, code, span, message.into(), remedy.into());
    }

    /// Adds a warning about these bytes of the text.
    pub fn warn(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.add(Severity::Warning, code, span, message.into(), remedy.into());
    }

    fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: Range<usize>,
        message: String,
        remedy: Option<String>,
    ) {
        if self.problems.len() >= LIMIT {
            self.dropped += 1;
            return;
        }
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.line_of(span.start);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let rest = self.text.get(line_start..).unwrap_or_default();
        let excerpt = rest.lines().next().unwrap_or_default();
        let meant = self.text.get(span).unwrap_or_default();
        let width = meant
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            .max(1);
        // Of a very long line only the beginning is worth showing, if the place is in it.
        let shown = column <= EXCERPT_LIMIT;
        self.problems.push(Diagnostic {
            path: self.path.to_owned(),
            line,
            column,
            severity,
            code: Cow::Borrowed(code),
            message,
            remedy,
            excerpt: shown.then(|| {
                let cut: String = excerpt.chars().take(EXCERPT_LIMIT).collect();
                printable(&cut).trim_end().to_owned()
            }),
            width: width.min(EXCERPT_LIMIT + 1 - column.min(EXCERPT_LIMIT)),
        });
    }

    /// Whether so much is wrong that no more is kept; what a remedy costs can be saved then.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= LIMIT
    }

    /// Whether the file cannot be used.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Diagnostic::is_error)
    }

    /// The problems in the order of the text.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        self.problems
            .sort_by_key(|problem| (problem.line, problem.column));
        if self.dropped > 0 {
            let more = format!("{} more problems are not shown", self.dropped);
            self.problems
                .push(Diagnostic::file(self.path, "more", more));
        }
        self.problems
    }
}

/// The known word that somebody probably meant.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any word that we know; the distance is quadratic.
    if word.len() > 64 {
        return None;
    }
    let folded = word.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|known| (distance(&folded, &known.to_ascii_lowercase()), known))
        .filter(|(distance, known)| *distance <= 1 + known.len().min(word.len()) / 4)
        .min()
        .map(|(_, known)| known)
}

/// How many characters must be added, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    let at = |rows: &[Vec<usize>], i: usize, j: usize| {
        rows.get(i)
            .and_then(|row| row.get(j))
            .copied()
            .unwrap_or(usize::MAX)
    };
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = at(&rows, i, j) + usize::from(x != y);
            let added = row.last().copied().unwrap_or(0) + 1;
            let mut best = replaced.min(added).min(at(&rows, i, j + 1) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&rows, i - 1, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    at(&rows, a.len(), b.len())
}
