//! The kernel's list of sockets (NETLINK_SOCK_DIAG).
//!
//! ```text
//! request    nlmsghdr (16), family (1), protocol (1), extensions (1), zero (1), states (4), id (48)
//! answer     nlmsghdr (16), family (1), state (1), timer (1), retransmissions (1), id (48),
//!            expires (4), receive queue (4), send queue (4), uid (4), inode (4), attributes
//! id         source port (2, big-endian), destination port (2), source (16), destination (16),
//!            interface (4), cookie (8)
//! attribute  length (2), type (2), value; type 10 is the protocol (1)
//! ```
//!
//! A message about a destroyed socket has the form of an answer, with the protocol as an attribute.
//!
//! Sources: sock_diag(7), linux/inet_diag.h.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use arrival_model::port::Transport;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;

use super::owners::Owner;

/// NETLINK_SOCK_DIAG of linux/netlink.h.
const PROTOCOL: isize = 4;
/// SOCK_DIAG_BY_FAMILY of linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
/// NLM_F_REQUEST, NLM_F_DUMP, and that a dump was disturbed.
const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;
const DUMP_INTERRUPTED: u16 = 0x10;
const DONE: u16 = 3;
const ERROR: u16 = 2;
/// SKNLGRP_INET_TCP_DESTROY and the three that follow it.
const DESTROY: [u32; 4] = [1, 2, 3, 4];
/// TCP_LISTEN and TCP_CLOSE of net/tcp_states.h, as bits; a UDP socket without a peer is "closed".
const LISTENING: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// INET_DIAG_PROTOCOL.
const ATTRIBUTE_PROTOCOL: u16 = 10;
/// How long an answer is before its attributes.
const ANSWER: usize = 72;
/// How much is read at once.
const MESSAGE: usize = 64 * 1024;
/// How often a list is read again that changes while it is.
const DUMPS: usize = 8;

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What no other socket has as long as the machine runs.
    pub cookie: u64,
    /// Its protocol.
    pub protocol: Transport,
    /// Where it listens.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The user that made it.
    pub uid: u32,
    /// Its inode.
    pub inode: u32,
    /// The processes that have it, as far as they can be seen.
    pub owners: Vec<Owner>,
    /// Whether no process has it: it is the kernel's own.
    pub system: bool,
}

/// One message about a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) listener: Listener,
    connected: bool,
}

/// What a datagram holds.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) told: Vec<Told>,
    done: bool,
    interrupted: bool,
    error: Option<i32>,
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..)?.first_chunk::<N>().copied()
}

