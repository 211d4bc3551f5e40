//! A manager that follows a script: one for each connection, in the order in which they come.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test takes what it needs of it"
)]

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arrival_client::Root;

pub type Script = Box<dyn FnOnce(UnixStream) + Send>;

pub struct Fake {
    dir: PathBuf,
    root: PathBuf,
    listener: Option<UnixListener>,
    server: Option<JoinHandle<()>>,
}

impl Fake {
    pub fn new(scripts: Vec<Script>) -> Self {
        Fake::below("", scripts)
    }

    pub fn in_long_folder(scripts: Vec<Script>) -> Self {
        Fake::below(&format!("{0}/{0}", "long".repeat(30)), scripts)
    }

    fn below(folder: &str, scripts: Vec<Script>) -> Self {
        let mut fake = Fake::without_accepting_below(folder, 16);
        fake.serve(scripts);
        fake
    }

    pub fn without_accepting(backlog: i32) -> Self {
        Fake::without_accepting_below("", backlog)
    }

    fn without_accepting_below(folder: &str, backlog: i32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir =
            std::env::temp_dir().join(format!("arrival-client-{}-{number}", std::process::id()));
        let root = dir.join(folder);
        std::fs::create_dir_all(root.join("run")).unwrap();
        // The name of the folder through its descriptor is short, however long its path is.
        let run = std::fs::File::open(root.join("run")).unwrap();
        let path = format!("/proc/self/fd/{}/control", run.as_raw_fd());
        let listener = UnixListener::bind(path).unwrap();
        rustix::net::listen(&listener, backlog).unwrap();
        Fake {
            dir,
            root,
            listener: Some(listener),
            server: None,
        }
    }

    pub fn serve(&mut self, scripts: Vec<Script>) {
        if scripts.is_empty() {
            return;
        }
        let listener = self.listener.as_ref().unwrap().try_clone().unwrap();
        self.server = Some(std::thread::spawn(move || {
            let mut running = Vec::new();
            for script in scripts {
                let (stream, _) = listener.accept().unwrap();
                let patience = Some(Duration::from_secs(60));
                stream.set_read_timeout(patience).unwrap();
                stream.set_write_timeout(patience).unwrap();
                running.push(std::thread::spawn(move || script(stream)));
            }
            // Whoever comes now shall find nobody, not a queue that nobody looks at.
            drop(listener);
            for script in running {
                script.join().unwrap();
            }
        }));
    }

    pub fn root(&self) -> Root {
        Root::at(&self.root)
    }

    /// Returns once every script has ended.
    pub fn ended(&mut self) {
        if let Some(server) = self.server.take() {
            server.join().unwrap();
        }
    }

    /// Closes the socket and leaves its file; connections that were made stay.
    pub fn stop_listening(&mut self) {
        self.listener = None;
    }

    /// Listens anew after [`stop_listening`](Fake::stop_listening).
    pub fn restart(&mut self, scripts: Vec<Script>) {
        self.ended();
        std::fs::remove_file(self.root().control()).unwrap();
        self.listener = Some(UnixListener::bind(self.root().control()).unwrap());
        self.serve(scripts);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Reads one call.
pub fn call(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap_or(0) == 1 && byte != [0] {
        bytes.extend(byte);
    }
    String::from_utf8(bytes).unwrap()
}

/// Writes one answer.
pub fn answer(stream: &mut UnixStream, parameters: &str, continues: bool) -> io::Result<()> {
    write!(
        stream,
        "{{\"parameters\":{parameters},\"continues\":{continues}}}\0"
    )
}
