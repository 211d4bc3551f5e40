//! `cargo xtask udevd`: a command beside a real systemd-udevd, in namespaces of its own.
//!
//! The command and udevd share a network, a mount and a PID namespace: group 2 of the kernel's
//! uevent socket does not cross network namespaces, and when the command ends nothing is left.
//!
//! | path | in the namespace |
//! |---|---|
//! | `/run` | empty, with Debian's rules in `udev/rules.d` |
//! | `/sys` | of this network namespace, the cgroup mounts below it as before |
//! | `/dev` | null, zero, random, net/tun and the like, made anew: udevd changes modes |
//! | `/proc` | of this PID namespace |

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::mount::{MountFlags, mount, mount_bind_recursive, mount_move};

use crate::peers::{self, Peers};
use crate::{Outcome, workspace};

/// How long udevd may take to open its control socket.
const PATIENCE: Duration = Duration::from_secs(10);

/// What goes on behind `unshare`, instead of a name that a person would type.
const INSIDE: &str = "--inside";

/// Nodes that programs expect.
const NODES: [&str; 8] = [
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "tty",
    "net/tun",
    "loop-control",
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    inside: bool,
    rules: Option<PathBuf>,
    command: Vec<String>,
}

fn parse(words: &[String]) -> Outcome<Arguments> {
    let mut arguments = Arguments::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            INSIDE => arguments.inside = true,
            "--rules" => arguments.rules = words.next().map(PathBuf::from),
            "--" => arguments.command = words.by_ref().cloned().collect(),
            other => return Err(format!("'{other}' is not expected before '--'").into()),
        }
    }
    if arguments.command.is_empty() {
        return Err("a command is expected after '--'".into());
    }
    Ok(arguments)
}

pub(crate) fn run(words: &[String]) -> Outcome<ExitCode> {
    let arguments = parse(words)?;
    if arguments.inside {
        return inside(&arguments);
    }
    if !workspace::is_root() {
        return Err("a udevd of its own needs root".into());
    }
    peers::fetch()?;
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--"]);
    unshare.arg(env::current_exe()?).args(["udevd", INSIDE]);
    let status = unshare.args(words).status()?;
    Ok(ExitCode::from(code(status)))
}

fn inside(arguments: &Arguments) -> Outcome<ExitCode> {
    let peers = peers::fetch()?;
    namespaces()?;
    let mut udevd = start(&peers, arguments.rules.as_deref())?;
    let (program, words) = arguments.command.split_first().ok_or("no command")?;
    let status = Command::new(program).args(words).status();
    udevd.kill()?;
    udevd.wait()?;
    let status = status.map_err(|error| format!("{program} could not be run: {error}"))?;
    Ok(ExitCode::from(code(status)))
}

fn code(status: std::process::ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(1)
}

/// Makes the mounts of a namespace that `unshare` has just made.
pub(crate) fn namespaces() -> Outcome<()> {
    let none = MountFlags::empty();
    mount("proc", "/proc", "proc", none, None)?;
    mount("tmpfs", "/run", "tmpfs", none, None)?;
    let cgroup = Path::new("/sys/fs/cgroup");
    let aside = Path::new("/run/cgroup");
    fs::create_dir(aside)?;
    mount_bind_recursive(cgroup, aside)?;
    mount("sysfs", "/sys", "sysfs", none, None)?;
    mount_move(aside, cgroup)?;
    fs::remove_dir(aside)?;
    let new = Path::new("/run/dev");
    fs::create_dir(new)?;
    mount("tmpfs", new, "tmpfs", none, None)?;
    for node in NODES {
        let (host, here) = (Path::new("/dev").join(node), new.join(node));
        // Nodes of its own: udevd changes owners and modes, and through a bind mount those of the
        // machine's own nodes.
        if let Ok(node) = fs::metadata(&host) {
            if let Some(folder) = here.parent() {
                fs::create_dir_all(folder)?;
            }
            mknodat(
                CWD,
                &here,
                FileType::CharacterDevice,
                Mode::from_raw_mode(0o666),
                node.rdev(),
            )?;
            fs::set_permissions(&here, node.permissions())?;
        }
    }
    mount_move(new, "/dev")?;
    fs::remove_dir(new)?;
    Ok(())
}

/// Starts udevd with Debian's rules and, behind them, those of a file.
pub(crate) fn start(peers: &Peers, rules: Option<&Path>) -> Outcome<Child> {
    let folder = Path::new("/run/udev/rules.d");
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(peers.rules())? {
        let file = entry?;
        fs::copy(file.path(), folder.join(file.file_name()))?;
    }
    if let Some(rules) = rules {
        fs::copy(rules, folder.join("99-xtask.rules"))?;
    }
    let log = File::create("/run/udevd.log")?;
    let mut udevd = peers
        .udevd()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let begun = Instant::now();
    while !Path::new("/run/udev/control").exists() {
        if udevd.try_wait()?.is_some() || begun.elapsed() > PATIENCE {
            let said = fs::read_to_string("/run/udevd.log").unwrap_or_default();
            udevd.kill().ok();
            return Err(format!("udevd does not run: {}", said.trim()).into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(udevd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_follows_two_dashes_is_the_command() {
        let arguments = parse(&words("--rules x -- ls --rules"));
        let expected = Arguments {
            rules: Some("x".into()),
            command: words("ls --rules"),
            ..Arguments::default()
        };
        assert_eq!(arguments.ok(), Some(expected));
    }

    #[test]
    fn a_command_is_needed() {
        assert!(parse(&words("--rules x --")).is_err());
        assert!(parse(&words("ls")).is_err());
    }
}
