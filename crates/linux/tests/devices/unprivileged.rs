//! A user without any privilege, in namespaces of their own.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::recorder::start;
use crate::rtnetlink::Links;
use crate::sandbox::{Sandbox, is_root, skip};

/// Set in the process that a test starts to be that user.
const INSIDE: &str = "ARRIVAL_TEST_INSIDE_USERNS";

#[test]
fn a_user_without_privileges_sees_the_devices_of_their_own_namespace() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let name = "unprivileged::a_user_without_privileges_sees_the_devices_of_their_own_namespace";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1");
    let root = is_root();
    // SAFETY: between fork and exec the child touches no lock but the allocator's, which the C
    // library makes usable after a fork.
    unsafe {
        command.pre_exec(move || {
            const NOBODY: u32 = 65534;
            if root && (libc::setgid(NOBODY) < 0 || libc::setuid(NOBODY) < 0) {
                return Err(std::io::Error::last_os_error());
            }
            // Else the files of the process in /proc belong to root.
            libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
            let (uid, gid) = (libc::geteuid(), libc::getegid());
            let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWNS;
            if libc::unshare(flags) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            std::fs::write("/proc/self/setgroups", "deny")?;
            std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
            std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
        });
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return skip("netns", &format!("no user namespace can be made: {error}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("seen: br0"), "{text}\n{errors}");
}

fn inside() {
    let sandbox = match Sandbox::mounted() {
        Ok(sandbox) => sandbox,
        Err(error) => {
            skip(
                "netns",
                &format!("sysfs cannot be mounted in a user namespace: {error}"),
            );
            return println!("seen: br0");
        }
    };
    let (source, mut recorder) = start(sandbox.config());
    assert!(recorder.present.is_empty());
    let links = Links::open();
    links.bridge("br0");
    let interface = recorder.wait_present("br0");
    println!("seen: {}", interface.name);
    links.delete("br0");
    recorder.wait_gone("br0");
    assert_eq!(source.counters().spoofed, 0);
}
