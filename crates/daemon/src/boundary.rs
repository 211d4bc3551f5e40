//! Places where a daemon that is killed must leave nothing wrong: before and behind each write of the journal, and
//! before and behind each effect.
//!
//! A daemon built for tests counts them. It appends their names to the file in `ARRIVAL_BOUNDARIES`, a line each, and
//! kills itself at the one whose number is in `ARRIVAL_DIE_AT`. What is shipped has none of this: without debug
//! assertions [`boundary`] is nothing.

/// One of these places.
#[cfg(not(debug_assertions))]
pub(crate) fn boundary(_what: &str) {}

/// One of these places.
#[cfg(debug_assertions)]
pub(crate) fn boundary(what: &str) {
    counted::boundary(what);
}

#[cfg(debug_assertions)]
mod counted {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    struct Plan {
        names: Option<PathBuf>,
        die_at: Option<u64>,
    }

    static PLAN: OnceLock<Plan> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);

    pub(super) fn boundary(what: &str) {
        let plan = PLAN.get_or_init(|| Plan {
            names: std::env::var_os("ARRIVAL_BOUNDARIES").map(PathBuf::from),
            die_at: std::env::var("ARRIVAL_DIE_AT")
                .ok()
                .and_then(|text| text.parse().ok()),
        });
        if plan.names.is_none() && plan.die_at.is_none() {
            return;
        }
        let number = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(path) = &plan.names {
            let file = OpenOptions::new().append(true).create(true).open(path);
            // A test that finds no names fails.
            let _ = file.and_then(|mut file| file.write_all(format!("{what}\n").as_bytes()));
        }
        if plan.die_at == Some(number) {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}
