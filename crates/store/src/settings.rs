//! `arrivald.toml`, the settings of the daemon.
//!
//! | key | type | default |
//! |---|---|---|
//! | `administrators` | name or number of a group | none |
//! | `log_level` | `error`, `warn`, `info`, `debug`, `trace` | `info` |
//! | `uevent_buffer` | bytes, 64 KiB to 1 GiB | 32 MiB |
//! | `sysfs` | path | `/sys` |
//! | `udev` | boolean | `true` |
//! | `link_local` | boolean: whether addresses of a link alone count as addresses | `true` |
//! | `port_closed_after` | duration: how long a port is without a socket before it counts as closed | `60s` |
//! | `system_root` | path below which the files of domain and policy are looked for | `/` |
//! | `[dirs]` | names of `%variables%` in INF files, and their folders | none |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::{self, Section};
use crate::file::{self, Content};
use crate::layout::Layout;
use arrival_model::diagnostic::{Diagnostic, Report};

/// How much the daemon says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// Also what looks wrong.
    Warn,
    /// Also what happens to services.
    #[default]
    Info,
    /// Also why.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Every level with the word for it, the fewest messages first.
    pub fn by_name() -> [(&'static str, LogLevel); 5] {
        [
            LogLevel::Error,
            LogLevel::Warn,
            LogLevel::Info,
            LogLevel::Debug,
            LogLevel::Trace,
        ]
        .map(|level| (level.name(), level))
    }

    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// The settings of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The group whose members control every service; a name or a number.
    pub administrators: Option<String>,
    /// How much the daemon says.
    pub log_level: LogLevel,
    /// The receive buffer of the uevent socket, in bytes.
    pub uevent_buffer: u32,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
    /// Whether udevd's messages are waited for.
    pub udev: bool,
    /// Whether addresses that are valid on their link alone count as addresses.
    pub link_local: bool,
    /// How long a port is without a socket before it counts as closed.
    pub port_closed_after: Duration,
    /// The folder below which the files of domain and policy are looked for.
    pub system_root: PathBuf,
    /// Folders that `%variables%` of INF files stand for, by folded name.
    pub dirs: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            administrators: None,
            log_level: LogLevel::default(),
            uevent_buffer: 32 * 1024 * 1024,
            sysfs: PathBuf::from("/sys"),
            udev: true,
            link_local: true,
            port_closed_after: Duration::from_secs(60),
            system_root: PathBuf::from("/"),
            dirs: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads the settings of a root; a file that is not there says nothing.
    ///
    /// # Errors
    ///
    /// The problems of a file that cannot be used; none of it counts then.
    pub fn load(layout: &Layout) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let path = layout.settings();
        // Only the file's absence, not that of what a link points to, means that nothing is said.
        let absent = path
            .symlink_metadata()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
        if absent {
            return Ok((Settings::default(), Vec::new()));
        }
        match file::read(&path) {
            Ok(Content::Text(text, _)) => Self::parse(&path, &text),
            Ok(Content::Masked) => Ok((Settings::default(), Vec::new())),
            Err(message) => Err(vec![Diagnostic::file(&path, "unreadable", message)]),
        }
    }

    /// Reads settings from a text.
    ///
    /// # Errors
    ///
    /// The problems of a text that cannot be used.
    pub fn parse(path: &Path, text: &str) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut report = Report::new(path, text);
        let settings = Self::read(&mut report);
        match settings.filter(|_| !report.has_errors()) {
            Some(settings) => Ok((settings, report.finish())),
            None => Err(report.finish()),
        }
    }

    fn read(report: &mut Report<'_>) -> Option<Self> {
        let document = document::parse(report)?;
        let mut top = Section::new("the file", document.get_ref(), 0..0);
        let mut settings = Settings::default();
        if let Some(group) = top.line(report, "administrators", 256) {
            settings.administrators = Some(group.value);
        }
        if let Some(level) = top.choice(report, "log_level", &LogLevel::by_name()) {
            settings.log_level = level.value;
        }
        if let Some(bytes) = top.number(report, "uevent_buffer", 64 * 1024..=1024 * 1024 * 1024) {
            settings.uevent_buffer = bytes.value;
        }
        for (key, path) in [
            ("sysfs", &mut settings.sysfs),
            ("system_root", &mut settings.system_root),
        ] {
            let Some(found) = top.string(report, key) else {
                continue;
            };
            if !found.value.starts_with('/') {
                let message = format!("'{}' is not an absolute path", found.value);
                report.error("bad-value", found.span, message, None);
            }
            *path = PathBuf::from(found.value);
        }
        if let Some(link_local) = top.boolean(report, "link_local") {
            settings.link_local = link_local.value;
        }
        if let Some(after) = top.duration(report, "port_closed_after") {
            settings.port_closed_after = after.value;
        }
        if let Some(udev) = top.boolean(report, "udev") {
            settings.udev = udev.value;
        }
        if let Some(dirs) = top.section(report, "dirs", "[dirs]") {
            for (key, value) in dirs.free() {
                let Some(dir) = document::string(report, &key.value, value) else {
                    continue;
                };
                if !dir.value.starts_with('/') {
                    let message = format!("'{}' is not an absolute path", dir.value);
                    report.error("bad-value", dir.span, message, None);
                }
                let name = key.value.trim_matches('%').to_ascii_lowercase();
                settings.dirs.insert(name, dir.value);
            }
        }
        top.finish(report, &[("group", "the key is 'administrators'")]);
        Some(settings)
    }
}
