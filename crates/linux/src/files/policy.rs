//! Machine and user policy, from caches of group policy and from local files.
//!
//! | where | machine policy is | user policy is |
//! |---|---|---|
//! | /var/cache/samba/gpo_cache, /var/lib/sss/gpo_cache | all below a folder MACHINE | all below a folder USER |
//! | /etc/arrival/policy | all below `machine` | all below `user` |
//!
//! Policy is what the files hold, with their paths: the digest of all of them. Versions in GPT.INI do not
//! count, since tools forget them; files that are fetched again with the same bytes change nothing. There
//! is policy of a kind if there is a folder of it.
//!
//! Names of folders are compared without regard to case. Links are not followed. What is too deep, too
//! many or too large is not digested, and counts by its path, size and time instead.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::look::{FileEvent, FileSource, Trouble, Watch, below};

/// Where caches of group policy are.
const CACHES: [&str; 2] = ["/var/cache/samba/gpo_cache", "/var/lib/sss/gpo_cache"];
/// Where local policy is.
const LOCAL: &str = "/etc/arrival/policy";
/// How deep folders are entered below those.
const DEPTH: usize = 16;
/// The most files that are looked at.
const FILES: usize = 65_536;
/// The longest file that is digested.
const FILE: u64 = 16 * 1024 * 1024;

/// Where to look, and how patiently.
#[derive(Clone, Debug)]
pub struct PolicyConfig {
    /// The folder below which the files of the machine are.
    pub root: PathBuf,
    /// How long it must be quiet before the files are looked at.
    pub settle: Duration,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        PolicyConfig {
            root: PathBuf::from("/"),
            settle: Duration::from_secs(1),
        }
    }
}

/// What policy there is: digests in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Of the machine; none if there is none.
    pub machine: Option<String>,
    /// Of users; none if there is none.
    pub user: Option<String>,
}

/// Starts looking; the first event is how it is now.
///
/// # Errors
///
/// Those of inotify_init1(2) and of starting a thread.
pub fn start(
    config: PolicyConfig,
    sink: impl FnMut(FileEvent<Policy>) + Send + 'static,
) -> io::Result<FileSource> {
    let root = config.root;
    let look = move |watch: &mut Watch| Ok::<_, Trouble>(policy(&root, watch));
    FileSource::start("arrival-policy", config.settle, look, sink)
}

/// The files of machine and user policy below a root, for showing them.
pub fn files(root: &Path) -> [Vec<PathBuf>; 2] {
    let mut found = Found::default();
    found.look(root, &mut |_| {});
    [found.machine, found.user].map(|kind| kind.files.into_iter().collect())
}

fn policy(root: &Path, watch: &mut Watch) -> Policy {
    let mut found = Found::default();
    found.look(root, &mut |folder| watch.folder(folder));
    Policy {
        machine: found.machine.digest(root),
        user: found.user.digest(root),
    }
}

#[derive(Debug, Default)]
struct Found {
    machine: Kind,
    user: Kind,
    files: usize,
}

#[derive(Debug, Default)]
struct Kind {
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Nobody,
    Machine,
    User,
}

impl Found {
    fn look(&mut self, root: &Path, watch: &mut dyn FnMut(&Path)) {
        for cache in CACHES {
            self.enter(&below(root, cache), Of::Nobody, DEPTH, watch);
        }
        self.enter(&below(root, LOCAL), Of::Nobody, DEPTH, watch);
    }

    /// Watches a folder, then looks into it.
    fn enter(&mut self, folder: &Path, of: Of, depth: usize, watch: &mut dyn FnMut(&Path)) {
        watch(folder);
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let path = entry.path();
            if kind.is_dir() && depth > 0 {
                let name = entry.file_name();
                let below = if of != Of::Nobody {
                    of
                } else if name.eq_ignore_ascii_case("machine") {
                    Of::Machine
                } else if name.eq_ignore_ascii_case("user") {
                    Of::User
                } else {
                    Of::Nobody
                };
                if below != of
                    && let Some(kind) = self.kind(below)
                {
                    kind.folders.insert(path.clone());
                }
                self.enter(&path, below, depth - 1, watch);
            } else if self.files < FILES
                && let Some(own) = self.kind(of)
            {
                own.files.insert(path);
                self.files += 1;
            }
        }
    }

    fn kind(&mut self, of: Of) -> Option<&mut Kind> {
        match of {
            Of::Nobody => None,
            Of::Machine => Some(&mut self.machine),
            Of::User => Some(&mut self.user),
        }
    }
}

impl Kind {
    fn digest(&self, root: &Path) -> Option<String> {
        if self.folders.is_empty() {
            return None;
        }
        let mut digest = Sha256::new();
        let mut part = |kind: u8, bytes: &[u8]| {
            digest.update([kind]);
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        let relative = |path: &Path| {
            let path = path.strip_prefix(root).unwrap_or(path);
            path.as_os_str().as_encoded_bytes().to_vec()
        };
        for folder in &self.folders {
            part(1, &relative(folder));
        }
        for file in &self.files {
            part(2, &relative(file));
            let found = std::fs::symlink_metadata(file);
            let small = found
                .as_ref()
                .is_ok_and(|found| found.is_file() && found.len() <= FILE);
            match (small.then(|| std::fs::read(file)), found) {
                (Some(Ok(bytes)), _) => part(3, &bytes),
                (Some(Err(_)) | None, Ok(found)) => {
                    part(4, &found.len().to_le_bytes());
                    part(5, &found.mtime().to_le_bytes());
                }
                (Some(Err(_)) | None, Err(_)) => part(6, &[]),
            }
        }
        let digest = digest.finalize();
        Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