/// Reads the messages of a datagram; `protocol` is what was asked for, none where the message says it.
pub(super) fn read(datagram: &[u8], protocol: Option<Transport>) -> Read {
    let mut read = Read::default();
    let mut rest = datagram;
    while let Some(length) = bytes::<4>(rest, 0).map(|four| u32::from_ne_bytes(four) as usize) {
        let Some(message) = rest.get(..length).filter(|_| length >= 16) else {
            break;
        };
        let kind = bytes::<2>(message, 4).map_or(0, u16::from_ne_bytes);
        let flags = bytes::<2>(message, 6).map_or(0, u16::from_ne_bytes);
        read.interrupted |= flags & DUMP_INTERRUPTED != 0;
        match kind {
            DONE => read.done = true,
            ERROR => read.error = Some(bytes::<4>(message, 16).map_or(0, i32::from_ne_bytes)),
            BY_FAMILY => read
                .told
                .extend(message.get(16..).and_then(|body| told(body, protocol))),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    read
}

fn told(body: &[u8], protocol: Option<Transport>) -> Option<Told> {
    let [family] = bytes::<1>(body, 0)?;
    let source = bytes::<16>(body, 8)?;
    let address = match family {
        AF_INET => {
            let [a, b, c, d, ..] = source;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(source)),
        _ => return None,
    };
    let peer = u16::from_be_bytes(bytes(body, 6)?);
    let number = |at: usize| Some(u32::from_ne_bytes(bytes(body, at)?));
    let cookie = u64::from(number(44)?) | u64::from(number(48)?) << 32;
    let protocol = match protocol {
        Some(protocol) => protocol,
        None => protocol_of(body.get(ANSWER..)?)?,
    };
    Some(Told {
        listener: Listener {
            cookie,
            protocol,
            address,
            port: u16::from_be_bytes(bytes(body, 4)?),
            uid: number(64)?,
            inode: number(68)?,
            owners: Vec::new(),
            system: false,
        },
        connected: peer != 0,
    })
}

/// The protocol among the attributes.
fn protocol_of(mut attributes: &[u8]) -> Option<Transport> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes(attributes, 0)?));
        let kind = u16::from_ne_bytes(bytes(attributes, 2)?);
        if kind == ATTRIBUTE_PROTOCOL {
            let [protocol] = bytes::<1>(attributes, 4)?;
            return match protocol {
                TCP => Some(Transport::Tcp),
                UDP => Some(Transport::Udp),
                _ => None,
            };
        }
        if length < 4 {
            return None;
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// Sockets to ask the kernel by, and to hear which sockets are gone.
pub(super) struct Diag {
    questions: Socket,
    destroyed: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

fn borrow(socket: &Socket) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is that of the socket, which the result borrows.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

impl Diag {
    /// Opens the sockets in the calling thread's network namespace.
    pub(super) fn open(receive_buffer: usize) -> io::Result<Self> {
        let mut destroyed = Socket::new(PROTOCOL)?;
        destroyed.set_non_blocking(true)?;
        let forced = sockopt::set_socket_recv_buffer_size_force(borrow(&destroyed), receive_buffer);
        if forced.is_err() {
            sockopt::set_socket_recv_buffer_size(borrow(&destroyed), receive_buffer)?;
        }
        destroyed.bind_auto()?;
        for group in DESTROY {
            destroyed.add_membership(group)?;
        }
        let mut questions = Socket::new(PROTOCOL)?;
        questions.bind_auto()?;
        questions.connect(&SocketAddr::new(0, 0))?;
        Ok(Diag {
            questions,
            destroyed,
            sequence: 0,
            buffer: Vec::with_capacity(MESSAGE),
        })
    }

    /// Can be read when sockets are gone.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        borrow(&self.destroyed)
    }

    /// Reads which sockets are gone until there is no more; whether the kernel dropped some.
    pub(super) fn gone(&mut self, mut each: impl FnMut(u64)) -> bool {
        let mut dropped = false;
        loop {
            self.buffer.clear();
            match self.destroyed.recv_from(&mut self.buffer, 0) {
                Ok((_, sender)) if sender.port_number() != 0 => {}
                Ok(_) => {
                    for told in read(&self.buffer, None).told {
                        each(told.listener.cookie);
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => dropped = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return dropped,
            }
        }
    }

    /// All listening sockets.
    pub(super) fn list(&mut self) -> io::Result<Vec<Listener>> {
        let mut all = Vec::new();
        for family in [AF_INET, AF_INET6] {
            for protocol in [Transport::Tcp, Transport::Udp] {
                for attempt in 1.. {
                    let (found, whole) = self.dump(family, protocol)?;
                    if whole || attempt == DUMPS {
                        all.extend(found);
                        break;
                    }
                }
            }
        }
        Ok(all)
    }

    fn dump(&mut self, family: u8, protocol: Transport) -> io::Result<(Vec<Listener>, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        let (number, states) = match protocol {
            Transport::Tcp => (TCP, LISTENING),
            Transport::Udp => (UDP, UNCONNECTED),
        };
        let mut request = Vec::with_capacity(72);
        request.extend(72_u32.to_ne_bytes());
        request.extend(BY_FAMILY.to_ne_bytes());
        request.extend((REQUEST | DUMP).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend(0_u32.to_ne_bytes());
        request.extend([family, number, 0, 0]);
        request.extend(states.to_ne_bytes());
        request.extend([0; 48]);
        self.questions.send(&request, 0)?;
        let (mut found, mut whole) = (Vec::new(), true);
        loop {
            self.buffer.clear();
            let (_, sender) = self.questions.recv_from(&mut self.buffer, 0)?;
            if sender.port_number() != 0 {
                continue;
            }
            let read = read(&self.buffer, Some(protocol));
            whole &= !read.interrupted;
            let listening = read.told.into_iter().filter(|told| {
                told.listener.port != 0 && (protocol == Transport::Tcp || !told.connected)
            });
            found.extend(listening.map(|told| told.listener));
            if let Some(error) = read.error {
                // The kernel has none of such sockets: no IPv6, say.
                if error == -libc::ENOENT {
                    return Ok((found, whole));
                }
                return Err(io::Error::from_raw_os_error(-error));
            }
            if read.done {
                return Ok((found, whole));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_read_without_harm() {
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) as u8
        };
        for length in 0..3000_usize {
            let mut datagram: Vec<u8> = (0..length % 300).map(|_| next()).collect();
            if length % 2 == 0
                && let Some(head) = datagram.first_chunk_mut::<6>()
            {
                // A plausible message, so that what is in it is read too.
                let own = (length % 300) as u32;
                let [a, b, c, d] = own.to_ne_bytes();
                *head = [a, b, c, d, BY_FAMILY as u8, 0];
                if let Some(family) = datagram.get_mut(16) {
                    *family = AF_INET;
                }
            }
            let _ = read(&datagram, Some(Transport::Tcp));
            let _ = read(&datagram, None);
        }
        assert!(read(&[0; 64], None).told.is_empty());
    }
}
