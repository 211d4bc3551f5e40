//! Where the daemon's own messages go: journald if it is there and nobody looks at stderr, else stderr.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrival_store::settings::LogLevel;
use arrival_wire::notify::escape;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// Where journald takes messages (systemd-journald.service(8)).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The most characters of a message.
const LONGEST: usize = 2048;

/// What is said now; it can change while the daemon runs.
static LEVEL: AtomicUsize = AtomicUsize::new(2);

/// Begins to log; the first one wins where a program starts several daemons.
pub(crate) fn start(level: LogLevel) {
    set_level(level);
    let journal = (Path::new(JOURNAL).exists() && !io::stderr().is_terminal())
        .then(tracing_journald::layer)
        .and_then(Result::ok)
        .map(|journal| journal.with_syslog_identifier("arrivald".to_owned()));
    // A subscriber that is there already belongs to whoever uses this library.
    let _ = match journal {
        Some(journal) => tracing::subscriber::set_global_default(
            Registry::default().with(journal.with_filter(Threshold)),
        ),
        None => tracing::subscriber::set_global_default(
            Registry::default().with(Lines.with_filter(Threshold)),
        ),
    };
}

/// Says more or less from now on.
pub(crate) fn set_level(level: LogLevel) {
    let number = match level {
        LogLevel::Error => 0,
        LogLevel::Warn => 1,
        LogLevel::Info => 2,
        LogLevel::Debug => 3,
        LogLevel::Trace => 4,
    };
    LEVEL.store(number, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

fn wanted(level: Level) -> bool {
    let number = match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    };
    number <= LEVEL.load(Ordering::Relaxed)
}

/// Lets messages of the level through, and of the libraries only what is a warning at least.
struct Threshold;

impl<S> Filter<S> for Threshold {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        let ours = metadata.target().starts_with("arrival");
        wanted(*metadata.level()) && (ours || *metadata.level() <= Level::WARN)
    }
}

/// One line a message, safe to print.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        let level = match *event.metadata().level() {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            Level::DEBUG => "debug: ",
            Level::TRACE => "trace: ",
        };
        let now = crate::clock::now().0;
        let (seconds, millis) = (now / 1_000_000_000, now / 1_000_000 % 1000);
        let line = format!(
            "[{seconds:6}.{millis:03}] arrivald: {level}{}\n",
            escape(&text, LONGEST)
        );
        // Nobody can be told that stderr is gone.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
