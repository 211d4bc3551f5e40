//! Definitions of services in TOML, as `docs/definition.md` describes them.
//!
//! ```toml
//! [service]
//! exec = ["/usr/sbin/gpsd", "-N", "${ARRIVAL_NODE}"]
//! user = "gpsd"
//!
//! [[start]]
//! device = "serial"
//! id = ["usb:067b:2303"]
//! ```
//!
//! The name of the file without `.toml` is the service's, unless `name` says otherwise. A file with
//! an error defines nothing; every error that can be found in one pass is reported.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use arrival_model::access::Descriptor;
use arrival_model::class::Classes;
use arrival_model::definition::{
    Damping, Definition, FailurePolicy, Protocol, Replug, ServiceName, StartType,
};
use arrival_model::service_trigger::{Action, MOST};
use arrival_model::trigger::Trigger;

use crate::document::{self, Found, Section};

mod text;
mod trigger;

use arrival_model::diagnostic::{Diagnostic, Report, closest};

/// The variables that are replaced in arguments and set in the environment of every run.
pub const VARIABLES: [&str; 7] = [
    "ARRIVAL_CONTROL",
    "ARRIVAL_HOST",
    "ARRIVAL_INTERFACE",
    "ARRIVAL_NODE",
    "ARRIVAL_RUN",
    "ARRIVAL_SERVICE",
    "ARRIVAL_START_REASON",
];

/// The variable that names the file of a package's parameters.
pub const PARAMETERS: &str = "ARRIVAL_PARAMETERS";

/// Variables that the manager sets, and a definition cannot.
const RESERVED: [&str; 6] = [
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "JOURNAL_STREAM",
    "ARRIVAL_",
];

/// Keys that belong elsewhere, or that people know from other programs, in lower case.
const ELSEWHERE: [(&str, &str); 21] = [
    ("command", "the program and its arguments are 'exec'"),
    (
        "execstart",
        "the program and its arguments are 'exec', a list",
    ),
    ("program", "the program and its arguments are 'exec'"),
    ("workingdirectory", "the folder is 'directory'"),
    ("cwd", "the folder is 'directory'"),
    ("env", "variables stand in the table 'environment'"),
    ("type", "how a service says that it is ready is 'protocol'"),
    ("starttype", "the key is 'start'"),
    ("restart", "write it below [service.failure]"),
    ("restartsec", "write 'delay' below [service.failure]"),
    ("delay", "write it below [service.failure]"),
    ("limit", "write it below [service.failure]"),
    ("starts", "write it below [service.damping]"),
    ("hold", "write it below [service.damping]"),
    ("device", "triggers stand below [[start]]"),
    ("class", "triggers stand below [[start]]"),
    ("id", "triggers stand below [[start]]"),
    ("timeoutstartsec", "the key is 'start_timeout'"),
    ("timeoutstopsec", "the key is 'stop_timeout'"),
    ("requires", "services that must run before it are 'depends'"),
    ("after", "services that must run before it are 'depends'"),
];

/// What a file says, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The definition; none if there is an error.
    pub definition: Option<Definition>,
    /// Errors and warnings in the order of the file.
    pub problems: Vec<Diagnostic>,
}

/// Where things stand in the file, for [`crate::lint`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    pub(crate) service: Range<usize>,
    pub(crate) exec: Vec<Range<usize>>,
    pub(crate) user: Option<Range<usize>>,
    pub(crate) group: Option<Range<usize>>,
    pub(crate) directory: Option<Range<usize>>,
    pub(crate) follow: Option<Range<usize>>,
    pub(crate) security: Option<Range<usize>>,
}

/// Reads a definition.
pub fn parse(path: &Path, text: &str, classes: &Classes) -> Parsed {
    let mut report = Report::new(path, text);
    let definition = read(&mut report, classes).map(|(definition, _)| definition);
    Parsed {
        definition,
        problems: report.finish(),
    }
}

