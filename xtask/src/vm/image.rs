//! The initramfs of a machine.
//!
//! | path | is |
//! |---|---|
//! | `/init`, `/lib.sh`, `/cases` | of `tests/vm` |
//! | `/bin` | busybox, `arrival`, `arrivald`, `arrival-recorder`, `arrival-rig`, `osrsvc`, `xtask`, `udevadm` |
//! | `/examples` | the INF files of examples |
//! | `/lib/x86_64-linux-gnu`, `/lib64` | the libraries that `ldd` names |
//! | `/lib/modules` | the modules in [`MODULES`] with what they need |
//! | `/lib/udev` | Debian's rules and their helpers |
//! | `/etc/passwd`, `/etc/group` | root, an ordinary user, and the groups of the rules |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use super::debian;
use super::fetch::Parts;
use crate::packages::{output, quiet};
use crate::{Outcome, workspace};

/// Which modules a machine has, besides those that these need.
const MODULES: &str = "xhci_pci usb_storage uas sd_mod sr_mod sg virtio_pci virtio_scsi usbhid hid_generic evdev uhid \
    uinput e1000e nvme loop scsi_debug veth dummy dummy_hcd libcomposite usb_f_acm usb_f_mass_storage \
    usb_f_serial usb_f_hid cdc_acm tun bridge ext4";

const LIBRARIES: &str = "lib/x86_64-linux-gnu";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:an ordinary user:/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";

const GROUPS: &str = "root:x:0:\ntty:x:5:\ndisk:x:6:\nlp:x:7:\nkmem:x:15:\ndialout:x:20:user\ncdrom:x:24:\ntape:x:26:\n\
    audio:x:29:\nvideo:x:44:\nplugdev:x:46:\nusers:x:100:\ninput:x:101:user\nsgx:x:102:\nkvm:x:103:\nrender:x:104:\n\
    user:x:1000:\nnogroup:x:65534:\n";

/// What a machine boots.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    /// What the kernel's command line tells `init`: `udevd`, `none` or `shell`; `systemd` is its own.
    pub(super) way: &'static str,
    /// The folder for what cases keep, empty.
    pub(super) kept: PathBuf,
}

/// Makes the image of a machine that runs cases, or gives a prompt.
pub(super) fn build(
    parts: &Parts,
    beside: bool,
    names: Option<&BTreeSet<String>>,
) -> Outcome<Image> {
    let programs = workspace::build("dev")?;
    let folder = workspace::target().join("vm");
    fs::create_dir_all(&folder)?;
    let mut archive = Archive::default();
    for name in [
        "dev", "proc", "sys", "run", "tmp", "root", "etc", "sbin", "usr/bin",
    ] {
        archive.folder(name);
    }
    let beside_it = |name| programs.arrival.with_file_name(name);
    let (recorder, rig) = (beside_it("arrival-recorder"), beside_it("arrival-rig"));
    let (xtask, example) = (beside_it("xtask"), beside_it("osrsvc"));
    let mut libraries = BTreeMap::new();
    for program in [
        &programs.arrival,
        &programs.arrivald,
        &recorder,
        &rig,
        &xtask,
        &example,
    ] {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        // Their debugging information would be most of the image.
        let small = folder.join(format!("{name}.stripped"));
        quiet(Command::new("strip").arg("-o").arg(&small).arg(program))?;
        archive.file(&format!("bin/{name}"), 0o755, &fs::read(&small)?);
        needed(program, None, &mut libraries)?;
    }
    let peers = &parts.peers;
    for (program, name) in [(peers.busybox(), "busybox"), (peers.udevadm(), "udevadm")] {
        archive.file(&format!("bin/{name}"), 0o755, &fs::read(&program)?);
        needed(&program, Some(&peers.libraries()), &mut libraries)?;
    }
    archive.link("bin/sh", "busybox");
    archive.link("bin/systemd-udevd", "udevadm");
    // Rules name them so.
    archive.link("usr/lib", "../lib");
    let helpers = peers
        .rules()
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default();
    for path in files_below(&helpers)? {
        let name = path.strip_prefix(&helpers)?.display().to_string();
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        let data = fs::read(&path)?;
        if name.starts_with("rules.d/") {
            archive.file(&format!("lib/udev/{name}"), 0o644, &data);
        } else if mode & 0o111 != 0 && data.starts_with(b"\x7fELF") {
            archive.file(&format!("lib/udev/{name}"), 0o755, &data);
            needed(&path, Some(&peers.libraries()), &mut libraries)?;
        }
    }
    for (name, path) in &libraries {
        archive.file(name, 0o755, &fs::read(path)?);
    }
    modules(parts, "lib/modules", &mut archive)?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes());
    archive.file("etc/group", 0o644, GROUPS.as_bytes());
    scripts(&mut archive, names)?;
    let way = match (names, beside) {
        (None, _) => "shell",
        (Some(_), true) => "udevd",
        (Some(_), false) => "none",
    };
    finish(parts, archive, way)
}

