//! From sections to a plan: `[Version]`, `[Manufacturer]`, models, install sections.
//!
//! ```text
//! [Manufacturer]        %Mfg% = Models [, decoration ...]
//! [Models.decoration]   %Description% = Install [, hardware id [, compatible id ...]]
//! [Install.nt]          CopyFiles = ...
//! [Install.nt.Services]    AddService = ...
//! [Install.nt.Interfaces]  AddInterface = {class} [, [reference] [, [section] [, flags]]]
//! [DefaultInstall.nt]   the same, for a file that is for no device
//! ```
//!
//! Of a base name that several decorated sections have, the one that fits the target best counts, be there a
//! section of that name itself or only with a suffix. A trigger decides later when a service runs, so that
//! what all models of the file need is installed.
//!
//! Sources: Microsoft, "INF Manufacturer Section", "INF Models Section", "INF DDInstall Section".

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrival_model::diagnostic::{Report, closest};
use arrival_model::guid::Guid;
use arrival_model::trigger::FoldedId;

use crate::plan::{Device, Interface, Plan};
use crate::strings::{Strings, Value};
use crate::syntax::{Document, Entry, Field, fold};
use crate::target::{Decoration, Fit, PLACEHOLDER, Target};
use crate::{files, service};

/// Suffixes of install sections.
const SUFFIXES: [&str; 13] = [
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

/// Suffixes whose sections say nothing that Linux could do.
const MEANINGLESS: [&str; 9] = [
    "hw",
    "wdf",
    "coinstallers",
    "filters",
    "components",
    "software",
    "factdef",
    "logconfigoverride",
    "com",
];

/// The longest hardware id (MAX_DEVICE_ID_LEN of cfgmgr32.h).
pub(crate) const ID_LIMIT: usize = 200;

/// What is needed to read a section.
pub(crate) struct Context<'d, 't, 'r> {
    pub(crate) report: &'r mut Report<'t>,
    pub(crate) document: &'d Document<'t>,
    pub(crate) strings: &'r Strings<'d>,
    pub(crate) target: &'r Target,
    bases: HashMap<String, Vec<Decorated>>,
}

/// A name as it stands in the file, by its base.
struct Decorated {
    fit: Option<Fit>,
    name: String,
}

/// Reads the whole meaning of a file.
pub(crate) fn plan<'t>(report: &mut Report<'t>, document: &Document<'t>, target: &Target) -> Plan {
    let strings = Strings::choose(document, target.language);
    let mut context = Context {
        bases: bases(document, target),
        report,
        document,
        strings: &strings,
        target,
    };
    let mut plan = Plan::default();
    context.version(&mut plan);
    let mut installs = context.models(&mut plan);
    if let Some(default) = context.best("DefaultInstall") {
        installs.insert(default, Vec::new());
    }
    if installs.is_empty() && !context.report.has_errors() {
        let (major, minor, build) = target.version;
        let message = format!(
            "the file installs nothing on {}, Windows {major}.{minor}.{build}",
            target.architecture
        );
        let remedy =
            "it needs [Manufacturer] with models, or [DefaultInstall], that fit".to_owned();
        context.report.error("1297", 0..0, message, remedy);
    }
    let mut copied = BTreeSet::new();
    for (section, ids) in &installs {
        context.install(&mut plan, section, ids, &mut copied);
    }
    files::add_programs(&mut context, &mut plan);
    plan
}

