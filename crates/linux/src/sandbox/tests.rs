#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Folder(temporary_folder("arrival-test-").unwrap())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// Waits until a file has a whole line.
    fn line(&self, name: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let text = self.read(name);
            if let Some((line, _)) = text.split_once('\n') {
                return line.to_owned();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("nothing was written to {name}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a need that this machine does not meet must be met.
fn is_required(need: &str) -> bool {
    std::env::var("ARRIVAL_REQUIRE").is_ok_and(|all| all.split(',').any(|word| word == need))
}

fn skip(need: &str, why: impl fmt::Display) {
    assert!(!is_required(need), "{need} is required: {why}");
    println!("skipped: {why}");
}

fn shell(root: &Path, script: &str) -> Sandbox {
    Sandbox::new(root, "/bin/sh")
        .argument("-ec")
        .argument(script)
}

/// Starts it, or says why this machine cannot.
fn start(sandbox: &Sandbox) -> Option<World> {
    match sandbox.start() {
        Ok(world) => Some(world),
        Err(SandboxError::Refused(refusal)) => {
            skip("netns", refusal);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What holds in a world, whoever made it.
mod world {
    use super::*;

    #[test]
    fn has_its_own_processes_devices_and_a_loopback_that_is_up() {
        let folder = Folder::new();
        let script = "
            echo $(readlink /proc/self/ns/net) $PPID >first
            ls sys/class/net >net
            cat sys/class/net/lo/flags >flags
            ls -d /proc/[0-9]* | wc -l >processes
            id -u >id
            stat -f -c %T sys >type
            echo done >done";
        let Some(mut world) = start(&shell(&folder.0, script)) else {
            return;
        };
        assert_eq!(world.wait().unwrap().code(), Some(0));
        assert_eq!(folder.line("done"), "done");
        let net = fs::read_link("/proc/self/ns/net").unwrap();
        let first = folder.line("first");
        let (other, parent) = first.split_once(' ').unwrap();
        assert_ne!(other, net.to_str().unwrap());
        assert_eq!(parent, "1");
        assert_eq!(folder.read("net"), "lo\n");
        assert_eq!(folder.line("flags"), "0x9");
        assert!(folder.line("processes").trim().parse::<u32>().unwrap() <= 5);
        assert_eq!(folder.line("id"), "0");
        assert_eq!(folder.line("type"), "sysfs");
        let left: Vec<_> = fs::read_dir(folder.0.join("sys")).unwrap().collect();
        assert!(left.is_empty(), "the mount is still there: {left:?}");
    }

    #[test]
    fn passes_on_how_its_program_ended() {
        let folder = Folder::new();
        for (script, code) in [("exit 0", 0), ("exit 41", 41), ("kill -9 $$", 137)] {
            let Some(mut world) = start(&shell(&folder.0, script)) else {
                return;
            };
            assert_eq!(world.wait().unwrap().code(), Some(code), "{script}");
            assert_eq!(world.wait().unwrap().code(), Some(code), "asked again");
        }
    }

    #[test]
    fn ends_with_its_program_and_takes_every_process_along() {
        let folder = Folder::new();
        let script = "
            sleep 1000 & setsid sleep 1000 &
            mkfifo go; echo ready >ready
            read line <go; exit 3";
        let Some(mut world) = start(&shell(&folder.0, script)) else {
            return;
        };
        folder.line("ready");
        let before = world.processes();
        assert!(before.len() >= 4, "{before:?}");
        assert!(before.contains(&world.init()));
        let mut go = fs::File::options()
            .write(true)
            .open(folder.0.join("go"))
            .unwrap();
        go.write_all(b"go\n").unwrap();
        assert_eq!(world.wait().unwrap().code(), Some(3));
        assert_eq!(world.processes(), [0; 0]);
    }

    #[test]
    fn is_ended_from_outside_at_once() {
        let folder = Folder::new();
        let script = "trap '' TERM INT HUP; (trap '' TERM; sleep 1000) & echo ready >ready; wait";
        let Some(mut world) = start(&shell(&folder.0, script)) else {
            return;
        };
        folder.line("ready");
        assert!(world.end().unwrap().signal().is_some());
        assert_eq!(world.processes(), [0; 0]);
    }

    #[test]
    fn takes_away_orphans() {
        let folder = Folder::new();
        // The middle process ends at once, so that the innermost becomes init's.
        let script = "
            (sh -c 'echo $$ >orphan' &)
            i=0; while [ ! -s orphan ]; do i=$((i+1)); [ $i -lt 2000 ]; sleep 0.01; done
            i=0; while [ -e /proc/$(cat orphan) ]; do i=$((i+1)); [ $i -lt 2000 ]; sleep 0.01; done";
        let Some(mut world) = start(&shell(&folder.0, script)) else {
            return;
        };
        assert_eq!(world.wait().unwrap().code(), Some(0));
    }

    #[test]
    fn keeps_what_is_made_in_a_private_root_to_itself() {
        let folder = Folder::new();
        let script = "cp /bin/sh program; ./program -c 'echo $ANSWER >answer'; \
                      grep -q 42 answer; stat -c %a . | grep -qx 700; exit 7";
        let sandbox = shell(&folder.0, script)
            .private_root()
            .variable("ANSWER", "42");
        let Some(mut world) = start(&sandbox) else {
            return;
        };
        assert_eq!(world.wait().unwrap().code(), Some(7));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    }

    #[test]
    fn sees_nothing_in_a_hidden_folder() {
        let folder = Folder::new();
        let hidden = folder.0.join("hidden");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("secret"), "").unwrap();
        let script = "ls -A hidden | wc -l >count";
        let sandbox = shell(&folder.0, script)
            .hide(&hidden)
            .hide("/nonexistent/folder");
        let Some(mut world) = start(&sandbox) else {
            return;
        };
        assert_eq!(world.wait().unwrap().code(), Some(0));
        assert_eq!(folder.line("count").trim(), "0");
        assert!(hidden.join("secret").exists());
    }

    #[test]
    fn has_a_null_device_even_where_ours_is_closed() {
        let folder = Folder::new();
        let script = "echo gone >/dev/null; [ -z \"$(head -c 1 </dev/null)\" ] || [ -f /dev/null ]; \
                      ls -A sys | grep -qx class; ls -A sys | grep -c null >count || true";
        let Some(mut world) = start(&shell(&folder.0, script)) else {
            return;
        };
        assert_eq!(world.wait().unwrap().code(), Some(0));
        assert_eq!(folder.line("count"), "0");
    }

    #[test]
    fn ends_with_the_thread_that_made_it() {
        let folder = Folder::new();
        let root = folder.0.clone();
        let world = std::thread::spawn(move || start(&shell(&root, "sleep 1000"))).join();
        let Some(mut world) = world.unwrap() else {
            return;
        };
        let mut fds = [PollFd::new(&world, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&patience)).unwrap(), 1);
        assert_eq!(world.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    #[test]
    fn starts_its_program_with_default_signals_and_no_descriptors_of_ours() {
        let folder = Folder::new();
        let leaked = fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
        let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status >signals; ls /proc/self/fd >fds; \
                      sleep 1000 & kill -TERM $!; wait $! || echo $? >term";
        let Some(mut world) = start(&shell(&folder.0, script)) else {
            return;
        };
        assert_eq!(world.wait().unwrap().code(), Some(0));
        let zero = "0000000000000000";
        assert_eq!(
            folder.read("signals"),
            format!("SigBlk:\t{zero}\nSigIgn:\t{zero}\n")
        );
        assert_eq!(folder.line("term"), "143");
        // Standard descriptors, and the one with which ls reads the folder.
        assert_eq!(folder.read("fds"), "0\n1\n2\n3\n");
    }

    #[test]
    fn is_not_there_if_its_program_is_not() {
        let folder = Folder::new();
        let program = folder.0.join("nothing");
        match Sandbox::new(&folder.0, &program).start() {
            Err(SandboxError::Failed {
                step: Step::Program,
                cause,
            }) => assert_eq!(cause.raw_os_error(), Some(libc::ENOENT)),
            Err(SandboxError::Refused(refusal)) => skip("netns", refusal),
            other => panic!("{other:?}"),
        }
    }
}

/// Runs tests of this program again, by a copy that everyone may execute.
fn again(folder: &Folder, wrap: impl FnOnce(&Path) -> Command, filter: &str) -> (bool, String) {
    let copy = folder.0.join("copy");
    // Not by ourselves: while a child of another test holds our descriptor, the copy is "busy".
    let made = Command::new("cp")
        .arg(std::env::current_exe().unwrap())
        .arg(&copy)
        .status();
    assert!(made.unwrap().success());
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let output = wrap(&copy)
        .args([filter, "--nocapture", "--include-ignored"])
        .env("TMPDIR", "/tmp")
        .env_remove("HOME")
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

#[test]
fn all_of_it_holds_for_an_ordinary_user() {
    if !rustix::process::geteuid().is_root() {
        return skip("root", "only root can become another user");
    }
    let folder = Folder::new();
    let as_nobody = |copy: &Path| {
        let mut command = Command::new(copy);
        command.uid(65534).gid(65534);
        command
    };
    let (good, text) = again(&folder, as_nobody, "sandbox::tests::world::");
    assert!(good, "{text}");
    assert!(
        text.contains("11 passed") || text.contains("skipped"),
        "{text}"
    );
}

#[test]
fn a_limit_of_no_user_namespaces_is_named_by_the_refusal() {
    const INSIDE: &str = "ARRIVAL_TEST_NO_USER_NAMESPACES";
    if std::env::var_os(INSIDE).is_some() {
        let folder = Folder::new();
        match shell(&folder.0, "true").start() {
            Err(SandboxError::Refused(refusal)) => {
                println!("refused: {refusal}; {}", refusal.remedy());
            }
            other => panic!("{other:?}"),
        }
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("root", "only root can limit a user namespace");
    }
    let folder = Folder::new();
    let limited = |copy: &Path| {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "sh", "-ec"])
            .arg(
                "echo 0 >/proc/sys/user/max_user_namespaces; \
                 exec setpriv --bounding-set=-all \"$0\" \"$@\"",
            )
            .arg(copy)
            .env(INSIDE, "1");
        command
    };
    let name = "a_limit_of_no_user_namespaces_is_named_by_the_refusal";
    let (good, text) = again(&folder, limited, name);
    assert!(good, "{text}");
    let expected = "refused: user.max_user_namespaces is 0: nobody may make private namespaces \
                    (No space left on device (os error 28)); run it as root, or raise it with: \
                    sysctl -w user.max_user_namespaces=1024";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_signal_that_was_taken_over_is_read_instead_of_ending_us() {
    let signals = Signals::take_over(&[libc::SIGUSR2]).unwrap();
    assert_eq!(signals.take().unwrap(), None);
    // SAFETY: a signal to this thread alone, which is blocked.
    let sent = unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2) };
    assert_eq!(sent, 0);
    let mut fds = [PollFd::new(&signals, PollFlags::IN)];
    assert_eq!(poll(&mut fds, None).unwrap(), 1);
    assert_eq!(signals.take().unwrap(), Some(libc::SIGUSR2));
    assert_eq!(signals.take().unwrap(), None);
    assert!(Signals::take_over(&[1000]).is_err());
}

#[test]
fn a_nul_byte_cannot_cut_an_argument_short() {
    let sandbox = Sandbox::new("/", "/bin/true").argument("a\0b");
    assert!(matches!(sandbox.start(), Err(SandboxError::Nul(text)) if text == "a\0b"));
}
