//! `watch`: one line an event, until somebody ends it.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrival_client::{Notice, NoticeKind, StateChange, Subscription, Watch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::services::{state_style, words};
use super::{Outcome, Place, boot_time_ns};
use crate::args::Watch as Options;
use crate::exit::{Exit, Failure};
use crate::screen::{BAD, FAINT, GOOD, NOTABLE, STRONG, Screen};
use crate::text::printable;

/// How often an idle watch looks whether anybody still reads.
const LOOK: Duration = Duration::from_secs(1);

/// `arrival watch`.
pub(super) fn watch(place: &Place, screen: &mut Screen<'_>, options: Options) -> Outcome {
    let subscription = Subscription {
        classes: options.class,
        ids: options.id,
        wait: options.appeared.then(|| "appeared".to_owned()),
        states: !options.no_states,
    };
    let failure = |error| Failure::of("cannot watch", &error);
    let mut watch = if options.wait {
        Watch::waiting(&place.root, subscription)
    } else {
        Watch::open(&place.root, subscription).map_err(failure)?
    };
    loop {
        let Some(notice) = watch.next_within(LOOK).map_err(failure)? else {
            if is_output_closed() {
                return Ok(Exit::Done);
            }
            continue;
        };
        if options.no_snapshot && notice.kind == NoticeKind::Snapshot {
            continue;
        }
        if screen.json {
            screen.record(&notice)?;
        } else {
            write_notice(screen, &notice, &wall_clock(notice.time_ns))?;
            screen.flush()?;
        }
    }
}

/// Whether the reader of a pipe on standard output is gone.
fn is_output_closed() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok()
        && fds
            .iter()
            .any(|fd| fd.revents().intersects(PollFlags::ERR | PollFlags::HUP))
}

/// The time of day in UTC of a moment of the manager's clock, which counts from the boot.
fn wall_clock(time_ns: u64) -> String {
    let ago = Duration::from_nanos(boot_time_ns().saturating_sub(time_ns));
    let moment = SystemTime::now()
        .checked_sub(ago)
        .and_then(|moment| moment.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    time_of_day(moment)
}

pub(super) fn time_of_day(moment: Duration) -> String {
    let seconds = moment.as_secs() % 86_400;
    format!(
        "{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        moment.subsec_millis()
    )
}

/// One line: time, sign, class, name, link; or what a service became.
pub(super) fn write_notice(screen: &mut Screen<'_>, notice: &Notice, time: &str) -> io::Result<()> {
    let (style, sign) = match notice.kind {
        NoticeKind::Snapshot => (FAINT, "="),
        NoticeKind::Arrival => (GOOD, "+"),
        NoticeKind::Removal => (BAD, "-"),
        NoticeKind::State => (STRONG, "*"),
        NoticeKind::Overrun => (NOTABLE, "!"),
        NoticeKind::Resync => (NOTABLE, "~"),
    };
    let start = format!("{FAINT}{time}{FAINT:#} {style}{sign}{style:#}");
    if let Some(interface) = &notice.interface {
        let class = printable(&interface.class_name);
        let name = printable(&interface.name);
        let link = printable(&interface.link);
        writeln!(
            screen,
            "{start} {class:<9} {STRONG}{name:<12}{STRONG:#} {link}"
        )?;
    }
    if let Some(state) = &notice.state {
        write_state(screen, &start, state)?;
    }
    match notice.kind {
        NoticeKind::Overrun => {
            let source = printable(notice.source.as_deref().unwrap_or("this stream"));
            match notice.lost {
                Some(lost) => writeln!(screen, "{start} overrun   {source} lost {lost} records")?,
                None => writeln!(screen, "{start} overrun   {source} lost records")?,
            }
        }
        NoticeKind::Resync => {
            let source = printable(notice.source.as_deref().unwrap_or("this stream"));
            writeln!(screen, "{start} resync    {source}")?;
        }
        NoticeKind::Snapshot | NoticeKind::Arrival | NoticeKind::Removal | NoticeKind::State => {}
    }
    Ok(())
}

fn write_state(screen: &mut Screen<'_>, start: &str, state: &StateChange) -> io::Result<()> {
    let style = state_style(&state.state, state.held_back.is_some());
    let name = printable(&state.service);
    let word = printable(&state.state);
    write!(
        screen,
        "{start} service   {STRONG}{name:<12}{STRONG:#} {style}{word}{style:#}"
    )?;
    let mut details = Vec::new();
    if let Some(reason) = &state.held_back {
        details.push(words(reason));
    }
    if let Some(run) = state.run {
        details.push(format!("run {run}"));
    }
    if let Some(pid) = state.pid {
        details.push(format!("pid {pid}"));
    }
    if let Some(reason) = &state.start_reason {
        details.push(format!("by {reason}"));
    }
    if let Some(exit) = &state.exit {
        details.push(exit.clone());
    }
    if !details.is_empty() {
        write!(screen, " ({})", printable(&details.join(", ")))?;
    }
    writeln!(screen)
}
