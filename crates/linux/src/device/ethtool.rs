//! The driver of a virtual network interface, which sysfs does not tell.
//!
//! A veth, ifb or dummy interface has neither a kind (`DEVTYPE`) nor a `driver` link; its driver
//! gives its name to ETHTOOL_GDRVINFO alone. Any user may ask. Source: linux/ethtool.h.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const SIOCETHTOOL: u64 = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 3;
/// The size of `struct ethtool_drvinfo`; `driver` lies at 4 and has 32 bytes.
const DRVINFO: usize = 196;

/// A socket to ask by.
#[derive(Debug)]
pub(super) struct Ethtool {
    fd: OwnedFd,
}

impl Ethtool {
    /// A socket in the calling thread's network namespace; nothing if none can be made.
    pub(super) fn open() -> Option<Self> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: socket has no memory arguments.
        let raw = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
        if raw < 0 {
            return None;
        }
        // SAFETY: raw is a descriptor that was just made and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        Some(Ethtool { fd })
    }

    /// The driver of the interface of this name.
    pub(super) fn driver(&self, interface: &str) -> Option<String> {
        let name = interface.as_bytes();
        if name.len() >= libc::IFNAMSIZ {
            return None;
        }
        #[repr(C, align(8))]
        struct Info([u8; DRVINFO]);
        let mut info = Info([0; DRVINFO]);
        info.0
            .first_chunk_mut()
            .map(|command: &mut [u8; 4]| *command = ETHTOOL_GDRVINFO.to_ne_bytes())?;
        // SAFETY: ifreq is plain data for which zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = from.cast_signed() as libc::c_char;
        }
        request.ifr_ifru.ifru_data = info.0.as_mut_ptr().cast();
        // SAFETY: the request holds a name that ends with zero and a pointer to a whole
        // ethtool_drvinfo that lives through the call.
        let result =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
        let driver = info.0.get(4..36)?.split(|byte| *byte == 0).next()?;
        let driver = std::str::from_utf8(driver).ok()?;
        (result == 0 && !driver.is_empty()).then(|| driver.to_owned())
    }
}
