#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;

use proptest::prelude::*;

use super::*;

/// An entry as it is read: key and values.
type Read = (Option<String>, Vec<String>);

/// Sections with their entries as they are read.
fn meaning(text: &str) -> Vec<(String, Vec<Read>)> {
    let mut report = Report::new(Path::new("x.inf"), text);
    let document = syntax::parse(&mut report);
    let sections = document.sections.iter().map(|section| {
        let entries = section.entries.iter().map(|entry| {
            let values = entry.values.iter().map(|value| value.text.to_string());
            let key = entry.key.as_ref().map(|key| key.text.to_string());
            (key, values.collect())
        });
        (section.name.to_owned(), entries.collect())
    });
    sections.collect()
}

/// The text laid out; what it means is the same, and laying it out again changes nothing.
fn laid_out(text: &str) -> String {
    let once = format(Path::new("x.inf"), text).unwrap();
    assert_eq!(meaning(&once), meaning(text), "{text}\n--\n{once}");
    let twice = format(Path::new("x.inf"), &once).unwrap();
    assert_eq!(twice, once, "{text}");
    once
}

#[test]
fn every_rule_of_the_layout_holds() {
    assert_eq!(laid_out("[a]\nb=c\n"), "[a]\nb = c\n");
    assert_eq!(
        laid_out("\n\n[ a ]\nb=c,,d ,\nlonger = 1\n[x]"),
        "[ a ]\nb      = c, , d,\nlonger = 1\n\n[x]\n"
    );
    assert_eq!(
        laid_out("; top\n[a];x\nb=c;y\n\n\n; own\nd\n"),
        "; top\n[a]  ;x\nb = c  ;y\n\n; own\nd\n"
    );
    assert_eq!(
        laid_out("[a]\nb=1\n; of c\n[c]\n"),
        "[a]\nb = 1\n\n; of c\n[c]\n"
    );
    assert_eq!(
        laid_out("[a]\r\nb = \\ ; why\r\n  c, \\\r\n d\r\n"),
        "[a]\r\nb = c, d\r\n"
    );
    assert_eq!(
        laid_out("[a]\nb=\"x;y\"\"\"\x1aend"),
        "[a]\nb = \"x;y\"\"\"\n"
    );
    assert_eq!(laid_out(""), "");
    let long = std::format!("[a]\nb = {}\n", ["abcdefghij"; 12].join(","));
    let out = laid_out(&long);
    assert!(out.lines().all(|line| line.len() <= 100), "{out}");
    assert_eq!(out.lines().count(), 3, "{out}");
}

#[test]
fn what_nobody_understands_is_not_laid_out() {
    for bad in ["[a\n", "x = y\n[a]\n", "[a]\nb = \"c\n", "[a] behind\n"] {
        assert!(format(Path::new("x.inf"), bad).is_err(), "{bad}");
    }
}

#[test]
fn the_files_of_the_corpus_keep_their_meaning() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut seen = 0;
    for entry in fs::read_dir(cases).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "inf" && e != "inx") {
            continue;
        }
        let text = crate::encoding::decode(&fs::read(&path).unwrap()).text;
        if format(&path, &text).is_ok() {
            seen += 1;
            laid_out(&text);
        }
    }
    assert!(seen > 10, "{seen}");
}

fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 _.%]{0,8}",
        r#""[a-z ,;=\\%]{0,8}""#,
        Just("\"a\"\"b\"".to_owned()),
        Just("%tok%".to_owned()),
        Just("%%".to_owned()),
        Just("C:\\x\\y".to_owned()),
        Just("a\\".to_owned()),
        Just(" \\\n  more".to_owned()),
        Just("\\ ; why\r\n".to_owned()),
        "[a-z]{1,30}",
    ]
}

fn line() -> impl Strategy<Value = String> {
    let values = proptest::collection::vec(piece(), 0..5);
    let key = proptest::option::of("[a-zA-Z0-9%. \"]{0,30}");
    let entry = (key, values, proptest::option::of("; [a-z \"\\\\%]{0,9}")).prop_map(
        |(key, values, comment)| {
            let key = key.map(|key| std::format!("{key}=")).unwrap_or_default();
            std::format!("{key}{}{}", values.join(","), comment.unwrap_or_default())
        },
    );
    prop_oneof![
        4 => entry,
        1 => "[ \t]{0,3}",
        1 => "; [a-z\\\\ ]{0,12}",
        1 => r"\[[a-zA-Z. ]{1,9}\]( ;x)?",
    ]
}

proptest! {
    #[test]
    fn a_file_means_the_same_and_stays_as_it_is_laid_out(
        lines in proptest::collection::vec((line(), prop_oneof![Just("\n"), Just("\r\n"), Just("\r")]), 0..14),
    ) {
        let body: String = lines.iter().map(|(line, eol)| std::format!("{line}{eol}")).collect();
        let text = std::format!("[s]\n{body}");
        if format(Path::new("x.inf"), &text).is_ok() {
            laid_out(&text);
        }
    }
}
