//! A daemon in a folder of its own, and a client that speaks plain Varlink.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a test must not be skipped for want of this.
fn required(need: &str) -> bool {
    std::env::var("ARRIVAL_REQUIRE").is_ok_and(|all| all.split(',').any(|one| one == need))
}

/// Says why a test is skipped, or fails if that is not allowed.
pub(crate) fn skip(need: &str, why: &str) {
    assert!(!required(need), "{need} is required: {why}");
    eprintln!("skipped: {why}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether the process runs; one that nobody has waited for does not.
pub(crate) fn is_alive(pid: i64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            Some(
                stat.rsplit_once(')')?
                    .1
                    .trim_start()
                    .starts_with(['Z', 'X']),
            )
        })
        .is_some_and(|ended| !ended)
}

/// A folder with a daemon's files; removed with all processes that were started from it.
pub(crate) struct Root {
    pub(crate) path: PathBuf,
}

impl Root {
    pub(crate) fn new() -> Self {
        Root::below(&std::env::temp_dir())
    }

    pub(crate) fn below(folder: &Path) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("arrivald-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("services.d")).unwrap();
        Root { path }
    }

    /// Writes a definition so that nobody sees half of it.
    pub(crate) fn define(&self, name: &str, text: &str) {
        let folder = self.path.join("services.d");
        let new = folder.join(format!(".{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, folder.join(format!("{name}.toml"))).unwrap();
    }

    pub(crate) fn undefine(&self, name: &str) {
        fs::remove_file(self.path.join(format!("services.d/{name}.toml"))).unwrap();
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(format!("log/{name}.log"))).unwrap_or_default()
    }

    /// Every process that has this root's control socket in its environment.
    pub(crate) fn processes(&self) -> Vec<i64> {
        let variable = format!("ARRIVAL_CONTROL={}/run/control", self.path.display());
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse::<i64>().ok())
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let mut entries = environment.split(|byte| *byte == 0);
                entries.any(|entry| entry == variable.as_bytes())
            })
            .filter(|pid| is_alive(*pid))
            .collect()
    }

    /// The cgroups of this root's services that are there now.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let path = fs::canonicalize(&self.path).unwrap();
        // FNV-1a of the path, as the daemon names its folder.
        let hash = path
            .as_os_str()
            .as_encoded_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
            });
        let name = format!("arrival-{hash:016x}");
        let mut found = Vec::new();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        for line in mounts.lines().filter(|line| line.contains(" cgroup2 ")) {
            let point = Path::new(line.split(' ').nth(1).unwrap());
            let own = fs::read_to_string("/proc/self/cgroup").unwrap();
            let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
            for base in [point.to_owned(), point.join(own.unwrap_or_default())] {
                let base = base.join(&name);
                if base.exists() && !found.contains(&base) {
                    found.push(base);
                }
            }
        }
        found
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for pid in self.processes() {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        for base in self.cgroups() {
            let deadline = Instant::now() + Duration::from_secs(2);
            while Instant::now() < deadline {
                let below = fs::read_dir(&base).into_iter().flatten().flatten();
                for folder in below.filter(|entry| entry.path().is_dir()) {
                    let _ = fs::remove_dir(folder.path());
                }
                if fs::remove_dir(&base).is_ok() || !base.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// How a daemon is started.
pub(crate) struct How {
    command: Command,
}

impl How {
    pub(crate) fn plain() -> Self {
        How {
            command: Command::new(env!("CARGO_BIN_EXE_arrivald")),
        }
    }

    /// As the first process of a PID namespace, whose session is led from outside of it.
    pub(crate) fn first_of_its_namespace() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.arg(env!("CARGO_BIN_EXE_arrivald"));
        How { command }
    }

    pub(crate) fn option(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// In a network namespace of its own, with its sysfs at ROOT/sys.
    pub(crate) fn alone(root: &Root) -> Self {
        let mut command = Command::new("unshare");
        let script =
            "mkdir -p \"$1/sys\" && mount -t sysfs sysfs \"$1/sys\" && shift && exec \"$@\"";
        command.args(["--net", "--mount", "sh", "-c", script, "sh"]);
        command.arg(&root.path);
        command.arg(env!("CARGO_BIN_EXE_arrivald"));
        command.arg("--sysfs").arg(root.path.join("sys"));
        How { command }
    }

    /// In a network namespace that is there, with its sysfs at ROOT/sys.
    pub(crate) fn within(namespace: &str, root: &Root) -> Self {
        let alone = How::alone(root).command;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={namespace}"));
        command.args(["unshare", "--mount"]);
        command.args(alone.get_args().skip(2));
        How { command }
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(mut self, root: &Root) -> Daemon {
        self.command
            .args(["--no-udev", "--root"])
            .arg(&root.path)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut daemon = Daemon {
            child: Some(child),
            said: Some(said),
            root: root.path.clone(),
        };
        wait("the daemon answers", || {
            let ended = daemon.child.as_mut().unwrap().try_wait().unwrap();
            if let Some(status) = ended {
                panic!("the daemon ended with {status}: {}", daemon.said());
            }
            UnixStream::connect(root.path.join("run/control")).ok()
        });
        daemon
    }

    /// Starts one that must end by itself.
    pub(crate) fn fail(mut self, root: &Root) -> (ExitStatus, String) {
        let output = self
            .command
            .args(["--no-udev", "--root"])
            .arg(&root.path)
            .output()
            .unwrap();
        (
            output.status,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

/// A running daemon; killed when dropped, its services with the root.
pub(crate) struct Daemon {
    child: Option<Child>,
    said: Option<std::thread::JoinHandle<String>>,
    pub(crate) root: PathBuf,
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.root)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let child = self.child.as_mut().unwrap();
        let status = wait("the daemon ends", || child.try_wait().unwrap());
        self.child = None;
        (status, self.said())
    }

    fn said(&mut self) -> String {
        self.said
            .take()
            .map_or_else(String::new, |said| said.join().unwrap())
    }

    /// Makes it end as its unit's stop does.
    pub(crate) fn terminate(self) -> String {
        self.signal(rustix::process::Signal::TERM);
        let (status, said) = self.end();
        assert_eq!(status.code(), Some(0), "{said}");
        said
    }

    pub(crate) fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops all services and the daemon.
    pub(crate) fn shut_down(self) -> i64 {
        let reply = self
            .client()
            .call("org.arrivald.Daemon.Shutdown", json!({}))
            .unwrap();
        let (status, said) = self.end();
        assert_eq!(status.code(), Some(0), "{said}");
        reply["stopped"].as_i64().unwrap()
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        let reply = self
            .client()
            .call("org.arrivald.Services.Status", json!({ "name": name }));
        reply.unwrap()["service"].clone()
    }

    /// Waits until a service is in a state, and gives all that is known of it then.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, state: &str) -> Value {
        wait(&format!("{name} is {state}"), || {
            let reply = self
                .client()
                .call("org.arrivald.Services.Status", json!({ "name": name }));
            let service = reply.ok()?["service"].clone();
            (service["state"] == state).then_some(service)
        })
    }

    /// Starts a service and waits until it runs.
    #[track_caller]
    pub(crate) fn start(&self, name: &str) -> Value {
        let started = self.client().call(
            "org.arrivald.Services.Start",
            json!({ "name": name, "arguments": [], "wait": true }),
        );
        started.unwrap();
        self.status(name)
    }

    #[track_caller]
    pub(crate) fn stop(&self, name: &str) {
        let stopped = self.client().call(
            "org.arrivald.Services.Stop",
            json!({ "name": name, "wait": true }),
        );
        stopped.unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            let said = self.said();
            if std::thread::panicking() {
                eprintln!("the daemon said:\n{said}");
            }
        }
    }
}

/// An error that a call was answered with: its name and parameters.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure(pub(crate) String, pub(crate) Value);

/// One connection.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(root: &Path) -> Self {
        let path = root.join("run/control");
        let stream = UnixStream::connect(&path);
        let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, call: &Value) {
        let mut bytes = serde_json::to_vec(call).unwrap();
        bytes.push(0);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next message; none at the end of the stream.
    pub(crate) fn receive(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == 0) {
                let message = serde_json::from_slice(&self.buffer[..end]).unwrap();
                self.buffer.drain(..=end);
                return Some(message);
            }
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Result<Value, Failure> {
        self.send(&json!({ "method": method, "parameters": parameters }));
        let reply = self.receive().expect("the connection ended");
        let parameters = reply.get("parameters").cloned().unwrap_or(json!({}));
        match reply.get("error") {
            None => Ok(parameters),
            Some(error) => Err(Failure(error.as_str().unwrap().to_owned(), parameters)),
        }
    }

    /// Opens a session; the first reply.
    pub(crate) fn open(&mut self, subscription: Value) -> Value {
        self.send(&json!({
            "method": "org.arrivald.Session.Open",
            "more": true,
            "parameters": { "subscription": subscription },
        }));
        self.item()
    }

    /// The next item of a stream.
    pub(crate) fn item(&mut self) -> Value {
        let reply = self.receive().expect("the stream ended");
        assert_eq!(reply["continues"], true, "{reply}");
        reply["parameters"].clone()
    }

    /// The next notice that this is true of.
    pub(crate) fn notice(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let item = self.item();
            if !item["notice"].is_null() && is_it(&item["notice"]) {
                return item["notice"].clone();
            }
        }
    }
}

/// A definition whose program is this test's own, in one of the roles below.
pub(crate) fn role(role: &str, more: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!(
        "[service]\nexec = [{program:?}, \"--exact\", \"support::play\", \"--nocapture\"]\n{more}\n\
         [service.environment]\nARRIVALTEST_ROLE = {role:?}\n"
    )
}

/// Runs one call as another user, in a process of its own.
pub(crate) fn call_as(uid: u32, root: &Path, call: &Value) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "support::play", "--nocapture"])
        .env("ARRIVALTEST_ROLE", "client")
        .env("ARRIVALTEST_SOCKET", root)
        .env("ARRIVALTEST_CALL", call.to_string())
        .uid(uid)
        .gid(uid)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("REPLY "));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    serde_json::from_str(line).unwrap()
}

