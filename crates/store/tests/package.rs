//! Packages: installed whole or not at all, and what strangers try.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod scratch;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrival_model::class::Classes;
use arrival_model::definition::{Definition, Protocol};
use arrival_store::package::source::{FILE_LIMIT, Source};
use arrival_store::package::{
    FileWish, Installed, PackageError, Program, ServiceWish, Wish, install, list, package_name,
    plan, tidy, uninstall,
};
use arrival_store::{Layout, Store};
use scratch::Scratch;

/// Runs until its input ends.
const SCRIPT: &str = "#!/bin/sh\nread line\n";

/// A root, and a folder with a package for it.
///
/// One at a time: a program that another test starts would hold our lock for the moment between fork and exec.
struct World {
    root: Scratch,
    source: Scratch,
    _alone: MutexGuard<'static, ()>,
}

impl World {
    fn new() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let world = World {
            root: Scratch::new(),
            source: Scratch::new(),
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
        };
        world.layout().prepare().unwrap();
        fs::set_permissions(world.source.path(), Permissions::from_mode(0o755)).unwrap();
        world.put("blink.inf", "; described elsewhere\n");
        world.put("blinkd", SCRIPT);
        world
    }

    fn layout(&self) -> Layout {
        Layout::at(self.root.path()).unwrap()
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.source.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn install(&self, wish: &Wish) -> Result<Installed, PackageError> {
        let source = Source::open(self.source.path(), false).map_err(PackageError::Refused)?;
        install(&self.layout(), &source, wish)
    }

    /// Installs, which must be refused for this reason and leave nothing behind.
    fn refuses(&self, wish: &Wish, reason: &str) {
        let before = self.everything();
        let error = self.install(wish).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(self.everything(), before, "{reason}");
    }

    /// Every file below the places of packages.
    fn everything(&self) -> Vec<PathBuf> {
        fn add(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                found.push(entry.path());
                if entry.file_type().unwrap().is_dir() {
                    add(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        add(&self.layout().packages(), &mut found);
        add(&self.layout().active(), &mut found);
        found.sort();
        found
    }
}

fn file(source: &str, target: &str) -> FileWish {
    FileWish {
        source: source.to_owned(),
        target: target.to_owned(),
    }
}

/// A package with one program.
fn wish() -> Wish {
    let mut definition = Definition::new("blink".parse().unwrap(), vec!["--fast".to_owned()]);
    definition.protocol = Protocol::Control;
    definition.follow = false;
    Wish {
        name: "blink".to_owned(),
        described_by: "blink.inf".to_owned(),
        provider: "ACME".to_owned(),
        version: "1.0".to_owned(),
        files: vec![file("blinkd", "bin/blinkd")],
        services: vec![ServiceWish {
            definition,
            program: Program::Package("bin/blinkd".to_owned()),
        }],
        classes: Vec::new(),
        parameters: None,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_package_is_there_whole_and_its_service_is_defined() {
    let world = World::new();
    let program = world.put("blinkd", SCRIPT);
    // Neither the mask of whoever installs nor the bits of the source count.
    fs::set_permissions(&program, Permissions::from_mode(0o4700)).unwrap();
    let installed = world.install(&wish()).unwrap();
    assert_eq!(installed.before, None);
    let folder = &installed.package.folder;
    assert!(folder.starts_with(world.layout().packages()));
    assert_eq!(mode(&folder.join("bin/blinkd")), 0o755);
    assert_eq!(mode(&folder.join("blink.inf")), 0o644);
    assert_eq!(mode(&folder.join("bin")), 0o755);
    assert_eq!(
        fs::read_to_string(folder.join("bin/blinkd")).unwrap(),
        SCRIPT
    );
    assert_eq!(
        list(&world.layout()),
        std::slice::from_ref(&installed.package)
    );

    let mut store = Store::open(world.layout());
    let loaded = store.load();
    assert_eq!(loaded.problems, []);
    let definition = &loaded.definitions[0].definition;
    assert_eq!(definition.name.as_str(), "blink");
    let program = folder.join("bin/blinkd");
    assert_eq!(definition.exec, [program.to_str().unwrap(), "--fast"]);
    assert_eq!(
        (definition.protocol, definition.follow),
        (Protocol::Control, false)
    );
}

#[test]
fn installing_the_same_again_changes_nothing() {
    let world = World::new();
    let first = world.install(&wish()).unwrap();
    let before = world.everything();
    let again = world.install(&wish()).unwrap();
    assert_eq!(again.before.as_ref(), Some(&first.package.folder));
    assert_eq!(again.package, first.package);
    assert_eq!(world.everything(), before);
    let source = Source::open(world.source.path(), false).unwrap();
    assert_eq!(plan(&world.layout(), &source, &wish()).unwrap(), again);
    assert_eq!(world.everything(), before);
}

#[test]
fn an_upgrade_leaves_the_old_version_to_what_runs_from_it() {
    let world = World::new();
    let old = world.install(&wish()).unwrap().package.folder;
    let mut running = Command::new(old.join("bin/blinkd"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    world.put("blinkd", format!("{SCRIPT}# better\n"));
    let new = world.install(&wish()).unwrap();
    assert_eq!(new.before.as_ref(), Some(&old));
    assert_ne!(new.package.folder, old);
    tidy(&world.layout()).unwrap();
    assert!(old.is_dir());
    drop(running.stdin.take());
    running.wait().unwrap();
    tidy(&world.layout()).unwrap();
    assert!(!old.exists());
    assert!(new.package.folder.is_dir());
    assert_eq!(list(&world.layout()), [new.package]);
}

#[test]
fn a_program_that_runs_keeps_its_folder_until_it_has_ended() {
    let world = World::new();
    fs::copy("/bin/sleep", world.source.path().join("blinkd")).unwrap();
    let folder = world.install(&wish()).unwrap().package.folder;
    let mut running = Command::new(folder.join("bin/blinkd"))
        .arg("1000")
        .spawn()
        .unwrap();
    assert_eq!(
        uninstall(&world.layout(), "BLINK").unwrap().services,
        ["blink"]
    );
    assert_eq!(list(&world.layout()), []);
    tidy(&world.layout()).unwrap();
    assert!(folder.is_dir());
    running.kill().unwrap();
    running.wait().unwrap();
    tidy(&world.layout()).unwrap();
    assert_eq!(world.everything(), Vec::<PathBuf>::new());
    assert!(matches!(
        uninstall(&world.layout(), "blink"),
        Err(PackageError::NoSuchPackage(_))
    ));
}

#[test]
fn a_program_called_exe_is_the_one_built_for_linux() {
    let world = World::new();
    let mut wish = wish();
    wish.files = vec![file("BLINKD.EXE", "bin/blinkd.exe")];
    wish.services[0].program = Program::Package("BIN/blinkd.exe".to_owned());
    // Both lie there: the one of Windows is left alone.
    world.put("blinkd.exe", "MZ\u{90}");
    let installed = world.install(&wish).unwrap();
    let files: Vec<&String> = installed.package.files.keys().collect();
    assert_eq!(files, ["bin/blinkd", "blink.inf"]);

    fs::remove_file(world.source.path().join("blinkd")).unwrap();
    world.refuses(
        &wish,
        "the program of 'blink', bin/blinkd.exe, is one of Windows: put the program built for Linux beside it, \
         called 'blinkd'",
    );
    // An ELF file may be called so too.
    fs::copy("/bin/sleep", world.source.path().join("blinkd.exe")).unwrap();
    let installed = world.install(&wish).unwrap();
    assert!(installed.package.files.contains_key("bin/blinkd.exe"));
}

#[test]
fn what_cannot_run_here_is_no_program() {
    let world = World::new();
    world.put("blinkd", "hello");
    world.refuses(&wish(), "neither an ELF file nor a script");
    let mut elf = fs::read("/bin/sleep").unwrap();
    elf[18..20].copy_from_slice(&[22, 0]);
    world.put("blinkd", elf);
    world.refuses(&wish(), "is for s390x; this machine is");
    let mut wish = wish();
    wish.files.clear();
    world.refuses(
        &wish,
        "the program of 'blink', bin/blinkd, is none of the package's files",
    );
}

#[test]
fn what_is_no_regular_file_beneath_the_folder_is_refused() {
    let world = World::new();
    let here = world.source.path();
    let mut wish = wish();
    let mut with = |source: &str| {
        wish.files = vec![file("blinkd", "bin/blinkd"), file(source, "x")];
        wish.clone()
    };
    symlink("/etc/hostname", here.join("link")).unwrap();
    world.refuses(&with("link"), "is a link, and links are not followed");
    symlink("/etc", here.join("etc")).unwrap();
    world.refuses(
        &with("etc/hostname"),
        "is a link, and links are not followed",
    );
    symlink("blinkd", here.join("inner")).unwrap();
    world.refuses(&with("inner"), "is a link, and links are not followed");
    fs::create_dir(here.join("folder")).unwrap();
    world.refuses(&with("folder"), "is not a regular file");
    world.refuses(&with("."), "is not a regular file");
    world.refuses(&with("../secret"), "cannot open");
    world.refuses(&with("blinkd/x"), "cannot open");
    world.refuses(&with("nothing"), "there is no file 'nothing'");
    assert!(
        Command::new("mkfifo")
            .arg(here.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
    world.refuses(&with("pipe"), "is not a regular file");
    let huge = File::create(here.join("huge")).unwrap();
    huge.set_len(FILE_LIMIT + 1).unwrap();
    world.refuses(&with("huge"), "has more than 536870912 bytes");
}

#[test]
fn names_are_found_in_any_case_if_only_one_is_meant() {
    let world = World::new();
    world.put("Data/One.TXT", "1");
    let mut wish = wish();
    wish.files.push(file("data/one.txt", "one.txt"));
    world.install(&wish).unwrap();
    world.put("Data/ONE.txt", "2");
    world.refuses(&wish, "several files in");
    world.put("Data/one.txt", "3");
    let folder = world.install(&wish).unwrap().package.folder;
    assert_eq!(fs::read_to_string(folder.join("one.txt")).unwrap(), "3");
}

#[test]
fn no_file_of_a_package_lies_outside_of_it_or_among_the_managers() {
    let world = World::new();
    for target in [
        "../x",
        "/x",
        "a/../../x",
        ".arrival/services.d/x.toml",
        ".Arrival/x",
        "a//b",
        "a\\b",
        "",
    ] {
        let mut wish = wish();
        wish.files.push(file("blink.inf", target));
        world.refuses(&wish, "cannot be a file of a package");
    }
    let mut wish = wish();
    wish.files.push(file("blink.inf", "BIN/blinkd"));
    wish.files.push(file("blink.inf", "bin/BLINKD2"));
    wish.files.push(file("blink.inf", "bin/blinkd2"));
    let installed = world.install(&wish).unwrap();
    assert_eq!(installed.package.files.len(), 3);
}

#[test]
fn a_folder_that_others_can_change_is_refused_unless_it_is_trusted() {
    let world = World::new();
    let here = world.source.path();
    fs::set_permissions(here, Permissions::from_mode(0o777)).unwrap();
    world.refuses(
        &wish(),
        "is writable by others (mode 0777), who could change the package: chmod go-w",
    );
    let trusted = Source::open(here, true).unwrap();
    install(&world.layout(), &trusted, &wish()).unwrap();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    uninstall(&world.layout(), "blink").unwrap();
    tidy(&world.layout()).unwrap();
    fs::set_permissions(here, Permissions::from_mode(0o755)).unwrap();
    chown(here, Some(65_534), Some(65_534)).unwrap();
    world.refuses(
        &wish(),
        "belongs to user 65534, who could change the package: copy it, or say --trust",
    );
}

#[test]
fn another_name_of_a_secret_is_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        return;
    }
    let world = World::new();
    let here = world.source.path();
    let secret = world.put("../secret-of-root", "secret");
    fs::hard_link(&secret, here.join("readme")).unwrap();
    fs::remove_file(&secret).unwrap();
    let secret = here.join("other");
    fs::hard_link(here.join("readme"), &secret).unwrap();
    chown(here, Some(65_534), Some(65_534)).unwrap();
    let mut wish = wish();
    wish.files.push(file("readme", "readme"));
    let source = Source::open(here, true).unwrap();
    let error = install(&world.layout(), &source, &wish)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is another name of a file of user 0, and not the folder's: copy it"),
        "{error}"
    );
    assert_eq!(world.everything(), Vec::<PathBuf>::new());
}

#[test]
fn a_program_of_the_machine_must_be_safe_from_others() {
    let world = World::new();
    let mut wish = wish();
    let mut with = |path: &Path| {
        wish.services[0].program = Program::Machine(path.to_owned());
        wish.clone()
    };
    let installed = world.install(&with(Path::new("/bin/sleep"))).unwrap();
    let text = fs::read_to_string(
        installed
            .package
            .folder
            .join(".arrival/services.d/blink.toml"),
    )
    .unwrap();
    assert!(
        text.contains(r#"exec = ["/bin/sleep", "--fast"]"#),
        "{text}"
    );
    world.refuses(
        &with(Path::new("/bin/nothing-of-the-kind")),
        "there is no program",
    );
    world.refuses(&with(Path::new("/etc/passwd")), "is no program");
    let open = world.put("open", SCRIPT);
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    world.refuses(&with(&open), "is writable by others (mode 0777)");
}

#[test]
fn what_a_crash_left_is_removed_by_the_next_install() {
    let world = World::new();
    let packages = world.layout().packages();
    for name in [".new-1/bin", ".old-x", "orphan-0123456789ab"] {
        fs::create_dir_all(packages.join(name)).unwrap();
    }
    let installed = world.install(&wish()).unwrap();
    let left: Vec<_> = fs::read_dir(&packages)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(left, [installed.package.folder]);
}

#[test]
fn two_who_install_at_once_do_not_meet() {
    let world = World::new();
    world.install(&wish()).unwrap();
    let lock = arrival_store::Lock::store(&world.layout()).unwrap();
    world.refuses(&wish(), "is held by");
    drop(lock);
    world.install(&wish()).unwrap();
}

#[test]
fn packages_add_their_devices_to_a_class_that_another_one_defines() {
    let world = World::new();
    let class = |id: &str, name: &str| {
        let text = format!(
            "[class]\nname = \"{name}\"\nguid = \"{{573e8c73-0cb4-4471-a1bf-fab26c31d384}}\"\n[match]\nid = \"{id}\"\n"
        );
        toml::from_str(&text).unwrap()
    };
    let mut one = wish();
    one.classes = vec![class("USB\\\\A", "board")];
    world.install(&one).unwrap();
    world.put("other.inf", "");
    let mut two = wish();
    two.name = "other".to_owned();
    two.described_by = "other.inf".to_owned();
    two.services.clear();
    two.classes = vec![class("USB\\\\B", "board")];
    world.install(&two).unwrap();
    let loaded = Store::open(world.layout()).load();
    assert_eq!(loaded.problems, []);
    let found: &Classes = &loaded.classes;
    let board = found.resolve("board").unwrap();
    assert_eq!(board.when.any.len(), 2);
}

#[test]
fn a_class_of_a_package_does_not_take_the_name_of_an_administrators() {
    let world = World::new();
    let class = |guid: &str| {
        format!(
            "[class]\nname = \"board\"\nguid = \"{{{guid}-0cb4-4471-a1bf-fab26c31d384}}\"\n[match]\nid = \"USB\\\\A\"\n"
        )
    };
    let mut wish = wish();
    wish.classes = vec![toml::from_str(&class("573e8c73")).unwrap()];
    world.install(&wish).unwrap();
    fs::write(
        world.root.path().join("classes.d/admin.toml"),
        class("673e8c73"),
    )
    .unwrap();
    let loaded = Store::open(world.layout()).load();
    let told: Vec<&str> = loaded
        .problems
        .iter()
        .map(|problem| &*problem.code)
        .collect();
    assert_eq!(told, ["duplicate-class"]);
    let board = loaded.classes.resolve("board").unwrap();
    assert!(board.guid.to_string().starts_with("{673e8c73"));
}

#[test]
fn a_service_that_the_manager_would_not_read_is_refused() {
    let world = World::new();
    let mut wish = wish();
    wish.services[0].definition.exec = vec!["${HOME}".to_owned()];
    world.refuses(
        &wish,
        "the service 'blink' cannot be defined: there is no variable 'HOME'",
    );
    wish.services[0].definition.exec = vec!["${ARRIVAL_NODE}".to_owned()];
    world.install(&wish).unwrap();
}

#[test]
fn a_packages_name_is_the_files() {
    assert_eq!(package_name("OsrFx2.INF").unwrap(), "osrfx2");
    assert_eq!(package_name("a.b.inx").unwrap(), "a.b");
    assert_eq!(package_name("plain").unwrap(), "plain");
    for bad in ["", ".inf", "a b.inf", "\u{e9}.inf", "-x.inf", "../x.inf"] {
        assert!(package_name(bad).is_err(), "{bad}");
    }
}
