//! What the command line says to the daemon.
//!
//! ```text
//! arrivald [--root DIR] [--sysfs DIR] [--no-udev] [--run-udev DIR]
//!          [--containment auto|cgroup|process] [--uevent-buffer BYTES] [--log-level LEVEL] [--version] [--help]
//! ```

use std::ffi::OsString;
use std::path::PathBuf;

pub use arrival_store::settings::LogLevel;

/// How the processes of a service are held together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Containment {
    /// A cgroup if this machine gives one, else by process tree.
    #[default]
    Auto,
    /// A cgroup, or the daemon does not start.
    Cgroup,
    /// By process tree, even where cgroups work.
    Process,
}

/// What the command line says; all of it goes before `arrivald.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The folder that everything lies below; none means the system's places.
    pub root: Option<PathBuf>,
    /// Where sysfs is mounted.
    pub sysfs: Option<PathBuf>,
    /// Whether udevd is not waited for, as in a private network namespace.
    pub no_udev: bool,
    /// Where udevd keeps its data.
    pub run_udev: Option<PathBuf>,
    /// How the processes of a service are held together.
    pub containment: Containment,
    /// The size in bytes of the sockets' queues for device events.
    pub uevent_buffer: Option<u32>,
    /// How much is said.
    pub log_level: Option<LogLevel>,
}

/// What [`Options::parse`] understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Run the daemon.
    Run(Options),
    /// Print [`USAGE`].
    Help,
    /// Print [`VERSION`].
    Version,
}

/// A command line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// What `--version` prints.
pub const VERSION: &str = concat!("arrivald ", env!("CARGO_PKG_VERSION"));

/// What `--help` prints.
pub const USAGE: &str = "\
The Arrival service manager: services live as long as their devices.

Usage: arrivald [OPTIONS]

Options:
  --root DIR               everything lies below DIR instead of the system's places
  --sysfs DIR              sysfs is mounted at DIR [default: /sys]
  --no-udev                do not wait for udevd, as in a private network namespace
  --run-udev DIR           udevd keeps its data at DIR [default: /run/udev]
  --containment KIND       auto, cgroup or process [default: auto]
  --uevent-buffer BYTES    size of the queues for device events [default: 33554432]
  --log-level LEVEL        error, warn, info, debug or trace [default: info]
  --version                print the version
  --help                   print this text
";

impl Options {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    ///
    /// Names the argument that cannot be understood.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed, UsageError> {
        let mut options = Options::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument
                .to_str()
                .ok_or_else(|| UsageError(format!("unknown option {argument:?}")))?;
            let (name, inline) = match text.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                Some(_) | None => (text, None),
            };
            let mut value = || match inline {
                Some(value) => Ok(OsString::from(value)),
                None => arguments
                    .next()
                    .ok_or_else(|| UsageError(format!("{name} needs a value"))),
            };
            match name {
                "--root" => options.root = Some(folder(name, value()?)?),
                "--sysfs" => options.sysfs = Some(folder(name, value()?)?),
                "--run-udev" => options.run_udev = Some(folder(name, value()?)?),
                "--containment" => {
                    options.containment = choice(
                        name,
                        &value()?,
                        &[
                            ("auto", Containment::Auto),
                            ("cgroup", Containment::Cgroup),
                            ("process", Containment::Process),
                        ],
                    )?;
                }
                "--uevent-buffer" => options.uevent_buffer = Some(bytes(name, &value()?)?),
                "--log-level" => {
                    options.log_level = Some(choice(name, &value()?, &LogLevel::by_name())?);
                }
                "--no-udev" | "--help" | "-h" | "--version" | "-V" if inline.is_some() => {
                    return Err(UsageError(format!("{name} takes no value")));
                }
                "--no-udev" => options.no_udev = true,
                "--help" | "-h" => return Ok(Parsed::Help),
                "--version" | "-V" => return Ok(Parsed::Version),
                _ => return Err(UsageError(format!("unknown option '{text}'"))),
            }
        }
        Ok(Parsed::Run(options))
    }
}

fn folder(name: &str, value: OsString) -> Result<PathBuf, UsageError> {
    if value.is_empty() {
        return Err(UsageError(format!("{name} needs a folder")));
    }
    Ok(PathBuf::from(value))
}

fn choice<T: Copy>(name: &str, value: &OsString, known: &[(&str, T)]) -> Result<T, UsageError> {
    let found = known.iter().find(|(word, _)| value == word);
    found.map(|(_, meant)| *meant).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        UsageError(format!(
            "{name} is {value:?}, not one of {}",
            words.join(", ")
        ))
    })
}

fn bytes(name: &str, value: &OsString) -> Result<u32, UsageError> {
    let range = 64 * 1024..=1024 * 1024 * 1024;
    let number: Option<u32> = value.to_str().and_then(|text| text.parse().ok());
    number.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
        UsageError(format!(
            "{name} is {value:?}, not a number of bytes from 65536 to 1073741824"
        ))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Parsed, String> {
        Options::parse(arguments.iter().map(OsString::from)).map_err(|error| error.0)
    }

    #[test]
    fn every_option_is_understood_in_both_forms() {
        let expected = Options {
            root: Some("/r".into()),
            sysfs: Some("/s".into()),
            no_udev: true,
            run_udev: Some("/u".into()),
            containment: Containment::Process,
            uevent_buffer: Some(65536),
            log_level: Some(LogLevel::Debug),
        };
        let apart = [
            "--root",
            "/r",
            "--sysfs",
            "/s",
            "--no-udev",
            "--run-udev",
            "/u",
            "--containment",
            "process",
            "--uevent-buffer",
            "65536",
            "--log-level",
            "debug",
        ];
        let joined = [
            "--root=/r",
            "--sysfs=/s",
            "--no-udev",
            "--run-udev=/u",
            "--containment=process",
            "--uevent-buffer=65536",
            "--log-level=debug",
        ];
        assert_eq!(parse(&apart), Ok(Parsed::Run(expected.clone())));
        assert_eq!(parse(&joined), Ok(Parsed::Run(expected)));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = |arguments: &[&str]| parse(arguments).unwrap_err();
        assert_eq!(error(&["--rot"]), "unknown option '--rot'");
        assert_eq!(error(&["--root"]), "--root needs a value");
        assert_eq!(error(&["--root="]), "--root needs a folder");
        assert_eq!(error(&["--no-udev=1"]), "--no-udev takes no value");
        assert_eq!(
            error(&["--containment", "jail"]),
            "--containment is \"jail\", not one of auto, cgroup, process"
        );
        assert!(error(&["--uevent-buffer", "1"]).contains("not a number of bytes"));
    }
}
