//! A case runs in a process and in namespaces of its own, as root or as an ordinary user.
//!
//! libtest runs cases in threads of one process, and a user namespace needs a process with a single
//! thread; so a case starts its own test program again, in namespaces, with itself as the filter.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::need::{Need, skip};
use crate::world::World;

/// As whom a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// root, in network and mount namespaces of its own.
    Root,
    /// An ordinary user, in user, network and mount namespaces of its own.
    User,
    /// root, in the machine's own network namespace (loop devices), mounts apart.
    Host,
    /// root, beside a udevd that takes its time with devices that a [`crate::udevd::Hold`] holds.
    BesideUdevd,
}

/// The user of [`As::User`] if the tests run as root: Debian's nobody.
const NOBODY: u32 = 65534;

const INSIDE: &str = "ARRIVAL_CASE";

/// Runs a case; `name` is its path in the test program, beginning with the program's name.
///
/// # Panics
///
/// If the case fails.
pub fn run(who: As, name: &str, body: fn(&mut World)) {
    let name = name.split_once("::").map_or(name, |(_, rest)| rest);
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        let mut world = World::new(who);
        body(&mut world);
        world.leave();
        return;
    }
    let root = rustix::process::geteuid().is_root();
    if who != As::User && !root {
        return skip(Need::Root, &format!("{name} needs root"));
    }
    let programs = Programs::copy();
    let case = programs.dir.join("case");
    let mut command = Command::new(&case);
    if who == As::BesideUdevd {
        let Some(xtask) = std::env::var_os("ARRIVAL_XTASK") else {
            let why = format!("{name} needs `cargo xtask test`, which unpacks a udevd for root");
            return skip(Need::Udevd, &why);
        };
        let rules = programs.dir.join("slow.rules");
        fs::write(&rules, crate::udevd::RULES).expect("our own file");
        command = Command::new(xtask);
        command
            .args(["udevd", "--rules"])
            .arg(rules)
            .arg("--")
            .arg(case);
    }
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, name)
        .env("ARRIVAL_PROGRAMS", &programs.dir)
        .current_dir("/");
    if who != As::BesideUdevd {
        let tun = who == As::User && root && !is_for_everybody(TUN);
        // SAFETY: between fork and exec only system calls are made, on data prepared before.
        unsafe {
            command.pre_exec(move || {
                if tun {
                    give_tun()?;
                }
                enter(who, root)
            })
        };
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if who == As::User => {
            return skip(
                Need::Netns,
                &format!("{name} needs a user namespace: {error}"),
            );
        }
        Err(error) => panic!("{name} could not enter its namespaces: {error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !text.contains("1 passed") {
        panic!(
            "{name} as {who:?}: {}\n{}",
            output.status,
            quoted(&text, &errors)
        );
    }
}

/// What a test program printed, as no result of the one that shows it.
fn quoted(text: &str, errors: &str) -> String {
    let lines = text.lines().chain(errors.lines());
    lines.map(|line| format!("| {line}\n")).collect()
}

/// The shipped programs and this test program, where every user can read them.
struct Programs {
    dir: PathBuf,
}

impl Programs {
    fn copy() -> Programs {
        let own = std::env::current_exe().expect("the test program has a path");
        let built = own
            .parent()
            .and_then(Path::parent)
            .expect("target/PROFILE/deps/program");
        let dir = crate::world::fresh_dir("arrival-case");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("our own folder");
        for (from, to) in [
            (own.clone(), "case"),
            (built.join("arrival"), "arrival"),
            (built.join("arrivald"), "arrivald"),
            (built.join("arrival-recorder"), "arrival-recorder"),
            (built.join("arrival-follower"), "arrival-follower"),
        ] {
            let to = dir.join(to);
            if let Err(error) = fs::copy(&from, &to) {
                panic!("{}: {error}; `cargo xtask test` builds it", from.display());
            }
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("our own file");
        }
        Programs { dir }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // What is left in a temporary folder does no harm.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What makes taps; udevd lets everybody use it, the kernel alone only root.
const TUN: &str = "/dev/net/tun";

fn is_for_everybody(node: &str) -> bool {
    fs::metadata(node).is_ok_and(|found| found.permissions().mode() & 0o006 == 0o006)
}

/// Gives this process alone a [`TUN`] that everybody may use; runs between fork and exec, as root.
fn give_tun() -> io::Result<()> {
    let (kind, dir, node) = (c"tmpfs", c"/dev/net", c"/dev/net/tun");
    // SAFETY: plain system calls on strings that live as long as the program.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        keep_mounts_apart()?;
        check(libc::mount(
            kind.as_ptr(),
            dir.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        ))?;
        let device = libc::makedev(10, 200);
        check(libc::mknod(node.as_ptr(), libc::S_IFCHR | 0o666, device))?;
        // The mask of the caller took from the mode.
        check(libc::chmod(node.as_ptr(), 0o666))
    }
}

/// Enters the namespaces of a case; runs between fork and exec.
fn enter(who: As, root: bool) -> io::Result<()> {
    let flags = match who {
        As::Root => libc::CLONE_NEWNET | libc::CLONE_NEWNS,
        As::Host | As::BesideUdevd => libc::CLONE_NEWNS,
        As::User => libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWNS,
    };
    // SAFETY: plain system calls that take numbers; the process has one thread here.
    let (uid, gid) = unsafe {
        if who == As::User && root {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(NOBODY, NOBODY, NOBODY))?;
            check(libc::setresuid(NOBODY, NOBODY, NOBODY))?;
            // Changing the user makes /proc/self root's; the maps below are written there.
            check(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0))?;
        }
        (libc::geteuid(), libc::getegid())
    };
    // SAFETY: as above.
    check(unsafe { libc::unshare(flags) })?;
    if who == As::User {
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    keep_mounts_apart()
}

/// What is mounted from here on is seen by nobody else.
fn keep_mounts_apart() -> io::Result<()> {
    let (none, root) = (c"none", c"/");
    // SAFETY: the strings are valid for the call; MS_PRIVATE takes no data.
    check(unsafe {
        libc::mount(
            none.as_ptr(),
            root.as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
