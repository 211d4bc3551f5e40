//! Real devices that live as long as a value does, and events that are none.

use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use arrival_linux::rtnl::{Links, Tap as KernelTap};
use arrival_tests::world::wait_for;

/// A tap that goes when this is dropped.
pub struct Tap {
    _tap: KernelTap,
}

impl Tap {
    pub fn new(name: &str) -> Tap {
        Tap {
            _tap: KernelTap::create(name).unwrap(),
        }
    }
}

/// A bridge, or one end of a veth, that goes when this is dropped.
pub struct Link {
    name: String,
}

impl Link {
    pub fn bridge(name: &str) -> Link {
        Links::open().unwrap().create_bridge(name).unwrap();
        Link {
            name: name.to_owned(),
        }
    }

    pub fn veth(name: &str, peer: &str) -> Link {
        Links::open().unwrap().create_veth(name, peer).unwrap();
        Link {
            name: name.to_owned(),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        Links::open().unwrap().delete(&self.name).unwrap();
    }
}

/// A loop device of the machine with a free number, removed when this is dropped.
pub struct Loop {
    pub name: String,
    number: u32,
}

const LOOP_CTL_ADD: libc::c_ulong = 0x4c80;
const LOOP_CTL_REMOVE: libc::c_ulong = 0x4c81;
const LOOP_SET_FD: libc::c_ulong = 0x4c00;
const LOOP_CLR_FD: libc::c_ulong = 0x4c01;

fn open(path: &str) -> OwnedFd {
    let file = fs::File::options().read(true).write(true).open(path);
    file.unwrap_or_else(|error| panic!("{path}: {error}"))
        .into()
}

fn ioctl(fd: &OwnedFd, request: libc::c_ulong, value: u64) -> i32 {
    // SAFETY: these requests take a number, no pointer.
    unsafe { libc::ioctl(fd.as_raw_fd(), request as _, value) }
}

impl Loop {
    pub fn new() -> Loop {
        let control = open("/dev/loop-control");
        let number = (64..1024)
            .find(|number| ioctl(&control, LOOP_CTL_ADD, u64::from(*number)) >= 0)
            .expect("a free number");
        Loop {
            name: format!("loop{number}"),
            number,
        }
    }

    /// The device with this number, unless there is one.
    pub fn numbered(number: u32) -> Option<Loop> {
        let added = ioctl(&open("/dev/loop-control"), LOOP_CTL_ADD, u64::from(number));
        (added >= 0).then(|| Loop {
            name: format!("loop{number}"),
            number,
        })
    }

    /// Takes the device away and makes another of the same name.
    pub fn replace(&self) {
        let control = open("/dev/loop-control");
        wait_for("the device to be free", || {
            ioctl(&control, LOOP_CTL_REMOVE, u64::from(self.number)) >= 0
        });
        let added = ioctl(&control, LOOP_CTL_ADD, u64::from(self.number));
        assert!(added >= 0, "{} is taken", self.name);
    }

    fn device(&self) -> OwnedFd {
        open(&format!("/dev/{}", self.name))
    }

    pub fn attach(&self, image: &Path) {
        let image = open(image.to_str().unwrap());
        assert_eq!(
            ioctl(&self.device(), LOOP_SET_FD, image.as_raw_fd() as u64),
            0,
            "LOOP_SET_FD"
        );
    }

    pub fn detach(&self) {
        assert_eq!(ioctl(&self.device(), LOOP_CLR_FD, 0), 0, "LOOP_CLR_FD");
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Beside a udevd of its own a case has no node of it, and has attached nothing.
        if Path::new(&format!("/dev/{}", self.name)).exists() {
            ioctl(&self.device(), LOOP_CLR_FD, 0);
        }
        let control = open("/dev/loop-control");
        // A device that somebody else has open is removed by nobody; it does no harm.
        ioctl(&control, LOOP_CTL_REMOVE, u64::from(self.number));
    }
}

/// Makes the kernel send this many events about the loopback device, which change nothing.
pub fn storm(sysfs: &Path, events: usize) {
    let path = sysfs.join("class/net/lo/uevent");
    let mut file = fs::File::options().write(true).open(path).unwrap();
    for _ in 0..events {
        file.write_all(b"change").unwrap();
    }
}

/// Sends a message to everybody who listens to the kernel's events, as root can.
pub fn spoof(message: &str) {
    multicast(1, message, 1);
}

/// Sends as many messages to everybody who listens to udevd, of which none is sound.
pub fn udev_storm(messages: usize) {
    multicast(2, "no message of udevd's", messages);
}

fn multicast(group: u32, message: &str, times: usize) {
    // SAFETY: plain system calls on live locals of the sizes given; the descriptor is ours.
    unsafe {
        let socket = libc::socket(libc::AF_NETLINK, libc::SOCK_DGRAM, 15);
        let mut address: libc::sockaddr_nl = std::mem::zeroed();
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = group;
        for _ in 0..times {
            let sent = libc::sendto(
                socket,
                message.as_ptr().cast(),
                message.len(),
                0,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            );
            assert_eq!(
                usize::try_from(sent),
                Ok(message.len()),
                "root may send to the group"
            );
        }
        libc::close(socket);
    }
}
