//! From an INF file to what its package needs of this machine.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use arrival_inf::plan::{self, Data, Place as Location, Plan, Service, Value};
use arrival_inf::{Target, read_package};
use arrival_model::class::{ClassFile, ClassHeader, Classes, is_class_name};
use arrival_model::definition::Definition;
use arrival_store::lock::LockError;
use arrival_store::package::source::Source;
use arrival_store::package::{self, FileWish, PackageError, Program, ServiceWish, Wish};
use arrival_store::store::{Store, devices_with, name_of};
use arrival_store::{Diagnostic, Layout};
use serde_json::{Map, json};

use super::Place;
use crate::exit::{Exit, Failure};

/// The most bytes of an INF.
pub(crate) const INF_LIMIT: u64 = 16 * 1024 * 1024;

pub(crate) fn refused(error: PackageError) -> Failure {
    let exit = match &error {
        PackageError::Refused(_) => Exit::BadInput,
        PackageError::NoSuchPackage(_) => Exit::NoSuchObject,
        PackageError::Locked(LockError::Io { cause, .. }) | PackageError::Io { cause, .. }
            if cause.kind() == io::ErrorKind::PermissionDenied =>
        {
            Exit::Denied
        }
        PackageError::Locked(_) | PackageError::Io { .. } => Exit::Failed,
    };
    Failure::new(exit, error.to_string())
}

pub(crate) fn layout(place: &Place) -> Result<Layout, Failure> {
    Layout::new(place.root.dir())
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot find the root: {error}")))
}

/// A file that was read.
pub(crate) struct Ready {
    pub(crate) source: Source,
    pub(crate) plan: Option<Plan>,
    /// What to install; none if there is an error.
    pub(crate) wish: Option<Wish>,
    pub(crate) problems: Vec<Diagnostic>,
}

pub(crate) fn ready(
    layout: &Layout,
    file: &Path,
    trust: bool,
    target: &Target,
) -> Result<Ready, Failure> {
    let bad = |message: String| Failure::new(Exit::BadInput, message);
    let (folder, name) = split(file)?;
    let source = Source::open(&folder, trust).map_err(bad)?;
    let bytes = text_of(&source, &name).map_err(bad)?;
    let mut open = |name: &str| text_of(&source, name).ok();
    let read = read_package(file, &bytes, target, &mut open);
    let (plan, mut problems) = (read.plan, read.problems);
    let wish = plan
        .as_ref()
        .map(|plan| wish(layout, &name, plan, file, &mut problems))
        .transpose()?;
    let wish = wish.filter(|_| !problems.iter().any(Diagnostic::is_error));
    Ok(Ready {
        source,
        plan,
        wish,
        problems,
    })
}

/// The folder and the name of the file.
pub(crate) fn split(file: &Path) -> Result<(PathBuf, String), Failure> {
    let bad = || {
        Failure::new(
            Exit::BadInput,
            format!("'{}' names no INF file", file.display()),
        )
    };
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(bad)?;
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    Ok((folder, name.to_owned()))
}

pub(crate) fn text_of(source: &Source, name: &str) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let opened = source.open_file(name)?;
    let mut bytes = Vec::new();
    let shown = opened.path.display();
    let mut file = opened.file.take(INF_LIMIT + 1);
    file.read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    if bytes.len() as u64 > INF_LIMIT {
        return Err(format!("{shown} has more than {INF_LIMIT} bytes"));
    }
    Ok(bytes)
}

