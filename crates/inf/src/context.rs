//! What is needed to read a section: the file that it stands in, and the files which that one includes.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use arrival_model::diagnostic::{Diagnostic, Report, closest};
use arrival_model::guid::Guid;
use arrival_model::trigger::FoldedId;

use crate::strings::{Strings, Value};
use crate::syntax::{Document, Field, fold};
use crate::target::{Decoration, Fit, Target};

/// Suffixes of install sections.
pub(crate) const SUFFIXES: [&str; 13] = [
    "services",
    "interfaces",
    "hw",
    "wdf",
    "coinstallers",
    "filters",
    "components",
    "software",
    "events",
    "factdef",
    "logconfigoverride",
    "eventlog",
    "com",
];

/// The longest hardware id (MAX_DEVICE_ID_LEN of cfgmgr32.h).
pub(crate) const ID_LIMIT: usize = 200;

/// The most files that may be read for one: the file itself and those that it includes.
pub(crate) const FILES_LIMIT: usize = 32;
/// How deep sections may need each other.
const DEPTH_LIMIT: usize = 16;

/// A file as a whole.
pub(crate) struct File<'d, 't> {
    /// Its name without the folder, folded.
    name: String,
    document: &'d Document<'t>,
    strings: Strings<'d>,
    bases: HashMap<String, Vec<Decorated>>,
}

impl<'d: 't, 't> File<'d, 't> {
    pub(crate) fn new(name: &str, document: &'d Document<'t>, target: &Target) -> Self {
        File {
            name: fold(name),
            document,
            strings: Strings::choose(document, target.language),
            bases: bases(document, target),
        }
    }
}

/// What is needed to read a section.
pub(crate) struct Context<'d, 't> {
    /// What is wrong with the file that is being read.
    pub(crate) report: Report<'t>,
    pub(crate) document: &'d Document<'t>,
    pub(crate) strings: &'d Strings<'d>,
    pub(crate) target: &'d Target,
    files: &'d [File<'d, 't>],
    /// The file that is being read.
    at: usize,
    /// The reports of the other files.
    parked: Vec<Option<Report<'t>>>,
    /// The sections that were read because one needs them, and how deep they need each other.
    read: HashSet<(usize, String)>,
    depth: usize,
    /// The places of services and files in the plan, by their folded names.
    pub(crate) services: HashMap<String, usize>,
    pub(crate) targets: HashMap<String, usize>,
    /// The places of classes in the plan, with the ids that each has, and the services that are removed.
    pub(crate) interfaces: HashMap<Guid, (usize, HashSet<FoldedId>)>,
    pub(crate) removed: HashSet<String>,
    pub(crate) ids_of_interfaces: usize,
}

/// A name as it stands in the file, by its base.
struct Decorated {
    fit: Option<Fit>,
    name: String,
}

/// Every base name of which the file has decorated names or suffixes, with the names that stand for it. A section
/// whose name is its own base is found without this.
fn bases(document: &Document<'_>, target: &Target) -> HashMap<String, Vec<Decorated>> {
    let mut bases: HashMap<String, Vec<Decorated>> = HashMap::new();
    let mut seen = HashSet::new();
    let dotted = document
        .sections
        .iter()
        .filter(|section| section.name.contains('.'));
    for section in dotted {
        let whole = section.name;
        let without = whole.rsplit_once('.').filter(|(_, suffix)| {
            SUFFIXES
                .iter()
                .any(|known| known.eq_ignore_ascii_case(suffix))
        });
        for name in [Some(whole), without.map(|(name, _)| name)]
            .into_iter()
            .flatten()
        {
            if !seen.insert(fold(name)) {
                continue;
            }
            let (base, fit) = split(name, target);
            let decorated = Decorated {
                fit,
                name: name.to_owned(),
            };
            bases.entry(fold(base)).or_default().push(decorated);
        }
    }
    bases
}

/// The base of a name, and how well its decoration fits.
fn split<'n>(name: &'n str, target: &Target) -> (&'n str, Option<Fit>) {
    let lower = fold(name);
    let mut from = 0;
    while let Some(at) = lower.get(from..).and_then(|rest| rest.find(".nt")) {
        let dot = from + at;
        let decoration = name.get(dot + 1..).unwrap_or_default();
        if let Ok(decoration) = Decoration::parse(decoration, target) {
            return (name.get(..dot).unwrap_or(name), decoration.fit(target));
        }
        from = dot + 1;
    }
    (name, Some(Fit::default()))
}

