//! qemu: one machine, its monitor, and its two serial lines.
//!
//! The first serial line is the console, whose text is kept for what fails. On the second the guest
//! speaks to us (see the table at the top of [`super`]).

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::image::Image;
use crate::Outcome;

/// How long qemu may take to open its sockets, and to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many lines of the console are kept.
const KEPT: usize = 300;

/// What the guest said.
#[derive(Debug)]
pub(super) enum Said {
    /// A case begins.
    Begins(String),
    /// It has passed.
    Passed(String),
    /// It is not for this machine.
    Skipped(String, String),
    /// It has failed, and why.
    Failed(String, String),
    /// All have run.
    Done,
}

/// A running machine; dropping it ends it.
#[derive(Debug)]
pub(super) struct Machine {
    qemu: Child,
    folder: PathBuf,
    monitor: Monitor,
    lines: Receiver<String>,
    line: UnixStream,
    /// Where what the guest wants kept is kept.
    kept: PathBuf,
    console: Arc<Mutex<VecDeque<String>>>,
}

/// qemu with everything that cases plug in: two USB buses' worth of ports, four PCI Express slots, and
/// disks that hold zeros.
fn qemu(image: &Image, folder: &Path, console: &str) -> Command {
    // With it qemu ends when we do, however that comes about.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
    // The whole system lies in memory there.
    let memory = if image.way == "systemd" {
        "1280"
    } else {
        "768"
    };
    qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]);
    qemu.args(["-smp", "2", "-m", memory, "-nodefaults", "-display", "none"]);
    qemu.arg("-no-reboot").args(["-serial", console]);
    let socket = |name: &str| format!("unix:{},server=on,wait=off", folder.join(name).display());
    qemu.args(["-serial", &socket("line"), "-qmp", &socket("qmp")]);
    qemu.args(["-device", "qemu-xhci,id=xhci,p2=8,p3=8"]);
    qemu.args(["-device", "virtio-scsi-pci,id=scsi"]);
    for slot in 1..=4 {
        qemu.arg("-device");
        qemu.arg(format!(
            "pcie-root-port,id=slot{slot},chassis={slot},slot={slot}"
        ));
    }
    for disk in ["stick1", "stick2", "scsi1", "nvme1"] {
        qemu.arg("-blockdev");
        qemu.arg(format!(
            "driver=null-co,read-zeroes=on,size=16777216,node-name={disk}"
        ));
    }
    qemu.arg("-kernel").arg(&image.kernel);
    qemu.arg("-initrd").arg(&image.initrd);
    let words = format!(
        "console=ttyS0 rdinit=/init panic=-1 quiet arrival={}",
        image.way
    );
    qemu.args(["-append", &words]);
    qemu
}

/// A prompt in the machine.
pub(super) fn shell(image: &Image) -> Outcome<ExitCode> {
    let folder = fresh_folder(image.way)?;
    let status = qemu(image, &folder, "mon:stdio").status();
    fs::remove_dir_all(&folder)?;
    Ok(ExitCode::from(u8::from(!status?.success())))
}

fn fresh_folder(way: &str) -> Outcome<PathBuf> {
    // Short, because a socket's path has 108 bytes.
    let folder = std::env::temp_dir().join(format!("arrival-vm-{way}-{}", std::process::id()));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir(&folder)?;
    Ok(folder)
}

impl Machine {
    pub(super) fn start(image: &Image) -> Outcome<Self> {
        let folder = fresh_folder(image.way)?;
        let mut qemu = qemu(image, &folder, "stdio")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let console = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(output) = qemu.stdout.take() {
            let kept = Arc::clone(&console);
            thread::spawn(move || keep(output, &kept));
        }
        let connected = connect(&folder.join("line"), &mut qemu).and_then(|line| {
            Ok((
                line,
                Monitor::open(connect(&folder.join("qmp"), &mut qemu)?)?,
            ))
        });
        let (line, monitor) = match connected {
            Ok(both) => both,
            Err(error) => {
                qemu.kill()?;
                qemu.wait()?;
                return Err(error);
            }
        };
        let (sender, lines) = mpsc::channel();
        let reader = BufReader::new(line.try_clone()?);
        thread::spawn(move || {
            for line in reader.lines() {
                // The end of the line is the end of the machine.
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Machine {
            qemu,
            folder,
            monitor,
            lines,
            line,
            kept: image.kept.clone(),
            console,
        })
    }

    /// What the guest says next; what it asks of the monitor is done meanwhile.
    pub(super) fn hear(&mut self, patience: Duration) -> Outcome<Said> {
        let deadline = Instant::now() + patience;
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(wait) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("nothing was heard for {} s", patience.as_secs()).into());
                }
                Err(RecvTimeoutError::Disconnected) => return Err("the machine has ended".into()),
            };
            let line = line.trim();
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (name, why) = rest.split_once(' ').unwrap_or((rest, ""));
            let (name, why) = (name.to_owned(), why.to_owned());
            match word {
                "case" => {
                    self.console().clear();
                    return Ok(Said::Begins(name));
                }
                "ok" => return Ok(Said::Passed(name)),
                "skip" => return Ok(Said::Skipped(name, why)),
                "fail" => return Ok(Said::Failed(name, why)),
                "done" => return Ok(Said::Done),
                // No path, but the name of a file.
                "keep" if !name.contains('/') => {
                    let mut file = (fs::File::options().append(true).create(true))
                        .open(self.kept.join(name))?;
                    writeln!(file, "{why}")?;
                }
                "qmp" => {
                    let answer = match self.monitor.ask(rest) {
                        Ok(()) => "ok".to_owned(),
                        Err(error) => format!("error {error}"),
                    };
                    writeln!(self.line, "{answer}")?;
                }
                _ => {}
            }
        }
    }

    /// The console's lines since the last case began.
    pub(super) fn log_since_case(&self) -> String {
        let console = self.console();
        let lines: Vec<String> = console.iter().map(|line| format!("| {line}\n")).collect();
        lines.concat()
    }

    fn console(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn keep(output: impl Read, kept: &Mutex<VecDeque<String>>) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(text);
        line.clear();
    }
}

fn connect(path: &Path, qemu: &mut Child) -> Outcome<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(_) if begun.elapsed() < PATIENCE && qemu.try_wait()?.is_none() => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(format!("qemu does not answer: {error}").into()),
        }
    }
}

/// qemu's monitor. Source: QEMU, "QEMU Machine Protocol Specification".
#[derive(Debug)]
struct Monitor {
    reader: BufReader<UnixStream>,
}

impl Monitor {
    fn open(stream: UnixStream) -> Outcome<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut monitor = Monitor {
            reader: BufReader::new(stream),
        };
        // The greeting.
        monitor.line()?;
        monitor.ask(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(monitor)
    }

    fn line(&mut self) -> Outcome<serde_json::Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err("the monitor has ended".into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Sends a command and waits until it is done, not for what it leads to.
    fn ask(&mut self, command: &str) -> Outcome<()> {
        writeln!(self.reader.get_mut(), "{command}")?;
        loop {
            let line = self.line()?;
            if let Some(error) = line.get("error") {
                let said = error.get("desc").and_then(|desc| desc.as_str());
                return Err(said.unwrap_or("it says no more").to_owned().into());
            }
            if line.get("return").is_some() {
                return Ok(());
            }
            // An event.
        }
    }
}
