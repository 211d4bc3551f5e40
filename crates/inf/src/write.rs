//! A definition as an INF file.
//!
//! What Windows has a key for is written with it; what it has none for goes to `HKR,Parameters\Arrival`. The
//! file is read again before it is given out: what cannot be said in an INF, such as an argument with a line
//! break, is refused and not left out.

use std::path::Path;

use arrival_model::definition::{Definition, FailurePolicy, Protocol, Replug, StartType};
use arrival_model::service_trigger::{DataItem, DataType, ServiceTrigger};
use arrival_model::trigger::{Cause, PIPE_MODE, Wait};

use crate::settings::time_text;
use crate::{Target, command, format, read};

/// A value as a field that reads as this text, of which nothing is a token.
fn quote(value: &str) -> String {
    format::quote(&value.replace('%', "%%")).into_owned()
}

/// The value of ServiceBinary: a program, below a directory id if there is one, and its arguments.
pub fn service_binary(dirid: Option<u32>, program: &str, arguments: &[String]) -> String {
    // The directory id is a token, which neither has its signs doubled nor is cut.
    const DIRID: char = '\u{1}';
    let program = match dirid {
        Some(_) => format!("{DIRID}{}", program.replace('/', "\\")),
        None => program.to_owned(),
    };
    let line = command::line(&program, arguments);
    let line = line.replace('%', "%%").replace('"', "\"\"");
    let line = match dirid {
        Some(id) => line.replace(DIRID, &format!("%{id}%")),
        None => line,
    };
    format!("\"{line}\"")
}

/// What of a definition Windows has no key for: key, name, value; several texts are a multistring.
pub(crate) fn settings(definition: &Definition) -> Vec<(String, &'static str, Vec<String>)> {
    let mut settings: Vec<(String, &'static str, Vec<String>)> = Vec::new();
    let own = "Parameters\\Arrival";
    let mut add = |name: &'static str, value: Option<String>| {
        if let Some(value) = value {
            settings.push((own.to_owned(), name, vec![value]));
        }
    };
    let protocol = match definition.protocol {
        Protocol::Exec => Some("exec"),
        Protocol::Notify => Some("notify"),
        Protocol::Control => None,
    };
    add("Protocol", protocol.map(str::to_owned));
    add("Follow", definition.follow.then(|| "1".to_owned()));
    let linger = definition.linger;
    add("Linger", (!linger.is_zero()).then(|| time_text(linger)));
    let ignored = definition.replug == Replug::Ignore;
    add("Replug", ignored.then(|| "ignore".to_owned()));
    add("Group", definition.group.clone());
    add("Directory", definition.directory.clone());
    let start = definition.start_timeout;
    let stop = definition.stop_timeout;
    let given = start != Definition::START_TIMEOUT;
    add("StartTimeout", given.then(|| time_text(start)));
    let given = stop != Definition::STOP_TIMEOUT;
    add("StopTimeout", given.then(|| time_text(stop)));
    let failure = &definition.failure;
    if *failure != FailurePolicy::default() {
        let restart = if failure.restart { "1" } else { "0" };
        add("FailureRestart", Some(restart.to_owned()));
        add("FailureDelay", Some(time_text(failure.delay)));
        add("FailureLimit", Some(failure.limit.to_string()));
        add("FailureWithin", Some(time_text(failure.within)));
    }
    if let Some(damping) = &definition.damping {
        add("DampingStarts", Some(damping.starts.to_string()));
        add("DampingWithin", Some(time_text(damping.within)));
        add("DampingHold", Some(time_text(damping.hold)));
    }
    if !definition.environment.is_empty() {
        let pairs = definition.environment.iter();
        let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
        settings.push((own.to_owned(), "Environment", pairs.collect()));
    }
    if !definition.provides.is_empty() {
        let provides = definition.provides.iter().map(ToString::to_string);
        settings.push((own.to_owned(), "Provides", provides.collect()));
    }
    for (number, trigger) in definition.triggers.iter().enumerate() {
        let key = format!("{own}\\Triggers\\{number}");
        if let Cause::Pipe { mode, .. } = &trigger.cause
            && *mode != PIPE_MODE
        {
            settings.push((key.clone(), "Mode", vec![format!("{mode:04o}")]));
        }
        let Cause::Device(device) = &trigger.cause else {
            continue;
        };
        if device.ancestors {
            settings.push((key.clone(), "Ancestors", vec!["1".to_owned()]));
        }
        if device.wait == Wait::Appeared {
            settings.push((key, "Wait", vec!["appeared".to_owned()]));
        }
    }
    settings
}

/// The data of an item, as its type is written.
fn data(item: &DataItem) -> String {
    if let Some(texts) = item.texts() {
        let texts: Vec<String> = texts.iter().map(|text| quote(text)).collect();
        return texts.join(", ");
    }
    match item.kind {
        DataType::Level => item.bytes.first().map_or(String::new(), u8::to_string),
        DataType::Binary | DataType::String | DataType::KeywordAny | DataType::KeywordAll => {
            let bytes: Vec<String> = item
                .bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            bytes.join(", ")
        }
    }
}

/// The name of an account, and whether the service has a SID of its own.
pub(crate) fn start_name(user: Option<&str>) -> Option<(String, bool)> {
    let (name, own) = match user? {
        "own" => ("NT AUTHORITY\\LocalService".to_owned(), true),
        "arrival-local" => ("NT AUTHORITY\\LocalService".to_owned(), false),
        "arrival-network" => ("NT AUTHORITY\\NetworkService".to_owned(), false),
        other => (format!(".\\{other}"), false),
    };
    Some((name, own))
}

