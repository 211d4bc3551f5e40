//! `CopyFiles`: which files go where.
//!
//! ```text
//! CopyFiles        = @file | section [, section ...]
//! [section]          destination [, [source] [, [temporary] [, flag]]]
//! [DestinationDirs]  section = dirid [, subfolder]      DefaultDestDir = dirid [, subfolder]
//! [SourceDisksFiles] source = disk [, [subfolder] [, size]]
//! [SourceDisksNames] disk = description [, [cabinet] [, [unused] [, path]]]
//! ```
//!
//! A section that no line of DestinationDirs names goes to DefaultDestDir, else to the package's folder (13).
//! Sources lie in the INF's folder unless SourceDisksFiles or SourceDisksNames name a folder below it.
//!
//! Source: Microsoft, "INF CopyFiles Directive", "INF DestinationDirs Section".

use std::collections::BTreeSet;

use crate::context::Context;
use crate::place::{self, Refusal};
use crate::plan::{CopyFile, Place, Plan};
use crate::syntax::{Entry, Field, fold};

/// A `CopyFiles` line; a section that was read for another line is not read again.
pub(crate) fn copy(
    context: &mut Context<'_, '_>,
    plan: &mut Plan,
    entry: &Entry<'_>,
    read: &mut BTreeSet<(usize, String)>,
) {
    let document = context.document;
    for field in entry.values.iter().filter(|field| !field.text.is_empty()) {
        let name = context.text(field);
        if let Some(file) = name.strip_prefix('@') {
            let folder = destination(context, None, field);
            add(context, plan, field, file, file, folder);
            continue;
        }
        if !read.insert((context.number_of_file(), fold(&name))) {
            continue;
        }
        if !document.has(&name) {
            let remedy = format!("add [{name}] with the names of files, or write @{name}");
            context.no_section("1203", field, &name, remedy);
            continue;
        }
        let folder = destination(context, Some(&name), field);
        for line in document.entries(&name) {
            let Some(target) = line.key.as_ref().or(line.value(0)) else {
                continue;
            };
            let to = context.text(target);
            let from = match line.value(1) {
                Some(source) => context.text(source),
                None => to.clone(),
            };
            add(context, plan, target, &from, &to, folder.clone());
        }
    }
}

fn add(
    context: &mut Context<'_, '_>,
    plan: &mut Plan,
    field: &Field<'_>,
    from: &str,
    to: &str,
    folder: Option<String>,
) {
    let Some(folder) = folder else {
        return;
    };
    let file = source(context, from)
        .and_then(|source| Ok((source, place::join(&folder, &place::relative(to)?))));
    match file {
        Ok((source, target)) => {
            let place = context.targets.entry(fold(&target));
            let place = *place.or_insert(plan.files.len());
            let same = plan.files.get(place);
            match same {
                Some(known) if known.source.eq_ignore_ascii_case(&source) => {}
                Some(known) => {
                    let message = format!(
                        "'{}' and '{source}' would both become {target}",
                        known.source
                    );
                    context
                        .report
                        .error("1330", field.span.clone(), message, None);
                }
                None => plan.files.push(CopyFile {
                    source,
                    target,
                    span: context.span(field.span.clone()),
                }),
            }
        }
        Err((message, remedy)) => context.unfit("1229", field.span.clone(), message, remedy),
    }
}

/// The folder of a copy section below the package's; none if it is refused.
fn destination(
    context: &mut Context<'_, '_>,
    section: Option<&str>,
    used: &Field<'_>,
) -> Option<String> {
    let document = context.document;
    let own = section.and_then(|section| document.entry("DestinationDirs", section));
    let Some(entry) = own.or_else(|| document.entry("DestinationDirs", "DefaultDestDir")) else {
        let message =
            "DestinationDirs does not say where these files go; they go to the package's folder";
        context.report.warn(
            "1241",
            used.span.clone(),
            message,
            "write DefaultDestDir = 13 below [DestinationDirs]".to_owned(),
        );
        return Some(String::new());
    };
    let Some(field) = entry.value(0) else {
        context.report.error(
            "1006",
            entry.span.clone(),
            "the line names no directory id",
            "write 13".to_owned(),
        );
        return None;
    };
    let text = context.text(field);
    let id = text.trim().parse::<i64>();
    let folder = match id {
        Ok(id) => place::directory(id),
        Err(_) => Err((
            format!("'{text}' is no directory id"),
            Some("write 13".to_owned()),
        )),
    };
    let folder = folder.and_then(|folder| match entry.value(1) {
        Some(sub) => Ok(place::join(&folder, &place::relative(&context.text(sub))?)),
        None => Ok(folder),
    });
    match folder {
        Ok(folder) => Some(folder),
        Err((message, remedy)) => {
            context.unfit("1242", entry.span.clone(), message, remedy);
            None
        }
    }
}

/// Where a source file lies, below the INF's folder.
fn source(context: &mut Context<'_, '_>, name: &str) -> Result<String, Refusal> {
    let document = context.document;
    let name = place::relative(name)?;
    let Some(entry) = document.entry("SourceDisksFiles", &name) else {
        return Ok(name);
    };
    let disk = entry
        .value(0)
        .map(|field| context.text(field))
        .unwrap_or_default();
    let mut folder = String::new();
    if let Some(path) = document
        .entry("SourceDisksNames", &disk)
        .and_then(|entry| entry.value(3))
    {
        folder = below(&context.text(path))?;
    }
    if let Some(sub) = entry.value(1) {
        folder = place::join(&folder, &below(&context.text(sub))?);
    }
    Ok(place::join(&folder, &name))
}

/// A folder of sources: `\x86` and `.\x86` are written for `x86`.
fn below(path: &str) -> Result<String, Refusal> {
    let path = path
        .strip_prefix('.')
        .filter(|rest| rest.is_empty() || rest.starts_with(['\\', '/']))
        .unwrap_or(path);
    let path = path.trim_matches(['\\', '/']);
    if path.is_empty() {
        Ok(String::new())
    } else {
        place::relative(path)
    }
}

/// Programs of services that no CopyFiles names are copied nevertheless.
pub(crate) fn add_programs(context: &mut Context<'_, '_>, plan: &mut Plan) {
    for number in 0..plan.services.len() {
        let Some(service) = plan.services.get(number) else {
            return;
        };
        let Place::Package(target) = service.program.clone() else {
            continue;
        };
        if context.targets.contains_key(&fold(&target)) {
            continue;
        }
        let span = service.span.clone();
        let message = format!("no CopyFiles brings the program of '{}'", service.name);
        let file = target.rsplit('/').next().unwrap_or_default().to_owned();
        let remedy = format!("it is taken from the INF's folder; write CopyFiles = @{file}");
        context.report.warn("2084", span.clone(), message, remedy);
        context.targets.insert(fold(&target), plan.files.len());
        plan.files.push(CopyFile {
            source: file,
            target,
            span,
        });
    }
}
