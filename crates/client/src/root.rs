//! Which manager is meant, and where it answers.

use std::fmt;
use std::path::{Path, PathBuf};

/// The place of a manager: the system's own, or a private one below a folder.
///
/// | root | control socket |
/// |---|---|
/// | the system's | `/run/arrival/control` |
/// | a folder `DIR` | `DIR/run/control` |
/// | that of the service this process belongs to | `$ARRIVAL_CONTROL` |
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Root {
    dir: Option<PathBuf>,
    control: PathBuf,
}

impl Root {
    /// The manager of this system.
    pub fn system() -> Self {
        Root {
            dir: None,
            control: PathBuf::from("/run/arrival/control"),
        }
    }

    /// The private manager that was started with `--root DIR`.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Root {
            control: dir.join("run/control"),
            dir: Some(dir),
        }
    }

    /// The manager that started this process as a service; outside of one, that of this system.
    pub fn of_service() -> Self {
        let mut root = Root::system();
        if let Some(control) = std::env::var_os("ARRIVAL_CONTROL").filter(|path| !path.is_empty()) {
            root.control = control.into();
        }
        root
    }

    /// The folder of a private manager; none for the system's.
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Where its socket of custom events is: beside the control socket.
    pub(crate) fn events(&self) -> PathBuf {
        self.control.with_file_name("events")
    }

    /// Where its control socket is.
    pub fn control(&self) -> &Path {
        &self.control
    }
}

impl Default for Root {
    fn default() -> Self {
        Root::system()
    }
}

impl From<Option<PathBuf>> for Root {
    fn from(dir: Option<PathBuf>) -> Self {
        dir.map_or_else(Root::system, Root::at)
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.control.display())
    }
}
