//! The run-time state survives its writer at every byte, and damage costs only what it touched.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod scratch;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use arrival_store::journal::{Finding, Journal, JournalError, Recovered, boot_id};
use proptest::prelude::*;
use scratch::Scratch;
use serde_json::{Value, json};

const BOOT: &str = "6f1d3a2e-0000-4000-8000-000000000001";

fn open(dir: &Path) -> (Journal, Recovered) {
    Journal::open(dir, BOOT).unwrap_or_else(|error| panic!("{error}"))
}

fn records(dir: &Path) -> BTreeMap<String, Value> {
    let (_, recovered) = open(dir);
    assert_eq!(recovered.findings, []);
    recovered.records
}

fn set(key: &str, value: Value) -> (String, Option<Value>) {
    (key.to_owned(), Some(value))
}

#[test]
fn what_was_written_is_read_again() {
    let dir = Scratch::new();
    let (mut journal, recovered) = open(dir.path());
    assert_eq!(recovered, Recovered::default());
    journal
        .append(&[set("a", json!({"pid": 7})), set("b", json!([1, "x\n"]))])
        .unwrap();
    journal
        .append(&[("a", None::<Value>), ("c", Some(Value::Null))])
        .unwrap();
    journal.append(&[set("b", json!(2))]).unwrap();
    journal.append::<&str, Value>(&[]).unwrap();
    assert_eq!(journal.records(), 2);
    drop(journal);
    let expected = BTreeMap::from([("b".to_owned(), json!(2)), ("c".to_owned(), Value::Null)]);
    assert_eq!(records(dir.path()), expected);
    let meta = fs::metadata(dir.path().join("journal")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
}

#[test]
fn one_change_is_one_line() {
    let dir = Scratch::new();
    let (mut journal, _) = open(dir.path());
    journal
        .append(&[set("a", json!(1)), set("b", json!({"x": "y"}))])
        .unwrap();
    journal.append(&[("a", None::<Value>)]).unwrap();
    let text = fs::read_to_string(dir.path().join("journal")).unwrap();
    let header = format!("{{\"format\":1,\"boot\":\"{BOOT}\"}}");
    let expected = format!("{header}\n[[\"a\",1],[\"b\",{{\"x\":\"y\"}}]]\n[[\"a\"]]\n");
    assert_eq!(text, expected);
    assert_eq!(journal.size(), text.len() as u64);
}

#[test]
fn a_file_cut_at_any_byte_keeps_every_whole_line() {
    let dir = Scratch::new();
    let path = dir.path().join("journal");
    let (mut journal, _) = open(dir.path());
    let mut states = vec![(journal.size(), BTreeMap::new())];
    let mut state = BTreeMap::new();
    for n in 0..4 {
        let key = format!("k{}", n % 3);
        journal
            .append(&[set(&key, json!({"n": n})), set("last", json!(n))])
            .unwrap();
        state.insert(key, json!({"n": n}));
        state.insert("last".to_owned(), json!(n));
        states.push((journal.size(), state.clone()));
    }
    drop(journal);
    let whole = fs::read(&path).unwrap();
    let header = states[0].0;
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let (mut journal, recovered) = open(dir.path());
        let found = states.iter().rev().find(|(size, _)| *size <= cut as u64);
        let expected = found.map(|(_, state)| state.clone()).unwrap_or_default();
        assert_eq!(recovered.records, expected, "cut at {cut}");
        let torn = cut as u64 - found.map_or(0, |(size, _)| *size);
        let findings = match torn {
            0 => vec![],
            _ if (cut as u64) < header => vec![Finding::NoHeader {
                aside: dir.path().join("journal.aside-1"),
            }],
            _ => vec![Finding::Torn(torn as usize)],
        };
        assert_eq!(recovered.findings, findings, "cut at {cut}");
        // Whatever was found, the next change is kept and nothing is mixed with the torn line.
        journal.append(&[set("new", json!(cut))]).unwrap();
        drop(journal);
        let mut expected = expected;
        expected.insert("new".to_owned(), json!(cut));
        assert_eq!(records(dir.path()), expected, "cut at {cut}");
        let _ = fs::remove_file(dir.path().join("journal.aside-1"));
    }
}

