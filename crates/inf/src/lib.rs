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
//! assert_eq!(plan.services[0].triggers[0].ids[0].as_str(), "USB\\VID_0547&PID_1002");
//! ```
//!
//! Sources: Microsoft, "INF File Sections and Directives", and the grammar as the setup API reads it.
#![forbid(unsafe_code)]

use std::path::Path;

use arrival_model::diagnostic::{Diagnostic, Report};

pub mod encoding;
mod files;
mod install;
mod place;
pub mod plan;
mod service;
pub mod strings;
pub mod syntax;
pub mod target;
mod trigger;

pub use plan::Plan;
pub use target::Target;

/// What a file says, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Read {
    /// What installing it means; none if there is an error.
    pub plan: Option<Plan>,
    /// Errors and warnings in the order of the file.
    pub problems: Vec<Diagnostic>,
}

/// Reads an INF file; `path` only names it in diagnostics.
pub fn read(path: &Path, bytes: &[u8], target: &Target) -> Read {
    let decoded = encoding::decode(bytes);
    let mut report = Report::new(path, &decoded.text);
    if let Some((at, what)) = decoded.doubt {
        let remedy = "save the file as UTF-16 with a byte order mark, or as UTF-8".to_owned();
        report.warn("1003", at..at, what, remedy);
    }
    let document = syntax::parse(&mut report);
    let plan = install::plan(&mut report, &document, target);
    let plan = (!report.has_errors()).then_some(plan);
    Read {
        plan,
        problems: report.finish(),
    }
}