impl<'d, 't> Context<'d, 't> {
    /// Begins with the first of the files; each has its report.
    pub(crate) fn new(
        files: &'d [File<'d, 't>],
        reports: Vec<Report<'t>>,
        target: &'d Target,
    ) -> Option<Self> {
        let mut parked: Vec<Option<Report<'t>>> = reports.into_iter().map(Some).collect();
        let first = files.first()?;
        Some(Context {
            report: parked.first_mut()?.take()?,
            document: first.document,
            strings: &first.strings,
            target,
            files,
            at: 0,
            parked,
            read: HashSet::new(),
            depth: 0,
            services: HashMap::new(),
            targets: HashMap::new(),
            interfaces: HashMap::new(),
            removed: HashSet::new(),
            ids_of_interfaces: 0,
        })
    }

    /// What is wrong with the files, in their order.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let others = self.parked.into_iter().flatten();
        let all = std::iter::once(self.report).chain(others);
        all.flat_map(Report::finish).collect()
    }

    /// Whether an error was found in any file.
    pub(crate) fn has_errors(&self) -> bool {
        let mut others = self.parked.iter().flatten();
        self.report.has_errors() || others.any(Report::has_errors)
    }

    /// A place of the file that the reader began with; there is none in the others.
    pub(crate) fn span(&self, span: Range<usize>) -> Range<usize> {
        if self.at == 0 { span } else { 0..0 }
    }

    /// The number of the file that is being read.
    pub(crate) fn number_of_file(&self) -> usize {
        self.at
    }

    fn switch(&mut self, to: usize) {
        let Some(file) = self.files.get(to).filter(|_| to != self.at) else {
            return;
        };
        let Some(report) = self.parked.get_mut(to).and_then(Option::take) else {
            return;
        };
        let own = std::mem::replace(&mut self.report, report);
        if let Some(parked) = self.parked.get_mut(self.at) {
            *parked = Some(own);
        }
        self.document = file.document;
        self.strings = &file.strings;
        self.at = to;
    }

    /// Reads the sections that this one needs, then itself.
    ///
    /// `Include` names the files, `Needs` the sections; tokens are those of the file that a section stands in.
    /// Files that are not in the package are Windows' own: what they say is known there alone.
    pub(crate) fn with_needs(&mut self, section: &str, read: &mut dyn FnMut(&mut Self, &str)) {
        // Each section is read once, however many need it.
        if self.depth >= DEPTH_LIMIT || !self.read.insert((self.at, fold(section))) {
            return;
        }
        self.depth += 1;
        let document = self.document;
        let mut foreign = false;
        for entry in document
            .entries(section)
            .filter(|entry| entry.is("Include"))
        {
            for field in entry.values.iter().filter(|field| !field.text.is_empty()) {
                let name = self.text(field);
                if !self.files.iter().any(|file| file.name == fold(&name)) {
                    foreign = true;
                    let message = format!(
                        "'{name}' is not in the package: it is one of Windows' own, and does not count here"
                    );
                    self.report.warn("1202", field.span.clone(), message, None);
                }
            }
        }
        for entry in document.entries(section).filter(|entry| entry.is("Needs")) {
            for field in entry.values.iter().filter(|field| !field.text.is_empty()) {
                let name = self.text(field);
                let here = self.at;
                let others = (0..self.files.len()).filter(|at| *at != here);
                let place = others.chain([here]).find(|at| {
                    let file = self.files.get(*at);
                    file.is_some_and(|file| file.document.has(&name))
                });
                match place {
                    Some(place) => {
                        self.switch(place);
                        self.with_needs(&name, read);
                        self.switch(here);
                    }
                    None if foreign => {}
                    None => {
                        let message = format!("no included file has a section [{name}]");
                        let remedy = "name the file that has it in Include".to_owned();
                        self.report
                            .error("1203", field.span.clone(), message, remedy);
                    }
                }
            }
        }
        read(self, section);
        self.depth -= 1;
        if self.depth == 0 {
            self.read.clear();
        }
    }

    /// Reports what Windows takes and this system does not.
    pub(crate) fn unfit(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        if self.target.here {
            self.report.error(code, span, message, remedy);
        } else {
            self.report.warn(code, span, message, remedy);
        }
    }

    /// Reports that no section has this name.
    pub(crate) fn no_section(
        &mut self,
        code: &'static str,
        field: &Field<'_>,
        name: &str,
        remedy: impl Into<Option<String>>,
    ) {
        let known = self.document.sections.iter().map(|section| section.name);
        let looked_at = if self.report.is_full() { 0 } else { 1000 };
        let remedy = match closest(name, known.take(looked_at)) {
            Some(meant) => Some(format!("did you mean [{meant}]?")),
            None => remedy.into(),
        };
        let message = format!("there is no section [{name}]");
        self.report.error(code, field.span.clone(), message, remedy);
    }

    /// Replaces the tokens of a field.
    pub(crate) fn value(&mut self, field: &Field<'_>) -> Value {
        self.strings.expand(&mut self.report, field)
    }

    /// The text of a field with its tokens replaced.
    pub(crate) fn text(&mut self, field: &Field<'_>) -> String {
        // Most fields have no token, and need no parts.
        if !field.text.contains('%') {
            return field.text.to_string();
        }
        self.value(field).text()
    }

    /// The name that stands for a base and fits best.
    pub(crate) fn best(&self, base: &str) -> Option<String> {
        let names = self.files.get(self.at)?.bases.get(&fold(base));
        let decorated = names.into_iter().flatten();
        let decorated = decorated.filter_map(|one| Some((one.fit?, one.name.as_str())));
        let plain = self.document.named(base).next();
        let plain = plain.map(|section| (Fit::default(), section.name));
        plain
            .into_iter()
            .chain(decorated)
            .max_by_key(|(fit, _)| *fit)
            .map(|(_, name)| name.to_owned())
    }

    /// Warns about keys of a section that are none of the known ones.
    pub(crate) fn unknown_keys(&mut self, section: &str, known: &[&str]) {
        let document = self.document;
        for entry in document.entries(section) {
            let Some(key) = &entry.key else {
                self.report.warn(
                    "1078",
                    entry.span.clone(),
                    "this line has no key and does not count",
                    None,
                );
                continue;
            };
            if !known
                .iter()
                .any(|known| known.eq_ignore_ascii_case(&key.text))
            {
                let remedy = closest(&key.text, known.iter().copied())
                    .map(|meant| format!("did you mean {meant}?"));
                let message = format!("'{}' means nothing in [{section}]", key.text);
                self.report
                    .warn("unknown-key", key.span.clone(), message, remedy);
            }
        }
    }

    /// A hardware id, if it can be one.
    pub(crate) fn id(&mut self, field: &Field<'_>, id: String) -> Option<String> {
        if id.is_empty() {
            return None;
        }
        let bad = id.chars().find(|c| !c.is_ascii_graphic() || *c == ',');
        if bad.is_some() || id.len() > ID_LIMIT {
            let message = match bad {
                Some(bad) => format!("a hardware id cannot contain {bad:?}"),
                None => format!("a hardware id has at most {ID_LIMIT} characters"),
            };
            self.unfit("bad-id", field.span.clone(), message, None);
            return None;
        }
        Some(id)
    }

    /// A GUID in braces.
    pub(crate) fn guid(&mut self, field: &Field<'_>) -> Option<Guid> {
        let text = self.text(field);
        match text.parse::<Guid>() {
            Ok(guid) if text.starts_with('{') => Some(guid),
            Ok(guid) => {
                self.report.error(
                    "1019",
                    field.span.clone(),
                    format!("the GUID '{text}' has no braces"),
                    format!("write {guid}"),
                );
                None
            }
            Err(error) => {
                self.report
                    .error("1019", field.span.clone(), error.to_string(), None);
                None
            }
        }
    }

    /// A number, decimal or hexadecimal behind `0x`.
    pub(crate) fn number(&mut self, field: &Field<'_>) -> Option<u32> {
        let text = self.text(field);
        let number = parse_number(&text).and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            let message = format!("'{text}' is not a number of 32 bits");
            self.report.error(
                "1268",
                field.span.clone(),
                message,
                "write it as 3 or 0x3".to_owned(),
            );
        }
        number
    }

    /// A number of 64 bits, decimal or hexadecimal behind `0x`.
    pub(crate) fn long_number(&mut self, field: &Field<'_>) -> Option<u64> {
        let text = self.text(field);
        let number = parse_number(&text);
        if number.is_none() {
            let message = format!("'{text}' is not a number of 64 bits");
            let remedy = "write it as 3 or 0x3".to_owned();
            self.report
                .error("1268", field.span.clone(), message, remedy);
        }
        number
    }

    /// Where the name of a section stands.
    pub(crate) fn header(&self, section: &str) -> Range<usize> {
        let mut named = self.document.named(section);
        named.next().map_or(0..0, |section| section.span.clone())
    }
}

fn parse_number(text: &str) -> Option<u64> {
    let text = text.trim();
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hex {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
