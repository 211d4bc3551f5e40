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

use std::collections::{BTreeMap, BTreeSet, HashSet};

use arrival_model::diagnostic::closest;
use arrival_model::guid::Guid;
use arrival_model::trigger::FoldedId;

use crate::context::Context;
use crate::plan::{Device, DeviceParameters, Interface, Plan};
use crate::registry::{self, Registry};
use crate::syntax::{Entry, Field, fold};
use crate::target::{Decoration, Fit, PLACEHOLDER};
use crate::{files, service};

/// Directives of an install section that change nothing here, folded.
const WITHOUT_EFFECT: [&str; 17] = [
    "delfiles",
    "renfiles",
    "bitreg",
    "copyinf",
    "ini2reg",
    "updateinis",
    "registerdlls",
    "unregisterdlls",
    "profileitems",
    "logconfig",
    "featurescore",
    "reboot",
    "driverver",
    "addproperty",
    "delproperty",
    "addpowersetting",
    "addautoplay",
];

/// Suffixes whose sections say nothing that Linux could do.
const MEANINGLESS: [&str; 8] = [
    "wdf",
    "coinstallers",
    "filters",
    "components",
    "software",
    "factdef",
    "logconfigoverride",
    "com",
];

/// The most ids of all interfaces together: each class has those of its install section's devices.
const IDS_LIMIT: usize = 1_000_000;

/// The ids of an install section's devices: in their order, and as a set.
type Ids = (Vec<FoldedId>, HashSet<FoldedId>);

/// Reads the whole meaning of a file.
pub(crate) fn plan(context: &mut Context<'_, '_>) -> Plan {
    let mut plan = Plan::default();
    context.version(&mut plan);
    let mut installs = context.models(&mut plan);
    if let Some(default) = context.best("DefaultInstall") {
        installs.insert(default, Ids::default());
    }
    if installs.is_empty() && !context.has_errors() {
        let target = context.target;
        let (major, minor, build) = target.version;
        let message = format!(
            "the file installs nothing on {}, Windows {major}.{minor}.{build}",
            target.architecture
        );
        let remedy =
            "it needs [Manufacturer] with models, or [DefaultInstall], that fit".to_owned();
        context.unfit("1297", 0..0, message, remedy);
    }
    let mut copied = BTreeSet::new();
    for (section, (ids, _)) in &installs {
        context.install(&mut plan, section, ids, &mut copied);
    }
    // What is deleted first and then added is there.
    let added = &context.services;
    plan.removed
        .retain(|removed| !added.contains_key(&removed.name.folded()));
    context.declared(&mut plan);
    files::add_programs(context, &mut plan);
    plan
}