/// The text of a definition: reading it gives the definition back.
///
/// Triggers name their class by its GUID, so that the text means the same wherever it is read.
pub fn write(definition: &Definition) -> String {
    text::write(definition)
}

/// Reads a definition and where its parts stand; none if the report has errors.
pub(crate) fn read(report: &mut Report<'_>, classes: &Classes) -> Option<(Definition, Places)> {
    let document = document::parse(report)?;
    let mut top = Section::new("the file", document.get_ref(), 0..0);
    let mut places = Places::default();
    let service = top.section(report, "service", "[service]");
    let present = service.is_some() || top.entry("service").is_some();
    if !present {
        top.missing(report, "[service]", "a definition begins with [service]");
    }
    let mut definition = service.and_then(|service| read_service(report, service, &mut places));
    let mut triggers = Vec::new();
    for (key, label, action) in [
        ("start", "[[start]]", Action::Start),
        ("stop", "[[stop]]", Action::Stop),
    ] {
        for section in top.sections(report, key, label) {
            let span = section.span.clone();
            let cause = trigger::read(report, section, action, classes);
            let Some(trigger) = cause.map(|cause| Trigger { action, cause }) else {
                continue;
            };
            if triggers.contains(&trigger) {
                let message = "the same trigger stands above";
                report.warn("duplicate-trigger", span, message, None);
                continue;
            }
            if triggers.len() == MOST {
                let message = format!("a service has at most {MOST} triggers");
                report.error("too-many", span, message, None);
            }
            triggers.push(trigger);
        }
    }
    let elsewhere: Vec<(&str, &str)> = ["exec", "user", "name", "follow", "protocol"]
        .map(|key| (key, "write it below [service]"))
        .into_iter()
        .chain([("trigger", "triggers stand below [[start]]")])
        .collect();
    top.finish(report, &elsewhere);
    if report.has_errors() {
        return None;
    }
    if let Some(definition) = &mut definition {
        definition.triggers = triggers;
    }
    Some((definition?, places))
}

/// The name that a file gives to its service.
fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn read_name(report: &mut Report<'_>, section: &mut Section<'_>) -> Option<ServiceName> {
    let stem = stem(report.path());
    let Some(given) = section.string(report, "name") else {
        // A name of a wrong type was reported; the stem stands in so that reading goes on.
        return match stem.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let remedy = "rename the file, or give a 'name'".to_owned();
                report.error("bad-name", section.span.clone(), format!("{error}"), remedy);
                None
            }
        };
    };
    match given.value.parse::<ServiceName>() {
        Ok(name) => {
            if stem != given.value {
                let message =
                    format!("the service '{name}' is defined by a file called '{stem}.toml'");
                let remedy =
                    format!("rename the file to '{name}.toml', by which others override it");
                report.warn("name-differs", given.span, message, remedy);
            }
            Some(name)
        }
        Err(error) => {
            report.error("bad-name", given.span, error.to_string(), None);
            None
        }
    }
}

