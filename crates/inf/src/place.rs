//! Where files go: directory ids and paths.
//!
//! | directory id | below the package's folder |
//! |---|---|
//! | 13, the package's own | itself |
//! | -1 and 65535 (absolute), 24 (root of the system disk), 30 (root of the boot disk) | refused |
//! | any other, such as 10 (Windows), 11 (System32), 12 (drivers) | `d<id>` |
//!
//! Nothing of a package is ever put outside its folder. A path has parts between `\` or `/`; none of them may
//! be empty, `.`, `..`, a drive, or hold a control character.
//!
//! Source: Microsoft, "Using Dirids".

use crate::plan::Place;
use crate::strings::{Part, Value};

/// The folder of a package that is kept for the manager's own files.
pub(crate) const RESERVED: &str = ".arrival";

/// Why a path is refused, and what to do about it.
pub(crate) type Refusal = (String, Option<String>);

/// Where the files of a directory id go, below the package's folder.
pub(crate) fn directory(id: i64) -> Result<String, Refusal> {
    match id {
        13 => Ok(String::new()),
        -1 | 24 | 30 | 65535 => Err((
            format!("the directory id {id} is a place outside of the package"),
            Some("use 13, the package's own folder".to_owned()),
        )),
        0.. => Ok(format!("d{id}")),
        _ => Err((
            format!("there is no directory id {id}"),
            Some("use 13, the package's own folder".to_owned()),
        )),
    }
}

/// A relative path, with `/` between its parts.
pub(crate) fn relative(text: &str) -> Result<String, Refusal> {
    let mut parts = Vec::new();
    let absolute = text.starts_with(['\\', '/']);
    for part in text.split(['\\', '/']) {
        let bad = if absolute || part.contains(':') {
            "it is absolute"
        } else if part == ".." {
            "it leaves its folder"
        } else if part.is_empty() || part == "." {
            "a part of it is empty"
        } else if part.chars().any(|c| c.is_control()) {
            "it has a control character"
        } else if part.eq_ignore_ascii_case(RESERVED) {
            "its name is kept for the manager"
        } else if part.len() > 255 {
            "a part of it is longer than 255 bytes"
        } else {
            parts.push(part);
            continue;
        };
        let remedy = "name a file below the INF's own folder".to_owned();
        return Err((
            format!("'{text}' cannot name a file of the package: {bad}"),
            Some(remedy),
        ));
    }
    Ok(parts.join("/"))
}

/// Joins two paths, either of which may be empty.
pub(crate) fn join(folder: &str, rest: &str) -> String {
    match (folder, rest) {
        ("", rest) => rest.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, rest) => format!("{folder}/{rest}"),
    }
}

/// The place that a value names, such as `%13%\x.exe` or `/usr/bin/x`.
pub(crate) fn of(value: &Value) -> Result<Place, Refusal> {
    match value.parts.as_slice() {
        [Part::Dirid(id), Part::Text(rest)] => {
            let folder = directory(*id)?;
            let rest = rest.strip_prefix(['\\', '/']).ok_or_else(|| {
                let message = format!("a backslash is missing behind %{id}%");
                (message, Some(format!("write %{id}%\\{rest}")))
            })?;
            Ok(Place::Package(join(&folder, &relative(rest)?)))
        }
        [Part::Text(text)] if text.starts_with('/') => {
            let inner = text.strip_prefix('/').unwrap_or_default();
            relative(inner)?;
            Ok(Place::Machine(text.clone()))
        }
        _ => Err((
            format!("'{}' is no place of a program", value.text()),
            Some(
                "write %13%\\NAME for a file of the package, or an absolute path of this machine"
                    .to_owned(),
            ),
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_folder() {
        assert_eq!(relative(r"a\b.exe").unwrap(), "a/b.exe");
        for bad in [
            "",
            "..",
            r"a\..\b",
            r"\a",
            "/a",
            r"C:\a",
            "a:b",
            "a//b",
            r"a\",
            ".",
            "a\nb",
            ".Arrival/x",
        ] {
            assert!(relative(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_places_below_the_package_have_a_directory() {
        assert_eq!(directory(13).unwrap(), "");
        assert_eq!(directory(11).unwrap(), "d11");
        for bad in [-1, -2, 24, 30, 65535] {
            assert!(directory(bad).is_err(), "{bad}");
        }
    }
}
