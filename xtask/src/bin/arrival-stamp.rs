//! The program that the benches start and stop, and the least that can start it.
//!
//! ```text
//! arrival-stamp SOCKET [--detach]       a service: takes the time, sends it, waits for SIGTERM,
//!                                       takes the time again, sends it, ends
//! arrival-stamp --end FILE              sends SIGTERM to the process whose number is in FILE
//! arrival-stamp --react DEVICE SOCKET   the floor: starts `arrival-stamp SOCKET` when a network
//!                                       device of that name comes, SIGTERM when it goes
//! ```
//!
//! A stamp is a datagram of 16 bytes: 1 for the start or 2 for the end, the process, and the time
//! of CLOCK_BOOTTIME in nanoseconds, in the machine's byte order (u32, u32, u64).
//!
//! With `--detach` the service goes on in a child once it has the time, and its parent ends: a
//! starter that waits for its programs would otherwise not see the device go.

use std::env;
use std::error::Error;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::mem;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixDatagram;
use std::process;
use std::ptr;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let now = clock();
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
    match words.as_slice() {
        [end, file] if *end == "--end" => finish(file),
        [react, device, socket] if *react == "--react" => floor(device, socket),
        [socket, rest @ ..] => serve(now, socket, rest.contains(&OsStr::new("--detach"))),
        [] => Err("a socket is expected".into()),
    }
}

/// Nanoseconds of CLOCK_BOOTTIME.
fn clock() -> u64 {
    // SAFETY: zeros are a valid timespec.
    let mut time: libc::timespec = unsafe { mem::zeroed() };
    // SAFETY: the time lives through the call, which only writes to it.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn serve(started: u64, socket: &OsStr, detach: bool) -> Outcome<()> {
    // SAFETY: the set is made by sigemptyset before anything reads it, and lives through the calls.
    let signals = unsafe {
        let mut signals: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, ptr::null_mut());
        signals
    };
    if detach {
        // SAFETY: there is one thread, so the child may do whatever this process may.
        if unsafe { libc::fork() } != 0 {
            return Ok(());
        }
        // SAFETY: calls that take numbers; a starter may wait for the end of what it can read.
        unsafe {
            libc::setsid();
            for descriptor in 0..3 {
                libc::close(descriptor);
            }
        }
    }
    let sender = UnixDatagram::unbound()?;
    sender.connect(socket)?;
    let stamp = |kind: u32, time: u64| {
        let mut bytes = [0; 16];
        let (head, tail) = bytes.split_at_mut(8);
        let (first, second) = head.split_at_mut(4);
        first.copy_from_slice(&kind.to_ne_bytes());
        second.copy_from_slice(&process::id().to_ne_bytes());
        tail.copy_from_slice(&time.to_ne_bytes());
        sender.send(&bytes)
    };
    stamp(1, started)?;
    let mut signal = 0;
    // SAFETY: both values live through the call.
    unsafe { libc::sigwait(&raw const signals, &raw mut signal) };
    stamp(2, clock())?;
    Ok(())
}

fn finish(file: &OsStr) -> Outcome<()> {
    let process: i32 = fs::read_to_string(file)?.trim().parse()?;
    end(process);
    Ok(())
}

fn end(process: i32) {
    // SAFETY: a call that takes numbers.
    unsafe { libc::kill(process, libc::SIGTERM) };
}

/// Receives the kernel's events and starts the program: nothing that does this can do less.
fn floor(device: &OsStr, socket: &OsStr) -> Outcome<()> {
    let program = env::current_exe()?.into_os_string();
    let text = |text: OsString| CString::new(text.into_vec());
    let argv = [text(program)?, text(socket.to_owned())?];
    let mut environment = Vec::new();
    for (name, value) in env::vars_os() {
        let mut entry = name;
        entry.push("=");
        entry.push(value);
        environment.push(text(entry)?);
    }
    let argv = pointers(&argv);
    let environment = pointers(&environment);
    let path = [b"/net/", device.as_bytes()].concat();

    // SAFETY: a call that takes numbers.
    let events = unsafe {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT)
    };
    // SAFETY: zeros are a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = 1;
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the address lives through the call and is as long as said.
    if unsafe { libc::bind(events, (&raw const address).cast(), length) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let mut buffer = vec![0_u8; 16 * 1024];
    let mut child: libc::pid_t = 0;
    loop {
        // SAFETY: the buffer is ours and as long as said.
        let length = unsafe { libc::recv(events, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        let Ok(length) = usize::try_from(length) else {
            return Err(std::io::Error::last_os_error().into());
        };
        let event = buffer.get(..length).unwrap_or_default();
        let head = event.split(|byte| *byte == 0).next().unwrap_or_default();
        if !head.ends_with(&path) {
            continue;
        }
        if head.starts_with(b"add@") {
            // SAFETY: the strings and the lists of pointers to them, which null ends, live through
            // the call.
            let failed = unsafe {
                libc::posix_spawn(
                    &raw mut child,
                    *argv.first().ok_or("no program")?,
                    ptr::null(),
                    ptr::null(),
                    argv.as_ptr().cast(),
                    environment.as_ptr().cast(),
                )
            };
            if failed != 0 {
                return Err(std::io::Error::from_raw_os_error(failed).into());
            }
        } else if head.starts_with(b"remove@") && child > 0 {
            end(child);
            // SAFETY: a null status is allowed.
            unsafe { libc::waitpid(child, ptr::null_mut(), 0) };
            child = 0;
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let pointers = strings.iter().map(|string| string.as_ptr());
    pointers.chain([ptr::null()]).collect()
}