/// Makes the image of a Debian that boots with its own systemd and runs cases of `tests/vm/systemd`.
pub(super) fn booted(parts: &Parts, names: &BTreeSet<String>) -> Outcome<Image> {
    let debian = debian::fetch()?;
    let folder = workspace::target().join("vm");
    fs::create_dir_all(&folder)?;
    let deb = crate::deb::build("dev", &folder.join("deb"))?;
    let programs = workspace::build("dev")?;
    let mut archive = Archive::default();
    whole(&debian, Path::new(""), &mut archive)?;
    for name in ["dev", "proc", "sys", "run", "tmp"] {
        archive.folder(name);
    }
    archive.link("init", "usr/lib/systemd/systemd");
    archive.file("arrival.deb", 0o644, &fs::read(deb)?);
    for name in ["arrival-recorder", "osrsvc"] {
        let small = folder.join(format!("{name}.stripped"));
        let program = programs.arrival.with_file_name(name);
        quiet(Command::new("strip").arg("-o").arg(&small).arg(program))?;
        archive.file(&format!("usr/bin/{name}"), 0o755, &fs::read(&small)?);
    }
    let example = "examples/osrfx2/osrfx2.inf";
    let inf = fs::read(workspace::root().join(example))?;
    archive.file(example, 0o644, &inf);
    modules(parts, "usr/lib/modules", &mut archive)?;
    let names_of_modules = MODULES
        .split_ascii_whitespace()
        .collect::<Vec<_>>()
        .join("\n");
    archive.file(
        "etc/modules-load.d/arrival.conf",
        0o644,
        names_of_modules.as_bytes(),
    );
    let tests = workspace::root().join("tests/vm/systemd");
    for name in ["lib.sh", "run-cases"] {
        archive.file(name, 0o755, &fs::read(tests.join(name))?);
    }
    let unit = "arrival-cases.service";
    let wanted = "etc/systemd/system/multi-user.target.wants";
    archive.file(
        &format!("etc/systemd/system/{unit}"),
        0o644,
        &fs::read(tests.join(unit))?,
    );
    archive.link(&format!("{wanted}/{unit}"), &format!("../{unit}"));
    // Nobody logs in, and nothing is to be updated.
    for unit in [
        "serial-getty@ttyS0.service",
        "getty.target",
        "apt-daily.timer",
        "apt-daily-upgrade.timer",
        "dpkg-db-backup.timer",
        "e2scrub_all.timer",
    ] {
        archive.link(&format!("etc/systemd/system/{unit}"), "/dev/null");
    }
    for path in files_below(&tests.join("cases"))? {
        let below = path.strip_prefix(tests.join("cases"))?;
        archive.file(
            &format!("cases/{}", below.display()),
            0o755,
            &fs::read(&path)?,
        );
    }
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    archive.file("etc/cases", 0o644, list.join("\n").as_bytes());
    finish(parts, archive, "systemd")
}

