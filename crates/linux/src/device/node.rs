//! Opening the node of a device, for those who have no right of their own to it.
//!
//! What is opened must be the device that is meant: the node's number is compared with the one that the kernel
//! gives in sysfs, links are not followed, and nothing but character and block devices counts.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use arrival_model::error::Win32Error;
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, major, minor, open};
use rustix::io::Errno;

/// What the descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    ReadWrite,
}

/// Why a node is not opened.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The system refused.
    #[error("cannot open {node}: {cause}")]
    Io {
        /// The node.
        node: String,
        /// Why not.
        cause: Errno,
    },
    /// The kernel has no such device any more, or the node is not its.
    #[error("{node} is not the device's node any more")]
    Replaced {
        /// The node.
        node: String,
    },
}

impl NodeError {
    /// The Win32 code of the case.
    pub fn code(&self) -> Win32Error {
        match self {
            NodeError::Io { cause, .. } => match *cause {
                Errno::BUSY => Win32Error::BUSY,
                Errno::ACCESS | Errno::PERM | Errno::ROFS => Win32Error::ACCESS_DENIED,
                Errno::NOENT | Errno::NXIO | Errno::NODEV => Win32Error::NO_SUCH_DEVICE,
                _ => Win32Error::GEN_FAILURE,
            },
            NodeError::Replaced { .. } => Win32Error::NO_SUCH_DEVICE,
        }
    }
}

/// Opens the node of the device at `devpath` below the sysfs mount.
///
/// The open itself does not wait for a carrier or a peer; the descriptor does wait afterwards, as usual. Some
/// drivers take long even so: call this where that harms nobody.
///
/// # Errors
///
/// If there is no such node, or it is another device's.
pub fn open_node(
    sysfs: &Path,
    devpath: &str,
    node: &str,
    access: Access,
) -> Result<OwnedFd, NodeError> {
    let failed = |cause| NodeError::Io {
        node: node.to_owned(),
        cause,
    };
    let mode = match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let flags = mode | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = open(node, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&opened).map_err(failed)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let number = number_of(&sysfs.join(devpath.trim_start_matches('/'))).map_err(|_| {
        NodeError::Replaced {
            node: node.to_owned(),
        }
    })?;
    let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    if !is_device || number != (major(stat.st_rdev), minor(stat.st_rdev)) {
        return Err(NodeError::Replaced {
            node: node.to_owned(),
        });
    }
    let flags = fcntl_getfl(&opened).map_err(failed)?;
    fcntl_setfl(&opened, flags.difference(OFlags::NONBLOCK)).map_err(failed)?;
    Ok(opened)
}

/// The device number that the kernel gives: `dev`, such as `189:3`.
fn number_of(device: &Path) -> io::Result<(u32, u32)> {
    let text = fs::read_to_string(device.join("dev"))?;
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let (major, minor) = text.trim_end().split_once(':').ok_or_else(bad)?;
    Ok((
        major.parse().map_err(|_| bad())?,
        minor.parse().map_err(|_| bad())?,
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NULL: &str = "/devices/virtual/mem/null";

    #[test]
    fn a_node_is_opened_as_the_device_that_it_is() {
        let sysfs = Path::new("/sys");
        let opened = open_node(sysfs, NULL, "/dev/null", Access::ReadWrite).unwrap();
        assert!(!fcntl_getfl(&opened).unwrap().contains(OFlags::NONBLOCK));
        let read_only = open_node(sysfs, NULL, "/dev/null", Access::Read).unwrap();
        assert_eq!(rustix::io::write(&read_only, b"x"), Err(Errno::BADF));
    }

    #[test]
    fn another_devices_node_or_none_is_refused() {
        let sysfs = Path::new("/sys");
        let code = |devpath, node| {
            open_node(sysfs, devpath, node, Access::Read)
                .unwrap_err()
                .code()
        };
        assert_eq!(code(NULL, "/dev/zero"), Win32Error::NO_SUCH_DEVICE);
        assert_eq!(
            code("/devices/virtual/mem/nothing", "/dev/null"),
            Win32Error::NO_SUCH_DEVICE
        );
        assert_eq!(
            code(NULL, "/dev/nothing-of-the-kind"),
            Win32Error::NO_SUCH_DEVICE
        );
        assert_eq!(code(NULL, "/etc/passwd"), Win32Error::NO_SUCH_DEVICE);
        let link = std::env::temp_dir().join(format!("node-{}", std::process::id()));
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let error = open_node(sysfs, NULL, link.to_str().unwrap(), Access::Read);
        std::fs::remove_file(&link).unwrap();
        assert!(
            matches!(
                error,
                Err(NodeError::Io {
                    cause: Errno::LOOP,
                    ..
                })
            ),
            "{error:?}"
        );
    }
}
