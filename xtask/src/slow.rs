//! `cargo xtask slow [PART...]`: what takes long; all of it, or some parts.
//!
//! | part | how |
//! |---|---|
//! | `explore` | the engine's tests with `ARRIVAL_EXPLORE=deep`, and all properties with `PROPTEST_CASES` of 20,000 |
//! | `flaps` | the whole flap matrix of `tests/cases/flap_matrix.rs`; a line for each cell is left in `target/flaps.txt` |
//! | `adoption` | `tests/cases/adoption.rs` with every variant at every boundary |
//! | `mutants` | `cargo mutants` on the engine, against its sentences and its model: an exploration takes too long to be run five hundred times; survivors must be listed in `xtask/mutants.txt` |
//!
//! Every part runs, also if one before it failed; one line for each stands at the end.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::{Outcome, count, workspace};

/// Cases of each property, instead of proptest's 256.
const CASES: &str = "20000";
/// How long a deep exploration may print nothing.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// The parts by name.
const PARTS: [(&str, Part); 4] = [
    ("explore", explore),
    ("flaps", flaps),
    ("adoption", adoption),
    ("mutants", mutants),
];

/// Does a part and says what came of it, in a line.
type Part = fn() -> Outcome<String>;

pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    let known = PARTS.map(|(name, _)| name);
    if let Some(word) = arguments
        .iter()
        .find(|word| !known.contains(&word.as_str()))
    {
        return Err(format!("no part '{word}'; there are {}", known.join(", ")).into());
    }
    let asked = |name: &str| arguments.is_empty() || arguments.iter().any(|word| word == name);
    let parts = PARTS.into_iter().filter(|(name, _)| asked(name));
    let outcomes: Vec<_> = parts.map(|(name, part)| (name, part())).collect();
    let mut good = true;
    for (name, outcome) in &outcomes {
        match outcome {
            Ok(said) => println!("{name}: {said}"),
            Err(error) => {
                good = false;
                println!("{name}: failed: {error}");
            }
        }
    }
    Ok(ExitCode::from(u8::from(!good)))
}

fn explore() -> Outcome<String> {
    let mut cargo = workspace::cargo();
    cargo
        .env("ARRIVAL_EXPLORE", "deep")
        .env("PROPTEST_CASES", CASES)
        .args(["test", "--no-fail-fast", "--profile", "tool"])
        .args(["-p", "arrival-model", "-p", "arrival-engine"])
        .args([
            "-p",
            "arrival-wire",
            "-p",
            "arrival-store",
            "-p",
            "arrival-inf",
        ])
        // One at a time: a deep exploration takes up to 5 GB.
        .args(["--", "--show-output", "--test-threads", "1"]);
    let count = count::run(&mut cargo, PATIENCE, &mut Vec::new())?;
    if count.good(true) {
        Ok(count.to_string())
    } else {
        Err(count.to_string().into())
    }
}

fn flaps() -> Outcome<String> {
    workspace::build("dev")?;
    let report = workspace::target().join("flaps.txt");
    if report.exists() {
        fs::remove_file(&report)?;
    }
    let mut cargo = workspace::cargo();
    cargo
        .env("ARRIVAL_FLAPS", &report)
        .env("ARRIVAL_REQUIRE", "root,netns")
        .args(["test", "-p", "arrival-tests", "--test", "end_to_end"])
        .args(["flap_matrix", "--", "--show-output"]);
    let count = count::run(&mut cargo, PATIENCE, &mut Vec::new())?;
    let text = fs::read_to_string(&report).unwrap_or_default();
    let said = text.lines().next_back().unwrap_or("no cell was run");
    if count.good(true) {
        Ok(said.to_owned())
    } else {
        Err(said.to_owned().into())
    }
}

fn adoption() -> Outcome<String> {
    workspace::build("dev")?;
    let mut cargo = workspace::cargo();
    cargo
        .env("ARRIVAL_ADOPTION", "all")
        .env("ARRIVAL_REQUIRE", "root,netns")
        .args(["test", "-p", "arrival-tests", "--test", "end_to_end"])
        .args(["adoption", "--", "--show-output"]);
    let count = count::run(&mut cargo, PATIENCE, &mut Vec::new())?;
    if count.good(true) {
        Ok(count.to_string())
    } else {
        Err(count.to_string().into())
    }
}

fn mutants() -> Outcome<String> {
    let list = workspace::root().join("xtask/mutants.txt");
    let known = survivors(&fs::read_to_string(list)?);
    let output = workspace::target().join("mutants");
    fs::create_dir_all(&output)?;
    let mut cargo = workspace::cargo();
    cargo
        .env("PATH", path_with_tools()?)
        // Each job builds in a copy of its own; in one folder they would run each other's tests.
        .env_remove("CARGO_TARGET_DIR")
        // The sentences find nearly all; the model is there for what they do not say.
        .env("PROPTEST_CASES", "64")
        .args(["mutants", "--package", "arrival-engine", "--no-shuffle"])
        // What makes equal situations equal states serves the exploration alone, and it is the
        // number of states that tells whether it is right.
        .args(["--exclude", "crates/engine/src/canonical.rs"])
        .args([
            "--colors",
            "never",
            "--jobs",
            "2",
            "--timeout",
            "120",
            "--output",
        ])
        .arg(&output)
        .args(["--", "--lib", "--test", "sentences", "--test", "model"]);
    // Its exit code is not zero as soon as one mutant survives: the list decides instead.
    cargo.status()?;
    let found = fs::read_to_string(output.join("mutants.out/missed.txt"))?;
    let caught = fs::read_to_string(output.join("mutants.out/caught.txt"))?;
    let found = survivors(&found);
    for gone in known.difference(&found) {
        println!("no longer a survivor: {gone}");
    }
    let new: Vec<&String> = found.difference(&known).collect();
    for mutant in &new {
        println!("a new survivor: {mutant}");
    }
    let said = format!(
        "{} caught, {} survived, {} of them not listed",
        caught.lines().count(),
        found.len(),
        new.len()
    );
    if new.is_empty() && !caught.is_empty() {
        Ok(said)
    } else {
        Err(said.into())
    }
}

/// Mutants by file and what was changed; line and column are left out, since they move.
fn survivors(text: &str) -> BTreeSet<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| match line.split_once(": ") {
            Some((place, what)) => {
                let file = place.split(':').next().unwrap_or(place);
                format!("{file}: {what}")
            }
            None => line.to_owned(),
        })
        .collect()
}

/// PATH with a folder behind it that holds cargo-mutants if nobody installed it.
fn path_with_tools() -> Outcome<String> {
    let tools: PathBuf = workspace::target().join("tools");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{path}:{}", tools.join("bin").display());
    let there = Command::new("cargo-mutants")
        .env("PATH", &path)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        let status = workspace::cargo()
            .args(["install", "cargo-mutants", "--locked", "--root"])
            .arg(&tools)
            .status()?;
        if !status.success() {
            return Err("cargo-mutants is missing and could not be installed".into());
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survivor_is_known_again_when_its_line_has_moved() {
        let list = "# why they survive\n\ncrates/engine/src/a.rs: replace f with ()\n";
        let found = "crates/engine/src/a.rs:12:5: replace f with ()\n";
        assert_eq!(survivors(list), survivors(found));
    }
}
