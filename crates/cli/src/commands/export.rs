//! `export`: a service as a definition, an INF or a registry file.

use std::io::Write;
use std::path::{Path, PathBuf};

use arrival_inf::{Target, plan, read, reg, write};
use arrival_model::class::Classes;
use arrival_model::definition::{Definition, ServiceName};
use arrival_store::definition;
use arrival_store::package;
use arrival_store::store::Store;

use super::check::write_problems;
use super::wish::{INF_LIMIT, layout};
use super::{Outcome, Place};
use crate::args::Export;
use crate::exit::{Exit, Failure};
use crate::screen::Screen;

/// `arrival export NAME|FILE --toml|--inf|--reg`.
pub(super) fn export(place: &Place, screen: &mut Screen<'_>, options: &Export) -> Outcome {
    let named = Path::new(&options.name);
    let file = options.name.contains('/')
        || ["toml", "inf", "inx", "reg"].iter().any(|known| {
            let extension = named.extension();
            extension.is_some_and(|own| own.eq_ignore_ascii_case(known)) && named.exists()
        });
    let (definition, folder) = if file {
        (from_file(screen, named)?, None)
    } else {
        installed(place, &options.name)?
    };
    let refused = |message: String| Failure::new(Exit::Failed, message);
    let text = if options.form.inf {
        write(&definition, folder.as_deref()).map_err(refused)?
    } else if options.form.reg {
        reg::write(&definition).map_err(refused)?
    } else {
        definition::write(&definition)
    };
    screen.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// A service of this root, and the folder of the package that it comes from.
fn installed(place: &Place, name: &str) -> Result<(Definition, Option<PathBuf>), Failure> {
    let layout = layout(place)?;
    let none = || {
        let message = format!("there is no service '{name}': 'arrival list' shows all");
        Failure::new(Exit::NoSuchObject, message)
    };
    let name: ServiceName = name.parse().map_err(|_| none())?;
    let packages = package::list(&layout);
    let mut store = Store::open(layout);
    store.load();
    let placed = store.get(&name).ok_or_else(none)?;
    let folder = packages
        .into_iter()
        .map(|package| package.folder)
        .find(|folder| {
            let program = placed.definition.exec.first();
            program.is_some_and(|program| Path::new(program).starts_with(folder))
        });
    Ok(((*placed.definition).clone(), folder))
}

/// The only service that a file describes.
fn from_file(screen: &mut Screen<'_>, path: &Path) -> Result<Definition, Failure> {
    use std::io::Read;
    let bad = |message: String| Failure::new(Exit::BadInput, message);
    let shown = path.display();
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(INF_LIMIT).read_to_end(&mut bytes))
        .map_err(|error| bad(format!("cannot read {shown}: {error}")))?;
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let (mut services, problems) = match extension.to_ascii_lowercase().as_str() {
        "reg" => {
            let read = reg::read(path, &bytes);
            (read.services, read.problems)
        }
        "inf" | "inx" => {
            let read = read(path, &bytes, &Target::of(std::env::consts::ARCH));
            let services = read.plan.map(|plan| plan.services).unwrap_or_default();
            let services = services.iter().map(|service| match &service.program {
                plan::Place::Machine(path) => Ok(service.definition(path)),
                plan::Place::Package(path) => Err(bad(format!(
                    "the program of '{}' is the package's {path}, which lies nowhere before it is installed: \
                     'arrival install {shown}', then 'arrival export {}'",
                    service.name, service.name
                ))),
            });
            (services.collect::<Result<Vec<_>, _>>()?, read.problems)
        }
        _ => {
            let text = String::from_utf8_lossy(&bytes);
            let parsed = definition::parse(path, &text, &Classes::built_in());
            (parsed.definition.into_iter().collect(), parsed.problems)
        }
    };
    let errors = problems.iter().filter(|problem| problem.is_error());
    let errors: Vec<_> = errors.cloned().collect();
    if !errors.is_empty() {
        write_problems(screen, &errors)?;
    }
    match services.pop() {
        Some(only) if services.is_empty() => Ok(only),
        Some(_) => Err(bad(format!("{shown} describes several services"))),
        None => Err(bad(format!("{shown} describes no service"))),
    }
}
