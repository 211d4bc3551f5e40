//! The copying of a package's files: only their bytes, digested as they pass.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::disk::{self, PLAIN, PROGRAM, make};
use super::program::Kind;
use super::source::{Opened, Source};
use super::{FileWish, OWN, PackageError, TOTAL_LIMIT, Wish, failed, hex};

/// Copies files of a source, one by one.
pub(super) struct Copier<'a> {
    /// Where to.
    pub(super) staging: &'a Path,
    /// Where from.
    pub(super) source: &'a Source,
    /// How many bytes may follow.
    pub(super) left: u64,
    /// The digest of each file, by its place in the package.
    pub(super) files: BTreeMap<String, String>,
    /// The place and kind of each file, by its folded name in the wish.
    pub(super) programs: BTreeMap<String, (String, Kind)>,
}

impl Copier<'_> {
    /// Copies a file, unless it has been already.
    pub(super) fn copy(&mut self, wish: &FileWish) -> Result<(), PackageError> {
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
        let mode = if kind.is_program() { PROGRAM } else { PLAIN };
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
        let file = disk::create(path)?;
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
            disk::append(&file, path, bytes)?;
        }
        disk::set_mode(path, mode)?;
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

/// Looks at the program of a service in the folder that a package comes from.
///
/// # Errors
///
/// Why it is none that runs here, and what to do about it.
pub fn look(source: &Source, wish: &Wish, target: &str, service: &str) -> Result<(), String> {
    let mut files = wish.files.iter();
    let Some(file) = files.find(|file| file.target.eq_ignore_ascii_case(target)) else {
        return Err(format!(
            "the program of '{service}', {target}, is none of the package's files"
        ));
    };
    let (opened, path) = open(source, file).map_err(|error| error.to_string())?;
    opened.kind.check(service, &path)
}
