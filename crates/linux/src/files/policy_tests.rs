#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use super::*;
use crate::sandbox::temporary_folder;

const PATIENCE: Duration = Duration::from_secs(30);
const GUID: &str =
    "/var/cache/samba/gpo_cache/SCM.TEST/POLICIES/{31B2F340-016D-11D2-945F-00C04FB984F9}";

struct Machine {
    root: PathBuf,
    source: FileSource,
    events: Receiver<FileEvent<Policy>>,
    gate: Sender<()>,
}

impl Machine {
    /// Each event is held up until the test lets it go, if it is told to.
    fn new(hold: bool) -> Machine {
        let root = temporary_folder("arrival-policy-").unwrap();
        let (sender, events) = channel();
        let (gate, go) = channel();
        let config = PolicyConfig {
            root: root.clone(),
            settle: Duration::from_millis(20),
        };
        let source = start(config, move |event| {
            let _ = sender.send(event);
            if hold {
                let _ = go.recv();
            }
        })
        .unwrap();
        Machine {
            root,
            source,
            events,
            gate,
        }
    }

    fn next(&self) -> Policy {
        match self.events.recv_timeout(PATIENCE).unwrap() {
            FileEvent::Now(policy) => policy,
            other => panic!("{other:?}"),
        }
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = below(&self.root, path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let beside = path.with_extension("tmp");
        fs::write(&beside, bytes).unwrap();
        fs::rename(&beside, &path).unwrap();
    }

    /// Waits until everything that happened until now has been looked at.
    fn looked(&self, before: u64) {
        let start = Instant::now();
        while self.source.counters().looks == before {
            assert!(start.elapsed() < PATIENCE, "nothing was looked at");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

#[test]
fn policy_is_what_the_files_hold() {
    let machine = Machine::new(false);
    assert_eq!(machine.next(), Policy::default());
    machine.put(&format!("{GUID}/MACHINE/REGISTRY.POL"), b"one");
    let first = machine.next();
    assert!(first.machine.is_some() && first.user.is_none());
    // The same bytes again, as every run of the tool that fetches them brings.
    let looks = machine.source.counters().looks;
    machine.put(&format!("{GUID}/MACHINE/REGISTRY.POL"), b"one");
    machine.put(&format!("{GUID}/GPT.INI"), b"[General]\nVersion=65537\n");
    machine.looked(looks);
    machine.put(&format!("{GUID}/USER/Scripts/a/b.pol"), b"two");
    let second = machine.next();
    assert_eq!(second.machine, first.machine);
    assert!(second.user.is_some());
    machine.put(&format!("{GUID}/MACHINE/REGISTRY.POL"), b"another");
    let third = machine.next();
    assert_eq!(third.user, second.user);
    assert_ne!(third.machine, second.machine);
    fs::remove_dir_all(below(&machine.root, &format!("{GUID}/MACHINE"))).unwrap();
    // Between the files and the folder there may be a look.
    let mut last = machine.next();
    while last.machine.is_some() {
        last = machine.next();
    }
    assert_eq!(last.user, second.user);
}

#[test]
fn local_policy_counts_by_its_folders() {
    let machine = Machine::new(false);
    machine.next();
    machine.put("/etc/arrival/policy/machine/Registry.pol", b"one");
    assert!(machine.next().machine.is_some());
    machine.put("/etc/arrival/policy/user/Registry.pol", b"one");
    assert!(machine.next().user.is_some());
    let [of_machine, of_user] = files(&machine.root);
    assert_eq!((of_machine.len(), of_user.len()), (1, 1));
}

#[test]
fn after_lost_events_policy_is_right() {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 100_000 {
        println!("skipped: the kernel's queue holds {limit} events");
        return;
    }
    let machine = Machine::new(true);
    machine.gate.send(()).unwrap();
    machine.next();
    machine.put("/etc/arrival/policy/machine/Registry.pol", b"one");
    let first = machine.next();
    // The reader is held up in its sink, while more happens than the queue holds.
    let folder = below(&machine.root, "/etc/arrival/policy/machine");
    for number in 0..=limit / 2 {
        let path = folder.join(format!("{number}"));
        drop(fs::File::create(&path).unwrap());
        fs::remove_file(&path).unwrap();
    }
    machine.put("/etc/arrival/policy/machine/Registry.pol", b"two");
    machine.gate.send(()).unwrap();
    machine.gate.send(()).unwrap();
    machine.gate.send(()).unwrap();
    assert_eq!(
        machine.events.recv_timeout(PATIENCE).unwrap(),
        FileEvent::Overrun
    );
    assert_ne!(machine.next().machine, first.machine);
    assert!(machine.source.counters().overruns >= 1);
}
