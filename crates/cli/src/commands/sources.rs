//! `sources`: where events come from.

use std::io;

use arrival_client::Source;
use serde::Serialize;

use super::{Outcome, Place};
use crate::exit::{Exit, Failure};
use crate::screen::{BAD, FAINT, GOOD, STRONG, Screen};
use crate::table::{Cell, Table};

/// The answer of `sources` for programs.
#[derive(Serialize)]
struct Sources<'a> {
    sources: &'a [Source],
}

/// `arrival sources`.
pub(super) fn sources(place: &Place, screen: &mut Screen<'_>) -> Outcome {
    let sources = place
        .connect()?
        .sources()
        .map_err(|error| Failure::of("cannot list sources", &error))?;
    if screen.json {
        screen.value(&Sources { sources: &sources })?;
    } else {
        write_sources(screen, &sources)?;
    }
    Ok(Exit::Done)
}

pub(super) fn write_sources(screen: &mut Screen<'_>, sources: &[Source]) -> io::Result<()> {
    let mut table = Table::new([
        "SOURCE", "STATE", "BY", "EVENTS", "LOSSES", "READS", "REMARK",
    ]);
    for source in sources {
        let style = match source.state.as_str() {
            "on" => GOOD,
            "off" => FAINT,
            _ => BAD,
        };
        let remark = source.error.as_ref().or(source.detail.as_ref());
        table.row([
            Cell::new(&source.name).style(STRONG),
            Cell::new(&source.state).style(style),
            source.mechanism.as_str().into(),
            Cell::from(source.events),
            Cell::from(source.losses).style(if source.losses > 0 { BAD } else { FAINT }),
            Cell::from(source.reads),
            remark.into(),
        ]);
    }
    table.write(screen, "no sources")
}
