//! A Debian that boots: the packages of a minimal system with systemd, unpacked and configured by debootstrap(8).
//!
//! It is made once and kept in `target/vm-debian`. What a test needs of it is its systemd, its udev and its dpkg, so the
//! manual, the translations and apt's lists are left out of the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{self, output, quiet};
use crate::{Outcome, workspace};

/// The release that the package is made for first.
const RELEASE: &str = "bookworm";

/// What the image leaves out.
pub(super) const LEFT_OUT: [&str; 9] = [
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt",
    "usr/lib/udev/hwdb.d",
    "usr/lib/udev/hwdb.bin",
    "usr/lib/x86_64-linux-gnu/gconv",
];

/// The root of the system, made now if it is not there yet; only root can.
pub(super) fn fetch() -> Outcome<PathBuf> {
    let root = workspace::target().join("vm-debian");
    if root.join("usr/lib/systemd/systemd").exists() {
        return Ok(root);
    }
    if !workspace::is_root() {
        return Err("a Debian that boots is made by root".into());
    }
    let tool = packages::unpacked("debootstrap", &["debootstrap"], |root| {
        root.join("usr/sbin/debootstrap").exists()
    })?;
    let archive = mirror().or_else(|_| packages::update().and_then(|()| mirror()))?;
    eprintln!("unpacking a minimal Debian");
    let making = workspace::target().join("vm-debian-unpacked");
    for old in [&root, &making] {
        if old.exists() {
            fs::remove_dir_all(old)?;
        }
    }
    quiet(
        Command::new("sh")
            .arg(tool.join("usr/sbin/debootstrap"))
            .args([
                "--variant=minbase",
                "--include=systemd-sysv,udev,kmod,iproute2",
            ])
            .arg(RELEASE)
            .arg(&making)
            .arg(archive)
            .env("DEBOOTSTRAP_DIR", tool.join("usr/share/debootstrap")),
    )?;
    // Renamed when it is whole, so that an interrupted run leaves nothing that looks complete.
    fs::rename(&making, &root)?;
    Ok(root)
}

/// The archive that this machine's apt uses.
fn mirror() -> Outcome<String> {
    let filter = format!("Codename: {RELEASE}");
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(REPO_URI)", &filter]);
    let text = output(&mut apt)?;
    let first = text
        .lines()
        .next()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    Ok(first
        .ok_or_else(|| format!("this machine's apt knows no archive of {RELEASE}"))?
        .to_owned())
}

/// Whether a path below the root is left out.
pub(super) fn is_left_out(path: &Path) -> bool {
    LEFT_OUT.iter().any(|left_out| path.starts_with(left_out))
}
