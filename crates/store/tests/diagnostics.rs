//! What `arrival check` says of each file in `cases` is, to the letter, what stands beside it.
//!
//! Run with `UPDATE_EXPECTED=1` to write down what is said now, and read the difference.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use arrival_model::class::Classes;
use arrival_model::definition::{Damping, Definition, FailurePolicy, Protocol, Replug, StartType};
use arrival_model::trigger::{DeviceTrigger, FoldedId, Trigger, Wait};
use arrival_store::lint::{Machine, Program, check};
use arrival_store::settings::Settings;
use arrival_store::{Diagnostic, definition, store};

/// Three classes, so that what is said does not change with the built-in ones.
fn classes() -> Classes {
    let mut classes = Classes::new();
    for (name, guid, subsystem) in [
        ("serial", "{86e0d1e0-8089-11d0-9ce4-08003e301f73}", "serial"),
        ("net", "{cac88484-7515-4c03-82e6-71a87abac361}", "net"),
        ("disk", "{53f56307-b6bf-11d0-94f2-00a0c91efb8b}", "block"),
    ] {
        let text = format!(
            "[class]\nname = \"{name}\"\nguid = \"{guid}\"\n[match]\nsubsystem = \"{subsystem}\"\n"
        );
        let (class, problems) = store::parse_class(Path::new("x.toml"), &text);
        assert_eq!(problems, []);
        classes.insert(class.unwrap()).unwrap();
    }
    classes
}

fn said(problems: &[Diagnostic]) -> String {
    let mut text = String::new();
    for problem in problems {
        writeln!(text, "{problem}\n").unwrap();
    }
    if text.is_empty() {
        text.push_str("nothing\n");
    }
    text
}

fn check_case(name: &str, text: &str) -> String {
    // A machine with one user, one program that is good and one that is not.
    let machine = Machine {
        user_exists: &|user| user == "gpsd",
        group_exists: &|group| group == "gpsd",
        program: &|path| match path.to_str().unwrap() {
            "/usr/sbin/gpsd" => Program::Executable,
            "/etc/passwd" => Program::NotExecutable,
            _ => Program::Missing,
        },
        directory_exists: &|path| path == Path::new("/"),
        root: true,
    };
    if name.starts_with("settings") {
        return said(
            &Settings::parse(Path::new(name), text).map_or_else(|bad| bad, |(_, good)| good),
        );
    }
    if name.starts_with("class") {
        return said(&store::parse_class(Path::new(name), text).1);
    }
    let parsed = check(Path::new(name), text, &classes(), &machine);
    let errors = parsed.problems.iter().any(Diagnostic::is_error);
    assert_eq!(
        parsed.definition.is_none(),
        errors,
        "{name}: a file with an error defines nothing"
    );
    said(&parsed.problems)
}

#[test]
fn every_file_gets_exactly_the_diagnostics_that_stand_beside_it() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut wrong = String::new();
    let mut seen = 0;
    let mut files: Vec<_> = fs::read_dir(&cases)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
    {
        seen += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(path).unwrap();
        let actual = check_case(name, &text);
        let beside = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&beside, &actual).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if actual != expected {
            write!(
                wrong,
                "== {name}, expected\n{expected}\n== {name}, said\n{actual}\n"
            )
            .unwrap();
        }
    }
    assert!(seen >= 20, "only {seen} cases were found");
    assert!(wrong.is_empty(), "{wrong}");
}

fn parse(name: &str, text: &str) -> Definition {
    let parsed = definition::parse(Path::new(name), text, &classes());
    parsed
        .definition
        .unwrap_or_else(|| panic!("{name}: {}", said(&parsed.problems)))
}

#[test]
fn a_definition_means_what_it_says() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let text = fs::read_to_string(cases.join("complete.toml")).unwrap();
    let serial = classes().resolve("serial").unwrap().guid;
    let seconds = Duration::from_secs;
    let expected = Definition {
        name: "complete".parse().unwrap(),
        description: "GPS receivers".to_owned(),
        exec: ["/usr/sbin/gpsd", "-N", "${ARRIVAL_NODE}"]
            .map(str::to_owned)
            .to_vec(),
        user: Some("gpsd".to_owned()),
        group: Some("gpsd".to_owned()),
        directory: Some("/".to_owned()),
        environment: [("LANG".to_owned(), "C".to_owned())].into(),
        protocol: Protocol::Notify,
        start: StartType::Demand,
        follow: true,
        linger: seconds(2),
        replug: Replug::Ignore,
        failure: FailurePolicy::default(),
        damping: Some(Damping {
            starts: 5,
            within: seconds(10),
            hold: seconds(60),
        }),
        start_timeout: seconds(10),
        stop_timeout: seconds(90),
        depends: vec!["dbus".parse().unwrap()],
        provides: Vec::new(),
        triggers: vec![
            Trigger::device(DeviceTrigger {
                class: serial,
                ids: vec![
                    FoldedId::new("USB\\VID_067B&PID_2303"),
                    FoldedId::new("USB\\VID_1546&PID_01A7"),
                ],
                ancestors: true,
                wait: Wait::Usable,
            }),
            Trigger::device(DeviceTrigger {
                class: serial,
                ids: vec![],
                ancestors: false,
                wait: Wait::Usable,
            }),
        ],
        security: Some("D:(A;;GA;;;SY)(A;;CCLCSWLORC;;;WD)".to_owned()),
    };
    assert_eq!(parse("complete.toml", &text), expected);
}

