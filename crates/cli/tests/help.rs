//! The texts of help, and that man pages and completions come from the same source.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use snapbox::{Data, assert_data_eq};

const COMMANDS: [&str; 18] = [
    "list",
    "status",
    "why",
    "watch",
    "devices",
    "classes",
    "triggers",
    "start",
    "stop",
    "enable",
    "disable",
    "check",
    "verify",
    "reload",
    "info",
    "shutdown",
    "completions",
    "demo",
];

fn arrival(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_arrival"))
        .args(arguments)
        .env_remove("ARRIVAL_ROOT")
        .env("COLUMNS", "100")
        .output()
        .unwrap()
}

fn help(arguments: &[&str]) -> String {
    let output = arrival(arguments);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn snapshot(name: &str) -> Data {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    Data::read_from(&dir.join(format!("{name}.txt")), None)
}

#[test]
fn the_help_of_the_program_teaches_by_example() {
    assert_data_eq!(help(&["--help"]), snapshot("arrival"));
}

#[test]
fn the_help_of_every_command_teaches_by_example() {
    for command in COMMANDS {
        let text = help(&[command, "--help"]);
        assert!(text.contains("\nExamples:\n"), "{command}");
        assert_data_eq!(text, snapshot(command));
    }
}

#[test]
fn there_is_a_man_page_for_every_command_with_its_examples() {
    let dir = std::env::temp_dir().join(format!("arrival-man-{}", std::process::id()));
    help(&["man", dir.to_str().unwrap()]);
    for command in COMMANDS {
        let page = std::fs::read_to_string(dir.join(format!("arrival-{command}.1"))).unwrap();
        assert!(page.contains(&format!("arrival {command}")), "{command}");
        assert!(page.contains(".SH EXAMPLES"), "{command}");
    }
    let page = std::fs::read_to_string(dir.join("arrival.1")).unwrap();
    assert!(page.contains(".SH \"EXIT STATUS\""));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let text = help(&["completions", shell]);
        for command in COMMANDS {
            assert!(text.contains(command), "{shell}: {command}");
        }
    }
}
