//! `completions` and `man`, written from the arguments themselves.

use std::io::Write;
use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::Outcome;
use crate::exit::{Exit, Failure};
use crate::screen::Screen;

/// `arrival completions SHELL`.
pub(super) fn completions(
    screen: &mut Screen<'_>,
    mut parser: clap::Command,
    shell: Shell,
) -> Outcome {
    // Generating into memory first keeps a closed pipe from becoming a panic in the generator.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut parser, "arrival", &mut text);
    screen.write_all(&text)?;
    Ok(Exit::Done)
}

/// `arrival man FOLDER`: a page for the program and one for each command.
pub(super) fn man(mut parser: clap::Command, folder: &Path) -> Outcome {
    parser.build();
    let failure = |path: &Path, error: std::io::Error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write '{}': {error}", path.display()),
        )
    };
    std::fs::create_dir_all(folder).map_err(|error| failure(folder, error))?;
    let write = |name: &str, command: clap::Command| {
        let path = folder.join(format!("{name}.1"));
        let page = page(command).map_err(|error| failure(&path, error))?;
        std::fs::write(&path, page).map_err(|error| failure(&path, error))
    };
    write("arrival", parser.clone())?;
    for command in parser
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let name = format!("arrival-{}", command.get_name());
        write(&name, command.clone().name(name.clone()))?;
    }
    Ok(Exit::Done)
}

/// One page; what help shows last becomes sections of their own.
fn page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let sections = command.get_after_help().map(ToString::to_string);
    let has_commands = command
        .get_subcommands()
        .any(|command| !command.is_hide_set());
    let man = Man::new(command).source(concat!("Arrival ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    for section in sections.unwrap_or_default().split("\n\n") {
        let mut lines = section.lines().peekable();
        if let Some(title) = lines.next_if(|line| line.ends_with(':')) {
            roff.control("SH", [title.trim_end_matches(':').to_uppercase().as_str()]);
        } else {
            roff.control("PP", []);
        }
        roff.control("nf", []);
        for line in lines {
            roff.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        }
        roff.control("fi", []);
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}
