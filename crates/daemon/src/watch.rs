//! Notices that files of definitions, classes or settings have changed.
//!
//! A folder that is not there yet is waited for in the nearest one above it that is. What happens
//! within a moment leads to one look at the files.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrival_store::layout::Layout;
use inotify::{EventMask, Inotify, WatchMask};
use tokio::io::unix::AsyncFd;

use crate::files::Files;
use crate::readable::readable;

/// How long it must be quiet before the files are read.
const QUIET: Duration = Duration::from_millis(50);
/// How often the quiet may be disturbed before they are read all the same.
const PATIENCE: u32 = 20;

/// The folders that are watched.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: AsyncFd<Inotify>,
    folders: Vec<PathBuf>,
    settings: PathBuf,
    watched: Vec<(inotify::WatchDescriptor, Interest)>,
}

/// What is looked for in a watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Interest {
    /// Any file.
    Files,
    /// A file or folder of this name.
    Name(OsString),
}

impl Watch {
    pub(crate) fn new(layout: &Layout) -> io::Result<Self> {
        let mut watch = Watch {
            inotify: readable(Inotify::init()?)?,
            folders: layout.watched(),
            settings: layout.settings(),
            watched: Vec::new(),
        };
        watch.renew();
        Ok(watch)
    }

    /// Watches what is there now.
    fn renew(&mut self) {
        self.watched.clear();
        for folder in self.folders.clone() {
            let mask = WatchMask::CLOSE_WRITE
                | WatchMask::MOVE
                | WatchMask::CREATE
                | WatchMask::DELETE
                | WatchMask::ATTRIB
                | WatchMask::DELETE_SELF
                | WatchMask::MOVE_SELF;
            if !self.add(&folder, mask, Interest::Files) {
                self.wait_for(&folder);
            }
        }
        let settings = self.settings.clone();
        self.wait_for(&settings);
    }

    /// Watches the nearest folder above a path for the next part of it.
    fn wait_for(&mut self, path: &Path) {
        let mut path = path;
        while let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            let mask = WatchMask::CLOSE_WRITE
                | WatchMask::MOVE
                | WatchMask::CREATE
                | WatchMask::DELETE
                | WatchMask::MOVE_SELF
                | WatchMask::DELETE_SELF;
            if self.add(folder, mask, Interest::Name(name.to_owned())) {
                return;
            }
            path = folder;
        }
    }

    fn add(&mut self, folder: &Path, mask: WatchMask, interest: Interest) -> bool {
        // One folder can be watched for several names: masks add up.
        let mask = mask | WatchMask::ONLYDIR | WatchMask::MASK_ADD;
        match self.inotify.get_ref().watches().add(folder, mask) {
            Ok(watch) => {
                self.watched.push((watch, interest));
                true
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let folder = folder.display();
                    tracing::warn!("changes of {folder} are not noticed: {error}");
                }
                false
            }
        }
    }

    /// Waits for something of interest.
    async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut buffer = [0_u8; 4096];
            let mut guard = self.inotify.readable_mut().await?;
            let mut interesting = false;
            match guard.get_inner_mut().read_events(&mut buffer) {
                Ok(events) => {
                    for event in events {
                        interesting |= event.mask.contains(EventMask::Q_OVERFLOW)
                            || self.watched.iter().any(|(watch, interest)| {
                                *watch == event.wd
                                    && match interest {
                                        Interest::Files => true,
                                        Interest::Name(name) => {
                                            event.name.is_none_or(|found| found == name)
                                        }
                                    }
                            });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) => return Err(error),
            }
            if interesting {
                return Ok(());
            }
        }
    }

    /// Asks for a look at the files whenever they have changed.
    pub(crate) async fn run(mut self, files: Files) {
        loop {
            if let Err(error) = self.changed().await {
                tracing::error!("changes of files are not noticed any more: {error}");
                return;
            }
            for _ in 0..PATIENCE {
                if tokio::time::timeout(QUIET, self.changed()).await.is_err() {
                    break;
                }
            }
            // What was made before the watch stood is seen by the look that follows.
            self.renew();
            if !files.look(None) {
                return;
            }
        }
    }
}