#[test]
fn a_damaged_line_ends_what_counts_and_the_file_is_kept_aside() {
    let dir = Scratch::new();
    let path = dir.path().join("journal");
    let (mut journal, _) = open(dir.path());
    for n in 0..3 {
        journal.append(&[set(&format!("k{n}"), json!(n))]).unwrap();
    }
    drop(journal);
    for damage in [
        "[[\"k1\",1]",
        "[[\"k1\",1,2]]",
        "[[1,1]]",
        "[[]]",
        "{}",
        "\u{0}\u{0}",
        "[\"k1\"]",
    ] {
        let text = fs::read_to_string(&path).unwrap();
        let damaged = text.replace("[[\"k1\",1]]", damage);
        assert_ne!(damaged, text);
        let copy = Scratch::new();
        fs::write(copy.path().join("journal"), &damaged).unwrap();
        let (_, recovered) = open(copy.path());
        assert_eq!(
            recovered.records,
            BTreeMap::from([("k0".to_owned(), json!(0))]),
            "{damage}"
        );
        let aside = copy.path().join("journal.aside-1");
        let finding = Finding::Damaged {
            line: 3,
            aside: Some(aside.clone()),
        };
        assert_eq!(
            finding.to_string(),
            format!(
                "line 3 of the state is damaged; all of it is kept in {}",
                aside.display()
            )
        );
        assert_eq!(recovered.findings, [finding], "{damage}");
        assert_eq!(fs::read_to_string(&aside).unwrap(), damaged);
        assert_eq!(records(copy.path()).len(), 1);
    }
}

#[test]
fn the_state_of_another_boot_does_not_count() {
    let dir = Scratch::new();
    let (mut journal, _) = open(dir.path());
    journal.append(&[set("a", json!(1))]).unwrap();
    drop(journal);
    let (journal, recovered) = Journal::open(dir.path(), "other").unwrap();
    assert_eq!(recovered.records, BTreeMap::new());
    assert_eq!(recovered.findings, [Finding::OtherBoot(BOOT.to_owned())]);
    assert_eq!(
        recovered.findings[0].to_string(),
        format!("the state is of another boot ({BOOT}) and does not count")
    );
    drop(journal);
    assert_eq!(
        Journal::open(dir.path(), "other").unwrap().1,
        Recovered::default()
    );
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = Scratch::new();
    let path = dir.path().join("journal");
    let text = format!("{{\"format\":2,\"boot\":\"{BOOT}\",\"new\":[]}}\nanything\n");
    fs::write(&path, &text).unwrap();
    let error = Journal::open(dir.path(), BOOT).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found: 2, .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "{} has format 2, and this version knows 1: use the version that wrote it, or move the \
             file away and restart the services by hand",
            path.display()
        )
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_state_at_all_is_put_aside() {
    for garbage in ["garbage\n", "{}\n", "\n", "[]\n[[\"a\",1]]\n", "\u{ff}"] {
        let dir = Scratch::new();
        fs::write(dir.path().join("journal"), garbage).unwrap();
        let (_, recovered) = open(dir.path());
        let aside = dir.path().join("journal.aside-1");
        assert_eq!(recovered.records, BTreeMap::new());
        assert_eq!(
            recovered.findings,
            [Finding::NoHeader {
                aside: aside.clone()
            }],
            "{garbage}"
        );
        assert_eq!(fs::read_to_string(aside).unwrap(), garbage);
    }
}

