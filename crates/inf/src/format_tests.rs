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
        "[a]\nb      = c, , d,\nlonger = 1\n\n[x]\n"
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
        "[a]\r\n; why\r\nb = c, d\r\n"
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
fn comments_of_a_line_that_goes_on_stand_above_it() {
    assert_eq!(
        laid_out("[a]\nb = c, \\ ; one\n d\\;two\n;three\n"),
        "[a]\n; one\nb = c, d  ;two\n;three\n"
    );
    assert_eq!(
        laid_out("[a]\nb = \";\" \\ ; \"one\"\n %c;d% ; two\n"),
        "[a]\n; \"one\"\nb = \";%c;d%\"  ; two\n"
    );
}

#[test]
fn only_a_line_that_is_too_long_is_cut() {
    let two = |second: usize| {
        laid_out(&std::format!(
            "[a]\nb = {},{};c\n",
            "x".repeat(46),
            "y".repeat(second)
        ))
    };
    assert_eq!(two(48).lines().nth(1).unwrap().len(), 100 + "  ;c".len());
    assert_eq!(
        two(49).lines().nth(2).unwrap(),
        std::format!("    {}  ;c", "y".repeat(49))
    );
    let empty = laid_out(&std::format!(
        "[a]\nb = {},\n\nlonger = 1\n",
        "x".repeat(120)
    ));
    assert_eq!(empty.lines().count(), 4, "{empty}");
    let full = laid_out(&std::format!("[a]\nb = {}\n", ["x"; 200].join(",")));
    assert!(
        full.lines()
            .skip(1)
            .take(5)
            .all(|line| (98..=100).contains(&line.len())),
        "{full}"
    );
}

#[test]
fn what_was_on_several_lines_is_quoted_only_if_it_must_be() {
    assert_eq!(
        laid_out("[a]\nb = %13%\\\\ \\\n c\nd = x \\\n\"y z\"\ne = x \\\n\",\"\n"),
        "[a]\nb = %13%c\nd = xy z\ne = \"x,\"\n"
    );
    assert_eq!(laid_out("[a]\n\"\"\\\n\"\"\n"), "[a]\n\"\"\n");
    assert_eq!(laid_out("[a]\n\\\n[b]\n"), "[a]\n\"[b]\"\n");
    assert_eq!(quote("%13%\\a b.exe"), "%13%\\a b.exe");
    assert_eq!(quote(" a"), "\" a\"");
    assert_eq!(quote("say \"a\""), "\"say \"\"a\"\"\"");
    assert_eq!(quote("a\\"), "\"a\\\"");
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
        Just("\\ ;\u{a7}\r\n".to_owned()),
        Just("\"\"\\\r\"\"".to_owned()),
        Just("%a;b%".to_owned()),
        Just("[x = y".to_owned()),
        "[a-z]{1,50}",
    ]
}

fn line() -> impl Strategy<Value = String> {
    let values = proptest::collection::vec(piece(), 0..7);
    let key = proptest::option::of("[a-zA-Z0-9%. \"]{0,30}");
    let entry = (
        key,
        values,
        proptest::option::of(";\u{a7}[a-z \"\\\\%]{0,9}"),
    )
        .prop_map(|(key, values, comment)| {
            let key = key.map(|key| std::format!("{key}=")).unwrap_or_default();
            std::format!("{key}{}{}", values.join(","), comment.unwrap_or_default())
        });
    prop_oneof![
        4 => entry,
        1 => "[ \t]{0,3}",
        1 => ";\u{a7}[a-z\\\\ ]{0,12}",
        1 => "\\[[a-zA-Z. ]{1,9}\\]( ;\u{a7})?",
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
            let out = laid_out(&text);
            // The generator writes this sign in comments only.
            prop_assert_eq!(out.matches('\u{a7}').count(), text.matches('\u{a7}').count(), "{}", out);
        }
    }

    #[test]
    fn a_value_is_read_as_it_was_quoted(
        key in "[ -~\t\u{e9}]{0,6}",
        values in proptest::collection::vec("[ -~\t\u{e9}\u{a0}]{0,6}", 1..4),
    ) {
        let list: Vec<_> = values.iter().map(|value| quote(value)).collect();
        let text = std::format!("[s]\n{} = {}\n", quote(&key), list.join(", "));
        prop_assert_eq!(meaning(&text), [("s".to_owned(), vec![(Some(key.clone()), values.clone())])]);
        let lone = std::format!("[s]\n{}\n", quote(&key));
        let entries = if key.is_empty() { vec![] } else { vec![(None, vec![key])] };
        prop_assert_eq!(meaning(&lone), [("s".to_owned(), entries)]);
    }
}
