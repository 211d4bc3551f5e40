//! An endless stream of notices that survives the manager's restarts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arrival_wire::api::session::{Ask, Notice, Subscription};
use rustix::time::{ClockId, clock_gettime};

use crate::connection::Patience;
use crate::error::{Error, ErrorKind};
use crate::known::{Broken, Known};
use crate::root::Root;
use crate::session::{Incoming, Sender, Session};

/// The first and the longest pause between two attempts to reach a manager that has gone.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// What a service hears.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something changed, or a part of a snapshot.
    Notice(Box<Notice>),
    /// The manager asks something of it.
    Ask(Ask),
    /// The manager is back: it knows nothing of what was said to the one before.
    Connected,
}

/// All changes, as an iterator: first what is there, then whatever happens.
///
/// The first records are a snapshot; the last of them has `complete` set. When the manager goes and
/// comes back, or this program was too slow and lost records, a `resync` record comes and
/// behind it the *difference* between what was told before and what is there now, as ordinary
/// removals, arrivals and state changes. So one who follows the records never misses an arrival and
/// is never told of one twice. Beside that, the iterator waits for a manager that is away: it ends
/// with an error only if that cannot change by waiting.
///
/// ```no_run
/// use arrival_client::{NoticeKind, Root, Watch};
///
/// for notice in Watch::open(&Root::system(), Default::default())? {
///     let notice = notice?;
///     if notice.kind == NoticeKind::Arrival && let Some(interface) = notice.interface {
///         println!("{} arrived", interface.name);
///     }
/// }
/// # Ok::<(), arrival_client::Error>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    root: Root,
    subscription: Subscription,
    patience: Patience,
    session: Option<Session>,
    known: Known,
    told: VecDeque<Notice>,
    pause: Duration,
    next_attempt: Instant,
    connections: u64,
}

impl Watch {
    /// Begins to watch a manager that is there.
    ///
    /// # Errors
    ///
    /// Those of [`Session::open`].
    pub fn open(root: &Root, subscription: Subscription) -> Result<Self, Error> {
        let mut watch = Watch::waiting(root, subscription);
        watch.connect()?;
        Ok(watch)
    }

    /// Begins to watch a manager that need not be there yet.
    pub fn waiting(root: &Root, subscription: Subscription) -> Self {
        Watch {
            root: root.clone(),
            subscription,
            patience: Patience::default(),
            session: None,
            known: Known::new(),
            told: VecDeque::new(),
            pause: BACK_OFF.0,
            next_attempt: Instant::now(),
            connections: 0,
        }
    }

    /// How often the connection was lost and made again.
    pub fn reconnections(&self) -> u64 {
        self.connections.saturating_sub(1)
    }

    /// How many records came that told what was known already, and were left out.
    pub fn doubled(&self) -> u64 {
        self.known.doubled()
    }

    /// The next record, or none if there is none in time; an attempt to reach the manager that has
    /// begun may take longer.
    ///
    /// # Errors
    ///
    /// Those that waiting does not cure: [`ErrorKind::Denied`], [`ErrorKind::NoSuchClass`],
    /// [`ErrorKind::Unsupported`], [`ErrorKind::Protocol`].
    pub fn next_within(&mut self, time: Duration) -> Result<Option<Notice>, Error> {
        self.next_until(Some(Instant::now() + time))
    }

    fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Notice>, Error> {
        loop {
            match self.next_event(deadline)? {
                Some(Event::Notice(notice)) => return Ok(Some(*notice)),
                // A watcher runs no service: nobody asks it anything.
                Some(Event::Ask(_) | Event::Connected) => {}
                None => return Ok(None),
            }
        }
    }

    /// The side of the present session that calls; none while the manager is away.
    pub(crate) fn sender(&self) -> Option<Sender> {
        self.session.as_ref().map(Session::sender)
    }

    /// Whether more is told without waiting.
    pub(crate) fn has_more(&self) -> bool {
        !self.told.is_empty()
    }

    /// What comes next, questions to a service among it; none at the deadline.
    pub(crate) fn next_event(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Error> {
        loop {
            if let Some(notice) = self.told.pop_front() {
                return Ok(Some(Event::Notice(Box::new(notice))));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let Some(session) = &mut self.session else {
                if left.is_some_and(|left| left.is_zero()) {
                    return Ok(None);
                }
                let pause = self.next_attempt.saturating_duration_since(Instant::now());
                if !pause.is_zero() {
                    std::thread::sleep(left.map_or(pause, |left| left.min(pause)));
                    continue;
                }
                match self.connect() {
                    Ok(()) => return Ok(Some(Event::Connected)),
                    Err(error) if is_passing(error.kind()) => self.disconnected(),
                    Err(error) => return Err(error),
                }
                continue;
            };
            let incoming = match left {
                Some(left) => session.receive_within(left),
                None => session.receive().map(Some),
            };
            match incoming {
                Ok(Some(Incoming::Notice(notice))) => self.accept(*notice)?,
                Ok(Some(Incoming::Ask(ask))) => return Ok(Some(Event::Ask(ask))),
                Ok(None) => return Ok(None),
                Err(error) if is_passing(error.kind()) => self.disconnected(),
                Err(error) => return Err(error),
            }
        }
    }

    fn accept(&mut self, notice: Notice) -> Result<(), Error> {
        let sender = self.session.as_ref().map(Session::sender);
        let arrivals = || {
            sender
                .and_then(|sender| sender.arrivals().ok())
                .unwrap_or_default()
        };
        match self
            .known
            .accept(notice, now_ns(), arrivals, &mut self.told)
        {
            Ok(()) => {
                self.pause = BACK_OFF.0;
                Ok(())
            }
            Err(Broken::Hole) => {
                self.disconnected();
                Ok(())
            }
            Err(Broken::TooLarge) => Err(Error::new(
                ErrorKind::Protocol,
                self.root.control().display().to_string(),
            )
            .because("a snapshot has no end")),
        }
    }

    /// The session is over; the next attempt comes after a pause, and a longer one each time that
    /// nothing was heard in between.
    fn disconnected(&mut self) {
        self.session = None;
        self.next_attempt = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(BACK_OFF.1);
    }

    fn connect(&mut self) -> Result<(), Error> {
        let subscription = Some(&self.subscription);
        self.session = Some(Session::open_with(&self.root, subscription, self.patience)?);
        self.known.reconnected();
        self.connections += 1;
        Ok(())
    }
}

impl Iterator for Watch {
    type Item = Result<Notice, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_until(None).transpose()
    }
}

/// Whether a later attempt may succeed although this one did not.
fn is_passing(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::NoDaemon
        | ErrorKind::Disconnected
        | ErrorKind::NoSuchSession
        | ErrorKind::Timeout
        | ErrorKind::Io => true,
        ErrorKind::Denied
        | ErrorKind::NoSuchService
        | ErrorKind::NoSuchClass
        | ErrorKind::Failed
        | ErrorKind::Unsupported
        | ErrorKind::Protocol => false,
    }
}

/// Nanoseconds of the clock that the manager stamps its records with.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
