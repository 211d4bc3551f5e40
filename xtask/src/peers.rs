//! Other systems to measure and test against: Debian's packages, unpacked and never installed.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::{Outcome, workspace};

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
    fn libraries(&self) -> String {
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
    let folder = workspace::target().join("peers");
    let peers = Peers(folder.clone());
    if peers.complete() {
        return Ok(peers);
    }
    let packages = workspace::target().join("peers-packages");
    let unpacked = workspace::target().join("peers-unpacked");
    for path in [&folder, &packages, &unpacked] {
        remove(path)?;
    }
    fs::create_dir_all(&packages)?;
    fs::create_dir_all(&unpacked)?;
    eprintln!("unpacking Debian's {}", PACKAGES.join(", "));
    if download(&packages).is_err() && workspace::is_root() {
        quiet(Command::new("apt-get").arg("update"))?;
        download(&packages)?;
    }
    let mut count = 0;
    for entry in fs::read_dir(&packages)? {
        let package = entry?.path();
        if package.extension().is_some_and(|name| name == "deb") {
            quiet(
                Command::new("dpkg-deb")
                    .arg("-x")
                    .arg(&package)
                    .arg(&unpacked),
            )?;
            count += 1;
        }
    }
    if count < PACKAGES.len() {
        return Err(format!("only {count} of {} packages came", PACKAGES.len()).into());
    }
    // Renamed when it is whole, so that an interrupted run leaves nothing that looks complete.
    fs::rename(&unpacked, &folder)?;
    remove(&packages)?;
    if peers.complete() {
        Ok(peers)
    } else {
        Err("the packages do not hold busybox and systemd-udevd where they used to".into())
    }
}

fn remove(folder: &Path) -> Outcome<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn download(folder: &Path) -> Outcome<()> {
    quiet(
        Command::new("apt-get")
            // Debian's own user for downloads cannot write below a home folder.
            .args(["-o", "APT::Sandbox::User=root", "download"])
            .args(PACKAGES)
            .current_dir(folder),
    )
}

/// Runs a program; what it printed is shown only if it fails.
fn quiet(command: &mut Command) -> Outcome<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name} could not be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} failed: {}", said.trim()).into())
}
