//! Network interfaces made and removed without any program: rtnetlink(7) and /dev/net/tun.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

/// A socket to the calling thread's namespace.
pub(crate) struct Links {
    fd: OwnedFd,
}

impl Links {
    pub(crate) fn open() -> Self {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: socket has no memory arguments.
        let raw = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        assert!(raw >= 0, "{}", io::Error::last_os_error());
        // SAFETY: raw was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Links { fd }
    }

    pub(crate) fn bridge(&self, name: &str) {
        let info = attribute(IFLA_INFO_KIND, b"bridge");
        self.create(name, &[], &info);
    }

    /// A macvtap, which has a character device below it.
    pub(crate) fn macvtap(&self, name: &str, over: &str) {
        let info = attribute(IFLA_INFO_KIND, b"macvtap");
        let link = attribute(IFLA_LINK, &index(over).to_ne_bytes());
        self.create(name, &link, &info);
    }

    pub(crate) fn veth(&self, name: &str, peer: &str) {
        let mut data = ifinfomsg(0);
        data.extend(attribute(IFLA_IFNAME, &text(peer)));
        let peer = attribute(IFLA_INFO_DATA, &attribute(VETH_INFO_PEER, &data));
        let mut info = attribute(IFLA_INFO_KIND, b"veth");
        info.extend(peer);
        self.create(name, &[], &info);
    }

    pub(crate) fn rename(&self, old: &str, new: &str) {
        let mut body = ifinfomsg(index(old));
        body.extend(attribute(IFLA_IFNAME, &text(new)));
        self.request(RTM_NEWLINK, 0, &body);
    }

    pub(crate) fn delete(&self, name: &str) {
        self.request(RTM_DELLINK, 0, &ifinfomsg(index(name)));
    }

    fn create(&self, name: &str, more: &[u8], info: &[u8]) {
        let mut body = ifinfomsg(0);
        body.extend(attribute(IFLA_IFNAME, &text(name)));
        body.extend(more);
        body.extend(attribute(IFLA_LINKINFO, info));
        self.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &body);
    }

    fn request(&self, kind: u16, flags: u16, body: &[u8]) {
        let mut message = Vec::new();
        message.extend((16 + body.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        let mut answer = [0_u8; 4096];
        let fd = self.fd.as_raw_fd();
        // SAFETY: both buffers have the lengths given and live through the calls.
        let got = unsafe {
            let sent = libc::send(fd, message.as_ptr().cast(), message.len(), 0);
            assert_eq!(sent, message.len() as isize);
            libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0)
        };
        assert!(got >= 20, "the kernel answers {got} bytes");
        let error = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
        assert_eq!(error, 0, "{}", io::Error::from_raw_os_error(-error));
    }
}

fn ifinfomsg(index: i32) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = (4 + data.len() as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn index(name: &str) -> i32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: name is a string that ends with zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0, "{name:?}: {}", io::Error::last_os_error());
    index as i32
}

/// A TAP interface that lives as long as this.
pub(crate) struct Tap(#[allow(dead_code, reason = "held open")] File);

impl Tap {
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        const TUNSETIFF: u64 = 0x4004_54ca;
        const IFF_TAP_NO_PI: i16 = 0x1002;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")?;
        // SAFETY: ifreq is plain data for which zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = IFF_TAP_NO_PI;
        // SAFETY: request is an ifreq that lives through the call.
        let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, &raw mut request) };
        if made < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Tap(file))
    }
}
