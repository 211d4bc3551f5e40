//! Steps that change the disk, and what a test does to them: the disk is full, or the process is gone.
//!
//! Whatever is built for tests counts the steps of its process from 1. What is shipped has none of this: without
//! debug assertions [`step`] only takes the step.
//!
//! | variable | does |
//! |---|---|
//! | `ARRIVAL_STEPS` | names a file to which each step is appended, a line each |
//! | `ARRIVAL_FAIL_AT` | has the step of this number fail with ENOSPC |
//! | `ARRIVAL_DIE_AT_STEP` | has the process kill itself in place of the step of this number |

use std::io;
use std::path::Path;

/// Takes a step that changes the disk.
pub(crate) fn step<T>(
    verb: &str,
    path: &Path,
    take: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if cfg!(debug_assertions) {
        counted::step(verb, path)?;
    }
    take()
}

mod counted {
    use std::fs::OpenOptions;
    use std::io::{self, Write};
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::io::Errno;
    use rustix::process::{Signal, getpid, kill_process};

    struct Plan {
        names: Option<PathBuf>,
        fail_at: Option<u64>,
        die_at: Option<u64>,
    }

    static PLAN: OnceLock<Plan> = OnceLock::new();
    static TAKEN: AtomicU64 = AtomicU64::new(0);

    fn number(variable: &str) -> Option<u64> {
        std::env::var(variable).ok()?.parse().ok()
    }

    pub(super) fn step(verb: &str, path: &Path) -> io::Result<()> {
        let plan = PLAN.get_or_init(|| Plan {
            names: std::env::var_os("ARRIVAL_STEPS").map(PathBuf::from),
            fail_at: number("ARRIVAL_FAIL_AT"),
            die_at: number("ARRIVAL_DIE_AT_STEP"),
        });
        let number = TAKEN.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(names) = &plan.names {
            let file = OpenOptions::new().append(true).create(true).open(names);
            let line = format!("{verb} {}\n", path.display());
            // A test that finds no names fails.
            let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
        }
        if plan.die_at == Some(number) {
            let _ = kill_process(getpid(), Signal::KILL);
        }
        if plan.fail_at == Some(number) {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }
}
