//! `cargo xtask docs`: writes what the manual says of the built-in classes, from their data file.
//!
//! The page has two lines, [`BEGIN`] and [`END`]; what stands between them is written anew.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use arrival_model::ce_name::ce_name;
use arrival_model::class::built_in;

use crate::{Outcome, workspace};

const BEGIN: &str = "<!-- from here written by `cargo xtask docs` -->\n";
const END: &str = "<!-- to here -->\n";

pub(crate) fn run(arguments: &[String]) -> Outcome<ExitCode> {
    if let Some(word) = arguments.first() {
        return Err(format!("no argument is expected, not '{word}'").into());
    }
    let text = fs::read_to_string(page())?;
    fs::write(page(), written(&text)?)?;
    Ok(ExitCode::SUCCESS)
}

fn page() -> PathBuf {
    workspace::root().join("docs/device-classes.md")
}

/// The page with its tables as they should be.
fn written(text: &str) -> Outcome<String> {
    let lacking = || format!("{} lacks '{}'", page().display(), BEGIN.trim());
    let (head, rest) = text.split_once(BEGIN).ok_or_else(lacking)?;
    let (_, tail) = rest.split_once(END).ok_or_else(lacking)?;
    Ok(format!("{head}{BEGIN}{}{END}{tail}", tables()?))
}

fn tables() -> Outcome<String> {
    let mut text = String::new();
    let mut group = "";
    for known in built_in() {
        if known.group != group {
            group = &known.group;
            write!(text, "\n### {group}\n\n")?;
            text.push_str("| name | GUID | also known as | CE names | which devices |\n");
            text.push_str("|---|---|---|---|---|\n");
        }
        let class = &known.class;
        let aliases: Vec<String> = class.aliases.iter().map(|a| format!("`{a}`")).collect();
        let (name, guid, description) = (&class.name, class.guid, &class.description);
        let aliases = aliases.join(", ");
        let ce = class.ce_prefix.as_ref();
        let ce = ce.map_or(String::new(), |prefix| format!("`{}`", ce_name(prefix, 1)));
        writeln!(
            text,
            "| `{name}` | `{guid}` | {aliases} | {ce} | {description} |"
        )?;
    }
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_classes_is_what_the_data_file_says() -> Outcome<()> {
        let text = fs::read_to_string(page())?;
        assert_eq!(written(&text)?, text, "`cargo xtask docs` writes it");
        Ok(())
    }
}
