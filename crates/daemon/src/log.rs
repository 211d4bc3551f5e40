//! Where the daemon's own messages go: journald if it is there and nobody looks at stderr, else stderr.
//!
//! A thread of its own writes them, so that a journald or a terminal that does not take them holds
//! up nothing; what does not fit into its queue is dropped, and how much that was is said.
//!
//! Source: systemd-journald's native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

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
/// How many messages wait for the thread that writes them.
const WAITING: usize = 1024;
const STACK: usize = 128 * 1024;

/// What is said now; it can change while the daemon runs.
static LEVEL: AtomicUsize = AtomicUsize::new(2);
/// The way to the thread that writes.
static QUEUE: OnceLock<SyncSender<Message>> = OnceLock::new();
/// How many messages did not fit.
static DROPPED: AtomicU64 = AtomicU64::new(0);

enum Message {
    /// A priority of syslog(3), and a text that is safe to print.
    Line(u8, String),
    /// Somebody wants to know that all before it is written.
    Written(SyncSender<()>),
}

/// Begins to log; the first one wins where a program starts several daemons.
pub(crate) fn start(level: LogLevel) {
    set_level(level);
    let (queue, messages) = sync_channel(WAITING);
    let writing = thread::Builder::new()
        .name("arrival-log".to_owned())
        .stack_size(STACK)
        .spawn(move || write(&messages));
    if writing.is_err() || QUEUE.set(queue).is_err() {
        return;
    }
    // A subscriber that is there already belongs to whoever uses this library.
    let _ = tracing::subscriber::set_global_default(
        Registry::default().with(Lines.with_filter(Threshold)),
    );
}

/// Waits until everything is written, though not for long.
pub(crate) fn finish() {
    let (written, done) = sync_channel(1);
    if let Some(queue) = QUEUE.get()
        && queue.try_send(Message::Written(written)).is_ok()
    {
        let _ = done.recv_timeout(Duration::from_millis(500));
    }
}

fn write(messages: &Receiver<Message>) {
    let journal = (Path::new(JOURNAL).exists() && !io::stderr().is_terminal())
        .then(|| UnixDatagram::unbound().ok())
        .flatten();
    let send = |priority: u8, text: &str| {
        let taken = journal.as_ref().is_some_and(|socket| {
            let entry =
                format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=arrivald\nMESSAGE={text}\n");
            socket.send_to(entry.as_bytes(), JOURNAL).is_ok()
        });
        if taken {
            return;
        }
        let level = match priority {
            0..=3 => "error: ",
            4 => "warning: ",
            5..=6 => "",
            _ => "debug: ",
        };
        let now = crate::clock::now().0;
        let (seconds, millis) = (now / 1_000_000_000, now / 1_000_000 % 1000);
        let line = format!("[{seconds:6}.{millis:03}] arrivald: {level}{text}\n");
        // Nobody can be told that stderr is gone.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    };
    while let Ok(message) = messages.recv() {
        match message {
            Message::Line(priority, text) => send(priority, &text),
            Message::Written(done) => drop(done.try_send(())),
        }
        let dropped = DROPPED.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            send(4, &format!("{dropped} messages were not written"));
        }
    }
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
        let priority = match *event.metadata().level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        let line = Message::Line(priority, escape(&text, LONGEST));
        if QUEUE
            .get()
            .is_none_or(|queue| queue.try_send(line).is_err())
        {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
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