/// Not a test of its own: what this program does when a daemon or a test starts it for a role.
#[test]
fn play() {
    match std::env::var("ARRIVALTEST_ROLE").as_deref() {
        Ok("client") => {
            let mut client =
                Client::connect(Path::new(&std::env::var("ARRIVALTEST_SOCKET").unwrap()));
            client
                .send(&serde_json::from_str(&std::env::var("ARRIVALTEST_CALL").unwrap()).unwrap());
            println!("\nREPLY {}", client.receive().unwrap());
        }
        Ok("notify") => notify(),
        Ok("control") => control(),
        Ok(other) => panic!("no role {other}"),
        Err(_) => {}
    }
}

/// A service of the protocol `notify`: it is ready when a file says so.
fn notify() {
    let socket = UnixDatagram::unbound().unwrap();
    let address = std::env::var("NOTIFY_SOCKET").unwrap();
    let control = std::env::var("ARRIVAL_CONTROL").unwrap();
    let go = Path::new(&control).with_file_name("go");
    socket.send_to(b"STATUS=waiting for it", &address).unwrap();
    wait("the file that says go", || go.exists().then_some(()));
    socket.send_to(b"READY=1\nSTATUS=there", &address).unwrap();
    std::thread::sleep(Duration::from_secs(1000));
}

/// A service of the protocol `control`: it stops when it is asked to.
fn control() {
    let control = std::env::var("ARRIVAL_CONTROL").unwrap();
    let root = Path::new(&control)
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    let mut session = Client::connect(&root);
    let opened = session.open(Value::Null);
    let token = opened["token"].as_str().unwrap().to_owned();
    let report = |state: &str, accepts: u32| {
        let parameters = json!({
            "token": token, "state": state, "accepts": accepts,
            "checkpoint": 0, "wait_hint_ms": 0, "exit_code": 0,
        });
        Client::connect(&root)
            .call("org.arrivald.Session.Report", parameters)
            .unwrap();
    };
    println!("\nopened {opened}");
    report("RUNNING", 1);
    loop {
        let item = session.item();
        let Some(ask) = item["ask"]["ask"].as_u64() else {
            continue;
        };
        assert_eq!(item["ask"]["control"], "stop");
        let answer = json!({ "token": token, "ask": ask, "code": 0 });
        Client::connect(&root)
            .call("org.arrivald.Session.Answer", answer)
            .unwrap();
        report("STOPPED", 0);
        println!("\nstopped by control");
        return;
    }
}
