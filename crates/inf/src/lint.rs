//! What is said of a file as a whole.
//!
//! | code | what |
//! |---|---|
//! | 2083 | a section that no line names |
//! | 1211 | two services that are the device's function driver |
//!
//! What only Windows asks for is reported if the file is to be good there too ([`Target::windows`]):
//!
//! | code | what |
//! |---|---|
//! | 1204 | no Provider, or Microsoft's |
//! | 1217, 1218 | DriverVer is missing, or is no date and version |
//! | 1233 | no CatalogFile; no Class or ClassGuid with models |
//! | 1324 | PnpLockdown is not 1 |
//! | 1199 | AddTrigger without a decoration of build 19041 or later |
//! | 1308 | DelService, which a Windows driver may not have |
//!
//! Source: Microsoft, "INF Validation Errors and Warnings".
//!
//! [`Target::windows`]: crate::Target::windows

use std::collections::{HashMap, HashSet};

use crate::context::{Context, SUFFIXES};
use crate::plan::{Plan, flags};
use crate::syntax::{Document, fold};

/// Sections that are found by their names.
const KNOWN: [&str; 14] = [
    "version",
    "manufacturer",
    "strings",
    "sourcedisksnames",
    "sourcedisksfiles",
    "destinationdirs",
    "controlflags",
    "interfaceinstall32",
    "classinstall32",
    "defaultinstall",
    "defaultuninstall",
    "signatureattributes",
    "winsocketinstall",
    "optional components",
];

/// The most sections that are reported as named by nobody.
const MOST: usize = 20;

pub(crate) fn all(context: &mut Context<'_, '_>, plan: &Plan) {
    unnamed(context);
    let associated = plan
        .services
        .iter()
        .filter(|service| service.flags & flags::ASSOCSERVICE != 0);
    for second in associated.skip(1) {
        let message = format!(
            "'{}' is the second function driver of the device",
            second.name
        );
        let remedy = "leave the flag 0x2 out: it is for drivers".to_owned();
        context
            .report
            .error("1211", second.span.clone(), message, remedy);
    }
    if context.target.windows {
        windows(context, plan);
    }
}

/// A section's name without what stands for a machine or hangs at its base.
fn base(name: &str) -> &str {
    let mut name = name;
    while let Some((rest, suffix)) = name.rsplit_once('.') {
        if !SUFFIXES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(suffix))
        {
            break;
        }
        name = rest;
    }
    let lower = fold(name);
    match lower.rfind(".nt") {
        Some(at) => name.get(..at).unwrap_or(name),
        None => name,
    }
}

/// Reports sections whose names stand nowhere else.
fn unnamed(context: &mut Context<'_, '_>) {
    let document = context.document;
    let named = Named::of(document);
    let mut told = 0;
    for section in &document.sections {
        if named.has(document, section.name) {
            continue;
        }
        let folded = fold(base(section.name));
        let plain = folded.split('.').next().unwrap_or_default();
        let known = KNOWN.contains(&folded.as_str()) || KNOWN.contains(&plain);
        // What is named by a token is not looked for among the plain texts.
        if known || context.strings.has_value(&folded) {
            continue;
        }
        told += 1;
        if told > MOST {
            return;
        }
        let message = format!("no line names the section [{}]", section.name);
        context
            .report
            .warn("2083", section.span.clone(), message, None);
    }
}

/// The sections whose names stand in some line.
struct Named {
    /// Whether it is so, by the place of the first section of a name.
    places: Vec<bool>,
    /// The bases of decorated names that stand there, folded.
    bases: HashSet<String>,
}

impl Named {
    fn of(document: &Document<'_>) -> Self {
        // A text as long as no section's name is none, and many are such.
        let mut lengths = [false; 256];
        let mut bases: HashMap<String, bool> = HashMap::new();
        for section in &document.sections {
            let base = base(section.name);
            for name in [section.name, base] {
                if let Some(length) = lengths.get_mut(name.len()) {
                    *length = true;
                }
            }
            if base.len() < section.name.len() {
                bases.insert(fold(base), false);
            }
        }
        let mut places = vec![false; document.sections.len()];
        let mut folded = String::new();
        let mut note = |text: &str| {
            if !lengths.get(text.len()).copied().unwrap_or(false) {
                return;
            }
            folded.clear();
            folded.extend(text.chars().map(|c| c.to_ascii_lowercase()));
            let place = document.first_of(&folded);
            if let Some(place) = place.and_then(|place| places.get_mut(place)) {
                *place = true;
            }
            if let Some(base) = bases.get_mut(&folded) {
                *base = true;
            }
        };
        let entries = document
            .sections
            .iter()
            .flat_map(|section| &section.entries);
        for entry in entries {
            for field in entry.values.iter().chain(&entry.key) {
                note(&field.text);
            }
        }
        let bases = bases.into_iter().filter(|(_, named)| *named);
        Named {
            places,
            bases: bases.map(|(base, _)| base).collect(),
        }
    }

