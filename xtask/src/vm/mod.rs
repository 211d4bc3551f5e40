//! `cargo xtask vm-test`: cases in a virtual machine, with Debian's kernel and a real USB bus.
//!
//! ```text
//! cargo xtask vm-test                     all cases, first without udevd, then beside Debian's
//! cargo xtask vm-test --udevd NAME...     some cases, beside udevd alone (--no-udevd: without)
//! cargo xtask vm-test --systemd NAME...   some cases of the booted Debian (tests/vm/systemd)
//! cargo xtask vm-test --list              their names
//! cargo xtask vm-test --shell             a prompt in the machine; `halt` or Ctrl-A X ends it
//! ```
//!
//! | file | does |
//! |---|---|
//! | [`fetch`] | the kernel and qemu, from Debian's packages |
//! | [`debian`] | a Debian that boots, for the cases of `tests/vm/systemd` |
//! | [`image`] | the initramfs: the shipped programs, their libraries, busybox, modules, the cases |
//! | [`cpio`] | its format |
//! | [`machine`] | qemu, its monitor, and the two serial lines |
//!
//! A case is a folder in `tests/vm/cases`; `tests/vm/README.md` says how to write one. Inside, `init`
//! runs each case's script and says on the second serial line:
//!
//! ```text
//! case NAME                begins               qmp {...}    asks the monitor for something; the answer
//! ok NAME | fail NAME WHY  ends                              is a line, `ok` or `error ...`
//! skip NAME WHY            not in this run      keep F LINE  a line for the file target/vm/kept/WAY/F
//! done                     all cases have run
//! ```
//!
//! Results are printed as libtest prints them, so that whoever counts tests counts these.

mod cpio;
mod debian;
mod fetch;
mod image;
mod machine;

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crate::count::Count;
use crate::{Outcome, workspace};
use machine::{Machine, Said};

/// How long a case may take; under emulation on a busy machine everything does.
const PATIENCE: Duration = Duration::from_secs(480);

#[derive(Debug, Default)]
struct Arguments {
    list: bool,
    shell: bool,
    without: bool,
    beside: bool,
    systemd: bool,
    names: Vec<String>,
}

fn parse(words: &[String]) -> Outcome<Arguments> {
    let mut arguments = Arguments::default();
    for word in words {
        match word.as_str() {
            "--list" => arguments.list = true,
            "--shell" => arguments.shell = true,
            "--no-udevd" => arguments.without = true,
            "--udevd" => arguments.beside = true,
            "--systemd" => arguments.systemd = true,
            option if option.starts_with('-') => {
                return Err(format!("no option '{option}'").into());
            }
            name => arguments.names.push(name.to_owned()),
        }
    }
    let known = if arguments.systemd {
        cases_in(BOOTED)?
    } else {
        cases()?
    };
    if let Some(name) = arguments.names.iter().find(|name| !known.contains(*name)) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(format!("no case '{name}'; there are {}", known.join(", ")).into());
    }
    Ok(arguments)
}

/// Where the cases of the booted Debian lie.
const BOOTED: &str = "tests/vm/systemd/cases";

/// The names of all cases of the two small machines.
fn cases() -> Outcome<BTreeSet<String>> {
    cases_in("tests/vm/cases")
}

