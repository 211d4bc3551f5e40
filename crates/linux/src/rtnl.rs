//! Network devices that are made and unmade at will: bridges, veth pairs and taps.
//!
//! | device | made by | lives until |
//! |---|---|---|
//! | bridge | RTM_NEWLINK, kind `bridge` | [`Links::delete`] |
//! | veth | RTM_NEWLINK, kind `veth`, with its peer | [`Links::delete`] of either end |
//! | tap | TUNSETIFF on `/dev/net/tun` | the [`Tap`] is dropped, or, if persistent, [`Links::delete`] |
//!
//! Each call waits for the kernel's acknowledgement: when it returns, sysfs and the uevent have
//! happened. All of them need CAP_NET_ADMIN in the network namespace.
//!
//! Sources: rtnetlink(7), netlink(7), veth(4), Documentation/networking/tuntap.rst.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// The longest name of a network device: IFNAMSIZ of linux/if.h without the NUL.
pub const NAME_LIMIT: usize = 15;

/// The device that every way to make taps goes through.
const TUN: &str = "/dev/net/tun";

/// A device that could not be made, changed or deleted.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} the network device '{name}': {cause}")]
pub struct LinkError {
    /// What was tried.
    pub verb: &'static str,
    /// The device.
    pub name: String,
    /// Why it did not work.
    pub cause: io::Error,
}

/// The network devices of the namespace in which this was opened.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
    sequence: u32,
}

