#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use arrival_model::event::{CustomEvent, EventHead};
use arrival_model::service_trigger::{DataItem, DataType};
use rustix::net::SocketAddrUnix;

use super::*;
use crate::sandbox::temporary_folder;

const PATIENCE: Duration = Duration::from_secs(20);
const PROVIDER: Guid = Guid::from_u128(7);

struct Bus {
    bus: EventBus,
    events: Receiver<BusEvent>,
    root: PathBuf,
}

impl Bus {
    fn new() -> Bus {
        Bus::with(|config| config)
    }

    fn with(change: impl FnOnce(BusConfig) -> BusConfig) -> Bus {
        let root = temporary_folder("arrival-bus-").unwrap();
        let (sender, events) = channel();
        let config = change(BusConfig::at(root.join("events")));
        let bus = EventBus::start(config, move |event| drop(sender.send(event))).unwrap();
        Bus { bus, events, root }
    }

    fn connect(&self) -> Provider {
        connect(self.bus.path())
    }

    /// Lets the next registration through, or refuses it.
    fn decide(&self, allowed: Result<(), String>) {
        match self.events.recv_timeout(PATIENCE).unwrap() {
            BusEvent::Register {
                connection,
                provider,
                peer,
            } => {
                assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
                self.bus.answer(connection, provider, allowed);
            }
            other => panic!("{other:?}"),
        }
    }

