#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;

use arrival_model::diagnostic::{Diagnostic, Report};
use proptest::prelude::*;

use super::*;

/// What a text says, in one line an entry, and what is wrong with it.
fn look(text: &str) -> (Vec<String>, Vec<Diagnostic>) {
    let mut report = Report::new(Path::new("x.inf"), text);
    let document = parse(&mut report);
    let mut lines = Vec::new();
    for section in &document.sections {
        lines.push(format!("[{}]", section.name));
        for entry in &section.entries {
            let values: Vec<&str> = entry.values.iter().map(|value| &*value.text).collect();
            let key = entry.key.as_ref().map(|key| format!("{}=", key.text));
            lines.push(format!("{}{}", key.unwrap_or_default(), values.join("|")));
        }
    }
    (lines, report.finish())
}

/// The entries of one section.
fn says(body: &str) -> Vec<String> {
    let (lines, problems) = look(&format!("[s]\n{body}"));
    assert_eq!(problems, [], "{body}");
    lines[1..].to_vec()
}

#[test]
fn a_key_ends_with_the_first_equals_sign_outside_quotes() {
    assert_eq!(says("a = b"), ["a=b"]);
    assert_eq!(says("a = b = c"), ["a=b = c"]);
    assert_eq!(says("\"a=b\" = c"), ["a=b=c"]);
    assert_eq!(says("a, b=c"), ["a|b=c"]);
    assert_eq!(says("alone"), ["alone"]);
    assert_eq!(says("a ="), ["a="]);
    assert_eq!(says("= b"), ["=b"]);
}

#[test]
fn empty_fields_keep_their_commas_and_blanks_do_not_count() {
    assert_eq!(says("AddService = x , , y ,"), ["AddService=x||y|"]);
    assert_eq!(says("\ta\x0b=\x0cb c\t"), ["a=b c"]);
    assert_eq!(says("a = \" b \" , c"), ["a= b |c"]);
    assert_eq!(says("a = x\0y"), ["a=x y"]);
    assert_eq!(says("a = \"\0y\""), ["a= y"]);
}

