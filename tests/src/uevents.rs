//! An independent reader of the kernel's events: it shares no code with the manager.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What the kernel said, in order: action and path.
#[derive(Debug)]
pub struct Reader {
    events: Arc<Mutex<Vec<(String, String)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Begins to listen in the calling thread's network namespace.
    ///
    /// # Panics
    ///
    /// If the socket cannot be made.
    pub fn start() -> Reader {
        // SAFETY: a system call that takes numbers.
        let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_DGRAM, 15) };
        assert!(socket >= 0, "a netlink socket");
        let size: libc::c_int = 64 << 20;
        let timeout = libc::timeval {
            tv_sec: 0,
            tv_usec: 50_000,
        };
        // SAFETY: the option values live through the calls and have the sizes given.
        unsafe {
            for option in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE] {
                libc::setsockopt(
                    socket,
                    libc::SOL_SOCKET,
                    option,
                    (&raw const size).cast(),
                    4,
                );
            }
            let length = size_of::<libc::timeval>() as libc::socklen_t;
            let value = (&raw const timeout).cast();
            libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, value, length);
            let mut address: libc::sockaddr_nl = std::mem::zeroed();
            address.nl_family = libc::AF_NETLINK as u16;
            address.nl_groups = 1;
            let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            assert_eq!(
                libc::bind(socket, (&raw const address).cast(), length),
                0,
                "bind"
            );
        }
        let events = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, done) = (events.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0_u8; 16384];
            while !done.load(Ordering::Relaxed) {
                // SAFETY: the buffer is ours and as long as said.
                let got =
                    unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
                let Ok(got) = usize::try_from(got) else {
                    continue;
                };
                let text = String::from_utf8_lossy(buffer.get(..got).unwrap_or_default());
                let head = text.split('\0').next().unwrap_or_default();
                if let Some((action, path)) = head.split_once('@') {
                    let event = (action.to_owned(), path.to_owned());
                    seen.lock().expect("no panic while it is held").push(event);
                }
            }
            // SAFETY: the socket is ours and is used no more.
            unsafe { libc::close(socket) };
        });
        Reader {
            events,
            stop,
            thread: Some(thread),
        }
    }

    /// How often this action was seen for devices whose path ends like this.
    pub fn count(&self, action: &str, path_end: &str) -> usize {
        let events = self.events.lock().expect("no panic while it is held");
        events
            .iter()
            .filter(|(a, path)| a == action && path.ends_with(path_end))
            .count()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A reader that panicked has said so already.
            let _ = thread.join();
        }
    }
}
