//! Where everything lies.
//!
//! | what | system | below `--root DIR` |
//! |---|---|---|
//! | definitions, an administrator's | `/etc/arrival/services.d` | `DIR/services.d` |
//! | definitions, of packages | `/var/lib/arrival/active/*/.arrival/services.d` | `DIR/lib/active/*/.arrival/services.d` |
//! | definitions, a distribution's | `/usr/lib/arrival/services.d` | none |
//! | class files | `classes.d` beside each of these | `classes.d` beside each of these |
//! | settings | `/etc/arrival/arrivald.toml` | `DIR/arrivald.toml` |
//! | packages, enabled and disabled | `/var/lib/arrival` | `DIR/lib` |
//! | sockets, lock, state | `/run/arrival` | `DIR/run` |
//! | logs of services | `/var/log/arrival` | `DIR/log` |
//!
//! The folder of sockets is open to everyone (0755), the state to nobody else (0700).

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The places of one instance of the manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: Option<PathBuf>,
}

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The root is somebody else's.
    #[error("{} belongs to user {owner}, not to us (user {own})", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// Everyone may put files into the root.
    #[error(
        "{} is writable by everyone (mode {mode:04o}); change that with: chmod o-w {}",
        path.display(), path.display()
    )]
    WritableByAll {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file stands where a folder should be.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The system refused.
    #[error("cannot {verb} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The folder.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

impl Layout {
    /// The system's places.
    pub fn system() -> Self {
        Layout { root: None }
    }

    /// Everything below one folder.
    ///
    /// # Errors
    ///
    /// A relative path cannot be made absolute if the current folder is gone.
    pub fn at(root: &Path) -> io::Result<Self> {
        Ok(Layout {
            root: Some(std::path::absolute(root)?),
        })
    }

    /// The places for an optional `--root`.
    ///
    /// # Errors
    ///
    /// As [`Layout::at`].
    pub fn new(root: Option<&Path>) -> io::Result<Self> {
        root.map_or_else(|| Ok(Layout::system()), Layout::at)
    }

    /// The folder given with `--root`.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    fn place(&self, system: &str, below: &str) -> PathBuf {
        match &self.root {
            Some(root) => root.join(below),
            None => PathBuf::from(system),
        }
    }

    /// Where administrators configure.
    pub fn config(&self) -> PathBuf {
        self.place("/etc/arrival", "")
    }

    /// Where packages and what must survive a boot lie.
    pub fn lib(&self) -> PathBuf {
        self.place("/var/lib/arrival", "lib")
    }

    /// Where sockets, lock and run-time state lie.
    pub fn run(&self) -> PathBuf {
        self.place("/run/arrival", "run")
    }

    /// Where the logs of services lie if there is no journald.
    pub fn log(&self) -> PathBuf {
        self.place("/var/log/arrival", "log")
    }

    /// The folders that hold `services.d` and `classes.d`, the overriding one first.
    fn sources(&self) -> Vec<PathBuf> {
        let mut sources = vec![self.config()];
        let packages = self.active_packages();
        sources.extend(
            packages
                .iter()
                .map(|package| package.join(crate::package::OWN)),
        );
        if self.root.is_none() {
            sources.push(PathBuf::from("/usr/lib/arrival"));
        }
        sources
    }

    /// The folders of definitions, the overriding one first.
    pub fn services(&self) -> Vec<PathBuf> {
        self.sources()
            .iter()
            .map(|dir| dir.join("services.d"))
            .collect()
    }

    /// The folders of class files, the overriding one first.
    pub fn classes(&self) -> Vec<PathBuf> {
        self.sources()
            .iter()
            .map(|dir| dir.join("classes.d"))
            .collect()
    }

    /// The daemon's settings.
    pub fn settings(&self) -> PathBuf {
        self.config().join("arrivald.toml")
    }

    /// Which services were enabled or disabled: a file for each, by its folded name.
    pub fn enabled(&self) -> PathBuf {
        self.lib().join("enabled")
    }

    /// The folders of installed packages.
    pub fn packages(&self) -> PathBuf {
        self.lib().join("packages")
    }

    /// The folder of links to the packages that count, each called as its package.
    pub fn active(&self) -> PathBuf {
        self.lib().join("active")
    }

    /// The links to the packages that count, by the order of their names.
    pub fn active_packages(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.active()).into_iter().flatten().flatten();
        let mut links: Vec<PathBuf> = entries
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(|entry| entry.path())
            .collect();
        links.sort();
        links
    }

    /// The folders whose changes may be changes of definitions or classes. A package never changes: the link
    /// to it does.
    pub fn watched(&self) -> Vec<PathBuf> {
        let mut watched = vec![self.active()];
        let distribution = self
            .root
            .is_none()
            .then(|| PathBuf::from("/usr/lib/arrival"));
        for folder in std::iter::once(self.config()).chain(distribution) {
            watched.push(folder.join("services.d"));
            watched.push(folder.join("classes.d"));
        }
        watched
    }

    /// The folder of the run-time state.
    pub fn state(&self) -> PathBuf {
        self.run().join("state")
    }

    /// The control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.run().join("control")
    }

    /// The socket of sd_notify(3).
    pub fn notify_socket(&self) -> PathBuf {
        self.run().join("notify")
    }

    /// The folder of the sockets that stand for pipes.
    pub fn pipes(&self) -> PathBuf {
        self.run().join("pipe")
    }

    /// The socket of custom events.
    pub fn events_socket(&self) -> PathBuf {
        self.run().join("events")
    }

    /// The lock that says that a daemon serves this root; its file holds the daemon's pid.
    pub fn daemon_lock(&self) -> PathBuf {
        self.run().join("lock")
    }

    /// The lock of those who change definitions and packages.
    pub fn store_lock(&self) -> PathBuf {
        self.lib().join("lock")
    }

    /// Checks the root and makes the folders that a daemon needs.
    ///
    /// # Errors
    ///
    /// The root must be ours and not writable by everyone: whoever can put a definition into it can
    /// run programs as us.
    pub fn prepare(&self) -> Result<(), LayoutError> {
        if let Some(root) = &self.root {
            make(root, 0o755)?;
            self.check()?;
            make(&root.join("services.d"), 0o755)?;
            make(&root.join("classes.d"), 0o755)?;
        }
        make(&self.lib(), 0o755)?;
        make(&self.run(), 0o755)?;
        make(&self.pipes(), 0o755)?;
        make(&self.log(), 0o755)?;
        let state = self.state();
        make(&state, 0o700)?;
        // An older version, or a person, may have left it open.
        fs::set_permissions(&state, Permissions::from_mode(0o700))
            .map_err(|cause| io_error("change the mode of", &state, cause))
    }

    /// Checks that the root is ours, and a folder that others cannot write to.
    ///
    /// # Errors
    ///
    /// As [`Layout::prepare`].
    pub fn check(&self) -> Result<(), LayoutError> {
        let Some(root) = &self.root else {
            return Ok(());
        };
        let meta = fs::metadata(root).map_err(|cause| io_error("look at", root, cause))?;
        if !meta.is_dir() {
            return Err(LayoutError::NotAFolder(root.clone()));
        }
        let own = rustix::process::geteuid().as_raw();
        if meta.uid() != own {
            return Err(LayoutError::NotOurs {
                path: root.clone(),
                owner: meta.uid(),
                own,
            });
        }
        if meta.mode() & 0o002 != 0 {
            return Err(LayoutError::WritableByAll {
                path: root.clone(),
                mode: meta.mode() & 0o7777,
            });
        }
        Ok(())
    }
}

fn io_error(verb: &'static str, path: &Path, cause: io::Error) -> LayoutError {
    LayoutError::Io {
        verb,
        path: path.to_owned(),
        cause,
    }
}

/// Makes a folder, and its parents, unless it is there.
fn make(path: &Path, mode: u32) -> Result<(), LayoutError> {
    if path.is_dir() {
        return Ok(());
    }
    if path.exists() {
        return Err(LayoutError::NotAFolder(path.to_owned()));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|cause| io_error("make", path, cause))
}
