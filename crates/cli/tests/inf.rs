//! `arrival inf check` says of every file of the corpus what stands beside it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_file_of_the_corpus_is_checked_to_the_letter() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inf/tests/cases");
    let mut seen = 0;
    for entry in fs::read_dir(&cases).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // What is judged as if it were to be installed is what `install` says.
        let checked = path.extension().is_some_and(|e| e == "inf" || e == "inx");
        if !checked || name.starts_with("here-") {
            continue;
        }
        seen += 1;
        let expected = fs::read_to_string(path.with_extension("expected")).unwrap();
        let problems = expected.find("\n\n").map_or("", |at| &expected[at..]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_arrival"));
        command.args(["inf", "check", "--arch", "amd64", name]);
        if name.starts_with("windows-") {
            command.arg("--windows");
        }
        let output = command.current_dir(&cases).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // The last line counts.
        let (told, _) = said.trim_end().rsplit_once('\n').unwrap_or_default();
        assert_eq!(told.trim(), problems.trim(), "{name}");
        let errors = problems.contains("\nerror[");
        let status = if errors { 8 } else { 0 };
        assert_eq!(output.status.code(), Some(status), "{name}");
    }
    assert!(seen >= 110, "only {seen} files were found");
}
