#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::record::Entry;
use super::*;

#[test]
fn the_way_of_telling_survives_the_command_line() {
    for (json, color, fast) in [
        (false, Color::Auto, true),
        (true, Color::Always, false),
        (true, Color::Never, true),
    ] {
        let told = Told {
            root: "/a b".into(),
            json,
            color,
            fast,
        };
        let [word, rest @ ..] = told.arguments();
        assert_eq!(word, STORY);
        let again = Told::from_arguments(rest.into_iter());
        assert_eq!(again.root, Path::new("/a b"));
        assert_eq!((again.json, again.color, again.fast), (json, color, fast));
    }
}

#[test]
fn the_inf_is_sound_whatever_the_folder_is_called() {
    let arguments =
        ["__demo-service", "/tmp/a \"b\" \\c 100% ü\\\"/record", "5"].map(str::to_owned);
    let text = story::inf(&arguments);
    let read = arrival_inf::read(
        Path::new("demo.inf"),
        text.as_bytes(),
        &arrival_inf::Target::of(std::env::consts::ARCH),
    );
    let plan = read.plan.unwrap_or_else(|| panic!("{:?}", read.problems));
    assert_eq!(plan.services[0].arguments, arguments);
}

#[test]
fn a_record_is_read_line_by_line_and_never_half() {
    let root = Root::new().unwrap();
    let path = root.path.join("record");
    assert_eq!(record::read(&path), []);
    record::append(&path, "told", 5, "arrival demo0").unwrap();
    std::fs::write(
        &path,
        std::fs::read_to_string(&path).unwrap() + "asked 7 8 \nnonsense\ncleaned 9",
    )
    .unwrap();
    let entry = |verb: &str, time_ns, pid, rest: &str| Entry {
        verb: verb.to_owned(),
        time_ns,
        pid,
        rest: rest.to_owned(),
    };
    let own = i32::try_from(std::process::id()).unwrap();
    assert_eq!(
        record::read(&path),
        [
            entry("told", 5, own, "arrival demo0"),
            entry("asked", 7, 8, ""),
        ]
    );
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn the_folder_goes_with_its_value() {
    let root = Root::new().unwrap();
    let path = root.path.clone();
    assert!(path.is_dir());
    drop(root);
    assert!(!path.exists());
    let root = Root::new().unwrap();
    let path = root.path.clone();
    root.remove().unwrap();
    assert!(!path.exists());
}