#[test]
fn the_shortest_definition_has_every_default() {
    let name = "short".parse().unwrap();
    let expected = Definition::new(name, vec!["/bin/true".to_owned()]);
    assert_eq!(
        parse("short.toml", "[service]\nexec = [\"/bin/true\"]\n"),
        expected
    );
}

#[test]
fn every_example_of_the_manual_is_a_good_definition() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/definition.md");
    let text = fs::read_to_string(manual).unwrap();
    let mut seen = 0;
    for block in text.split("```toml\n").skip(1) {
        let (example, _) = block.split_once("```").unwrap();
        if example.contains("[service]") {
            let parsed = definition::parse(Path::new("example.toml"), example, &classes());
            // One of them shows what becomes of a class that nobody defines.
            let expected = |problem: &Diagnostic| problem.code == "undefined-class";
            assert!(
                parsed.problems.iter().all(expected),
                "{}",
                said(&parsed.problems)
            );
        } else if example.contains("[class]") {
            assert_eq!(
                store::parse_class(Path::new("example.toml"), example).1,
                [],
                "{example}"
            );
        } else {
            let settings = Settings::parse(Path::new("arrivald.toml"), example);
            assert!(settings.is_ok(), "{example}: {settings:?}");
        }
        seen += 1;
    }
    assert!(seen >= 5, "only {seen} examples were found");
}

#[test]
fn a_diagnostic_survives_json() {
    let text = "[service]\nexce = 5\n";
    let parsed = definition::parse(Path::new("x.toml"), text, &classes());
    let json = serde_json::to_string(&parsed.problems).unwrap();
    let back: Vec<Diagnostic> = serde_json::from_str(&json).unwrap();
    assert_eq!(back, parsed.problems);
    let first: serde_json::Value = serde_json::to_value(&parsed.problems[1]).unwrap();
    assert_eq!(first["path"], "x.toml");
    assert_eq!(
        (first["line"].as_u64(), first["column"].as_u64()),
        (Some(2), Some(1))
    );
    assert_eq!(first["severity"], "error");
    assert_eq!(first["code"], "unknown-key");
    assert_eq!(first["remedy"], "did you mean 'exec'?");
}

#[test]
fn a_file_full_of_mistakes_is_not_reported_without_end() {
    let mut text = String::from("[service]\nexec = [\"/usr/sbin/gpsd\"]\n");
    for n in 0..1000 {
        writeln!(text, "wrong{n} = {n}").unwrap();
    }
    let parsed = definition::parse(Path::new("x.toml"), &text, &classes());
    assert_eq!(parsed.problems.len(), 101);
    assert_eq!(
        parsed.problems[100].message,
        "900 more problems are not shown"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        lines in proptest::collection::vec(proptest::prop_oneof![
            proptest::strategy::Just("[service]".to_owned()),
            proptest::strategy::Just("[[start]]".to_owned()),
            proptest::strategy::Just("exec = [\"/x\", \"${ARRIVAL_NODE}\", \"${\"]".to_owned()),
            "(exec|user|linger|id|device|class|security|environment|follow|start) = [\\[\\]\"a-z0-9:{}.=\\\\ \u{e4}]{0,12}",
            ".{0,20}",
        ], 0..12),
    ) {
        let text = lines.join("\n");
        let parsed = definition::parse(Path::new("x.toml"), &text, &classes());
        for problem in &parsed.problems {
            proptest::prop_assert!(!problem.to_string().is_empty());
            proptest::prop_assert!(problem.line <= text.matches('\n').count() + 1);
        }
        proptest::prop_assert_eq!(parsed.definition.is_none(), parsed.problems.iter().any(Diagnostic::is_error));
        let _ = Settings::parse(Path::new("x.toml"), &text);
        let _ = store::parse_class(Path::new("x.toml"), &text);
    }
}