fn read_service(
    report: &mut Report<'_>,
    mut section: Section<'_>,
    places: &mut Places,
) -> Option<Definition> {
    places.service = section.span.clone();
    let name = read_name(report, &mut section);
    let exec = read_exec(report, &mut section, places);
    // A stand-in, so that the rest of the file is read even without a name or a program.
    let stand_in: ServiceName = "x".parse().ok()?;
    let complete = name.is_some() && exec.is_some();
    let mut definition = Definition::new(name.unwrap_or(stand_in), exec.unwrap_or_default());

    if let Some(description) = section.line(report, "description", 512) {
        definition.description = description.value;
    }
    if let Some(user) = read_principal(report, &mut section, "user") {
        places.user = Some(user.span);
        definition.user = Some(user.value);
    }
    if let Some(group) = read_principal(report, &mut section, "group") {
        places.group = Some(group.span);
        definition.group = Some(group.value);
    }
    if let Some(directory) = section.string(report, "directory") {
        if !directory.value.starts_with('/') {
            let message = format!("'{}' is not an absolute path", directory.value);
            report.error("bad-value", directory.span.clone(), message, None);
        }
        places.directory = Some(directory.span);
        definition.directory = Some(directory.value);
    }
    definition.environment = read_environment(report, &mut section);
    let protocols = [
        ("exec", Protocol::Exec),
        ("notify", Protocol::Notify),
        ("control", Protocol::Control),
    ];
    if let Some(protocol) = section.choice(report, "protocol", &protocols) {
        definition.protocol = protocol.value;
    }
    let starts = [
        ("auto", StartType::Auto),
        ("demand", StartType::Demand),
        ("disabled", StartType::Disabled),
    ];
    if let Some(start) = section.choice(report, "start", &starts) {
        definition.start = start.value;
    }
    if let Some(follow) = section.boolean(report, "follow") {
        places.follow = Some(follow.span);
        definition.follow = follow.value;
    }
    if let Some(linger) = section.duration(report, "linger") {
        definition.linger = linger.value;
    }
    let replugs = [("restart", Replug::Restart), ("ignore", Replug::Ignore)];
    if let Some(replug) = section.choice(report, "replug", &replugs) {
        definition.replug = replug.value;
    }
    for (key, timeout) in [
        ("start_timeout", &mut definition.start_timeout),
        ("stop_timeout", &mut definition.stop_timeout),
    ] {
        let Some(found) = section.duration(report, key) else {
            continue;
        };
        if found.value.is_zero() {
            let message = format!("'{key}' must be longer than nothing");
            report.error("bad-value", found.span, message, None);
        }
        *timeout = found.value;
    }
    definition.depends = read_depends(report, &mut section, &definition.name);
    definition.provides = trigger::read_provides(report, &mut section);
    if let Some(security) = section.string(report, "security") {
        if let Err(error) = security.value.parse::<Descriptor>() {
            let remedy = "the grammar is in docs/definition.md".to_owned();
            report.error(
                "bad-security",
                security.span.clone(),
                error.to_string(),
                remedy,
            );
        }
        places.security = Some(security.span);
        definition.security = Some(security.value);
    }
    if let Some(failure) = section.section(report, "failure", "[service.failure]") {
        definition.failure = read_failure(report, failure);
    }
    if let Some(damping) = section.section(report, "damping", "[service.damping]") {
        definition.damping = read_damping(report, damping);
    }
    section.finish(report, &ELSEWHERE);
    complete.then_some(definition)
}

fn read_exec(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    places: &mut Places,
) -> Option<Vec<String>> {
    let present = section.entry("exec").is_some();
    let Some(exec) = section.strings(report, "exec", false) else {
        if !present {
            section.missing(
                report,
                "exec",
                "write exec = [\"/path/to/program\", \"argument\"]",
            );
        }
        return None;
    };
    let Some(program) = exec.value.first() else {
        let message = "'exec' is empty".to_owned();
        report.error(
            "bad-value",
            exec.span,
            message,
            "its first string is the program".to_owned(),
        );
        return None;
    };
    if !program.value.starts_with('/') {
        let message = format!("the program '{}' is not an absolute path", program.value);
        let remedy = "no search path is used, so that nobody else's program is run".to_owned();
        report.error("relative-program", program.span.clone(), message, remedy);
    }
    for (index, argument) in exec.value.iter().enumerate() {
        check_variables(report, argument, index == 0);
    }
    places.exec = exec
        .value
        .iter()
        .map(|argument| argument.span.clone())
        .collect();
    Some(
        exec.value
            .into_iter()
            .map(|argument| argument.value)
            .collect(),
    )
}

