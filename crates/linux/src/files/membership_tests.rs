#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

use std::fs;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::sandbox::temporary_folder;

const JOINED: &[u8] = include_bytes!("../../../wire/tests/data/secrets_joined.tdb");
const LEFT: &[u8] = include_bytes!("../../../wire/tests/data/secrets_left.tdb");
const PATIENCE: Duration = Duration::from_secs(20);

struct Machine {
    root: PathBuf,
    source: FileSource,
    events: Receiver<FileEvent<Option<Membership>>>,
}

impl Machine {
    fn new(prepare: impl FnOnce(&Path)) -> Machine {
        let root = temporary_folder("arrival-domain-").unwrap();
        prepare(&root);
        let (sender, events) = channel();
        let config = MembershipConfig {
            root: root.clone(),
            settle: Duration::from_millis(20),
        };
        let source = start(config, move |event| drop(sender.send(event))).unwrap();
        Machine {
            root,
            source,
            events,
        }
    }

    fn next(&self) -> FileEvent<Option<Membership>> {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    fn realm(&self) -> Option<String> {
        match self.next() {
            FileEvent::Now(found) => found.map(|found| format!("{} by {}", found.realm, found.by)),
            other => panic!("{other:?}"),
        }
    }

    /// Writes a file, and waits until it has been looked at.
    fn write(&self, path: &str, bytes: &[u8]) {
        let looks = self.source.counters().looks;
        put(&self.root, path, bytes);
        let start = std::time::Instant::now();
        while self.source.counters().looks == looks {
            assert!(start.elapsed() < PATIENCE, "{path} was not looked at");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = below(root, path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    fs::rename(&beside, &path).unwrap();
}

/// A keytab with one key of this principal.
fn key(realm: &str, components: &[&str]) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(text.bytes());
        bytes
    };
    let mut body = u16::try_from(components.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    body.extend(text(realm));
    components.iter().for_each(|part| body.extend(text(part)));
    body.extend([0; 15]);
    let mut bytes = vec![5, 2];
    bytes.extend(i32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn joining_and_leaving_with_samba_are_told() {
    let machine = Machine::new(|_| {});
    assert_eq!(machine.realm(), None);
    machine.write(SECRETS, JOINED);
    let FileEvent::Now(Some(found)) = machine.next() else {
        panic!("it is a member");
    };
    assert_eq!((found.realm.as_str(), found.by), ("SCM", "samba"));
    assert!(found.sid.unwrap().starts_with("S-1-5-21-"));
    machine.write(SMB, b"[global]\nrealm = scm.test\nsecurity = ads\n");
    assert_eq!(machine.realm().as_deref(), Some("SCM.TEST by samba"));
    machine.write(SECRETS, LEFT);
    assert_eq!(machine.realm(), None);
}

#[test]
fn who_reads_or_changes_the_password_is_no_news() {
    let machine = Machine::new(|root| put(root, SECRETS, JOINED));
    assert_eq!(machine.realm().as_deref(), Some("SCM by samba"));
    // Samba's tools open the file for writing only to read it.
    let looks = machine.source.counters().looks;
    let path = below(&machine.root, SECRETS);
    drop(
        fs::File::options()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap(),
    );
    let start = std::time::Instant::now();
    while machine.source.counters().looks == looks {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    machine.write(SECRETS, JOINED);
    machine.write(KEYTAB, &key("SCM", &["CL$"]));
    machine.write(SECRETS, LEFT);
    // Leaving is the next news; a keytab alone is no membership.
    assert_eq!(machine.realm(), None);
}

#[test]
fn sssd_makes_a_member_with_a_key_of_the_machine() {
    let machine = Machine::new(|root| {
        put(
            root,
            SSSD,
            b"[sssd]\ndomains = local, Scm.Test\n[domain/local]\nid_provider = files\n",
        );
    });
    assert_eq!(machine.realm(), None);
    machine.write(
        &format!("{SSSD_MORE}/one.conf"),
        b"[domain/scm.test]\nid_provider = ad\n",
    );
    machine.write(KEYTAB, &key("SCM.TEST", &["nfs", "cl.scm.test"]));
    machine.write(KEYTAB, &key("OTHER", &["CL$"]));
    machine.write(KEYTAB, &key("SCM.TEST", &["CL$"]));
    assert_eq!(machine.realm().as_deref(), Some("SCM.TEST by sssd"));
    // As realmd leaves: the domain goes out of the file.
    machine.write(SSSD, b"[sssd]\ndomains =\n");
    assert_eq!(machine.realm(), None);
}

#[test]
fn freeipa_makes_a_member_with_a_key_of_the_machine() {
    let machine = Machine::new(|_| {});
    assert_eq!(machine.realm(), None);
    machine.write(IPA, b"[global]\nrealm = IPA.TEST\n");
    machine.write(KEYTAB, &key("IPA.TEST", &["host", "cl.ipa.test"]));
    assert_eq!(machine.realm().as_deref(), Some("IPA.TEST by ipa"));
}

#[test]
fn a_file_that_cannot_be_understood_changes_nothing_and_is_told() {
    let machine = Machine::new(|root| put(root, SECRETS, JOINED));
    assert_eq!(machine.realm().as_deref(), Some("SCM by samba"));
    machine.write(SECRETS, JOINED.get(..3000).unwrap());
    let FileEvent::Trouble(text) = machine.next() else {
        panic!("the file is cut");
    };
    assert!(text.contains("secrets.tdb: no TDB file: "), "{text}");
    machine.write(SECRETS, LEFT);
    assert_eq!(machine.realm(), None);
}