/// Every base name of the file, with the names that stand for it.
fn bases(document: &Document<'_>, target: &Target) -> HashMap<String, Vec<Decorated>> {
    let mut bases: HashMap<String, Vec<Decorated>> = HashMap::new();
    let mut seen = BTreeSet::new();
    for section in &document.sections {
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

impl<'d, 't> Context<'d, 't, '_> {
    /// Replaces the tokens of a field.
    pub(crate) fn value(&mut self, field: &Field<'_>) -> Value {
        self.strings.expand(self.report, field)
    }

    /// The text of a field with its tokens replaced.
    pub(crate) fn text(&mut self, field: &Field<'_>) -> String {
        self.value(field).text()
    }

    /// The name that stands for a base and fits best.
    fn best(&self, base: &str) -> Option<String> {
        let names = self.bases.get(&fold(base))?;
        let fitting = names.iter().filter_map(|one| Some((one.fit?, &one.name)));
        fitting
            .max_by_key(|(fit, _)| *fit)
            .map(|(_, name)| name.clone())
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

    fn version(&mut self, plan: &mut Plan) {
        if !self.document.has("Version") {
            let remedy = "write [Version] and Signature = \"$Windows NT$\"".to_owned();
            self.report
                .error("1001", 0..0, "the file has no section [Version]", remedy);
            return;
        }
        let document = self.document;
        match document
            .entry("Version", "Signature")
            .and_then(|entry| entry.value(0))
        {
            Some(field) => {
                let text = self.text(field);
                if !["$windows nt$", "$chicago$", "$windows 95$"].contains(&fold(&text).as_str()) {
                    let remedy = "write Signature = \"$Windows NT$\"".to_owned();
                    self.report.error(
                        "1001",
                        field.span.clone(),
                        format!("'{text}' is no signature of an INF"),
                        remedy,
                    );
                }
            }
            None => {
                let span = document
                    .named("Version")
                    .next()
                    .map_or(0..0, |section| section.span.clone());
                let remedy = "write Signature = \"$Windows NT$\"".to_owned();
                self.report
                    .error("1001", span, "[Version] has no Signature", remedy);
            }
        }
        if let Some(field) = document
            .entry("Version", "Provider")
            .and_then(|entry| entry.value(0))
        {
            plan.provider = self.text(field);
        }
        if let Some(entry) = document.entry("Version", "DriverVer")
            && let Some(field) = entry.value(1).or(entry.value(0))
        {
            plan.version = self.text(field);
        }
        if let Some(field) = document
            .entry("Version", "ClassGuid")
            .and_then(|entry| entry.value(0))
        {
            let text = self.text(field);
            if text.parse::<Guid>().is_err() || !text.starts_with('{') {
                let message = format!("'{text}' is not a GUID in braces");
                self.report.error("1010", field.span.clone(), message, None);
            }
        }
    }

    /// The install sections of all models that fit, with the ids of the devices that use each.
    fn models(&mut self, plan: &mut Plan) -> BTreeMap<String, Vec<FoldedId>> {
        let mut installs: BTreeMap<String, Vec<FoldedId>> = BTreeMap::new();
        let mut read = BTreeSet::new();
        let document = self.document;
        for entry in document.entries("Manufacturer") {
            let field = match (&entry.key, entry.value(0)) {
                (_, Some(field)) => field,
                (Some(key), None) => key,
                (None, None) => continue,
            };
            let base = self.text(field);
            let Some(section) = self.models_of(entry, &base, field) else {
                continue;
            };
            if !read.insert(fold(&section)) {
                continue;
            }
            for model in document.entries(&section) {
                self.model(plan, model, &mut installs);
            }
        }
        installs
    }

    /// The models section of a manufacturer's line that fits; it may be empty, which excludes the target.
    fn models_of(&mut self, entry: &Entry<'t>, base: &str, field: &Field<'_>) -> Option<String> {
        let mut best: Option<(Fit, String, &Field<'t>)> = None;
        let decorations = entry.values.get(1..).unwrap_or_default();
        for decoration in decorations.iter().filter(|field| !field.text.is_empty()) {
            let text = self.text(decoration);
            match Decoration::parse(&text, self.target) {
                Ok(parsed) => {
                    if fold(&text).contains(&fold(PLACEHOLDER)) {
                        let message = format!(
                            "{PLACEHOLDER} stands for the architecture until the file is stamped; it is taken for this machine's"
                        );
                        self.report
                            .warn("1274", decoration.span.clone(), message, None);
                    }
                    if let Some(fit) = parsed.fit(self.target)
                        && best.as_ref().is_none_or(|(known, ..)| fit > *known)
                    {
                        best = Some((fit, text, decoration));
                    }
                }
                Err(error) => {
                    let message = format!("'{text}' is no decoration");
                    self.report
                        .error("1287", decoration.span.clone(), message, error.to_string());
                }
            }
        }
        let (name, span) = match best {
            Some((_, decoration, field)) => (format!("{base}.{decoration}"), field.span.clone()),
            None if decorations.is_empty() || self.document.has(base) => {
                (base.to_owned(), field.span.clone())
            }
            // The file is for other machines.
            None => return None,
        };
        if !self.document.has(&name) {
            let remedy = format!("add a section [{name}]");
            self.report.error(
                "1011",
                span,
                format!("there is no section [{name}]"),
                remedy,
            );
            return None;
        }
        Some(name)
    }

    fn model(
        &mut self,
        plan: &mut Plan,
        model: &Entry<'t>,
        installs: &mut BTreeMap<String, Vec<FoldedId>>,
    ) {
        let Some(install) = model.value(0) else {
            let remedy = "write %Description% = InstallSection, HardwareId".to_owned();
            self.report.error(
                "1271",
                model.span.clone(),
                "the model has no install section",
                remedy,
            );
            return;
        };
        let base = self.text(install);
        let Some(section) = self.best(&base) else {
            let message = format!("no section [{base}] fits this machine");
            let remedy = format!("add [{base}] or [{base}.NT]");
            self.report
                .error("1261", install.span.clone(), message, remedy);
            return;
        };
        let mut ids = Vec::new();
        for field in model.values.get(1..).unwrap_or_default() {
            let id = self.text(field);
            if let Some(id) = self.id(field, id) {
                ids.push(id);
            }
        }
        let description = model
            .key
            .as_ref()
            .map(|key| self.text(key))
            .unwrap_or_default();
        let known = installs.entry(section.clone()).or_default();
        for id in &ids {
            let id = FoldedId::new(id);
            if !known.contains(&id) {
                known.push(id);
            }
        }
        plan.devices.push(Device {
            description,
            section,
            ids,
        });
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
            self.report
                .error("bad-id", field.span.clone(), message, None);
            return None;
        }
        Some(id)
    }

    /// One install section with everything that hangs at it.
    fn install(
        &mut self,
        plan: &mut Plan,
        section: &str,
        ids: &[FoldedId],
        copied: &mut BTreeSet<String>,
    ) {
        let document = self.document;
        for entry in document.entries(section) {
            let Some(key) = &entry.key else {
                continue;
            };
            match fold(&key.text).as_str() {
                "copyfiles" => files::copy(self, plan, entry, copied),
                "include" | "needs" => {
                    let message = format!(
                        "{} names sections of Windows' own files, which do not count here",
                        key.text
                    );
                    self.report.warn("1202", key.span.clone(), message, None);
                }
                "delfiles" | "renfiles" | "addreg" | "delreg" | "bitreg" | "copyinf"
                | "ini2reg" | "updateinis" | "registerdlls" | "unregisterdlls" | "profileitems"
                | "logconfig" | "featurescore" | "reboot" | "driverver" | "addproperty"
                | "delproperty" | "addpowersetting" | "addautoplay" => {
                    let message = format!("{} has no effect on this system", key.text);
                    self.report
                        .warn("no-effect", key.span.clone(), message, None);
                }
                _ => {
                    let message = format!("'{}' means nothing in [{section}]", key.text);
                    let remedy = closest(
                        &key.text,
                        ["CopyFiles", "AddReg", "Include", "Needs", "DelFiles"],
                    )
                    .map(|meant| format!("did you mean {meant}?"));
                    self.report
                        .warn("unknown-key", key.span.clone(), message, remedy);
                }
            }
        }
        for suffix in MEANINGLESS {
            for one in document.named(&format!("{section}.{suffix}")) {
                let message = format!("[{}] has no effect on this system", one.name);
                self.report
                    .warn("no-effect", one.span.clone(), message, None);
            }
        }
        self.interfaces(plan, &format!("{section}.Interfaces"), ids);
        let services = format!("{section}.Services");
        for entry in document.entries(&services) {
            service::directive(self, plan, entry);
        }
    }

    fn interfaces(&mut self, plan: &mut Plan, section: &str, ids: &[FoldedId]) {
        let document = self.document;
        for entry in document.entries(section) {
            if !entry.is("AddInterface") {
                self.report.warn(
                    "unknown-key",
                    entry.span.clone(),
                    format!("this means nothing in [{section}]"),
                    None,
                );
                continue;
            }
            let Some(field) = entry.value(0) else {
                self.report.error(
                    "1006",
                    entry.span.clone(),
                    "AddInterface names no class",
                    "write AddInterface = {GUID}".to_owned(),
                );
                continue;
            };
            let Some(class) = self.guid(field) else {
                continue;
            };
            if let Some(section) = entry.value(2) {
                let name = self.text(section);
                if !document.has(&name) {
                    let message = format!("there is no section [{name}]");
                    self.report
                        .error("1203", section.span.clone(), message, None);
                }
            }
            match plan
                .interfaces
                .iter_mut()
                .find(|known| known.class == class)
            {
                Some(known) => {
                    let new: Vec<_> = ids
                        .iter()
                        .filter(|id| !known.ids.contains(id))
                        .cloned()
                        .collect();
                    known.ids.extend(new);
                }
                None => plan.interfaces.push(Interface {
                    class,
                    names: self.strings.tokens_of(&class.to_string()),
                    ids: ids.to_vec(),
                    span: field.span.clone(),
                }),
            }
        }
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
        let trimmed = text.trim();
        let hex = trimmed
            .strip_prefix("0x")
            .or_else(|| trimmed.strip_prefix("0X"));
        let number = match hex {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => trimmed.parse().ok(),
        };
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
}