/// The number of a start type (winsvc.h, SERVICE_*_START).
pub(crate) fn start_number(start: StartType) -> u32 {
    match start {
        StartType::Auto => 2,
        StartType::Demand => 3,
        StartType::Disabled => 4,
    }
}

/// The INF of a service; a program below `folder`, that of its package, is one of the package.
///
/// # Errors
///
/// What of the definition an INF cannot say.
pub fn write(definition: &Definition, folder: Option<&Path>) -> Result<String, String> {
    let program = definition
        .exec
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let in_package = folder.and_then(|folder| {
        let inner = Path::new(program).strip_prefix(folder).ok()?;
        inner.to_str()
    });
    let text = text(definition, in_package)?;
    let wrong = |why: &str| {
        format!(
            "the service '{}' cannot be written as an INF: {why}",
            definition.name
        )
    };
    // What is exported may be for another machine, which watches more.
    let target = Target {
        here: false,
        ..Target::amd64()
    };
    let again = read(Path::new("export.inf"), text.as_bytes(), &target);
    let errors = again.problems.iter().filter(|problem| problem.is_error());
    let errors: Vec<String> = errors.map(|problem| problem.message.clone()).collect();
    if let Some(error) = errors.first() {
        return Err(wrong(error));
    }
    let services = again.plan.map(|plan| plan.services).unwrap_or_default();
    match services.as_slice() {
        [service] if service.definition(program) == *definition => Ok(text),
        _ => Err(wrong("it would be read as another one")),
    }
}

fn text(definition: &Definition, in_package: Option<&str>) -> Result<String, String> {
    let mut all = definition
        .exec
        .iter()
        .chain(definition.environment.values());
    if all.any(|text| text.contains(|c: char| c.is_control() && c != '\t')) {
        return Err(format!(
            "the service '{}' cannot be written as an INF: a text of it has a line break",
            definition.name
        ));
    }
    let name = definition.name.as_str();
    let program = definition
        .exec
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let arguments = definition.exec.get(1..).unwrap_or_default();
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push_str("\r\n");
    };
    line("[Version]".to_owned());
    line("Signature = \"$Windows NT$\"".to_owned());
    line(String::new());
    if let Some(path) = in_package {
        line("[DefaultInstall]".to_owned());
        line("CopyFiles = Service.Files".to_owned());
        line(String::new());
        line("[Service.Files]".to_owned());
        line(quote(path.rsplit('/').next().unwrap_or_default()));
        line(String::new());
        line("[DestinationDirs]".to_owned());
        let folder = path.rsplit_once('/').map(|(folder, _)| folder);
        line(match folder {
            Some(folder) => format!("Service.Files = 13, {}", quote(&folder.replace('/', "\\"))),
            None => "Service.Files = 13".to_owned(),
        });
        line(String::new());
    }
    line("[DefaultInstall.Services]".to_owned());
    line(format!("AddService = {}, , Service", quote(name)));
    line(String::new());
    line("[Service]".to_owned());
    if !definition.description.is_empty() {
        line(format!("Description = {}", quote(&definition.description)));
    }
    line("ServiceType = 0x10".to_owned());
    line(format!("StartType = {}", start_number(definition.start)));
    line("ErrorControl = 1".to_owned());
    let binary = match in_package {
        Some(path) => service_binary(Some(13), &format!("\\{path}"), arguments),
        None => service_binary(None, program, arguments),
    };
    line(format!("ServiceBinary = {binary}"));
    if let Some((account, own)) = start_name(definition.user.as_deref()) {
        line(format!("StartName = {}", quote(&account)));
        if own {
            line("ServiceSidType = 1".to_owned());
        }
    }
    if !definition.depends.is_empty() {
        let names: Vec<_> = definition
            .depends
            .iter()
            .map(|name| quote(name.as_str()))
            .collect();
        line(format!("Dependencies = {}", names.join(", ")));
    }
    if let Some(security) = &definition.security {
        line(format!("Security = {}", quote(security)));
    }
    for number in 0..definition.triggers.len() {
        line(format!("AddTrigger = Service.Trigger.{number}"));
    }
    let settings = settings(definition);
    if !settings.is_empty() {
        line("AddReg = Service.Parameters".to_owned());
        line(String::new());
        line("[Service.Parameters]".to_owned());
        for (key, name, values) in &settings {
            let flags = if matches!(*name, "Environment" | "Provides") {
                "0x10000"
            } else {
                ""
            };
            let values: Vec<_> = values.iter().map(|value| quote(value)).collect();
            line(format!(
                "HKR, {key}, {name}, {flags}, {}",
                values.join(", ")
            ));
        }
    }
    for (number, trigger) in definition.triggers.iter().enumerate() {
        let form = ServiceTrigger::from(trigger);
        line(String::new());
        line(format!("[Service.Trigger.{number}]"));
        line(format!("TriggerType = {}", form.kind.to_raw()));
        line(format!("Action = {}", form.action.to_raw()));
        line(format!("SubType = {}", form.subtype));
        for item in &form.items {
            line(format!("DataItem = {}, {}", item.kind.to_raw(), data(item)));
        }
    }
    Ok(out)
}
