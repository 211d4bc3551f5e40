//! What a file is, by its first bytes: a program of Linux, one of Windows, or neither.
//!
//! | first bytes | is |
//! |---|---|
//! | `7F 45 4C 46` | ELF (elf(5)); bytes 5 and 18 tell byte order and machine |
//! | `#!` | a script |
//! | `MZ` | a program or library of Windows |

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How many bytes must be looked at.
pub(super) const HEAD: usize = 20;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A program of Linux for this machine (elf.h, EM_*).
    Elf {
        /// The machine that it is for.
        machine: u16,
    },
    /// A script.
    Script,
    /// A program or library of Windows.
    Windows,
    /// Anything else.
    Data,
}

/// The number and name of each machine (elf.h).
const MACHINES: [(u16, &str); 8] = [
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv64"),
    (3, "x86"),
    (40, "arm"),
    (21, "powerpc64"),
    (22, "s390x"),
    (258, "loongarch64"),
];

impl Kind {
    /// What a file is that begins with these bytes.
    pub fn of(head: &[u8]) -> Self {
        if head.starts_with(b"\x7fELF") {
            let machine = match head.get(18..20) {
                Some(&[a, b]) if head.get(5) == Some(&2) => u16::from_be_bytes([a, b]),
                Some(&[a, b]) => u16::from_le_bytes([a, b]),
                Some(_) | None => 0,
            };
            Kind::Elf { machine }
        } else if head.starts_with(b"#!") {
            Kind::Script
        } else if head.starts_with(b"MZ") {
            Kind::Windows
        } else {
            Kind::Data
        }
    }

    /// Whether Linux can run it, on some machine.
    pub fn is_program(self) -> bool {
        matches!(self, Kind::Elf { .. } | Kind::Script)
    }

    /// Whether this machine can run it; if not, what to do about it.
    pub(super) fn check(self, service: &str, path: &str) -> Result<(), String> {
        match self {
            Kind::Script => Ok(()),
            Kind::Elf { machine } => {
                let own = std::env::consts::ARCH;
                let name = MACHINES
                    .iter()
                    .find(|(number, _)| *number == machine)
                    .map(|(_, name)| *name);
                // A machine can run the programs of its smaller sister.
                let runs = name.is_none_or(|name| {
                    name == own || matches!((own, name), ("x86_64", "x86") | ("aarch64", "arm"))
                });
                if runs {
                    return Ok(());
                }
                Err(format!(
                    "the program of '{service}', {path}, is for {}; this machine is {own}",
                    name.unwrap_or("another machine")
                ))
            }
            Kind::Windows => {
                let file = path.rsplit('/').next().unwrap_or(path);
                let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
                Err(format!(
                    "the program of '{service}', {path}, is one of Windows: put the program built for Linux \
                     beside it, called '{stem}'"
                ))
            }
            Kind::Data => Err(format!(
                "the program of '{service}', {path}, is neither an ELF file nor a script that begins with #!"
            )),
        }
    }
}

/// Checks a program that is not the package's: nobody but root and we may be able to change it.
pub(super) fn machine_program(path: &Path) -> Result<PathBuf, String> {
    let shown = path.display();
    let real =
        fs::canonicalize(path).map_err(|error| format!("there is no program {shown}: {error}"))?;
    let own = rustix::process::geteuid().as_raw();
    for part in real.ancestors() {
        let meta = fs::metadata(part)
            .map_err(|error| format!("cannot look at {}: {error}", part.display()))?;
        let part = part.display();
        if meta.uid() != 0 && meta.uid() != own {
            return Err(format!(
                "{shown} is not safe to run: {part} belongs to user {}",
                meta.uid()
            ));
        }
        let open = meta.mode() & 0o002 != 0 || (meta.mode() & 0o020 != 0 && meta.gid() != 0);
        let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
        if open && !sticky {
            let mode = meta.mode() & 0o7777;
            return Err(format!(
                "{shown} is not safe to run: {part} is writable by others (mode {mode:04o})"
            ));
        }
    }
    let meta = fs::metadata(&real).map_err(|error| format!("cannot look at {shown}: {error}"))?;
    if !meta.is_file() || meta.mode() & 0o111 == 0 {
        return Err(format!("{shown} is no program"));
    }
    Ok(path.to_owned())
}
