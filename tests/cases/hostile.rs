//! Clients that mean no good, or never read what they are told.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use arrival_client::{Connection, Incoming, NoticeKind, Root, Session, Subscription, Watch};
use arrival_tests::world::{World, wait_for};

use crate::devices::Link;

const CALL: &[u8] = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";
/// How many connections one user may have.
const OF_USER: usize = 64;

fn connect(world: &World) -> UnixStream {
    let stream = UnixStream::connect(world.root.join("run/control")).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

/// Reads to the next end of a message; none if the connection ended before.
fn message(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) if byte == [0] => return Some(String::from_utf8(bytes).unwrap()),
            Ok(_) => bytes.extend(byte),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Does something as another user; only the calling thread's ids change, and it ends here.
fn as_user<T: Send>(uid: u32, act: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // SAFETY: system calls that take numbers; the raw ones change this thread alone.
            unsafe {
                assert_eq!(libc::syscall(libc::SYS_setresgid, uid, uid, uid), 0);
                assert_eq!(libc::syscall(libc::SYS_setresuid, uid, uid, uid), 0);
            }
            act()
        });
        thread.join().unwrap()
    })
}

case!(
    a_message_without_end_is_cut_off_and_answered as Root,
    |world: &mut World| {
        world.start();
        let mut stream = connect(world);
        let mut taken = 0;
        let error = loop {
            match stream.write(&[b'x'; 4096]) {
                Ok(written) => taken += written,
                Err(error) => break error,
            }
            assert!(taken < 8 << 20, "it takes everything");
        };
        assert!(
            matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ),
            "{error}"
        );
        let answer = message(&mut stream).unwrap();
        assert!(answer.contains("org.arrivald.Daemon.Denied"), "{answer}");
        assert_eq!(message(&mut stream), None);
        world.info();
    }
);

case!(garbage_changes_nothing as Root, |world: &mut World| {
    world.follow("lab", "lab*", &[], "");
    world.start();
    let deep = "[".repeat(60_000);
    for bad in [
        "",
        "{",
        "\u{7f}ELF",
        "null",
        "[]",
        "{\"method\":1}",
        "{\"method\":\"org.arrivald.Services.Start\",\"parameters\":[]}",
        "{\"method\":\"org.arrivald.Services.Start\",\"parameters\":{\"name\":{}}}",
        "{\"method\":\"org.arrivald.Services.Start\",\"parameters\":{\"name\":\"../lab\"}}",
        "{\"method\":\"org.arrivald.Services.Burn\"}",
        "{\"method\":\"org.arrivald.Session.Report\",\"parameters\":{\"token\":\"\",\"state\":\"RUNNING\"}}",
        "{\"method\":\"org.arrivald.Session.Open\"}",
        "{\"method\":\"org.arrivald.Daemon.Info\",\"more\":true,\"oneway\":true}",
        deep.as_str(),
    ] {
        let mut stream = connect(world);
        stream.write_all(bad.as_bytes()).unwrap();
        stream.write_all(b"\0").unwrap();
        let answer = message(&mut stream).unwrap_or_else(|| panic!("no answer to {bad:.40}"));
        assert!(answer.contains("\"error\""), "{bad:.40}: {answer}");
    }
    let mut random: u32 = 7;
    for _ in 0..200 {
        let mut stream = connect(world);
        let noise: Vec<u8> = (0..4096)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        // It may be cut off in the midst.
        let _ = stream.write_all(&noise);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while let Some(answer) = message(&mut stream) {
            assert!(answer.contains("\"error\""), "{answer}");
        }
    }
    assert_eq!(world.status("lab").state, "STOPPED");
    let _link = Link::bridge("lab0");
    world.wait_state("lab", "RUNNING");
});

case!(
    ten_thousand_calls_at_once_hold_back_their_caller_alone as Root,
    |world: &mut World| {
        world.start();
        let stream = connect(world);
        stream.set_nonblocking(true).unwrap();
        let calls = CALL.repeat(10_000);
        let mut written = 0;
        // Nobody reads the answers, so at some point nothing is taken any more.
        let mut quiet = 0;
        while quiet < 20 {
            match (&stream).write(&calls[written..]) {
                Ok(more) => (written, quiet) = (written + more, 0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    // Another client is served in the meantime.
                    world.info();
                    quiet += 1;
                }
            }
            assert!(written < calls.len(), "all was taken, and nothing answered");
        }
        stream.set_nonblocking(false).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let rest = calls[written..].to_vec();
        let writer = std::thread::spawn(move || writer.write_all(&rest).unwrap());
        let mut reader = std::io::BufReader::new(stream);
        for number in 0..10_000 {
            let answer = message(&mut reader).unwrap_or_else(|| panic!("{number} answers"));
            assert!(answer.contains("\"vendor\""), "{answer}");
        }
        writer.join().unwrap();
    }
);

