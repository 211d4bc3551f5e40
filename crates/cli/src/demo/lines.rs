//! What the demonstration says: a line a step, for people or as JSON.

use std::io::{self, Write};

use serde::Serialize;

use crate::screen::{BAD, FAINT, GOOD, NOTABLE, PLAIN, STRONG, Screen};
use crate::text::printable;

/// One step.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Line {
    /// What kind of step it is.
    pub(super) kind: &'static str,
    /// The device or service that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
    /// Nanoseconds since the call that made the device come or go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after_ns: Option<u64>,
    /// The process that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<i32>,
    /// For people.
    pub(super) text: String,
}

impl Line {
    pub(super) fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Line {
            kind,
            text: text.into(),
            ..Line::default()
        }
    }

    pub(super) fn about(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }

    pub(super) fn after(mut self, nanoseconds: u64) -> Self {
        self.after_ns = Some(nanoseconds);
        self
    }

    pub(super) fn of(mut self, pid: Option<i32>) -> Self {
        self.pid = pid;
        self
    }
}

/// Where the lines go.
pub(super) struct Lines<'a, 'b> {
    screen: &'a mut Screen<'b>,
}

impl<'a, 'b> Lines<'a, 'b> {
    pub(super) fn new(screen: &'a mut Screen<'b>) -> Self {
        Lines { screen }
    }

    /// Says a line, at once.
    pub(super) fn say(&mut self, line: &Line) -> io::Result<()> {
        if self.screen.json {
            return self.screen.record(line);
        }
        let style = match line.kind {
            "running" | "summary" | "gone" => GOOD,
            "start_pending" | "stop_pending" | "asked" | "interrupted" => NOTABLE,
            "made" | "removed" | "main" => STRONG,
            "missing" => BAD,
            _ => PLAIN,
        };
        let text = printable(&line.text);
        match (&line.subject, line.after_ns) {
            (Some(subject), Some(after)) => {
                let time = milliseconds(after);
                let subject = printable(subject);
                writeln!(
                    self.screen,
                    "  {FAINT}{time:>12}{FAINT:#}  {subject:<6}  {style}{text}{style:#}"
                )?;
            }
            _ => writeln!(self.screen, "  {style}{text}{style:#}")?,
        }
        self.screen.flush()
    }

    /// Begins a scene.
    pub(super) fn scene(&mut self, title: &str) -> io::Result<()> {
        if self.screen.json {
            return self.screen.record(&Line::new("scene", title));
        }
        writeln!(self.screen, "\n{STRONG}{title}{STRONG:#}")?;
        self.screen.flush()
    }

    /// Shows a file.
    pub(super) fn file(&mut self, name: &str, text: &str) -> io::Result<()> {
        if self.screen.json {
            return self.screen.record(&Line::new("file", text).about(name));
        }
        writeln!(self.screen, "  {FAINT}# {name}{FAINT:#}")?;
        for line in text.lines() {
            writeln!(self.screen, "  {}", printable(line))?;
        }
        self.screen.flush()
    }

    /// Says what to try next.
    pub(super) fn next_steps(&mut self) -> io::Result<()> {
        if self.screen.json {
            return Ok(());
        }
        writeln!(self.screen, "\n{STRONG}What to try next{STRONG:#}")?;
        for (command, what) in [
            (
                "arrival --root ~/arrival daemon",
                "run a manager of your own",
            ),
            (
                "arrival --root ~/arrival watch",
                "and see what arrives and leaves, in another terminal",
            ),
            (
                "arrival --root ~/arrival check",
                "after you have put a definition into ~/arrival/services.d, or installed an INF",
            ),
        ] {
            writeln!(self.screen, "  {command:<32}  {FAINT}{what}{FAINT:#}")?;
        }
        self.screen.flush()
    }
}

fn milliseconds(nanoseconds: u64) -> String {
    format!(
        "{}.{:03} ms",
        nanoseconds / 1_000_000,
        nanoseconds / 1000 % 1000
    )
}
