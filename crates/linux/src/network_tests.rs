#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::*;
use crate::rtnl::Links;

fn in_a_world(test: &str) -> bool {
    crate::world::in_a_world(&format!("network::tests::{test}"))
}

/// Longer than anything takes; what does not come is not waited for in a good run.
const PATIENCE: Duration = Duration::from_secs(20);

struct Heard {
    source: NetworkSource,
    events: Receiver<NetworkEvent>,
}

impl Heard {
    fn start(config: NetworkConfig) -> Heard {
        let (sender, events) = channel();
        let source = NetworkSource::start(config, move |event| drop(sender.send(event))).unwrap();
        Heard { source, events }
    }

    fn next(&self) -> NetworkEvent {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    /// The addresses once they are these.
    fn until(&self, wanted: &[&str]) {
        let mut last = None;
        loop {
            match self.events.recv_timeout(PATIENCE) {
                Ok(NetworkEvent::Usable(usable)) => {
                    let found: Vec<String> =
                        usable.iter().map(|one| one.address.to_string()).collect();
                    if found == wanted {
                        return;
                    }
                    last = Some(found);
                }
                Ok(NetworkEvent::Overrun) => {}
                Err(_) => panic!("expected {wanted:?}, found {last:?} at last"),
            }
        }
    }
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Two ends of a cable without addresses of their own.
fn cable() -> Links {
    let mut links = Links::open().unwrap();
    links.create_veth("va", "vb").unwrap();
    for end in ["va", "vb"] {
        let path = format!("/proc/sys/net/ipv6/conf/{end}/addr_gen_mode");
        // 1: no address of the link by itself; without IPv6 there is none anyway.
        let _ = std::fs::write(path, "1");
    }
    links
}

fn without_link_local() -> NetworkConfig {
    NetworkConfig {
        link_local: false,
        ..NetworkConfig::default()
    }
}

#[test]
fn an_address_is_usable_while_its_interface_has_a_carrier() {
    if !in_a_world("an_address_is_usable_while_its_interface_has_a_carrier") {
        return;
    }
    let mut links = cable();
    links.set_up("lo", true).unwrap();
    let heard = Heard::start(NetworkConfig::default());
    // The loopback's addresses do not count.
    assert_eq!(heard.next(), NetworkEvent::Usable(Vec::new()));
    links.add_address("va", v4(77), 24).unwrap();
    links.set_up("va", true).unwrap();
    // No message tells of the address when the other end is set up.
    links.set_up("vb", true).unwrap();
    let expected = UsableAddress {
        interface: "va".to_owned(),
        address: v4(77),
        prefix: 24,
    };
    assert_eq!(heard.next(), NetworkEvent::Usable(vec![expected]));
    links.set_up("vb", false).unwrap();
    assert_eq!(heard.next(), NetworkEvent::Usable(Vec::new()));
    links.set_up("vb", true).unwrap();
    heard.until(&["192.0.2.77"]);
    links.delete("va").unwrap();
    heard.until(&[]);
}

#[test]
fn what_was_there_before_the_start_is_told_first() {
    if !in_a_world("what_was_there_before_the_start_is_told_first") {
        return;
    }
    let mut links = cable();
    links.add_address("va", v4(1), 24).unwrap();
    links.add_address("vb", v4(2), 24).unwrap();
    links.set_up("va", true).unwrap();
    links.set_up("vb", true).unwrap();
    let heard = Heard::start(NetworkConfig::default());
    let NetworkEvent::Usable(first) = heard.next() else {
        panic!("the first event are the addresses");
    };
    assert_eq!(first.len(), 2);
    links.delete_address("va", v4(1), 24).unwrap();
    heard.until(&["192.0.2.2"]);
}

#[test]
fn an_address_of_the_link_counts_unless_the_switch_says_otherwise() {
    if !in_a_world("an_address_of_the_link_counts_unless_the_switch_says_otherwise") {
        return;
    }
    let mut links = cable();
    links.set_up("va", true).unwrap();
    links.set_up("vb", true).unwrap();
    let all = Heard::start(NetworkConfig::default());
    let wide = Heard::start(without_link_local());
    all.until(&[]);
    wide.until(&[]);
    let link: IpAddr = "169.254.7.7".parse().unwrap();
    links.add_address("va", link, 16).unwrap();
    all.until(&["169.254.7.7"]);
    links.add_address("va", v4(1), 24).unwrap();
    wide.until(&["192.0.2.1"]);
}

#[test]
fn an_address_is_usable_once_nobody_else_has_it() {
    if !in_a_world("an_address_is_usable_once_nobody_else_has_it") {
        return;
    }
    if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
        println!("skipped: the kernel has no IPv6");
        return;
    }
    let mut links = cable();
    links.set_up("va", true).unwrap();
    links.set_up("vb", true).unwrap();
    let heard = Heard::start(without_link_local());
    heard.until(&[]);
    let address: IpAddr = "2001:db8::1".parse().unwrap();
    links.add_address("va", address, 64).unwrap();
    heard.until(&["2001:db8::1"]);
    // The other end has it already: the kernel tells that the detection has failed.
    links.add_address("vb", address, 64).unwrap();
    links.add_address("vb", v4(9), 24).unwrap();
    let NetworkEvent::Usable(found) = heard.next() else {
        panic!("nothing was lost");
    };
    let of_vb: Vec<_> = found.iter().filter(|one| one.interface == "vb").collect();
    assert_eq!(of_vb.len(), 1, "{found:?}");
}

#[test]
fn after_an_overrun_the_addresses_are_right() {
    if !in_a_world("after_an_overrun_the_addresses_are_right") {
        return;
    }
    let mut links = cable();
    links.set_up("va", true).unwrap();
    links.set_up("vb", true).unwrap();
    links.add_address("va", v4(200), 32).unwrap();
    let (sender, events) = channel();
    let (go, gate): (Sender<()>, Receiver<()>) = channel();
    let mut first = true;
    let config = NetworkConfig {
        receive_buffer: 4096,
        ..NetworkConfig::default()
    };
    let source = NetworkSource::start(config, move |event| {
        let _ = sender.send(event);
        if std::mem::take(&mut first) {
            // The reader is held up until the test has had its way.
            let _ = gate.recv();
        }
    })
    .unwrap();
    let heard = Heard { source, events };
    heard.until(&["192.0.2.200"]);
    // With a prefix of 32 none goes with another one.
    for round in 0..200 {
        let last = 1 + (round % 100) as u8;
        links.add_address("va", v4(last), 32).unwrap();
        if round != 199 {
            links.delete_address("va", v4(last), 32).unwrap();
        }
    }
    links.delete_address("va", v4(200), 32).unwrap();
    go.send(()).unwrap();
    assert_eq!(heard.next(), NetworkEvent::Overrun);
    heard.until(&["192.0.2.100"]);
    assert!(heard.source.counters().overruns >= 1);
    assert!(heard.source.counters().reads >= 2);
}

#[test]
fn a_message_of_another_process_is_not_believed() {
    if !in_a_world("a_message_of_another_process_is_not_believed") {
        return;
    }
    let mut links = cable();
    let heard = Heard::start(NetworkConfig::default());
    heard.until(&[]);
    let mut message = NetlinkMessage::new(
        NetlinkHeader::default(),
        NetlinkPayload::from(RouteNetlinkMessage::NewLink(LinkMessage::default())),
    );
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    // The process's first netlink socket has its number as its port.
    let liar = Socket::new(NETLINK_ROUTE).unwrap();
    let mut sent = 0;
    for line in std::fs::read_to_string("/proc/net/netlink")
        .unwrap()
        .lines()
        .skip(1)
    {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port: u32 = fields[2].parse().unwrap();
        if fields[1] == "0" && port != 0 {
            sent += usize::from(liar.send_to(&bytes, &SocketAddr::new(port, 0), 0).is_ok());
        }
    }
    assert!(sent > 0);
    links.set_up("vb", true).unwrap();
    links.set_up("va", true).unwrap();
    links.add_address("va", v4(1), 24).unwrap();
    heard.until(&["192.0.2.1"]);
    assert!(heard.source.counters().foreign >= 1);
}

#[test]
fn any_bytes_are_read_without_harm() {
    let counters = Atomics::default();
    let mut seed = 1_u64;
    for length in 0..2000 {
        let bytes: Vec<u8> = (0..length % 200)
            .map(|_| {
                seed = seed
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (seed >> 33) as u8
            })
            .collect();
        let mut table = Table::default();
        for message in messages(&bytes, &counters) {
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                table.apply(&message);
            }
        }
    }
    // A length of zero ends the datagram, and does not go on for ever.
    assert_eq!(messages(&[0; 64], &counters).len(), 0);
    assert!(counters.malformed.load(Ordering::Relaxed) > 0);
}