case!(
    a_user_with_thousands_of_connections_locks_out_nobody_else as Root,
    |world: &mut World| {
        world.start();
        let before = world.info().counters.connections_refused;
        let served = |mut stream: UnixStream| {
            // A refused connection may be closed already.
            let _ = stream.write_all(CALL);
            let answer = message(&mut stream);
            let good = answer.is_some_and(|answer| answer.contains("\"vendor\""));
            good.then_some(stream)
        };
        let held: Vec<UnixStream> = as_user(65534, || {
            let streams: Vec<_> = (0..200).map(|_| connect(world)).collect();
            streams.into_iter().filter_map(served).collect()
        });
        assert_eq!(held.len(), OF_USER);
        let more = as_user(65534, || {
            (0..2000).filter_map(|_| served(connect(world))).count()
        });
        assert_eq!(more, 0);
        let refused = world.info().counters.connections_refused - before;
        assert_eq!(refused, 2000 + 200 - OF_USER as u64);
        assert!(as_user(1, || served(connect(world))).is_some());
        // One line for each would fill the disk.
        let lines = world.log().matches("refused a connection").count();
        assert!(lines < 100, "{lines} lines");
        drop(held);
        wait_for("the user to be served again", || {
            as_user(65534, || served(connect(world))).is_some()
        });
    }
);

case!(
    many_users_with_many_connections_do_not_lock_out_root as Root,
    |world: &mut World| {
        raise_open_files();
        world.start();
        let mut held = Vec::new();
        for uid in 2000..2020 {
            let mut streams = as_user(uid, || {
                (0..OF_USER).map(|_| connect(world)).collect::<Vec<_>>()
            });
            held.append(&mut streams);
        }
        // The refusals of the last ones have been counted once they are told.
        let mut last = held.pop().unwrap();
        assert!(message(&mut last).is_some());
        assert!(world.info().counters.connections_refused > 0);
        assert!(world.arrival(&["list"]).status.success());
    }
);

fn raise_open_files() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live local of the right type.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

case!(
    a_subscriber_that_never_reads_loses_its_own_records_alone as Root,
    |world: &mut World| {
        const CHANGES: u64 = 5000;
        let class = "[class]\nname = \"lab-class\"\n[match]\nsubsystem = \"net\"\nname = \"lab*\"\nattribute.ifalias = \"on\"\n";
        world.write("classes.d/lab.toml", class);
        world.start();
        let _link = Link::bridge("lab0");
        let subscription = Subscription {
            classes: vec!["lab-class".to_owned()],
            ..Subscription::default()
        };
        let root = Root::at(&world.root);
        let mut deaf = Session::open(&root, Some(&subscription)).unwrap();
        let mut watch = Watch::open(&root, subscription).unwrap();
        let folder = world.root.join("sys/class/net/lab0");
        for change in 0..CHANGES {
            let on = change % 2 == 0;
            fs::write(folder.join("ifalias"), if on { "on" } else { "off" }).unwrap();
            fs::write(folder.join("uevent"), "change").unwrap();
            let expected = if on {
                NoticeKind::Arrival
            } else {
                NoticeKind::Removal
            };
            // The one who reads is told of each in its turn.
            loop {
                let notice = watch.next_within(Duration::from_secs(30)).unwrap();
                let kind = notice.expect("a notice in time").kind;
                if kind == NoticeKind::Snapshot {
                    continue;
                }
                assert_eq!(kind, expected, "change {change}");
                break;
            }
        }
        assert_eq!(watch.reconnections(), 0);
        assert!(world.info().counters.subscriber_overruns >= 1);
        // A change behind the hole shows that the stream goes on.
        fs::write(folder.join("ifalias"), "on").unwrap();
        fs::write(folder.join("uevent"), "change").unwrap();
        let (mut told, mut lost, mut last) = (0, 0, None);
        while told + lost < CHANGES + 1 {
            let incoming = deaf.receive_within(Duration::from_secs(30)).unwrap();
            let Some(Incoming::Notice(notice)) = incoming else {
                panic!("{told} told and {lost} lost of {CHANGES}, then {incoming:?}");
            };
            match notice.kind {
                NoticeKind::Arrival | NoticeKind::Removal => {
                    told += 1;
                    last = Some(notice.kind);
                }
                NoticeKind::Overrun => lost += notice.lost.unwrap(),
                NoticeKind::Snapshot | NoticeKind::Resync => {}
                NoticeKind::State => panic!("it asked for no states"),
            }
        }
        assert!(lost > 0);
        assert_eq!(told + lost, CHANGES + 1);
        assert!(last.is_some());
        world.connect().info().unwrap();
    }
);

case!(
    a_stranger_cannot_say_that_a_service_is_ready as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "protocol = \"notify\"");
        world.start();
        let _link = Link::bridge("lab0");
        let pid = world.wait_state("lab", "START_PENDING");
        let socket = world.root.join("run/notify");
        let before = world.info().counters.notify_refused;
        let say = |text: &str| {
            let stranger = UnixDatagram::unbound().unwrap();
            stranger.send_to(text.as_bytes(), &socket).unwrap();
        };
        say("READY=1");
        as_user(65534, || say("READY=1"));
        say(&format!("MAINPID={}\nREADY=1", std::process::id()));
        say(&"x".repeat(8192));
        wait_for("all four to be refused", || {
            world.info().counters.notify_refused == before + 4
        });
        let now = world.status("lab");
        assert_eq!(now.state, "START_PENDING", "{pid:?}");
        let _: Connection = world.connect();
    }
);
