//! Aligned columns that fit the terminal; in a pipe nothing is cut.

use std::borrow::Cow;
use std::io::{self, Write};

use anstyle::Style;

use crate::screen::{FAINT, PLAIN, Screen};
use crate::text::printable;

/// What lies between two columns.
const GAP: usize = 2;

/// No column becomes narrower than this.
const NARROWEST: usize = 8;

/// One field of a row.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text from anywhere; it is made safe to print, and an empty one becomes a dash.
    pub(crate) fn new(text: &str) -> Self {
        let text = if text.is_empty() {
            "-".to_owned()
        } else {
            printable(text).into_owned()
        };
        Cell { text, style: PLAIN }
    }

    /// The same in a style.
    pub(crate) fn style(self, style: Style) -> Self {
        Cell { style, ..self }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::new(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Cell::new(&number.to_string())
    }
}

impl<T: AsRef<str>> From<Option<T>> for Cell {
    fn from(text: Option<T>) -> Self {
        Cell::new(text.as_ref().map_or("", AsRef::as_ref))
    }
}

/// Rows under titles.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    titles: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(titles: [&'static str; N]) -> Self {
        Table {
            titles,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    /// Writes the table; without rows, only this remark.
    pub(crate) fn write(self, screen: &mut Screen<'_>, empty: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(screen, "{FAINT}{empty}{FAINT:#}");
        }
        let mut widths = self.titles.map(|title| title.chars().count());
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(room) = screen.width {
            fit(&mut widths, room);
        }
        let titles = self.titles.map(|title| Cell::new(title).style(FAINT));
        for row in std::iter::once(&titles).chain(&self.rows) {
            let mut pad = 0;
            for (cell, width) in row.iter().zip(widths) {
                let text = cut(&cell.text, width);
                let style = cell.style;
                write!(screen, "{:pad$}{style}{text}{style:#}", "")?;
                pad = width + GAP - text.chars().count().min(width);
            }
            writeln!(screen)?;
        }
        Ok(())
    }
}

/// Narrows the widest columns until all fit.
fn fit(widths: &mut [usize], room: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(room);
    while over > 0 {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > NARROWEST) else {
            return;
        };
        *widest -= 1;
        over -= 1;
    }
}

/// At most this many characters of a text, with a sign where some are missing.
fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    let mut kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept.push('…');
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn render(width: Option<usize>) -> String {
        let mut table = Table::new(["NAME", "STATE", "NOTE"]);
        table.row(["gpsd".into(), "RUNNING".into(), "".into()]);
        let note = "its device is there and it ended without error";
        table.row(["modem".into(), "STOPPED".into(), note.into()]);
        let mut out = Vec::new();
        let mut screen = Screen::on(&mut out, false, width);
        table.write(&mut screen, "nothing").unwrap();
        drop(screen);
        anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string()
    }

    #[test]
    fn in_a_pipe_nothing_is_cut_and_no_line_ends_with_spaces() {
        let expected = "\
NAME   STATE    NOTE
gpsd   RUNNING  -
modem  STOPPED  its device is there and it ended without error
";
        assert_eq!(render(None), expected);
    }

    #[test]
    fn on_a_terminal_the_widest_column_gives_way() {
        let expected = "\
NAME   STATE    NOTE
gpsd   RUNNING  -
modem  STOPPED  its device is…
";
        assert_eq!(render(Some(30)), expected);
    }

    #[test]
    fn a_terminal_that_is_far_too_narrow_changes_nothing_more() {
        assert!(render(Some(1)).contains("modem  STOPPED  its dev…\n"));
    }

    #[test]
    fn without_rows_there_is_a_remark_and_no_title() {
        let mut out = Vec::new();
        let mut screen = Screen::on(&mut out, false, None);
        Table::new(["NAME"])
            .write(&mut screen, "no services")
            .unwrap();
        drop(screen);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            anstream::adapter::strip_str(&text).to_string(),
            "no services\n"
        );
    }
}