impl<'d, 't> Context<'d, 't> {
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
    fn models(&mut self, plan: &mut Plan) -> BTreeMap<String, Ids> {
        let mut installs: BTreeMap<String, Ids> = BTreeMap::new();
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

    fn model(&mut self, plan: &mut Plan, model: &Entry<'t>, installs: &mut BTreeMap<String, Ids>) {
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
        let (known, seen) = installs.entry(section.clone()).or_default();
        for id in &ids {
            let id = FoldedId::new(id);
            if seen.insert(id.clone()) {
                known.push(id);
            }
        }
        plan.devices.push(Device {
            description,
            section,
            ids,
        });
    }

    /// One install section with everything that hangs at it.
    fn install(
        &mut self,
        plan: &mut Plan,
        section: &str,
        ids: &[FoldedId],
        copied: &mut BTreeSet<(usize, String)>,
    ) {
        let mut registry = Registry::default();
        self.with_needs(section, &mut |context, section| {
            context.lines(plan, section, copied);
            registry::read(context, section, &mut registry);
        });
        self.with_needs(&format!("{section}.HW"), &mut |context, section| {
            registry::read(context, section, &mut registry);
        });
        let values = registry.into_values();
        if !values.is_empty() {
            plan.parameters.push(DeviceParameters {
                section: section.to_owned(),
                ids: ids.to_vec(),
                values,
            });
        }
        self.meaningless(section);
        self.with_needs(&format!("{section}.Interfaces"), &mut |context, section| {
            context.interfaces(plan, section, ids);
        });
        self.with_needs(&format!("{section}.Services"), &mut |context, section| {
            let document = context.document;
            for entry in document.entries(section) {
                service::directive(context, plan, entry);
            }
        });
    }

    /// The lines of an install section itself.
    fn lines(&mut self, plan: &mut Plan, section: &str, copied: &mut BTreeSet<(usize, String)>) {
        let document = self.document;
        for entry in document.entries(section) {
            let Some(field) = &entry.key else {
                continue;
            };
            match fold(&field.text).as_str() {
                "copyfiles" => files::copy(self, plan, entry, copied),
                "include" | "needs" | "addreg" | "delreg" => {}
                key if WITHOUT_EFFECT.contains(&key) => {
                    let message = format!("{} has no effect on this system", field.text);
                    self.report
                        .warn("no-effect", field.span.clone(), message, None);
                }
                _ => {
                    let message = format!("'{}' means nothing in [{section}]", field.text);
                    let known = [
                        "CopyFiles",
                        "AddReg",
                        "DelReg",
                        "Include",
                        "Needs",
                        "DelFiles",
                    ];
                    let remedy =
                        closest(&field.text, known).map(|meant| format!("did you mean {meant}?"));
                    self.report
                        .warn("unknown-key", field.span.clone(), message, remedy);
                }
            }
        }
    }

    /// Says which of the sections that hang at an install section do nothing here.
    fn meaningless(&mut self, section: &str) {
        let document = self.document;
        for suffix in MEANINGLESS {
            for one in document.named(&format!("{section}.{suffix}")) {
                let message = format!("[{}] has no effect on this system", one.name);
                self.report
                    .warn("no-effect", one.span.clone(), message, None);
            }
        }
    }

    /// Classes that `[InterfaceInstall32]` declares: whoever advertises one finds its name known.
    fn declared(&mut self, plan: &mut Plan) {
        let document = self.document;
        let mut seen = HashSet::new();
        for entry in document.entries("InterfaceInstall32") {
            let Some(key) = &entry.key else {
                let remedy = "write {GUID} = SECTION".to_owned();
                let message = "the line names no class";
                self.report
                    .error("1006", entry.span.clone(), message, remedy);
                continue;
            };
            let Some(class) = self.guid(key) else {
                continue;
            };
            if let Some(field) = entry.value(0) {
                let name = self.text(field);
                if !document.has(&name) && self.best(&name).is_none() {
                    self.no_section("1203", field, &name, None);
                }
            }
            if seen.insert(class) {
                plan.declared.push(class);
            }
        }
    }

    fn interfaces(&mut self, plan: &mut Plan, section: &str, ids: &[FoldedId]) {
        let document = self.document;
        for entry in document.entries(section) {
            if entry.is("Include") || entry.is("Needs") {
                continue;
            }
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
                if !document.has(&name) && self.best(&name).is_none() {
                    self.no_section("1203", section, &name, None);
                }
            }
            self.ids_of_interfaces = self.ids_of_interfaces.saturating_add(ids.len());
            if self.ids_of_interfaces > IDS_LIMIT {
                let message =
                    format!("the interfaces have more than {IDS_LIMIT} ids of devices in all");
                let remedy = "cut the file in several".to_owned();
                self.report
                    .error("too-many", field.span.clone(), message, remedy);
                return;
            }
            let (place, seen) = self
                .interfaces
                .entry(class)
                .or_insert_with(|| (plan.interfaces.len(), HashSet::new()));
            let new = ids.iter().filter(|id| seen.insert((*id).clone()));
            let new: Vec<FoldedId> = new.cloned().collect();
            if let Some(known) = plan.interfaces.get_mut(*place) {
                known.ids.extend(new);
            } else {
                plan.interfaces.push(Interface {
                    class,
                    names: self.strings.tokens_of(&class.to_string()),
                    ids: new,
                    span: self.span(field.span.clone()),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::flags;
    use crate::{service, settings};

    #[test]
    fn the_manual_tells_of_every_key() {
        let manual = include_str!("../../../docs/inf.md");
        let keys = service::KEYS.iter().chain(&settings::NAMES);
        for word in keys
            .chain(&super::WITHOUT_EFFECT)
            .chain(&super::MEANINGLESS)
        {
            let known = manual
                .to_ascii_lowercase()
                .contains(&word.to_ascii_lowercase());
            assert!(known, "{word} is not in docs/inf.md");
        }
        for bit in (0..32)
            .map(|bit| 1u32 << bit)
            .filter(|bit| flags::ADD & bit != 0)
        {
            assert!(manual.contains(&format!("{bit:#x}")), "{bit:#x}");
        }
    }
}
