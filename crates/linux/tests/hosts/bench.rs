//! A table of hosts to work on, and ways to wait for what happens in it.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrival_linux::host::{
    Containment, Exit, HostEvent, HostId, HostRecord, Hosts, SpawnError, Spec, Wanted,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// A table of hosts in a root of its own.
pub(crate) struct Bench {
    pub(crate) hosts: Hosts,
    pub(crate) folder: PathBuf,
    pub(crate) seen: Vec<HostEvent>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Bench {
    pub(crate) fn new(wanted: Wanted) -> Self {
        let name = format!(
            "arrival-hosts-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let hosts = Hosts::new(Containment::detect(&folder, wanted)).unwrap();
        Self {
            hosts,
            folder,
            seen: Vec::new(),
        }
    }

    pub(crate) fn plan(&self) -> HostRecord {
        self.hosts
            .containment()
            .plan(HostId(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn start(&mut self, spec: Spec) -> Result<HostRecord, SpawnError> {
        let record = self.plan();
        self.hosts.spawn(record, spec)
    }

    /// Starts a shell script; `$OUT` is a file of its own.
    pub(crate) fn script(&mut self, script: &str) -> HostRecord {
        let mut spec = Spec::new(["/bin/sh", "-c", script]);
        spec.env = vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("OUT".into(), self.folder.join("out").into()),
        ];
        self.start(spec).unwrap()
    }

    /// Waits until the condition holds, taking events meanwhile.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let events = self.hosts.next_events();
            self.seen.extend(events);
            if holds(self) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "never: {what}; seen {:?}",
                self.seen
            );
            let short = Timespec {
                tv_sec: 0,
                tv_nsec: 10_000_000,
            };
            let _ = poll(
                &mut [PollFd::from_borrowed_fd(self.hosts.as_fd(), PollFlags::IN)],
                Some(&short),
            );
        }
    }

    pub(crate) fn until_empty(&mut self, host: HostId) -> Exit {
        self.until("empty", |bench| {
            bench.seen.contains(&HostEvent::Empty { host })
        });
        let of_host: Vec<_> = self
            .seen
            .iter()
            .filter(|event| match event {
                HostEvent::MainExited { host: of, .. } | HostEvent::Empty { host: of } => {
                    *of == host
                }
            })
            .collect();
        let [HostEvent::MainExited { exit, .. }, HostEvent::Empty { .. }] = of_host.as_slice()
        else {
            panic!("not one exit and then one end: {of_host:?}");
        };
        *exit
    }

    pub(crate) fn until_file(&mut self, name: &str) -> String {
        let path = self.folder.join(name);
        let mut text = String::new();
        self.until(name, |_| {
            text = fs::read_to_string(&path).unwrap_or_default();
            text.ends_with('\n')
        });
        text
    }

    pub(crate) fn file(&self, name: &str) -> OwnedFd {
        File::create(self.folder.join(name)).unwrap().into()
    }

    pub(crate) fn folders(&self) -> usize {
        let Some(base) = self.hosts.containment().base() else {
            return 0;
        };
        fs::read_dir(base).map_or(0, |entries| {
            entries
                .flatten()
                .filter(|entry| entry.path().is_dir())
                .count()
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let ids: Vec<_> = self.hosts.ids().collect();
        for id in ids {
            let _ = self.hosts.kill(id);
        }
        // A test that failed cleans up too, but must not fail twice.
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.hosts.ids().next().is_some() && Instant::now() < deadline {
            self.hosts.next_events();
            std::thread::yield_now();
        }
        self.hosts.containment().remove_base();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn required(need: &str) -> bool {
    std::env::var("ARRIVAL_REQUIRE").is_ok_and(|list| list.split(',').any(|word| word == need))
}

pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(root || !required("root"), "root is required");
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Runs the test under each containment this machine has.
pub(crate) fn each(test: impl Fn(&mut Bench)) {
    let mut bench = Bench::new(Wanted::Best);
    if bench.hosts.containment().kind() == "cgroup" {
        test(&mut bench);
    } else {
        let why = bench.hosts.containment().to_string();
        assert!(!required("root"), "no cgroup: {why}");
        println!("skipped: no cgroup here: {why}");
    }
    drop(bench);
    test(&mut Bench::new(Wanted::Process));
}

/// Whether there is any trace of the process, be it as a zombie.
pub(crate) fn in_proc(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/stat")).exists()
}

pub(crate) fn gone(bench: &mut Bench, pids: &[u32]) {
    bench.until("no zombie", |_| !pids.iter().any(|pid| in_proc(*pid)));
}
