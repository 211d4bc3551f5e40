//! Devices that a shell cannot make: the hands of the cases in the virtual machine.
//!
//! ```text
//! arrival-rig hid NAME BUS VENDOR PRODUCT DESCRIPTOR    a HID device with this report descriptor
//! arrival-rig input NAME BUS VENDOR PRODUCT KIND        an input device: `keyboard` or `mouse`
//! arrival-rig cycles N UDC UDC-FILE PATH ...            plugs each gadget in and out N times, side by side
//! ```
//!
//! Numbers and the descriptor's bytes are hexadecimal. `hid` and `input` say `ready` and keep their device
//! until SIGTERM ends them. `cycles` waits each time until the kernel has told the `add` and the `remove`
//! of the device at PATH (below `/sys`), and says how many of each it has heard: `added 300 removed 300`.
//!
//! Sources: `include/uapi/linux/uhid.h`, `include/uapi/linux/uinput.h` and `input-event-codes.h` of Linux.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long the kernel may take to tell of a plug; under emulation on a busy machine everything takes long.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Outcome<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["hid", name, bus, vendor, product, descriptor] => {
            let ids = [hex(bus)?, hex(vendor)?, hex(product)?];
            let device = hid(name, ids, &bytes(descriptor)?)?;
            keep(device)
        }
        ["input", name, bus, vendor, product, kind] => {
            let ids = [hex(bus)?, hex(vendor)?, hex(product)?];
            let device = input(name, ids, kind)?;
            keep(device)
        }
        ["cycles", times, ports @ ..] => cycles_of_all(times.parse()?, ports),
        _ => Err("`hid`, `input` or `cycles` is expected, with all that it needs".into()),
    }
}

fn hex(text: &str) -> Outcome<u16> {
    u16::from_str_radix(text, 16).map_err(|_| format!("'{text}' is no number").into())
}

fn bytes(text: &str) -> Outcome<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

/// Says that the device is there, and keeps it.
fn keep(device: File) -> Outcome<()> {
    println!("ready");
    loop {
        std::thread::park();
        // A wake without a reason: the device stays.
        let _ = device.as_raw_fd();
    }
}

const UHID_CREATE2: u32 = 11;
/// `struct uhid_event`: the kind, then the largest of what it may hold.
const UHID_EVENT: usize = 4 + UHID_CREATE2_REQ;
/// `struct uhid_create2_req`, packed: name, phys, uniq, size and bus, four numbers, the descriptor.
const UHID_CREATE2_REQ: usize = 128 + 64 + 64 + 2 + 2 + 4 * 4 + 4096;

/// A HID device of user space; it lives as long as the file is open.
fn hid(name: &str, [bus, vendor, product]: [u16; 3], descriptor: &[u8]) -> Outcome<File> {
    let mut file = File::options().read(true).write(true).open("/dev/uhid")?;
    let mut event = Vec::with_capacity(UHID_EVENT);
    event.extend(UHID_CREATE2.to_ne_bytes());
    event.extend(name.as_bytes());
    // No phys, no uniq.
    event.resize(4 + 128 + 64 + 64, 0);
    event.extend(u16::try_from(descriptor.len())?.to_ne_bytes());
    event.extend(bus.to_ne_bytes());
    // Version and country are none.
    for number in [u32::from(vendor), u32::from(product), 0, 0] {
        event.extend(number.to_ne_bytes());
    }
    event.extend(descriptor);
    event.resize(UHID_EVENT, 0);
    file.write_all(&event)?;
    Ok(file)
}

const EV_KEY: libc::c_int = 1;
const EV_REL: libc::c_int = 2;
// _IOW('U', 100, int) and the like.
const UI_SET_EVBIT: libc::Ioctl = 0x4004_5564_u32 as libc::Ioctl;
const UI_SET_KEYBIT: libc::Ioctl = 0x4004_5565_u32 as libc::Ioctl;
const UI_SET_RELBIT: libc::Ioctl = 0x4004_5566_u32 as libc::Ioctl;
/// `_IOW('U', 3, struct uinput_setup)`, of 92 bytes.
const UI_DEV_SETUP: libc::Ioctl = 0x405c_5503_u32 as libc::Ioctl;
const UI_DEV_CREATE: libc::Ioctl = 0x5501;

/// `struct uinput_setup`.
#[repr(C)]
struct UinputSetup {
    bus: u16,
    vendor: u16,
    product: u16,
    version: u16,
    name: [u8; 80],
    ff_effects_max: u32,
}

