//! `cargo xtask test`: every test of the workspace, and a last line that counts them.
//!
//! The engine's tests run optimised, since they explore; the rest runs as it is built for debugging.
//! The end-to-end tests get what they need by environment:
//!
//! | variable | is |
//! |---|---|
//! | `ARRIVAL_BIN`, `ARRIVALD_BIN` | the programs under test |
//! | `ARRIVAL_XTASK` | this program, if its command `udevd` can work here |
//! | `ARRIVAL_SKIPS` | a file that a test appends `skipped: why` to |
//! | `ARRIVAL_REQUIRE` | set by the caller: needs (`root,netns,vm,udevd`) that may not be missing |

use std::env;
use std::process::ExitCode;

use crate::count::{self, Count, Counter};
use crate::{Outcome, peers, vm, workspace};

/// What `cargo test` is told, once for each part.
const PARTS: [&str; 2] = [
    "--workspace --exclude arrival-engine",
    "--package arrival-engine --profile tool",
];

/// Runs the tests; arguments are those of `cargo test`.
pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    let required = env::var_os("ARRIVAL_REQUIRE").is_some_and(|list| !list.is_empty());
    let mut count = Counter::default().finish(false);
    match tests(arguments) {
        Ok(all) => count = all,
        Err(error) => eprintln!("xtask test: {error}"),
    }
    if required && count.skipped > 0 {
        eprintln!("xtask test: ARRIVAL_REQUIRE is set, so nothing may be skipped");
    }
    println!("{count}");
    let good = count.good(required);
    Ok(ExitCode::from(u8::from(!good)))
}

fn tests(arguments: &[String]) -> Outcome<Count> {
    let programs = workspace::build("dev")?;
    let udevd = workspace::is_root()
        && peers::fetch()
            .inspect_err(|error| eprintln!("tests beside udevd will be skipped: {error}"))
            .is_ok();
    let (of_cargo, of_tests) = match arguments.iter().position(|word| word == "--") {
        Some(at) => arguments.split_at(at),
        None => (arguments, Default::default()),
    };
    let parts = if of_cargo.is_empty() {
        PARTS.map(words).to_vec()
    } else {
        vec![of_cargo.to_vec()]
    };
    let (mut sum, mut failures) = (Count::default(), Vec::new());
    for part in parts {
        let mut cargo = workspace::cargo();
        cargo
            .env("ARRIVAL_BIN", &programs.arrival)
            .env("ARRIVALD_BIN", &programs.arrivald);
        if udevd {
            cargo.env("ARRIVAL_XTASK", env::current_exe()?);
        }
        cargo.args(["test", "--no-fail-fast"]).args(part);
        cargo.args(["--", "--show-output"]);
        cargo.args(of_tests.iter().skip(1));
        sum += count::run(&mut cargo, count::PATIENCE, &mut failures)?;
    }
    if of_cargo.is_empty() && of_tests.is_empty() {
        sum += vm::every();
    }
    if !failures.is_empty() {
        println!("what failed, once more:\n{}\n", failures.join("\n"));
    }
    Ok(sum)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}