/// What the plan means for this root.
fn wish(
    layout: &Layout,
    name: &str,
    plan: &Plan,
    file: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Result<Wish, Failure> {
    let mut store = Store::open(layout.clone());
    let loaded = store.load();
    let package = package::package_name(name).map_err(refused)?;
    let own = layout.active().join(&package);
    for service in &plan.services {
        let Some(placed) = store
            .get(&service.name)
            .filter(|placed| !placed.path.starts_with(&own))
        else {
            continue;
        };
        let path = placed.path.display();
        let overrides = layout
            .services()
            .first()
            .is_some_and(|first| placed.path.starts_with(first));
        let diagnostic = if overrides {
            let message = format!("the service '{}' is overridden by {path}", service.name);
            Diagnostic::file(file, "overridden", message).warning()
        } else {
            let message = format!(
                "the service '{}' is defined by {path} already",
                service.name
            );
            Diagnostic::file(file, "duplicate-service", message)
                .help("uninstall that package first, or rename one of the two")
        };
        problems.push(diagnostic);
    }
    not_ours(&store, &own, plan, file, problems);
    let classes = classes(plan, &loaded.classes);
    undefined(plan, &classes, &loaded.classes, file, problems);
    let services = plan.services.iter().map(|service| {
        // What an installed version of this package says of the service.
        let placed = store.get(&service.name);
        let old = placed.filter(|placed| placed.path.starts_with(&own));
        service_wish(service, old.map(|placed| &*placed.definition))
    });
    Ok(Wish {
        name: package,
        described_by: name.to_owned(),
        provider: plan.provider.clone(),
        version: plan.version.clone(),
        files: plan
            .files
            .iter()
            .map(|file| FileWish {
                source: file.source.clone(),
                target: file.target.clone(),
            })
            .collect(),
        services: services.collect(),
        classes,
        parameters: parameters(plan),
    })
}

/// The classes that the package's own devices make; those that everybody knows stay as they are.
pub(crate) fn classes(plan: &Plan, known: &Classes) -> Vec<ClassFile> {
    let built_in = Classes::built_in();
    let new = plan
        .interfaces
        .iter()
        .filter(|interface| built_in.get(interface.class).is_none() && !interface.ids.is_empty());
    new.map(|interface| ClassFile {
        class: ClassHeader {
            name: class_name(interface, known),
            guid: Some(interface.class),
            aliases: interface.names.clone(),
            description: "devices of an installed package".to_owned(),
            ce_prefix: None,
        },
        when: devices_with(&interface.ids),
    })
    .collect()
}

/// `GUID_DEVINTERFACE_OSRFX2` is `osrfx2`, unless another class is called so.
fn class_name(interface: &plan::Interface, known: &Classes) -> String {
    if let Some(known) = known
        .get(interface.class)
        .filter(|known| known.name != name_of(interface.class))
    {
        return known.name.clone();
    }
    let short = interface.names.iter().map(|name| {
        let name = name.to_ascii_lowercase();
        let name = name.strip_prefix("guid_").unwrap_or(&name);
        let name = name.strip_prefix("devinterface_").unwrap_or(name);
        name.replace('_', "-")
    });
    let mut free = short.filter(|name| is_class_name(name) && known.resolve(name).is_none());
    free.next().unwrap_or_else(|| name_of(interface.class))
}

/// Says which triggers wait for a class that nobody defines.
fn undefined(
    plan: &Plan,
    classes: &[ClassFile],
    known: &Classes,
    file: &Path,
    problems: &mut Vec<Diagnostic>,
) {
    let triggers = plan.services.iter().flat_map(|service| {
        let devices = service
            .triggers
            .iter()
            .filter_map(|trigger| trigger.device());
        devices.map(move |trigger| (service, trigger))
    });
    for (service, trigger) in triggers {
        let own = plan.declared.contains(&trigger.class)
            || classes
                .iter()
                .any(|class| class.class.guid == Some(trigger.class));
        if own
            || known
                .get(trigger.class)
                .is_some_and(|known| known.name != name_of(trigger.class))
        {
            continue;
        }
        let class = trigger.class;
        let diagnostic = if trigger.ids.is_empty() {
            let message = format!(
                "nobody defines the class {class}, so that nothing starts '{}'",
                service.name
            );
            Diagnostic::file(file, "undefined-class", message)
                .help("add a DataItem with a hardware id, or AddInterface to the device's section")
        } else {
            let message = format!("nobody defines the class {class}");
            Diagnostic::file(file, "undefined-class", message)
                .help("it is defined for devices that have one of the trigger's ids")
        };
        problems.push(diagnostic.warning());
    }
}

/// Says which services of others the file would remove: they stay. Those of an older version of the package
/// are gone with it.
fn not_ours(store: &Store, own: &Path, plan: &Plan, file: &Path, problems: &mut Vec<Diagnostic>) {
    for removed in &plan.removed {
        let Some(placed) = store
            .get(&removed.name)
            .filter(|placed| !placed.path.starts_with(own))
        else {
            continue;
        };
        let message = format!(
            "DelService of '{}' changes nothing: {} defines it, which is not this package's",
            removed.name,
            placed.path.display()
        );
        problems.push(Diagnostic::file(file, "not-ours", message).warning());
    }
}

fn service_wish(service: &Service, old: Option<&Definition>) -> ServiceWish {
    // The store puts the program before the arguments once it knows its folder.
    let mut definition = service.definition("");
    definition.exec.remove(0);
    if let Some(old) = old {
        definition = plan::keep(old, definition, service.flags);
    }
    ServiceWish {
        definition,
        program: match &service.program {
            Location::Package(path) => Program::Package(path.clone()),
            Location::Machine(path) => Program::Machine(PathBuf::from(path)),
        },
    }
}

/// The values of a plan's registry, for the programs of the package.
pub(crate) fn parameters(plan: &Plan) -> Option<String> {
    let services = plan
        .services
        .iter()
        .filter(|service| !service.parameters.is_empty());
    let services: Map<String, serde_json::Value> = services
        .map(|service| (service.name.to_string(), tree(&service.parameters)))
        .collect();
    let devices = plan.parameters.iter().map(|own| {
        let ids: Vec<&str> = own.ids.iter().map(|id| id.as_str()).collect();
        json!({ "ids": ids, "values": tree(&own.values) })
    });
    let devices: Vec<serde_json::Value> = devices.collect();
    if services.is_empty() && devices.is_empty() {
        return None;
    }
    let all = json!({ "services": services, "devices": devices });
    serde_json::to_string_pretty(&all).ok()
}

/// Values by key and name.
fn tree(values: &[Value]) -> serde_json::Value {
    let mut keys: Map<String, serde_json::Value> = Map::new();
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    for value in values {
        let data = match &value.data {
            Data::Text(text) | Data::Expand(text) => json!(text),
            Data::Texts(texts) => json!(texts),
            Data::Number(number, _) => json!(number),
            Data::Bytes(bytes, _) => json!({ "bytes": bytes }),
        };
        let key = written.entry(value.key.to_ascii_lowercase());
        let key = key.or_insert_with(|| value.key.clone()).clone();
        let names = keys.entry(key).or_insert_with(|| json!({}));
        if let Some(names) = names.as_object_mut() {
            names.insert(value.name.clone(), data);
        }
    }
    serde_json::Value::Object(keys)
}
