//! Where answers go: standard output, as text for people or JSON for programs.

use std::io::{self, BufWriter, IsTerminal, Write};

use anstream::ColorChoice;
use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::args::{Color, Global};
use crate::text::printable_json;

/// What is as it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What is on its way, or needs a look.
pub(crate) const NOTABLE: Style = AnsiColor::Yellow.on_default();
/// Headings and the words that matter most.
pub(crate) const STRONG: Style = Style::new().bold();
/// What matters least.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// Everything else.
pub(crate) const PLAIN: Style = Style::new();

/// Where answers go.
pub(crate) struct Screen<'a> {
    out: Box<dyn Write + 'a>,
    /// Whether a program reads them.
    pub(crate) json: bool,
    /// How many characters a line has room for; none if there is no terminal.
    pub(crate) width: Option<usize>,
}

impl<'a> Screen<'a> {
    /// Standard output, as the arguments and the terminal ask for it.
    pub(crate) fn standard(global: &Global) -> Screen<'static> {
        match global.color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        }
        .write_global();
        let stdout = io::stdout();
        let width = stdout
            .is_terminal()
            .then(|| rustix::termios::tcgetwinsize(&stdout).ok())
            .flatten()
            .map(|size| usize::from(size.ws_col))
            .filter(|width| *width > 0);
        Screen {
            out: Box::new(BufWriter::new(anstream::AutoStream::auto(stdout))),
            json: global.json,
            width,
        }
    }

    /// Any other place; its text holds the escapes of every colour.
    #[cfg(test)]
    pub(crate) fn on(out: impl Write + 'a, json: bool, width: Option<usize>) -> Self {
        Screen {
            out: Box::new(out),
            json,
            width,
        }
    }

    /// Writes a value for a program, on as many lines as make it readable.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_string_pretty(value)?;
        writeln!(self.out, "{}", printable_json(json))
    }

    /// Writes a value for a program on one line, at once.
    pub(crate) fn record(&mut self, value: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_string(value)?;
        writeln!(self.out, "{}", printable_json(json))?;
        self.out.flush()
    }
}

impl Write for Screen<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