    /// Whether a section is named: by its own name, by its base, or as one whose base is a section that is.
    fn has(&self, document: &Document<'_>, name: &str) -> bool {
        let is = |name: &str| {
            let place = document.first_of(&fold(name));
            place.is_some_and(|place| self.places.get(place).copied().unwrap_or(false))
        };
        let own = base(name);
        is(name) || is(own) || (own.len() < name.len() && self.bases.contains(&fold(own)))
    }
}

fn windows(context: &mut Context<'_, '_>, plan: &Plan) {
    let document = context.document;
    let header = context.header("Version");
    let place = |key: &str| {
        let entry = document.entry("Version", key);
        entry
            .and_then(|entry| entry.value(0))
            .map(|field| field.span.clone())
    };
    let mut missing = |code: &'static str, key: &str, remedy: &str| {
        if place(key).is_none() {
            let message = format!("Windows asks for {key} in [Version]");
            context
                .report
                .warn(code, header.clone(), message, remedy.to_owned());
        }
    };
    missing("1204", "Provider", "write Provider = %Mfg%");
    missing("1217", "DriverVer", "write DriverVer = 11/26/2026,1.0.0.0");
    missing("1233", "CatalogFile", "write CatalogFile = NAME.cat");
    missing("1324", "PnpLockdown", "write PnpLockdown = 1");
    if document.has("Manufacturer") {
        missing("1233", "Class", "write Class = NAME");
        missing("1010", "ClassGuid", "write ClassGuid = {GUID}");
    }
    if let Some(span) =
        place("Provider").filter(|_| plan.provider.eq_ignore_ascii_case("microsoft"))
    {
        let message = "Microsoft is the provider of its own files only";
        context.report.warn("1204", span, message, None);
    }
    if let Some(entry) = document.entry("Version", "DriverVer") {
        let mut values = entry.values.iter().map(|field| &*field.text);
        let good = values.next().is_some_and(is_date) && values.next().is_some_and(is_version);
        if !good {
            let message = "DriverVer is a date and a version";
            let remedy = "write DriverVer = 11/26/2026,1.0.0.0".to_owned();
            context
                .report
                .warn("1218", entry.span.clone(), message, remedy);
        }
    }
    for removed in &plan.removed {
        let message = "a Windows driver may not have DelService";
        context
            .report
            .warn("1308", removed.span.clone(), message, None);
    }
    let newest = document.sections.iter().filter_map(|section| {
        let (_, build) = section.name.rsplit_once("...")?;
        build.parse::<u32>().ok()
    });
    let enough = newest.max().is_some_and(|build| build >= 19041);
    let trigger = plan
        .services
        .iter()
        .flat_map(|service| &service.triggers)
        .next();
    if let Some(trigger) = trigger.filter(|_| !enough) {
        let message = "Windows reads AddTrigger since build 19041 only";
        let remedy = "decorate the models, such as NTamd64.10.0...19041".to_owned();
        context
            .report
            .warn("1199", trigger.span.clone(), message, remedy);
    }
}

/// `mm/dd/yyyy`, or with dashes.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split(['/', '-']).collect();
    let number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse::<u32>().ok())
            .flatten()
    };
    match parts.as_slice() {
        [month, day, year] => {
            number(month).is_some_and(|month| (1..=12).contains(&month))
                && number(day).is_some_and(|day| (1..=31).contains(&day))
                && year.len() == 4
                && number(year).is_some()
        }
        _ => false,
    }
}

/// One to four numbers below 65536.
fn is_version(text: &str) -> bool {
    let mut parts = text.split('.');
    let count = parts.clone().count();
    count <= 4 && parts.all(|part| part.parse::<u16>().is_ok())
}