/// An input device of user space; it lives as long as the file is open.
fn input(name: &str, [bus, vendor, product]: [u16; 3], kind: &str) -> Outcome<File> {
    let file = File::options().write(true).open("/dev/uinput")?;
    let (keys, axes): (Vec<libc::c_int>, &[libc::c_int]) = match kind {
        // KEY_ESC to KEY_KPDOT: all that a keyboard has by the kernel's own rule, and more.
        "keyboard" => ((1..=83).collect(), &[]),
        // BTN_LEFT to BTN_MIDDLE; REL_X and REL_Y.
        "mouse" => ((0x110..=0x112).collect(), &[0, 1]),
        other => return Err(format!("no kind '{other}'").into()),
    };
    set(&file, UI_SET_EVBIT, EV_KEY)?;
    for key in keys {
        set(&file, UI_SET_KEYBIT, key)?;
    }
    if !axes.is_empty() {
        set(&file, UI_SET_EVBIT, EV_REL)?;
    }
    for axis in axes {
        set(&file, UI_SET_RELBIT, *axis)?;
    }
    let mut setup = UinputSetup {
        bus,
        vendor,
        product,
        version: 0,
        name: [0; 80],
        ff_effects_max: 0,
    };
    // The last byte ends the name.
    for (place, byte) in setup.name.iter_mut().take(79).zip(name.bytes()) {
        *place = byte;
    }
    // SAFETY: the kernel reads a live structure of the size that the request's number says.
    check(unsafe { libc::ioctl(file.as_raw_fd(), UI_DEV_SETUP, &raw const setup) })?;
    set(&file, UI_DEV_CREATE, 0)?;
    Ok(file)
}

fn set(file: &File, request: libc::Ioctl, value: libc::c_int) -> Outcome<()> {
    // SAFETY: these requests take a number, not an address.
    check(unsafe { libc::ioctl(file.as_raw_fd(), request, value) })
}

fn check(result: libc::c_int) -> Outcome<()> {
    if result < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

/// Plugs in and out, each time as soon as the kernel has told what the last one led to.
/// Most of a cycle is the kernel's wait for a port to be quiet, which ports do side by side.
fn cycles_of_all(times: u64, ports: &[&str]) -> Outcome<()> {
    let (ports, rest) = ports.as_chunks::<3>();
    if ports.is_empty() || !rest.is_empty() {
        return Err(
            "each gadget is a UDC, the file that it is written to, and the device's path".into(),
        );
    }
    let (mut added, mut removed) = (0, 0);
    std::thread::scope(|scope| -> Outcome<()> {
        let begin = |[udc, file, path]: &[&str; 3]| {
            let (udc, file, path) = ((*udc).to_owned(), (*file).to_owned(), (*path).to_owned());
            let work = move || cycles(times, &udc, &file, &path).map_err(|error| error.to_string());
            scope.spawn(work)
        };
        let begun: Vec<_> = ports.iter().map(begin).collect();
        for one in begun {
            let (ins, outs) = one.join().map_err(|_| "a thread has panicked")??;
            added += ins;
            removed += outs;
        }
        Ok(())
    })?;
    println!("added {added} removed {removed}");
    Ok(())
}

fn cycles(times: u64, udc: &str, file: &str, path: &str) -> Outcome<(u64, u64)> {
    let mut kernel = Kernel::listen()?;
    let (mut added, mut removed) = (0_u64, 0_u64);
    for _ in 0..times {
        fs::write(file, udc)?;
        kernel.hear("add", path)?;
        added += 1;
        fs::write(file, "\n")?;
        kernel.hear("remove", path)?;
        removed += 1;
    }
    Ok((added, removed))
}

/// The kernel's events.
struct Kernel {
    socket: File,
}

impl Kernel {
    fn listen() -> Outcome<Kernel> {
        let (family, kind) = (libc::AF_NETLINK, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC);
        // SAFETY: a system call that takes numbers.
        let socket = unsafe { libc::socket(family, kind, libc::NETLINK_KOBJECT_UEVENT) };
        check(socket)?;
        // SAFETY: the descriptor is new and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        // SAFETY: all zeros is a sound address, which is complete below.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = u16::try_from(family)?;
        address.nl_groups = 1;
        let length = u32::try_from(size_of_val(&address))?;
        let timeout = libc::timeval {
            tv_sec: 1,
            tv_usec: 0,
        };
        let size = u32::try_from(size_of_val(&timeout))?;
        let fd = socket.as_raw_fd();
        // SAFETY: both structures live through the calls and have the sizes given.
        unsafe {
            check(libc::bind(fd, ptr::from_ref(&address).cast(), length))?;
            let value = ptr::from_ref(&timeout).cast();
            let (level, name) = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
            check(libc::setsockopt(fd, level, name, value, size))?;
        }
        Ok(Kernel {
            socket: File::from(socket),
        })
    }

    /// Waits for an event; a lost one is an error.
    fn hear(&mut self, action: &str, path: &str) -> Outcome<()> {
        let wanted = format!("{action}@{path}\0");
        let begun = Instant::now();
        let mut event = [0; 8192];
        while begun.elapsed() < PATIENCE {
            let read = match self.socket.read(&mut event) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            let event = event.get(..read).unwrap_or_default();
            if event.starts_with(wanted.as_bytes()) {
                return Ok(());
            }
        }
        Err(format!("the kernel told no {action} of {path}").into())
    }
}
