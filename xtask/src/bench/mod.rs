//! Measurements: `cargo xtask bench NAME [--json] [--quick]`.
//!
//! | file | holds |
//! |---|---|
//! | [`report`] | what a bench tells: rows, percentiles, the machine's load, the commit |
//! | [`measure`] | samples, and floor and subject in turns |
//! | [`world`] | namespaces of its own for what is measured |
//! | [`daemon`] | the manager in such a world |
//! | one file per bench | see [`BENCHES`] |
//!
//! A new bench is a file with `pub(super) fn run(options: Options) -> Outcome<Vec<Row>>` and a line
//! in [`BENCHES`]. A bench whose peer is missing fails; it never leaves the peer out.

use std::process::ExitCode;

use crate::Outcome;

mod arrival;
mod daemon;
mod decision;
mod inf;
mod matching;
mod measure;
mod memory;
mod report;
mod storm;
mod world;

use report::{Report, Row};

/// How much to measure.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// A tenth of the samples: to see that it works, not for publication.
    pub(crate) quick: bool,
}

impl Options {
    /// A number of samples, or a tenth of it.
    pub(crate) fn samples(self, full: usize) -> usize {
        if self.quick { full.div_ceil(10) } else { full }
    }
}

struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(Options) -> Outcome<Vec<Row>>,
}

/// Every bench.
const BENCHES: &[Bench] = &[
    Bench {
        name: "match",
        about: "arrival to start decision with 10, 1,000 and 100,000 triggers",
        run: matching::run,
    },
    Bench {
        name: "arrival",
        about: "device to the first statement of its service, beside a floor and three peers (root)",
        run: arrival::run,
    },
    Bench {
        name: "removal",
        about: "device's going to the service's SIGTERM, the same contenders (root)",
        run: arrival::run_removal,
    },
    Bench {
        name: "decision",
        about: "kernel event to start decision in the running manager (root)",
        run: decision::run,
    },
    Bench {
        name: "storm",
        about: "events drained per second, and what an overflow costs (root)",
        run: storm::run,
    },
    Bench {
        name: "inf",
        about: "reading an INF of 1, 4 and 16 MiB, beside lines and fields alone",
        run: inf::run,
    },
    Bench {
        name: "memory",
        about: "memory and idle wake-ups with 200 services and 400 devices (root)",
        run: memory::run,
    },
];

pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    if let [first, rest @ ..] = arguments
        && first == world::INSIDE
    {
        return world::inside(rest);
    }
    if let [first, size] = arguments
        && first == inf::INSIDE
    {
        return inf::inside(size);
    }
    let mut options = Options::default();
    let mut json = false;
    let mut name = None;
    for word in arguments {
        match word.as_str() {
            "--quick" => options.quick = true,
            "--json" => json = true,
            other if name.is_none() && !other.starts_with('-') => name = Some(other),
            other => return Err(format!("'{other}' is not expected").into()),
        }
    }
    let Some(name) = name else {
        for bench in BENCHES {
            println!("{:<10} {}", bench.name, bench.about);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
        return Err(format!("no bench '{name}' (there are: {})", names.join(", ")).into());
    };
    let mut report = Report::begin(bench.name)?;
    report.rows = (bench.run)(options)?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}
