//! `bench decision`: from the kernel's event to the decision to start.
//!
//! A reader of its own receives the same event as the manager and takes the time when it has it.
//! The manager's time is that of the notice START_PENDING to a session. Both clocks are
//! CLOCK_BOOTTIME. Reader and manager are woken by the same event, so one wake-up is in both.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use arrival_client::{Incoming, Notice, Session, Subscription};
use arrival_linux::rtnl::Links;
use rustix::fd::OwnedFd;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::daemon::{self, Daemon};
use super::measure::Series;
use super::world::{DEVICE, Inside, PATIENCE, Programs, World, clock};
use super::{Options, Row};
use crate::Outcome;

const WARM_UP: usize = 20;
const ROUNDS: usize = 2_000;

pub(super) fn run(options: Options) -> Outcome<Vec<Row>> {
    Programs::build()?;
    let mut world = World::enter(&["decision"])?;
    let mut times = Vec::new();
    for round in 0..WARM_UP + options.samples(ROUNDS) {
        let time: u64 = world.ask("arrive")?;
        if round >= WARM_UP {
            times.push(Duration::from_nanos(time));
        }
    }
    let series = Series::from_iter(times);
    Ok(vec![Row::times("event to decision", &series, None)])
}

pub(super) struct Decision {
    daemon: Daemon,
    session: Session,
    links: Links,
    seen: Receiver<u64>,
}

pub(super) fn begin() -> Outcome<Decision> {
    let exec = ["/bin/sleep".to_owned(), "1000".to_owned()];
    let definition = daemon::definition(&exec, "appeared");
    let mut daemon = Daemon::start(&[("bench".to_owned(), definition)], &["--no-udev"])?;
    daemon.wait_state("bench", "STOPPED")?;
    let subscription = Subscription {
        classes: vec!["bench".to_owned()],
        wait: Some("appeared".to_owned()),
        states: true,
        ..Subscription::default()
    };
    Ok(Decision {
        session: Session::open(&daemon.root(), Some(&subscription))?,
        daemon,
        links: Links::open()?,
        seen: reader()?,
    })
}

/// Gives the time of every `add` event of the device.
fn reader() -> Outcome<Receiver<u64>> {
    let socket: OwnedFd = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(KOBJECT_UEVENT),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, 1))?;
    let (send, seen) = channel();
    thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        let end = format!("/net/{DEVICE}");
        while let Ok((length, _)) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            let now = clock();
            let event = buffer.get(..length).unwrap_or_default();
            let head = event.split(|byte| *byte == 0).next().unwrap_or_default();
            if head.starts_with(b"add@")
                && head.ends_with(end.as_bytes())
                && send.send(now).is_err()
            {
                return;
            }
        }
    });
    Ok(seen)
}

impl Decision {
    fn notice(&mut self, state: &str) -> Outcome<Notice> {
        loop {
            let Some(incoming) = self.session.receive_within(PATIENCE)? else {
                return Err(format!("no notice of {state} came").into());
            };
            if let Incoming::Notice(notice) = incoming
                && let Some(change) = &notice.state
                && change.state == state
                && notice.kind == arrival_client::NoticeKind::State
            {
                return Ok(*notice);
            }
        }
    }
}

impl Inside for Decision {
    fn answer(&mut self, _question: &str) -> Outcome<serde_json::Value> {
        self.links.create_bridge(DEVICE)?;
        let seen = self.seen.recv_timeout(PATIENCE)?;
        let decided = self.notice("START_PENDING")?.time_ns;
        self.notice("RUNNING")?;
        self.links.delete(DEVICE)?;
        self.notice("STOPPED")?;
        thread::sleep(Duration::from_millis(2));
        Ok(decided.saturating_sub(seen).into())
    }

    fn end(&mut self) -> Outcome<()> {
        self.daemon.end()
    }
}
