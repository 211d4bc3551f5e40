//! Which usable IP addresses the network namespace has.
//!
//! ```text
//! an address is usable iff
//!   its interface exists, is no loopback, is up (IFF_UP) and has a carrier (IFF_LOWER_UP)
//!   its scope is wider than host
//!   it is not tentative, unless it is optimistic; its duplicate detection has not failed
//! a deprecated address is usable; an address of a link alone is, unless the switch says otherwise
//! ```
//!
//! A carrier that goes is told by a message of the link alone, so links are listened to as well. What is
//! told is the set after everything that could be read has been: addresses that are replaced do not
//! flap. After an overrun of the queue both tables are read anew.
//!
//! Sources: rtnetlink(7), netlink(7), linux/if_addr.h; facts on IP_ADDRESS_AVAILABILITY measured with
//! veth pairs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;

use crate::worker::{Rest, Woken, Worker};

/// RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR of linux/rtnetlink.h.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// NLM_F_DUMP_INTR of linux/netlink.h: the table changed while it was written out.
const DUMP_INTERRUPTED: u16 = 0x10;
/// How often a table is read again that changes while it is.
const DUMPS: usize = 16;
/// How long after tables that could not be read they are tried again.
const RETRY: Duration = Duration::from_secs(1);
/// The longest message of rtnetlink that is read at once; the kernel makes them no longer than 32 KiB.
const MESSAGE: usize = 64 * 1024;
/// The most addresses, and the most links, that are kept.
const LIMIT: usize = 65_536;

/// What the source is to do.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Whether addresses that are valid on their link alone count (fe80::/10, 169.254.0.0/16).
    pub link_local: bool,
    /// The size of the socket's queue in bytes.
    pub receive_buffer: usize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        NetworkConfig {
            link_local: true,
            receive_buffer: 1024 * 1024,
        }
    }
}

/// An address that can be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsableAddress {
    /// The name of its interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// The length of its prefix in bits.
    pub prefix: u8,
}

/// What the source delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// The addresses that are usable; at the start, and whenever they are others.
    Usable(Vec<UsableAddress>),
    /// The kernel dropped messages; the tables have been read again, what they say follows.
    Overrun,
}

/// What the source has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Messages that were read.
    pub messages: u64,
    /// How often the kernel dropped some.
    pub overruns: u64,
    /// How often the tables were read, the first time included.
    pub reads: u64,
    /// Messages that did not come from the kernel.
    pub foreign: u64,
    /// Messages that could not be understood.
    pub malformed: u64,
    /// Links and addresses that were too many to keep.
    pub too_many: u64,
    /// How often the tables could not be read.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct Atomics {
    messages: AtomicU64,
    overruns: AtomicU64,
    reads: AtomicU64,
    foreign: AtomicU64,
    malformed: AtomicU64,
    too_many: AtomicU64,
    failures: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    name: String,
    carries: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    prefix: u8,
    good: bool,
}

/// The links and addresses, as messages tell of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Table {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<(u32, IpAddr), Address>,
}

impl Table {
    /// Takes in a message; false if the table is full.
    fn apply(&mut self, message: &RouteNetlinkMessage) -> bool {
        // The groups bring nothing else that matters here.
        #[allow(clippy::wildcard_enum_match_arm)]
        match message {
            RouteNetlinkMessage::NewLink(link) => {
                let known = self.links.contains_key(&link.header.index);
                if !known && self.links.len() >= LIMIT {
                    return false;
                }
                self.links.insert(link.header.index, Link::of(link));
            }
            RouteNetlinkMessage::DelLink(link) => {
                self.links.remove(&link.header.index);
            }
            RouteNetlinkMessage::NewAddress(message) => {
                let Some(address) = address_of(message) else {
                    return true;
                };
                let key = (message.header.index, address);
                if !self.addresses.contains_key(&key) && self.addresses.len() >= LIMIT {
                    return false;
                }
                self.addresses.insert(key, Address::of(message));
            }
            RouteNetlinkMessage::DelAddress(message) => {
                if let Some(address) = address_of(message) {
                    self.addresses.remove(&(message.header.index, address));
                }
            }
            _ => {}
        }
        true
    }