#[test]
fn a_file_of_stale_records_is_written_anew() {
    let dir = Scratch::new();
    let (mut journal, _) = open(dir.path());
    let mut largest = 0;
    for n in 0..5000 {
        journal
            .append(&[set(
                &format!("k{}", n % 10),
                json!({"n": n, "text": "x".repeat(50)}),
            )])
            .unwrap();
        largest = largest.max(journal.size());
    }
    assert!(largest <= 64 * 1024 + 200, "{largest}");
    assert_eq!(journal.records(), 10);
    assert_eq!(journal.failed_compactions(), 0);
    journal.compact().unwrap();
    let header = format!("{{\"format\":1,\"boot\":\"{BOOT}\"}}\n").len() as u64;
    assert_eq!(journal.size(), header + journal.live_bytes());
    let size = fs::metadata(dir.path().join("journal")).unwrap().len();
    assert_eq!(journal.size(), size);
    journal.append(&[set("k0", json!("after"))]).unwrap();
    drop(journal);
    let records = records(dir.path());
    assert_eq!(records.len(), 10);
    assert_eq!(records["k0"], json!("after"));
    assert_eq!(records["k9"]["n"], json!(4999));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn many_live_records_are_not_written_anew_at_every_change() {
    let dir = Scratch::new();
    let (mut journal, _) = open(dir.path());
    let value = json!("x".repeat(1000));
    for n in 0..200 {
        journal
            .append(&[set(&format!("k{n}"), value.clone())])
            .unwrap();
    }
    let full = journal.size();
    assert!(full > 200_000);
    let mut sizes = vec![];
    for n in 0..700 {
        journal
            .append(&[set(&format!("k{}", n % 200), value.clone())])
            .unwrap();
        sizes.push(journal.size());
    }
    let shrunk = sizes.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert_eq!(shrunk, 1, "written anew once in 700 changes");
    assert!(
        sizes
            .iter()
            .all(|size| *size <= 4 * journal.live_bytes() + 2000)
    );
}

#[test]
fn a_left_over_new_file_is_in_nobodys_way() {
    let dir = Scratch::new();
    fs::write(dir.path().join("journal.new"), "half").unwrap();
    let (mut journal, _) = open(dir.path());
    journal.append(&[set("a", json!(1))]).unwrap();
    fs::write(dir.path().join("journal.new"), "half").unwrap();
    journal.compact().unwrap();
    drop(journal);
    assert_eq!(records(dir.path()).len(), 1);
}

#[test]
fn a_change_that_is_too_long_changes_nothing() {
    let dir = Scratch::new();
    let (mut journal, _) = open(dir.path());
    let error = journal
        .append(&[set("a", json!("x".repeat(5 << 20)))])
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("bytes is too long for the state file"),
        "{error}"
    );
    assert_eq!(journal.records(), 0);
    drop(journal);
    assert_eq!(records(dir.path()), BTreeMap::new());
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    // This test starts itself as the writer.
    const WRITER: &str = "ARRIVAL_TEST_WRITE_STATE";
    if let Some(dir) = std::env::var_os(WRITER) {
        let (mut journal, _) = open(dir.as_ref());
        for n in 0..u64::MAX {
            // The text makes it write the file anew now and then.
            let value = json!({"n": n, "text": "x".repeat(2000)});
            journal
                .append(&[set(&format!("k{}", n % 5), value)])
                .unwrap();
            println!("wrote {n}");
        }
    }
    let dir = Scratch::new();
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "what_was_acknowledged_survives_a_kill",
            "--nocapture",
        ])
        .env(WRITER, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(writer.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let number = |line: String| {
        line.strip_prefix("wrote ")
            .and_then(|n| n.parse::<u64>().ok())
    };
    assert!(
        lines.by_ref().filter_map(number).any(|n| n >= 500),
        "the writer writes"
    );
    writer.kill().unwrap();
    writer.wait().unwrap();
    let acknowledged = lines.filter_map(number).last().unwrap_or(500);
    let (_, recovered) = open(dir.path());
    assert_eq!(recovered.findings, []);
    let newest = recovered
        .records
        .values()
        .filter_map(|value| value["n"].as_u64())
        .max();
    assert!(newest >= Some(acknowledged), "{newest:?} of {acknowledged}");
    assert_eq!(recovered.records.len(), 5);
}

#[test]
fn this_machine_has_a_boot_id() {
    assert_eq!(boot_id().unwrap().len(), 36);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_behaves_like_a_map(
        steps in proptest::collection::vec(
            (0u8..6, proptest::option::of("\\PC{0,20}"), 0u8..20), 0..60),
    ) {
        let dir = Scratch::new();
        let (mut journal, _) = open(dir.path());
        let mut model = BTreeMap::new();
        for (key, value, then) in steps {
            let key = format!("key {key}\n\u{e4}");
            let value = value.map(Value::String);
            journal.append(&[(key.as_str(), value.as_ref())]).unwrap();
            match value {
                Some(value) => drop(model.insert(key, value)),
                None => drop(model.remove(&key)),
            }
            prop_assert_eq!(journal.records(), model.len());
            match then {
                0 => journal.compact().unwrap(),
                1 => {
                    drop(journal);
                    let (again, recovered) = open(dir.path());
                    prop_assert_eq!(&recovered.findings, &[]);
                    prop_assert_eq!(&recovered.records, &model);
                    journal = again;
                }
                _ => {}
            }
        }
        drop(journal);
        prop_assert_eq!(records(dir.path()), model);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), whole in any::<bool>()) {
        let dir = Scratch::new();
        let mut text = format!("{{\"format\":1,\"boot\":\"{BOOT}\"}}\n[[\"a\",1]]\n").into_bytes();
        if !whole {
            text.clear();
        }
        text.extend(bytes);
        fs::write(dir.path().join("journal"), text).unwrap();
        if let Ok((mut journal, recovered)) = Journal::open(dir.path(), BOOT) {
            journal.append(&[set("b", json!(2))]).unwrap();
            drop(journal);
            let again = records(dir.path());
            prop_assert_eq!(again.len(), recovered.records.len() + usize::from(!recovered.records.contains_key("b")));
        }
    }
}
