//! What becomes of installed packages is found, and an install puts it right.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod scratch;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use arrival_model::class::{ClassFile, ClassHeader};
use arrival_model::definition::Definition;
use arrival_model::trigger::FoldedId;
use arrival_store::package::source::Source;
use arrival_store::package::{
    FileWish, Installed, PackageError, Program, ServiceWish, What, Wish, install, names, verify,
};
use arrival_store::store::devices_with;
use arrival_store::{Layout, Store};
use scratch::Scratch;

const DEFINITION: &str = ".arrival/services.d/blink.toml";
const CLASS: &str = ".arrival/classes.d/blink.blinker.toml";
const DESCRIPTION: &str = ".arrival/package.toml";

/// A root with a package.
struct World {
    root: Scratch,
    source: Scratch,
    folder: PathBuf,
}

impl World {
    fn new() -> World {
        let (root, source) = (Scratch::new(), Scratch::new());
        let mut world = World {
            root,
            source,
            folder: PathBuf::new(),
        };
        fs::set_permissions(world.source.path(), Permissions::from_mode(0o755)).unwrap();
        for (name, text) in [
            ("blink.inf", "; described elsewhere\n"),
            ("blinkd", "#!/bin/sh\nread line\n"),
            ("notes.txt", ""),
        ] {
            fs::write(world.source.path().join(name), text).unwrap();
        }
        world.layout().prepare().unwrap();
        world.folder = world.install().package.folder;
        assert_eq!(world.found(), []);
        world
    }

    fn layout(&self) -> Layout {
        Layout::at(self.root.path()).unwrap()
    }

    fn install(&self) -> Installed {
        let file = |source: &str, target: &str| FileWish {
            source: source.to_owned(),
            target: target.to_owned(),
        };
        let definition = Definition::new("blink".parse().unwrap(), vec!["--fast".to_owned()]);
        let wish = Wish {
            name: "blink".to_owned(),
            described_by: "blink.inf".to_owned(),
            provider: "ACME".to_owned(),
            version: "1.0".to_owned(),
            files: vec![
                file("blinkd", "bin/blinkd"),
                file("notes.txt", "doc/en/notes.txt"),
            ],
            services: vec![ServiceWish {
                definition,
                program: Program::Package("bin/blinkd".to_owned()),
            }],
            classes: vec![ClassFile {
                class: ClassHeader {
                    name: "blinker".to_owned(),
                    guid: Some("573e8c73-0cb4-4471-a1bf-fab26c31d384".parse().unwrap()),
                    aliases: Vec::new(),
                    description: String::new(),
                    ce_prefix: None,
                },
                when: devices_with(&[FoldedId::new("USB\\VID_0547")]),
            }],
            parameters: None,
        };
        let source = Source::open(self.source.path(), false).unwrap();
        install(&self.layout(), &source, &wish).unwrap()
    }

    /// What differs.
    fn found(&self) -> Vec<(String, What)> {
        let found = verify(&self.layout(), "blink").unwrap();
        assert_eq!(found.package.name, "blink");
        let problems = found.problems.into_iter();
        problems
            .map(|problem| (problem.path, problem.what))
            .collect()
    }
}

/// A package that was damaged so: what is found, and that another install puts it right.
#[track_caller]
fn damaged(damage: impl FnOnce(&Path), expected: &[(&str, What)]) {
    let world = World::new();
    damage(&world.folder);
    let expected: Vec<_> = expected
        .iter()
        .map(|(path, what)| ((*path).to_owned(), *what))
        .collect();
    assert_eq!(world.found(), expected);
    assert_eq!(names(&world.layout()), ["blink"]);
    let again = world.install().package.folder;
    assert_ne!(again, world.folder);
    assert_eq!(world.found(), []);
    let mut store = Store::open(world.layout());
    let loaded = store.load();
    let program = again.join("bin/blinkd").display().to_string();
    assert_eq!(
        loaded.definitions[0].definition.exec,
        [program.as_str(), "--fast"]
    );
    // And what is whole stays where it is.
    assert_eq!(world.install().package.folder, again);
}

fn append(path: &Path, text: &str) {
    let old = fs::read_to_string(path).unwrap();
    fs::write(path, old + text).unwrap();
}

