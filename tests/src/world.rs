//! A private manager in a folder, and what one does with it.

use std::ffi::CStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arrival_client::{Connection, InfoReply, Root, ServiceStatus};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::case::As;

/// How long anything may take before a case fails; it is long because machines are shared.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of its own, with a manager in it once one is started.
#[derive(Debug)]
pub struct World {
    /// The manager's root.
    pub root: PathBuf,
    programs: PathBuf,
    who: As,
    mounts: Vec<PathBuf>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    daemon: Option<Child>,
}

/// A folder that nobody else uses, below the system's temporary one.
///
/// # Panics
///
/// If it cannot be made.
pub fn fresh_dir(prefix: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        match fs::create_dir(&dir) {
            Ok(()) => return dir,
            // In PID namespaces of their own many processes have the same number.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("{}: {error}", dir.display()),
        }
    }
}

/// Waits until something is so.
///
/// # Panics
///
/// If it is not after half a minute.
#[track_caller]
pub fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl World {
    /// A world of the calling process, which is in its namespaces already.
    ///
    /// # Panics
    ///
    /// If the machine refuses.
    pub fn new(who: As) -> World {
        let root = fresh_dir("arrival-root");
        for dir in ["services.d", "classes.d"] {
            fs::create_dir(root.join(dir)).expect("our own folder");
        }
        let programs = std::env::var_os("ARRIVAL_PROGRAMS").expect("the outer process sets it");
        let mut world = World {
            root,
            programs: programs.into(),
            who,
            mounts: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            daemon: None,
        };
        if world.has_own_sysfs() {
            // This namespace's own, beside the machine's: that one shows other devices.
            world.mount("sysfs", "sys", None);
        }
        world
    }

    fn has_own_sysfs(&self) -> bool {
        match self.who {
            As::Root | As::User => true,
            As::Host | As::BesideUdevd => false,
        }
    }

    fn mount(&mut self, kind: &str, below: &str, data: Option<&CStr>) {
        let dir = self.root.join(below);
        fs::create_dir_all(&dir).expect("our own folder");
        let flags = MountFlags::empty();
        let mounted = rustix::mount::mount(kind, &dir, kind, flags, data);
        mounted.unwrap_or_else(|error| panic!("{kind} at {}: {error}", dir.display()));
        self.mounts.push(dir);
    }

    /// Gives a folder below the root a disk of its own, of 256 KiB.
    pub fn small_disk(&mut self, below: &str) {
        self.mount("tmpfs", below, Some(c"size=256k,mode=755"));
    }

    /// Further arguments for the manager.
    pub fn with(&mut self, arguments: &[&str]) -> &mut World {
        self.arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        self
    }

    /// The variables that the next manager has beyond ours.
    pub fn with_environment(&mut self, variables: &[(&str, String)]) {
        let variables = variables.iter();
        self.environment = variables
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
    }

    /// Whether the manager that was started lives; one that has ended is waited for.
    pub fn has_daemon(&mut self) -> bool {
        let ended = self
            .daemon
            .as_mut()
            .is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()));
        if ended {
            self.daemon = None;
        }
        !ended
    }

    /// The path of one of the shipped programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A class file and a definition whose service follows interfaces with such names.
    pub fn follow(&self, service: &str, pattern: &str, options: &[&str], more: &str) {
        let class = format!(
            "[class]\nname = \"{service}-class\"\n[match]\nsubsystem = \"net\"\nname = \"{pattern}\"\n"
        );
        self.write(&format!("classes.d/{service}.toml"), &class);
        let trigger = format!("[[start]]\ndevice = \"{service}-class\"\n");
        self.define(service, options, more, &trigger);
    }

    /// A definition of a recording service with these options, keys and triggers.
    pub fn define(&self, service: &str, options: &[&str], more: &str, triggers: &str) {
        let program = self.program("arrival-recorder");
        let record = self.root.join(format!("{service}.record"));
        let mut exec = vec![program.display().to_string(), record.display().to_string()];
        exec.extend(options.iter().map(|option| (*option).to_owned()));
        let text = format!("[service]\nname = \"{service}\"\nexec = {exec:?}\n{more}\n{triggers}");
        self.write(&format!("services.d/{service}.toml"), &text);
    }

    /// Writes a file below the root.
    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Starts the manager and waits until it answers.
    pub fn start(&mut self) {
        self.launch();
        wait_for("the manager to answer", || self.try_connect().is_some());
    }

    /// Starts the manager and waits for nothing.
    ///
    /// # Panics
    ///
    /// If there is one.
    pub fn launch(&mut self) {
        assert!(self.daemon.is_none(), "one manager at a time");
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.root.join("manager.log"));
        let mut command = Command::new(self.program("arrivald"));
        command.arg("--root").arg(&self.root).args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.who != As::BesideUdevd {
            command.arg("--no-udev");
        }
        if self.has_own_sysfs() {
            command.arg("--sysfs").arg(self.root.join("sys"));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("our own file"));
        self.daemon = Some(command.spawn().expect("arrivald starts"));
    }

    fn try_connect(&self) -> Option<Connection> {
        Connection::connect(&Root::at(&self.root)).ok()
    }

    /// A connection to the manager.
    ///
    /// # Panics
    ///
    /// If it does not answer.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        match Connection::connect(&Root::at(&self.root)) {
            Ok(connection) => connection,
            Err(error) => panic!("{error}\n{}", self.log()),
        }
    }

    /// What the manager has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("manager.log")).unwrap_or_default()
    }

    /// The cgroup below which the manager's hosts have theirs, as it says in its log; none if it uses
    /// none.
    pub fn cgroup(&self) -> Option<PathBuf> {
        let log = self.log();
        let (_, rest) = log.rsplit_once("containment: cgroup /")?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is there");
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let point = mount.and_then(|line| line.split(' ').nth(4));
        let below = rest.lines().next().unwrap_or_default();
        Some(Path::new(point.expect("a mount of cgroup2")).join(below))
    }

    /// The folders of the hosts' cgroups.
    pub fn hosts(&self) -> Vec<PathBuf> {
        let base = self.cgroup().and_then(|base| fs::read_dir(base).ok());
        let entries = base.into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|entry| entry.path()).collect()
    }

    /// The manager's process id.
    pub fn daemon_pid(&self) -> i32 {
        let child = self.daemon.as_ref().expect("the manager was started");
        i32::try_from(child.id()).expect("a process id")
    }

    /// Sends the manager a signal.
    pub fn signal_daemon(&self, signal: i32) {
        signal_process(self.daemon_pid(), signal);
    }

    /// Ends the manager with a signal and waits for it; its services stay.
    pub fn end_daemon(&mut self, signal: i32) {
        self.signal_daemon(signal);
        let mut child = self.daemon.take().expect("the manager was started");
        child.wait().expect("it is our child");
    }

    /// The state of a service.
    #[track_caller]
    pub fn status(&self, service: &str) -> ServiceStatus {
        match self.connect().status(service) {
            Ok(service) => service,
            Err(error) => panic!("{service}: {error}\n{}", self.log()),
        }
    }

    /// Waits until a service is in a state.
    #[track_caller]
    pub fn wait_state(&self, service: &str, state: &str) -> ServiceStatus {
        let start = Instant::now();
        loop {
            let now = self.status(service);
            if now.state == state {
                return now;
            }
            if start.elapsed() > PATIENCE {
                panic!("{service} is not {state}: {now:?}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a service runs and its program has noted so itself: a program that is told to stop
    /// before its first statement would note nothing.
    #[track_caller]
    pub fn wait_running(&self, service: &str) -> ServiceStatus {
        let mut now = self.wait_state(service, "RUNNING");
        wait_for("the program to note its start", || {
            now = self.status(service);
            let pid = now.pid.unwrap_or_default();
            let note = format!("start {pid} ");
            now.state == "RUNNING"
                && self
                    .recorded(service, "start")
                    .iter()
                    .any(|line| line.starts_with(&note))
        });
        now
    }

    /// What the manager says of itself.
    pub fn info(&self) -> InfoReply {
        self.connect().info().expect("the manager answers")
    }

    /// The lines that a service has recorded, which begin with a word.
    pub fn recorded(&self, service: &str, word: &str) -> Vec<String> {
        let mut text = String::new();
        if let Ok(mut file) = fs::File::open(self.root.join(format!("{service}.record"))) {
            file.read_to_string(&mut text).expect("our own file");
        }
        text.lines()
            .filter(|line| line.starts_with(word))
            .map(str::to_owned)
            .collect()
    }

    /// Runs the command line and gives what it printed.
    pub fn arrival(&self, arguments: &[&str]) -> Output {
        self.arrival_with(&[], arguments)
    }

    /// The same with further variables.
    pub fn arrival_with(&self, variables: &[(&str, String)], arguments: &[&str]) -> Output {
        Command::new(self.program("arrival"))
            .arg("--root")
            .arg(&self.root)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("arrival runs")
    }

    /// Stops everything, and checks that nothing is left.
    pub fn leave(mut self) {
        if self.daemon.is_some() {
            let stopped = self.connect().shutdown();
            assert!(stopped.is_ok(), "{stopped:?}\n{}", self.log());
            let status = self
                .daemon
                .take()
                .expect("checked")
                .wait()
                .expect("our child");
            assert!(
                status.success(),
                "the manager ended with {status}\n{}",
                self.log()
            );
        }
        let left = recorders(&self.root);
        assert!(left.is_empty(), "processes left: {left:?}");
        assert!(!self.root.join("run/control").exists(), "a socket was left");
        if let Some(base) = self.cgroup() {
            assert!(!base.exists(), "{} was left", base.display());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            eprintln!("{}", self.log());
            // A failed case: end what it started, by pid.
            let _ = child.kill();
            let _ = child.wait();
        }
        for pid in recorders(&self.root) {
            signal_process(pid, libc::SIGKILL);
        }
        if let Some(base) = self.cgroup() {
            wait_for("the killed to leave their cgroups", || {
                self.hosts().iter().all(|dir| fs::remove_dir(dir).is_ok())
            });
            let _ = fs::remove_dir(base);
        }
        for dir in self.mounts.iter().rev() {
            let _ = rustix::mount::unmount(dir, UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Sends a process a signal; one that is gone already is no error.
pub fn signal_process(pid: i32, signal: i32) {
    // SAFETY: a system call that takes numbers.
    unsafe { libc::kill(pid, signal) };
}

/// The recording services of a root that live, zombies not included.
pub fn recorders(root: &Path) -> Vec<i32> {
    recording_to(&format!("{}/", root.display()))
}

/// The processes of one recording service that live.
pub fn recorders_of(root: &Path, service: &str) -> Vec<i32> {
    recording_to(&root.join(format!("{service}.record")).display().to_string())
}

fn recording_to(path: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            let is_recorder = words.next().is_some_and(|word| {
                [&b"arrival-recorder"[..], b"arrival-follower", b"/labd"]
                    .iter()
                    .any(|name| word.ends_with(name))
            });
            let file = words.next().unwrap_or_default();
            is_recorder && file.starts_with(path.as_bytes())
        })
        .collect()
}
