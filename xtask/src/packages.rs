//! Debian's packages, unpacked below `target` and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Outcome, workspace};

/// The folder `target/NAME` with these packages in it, like the root of a file system; unpacked now
/// unless `complete` finds there what it looks for.
pub(crate) fn unpacked(
    name: &str,
    packages: &[&str],
    complete: impl Fn(&Path) -> bool,
) -> Outcome<PathBuf> {
    let target = workspace::target();
    let folder = target.join(name);
    if complete(&folder) {
        return Ok(folder);
    }
    let fetched = target.join(format!("{name}-packages"));
    let unpacked = target.join(format!("{name}-unpacked"));
    for path in [&folder, &fetched, &unpacked] {
        remove(path)?;
    }
    fs::create_dir_all(&fetched)?;
    fs::create_dir_all(&unpacked)?;
    eprintln!("unpacking Debian's {}", packages.join(", "));
    if download(&fetched, packages).is_err() && workspace::is_root() {
        update()?;
        download(&fetched, packages)?;
    }
    let mut count = 0;
    for entry in fs::read_dir(&fetched)? {
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
    if count < packages.len() {
        return Err(format!("only {count} of {} packages came", packages.len()).into());
    }
    // Renamed when it is whole, so that an interrupted run leaves nothing that looks complete.
    fs::create_dir_all(folder.parent().unwrap_or(&target))?;
    fs::rename(&unpacked, &folder)?;
    remove(&fetched)?;
    if complete(&folder) {
        Ok(folder)
    } else {
        Err(format!("{} do not hold what they used to", packages.join(", ")).into())
    }
}

/// Reads the lists of packages anew; only root can.
pub(crate) fn update() -> Outcome<()> {
    quiet(Command::new("apt-get").arg("update"))
}

fn remove(folder: &Path) -> Outcome<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn download(folder: &Path, packages: &[&str]) -> Outcome<()> {
    quiet(
        Command::new("apt-get")
            // Debian's own user for downloads cannot write below a home folder.
            .args(["-o", "APT::Sandbox::User=root", "download"])
            .args(packages)
            .current_dir(folder),
    )
}

/// Runs a program; what it printed is shown only if it fails.
pub(crate) fn quiet(command: &mut Command) -> Outcome<()> {
    output(command).map(drop)
}

/// What a program prints, if it ends well.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name} could not be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name} failed: {}", said.trim()).into())
}