#[test]
fn quotes_protect_and_a_double_quote_stands_for_one() {
    assert_eq!(says(r#"a = "x,y;z=\""#), [r"a=x,y;z=\"]);
    assert_eq!(says(r#"a = """%13%\a b.exe""""#), [r#"a="%13%\a b.exe""#]);
    assert_eq!(says(r#"a = x"y"z"#), ["a=xyz"]);
    assert_eq!(says(r#"a = """#), ["a="]);
}

#[test]
fn a_comment_ends_with_its_line_and_does_not_begin_in_quotes_or_tokens() {
    assert_eq!(says("; all\na = b ; c\n;\nd = e;f"), ["a=b", "d=e"]);
    assert_eq!(says("a = %b;c% ; d"), ["a=%b;c%"]);
    assert_eq!(says("a = 100% ; of it, 50%"), ["a=100%"]);
    assert_eq!(says("a = 5%;6 %"), ["a=5%"]);
}

#[test]
fn a_backslash_continues_only_at_the_end_of_its_line() {
    assert_eq!(says("a = b, \\\n  c"), ["a=b|c"]);
    assert_eq!(says("a = b \\ ; why\r\n  c"), ["a=bc"]);
    assert_eq!(says("a = b\\\\\rc"), ["a=bc"]);
    assert_eq!(says("a = b\\c\\ d"), ["a=b\\c\\ d"]);
    assert_eq!(says("a = \"b\\\"\nc"), ["a=b\\", "c"]);
    assert_eq!(says("a \\\n = b"), ["a=b"]);
    assert_eq!(says("a = b\\"), ["a=b\\"]);
    assert_eq!(says("a = \" b \" \\\n c"), ["a= b c"]);
}

#[test]
fn any_line_end_will_do_and_ctrl_z_ends_the_file() {
    assert_eq!(
        says("a=1\rb=2\nc=3\r\nd=4\x1a\n[t]\ne=5"),
        ["a=1", "b=2", "c=3", "d=4"]
    );
    let (lines, problems) = look("[s]\x1a[t]");
    assert_eq!((lines, problems.len()), (vec!["[s]".to_owned()], 0));
}

#[test]
fn sections_of_one_name_are_one_and_that_is_said() {
    let mut report = Report::new(Path::new("x.inf"), "[A]\nb=1\n[c]\n[a]\nB=2\n");
    let document = parse(&mut report);
    assert_eq!(document.entries("a").count(), 2);
    assert_eq!(
        document.entry("A", "b").unwrap().value(0).unwrap().text,
        "2"
    );
    let problems = report.finish();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        (problems[0].line, problems[0].column, &*problems[0].code),
        (4, 2, "1209")
    );
}

#[test]
fn reading_goes_on_behind_a_mistake() {
    let (lines, problems) = look("a = 1\nb = 2\n[x\nc = 3\n[]\nd = 4\n[y] z\ne = \"5\nf = 6");
    assert_eq!(lines, ["[y]", "e=5", "f=6"]);
    let told: Vec<(usize, usize, &str)> = problems
        .iter()
        .map(|p| (p.line, p.column, p.message.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (1, 1, "this stands before the first section"),
            (3, 1, "the section's name has no closing bracket"),
            (5, 2, "a section's name has 1 to 255 characters"),
            (7, 5, "what stands behind the section's name does not count"),
            (
                8,
                5,
                "the quotation has no end; it is taken to end with the line"
            ),
        ]
    );
}

#[test]
fn what_is_too_long_is_refused() {
    let (_, problems) = look(&format!("[{}]", "n".repeat(256)));
    assert_eq!(problems.len(), 1);
    let (_, problems) = look(&format!("[s]\na = {}", "v".repeat(4096)));
    assert_eq!(
        problems[0].message,
        "the field is longer than 4095 characters"
    );
    let (_, problems) = look(&format!("[s]\na = {}", "\u{e9}".repeat(4095)));
    assert_eq!(problems, []);
}

#[test]
fn places_are_those_of_the_words() {
    let text = "[s]\n  key = one , \"two\" ; x\n";
    let mut report = Report::new(Path::new("x.inf"), text);
    let document = parse(&mut report);
    let entry = &document.sections[0].entries[0];
    assert_eq!(&text[entry.key.as_ref().unwrap().span.clone()], "key");
    assert_eq!(&text[entry.values[0].span.clone()], "one");
    assert_eq!(&text[entry.values[1].span.clone()], "\"two\"");
    assert_eq!(&text[entry.span.clone()], "key = one , \"two\"");
}

/// A text that says these fields, and nothing else.
fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_places_are_within_it(text in "[\\[\\]=,;%\"\\\\ \t\r\n\0a\u{1a}\u{e9}]{0,60}") {
        let mut report = Report::new(Path::new("x.inf"), &text);
        let document = parse(&mut report);
        for entry in document.sections.iter().flat_map(|section| &section.entries) {
            prop_assert!(text.get(entry.span.clone()).is_some());
            for field in entry.key.iter().chain(&entry.values) {
                prop_assert!(text.get(field.span.clone()).is_some(), "{:?}", field);
                prop_assert!(entry.span.start <= field.span.start && field.span.end <= entry.span.end);
            }
        }
    }

    #[test]
    fn what_is_written_in_quotes_is_read_as_it_is(
        key in proptest::option::of("[ -~\u{e9}]{1,8}"),
        values in proptest::collection::vec("[ -~\u{e9}]{0,8}", 1..4),
        blanks in "[ \t]{0,2}",
    ) {
        let list: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        let line = match &key {
            Some(key) => format!("{blanks}{}{blanks}={blanks}{}", quoted(key), list.join(&format!("{blanks},"))),
            None => list.join(","),
        };
        let text = format!("[s]\n{line}\n");
        let mut report = Report::new(Path::new("x.inf"), &text);
        let document = parse(&mut report);
        let entry = &document.sections[0].entries[0];
        prop_assert_eq!(entry.key.as_ref().map(|key| key.text.to_string()), key);
        let read: Vec<String> = entry.values.iter().map(|value| value.text.to_string()).collect();
        prop_assert_eq!(read, values);
        prop_assert_eq!(report.finish(), []);
    }
}