impl Links {
    /// Opens a rtnetlink socket.
    ///
    /// # Errors
    ///
    /// Those of socket(2).
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Links {
            socket,
            sequence: 0,
        })
    }

    /// Makes a bridge, which is a device without hardware or node.
    ///
    /// # Errors
    ///
    /// EEXIST if there is a device of this name, EPERM without CAP_NET_ADMIN, EOPNOTSUPP if the kernel
    /// has no bridges.
    pub fn create_bridge(&mut self, name: &str) -> Result<(), LinkError> {
        let info = vec![LinkInfo::Kind(InfoKind::Bridge)];
        self.create(name, info)
    }

    /// Makes two devices that are the ends of a cable.
    ///
    /// # Errors
    ///
    /// As [`create_bridge`](Links::create_bridge).
    pub fn create_veth(&mut self, name: &str, peer: &str) -> Result<(), LinkError> {
        check_name("make", peer)?;
        let peer = InfoVeth::Peer(named(peer));
        let info = vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(peer)),
        ];
        self.create(name, info)
    }

    /// Makes a VXLAN device, for which the kernel listens at a UDP port while it is up.
    ///
    /// # Errors
    ///
    /// As [`create_bridge`](Links::create_bridge).
    pub fn create_vxlan(&mut self, name: &str, id: u32, port: u16) -> Result<(), LinkError> {
        let info = vec![
            LinkInfo::Kind(InfoKind::Vxlan),
            LinkInfo::Data(InfoData::Vxlan(vec![
                InfoVxlan::Id(id),
                InfoVxlan::Port(port),
            ])),
        ];
        self.create(name, info)
    }

    /// Deletes a device.
    ///
    /// # Errors
    ///
    /// ENODEV if there is none of this name, EOPNOTSUPP if it is hardware.
    pub fn delete(&mut self, name: &str) -> Result<(), LinkError> {
        check_name("delete", name)?;
        let message = RouteNetlinkMessage::DelLink(named(name));
        self.request("delete", name, message, 0)
    }

    /// Gives a device another name.
    ///
    /// # Errors
    ///
    /// ENODEV if there is none of this name, EEXIST if the other one is taken, EBUSY from kernels
    /// before 6.5 if the device is up.
    pub fn rename(&mut self, name: &str, new: &str) -> Result<(), LinkError> {
        check_name("rename", name)?;
        check_name("rename", new)?;
        let mut link = named(new);
        link.header.index = rustix::net::netdevice::name_to_index(self.socket_fd(), name)
            .map_err(|errno| error("rename", name, errno.into()))?;
        self.request("rename", name, RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Sets a device up or down.
    ///
    /// # Errors
    ///
    /// ENODEV if there is none of this name.
    pub fn set_up(&mut self, name: &str, up: bool) -> Result<(), LinkError> {
        let verb = if up { "set up" } else { "set down" };
        check_name(verb, name)?;
        let mut link = named(name);
        link.header.change_mask = LinkFlags::Up;
        if up {
            link.header.flags = LinkFlags::Up;
        }
        self.request(verb, name, RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Gives a device an address.
    ///
    /// # Errors
    ///
    /// ENODEV if there is no device of this name, EEXIST if it has the address.
    pub fn add_address(
        &mut self,
        name: &str,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), LinkError> {
        let message = self.address("address", name, address, prefix)?;
        let message = RouteNetlinkMessage::NewAddress(message);
        self.request("address", name, message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Takes an address from a device.
    ///
    /// # Errors
    ///
    /// ENODEV if there is no device of this name, EADDRNOTAVAIL if it has not the address.
    pub fn delete_address(
        &mut self,
        name: &str,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), LinkError> {
        let message = self.address("take an address from", name, address, prefix)?;
        let message = RouteNetlinkMessage::DelAddress(message);
        self.request("take an address from", name, message, 0)
    }

    fn address(
        &self,
        verb: &'static str,
        name: &str,
        address: IpAddr,
        prefix: u8,
    ) -> Result<AddressMessage, LinkError> {
        check_name(verb, name)?;
        let mut message = AddressMessage::default();
        message.header.index = rustix::net::netdevice::name_to_index(self.socket_fd(), name)
            .map_err(|errno| error(verb, name, errno.into()))?;
        message.header.family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.prefix_len = prefix;
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        Ok(message)
    }

    fn socket_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is that of the socket, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }

    fn create(&mut self, name: &str, info: Vec<LinkInfo>) -> Result<(), LinkError> {
        check_name("make", name)?;
        let mut link = named(name);
        link.attributes.push(LinkAttribute::LinkInfo(info));
        let message = RouteNetlinkMessage::NewLink(link);
        self.request("make", name, message, NLM_F_CREATE | NLM_F_EXCL)
    }

    fn request(
        &mut self,
        verb: &'static str,
        name: &str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), LinkError> {
        self.exchange(message, flags)
            .map_err(|cause| error(verb, name, cause))
    }

    /// Sends a request and waits for its acknowledgement.
    fn exchange(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            // An acknowledgement repeats the request, behind 36 bytes of headers.
            let mut answer = Vec::with_capacity(4096);
            match self.socket.recv(&mut answer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            if let NetlinkPayload::Error(answer) = answer.payload {
                return match answer.code {
                    None => Ok(()),
                    Some(_) => Err(answer.to_io()),
                };
            }
        }
    }
}

/// A tap: a network device whose other end is this descriptor.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
}

impl Tap {
    /// Makes a tap, which goes when this value is dropped.
    ///
    /// # Errors
    ///
    /// ENOENT or ENXIO if the machine has no TUN driver, EACCES if we may not open `/dev/net/tun`, EBUSY
    /// if the name is taken, EPERM without CAP_NET_ADMIN.
    pub fn create(name: &str) -> Result<Self, LinkError> {
        check_name("make", name)?;
        let failed = |cause| error("make", name, cause);
        let file = File::options()
            .read(true)
            .write(true)
            .open(TUN)
            .map_err(failed)?;
        // SAFETY: an ifreq is plain data for which zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *place = byte as libc::c_char;
        }
        // The flags fit: IFF_TAP is 2, IFF_NO_PI 0x1000, IFF_TUN_EXCL 0x8000 of linux/if_tun.h.
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_TUN_EXCL;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF takes an ifreq, and `request` is one that outlives the call.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        if done < 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        Ok(Tap {
            file,
            name: name.to_owned(),
        })
    }

    /// The device's name when it was made.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says whether the device stays when this value is dropped.
    ///
    /// # Errors
    ///
    /// Those of ioctl(2).
    pub fn set_persistent(&self, persistent: bool) -> Result<(), LinkError> {
        // SAFETY: TUNSETPERSIST takes a number, no pointer.
        let done = unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                libc::TUNSETPERSIST as _,
                libc::c_ulong::from(persistent),
            )
        };
        if done < 0 {
            return Err(error("keep", &self.name, io::Error::last_os_error()));
        }
        Ok(())
    }
}

impl AsFd for Tap {
    /// Reads what is sent through the device, and writes what it receives.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn error(verb: &'static str, name: &str, cause: io::Error) -> LinkError {
    LinkError {
        verb,
        name: name.to_owned(),
        cause,
    }
}

/// The rules of the kernel's `dev_valid_name`; an overlong name would be cut in an ifreq.
fn check_name(verb: &'static str, name: &str) -> Result<(), LinkError> {
    let good = !matches!(name, "" | "." | "..")
        && name.len() <= NAME_LIMIT
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace());
    if good {
        return Ok(());
    }
    let reason = "a name has 1 to 15 bytes, and no slash, colon or white space";
    let cause = io::Error::new(io::ErrorKind::InvalidInput, reason);
    Err(error(verb, name, cause))
}

/// A message about the device of this name.
fn named(name: &str) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::IfName(name.to_owned()));
    link
}

#[cfg(test)]
#[path = "rtnl_tests.rs"]
mod tests;
