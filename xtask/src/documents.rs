//! Tests of what the documents say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workspace;

fn read(path: &str) -> String {
    fs::read_to_string(workspace::root().join(path)).unwrap()
}

/// What stands between backquotes in a line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a text has a word, bounded by what is no part of a name.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

/// The first column and the rest of the rows of a document's tables.
fn rows(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
}

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let text = read("docs/guarantees.md");
    let named: Vec<(&str, &str)> = quoted(&text)
        .filter_map(|name| name.split_once("::"))
        .filter(|(file, _)| file.contains('/'))
        .collect();
    assert!(named.len() > 40, "only {} tests are named", named.len());
    let missing: Vec<String> = named
        .into_iter()
        .filter(|(file, test)| {
            !fs::read_to_string(workspace::root().join(file))
                .is_ok_and(|source| has_word(&source, test))
        })
        .map(|(file, test)| format!("{file}::{test}"))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
    let cases = quoted(&text).filter(|name| name.starts_with("tests/vm/cases/"));
    let missing: Vec<&str> = cases
        .filter(|case| !workspace::root().join(case).join("run").exists())
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn every_promise_and_every_guarantee_has_a_row_with_a_test_or_says_not_yet() {
    let text = read("docs/guarantees.md");
    let mut expected: BTreeSet<String> = (1..=7).map(|n| n.to_string()).collect();
    expected.extend((1..=20).map(|n| format!("G{n}")));
    for (name, rest) in rows(&text) {
        if expected.remove(name) {
            assert!(rest.contains("::") || rest.contains("not yet"), "{name}");
        }
    }
    assert_eq!(expected, BTreeSet::new());
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let mut documents: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .map(PathBuf::from)
        .to_vec();
    for entry in fs::read_dir(workspace::root().join("docs")).unwrap() {
        documents.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    for document in documents {
        let text = read(document.to_str().unwrap());
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || link.starts_with("http") {
                continue;
            }
            let target = workspace::root()
                .join(document.parent().unwrap())
                .join(path);
            assert!(target.exists(), "{}: {link}", document.display());
        }
    }
}

/// The command line, if `cargo xtask test` has built it.
fn arrival() -> Option<Command> {
    let program = std::env::var_os("ARRIVAL_BIN");
    if program.is_none() {
        println!("skipped: `cargo xtask test` names the program to try");
    }
    program.map(Command::new)
}

#[test]
fn the_readme_lists_every_command_and_no_other() {
    let Some(mut arrival) = arrival() else { return };
    let help = String::from_utf8(arrival.arg("--help").output().unwrap().stdout).unwrap();
    let commands: BTreeSet<String> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect();
    let text = read("README.md");
    let listed: BTreeSet<String> = rows(&text)
        .filter_map(|(first, _)| quoted(first).next()?.strip_prefix("arrival "))
        .filter_map(|usage| Some(usage.split_whitespace().next()?.to_owned()))
        .collect();
    assert_eq!(listed, commands);
}

#[test]
fn every_definition_in_the_readme_is_a_good_one() {
    if arrival().is_none() {
        return;
    }
    let text = read("README.md");
    let folder = workspace::target().join("readme");
    fs::create_dir_all(&folder).unwrap();
    let blocks: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!blocks.is_empty());
    for (number, block) in blocks.iter().enumerate() {
        let file = folder.join(format!("readme{number}.toml"));
        fs::write(&file, block).unwrap();
        let output = arrival().unwrap().arg("check").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{block}\n{said}");
    }
}