fn replace(path: &Path, from: &str, to: &str) {
    let old = fs::read_to_string(path).unwrap();
    assert!(old.contains(from), "{old}");
    fs::write(path, old.replace(from, to)).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_is_missing_changed_or_added_is_found() {
    use What::{Added, Changed, Missing};
    for path in [
        "bin/blinkd",
        "doc/en/notes.txt",
        "blink.inf",
        DEFINITION,
        CLASS,
        DESCRIPTION,
    ] {
        damaged(
            |folder| fs::remove_file(folder.join(path)).unwrap(),
            &[(path, Missing)],
        );
        damaged(|folder| append(&folder.join(path), "#"), &[(path, Changed)]);
        damaged(|folder| mode(&folder.join(path), 0o664), &[(path, Changed)]);
        damaged(
            |folder| mode(&folder.join(path), 0o4755),
            &[(path, Changed)],
        );
        damaged(
            |folder| {
                // The same bytes, but elsewhere.
                let elsewhere = folder.with_extension("elsewhere");
                fs::rename(folder.join(path), &elsewhere).unwrap();
                symlink(&elsewhere, folder.join(path)).unwrap();
            },
            &[(path, Changed)],
        );
        damaged(
            |folder| {
                fs::remove_file(folder.join(path)).unwrap();
                let made = Command::new("mkfifo").arg(folder.join(path)).status();
                assert!(made.unwrap().success());
            },
            &[(path, Changed)],
        );
    }
    // A file of the package is no program for its mode alone, nor a program no file.
    damaged(
        |folder| mode(&folder.join("bin/blinkd"), 0o644),
        &[("bin/blinkd", Changed)],
    );
    damaged(
        |folder| mode(&folder.join("blink.inf"), 0o755),
        &[("blink.inf", Changed)],
    );
    damaged(
        |folder| {
            fs::write(folder.join("bin/x"), "").unwrap();
            fs::write(folder.join(".arrival/services.d/x.toml"), "").unwrap();
            fs::create_dir_all(folder.join("doc/de/x")).unwrap();
            fs::remove_dir_all(folder.join("doc/en")).unwrap();
            symlink("de", folder.join("doc/en")).unwrap();
        },
        &[
            (".arrival/services.d/x.toml", Added),
            ("bin/x", Added),
            ("doc/de", Added),
            ("doc/en", Added),
            ("doc/en/notes.txt", Missing),
        ],
    );
    damaged(
        |folder| {
            mode(folder, 0o777);
            mode(&folder.join("doc/en"), 0o700);
        },
        &[(".", Changed), ("doc/en", Changed)],
    );
}

#[test]
fn what_describes_a_package_is_covered_by_its_last_line() {
    use What::Changed;
    damaged(
        |folder| {
            replace(
                &folder.join(DESCRIPTION),
                "version = \"1.0\"",
                "version = \"1.1\"",
            );
        },
        &[(DESCRIPTION, Changed)],
    );
    damaged(
        |folder| replace(&folder.join(DESCRIPTION), "# sha256", "# sha255"),
        &[(DESCRIPTION, Changed)],
    );
    damaged(
        |folder| fs::write(folder.join(DESCRIPTION), [0xff]).unwrap(),
        &[(DESCRIPTION, Changed)],
    );
}

#[test]
fn a_package_whose_folder_is_gone_is_named_and_can_be_installed_again() {
    let world = World::new();
    fs::remove_dir_all(&world.folder).unwrap();
    assert_eq!(names(&world.layout()), ["blink"]);
    assert_eq!(world.found(), [(".".to_owned(), What::Missing)]);
    world.install();
    assert_eq!(world.found(), []);
    for name in ["blin", "", ".", "..", "blink/", "../active/blink"] {
        assert!(
            matches!(
                verify(&world.layout(), name),
                Err(PackageError::NoSuchPackage(_))
            ),
            "{name}"
        );
    }
}

#[test]
fn a_package_of_an_older_manager_is_read_without_the_digests_of_its_files() {
    let world = World::new();
    let path = world.folder.join(DESCRIPTION);
    let text = fs::read_to_string(&path).unwrap();
    let (old, own) = text.split_once("[own]").unwrap();
    assert!(own.contains("services.d/blink.toml") && own.contains("classes.d/blink.blinker.toml"));
    fs::write(&path, old).unwrap();
    assert_eq!(world.found(), []);
    append(&world.folder.join("bin/blinkd"), "#");
    append(&world.folder.join(DEFINITION), "#");
    fs::remove_file(world.folder.join(CLASS)).unwrap();
    assert_eq!(
        world.found(),
        [
            (CLASS.to_owned(), What::Missing),
            ("bin/blinkd".to_owned(), What::Changed)
        ]
    );
}
