//! A service for tests: it notes its starts and ends in a file that is only ever appended to.
//!
//! ```text
//! arrival-recorder FILE [--ready] [--stop-ms N] [--ignore-term] [--exit CODE] [--after-ms N] [--fork] [--serve N]
//! ```
//!
//! `--serve` answers N clients of the socket that it was given, each by its process and the line that
//! the client wrote, and ends.
//! `--ready` says READY=1; `--stop-ms` is how long a stop takes; `--exit` and `--after-ms` end it of
//! itself; `--fork` leaves a grandchild in a session of its own that ignores SIGTERM.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::FromRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("the first argument is the file");
    let (mut ready, mut ignore, mut fork, mut sleeper) = (false, false, false, false);
    let (mut stop_ms, mut after_ms, mut exit, mut serve) = (0, None, 0, None);
    let number = |text: Option<String>| -> u64 {
        text.and_then(|text| text.parse().ok()).expect("a number")
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ready" => ready = true,
            "--ignore-term" => ignore = true,
            "--fork" => fork = true,
            "--sleeper" => sleeper = true,
            "--stop-ms" => stop_ms = number(arguments.next()),
            "--after-ms" => after_ms = Some(number(arguments.next())),
            "--serve" => serve = Some(number(arguments.next())),
            "--exit" => exit = i32::try_from(number(arguments.next())).expect("a small number"),
            other => panic!("unknown argument {other}"),
        }
    }
    let signals = block(&[libc::SIGTERM]);
    if sleeper {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| "-".to_owned());
    note(
        &file,
        &format!(
            "start {} {} {}",
            std::process::id(),
            variable("ARRIVAL_START_REASON"),
            variable("ARRIVAL_INTERFACE")
        ),
    );
    if fork {
        let mut command = Command::new(std::env::current_exe().expect("its own path"));
        command.arg(&file).arg("--sleeper").process_group(0);
        drop(command.spawn().expect("a child"));
    }
    if ready {
        let socket = UnixDatagram::unbound().expect("a socket");
        let path = std::env::var("NOTIFY_SOCKET").expect("NOTIFY_SOCKET is set");
        socket
            .send_to(b"READY=1\nSTATUS=recording", path)
            .expect("the manager listens");
    }
    if let Some(clients) = serve {
        let listener = handed_over();
        for stream in listener.incoming().take(clients as usize) {
            answer(&file, stream.expect("a client"));
        }
        note(&file, &format!("exit {}", std::process::id()));
        std::process::exit(exit);
    }
    if let Some(ms) = after_ms {
        std::thread::sleep(Duration::from_millis(ms));
        note(&file, &format!("exit {}", std::process::id()));
        std::process::exit(exit);
    }
    loop {
        wait(&signals);
        note(&file, &format!("term {}", std::process::id()));
        if !ignore {
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(stop_ms));
    note(&file, &format!("exit {}", std::process::id()));
    std::process::exit(exit);
}

/// The socket that the manager listens at for us (sd_listen_fds(3)).
fn handed_over() -> UnixListener {
    let own = std::process::id().to_string();
    assert_eq!(std::env::var("LISTEN_PID").ok(), Some(own));
    assert_eq!(std::env::var("LISTEN_FDS").ok().as_deref(), Some("1"));
    // SAFETY: descriptor 3 was handed over to this process, which uses it nowhere else.
    unsafe { UnixListener::from_raw_fd(3) }
}

fn answer(file: &str, mut stream: UnixStream) {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone().expect("a second descriptor"));
    reader
        .read_line(&mut line)
        .expect("the client writes a line");
    note(file, &format!("client {}", line.trim()));
    let answer = format!("{} {line}", std::process::id());
    // A client that has gone does no harm.
    let _ = stream.write_all(answer.as_bytes());
}

/// Appends one line in one write.
fn note(file: &str, line: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .expect("the file opens");
    file.write_all(format!("{line}\n").as_bytes())
        .expect("the file takes a line");
}

fn block(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: a signal set is plain data that sigemptyset initialises before anything reads it.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointers are to a live local set, and the signal numbers are valid.
    unsafe {
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
    set
}

fn wait(signals: &libc::sigset_t) {
    let mut signal = 0;
    // SAFETY: both pointers are to live locals; the set's signals are blocked.
    unsafe { libc::sigwait(signals, &mut signal) };
}
