//! Putting a package together.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use arrival_model::class::Classes;
use sha2::{Digest, Sha256};

use super::disk::{failed, make, step, sync_tree, write};
use super::program::{Kind, machine_program};
use super::source::{Opened, Source};
use super::{
    FILES_LIMIT, FileWish, OWN, Package, PackageError, Program, TOTAL_LIMIT, Wish, verify,
};
use crate::definition;

/// Puts a package together in the staging folder; its own folder is where it will be.
pub(super) fn stage(
    packages: &Path,
    staging: &Path,
    source: &Source,
    wish: &Wish,
) -> Result<Package, PackageError> {
    let _ = fs::remove_dir_all(staging);
    make(staging)?;
    let mut copier = Copier {
        staging,
        source,
        left: TOTAL_LIMIT,
        files: BTreeMap::new(),
        programs: BTreeMap::new(),
    };
    let described_by = FileWish {
        source: wish.described_by.clone(),
        target: wish.described_by.clone(),
    };
    if wish.files.len() >= FILES_LIMIT {
        return Err(PackageError::Refused(format!(
            "the package has more than {FILES_LIMIT} files"
        )));
    }
    for file in wish.files.iter().chain([&described_by]) {
        copier.copy(file)?;
    }
    let Copier {
        files, programs, ..
    } = copier;

    let mut hash = Sha256::new();
    hash.update(format!("{wish:?}"));
    for (path, digest) in &files {
        hash.update(path);
        hash.update([0]);
        hash.update(digest);
    }
    let digest = hex(&hash.finalize());
    let folder = packages.join(format!(
        "{}-{}",
        wish.name,
        digest.get(..12).unwrap_or_default()
    ));

    let own = staging.join(OWN);
    make(&own.join("services.d"))?;
    make(&own.join("classes.d"))?;
    let parameters = own.join("parameters.json");
    if let Some(text) = &wish.parameters {
        write(&parameters, text.as_bytes())?;
    }
    for service in &wish.services {
        let name = &service.definition.name;
        let program = match &service.program {
            Program::Package(target) => {
                let (path, kind) = programs.get(&target.to_lowercase()).ok_or_else(|| {
                    PackageError::Refused(format!(
                        "the program of '{name}', {target}, is none of the package's files"
                    ))
                })?;
                kind.check(name.as_str(), path)
                    .map_err(PackageError::Refused)?;
                folder.join(path)
            }
            Program::Machine(path) => machine_program(path).map_err(PackageError::Refused)?,
        };
        let mut definition = service.definition.clone();
        let program = program.to_str().ok_or_else(|| {
            PackageError::Refused(format!("the path {} is not UTF-8", program.display()))
        })?;
        definition.exec.insert(0, program.to_owned());
        if wish.parameters.is_some() {
            let path = folder.join(OWN).join("parameters.json");
            let path = path.display().to_string();
            definition
                .environment
                .insert(definition::PARAMETERS.to_owned(), path);
        }
        let text = format!(
            "# Of the package '{}', from {}; `arrival uninstall {}` removes it.\n\n{}",
            wish.name,
            wish.described_by,
            wish.name,
            definition::write(&definition),
        );
        let path = own.join("services.d").join(format!("{name}.toml"));
        // What the manager would not read must not look installed.
        let parsed = definition::parse(&path, &text, &Classes::built_in());
        if parsed.definition.as_ref() != Some(&definition) {
            let mut errors = parsed.problems.iter().filter(|problem| problem.is_error());
            let why = errors
                .next()
                .map_or("it is read differently", |error| &error.message);
            return Err(PackageError::Refused(format!(
                "the service '{name}' cannot be defined: {why}"
            )));
        }
        write(&path, text.as_bytes())?;
    }
    for class in &wish.classes {
        let text =
            toml::to_string(class).map_err(|error| PackageError::Refused(error.to_string()))?;
        // Several packages may add to one class: their files must not override each other.
        let file = format!("{}.{}.toml", wish.name, class.class.name);
        write(&own.join("classes.d").join(file), text.as_bytes())?;
    }
    let mut digests = BTreeMap::new();
    verify::digests(&own, &own, &mut digests).map_err(failed("read", &own))?;
    let package = Package {
        name: wish.name.clone(),
        provider: wish.provider.clone(),
        version: wish.version.clone(),
        described_by: wish.described_by.clone(),
        folder,
        services: wish
            .services
            .iter()
            .map(|service| service.definition.name.to_string())
            .collect(),
        classes: wish
            .classes
            .iter()
            .map(|class| class.class.name.clone())
            .collect(),
        files,
        own: digests,
    };
    let text =
        toml::to_string(&package).map_err(|error| PackageError::Refused(error.to_string()))?;
    write(&own.join("package.toml"), text.as_bytes())?;
    sync_tree(staging)?;
    Ok(package)
}