/// Adds everything below a folder but what is left out.
fn whole(root: &Path, below: &Path, archive: &mut Archive) -> Outcome<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if debian::is_left_out(&path) {
            continue;
        }
        let name = path.to_string_lossy();
        let meta = entry.metadata()?;
        if meta.is_symlink() {
            let target = fs::read_link(entry.path())?;
            archive.link(&name, &target.to_string_lossy());
        } else if meta.is_dir() {
            archive.folder(&name);
            whole(root, &path, archive)?;
        } else if meta.is_file() {
            let mode = meta.permissions().mode() & 0o7777;
            archive.file(&name, mode, &fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// Writes the archive of a machine.
fn finish(parts: &Parts, archive: Archive, way: &'static str) -> Outcome<Image> {
    let folder = workspace::target().join("vm");
    let initrd = folder.join(format!("initrd-{way}-{}", std::process::id()));
    fs::write(&initrd, archive.finish())?;
    let kept = folder.join("kept").join(way);
    if kept.exists() {
        fs::remove_dir_all(&kept)?;
    }
    fs::create_dir_all(&kept)?;
    Ok(Image {
        kernel: parts.kernel.clone(),
        initrd,
        way,
        kept,
    })
}

impl Drop for Image {
    fn drop(&mut self) {
        // A file too many below target does no harm.
        let _ = fs::remove_file(&self.initrd);
    }
}

/// Adds the libraries of a program: where they are to be, and where they are.
fn needed(
    program: &Path,
    path: Option<&str>,
    libraries: &mut BTreeMap<String, PathBuf>,
) -> Outcome<()> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    if let Some(path) = path {
        ldd.env("LD_LIBRARY_PATH", path);
    }
    let Ok(text) = output(&mut ldd) else {
        // A program that needs none.
        return Ok(());
    };
    for line in text.lines() {
        let file = line
            .split_ascii_whitespace()
            .find(|word| word.starts_with('/'));
        let Some(file) = file.map(PathBuf::from) else {
            continue;
        };
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let folder = if name.starts_with("ld-linux") {
            "lib64"
        } else {
            LIBRARIES
        };
        libraries.insert(format!("{folder}/{name}"), file);
    }
    Ok(())
}

/// Adds the modules and what they need, and the kernel's lists of them.
fn modules(parts: &Parts, below: &str, archive: &mut Archive) -> Outcome<()> {
    let version = parts
        .modules
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let into = format!("{below}/{version}");
    let dependencies = fs::read_to_string(parts.modules.join("modules.dep"))?;
    let built_in = fs::read_to_string(parts.modules.join("modules.builtin"))?;
    let name = |path: &str| {
        let file = path.rsplit('/').next().unwrap_or(path);
        file.split('.').next().unwrap_or(file).replace('-', "_")
    };
    let mut wanted = BTreeSet::new();
    for module in MODULES.split_ascii_whitespace() {
        let line = dependencies.lines().find_map(|line| {
            let (path, needs) = line.split_once(':')?;
            (name(path) == module).then_some((path, needs))
        });
        match line {
            Some((path, needs)) => {
                wanted.insert(path);
                wanted.extend(needs.split_ascii_whitespace());
            }
            None if built_in.lines().any(|path| name(path) == module) => {}
            None => return Err(format!("the kernel has no module {module}").into()),
        }
    }
    for path in wanted {
        archive.file(
            &format!("{into}/{path}"),
            0o644,
            &fs::read(parts.modules.join(path))?,
        );
    }
    for entry in fs::read_dir(&parts.modules)? {
        let entry = entry?;
        let list = entry.file_name().to_string_lossy().into_owned();
        if list.starts_with("modules.") {
            archive.file(&format!("{into}/{list}"), 0o644, &fs::read(entry.path())?);
        }
    }
    let names = MODULES
        .split_ascii_whitespace()
        .collect::<Vec<_>>()
        .join("\n");
    archive.file("etc/modules", 0o644, names.as_bytes());
    Ok(())
}

fn scripts(archive: &mut Archive, names: Option<&BTreeSet<String>>) -> Outcome<()> {
    let tests = workspace::root().join("tests/vm");
    archive.file("init", 0o755, &fs::read(tests.join("init"))?);
    archive.file("lib.sh", 0o644, &fs::read(tests.join("lib.sh"))?);
    let example = "examples/osrfx2/osrfx2.inf";
    archive.file(example, 0o644, &fs::read(workspace::root().join(example))?);
    let cases = tests.join("cases");
    for path in files_below(&cases)? {
        let below = path.strip_prefix(&cases)?;
        archive.file(
            &format!("cases/{}", below.display()),
            0o755,
            &fs::read(&path)?,
        );
    }
    let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    archive.file("etc/cases", 0o644, names.join("\n").as_bytes());
    Ok(())
}

/// All regular files below a folder.
fn files_below(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}
