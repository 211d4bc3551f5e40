//! The udevd beside a case (`cargo xtask udevd`): holding it back, and ending it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::world::{signal_process, wait_for};

/// For each new device NAME of which there is a folder `/run/hold-NAME`, udevd adds a line to the file
/// `begun` in it, and waits until the folder is gone or the folder `let` in it can be taken away.
pub(crate) const RULES: &str = r#"ACTION=="add", SUBSYSTEM=="net|block", PROGRAM="/bin/sh -c '[ ! -d /run/hold-%k ] || echo >> /run/hold-%k/begun; while [ -d /run/hold-%k ] && ! rmdir /run/hold-%k/let 2>/dev/null; do sleep 0.01; done'"
"#;

/// Holds udevd at a device, until this is dropped.
#[derive(Debug)]
pub struct Hold {
    dir: PathBuf,
}

impl Hold {
    /// Holds it at the devices of this name that come from now on.
    ///
    /// # Panics
    ///
    /// If it is held already.
    pub fn of(name: &str) -> Hold {
        let dir = PathBuf::from(format!("/run/hold-{name}"));
        fs::create_dir(&dir).expect("one hold of a name");
        Hold { dir }
    }

    /// How many additions of such devices udevd has begun to deal with. It has finished all but the last,
    /// and said so.
    pub fn begun(&self) -> usize {
        let lines = fs::read_to_string(self.dir.join("begun"));
        lines.map_or(0, |lines| lines.lines().count())
    }

    /// Lets it finish one of them.
    ///
    /// # Panics
    ///
    /// If the last one that was let go has not been taken up.
    pub fn let_one_go(&self) {
        fs::create_dir(self.dir.join("let")).expect("one at a time");
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A shell may be writing to it at this moment.
        wait_for("the hold to go", || {
            fs::remove_dir_all(&self.dir).is_ok() || !self.dir.exists()
        });
    }
}

/// A running udevd, and how it was started.
#[derive(Debug)]
pub struct Udevd {
    /// Its process.
    pub pid: i32,
    program: PathBuf,
    words: Vec<OsString>,
    variables: Vec<OsString>,
}

impl Udevd {
    /// The one of this PID namespace.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn find() -> Udevd {
        let numbers = fs::read_dir("/proc").expect("/proc is there").flatten();
        let mut numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_it = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).next() == Some(b"systemd-udevd")
        };
        let pid = numbers.find(is_it).expect("a udevd runs");
        let list = |file: &str| -> Vec<OsString> {
            let text = fs::read(format!("/proc/{pid}/{file}")).expect("it runs");
            let parts = text
                .split(|byte| *byte == 0)
                .filter(|part| !part.is_empty());
            parts
                .map(|part| OsString::from_vec(part.to_vec()))
                .collect()
        };
        Udevd {
            pid,
            program: fs::read_link(format!("/proc/{pid}/exe")).expect("it runs"),
            words: list("cmdline"),
            variables: list("environ"),
        }
    }

    /// Ends it with a signal, and waits until it has ended.
    pub fn end(&self, signal: i32) {
        signal_process(self.pid, signal);
        wait_for("udevd to end", || {
            // The dead that nobody has waited for have no memory, hence no command line.
            fs::read(format!("/proc/{}/cmdline", self.pid)).map_or(true, |line| line.is_empty())
        });
    }

    /// Starts another one as this one was started, and waits until it serves.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start_again(&self) -> Udevd {
        let mut command = Command::new(&self.program);
        let (name, rest) = self.words.split_first().expect("it had a name");
        command.arg0(name).args(rest).env_clear();
        for variable in &self.variables {
            let text = variable.to_string_lossy();
            let (key, value) = text.split_once('=').expect("KEY=VALUE");
            command.env(key, value);
        }
        // What an earlier one left behind does not say that this one serves.
        let _ = fs::remove_file("/run/udev/control");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("udevd starts");
        wait_for("udevd to serve", || {
            assert!(
                child.try_wait().expect("our child").is_none(),
                "udevd has ended"
            );
            fs::exists("/run/udev/control").expect("/run can be read")
        });
        Udevd::find()
    }
}
