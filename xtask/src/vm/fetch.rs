//! The kernel and qemu, from Debian's packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{self, output, quiet};
use crate::peers::{self, Peers};
use crate::{Outcome, workspace};

/// The package that depends on the newest kernel.
const METAPACKAGE: &str = "linux-image-amd64";
const QEMU: &str = "qemu-system-x86_64";

/// What a machine is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// busybox and udevd.
    pub(super) peers: Peers,
    /// The kernel's image.
    pub(super) kernel: PathBuf,
    /// The folder of its modules, with `modules.dep`.
    pub(super) modules: PathBuf,
}

/// Everything, fetched now if it is not there yet.
pub(super) fn fetch() -> Outcome<Parts> {
    if !cfg!(target_arch = "x86_64") {
        return Err("the machine is one of x86_64".into());
    }
    let peers = peers::fetch()?;
    qemu()?;
    let root = kernel()?;
    let only = |folder: PathBuf, prefix: &str| -> Outcome<PathBuf> {
        let mut found = fs::read_dir(&folder)?
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        let entry = found.next();
        Ok(entry
            .ok_or_else(|| format!("{} has no {prefix}*", folder.display()))?
            .path())
    };
    Ok(Parts {
        peers,
        kernel: only(root.join("boot"), "vmlinuz-")?,
        modules: only(root.join("lib/modules"), "")?,
    })
}

/// Installs qemu if it is missing, which needs root.
fn qemu() -> Outcome<()> {
    if output(Command::new(QEMU).arg("--version")).is_ok() {
        return Ok(());
    }
    if !workspace::is_root() {
        return Err(format!("{QEMU} is missing: apt-get install qemu-system-x86").into());
    }
    let install = || {
        quiet(
            Command::new("apt-get")
                .args([
                    "install",
                    "--yes",
                    "--no-install-recommends",
                    "qemu-system-x86",
                ])
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    eprintln!("installing Debian's qemu-system-x86");
    install().or_else(|_| packages::update().and_then(|()| install()))
}

/// The unpacked package of the newest kernel, with its dependencies between modules.
fn kernel() -> Outcome<PathBuf> {
    let package = match package() {
        Err(_) if workspace::is_root() => packages::update().and_then(|()| package()),
        known => known,
    };
    let package = match package {
        Ok(package) => package,
        // Without a list of packages one that was unpacked before will do.
        Err(error) => return unpacked_before().ok_or(error),
    };
    let complete = |folder: &Path| folder.join("lib/modules").exists();
    let folder = packages::unpacked(&format!("vm/{package}"), &[&package], complete)?;
    let depmod = packages::unpacked("vm/kmod", &["kmod"], |folder| {
        folder.join("bin/kmod").exists()
    })?;
    for entry in fs::read_dir(folder.join("lib/modules"))? {
        let entry = entry?;
        if !entry.path().join("modules.dep").exists() {
            // kmod is depmod by another name.
            let link = depmod.join("depmod");
            if !link.exists() {
                std::os::unix::fs::symlink("bin/kmod", &link)?;
            }
            quiet(
                Command::new(link)
                    .arg("-b")
                    .arg(&folder)
                    .arg(entry.file_name()),
            )?;
        }
    }
    Ok(folder)
}

/// The name of the package, which holds the kernel's version.
fn package() -> Outcome<String> {
    let text = output(Command::new("apt-cache").args(["show", "--no-all-versions", METAPACKAGE]))?;
    let depends = text.lines().find_map(|line| line.strip_prefix("Depends: "));
    let package = depends.and_then(|depends| depends.split([' ', ',']).next());
    let package = package.filter(|name| name.starts_with("linux-image-"));
    Ok(package
        .ok_or_else(|| format!("{METAPACKAGE} depends on no kernel"))?
        .to_owned())
}

fn unpacked_before() -> Option<PathBuf> {
    let entries = fs::read_dir(workspace::target().join("vm")).ok()?;
    let is_kernel = |path: &PathBuf| path.join("lib/modules").exists();
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(is_kernel)
}
