//! Windows INF files: what stands where, what is wrong with it, and what installing it means.
//!
//! An INF is text in sections; some of it says which services a package brings and which device
//! interfaces start them. This crate reads such a file with the place of every word, goes on behind each
//! mistake, and gives a [`Plan`]: what an installer would have to do. It reads nothing but the bytes it is
//! given, and knows nothing of the machine but the [`Target`] that it is told.
//!
//! | module | holds |
//! |---|---|
//! | [`encoding`] | from bytes to text: UTF-16, UTF-8, Windows-1252 |
//! | [`syntax`] | sections, entries, fields: the grammar |
//! | [`strings`] | `%tokens%`, directory ids, and the choice of a `[Strings]` section |
//! | [`target`] | decorations such as `NTamd64.10.0...22000`, and which one fits |
//! | [`plan`] | what installing the file means |
//! | [`reg`] | the same services in the text form of the registry |
//! | [`rank`] | how well a model fits a device |
//! | [`format`](mod@format) | one layout for INF files |
//!
//! ```
//! use std::path::Path;
//! use arrival_inf::{Target, read};
//!
//! let text = br#"
//! [Version]
//! Signature = "$Windows NT$"
//! [DefaultInstall.NTamd64.Services]
//! AddService = blink, , Blink
//! [Blink]
//! ServiceType = 0x10
//! StartType = 3
//! ErrorControl = 0
//! ServiceBinary = %13%\blink.exe
//! AddTrigger = Blink.Trigger
//! [Blink.Trigger]
//! TriggerType = 1
//! Action = 1
//! SubType = {573e8c73-0cb4-4471-a1bf-fab26c31d384}
//! DataItem = 2, "USB\VID_0547&PID_1002"
//! "#;
//! let read = read(Path::new("blink.inf"), text, &Target::amd64());
//! let plan = read.plan.expect("a good file");
//! assert_eq!(plan.services[0].name.as_str(), "blink");
//! let trigger = plan.services[0].triggers[0].device().expect("a device's");
//! assert_eq!(trigger.ids[0].as_str(), "USB\\VID_0547&PID_1002");
//! ```
//!
//! Sources: Microsoft, "INF File Sections and Directives", and the grammar as the setup API reads it.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use arrival_model::diagnostic::{Diagnostic, Report};

mod command;
mod context;
pub mod encoding;
mod failure;
mod files;
pub mod format;
mod install;
mod lint;
mod place;
pub mod plan;
pub mod rank;
pub mod reg;
mod registry;
mod service;
mod settings;
pub mod strings;
pub mod syntax;
pub mod target;
mod trigger;
mod write;

use context::{Context, File};
use strings::Strings;
use syntax::Document;

pub use plan::Plan;
pub use target::Target;
pub use write::{service_binary, write};

/// What a file says, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Read {
    /// What installing it means; none if there is an error.
    pub plan: Option<Plan>,
    /// Errors and warnings in the order of the file.
    pub problems: Vec<Diagnostic>,
}

/// Reads an INF file that stands alone; `path` only names it in diagnostics.
pub fn read(path: &Path, bytes: &[u8], target: &Target) -> Read {
    read_package(path, bytes, target, &mut |_| None)
}

/// Reads an INF file and those of its package that it includes; `open` gives the bytes of a file of the
/// package by its name, which may be in another case.
pub fn read_package(
    path: &Path,
    bytes: &[u8],
    target: &Target,
    open: &mut dyn FnMut(&str) -> Option<Vec<u8>>,
) -> Read {
    let texts = gather(path, bytes, target, open);
    let mut reports: Vec<Report<'_>> = texts
        .iter()
        .map(|text| Report::new(&text.path, &text.decoded.text))
        .collect();
    let documents: Vec<Document<'_>> = reports.iter_mut().map(syntax::parse).collect();
    for (report, text) in reports.iter_mut().zip(&texts) {
        if let Some((at, what)) = &text.decoded.doubt {
            let remedy = "save the file as UTF-16 with a byte order mark, or as UTF-8".to_owned();
            report.warn("1003", *at..*at, what.clone(), remedy);
        }
    }
    let files: Vec<File<'_, '_>> = documents
        .iter()
        .zip(&texts)
        .map(|(document, text)| File::new(&text.name, document, target))
        .collect();
    let Some(mut context) = Context::new(&files, reports, target) else {
        return Read {
            plan: None,
            problems: Vec::new(),
        };
    };
    let plan = install::plan(&mut context);
    lint::all(&mut context, &plan);
    let plan = (!context.has_errors()).then_some(plan);
    Read {
        plan,
        problems: context.finish(),
    }
}

/// A file that is read.
struct Text {
    name: String,
    path: PathBuf,
    decoded: encoding::Decoded,
}

/// The file and all that it includes, as far as the package has them.
fn gather(
    path: &Path,
    bytes: &[u8],
    target: &Target,
    open: &mut dyn FnMut(&str) -> Option<Vec<u8>>,
) -> Vec<Text> {
    let name = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.unwrap_or_default().into_owned()
    };
    let mut texts = vec![Text {
        name: name(path),
        path: path.to_owned(),
        decoded: encoding::decode(bytes),
    }];
    let mut at = 0;
    while let Some(text) = texts.get(at) {
        for included in includes(&text.path, &text.decoded.text, target) {
            let known = |text: &Text| text.name.eq_ignore_ascii_case(&included);
            if texts.len() >= context::FILES_LIMIT || texts.iter().any(known) {
                continue;
            }
            if let Some(bytes) = open(&included) {
                let decoded = encoding::decode(&bytes);
                texts.push(Text {
                    path: path.with_file_name(&included),
                    name: included,
                    decoded,
                });
            }
        }
        at += 1;
    }
    texts
}

/// The names of the files that any section of a text includes.
fn includes(path: &Path, text: &str, target: &Target) -> Vec<String> {
    let begins = |line: &str| {
        let start = line.trim_start().get(..7);
        start.is_some_and(|start| start.eq_ignore_ascii_case("include"))
    };
    // Most files include nothing, and need not be read twice.
    if !text.lines().any(begins) {
        return Vec::new();
    }
    let mut report = Report::new(path, text);
    let document = syntax::parse(&mut report);
    let strings = Strings::choose(&document, target.language);
    let mut names = Vec::new();
    for section in &document.sections {
        for entry in section.entries.iter().filter(|entry| entry.is("Include")) {
            for field in entry.values.iter().filter(|field| !field.text.is_empty()) {
                names.push(strings.expand(&mut report, field).text());
            }
        }
    }
    names
}