struct Copier<'a> {
    staging: &'a Path,
    source: &'a Source,
    left: u64,
    /// The digest of each file, by its place in the package.
    files: BTreeMap<String, String>,
    /// The place and kind of each file, by its folded name in the wish.
    programs: BTreeMap<String, (String, Kind)>,
}

impl Copier<'_> {
    fn copy(&mut self, wish: &FileWish) -> Result<(), PackageError> {
        let folded = wish.target.to_lowercase();
        if self.programs.contains_key(&folded) {
            return Ok(());
        }
        let (mut opened, target) = open(self.source, wish)?;
        // Whoever wishes has looked at this too; here is where it would do harm.
        let wrong = |part: &str| {
            part.is_empty() || part == "." || part == ".." || part.eq_ignore_ascii_case(OWN)
        };
        if target.split('/').any(wrong) || target.contains(['\\', '\0']) {
            return Err(PackageError::Refused(format!(
                "'{target}' cannot be a file of a package"
            )));
        }
        if self
            .files
            .keys()
            .any(|known| known.eq_ignore_ascii_case(&target))
        {
            return Err(PackageError::Refused(format!(
                "two files of the package would be called {target}"
            )));
        }
        let path = self.staging.join(&target);
        if let Some(parent) = path.parent() {
            make(parent)?;
        }
        let kind = opened.kind;
        let mode = if kind.is_program() { 0o755 } else { 0o644 };
        let digest = self.pour(&mut opened, &path, mode)?;
        self.files.insert(target.clone(), digest);
        self.programs.insert(folded, (target, kind));
        Ok(())
    }

    /// Copies the bytes; nothing else of the source goes with them.
    fn pour(
        &mut self,
        opened: &mut Opened,
        path: &Path,
        mode: u32,
    ) -> Result<String, PackageError> {
        let mut file = step()
            .and_then(|()| {
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(mode)
                    .open(path)
            })
            .map_err(failed("make", path))?;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; 128 * 1024];
        loop {
            let read = match opened.file.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed("read", &opened.path)(error)),
            };
            self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
                PackageError::Refused(format!(
                    "the files of the package have more than {TOTAL_LIMIT} bytes"
                ))
            })?;
            let bytes = chunk.get(..read).unwrap_or_default();
            hash.update(bytes);
            step()
                .and_then(|()| file.write_all(bytes))
                .map_err(failed("write", path))?;
        }
        // The mask of whoever installs does not count.
        step()
            .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
            .map_err(failed("change the mode of", path))?;
        Ok(hex(&hash.finalize()))
    }
}

/// The file that is meant, and where it goes: a program that the file calls `x.exe` is `x` on Linux.
fn open(source: &Source, wish: &FileWish) -> Result<(Opened, String), PackageError> {
    let without = |path: &str| {
        let (stem, extension) = path.rsplit_once('.')?;
        let named = !stem.is_empty() && !stem.ends_with('/');
        (named && extension.eq_ignore_ascii_case("exe")).then(|| stem.to_owned())
    };
    if let Some(stem) = without(&wish.source)
        && let Ok(opened) = source.open_file(&stem)
        && opened.kind.is_program()
    {
        let target = without(&wish.target).unwrap_or_else(|| wish.target.clone());
        return Ok((opened, target));
    }
    let opened = source
        .open_file(&wish.source)
        .map_err(PackageError::Refused)?;
    Ok((opened, wish.target.clone()))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks at the program of a service in the folder that a package comes from.
///
/// # Errors
///
/// Why it is none that runs here, and what to do about it.
pub fn look(source: &Source, wish: &Wish, target: &str, service: &str) -> Result<(), String> {
    let wished = wish
        .files
        .iter()
        .find(|file| file.target.eq_ignore_ascii_case(target));
    let Some(wished) = wished else {
        return Err(format!(
            "the program of '{service}', {target}, is none of the package's files"
        ));
    };
    let (opened, path) = open(source, wished).map_err(|error| error.to_string())?;
    opened.kind.check(service, &path)
}
