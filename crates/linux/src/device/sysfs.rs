//! Reading devices from a sysfs mount.
//!
//! A device is a directory below `devices` with a `uevent` file; the kernel deletes that file
//! before it sends `remove`. One descriptor of the directory serves all reads, so that a record
//! is of one incarnation: once the device is gone, nothing more can be opened below it. Files are
//! read with a single read(2), because the kernel makes their text anew for each.
//!
//! Source: sysfs(5), `Documentation/filesystems/sysfs.rst`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use arrival_model::device::{DeviceRecord, Properties};
use arrival_model::hwid;
use arrival_model::interface::Incarnation;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::ethtool::Ethtool;

/// The longest path of a device, in bytes.
pub const MAX_DEVPATH: usize = 1024;
/// The longest attribute that is kept; sysfs gives no more than a page.
const MAX_ATTRIBUTE: usize = 4096;
/// How deep directories may lie below `devices`.
const MAX_DEPTH: usize = 64;

/// A sysfs mount, or a directory that looks like one.
#[derive(Debug)]
pub struct Sysfs {
    root: OwnedFd,
    path: PathBuf,
}

/// The buffers of one reading thread.
#[derive(Debug)]
pub struct Scratch {
    buffer: Vec<u8>,
    ethtool: Option<Ethtool>,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch {
            buffer: vec![0; MAX_ATTRIBUTE],
            ethtool: Ethtool::open(),
        }
    }
}

/// A device's directory, held open.
#[derive(Debug)]
pub struct DeviceDir {
    fd: OwnedFd,
    inode: u64,
}

impl DeviceDir {
    /// The directory's inode number.
    pub fn inode(&self) -> u64 {
        self.inode
    }
}

impl Sysfs {
    /// Opens the mount at `path`.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Sysfs {
            root: rustix::fs::open(path, flags, Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the last event, over all namespaces; 0 if the mount does not tell.
    pub fn uevent_seqnum(&self, scratch: &mut Scratch) -> u64 {
        read_at(&self.root, "kernel/uevent_seqnum", &mut scratch.buffer)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    }

    /// The directory of a device, if there is one; `devpath` begins with `/devices/`.
    pub fn device_dir(&self, devpath: &str) -> Option<DeviceDir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let relative = devpath.strip_prefix('/')?;
        let fd = rustix::fs::openat(&self.root, relative, flags, Mode::empty()).ok()?;
        let inode = rustix::fs::fstat(&fd).ok()?.st_ino;
        Some(DeviceDir { fd, inode })
    }

    /// Reads what is to be known of a device, without its ancestors; nothing if there is no such
    /// device (any more). `attributes` says which files to read for a subsystem.
    pub fn read(
        &self,
        devpath: &str,
        scratch: &mut Scratch,
        attributes: impl FnOnce(&str) -> Vec<String>,
    ) -> Option<DeviceRecord> {
        let dir = self.device_dir(devpath)?;
        let properties = match read_at(&dir.fd, "uevent", &mut scratch.buffer) {
            Ok(text) => Properties::from_uevent_file(&text),
            Err(Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTDIR) => return None,
            // It is there, but says nothing to us.
            Err(_) => Properties::default(),
        };
        let subsystem = link_name(&dir.fd, "subsystem").unwrap_or_default();
        let wanted = attributes(&subsystem);
        let attributes: Properties = wanted
            .into_iter()
            .filter_map(|name| {
                let value = match hwid::binary(&name) {
                    Some(most) => digits_at(&dir.fd, &name, &mut scratch.buffer, most).ok()?,
                    None => {
                        let text = read_at(&dir.fd, &name, &mut scratch.buffer).ok()?;
                        text.strip_suffix('\n').unwrap_or(&text).into()
                    }
                };
                Some((name, value))
            })
            .collect();
        let devtype = properties.get("DEVTYPE").map(str::to_owned);
        let mut driver = link_name(&dir.fd, "driver");
        let tun = attributes.get("tun_flags").is_some();
        if subsystem == "net" && driver.is_none() && devtype.is_none() && !tun {
            // Not asked for a card on a bus: its driver is that of the device above.
            let ethtool = scratch.ethtool.as_ref().filter(|_| is_virtual(devpath));
            driver = properties
                .get("INTERFACE")
                .and_then(|name| ethtool?.driver(name));
        }
        let number = |key: &str| properties.get(key).and_then(|text| text.parse().ok());
        Some(DeviceRecord {
            devpath: devpath.to_owned(),
            devtype,
            driver,
            node: properties.get("DEVNAME").and_then(node),
            incarnation: Incarnation {
                inode: dir.inode,
                devnum: number("DEVNUM")
                    .and_then(|n: u64| n.try_into().ok())
                    .unwrap_or(0),
                // Of a drive it tells media apart, and the drive stays when its medium is changed.
                diskseq: (number("DISKSEQ").filter(|_| is_virtual(devpath))).unwrap_or(0),
            },
            subsystem,
            properties,
            attributes,
            parent: None,
        })
    }