    fn usable(&self, link_local: bool) -> BTreeSet<UsableAddress> {
        let usable = self.addresses.iter().filter_map(|((index, ip), address)| {
            let link = self.links.get(index).filter(|link| link.carries)?;
            let counts = link_local || !is_link_local(*ip);
            (address.good && counts).then(|| UsableAddress {
                interface: link.name.clone(),
                address: *ip,
                prefix: address.prefix,
            })
        });
        usable.collect()
    }
}

impl Link {
    fn of(message: &LinkMessage) -> Self {
        let flags = message.header.flags;
        let name = message.attributes.iter().find_map(|attribute| {
            // What else there is, is many.
            #[allow(clippy::wildcard_enum_match_arm)]
            match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            }
        });
        Link {
            name: name.unwrap_or_else(|| format!("if{}", message.header.index)),
            carries: flags.contains(LinkFlags::Up | LinkFlags::LowerUp)
                && !flags.contains(LinkFlags::Loopback),
        }
    }
}

impl Address {
    fn of(message: &AddressMessage) -> Self {
        // The header has room for eight flags only; the attribute has all.
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        for attribute in &message.attributes {
            if let AddressAttribute::Flags(all) = attribute {
                flags = *all;
            }
        }
        let wide = match message.header.scope {
            AddressScope::Universe | AddressScope::Site | AddressScope::Link => true,
            AddressScope::Host | AddressScope::Nowhere => false,
            AddressScope::Other(scope) => scope < 254,
            // The enumeration may grow; a scope that is not known is no host's.
            _ => true,
        };
        let checked =
            !flags.contains(AddressFlags::Tentative) || flags.contains(AddressFlags::Optimistic);
        Address {
            prefix: message.header.prefix_len,
            good: wide && checked && !flags.contains(AddressFlags::Dadfailed),
        }
    }
}

/// The address of the interface itself: IFA_LOCAL, which a point-to-point link has beside its peer's.
fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let mut address = None;
    for attribute in &message.attributes {
        // What else there is, is many.
        #[allow(clippy::wildcard_enum_match_arm)]
        match attribute {
            AddressAttribute::Local(local) => return Some(*local),
            AddressAttribute::Address(other) => address = Some(*other),
            _ => {}
        }
    }
    address
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// A running source; dropping it ends it.
#[derive(Debug)]
pub struct NetworkSource {
    counters: Arc<Atomics>,
    _worker: Worker,
}

impl NetworkSource {
    /// Opens the sockets in the calling thread's network namespace and starts a thread, which alone
    /// calls the sink; its first event are the addresses that are usable.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and of starting a thread.
    pub fn start(
        config: NetworkConfig,
        sink: impl FnMut(NetworkEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let mut events = Socket::new(NETLINK_ROUTE)?;
        events.set_non_blocking(true)?;
        // Without CAP_NET_ADMIN the kernel's own limit holds.
        let forced =
            sockopt::set_socket_recv_buffer_size_force(borrow(&events), config.receive_buffer);
        if forced.is_err() {
            sockopt::set_socket_recv_buffer_size(borrow(&events), config.receive_buffer)?;
        }
        events.bind(&SocketAddr::new(0, GROUPS))?;
        let mut questions = Socket::new(NETLINK_ROUTE)?;
        questions.bind_auto()?;
        questions.connect(&SocketAddr::new(0, 0))?;
        let counters = Arc::new(Atomics::default());
        let mut ears = Ears {
            events,
            questions,
            sequence: 0,
            table: Table::default(),
            told: None,
            stale: false,
            link_local: config.link_local,
            counters: Arc::clone(&counters),
            sink: Box::new(sink),
        };
        let worker = Worker::start("arrival-network", move |rest| ears.run(rest))?;
        Ok(NetworkSource {
            counters,
            _worker: worker,
        })
    }

    /// What the source has counted so far.
    pub fn counters(&self) -> NetworkCounters {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        NetworkCounters {
            messages: of(&self.counters.messages),
            overruns: of(&self.counters.overruns),
            reads: of(&self.counters.reads),
            foreign: of(&self.counters.foreign),
            malformed: of(&self.counters.malformed),
            too_many: of(&self.counters.too_many),
            failures: of(&self.counters.failures),
        }
    }
}

struct Ears {
    events: Socket,
    questions: Socket,
    sequence: u32,
    table: Table,
    told: Option<BTreeSet<UsableAddress>>,
    /// Whether the tables could not be read.
    stale: bool,
    link_local: bool,
    counters: Arc<Atomics>,
    sink: Box<dyn FnMut(NetworkEvent) + Send>,
}

impl Ears {
    fn run(&mut self, rest: &Rest) {
        self.read_again();
        loop {
            let mut overrun = false;
            while self.drain() {
                // The socket is read to its end before the tables are: what is dropped while it is
                // full would be missed.
                overrun = true;
                count(&self.counters.overruns);
                self.read_again();
            }
            if overrun {
                (self.sink)(NetworkEvent::Overrun);
            }
            self.tell();
            match rest.wait(&[borrow(&self.events)], self.stale.then_some(RETRY)) {
                Woken::End => return,
                Woken::Late => self.read_again(),
                Woken::Ready(_) => {}
            }
        }
    }