    fn wait(&self, what: &str, so: impl Fn(BusCounters) -> bool) {
        let start = Instant::now();
        while !so(self.bus.counters()) {
            assert!(
                start.elapsed() < PATIENCE,
                "{what}: {:?}",
                self.bus.counters()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn connect(path: &Path) -> Provider {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = socket.unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    Provider { socket }
}

struct Provider {
    socket: OwnedFd,
}

impl Provider {
    fn send(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL)
    }

    fn frame(&self, frame: FromProvider<'_>) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        self.send(&bytes).unwrap();
    }

    fn told(&self) -> Option<FromManager> {
        let mut buffer = [0; 4096];
        match rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((_, 0)) | Err(_) => None,
            Ok((_, length)) => Some(FromManager::read(&buffer[..length]).unwrap()),
        }
    }

    fn event(&self, level: u8, payload: &[u8]) {
        self.frame(FromProvider::Write(CustomEvent {
            provider: PROVIDER,
            head: EventHead {
                level,
                ..EventHead::default()
            },
            payload,
        }));
    }
}

fn trigger(items: Vec<DataItem>) -> Arc<CustomTrigger> {
    Arc::new(CustomTrigger::new(PROVIDER, items))
}

fn level(level: u8) -> DataItem {
    DataItem {
        kind: DataType::Level,
        bytes: vec![level],
    }
}

#[test]
fn an_event_of_a_registered_provider_is_told_to_whom_it_passes() {
    let bus = Bus::new();
    bus.bus.set_filters(vec![
        trigger(vec![level(2)]),
        trigger(vec![DataItem::strings(["x"])]),
    ]);
    let provider = bus.connect();
    provider.frame(FromProvider::Register(PROVIDER));
    bus.decide(Ok(()));
    let enabled = Enabled {
        on: true,
        level: 0,
        any: 0,
    };
    let told = FromManager::Enabled {
        provider: PROVIDER,
        enabled,
    };
    assert_eq!(provider.told(), Some(told));
    provider.event(3, b"y");
    provider.event(1, b"X");
    let mut passed = Vec::new();
    for _ in 0..2 {
        match bus.events.recv_timeout(PATIENCE).unwrap() {
            BusEvent::Passed(trigger) => passed.push(trigger),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(passed.len(), 2);
    let counters = bus.bus.counters();
    assert_eq!((counters.events, counters.passed), (2, 2));
}

#[test]
fn a_provider_learns_what_is_needed_when_that_changes() {
    let bus = Bus::new();
    let provider = bus.connect();
    provider.frame(FromProvider::Register(PROVIDER));
    bus.decide(Ok(()));
    let enabled = |on, level| FromManager::Enabled {
        provider: PROVIDER,
        enabled: Enabled { on, level, any: 0 },
    };
    assert_eq!(provider.told(), Some(enabled(false, 0)));
    bus.bus.set_filters(vec![trigger(vec![level(3)])]);
    assert_eq!(provider.told(), Some(enabled(true, 3)));
    bus.bus
        .set_filters(vec![trigger(vec![level(3)]), trigger(vec![level(1)])]);
    bus.bus.set_filters(Vec::new());
    assert_eq!(provider.told(), Some(enabled(false, 0)));
}

#[test]
fn who_may_not_publish_is_told_why_and_closed_when_it_does() {
    let bus = Bus::new();
    bus.bus.set_filters(vec![trigger(Vec::new())]);
    let liar = bus.connect();
    liar.frame(FromProvider::Register(PROVIDER));
    bus.decide(Err("not yours".to_owned()));
    let reason = "not yours".to_owned();
    let refused = FromManager::Refused {
        provider: PROVIDER,
        reason,
    };
    assert_eq!(liar.told(), Some(refused));
    liar.event(1, b"");
    assert_eq!(liar.told(), None);
    bus.wait("the liar is closed", |counters| {
        counters.garbage == 1 && counters.connections == 0 && counters.denied == 1
    });
    assert_eq!(bus.bus.counters().events, 0);
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    let bus = Bus::new();
    bus.bus.set_filters(vec![trigger(Vec::new())]);
    let good = bus.connect();
    good.frame(FromProvider::Register(PROVIDER));
    bus.decide(Ok(()));
    good.told().unwrap();
    for garbage in [&b"\x01\x09"[..], b"x", &[1; FRAME_LIMIT + 1]] {
        let bad = bus.connect();
        bad.send(garbage).unwrap();
        assert_eq!(bad.told(), None);
    }
    bus.wait("three are closed", |counters| counters.garbage == 3);
    good.event(1, b"");
    assert!(matches!(
        bus.events.recv_timeout(PATIENCE).unwrap(),
        BusEvent::Passed(_)
    ));
}

#[test]
fn connections_are_limited_and_a_flood_is_counted_exactly() {
    let bus = Bus::with(|config| BusConfig {
        connections: 2,
        ..config
    });
    bus.bus.set_filters(vec![trigger(vec![level(2)])]);
    let (first, second) = (bus.connect(), bus.connect());
    bus.wait("two connections", |counters| counters.connections == 2);
    if rustix::process::geteuid().is_root() {
        // Root is never too many; another user is.
        let path = bus.bus.path().to_owned();
        std::fs::set_permissions(
            &bus.root,
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let refused = std::thread::spawn(move || {
            // SAFETY: the raw call changes the ids of this thread alone, which ends with the closure.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
            assert_eq!(changed, 0);
            let third = connect(&path);
            third.told()
        });
        assert_eq!(refused.join().unwrap(), None);
    } else {
        assert_eq!(bus.connect().told(), None);
    }
    assert_eq!(bus.bus.counters().refused, 1);
    first.frame(FromProvider::Register(PROVIDER));
    bus.decide(Ok(()));
    first.told().unwrap();
    // One that never reads and one that floods: all that is written is counted, and passes exactly.
    second.frame(FromProvider::Register(PROVIDER));
    bus.decide(Ok(()));
    for number in 0..50_000_u32 {
        first.event(if number % 100 == 0 { 1 } else { 4 }, &number.to_le_bytes());
    }
    first.frame(FromProvider::Lost {
        provider: PROVIDER,
        count: 5,
    });
    bus.wait("the flood is over", |counters| counters.lost == 5);
    let counters = bus.bus.counters();
    assert_eq!((counters.events, counters.passed), (50_000, 500));
}
