//! `cargo xtask deb`: a Debian package, in `target/deb`.
//!
//! ```text
//! cargo xtask deb [--profile NAME] [--out DIR]
//! ```
//!
//! | path | is |
//! |---|---|
//! | `/usr/bin` | `arrival`, `arrivald` |
//! | `/usr/lib/systemd/system`, `/usr/lib/sysusers.d` | the unit; the users that LocalService and NetworkService are |
//! | `/usr/lib/arrival`, `/etc/arrival` | folders for definitions and classes, of packages and of the administrator |
//! | `/usr/share/man`, `/usr/share/bash-completion` and so on | what `arrival man` and `arrival completions` write |
//! | `/usr/share/doc/arrival` | the manual, the licence, the changes |
//!
//! The package depends on the libc whose symbols the programs use, by the highest version that stands in them: that is
//! what dpkg-shlibdeps(1) finds, which not every machine has.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::packages::{output, quiet};
use crate::{Outcome, workspace};

const MAINTAINER: &str = "The Arrival developers <arrival@localhost>";

pub(crate) fn run(words: &[String]) -> Outcome<ExitCode> {
    let (mut profile, mut out) = ("release".to_owned(), workspace::target().join("deb"));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--profile" => profile.clone_from(value()?),
            "--out" => out = PathBuf::from(value()?),
            other => return Err(format!("no option '{other}'").into()),
        }
    }
    println!("{}", build(&profile, &out)?.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds the package, and gives its path.
pub(crate) fn build(profile: &str, out: &Path) -> Outcome<PathBuf> {
    let architecture =
        output(Command::new("dpkg").arg("--print-architecture")).map_err(|error| {
            format!("{error}; a Debian package is made with dpkg(1): apt-get install dpkg")
        })?;
    let architecture = architecture.trim();
    let programs = workspace::build(profile)?;
    let root = out.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let mut tree = Tree { root: root.clone() };
    for program in [&programs.arrival, &programs.arrivald] {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let to = tree.file(&format!("usr/bin/{name}"), 0o755, &[])?;
        quiet(Command::new("strip").arg("-o").arg(&to).arg(program))?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    }
    let packaging = workspace::root().join("packaging");
    tree.copy(
        "usr/lib/systemd/system/arrivald.service",
        &packaging.join("arrivald.service"),
    )?;
    tree.copy(
        "usr/lib/sysusers.d/arrival.conf",
        &packaging.join("arrival.sysusers"),
    )?;
    for folder in ["usr/lib/arrival", "etc/arrival"] {
        for below in ["services.d", "classes.d"] {
            tree.folder(&format!("{folder}/{below}"))?;
        }
    }
    manual(&mut tree, &programs)?;
    documents(&mut tree)?;
    control(&mut tree, &programs, architecture)?;
    // Programs for tests are large, and soon gone.
    let level = if profile == "release" { "-z6" } else { "-z0" };
    let deb = out.join(format!(
        "arrival_{}_{architecture}.deb",
        env!("CARGO_PKG_VERSION")
    ));
    quiet(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", level, "--build"])
            .arg(&root)
            .arg(&deb),
    )?;
    fs::remove_dir_all(&root)?;
    Ok(deb)
}

/// The files of the package.
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn folder(&mut self, name: &str) -> Outcome<PathBuf> {
        let mut path = self.root.clone();
        for part in Path::new(name) {
            path.push(part);
            if !path.is_dir() {
                fs::create_dir_all(&path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(path)
    }

    fn file(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Outcome<PathBuf> {
        let parent = Path::new(name).parent().unwrap_or(Path::new(""));
        self.folder(&parent.to_string_lossy())?;
        let path = self.root.join(name);
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(path)
    }

    fn copy(&mut self, name: &str, from: &Path) -> Outcome<()> {
        let bytes = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
        self.file(name, 0o644, &bytes).map(drop)
    }

    /// A file as Debian has it in /usr/share: compressed, without the time of day.
    fn compressed(&mut self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let path = self.file(name, 0o644, bytes)?;
        quiet(Command::new("gzip").args(["-9", "-n", "-f"]).arg(path))
    }
}

/// Man pages and completions, written by the program itself.
fn manual(tree: &mut Tree, programs: &workspace::Programs) -> Outcome<()> {
    let pages = tree.root.join("pages");
    fs::create_dir_all(&pages)?;
    quiet(Command::new(&programs.arrival).arg("man").arg(&pages))?;
    for entry in fs::read_dir(&pages)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        tree.compressed(&format!("usr/share/man/man1/{name}"), &fs::read(&path)?)?;
    }
    fs::remove_dir_all(&pages)?;
    let usage = output(Command::new(&programs.arrivald).arg("--help"))?;
    let page = format!(
        ".TH arrivald 8\n.SH NAME\narrivald \\- the Arrival service manager\n.SH DESCRIPTION\n.nf\n{}.fi\n\
         .SH SEE ALSO\n.BR arrival (1)\n",
        usage.replace('\\', "\\\\").replace('-', "\\-")
    );
    tree.compressed("usr/share/man/man8/arrivald.8", page.as_bytes())?;
    let completions = [
        ("bash", "usr/share/bash-completion/completions/arrival"),
        ("zsh", "usr/share/zsh/vendor-completions/_arrival"),
        ("fish", "usr/share/fish/vendor_completions.d/arrival.fish"),
    ];
    for (shell, to) in completions {
        let text = output(Command::new(&programs.arrival).args(["completions", shell]))?;
        tree.file(to, 0o644, text.as_bytes())?;
    }
    Ok(())
}

fn documents(tree: &mut Tree) -> Outcome<()> {
    let root = workspace::root();
    let doc = "usr/share/doc/arrival";
    tree.copy(&format!("{doc}/README.md"), &root.join("README.md"))?;
    for entry in fs::read_dir(root.join("docs"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        tree.copy(&format!("{doc}/docs/{name}"), &path)?;
    }
    tree.compressed(
        &format!("{doc}/changelog"),
        &fs::read(root.join("CHANGELOG.md"))?,
    )?;
    let mit = fs::read_to_string(root.join("LICENSE-MIT"))?;
    let copyright = format!(
        "Arrival is licensed under the MIT license, below, or the Apache License 2.0, which is in \
         /usr/share/common-licenses/Apache-2.0, as you like.\n\n{mit}"
    );
    tree.file(&format!("{doc}/copyright"), 0o644, copyright.as_bytes())?;
    Ok(())
}

fn control(tree: &mut Tree, programs: &workspace::Programs, architecture: &str) -> Outcome<()> {
    let mut symbols = BTreeSet::new();
    for program in [&programs.arrival, &programs.arrivald] {
        symbols.extend(glibc(&fs::read(program)?));
    }
    let (major, minor) = symbols
        .last()
        .copied()
        .ok_or("the programs use no symbol of glibc")?;
    let size: u64 = sizes(&tree.root)?.div_ceil(1024);
    let text = format!(
        "Package: arrival\nVersion: {}\nArchitecture: {architecture}\nMaintainer: {MAINTAINER}\nSection: admin\n\
         Priority: optional\nInstalled-Size: {size}\nDepends: libc6 (>= {major}.{minor}), libgcc-s1, passwd\n\
         Recommends: udev\nDescription: services that live exactly as long as their devices\n \
         A service manager in which a service is started when its device arrives, runs while it is there, and\n \
         stops when the last one is gone: the model of Windows' Service Control Manager with its triggers, its INF\n \
         files and its device interfaces, beside systemd and udev or without them.\n",
        env!("CARGO_PKG_VERSION")
    );
    tree.file("DEBIAN/control", 0o644, text.as_bytes())?;
    for script in ["postinst", "prerm", "postrm"] {
        let bytes = fs::read(workspace::root().join("packaging").join(script))?;
        tree.file(&format!("DEBIAN/{script}"), 0o755, &bytes)?;
    }
    Ok(())
}

/// The versions of glibc whose symbols a program uses, such as 2.34.
fn glibc(bytes: &[u8]) -> BTreeSet<(u32, u32)> {
    const WORD: &[u8] = b"GLIBC_";
    let mut found = BTreeSet::new();
    for at in bytes
        .windows(WORD.len())
        .enumerate()
        .filter(|(_, word)| *word == WORD)
        .map(|(at, _)| at)
    {
        let rest = bytes.get(at + WORD.len()..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit() && *byte != b'.')
            .unwrap_or(rest.len());
        let text = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
        let mut parts = text.split('.').map(|part| part.parse().ok());
        if let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) {
            found.insert((major, minor));
        }
    }
    found
}

fn sizes(folder: &Path) -> Outcome<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() {
            sizes(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let bytes = b"\0GLIBC_2.9\0GLIBC_2.34\0GLIBC_2.2.5\0GLIBC_PRIVATE\0GLIBC_2.";
        let found: Vec<_> = glibc(bytes).into_iter().collect();
        assert_eq!(found, [(2, 2), (2, 9), (2, 34)]);
    }
}
