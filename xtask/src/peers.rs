//! Other systems to measure and test against: Debian's packages, unpacked and never installed.

use std::env;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::{Outcome, packages};

/// What is unpacked: the two peers and the libraries that udevd may find missing.
const PACKAGES: [&str; 8] = [
    "busybox",
    "udev",
    "libudev1",
    "libkmod2",
    "libblkid1",
    "libselinux1",
    "libacl1",
    "libcap2",
];

/// The folder that holds the unpacked packages, like the root of a file system.
#[derive(Clone, Debug)]
pub(crate) struct Peers(PathBuf);

impl Peers {
    /// The busybox that serves as `mdev`.
    pub(crate) fn busybox(&self) -> PathBuf {
        first(&self.0, &["bin/busybox", "usr/bin/busybox"])
    }

    /// The device manager of systemd, ready to be run: `udevadm` under its other name, since the
    /// package's link `systemd-udevd` leads to the root of the file system.
    pub(crate) fn udevd(&self) -> Command {
        let mut command = Command::new(self.udevadm());
        command
            .arg0("systemd-udevd")
            .env("LD_LIBRARY_PATH", self.libraries());
        command
    }

    /// Its tool, which wants the same libraries.
    pub(crate) fn udevadm(&self) -> PathBuf {
        first(&self.0, &["bin/udevadm", "usr/bin/udevadm"])
    }

    /// Debian's rules.
    pub(crate) fn rules(&self) -> PathBuf {
        first(&self.0, &["lib/udev/rules.d", "usr/lib/udev/rules.d"])
    }

    /// The value of LD_LIBRARY_PATH for its programs.
    pub(crate) fn libraries(&self) -> String {
        let triplet = format!("{}-linux-gnu", env::consts::ARCH);
        let below = |folder: &str| self.0.join(folder).join(&triplet).display().to_string();
        format!("{}:{}", below("usr/lib"), below("lib"))
    }

    fn complete(&self) -> bool {
        [self.busybox(), self.udevadm(), self.rules()]
            .iter()
            .all(|path| path.exists())
    }
}

/// The first name that exists below a folder, else the last one.
fn first(folder: &Path, names: &[&str]) -> PathBuf {
    let mut paths = names.iter().map(|name| folder.join(name));
    let last = paths.clone().next_back();
    paths
        .find(|path| path.exists())
        .or(last)
        .unwrap_or_default()
}

/// `cargo xtask fetch-peers`
pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    if let Some(word) = arguments.first() {
        return Err(format!("no argument is expected, not '{word}'").into());
    }
    let peers = fetch()?;
    println!("{}", peers.busybox().display());
    println!("{}", peers.udevadm().display());
    Ok(ExitCode::SUCCESS)
}

/// The peers, unpacked now if they are not yet.
pub(crate) fn fetch() -> Outcome<Peers> {
    let complete = |folder: &Path| Peers(folder.to_owned()).complete();
    packages::unpacked("peers", &PACKAGES, complete).map(Peers)
}