/// Checks every `${NAME}` of an argument.
fn check_variables(report: &mut Report<'_>, argument: &Found<String>, program: bool) {
    let mut rest = argument.value.as_str();
    while let Some((_, tail)) = rest.split_once("${") {
        let Some((name, tail)) = tail.split_once('}') else {
            let message = "'${' has no closing brace".to_owned();
            report.error("bad-variable", argument.span.clone(), message, None);
            return;
        };
        rest = tail;
        if program {
            let message = "variables are replaced in arguments, not in the program".to_owned();
            report.error("bad-variable", argument.span.clone(), message, None);
        } else if !VARIABLES.contains(&name) {
            let remedy = match closest(name, VARIABLES) {
                Some(meant) => format!("did you mean ${{{meant}}}?"),
                None => format!("the variables are {}", VARIABLES.join(", ")),
            };
            let message = format!("there is no variable '{name}'");
            report.error("bad-variable", argument.span.clone(), message, remedy);
        }
    }
}

/// A user or group: a name or a number, as useradd(8) takes them.
fn read_principal(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    key: &'static str,
) -> Option<Found<String>> {
    let found = section.string(report, key)?;
    let good =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '$' | '\\' | '@');
    let name = &found.value;
    if name.is_empty() || name.len() > 256 || name.starts_with('-') || !name.chars().all(good) {
        let message = format!("'{name}' cannot name a {key}");
        report.error("bad-value", found.span, message, None);
        return None;
    }
    Some(found)
}

fn read_environment(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let Some(table) = section.section(report, "environment", "[service.environment]") else {
        return environment;
    };
    for (key, value) in table.free() {
        let name = &key.value;
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(good) || !name.starts_with(|c: char| good(c) && !c.is_ascii_digit()) {
            let message = format!("'{name}' cannot name a variable");
            report.error("bad-variable", key.span, message, None);
            continue;
        }
        let reserved = RESERVED.iter().any(|reserved| name == reserved);
        if reserved || (name.starts_with("ARRIVAL_") && name != PARAMETERS) {
            let message = format!("'{name}' is set by the manager");
            report.error("bad-variable", key.span, message, None);
            continue;
        }
        if let Some(value) = document::string(report, name, value) {
            environment.insert(key.value, value.value);
        }
    }
    environment
}

fn read_depends(
    report: &mut Report<'_>,
    section: &mut Section<'_>,
    own: &ServiceName,
) -> Vec<ServiceName> {
    let mut depends: Vec<ServiceName> = Vec::new();
    let Some(found) = section.strings(report, "depends", true) else {
        return depends;
    };
    let message = "'depends' does not order services yet".to_owned();
    let remedy = Some("the service is started by its own triggers alone".to_owned());
    report.warn("no-effect", found.span.clone(), message, remedy);
    for item in found.value {
        match item.value.parse::<ServiceName>() {
            Ok(name) if name.folded() == own.folded() => {
                let message = "a service cannot depend on itself".to_owned();
                report.error("bad-value", item.span, message, None);
            }
            Ok(name) => {
                if !depends.iter().any(|known| known.folded() == name.folded()) {
                    depends.push(name);
                }
            }
            Err(error) => report.error("bad-name", item.span, error.to_string(), None),
        }
    }
    depends
}

fn read_failure(report: &mut Report<'_>, mut section: Section<'_>) -> FailurePolicy {
    let mut policy = FailurePolicy::default();
    if let Some(restart) = section.boolean(report, "restart") {
        policy.restart = restart.value;
    }
    if let Some(delay) = section.duration(report, "delay") {
        policy.delay = delay.value;
    }
    if let Some(limit) = section.number(report, "limit", 1..=1000) {
        policy.limit = limit.value;
    }
    if let Some(within) = section.duration(report, "within") {
        policy.within = within.value;
    }
    section.finish(report, &[]);
    policy
}

fn read_damping(report: &mut Report<'_>, mut section: Section<'_>) -> Option<Damping> {
    let starts = section.number(report, "starts", 1..=1000);
    let within = section.duration(report, "within");
    let hold = section.duration(report, "hold");
    for key in ["starts", "within", "hold"] {
        if section.entry(key).is_none() {
            section.missing(
                report,
                key,
                "damping needs starts = 5, within = \"10s\", hold = \"1m\"",
            );
        }
    }
    section.finish(report, &[]);
    Some(Damping {
        starts: starts?.value,
        within: within?.value,
        hold: hold?.value,
    })
}
