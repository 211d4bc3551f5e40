#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, Sender, channel};

use arrival_model::port::Transport;

use super::*;
use crate::rtnl::Links;

const PATIENCE: Duration = Duration::from_secs(20);

fn in_a_world(test: &str) -> bool {
    let inside = crate::world::in_a_world(&format!("listen::source::tests::{test}"));
    if inside {
        Links::open().unwrap().set_up("lo", true).unwrap();
    }
    inside
}

struct Heard {
    source: ListenSource,
    events: Receiver<ListenEvent>,
}

impl Heard {
    fn new() -> Heard {
        Heard::with(ListenConfig::default())
    }

    fn with(config: ListenConfig) -> Heard {
        let (sender, events) = channel();
        let source = ListenSource::start(config, move |event| drop(sender.send(event))).unwrap();
        Heard { source, events }
    }

    fn next(&self) -> ListenEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    fn opened(&self) -> Arc<Listener> {
        match self.next() {
            ListenEvent::Opened(listener) => listener,
            other => panic!("{other:?}"),
        }
    }

    fn closed(&self) -> Arc<Listener> {
        match self.next() {
            ListenEvent::Closed(listener) => listener,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_socket_that_listens_is_told_with_its_owner_until_it_is_gone() {
    if !in_a_world("a_socket_that_listens_is_told_with_its_owner_until_it_is_gone") {
        return;
    }
    let before = UdpSocket::bind("127.0.0.1:5000").unwrap();
    let heard = Heard::new();
    let first = heard.opened();
    assert_eq!((first.protocol, first.port), (Transport::Udp, 5000));
    assert_eq!(heard.next(), ListenEvent::Complete);
    let listener = TcpListener::bind("127.0.0.1:5001").unwrap();
    let tcp = heard.opened();
    assert_eq!((tcp.protocol, tcp.port), (Transport::Tcp, 5001));
    assert_eq!(tcp.address.to_string(), "127.0.0.1");
    assert_eq!(tcp.uid, rustix::process::geteuid().as_raw());
    assert_eq!(tcp.owners.len(), 1);
    assert_eq!(tcp.owners[0].pid, std::process::id());
    let own = std::env::current_exe().unwrap();
    assert_eq!(tcp.owners[0].program.as_deref(), own.to_str());
    assert!(!tcp.system);
    // Connections through it are none.
    let client = TcpStream::connect("127.0.0.1:5001").unwrap();
    let served = listener.accept().unwrap();
    drop((client, served));
    drop(listener);
    assert_eq!(heard.closed().port, 5001);
    drop(before);
    assert_eq!(heard.closed().port, 5000);
}

#[test]
fn a_port_that_the_kernel_chooses_is_told() {
    if !in_a_world("a_port_that_the_kernel_chooses_is_told") {
        return;
    }
    let heard = Heard::new();
    assert_eq!(heard.next(), ListenEvent::Complete);
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    // No bind before: the state is set before the port is chosen.
    rustix::net::listen(&socket, 5).unwrap();
    let listener = heard.opened();
    assert!(listener.port != 0);
    drop(socket);
    assert_eq!(heard.closed().port, listener.port);
}

#[test]
fn an_attempt_that_fails_is_no_socket() {
    if !in_a_world("an_attempt_that_fails_is_no_socket") {
        return;
    }
    let heard = Heard::new();
    assert_eq!(heard.next(), ListenEvent::Complete);
    let _first = TcpListener::bind("127.0.0.1:5001").unwrap();
    let cookie = heard.opened().cookie;
    // Both are bound, and only one of them can listen.
    use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    let address: std::net::SocketAddr = "127.0.0.1:5001".parse().unwrap();
    let failed =
        rustix::net::bind(&socket, &address).and_then(|()| rustix::net::listen(&socket, 5));
    assert_eq!(failed, Err(rustix::io::Errno::ADDRINUSE));
    let other = UdpSocket::bind("127.0.0.1:5002").unwrap();
    let opened = heard.opened();
    assert_eq!(opened.port, 5002);
    assert_ne!(opened.cookie, cookie);
    drop(other);
    assert_eq!(heard.closed().port, 5002);
}

#[test]
fn a_child_that_keeps_the_socket_keeps_it_open() {
    if !in_a_world("a_child_that_keeps_the_socket_keeps_it_open") {
        return;
    }
    let heard = Heard::new();
    assert_eq!(heard.next(), ListenEvent::Complete);
    let listener = TcpListener::bind("127.0.0.1:5005").unwrap();
    heard.opened();
    let kept = rustix::io::dup(&listener).unwrap();
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::from(kept))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(child) = &mut child else {
        return println!("skipped: there is no cat");
    };
    // cat cannot read a listening socket, and ends; with it the last descriptor goes.
    drop(listener);
    child.wait().unwrap();
    assert_eq!(heard.closed().port, 5005);
}

#[test]
fn a_socket_that_ends_at_once_leaves_nothing_behind() {
    if !in_a_world("a_socket_that_ends_at_once_leaves_nothing_behind") {
        return;
    }
    let heard = Heard::new();
    assert_eq!(heard.next(), ListenEvent::Complete);
    for _ in 0..200 {
        drop(TcpListener::bind("127.0.0.1:5004").unwrap());
    }
    let _last = UdpSocket::bind("127.0.0.1:5009").unwrap();
    let mut open = 0_i64;
    loop {
        match heard.next() {
            ListenEvent::Opened(listener) if listener.port == 5009 => break,
            ListenEvent::Opened(_) => open += 1,
            ListenEvent::Closed(_) => open -= 1,
            ListenEvent::Complete | ListenEvent::Overrun => {}
        }
        assert!((0..=200).contains(&open));
    }
    while open > 0 {
        heard.closed();
        open -= 1;
    }
}

#[test]
fn sockets_of_another_namespace_are_not_told() {
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    if !in_a_world("sockets_of_another_namespace_are_not_told") {
        return drop(outside);
    }
    let heard = Heard::new();
    let own = outside.local_addr().unwrap().port();
    // The one made in this process before, which is in the namespace too, and nothing else.
    assert_eq!(heard.opened().port, own);
    assert_eq!(heard.next(), ListenEvent::Complete);
}

#[test]
fn a_socket_of_the_kernel_is_the_systems() {
    if !in_a_world("a_socket_of_the_kernel_is_the_systems") {
        return;
    }
    let heard = Heard::with(ListenConfig {
        tracepoints: false,
        ..ListenConfig::default()
    });
    assert_eq!(heard.source.polling(), Some("tracepoints are switched off"));
    assert_eq!(heard.next(), ListenEvent::Complete);
    let mut links = Links::open().unwrap();
    if let Err(error) = links.create_vxlan("vx", 1, 4789) {
        return println!("skipped: {error}");
    }
    links.set_up("vx", true).unwrap();
    let listener = heard.opened();
    assert_eq!((listener.protocol, listener.port), (Transport::Udp, 4789));
    assert!(listener.system, "{listener:?}");
    links.delete("vx").unwrap();
    // The kernel says nothing of it; the next reading finds it gone.
    while heard.closed().port != 4789 {}
}

#[test]
fn after_an_overrun_the_sockets_are_right() {
    if !in_a_world("after_an_overrun_the_sockets_are_right") {
        return;
    }
    let (sender, events) = channel();
    let (go, gate): (Sender<()>, Receiver<()>) = channel();
    let config = ListenConfig {
        receive_buffer: 4096,
        ..ListenConfig::default()
    };
    let stays = UdpSocket::bind("127.0.0.1:5000").unwrap();
    let goes = UdpSocket::bind("127.0.0.1:5001").unwrap();
    let source = ListenSource::start(config, move |event| {
        let held = event == ListenEvent::Complete;
        let _ = sender.send(event);
        if held {
            // The reader is held up until the test has had its way.
            let _ = gate.recv();
        }
    })
    .unwrap();
    let heard = Heard { source, events };
    assert_eq!([heard.opened().port, heard.opened().port], [5000, 5001]);
    assert_eq!(heard.next(), ListenEvent::Complete);
    for _ in 0..500 {
        drop(UdpSocket::bind("127.0.0.1:5002").unwrap());
    }
    drop(goes);
    go.send(()).unwrap();
    let mut overrun = false;
    loop {
        match heard.next() {
            ListenEvent::Overrun => overrun = true,
            ListenEvent::Closed(listener) if listener.port == 5001 => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(overrun && heard.source.counters().overruns >= 1);
    assert!(stays.as_raw_fd() >= 0);
}