    fn tell(&mut self) {
        if self.stale && self.told.is_none() {
            return;
        }
        let usable = self.table.usable(self.link_local);
        if self.told.as_ref() != Some(&usable) {
            let addresses = usable.iter().cloned().collect();
            self.told = Some(usable);
            (self.sink)(NetworkEvent::Usable(addresses));
        }
    }

    /// Reads messages until there is none; whether the kernel dropped some.
    fn drain(&mut self) -> bool {
        let mut dropped = false;
        let mut buffer = Vec::with_capacity(MESSAGE);
        loop {
            buffer.clear();
            match self.events.recv_from(&mut buffer, 0) {
                Ok((_, sender)) if sender.port_number() != 0 => count(&self.counters.foreign),
                Ok(_) => {
                    for message in messages(&buffer, &self.counters) {
                        self.take(&message);
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => dropped = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return dropped,
            }
        }
    }

    fn take(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) {
        if let NetlinkPayload::InnerMessage(message) = &message.payload {
            count(&self.counters.messages);
            if !self.table.apply(message) {
                count(&self.counters.too_many);
            }
        }
    }

    /// Reads both tables; if that fails what was known stays, and it is tried again later.
    fn read_again(&mut self) {
        count(&self.counters.reads);
        let before = std::mem::take(&mut self.table);
        self.stale = self.read_tables().is_err();
        if self.stale {
            count(&self.counters.failures);
            self.table = before;
        }
    }

    fn read_tables(&mut self) -> io::Result<()> {
        let link = || RouteNetlinkMessage::GetLink(LinkMessage::default());
        let address = || RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let questions: [&dyn Fn() -> RouteNetlinkMessage; 2] = [&link, &address];
        for question in questions {
            for _ in 0..DUMPS {
                // If it changed meanwhile what was read is kept, and read once more.
                if self.dump(question())? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Reads one table; false if it changed meanwhile.
    fn dump(&mut self, question: RouteNetlinkMessage) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.questions.send(&bytes, 0)?;
        let mut whole = true;
        let mut buffer = Vec::with_capacity(MESSAGE);
        loop {
            buffer.clear();
            let (_, sender) = self.questions.recv_from(&mut buffer, 0)?;
            if sender.port_number() != 0 {
                count(&self.counters.foreign);
                continue;
            }
            for message in messages(&buffer, &self.counters) {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                whole &= message.header.flags & DUMP_INTERRUPTED == 0;
                if let NetlinkPayload::Error(error) = &message.payload {
                    return Err(error.to_io());
                }
                if matches!(message.payload, NetlinkPayload::Done(_)) {
                    return Ok(whole);
                }
                self.take(&message);
            }
        }
    }
}

fn borrow(socket: &Socket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is that of the socket, which the result borrows.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// The messages of a datagram; what cannot be understood ends them.
fn messages(datagram: &[u8], counters: &Atomics) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let mut messages = Vec::new();
    let mut rest = datagram;
    // A header has 16 bytes, the first four of which are the length of the message.
    while let Some(length) = rest.first_chunk::<4>().filter(|_| rest.len() >= 16) {
        let length = u32::from_ne_bytes(*length) as usize;
        let Some(own) = rest.get(..length).filter(|_| length >= 16) else {
            count(&counters.malformed);
            break;
        };
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(own) {
            Ok(message) => messages.push(message),
            Err(_) => count(&counters.malformed),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
