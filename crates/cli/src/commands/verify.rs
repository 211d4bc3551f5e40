//! `verify`: what has become of installed packages.

use std::io::{self, Write};
use std::path::Path;

use arrival_store::package::{self, Problem, Verified, What};
use serde::Serialize;

use super::wish::{layout, refused};
use super::{Outcome, Place};
use crate::exit::Exit;
use crate::screen::{BAD, GOOD, STRONG, Screen};
use crate::text::{count, printable};

/// The answer for programs.
#[derive(Serialize)]
struct Answer<'a> {
    packages: Vec<Shown<'a>>,
}

/// A package for programs.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    version: &'a str,
    folder: &'a Path,
    problems: &'a [Problem],
}

impl<'a> Shown<'a> {
    fn of(verified: &'a Verified) -> Self {
        Shown {
            name: &verified.package.name,
            version: &verified.package.version,
            folder: &verified.package.folder,
            problems: &verified.problems,
        }
    }
}

/// `arrival verify [NAME...]`.
pub(super) fn verify(place: &Place, screen: &mut Screen<'_>, names: &[String]) -> Outcome {
    let layout = layout(place)?;
    let names = if names.is_empty() {
        package::names(&layout)
    } else {
        let names = names.iter().map(|name| package::package_name(name));
        names.collect::<Result<_, _>>().map_err(refused)?
    };
    let packages = names
        .iter()
        .map(|name| package::verify(&layout, name))
        .collect::<Result<Vec<_>, _>>()
        .map_err(refused)?;
    if screen.json {
        screen.value(&Answer {
            packages: packages.iter().map(Shown::of).collect(),
        })?;
    } else {
        if packages.is_empty() {
            writeln!(screen, "no packages")?;
        }
        for verified in &packages {
            write_verified(screen, verified)?;
        }
    }
    let good = packages.iter().all(|verified| verified.problems.is_empty());
    Ok(if good { Exit::Done } else { Exit::Failed })
}

pub(super) fn write_verified(screen: &mut Screen<'_>, verified: &Verified) -> io::Result<()> {
    let Verified { package, problems } = verified;
    write!(screen, "{STRONG}{}{STRONG:#}", printable(&package.name))?;
    if !package.version.is_empty() {
        write!(screen, " {}", printable(&package.version))?;
    }
    if problems.is_empty() {
        let files = count(package.files.len() as u64, "file");
        return writeln!(screen, ": {GOOD}as installed{GOOD:#}, {files}");
    }
    let differences = count(problems.len() as u64, "difference");
    let folder = package.folder.display().to_string();
    write!(screen, ": {BAD}{differences}{BAD:#}")?;
    if folder.is_empty() {
        writeln!(screen)?;
    } else {
        writeln!(screen, " in {}", printable(&folder))?;
    }
    for Problem { path, what } in problems {
        let what = match what {
            What::Missing => "missing",
            What::Changed => "changed",
            What::Added => "added",
        };
        writeln!(screen, "  {what:7} {}", printable(path))?;
    }
    Ok(())
}