fn cases_in(folder: &str) -> Outcome<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(workspace::root().join(folder))? {
        let entry = entry?;
        if entry.path().join("run").exists() {
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

pub(crate) fn run(words: &[String]) -> Outcome<ExitCode> {
    let arguments = parse(words)?;
    if arguments.list {
        for name in cases()? {
            println!("{name}");
        }
        for name in cases_in(BOOTED)? {
            println!("--systemd {name}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.shell {
        return machine::shell(&image::build(&fetch::fetch()?, arguments.beside, None)?);
    }
    let count = test(&arguments)?;
    println!("{count}");
    Ok(ExitCode::from(u8::from(!count.good(true))))
}

/// Runs every case, for `cargo xtask test`; skipped as one test where no machine can be had.
pub(crate) fn every() -> Count {
    let required = std::env::var("ARRIVAL_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|word| word.trim() == "vm");
    match fetch::fetch().and_then(|parts| test_in(&parts, &Arguments::default())) {
        Ok(count) => count,
        Err(error) if required => {
            eprintln!("xtask vm-test: {error}");
            Count {
                failed: 1,
                ..Count::default()
            }
        }
        Err(error) => {
            println!("skipped: no virtual machine can be had: {error}");
            Count {
                skipped: 1,
                ..Count::default()
            }
        }
    }
}

fn test(arguments: &Arguments) -> Outcome<Count> {
    test_in(&fetch::fetch()?, arguments)
}

/// Boots the machines side by side: most of the time is spent waiting for buses, not computing.
fn test_in(parts: &fetch::Parts, arguments: &Arguments) -> Outcome<Count> {
    let both = arguments.without == arguments.beside && !arguments.systemd;
    let chosen = |all: BTreeSet<String>| match arguments.names.as_slice() {
        [] => all,
        names => names.iter().cloned().collect(),
    };
    let mut images = Vec::new();
    for beside in [false, true] {
        if both || (beside == arguments.beside && arguments.without != arguments.beside) {
            let names = chosen(cases()?);
            images.push((image::build(parts, beside, Some(&names))?, names));
        }
    }
    let every = both && arguments.names.is_empty();
    let mut booted = None;
    if arguments.systemd || every {
        let names = chosen(cases_in(BOOTED)?);
        booted = Some((image::booted(parts, &names)?, names));
    }
    let tests = images.iter().chain(&booted).map(|(_, names)| names.len());
    println!("\nrunning {} tests", tests.sum::<usize>());
    let begun = Instant::now();
    let mut sum = Count::default();
    thread::scope(|scope| -> Outcome<()> {
        let boots: Vec<_> = (images.iter())
            .map(|(image, names)| {
                scope.spawn(|| boot(image, names).map_err(|error| error.to_string()))
            })
            .collect();
        for boot in boots {
            sum += boot.join().map_err(|_| "a thread has panicked")??;
        }
        Ok(())
    })?;
    if !images.is_empty() {
        println!(
            "the two small machines took {:.0} s",
            begun.elapsed().as_secs_f32()
        );
    }
    // Behind the others: three machines would only be slower on two processors.
    if let Some((image, names)) = &booted {
        sum += boot(image, names)?;
    }
    let seconds = begun.elapsed().as_secs_f32();
    let verdict = if sum.failed == 0 { "ok" } else { "FAILED" };
    let Count { passed, failed, .. } = sum;
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; finished in {seconds:.2}s\n"
    );
    Ok(sum)
}

/// Runs cases in one machine.
fn boot(image: &image::Image, names: &BTreeSet<String>) -> Outcome<Count> {
    let way = match image.way {
        "udevd" => "beside-udevd",
        "systemd" => "booted",
        _ => "without-udevd",
    };
    let mut machine = Machine::start(image)?;
    let mut open: BTreeSet<String> = names.clone();
    let mut count = Count::default();
    let mut at = "the start of the machine".to_owned();
    let mut since = Instant::now();
    while !open.is_empty() {
        match machine.hear(PATIENCE) {
            Ok(Said::Begins(name)) => {
                at = name;
                since = Instant::now();
            }
            Ok(Said::Passed(name)) if open.remove(&name) => {
                count.passed += 1;
                let seconds = since.elapsed().as_secs_f32();
                println!("test vm::{way}::{name} ... ok <{seconds:.1}s>");
            }
            Ok(Said::Skipped(name, why)) if open.remove(&name) => {
                // Not meant for this way, so it counts for nothing.
                println!("test vm::{way}::{name} ... not here: {why}");
            }
            Ok(Said::Failed(name, why)) if open.remove(&name) => {
                count.failed += 1;
                println!("test vm::{way}::{name} ... FAILED\n{why}");
                println!("{}", machine.log_since_case());
            }
            Ok(Said::Passed(name) | Said::Skipped(name, _) | Said::Failed(name, _)) => {
                return Err(format!("the machine spoke of '{name}', which does not run").into());
            }
            Ok(Said::Done) => break,
            Err(error) => {
                println!(
                    "test vm::{way}::{at} ... FAILED\n{error}\n{}",
                    machine.log_since_case()
                );
                break;
            }
        }
    }
    // What did not come to an end has failed.
    count.failed = u64::try_from(open.len())
        .unwrap_or(u64::MAX)
        .saturating_add(count.failed);
    for name in &open {
        println!("test vm::{way}::{name} ... FAILED (it did not end)");
    }
    Ok(count)
}