    /// The paths of all devices whose subsystem is `wanted`.
    ///
    /// Only directories and links are read here, which no device can delay.
    pub fn walk(&self, mut wanted: impl FnMut(&str) -> bool) -> std::io::Result<BTreeSet<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut found = BTreeSet::new();
        let top = rustix::fs::openat(&self.root, "devices", flags, Mode::empty())?;
        let mut stack = vec![(Directory::list(top.as_fd())?, "/devices".to_owned(), top, 0)];
        while let Some((mut directory, path, fd, depth)) = stack.pop() {
            if directory.is_device
                && link_name(&fd, "subsystem").is_some_and(|subsystem| wanted(&subsystem))
            {
                found.insert(path.clone());
                directory.is_device = false;
            }
            let Some(name) = directory.below.pop() else {
                continue;
            };
            let child = format!("{path}/{name}");
            let opened = rustix::fs::openat(&fd, name.as_str(), flags, Mode::empty());
            directory.is_device = false;
            stack.push((directory, path, fd, depth));
            if depth >= MAX_DEPTH || child.len() > MAX_DEVPATH {
                continue;
            }
            // A directory that is gone by now will be spoken of in an event.
            if let Ok(opened) = opened
                && let Ok(listed) = Directory::list(opened.as_fd())
            {
                stack.push((listed, child, opened, depth + 1));
            }
        }
        Ok(found)
    }
}

/// Whether the device is on no bus.
fn is_virtual(devpath: &str) -> bool {
    devpath.starts_with("/devices/virtual/")
}

/// What a walk needs of one directory.
struct Directory {
    below: Vec<String>,
    is_device: bool,
}

impl Directory {
    fn list(fd: rustix::fd::BorrowedFd<'_>) -> std::io::Result<Self> {
        let mut listed = Directory {
            below: Vec::new(),
            is_device: false,
        };
        for entry in rustix::fs::Dir::read_from(fd)? {
            let Ok(entry) = entry else { break };
            let name = entry.file_name().to_bytes();
            if name == b"uevent" {
                listed.is_device = true;
            } else if entry.file_type() == FileType::Directory
                && !matches!(name, b"." | b".." | b"power")
                && let Ok(name) = std::str::from_utf8(name)
            {
                listed.below.push(name.to_owned());
            }
        }
        Ok(listed)
    }
}

/// Whether a path of an event may be opened below the mount.
pub fn is_devpath(path: &str) -> bool {
    path.len() <= MAX_DEVPATH
        && path.strip_prefix("/devices/").is_some_and(|rest| {
            rest.split('/')
                .all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'))
        })
}

/// The node of a DEVNAME, which the kernel gives below `/dev` and some programs with it.
fn node(name: &str) -> Option<String> {
    let below = name.strip_prefix("/dev/").unwrap_or(name);
    let sound = !below.is_empty()
        && below
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".."));
    sound.then(|| format!("/dev/{below}"))
}

/// The last part of a link's target.
fn link_name(dir: &OwnedFd, name: &str) -> Option<String> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new()).ok()?;
    let target = Path::new(OsStr::from_bytes(target.as_bytes()));
    Some(target.file_name()?.to_str()?.to_owned())
}

/// The text of a file, by one read.
fn read_at(dir: &OwnedFd, name: &str, buffer: &mut [u8]) -> Result<String, Errno> {
    let bytes = bytes_at(dir, name, buffer)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// The first bytes of a file that is no text, as hexadecimal digits.
fn digits_at(dir: &OwnedFd, name: &str, buffer: &mut [u8], most: usize) -> Result<Box<str>, Errno> {
    let bytes = bytes_at(dir, name, buffer)?;
    let mut digits = String::with_capacity(bytes.len().min(most) * 2);
    for byte in bytes.iter().take(most) {
        let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
        digits.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    Ok(digits.into())
}

fn bytes_at<'a>(dir: &OwnedFd, name: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer))?;
    Ok(buffer.get(..length).unwrap_or_default())
}
