//! Every step of an install and of an uninstall fails once, and once the process is killed in its place.
//!
//! `arrival` is built for tests here: it counts its steps on the disk, as crates/store/src/fault.rs says.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use arrival_tests::world::{World, fresh_dir, wait_for};

use crate::devices::Link;

case!(
    an_upgrade_that_fails_or_dies_at_any_step_leaves_one_whole_version as User,
    |world: &mut World| any_step(world, Scenario::Upgrade, 55)
);
case!(
    a_first_install_that_fails_or_dies_at_any_step_leaves_all_or_nothing as User,
    |world: &mut World| any_step(world, Scenario::First, 48)
);
case!(
    an_uninstall_that_fails_or_dies_at_any_step_leaves_all_or_nothing as User,
    |world: &mut World| any_step(world, Scenario::Uninstall, 14)
);
case!(
    a_package_without_one_of_its_files_changes_nothing as User,
    missing_file
);
case!(
    a_disk_with_any_little_room_keeps_the_old_version_whole as Root,
    full_disk
);
case!(
    a_manager_goes_on_beside_installs_that_die as Root,
    beside_a_manager
);

/// What is done to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The disk is full.
    Full,
    /// The process is killed.
    Killed,
}

impl Fault {
    fn variable(self) -> &'static str {
        match self {
            Fault::Full => "ARRIVAL_FAIL_AT",
            Fault::Killed => "ARRIVAL_DIE_AT_STEP",
        }
    }
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    /// Version 2 over version 1.
    Upgrade,
    /// Version 1 where there are not even folders.
    First,
    /// Version 1 is removed.
    Uninstall,
}

/// Runs until it is told to stop; the arguments stay to be seen.
const SCRIPT: &str = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n";

/// A package in a folder of its own, which is gone with the value.
struct Package {
    folder: PathBuf,
}

impl Package {
    /// A service, an interface class, and a file in a folder that is written in several pieces.
    fn new(version: &str) -> Package {
        let folder = fresh_dir("arrival-package");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let package = Package { folder };
        package.put("labd", SCRIPT);
        package.put("data.bin", &version.repeat(100_000));
        package.describe(version, "data.bin");
        package
    }

    /// The same without an interface class.
    fn without_class(version: &str) -> Package {
        let package = Package::new(version);
        let text = fs::read_to_string(package.inf()).unwrap();
        let class = "AddInterface = {573e8c73-0cb4-4471-a1bf-fab26c31d384}\n";
        assert!(text.contains(class));
        package.put("lab.inf", &text.replace(class, ""));
        package
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn describe(&self, version: &str, file: &str) {
        let text = format!(
            "[Version]\nSignature = \"$Windows NT$\"\nProvider = ACME\nDriverVer = 11/27/2026,{version}\n\
             [Manufacturer]\nACME = Devices, NT\n[Devices.NT]\nBoard = Install, USB\\VID_0547&PID_1002\n\
             [Install.NT]\nCopyFiles = Data, Programs\n[Data]\n{file}\n[Programs]\nlabd\n\
             [DestinationDirs]\nData = 13, data\nPrograms = 13\n\
             [Install.NT.Interfaces]\nAddInterface = {{573e8c73-0cb4-4471-a1bf-fab26c31d384}}\n\
             [Install.NT.Services]\nAddService = labsvc, , Service\n\
             [Service]\nServiceType = 0x10\nStartType = 3\nErrorControl = 0\n\
             ServiceBinary = \"%13%\\labd version-{version}\"\nAddTrigger = Arrival\nAddReg = Parameters\n\
             [Parameters]\nHKR, Parameters\\Arrival, Protocol, , exec\nHKR, Parameters\\Arrival, Follow, 0x10001, 1\n\
             [Arrival]\nTriggerType = 1\nAction = 1\nSubType = {{573e8c73-0cb4-4471-a1bf-fab26c31d384}}\n"
        );
        self.put("lab.inf", &text);
    }

    fn inf(&self) -> String {
        self.folder.join("lab.inf").display().to_string()
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs the command line with a variable of the environment.
fn arrival_with(world: &World, variable: &str, value: &str, arguments: &[&str]) -> Output {
    Command::new(world.program("arrival"))
        .env(variable, value)
        .arg("--root")
        .arg(&world.root)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn said(output: &Output, status: i32, what: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{what}: {text}");
    text.into_owned()
}

/// Every file below a folder: its mode, and its bytes or where it leads.
type Tree = BTreeMap<PathBuf, (u32, Vec<u8>)>;

fn tree(folder: &Path) -> Tree {
    fn add(top: &Path, path: &Path, tree: &mut Tree) {
        let meta = path.symlink_metadata().unwrap();
        let mut bytes = Vec::new();
        if meta.is_symlink() {
            bytes = fs::read_link(path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes();
        } else if meta.is_file() {
            bytes = fs::read(path).unwrap();
        } else {
            for entry in fs::read_dir(path).unwrap() {
                add(top, &entry.unwrap().path(), tree);
            }
        }
        let below = path.strip_prefix(top).unwrap().to_owned();
        tree.insert(below, (meta.mode(), bytes));
    }
    let mut tree = Tree::new();
    add(folder, folder, &mut tree);
    tree
}

/// What counts: the package as the command line shows it, its definition and class, and its whole folder.
#[derive(PartialEq, Eq)]
struct State {
    packages: String,
    folder: PathBuf,
    tree: Tree,
}

/// Not all its bytes.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.tree.iter();
        let files = files.map(|(path, (mode, bytes))| (path, format!("{mode:o}"), bytes.len()));
        f.debug_struct("State")
            .field("version", &self.version())
            .field("folder", &self.folder)
            .field("files", &files.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl State {
    /// The state now; `None` if no package counts. What counts must be as it was installed.
    #[track_caller]
    fn now(world: &World, what: &str) -> Option<State> {
        let packages = said(&world.arrival(&["packages", "--json"]), 0, what);
        said(&world.arrival(&["verify"]), 0, what);
        let link = world.root.join("lib/active/lab");
        if link.symlink_metadata().is_err() {
            assert!(!packages.contains("lab"), "{what}: {packages}");
            return None;
        }
        said(&world.arrival(&["verify", "lab"]), 0, what);
        let folder = fs::canonicalize(link).unwrap();
        Some(State {
            packages,
            tree: tree(&folder),
            folder,
        })
    }

    /// The version that the definition of the service names.
    fn version(&self) -> &str {
        let definition = &self.tree[Path::new(".arrival/services.d/labsvc.toml")].1;
        let text = std::str::from_utf8(definition).unwrap();
        let (_, rest) = text.split_once("version-").unwrap();
        rest.split('"').next().unwrap()
    }
}

/// The entries of the two folders of packages.
fn entries(world: &World) -> Vec<PathBuf> {
    let folders = ["lib/packages", "lib/active"].map(|below| world.root.join(below));
    let entries = folders.iter().flat_map(fs::read_dir);
    let mut entries: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap();
    name.as_encoded_bytes().starts_with(b".")
}

/// No folder that can be seen is half there: each is one of these versions.
#[track_caller]
fn nothing_half(world: &World, versions: &[&State], what: &str) {
    let packages = world.root.join("lib/packages");
    for path in entries(world) {
        if path.parent() == Some(&packages) && !is_hidden(&path) {
            let found = tree(&path);
            assert!(
                versions.iter().any(|version| version.tree == found),
                "{what}: {} is half there: {:?}",
                path.display(),
                found.keys()
            );
        }
    }
}

#[track_caller]
fn nothing_hidden(world: &World, what: &str) {
    let hidden: Vec<_> = entries(world)
        .into_iter()
        .filter(|path| is_hidden(path))
        .collect();
    assert_eq!(hidden, Vec::<PathBuf>::new(), "{what}");
}

/// The steps of a command, in words; from the step of this number on the command has done what it is for.
struct Steps {
    names: Vec<String>,
    last: usize,
}

impl Steps {
    fn of(world: &World, arguments: &[&str]) -> Steps {
        let names = world.root.join("steps");
        let _ = fs::remove_file(&names);
        let path = names.display().to_string();
        let output = arrival_with(world, "ARRIVAL_STEPS", &path, arguments);
        said(&output, 0, "without a fault");
        let text = fs::read_to_string(&names).unwrap();
        let names: Vec<String> = text.lines().map(str::to_owned).collect();
        let link = |name: &String| name.ends_with("/lib/active/lab");
        let last = names.iter().position(link).unwrap() + 1;
        Steps { names, last }
    }
}

fn any_step(world: &mut World, scenario: Scenario, least: usize) {
    let packages = ["1.0", "2.0"].map(Package::new);
    let [first, second] = [0, 1].map(|number: usize| packages[number].inf());
    let install = |inf: &str, what: &str| said(&world.arrival(&["install", inf]), 0, what);

    // Both versions as they should be.
    install(&first, "version 1");
    let one = State::now(world, "version 1").unwrap();
    install(&second, "version 2");
    let two = State::now(world, "version 2").unwrap();
    assert_eq!((one.version(), two.version()), ("1.0", "2.0"));
    let versions = [&one, &two];

    let prepare = |what: &str| match scenario {
        Scenario::Upgrade | Scenario::Uninstall => {
            install(&first, what);
            assert_eq!(State::now(world, what).as_ref(), Some(&one), "{what}");
            nothing_hidden(world, what);
        }
        Scenario::First => fs::remove_dir_all(world.root.join("lib")).unwrap(),
    };
    let arguments: &[&str] = match scenario {
        Scenario::Upgrade => &["install", &second],
        Scenario::First => &["install", &first],
        Scenario::Uninstall => &["uninstall", "lab"],
    };
    let (before, after) = match scenario {
        Scenario::Upgrade => (Some(&one), Some(&two)),
        Scenario::First => (None, Some(&one)),
        Scenario::Uninstall => (Some(&one), None),
    };

    // Once before, so that each time finds the same folders.
    prepare("to begin");
    said(&world.arrival(arguments), 0, "to begin");
    prepare("to count");
    let steps = Steps::of(world, arguments);
    assert_eq!(State::now(world, "without a fault").as_ref(), after);
    let count = steps.names.len();
    println!(
        "{count} steps of {scenario:?}, it is done with step {}",
        steps.last
    );
    assert!(count >= least, "only {count} steps: {:#?}", steps.names);

    let mut kept = BTreeMap::from([("Full", 0), ("Killed", 0)]);
    for fault in [Fault::Full, Fault::Killed] {
        for number in 1..=count {
            let what = format!("{fault:?} at step {number}, {}", steps.names[number - 1]);
            prepare(&what);
            let output = arrival_with(world, fault.variable(), &number.to_string(), arguments);
            let done = match fault {
                Fault::Full => {
                    let done = output.status.success();
                    if !done {
                        let text = said(&output, 1, &what);
                        assert!(text.contains("No space left on device"), "{what}: {text}");
                    }
                    // Behind it only the sync can fail, which undoes it; the rest tidies up.
                    assert!(done || number <= steps.last + 1, "{what}");
                    done
                }
                Fault::Killed => {
                    assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{what}");
                    number > steps.last
                }
            };
            let expected = if done { after } else { before };
            assert_eq!(State::now(world, &what).as_ref(), expected, "{what}");
            nothing_half(world, &versions, &what);
            *kept.get_mut(format!("{fault:?}").as_str()).unwrap() += usize::from(!done);

            // The fault is gone.
            let output = world.arrival(arguments);
            let gone = scenario == Scenario::Uninstall && done;
            said(&output, if gone { 4 } else { 0 }, &what);
            assert_eq!(State::now(world, &what).as_ref(), after, "{what}");
            nothing_half(world, &versions, &what);
            if !gone {
                nothing_hidden(world, &what);
            }
        }
    }
    // One beyond the last changes nothing: all were played.
    for fault in [Fault::Full, Fault::Killed] {
        prepare("beyond the last step");
        let number = (count + 1).to_string();
        let output = arrival_with(world, fault.variable(), &number, arguments);
        said(&output, 0, "beyond the last step");
    }
    println!("{scenario:?} left all as it was at so many steps: {kept:?}");
    // A full disk at a step that only tidies up is no failure; a death before the last is one.
    assert_eq!(kept["Killed"], steps.last);
    let tidies = |name: &&String| name.contains("/.old-lab-") || name.contains("/active/.lab.");
    let tidying = steps.names.iter().filter(tidies).count();
    assert!(kept["Full"] + tidying >= steps.last, "{kept:?}, {tidying}");
}

fn missing_file(world: &mut World) {
    let (first, second) = (Package::new("1.0"), Package::new("2.0"));
    said(&world.arrival(&["install", &first.inf()]), 0, "version 1");
    let one = State::now(world, "version 1");
    let before = entries(world);
    second.describe("2.0", "nothing.bin");
    let text = said(&world.arrival(&["install", &second.inf()]), 8, "version 2");
    assert!(text.contains("there is no file 'nothing.bin'"), "{text}");
    assert_eq!(State::now(world, "no file"), one);
    assert_eq!(entries(world), before);
    second.put("nothing.bin", "");
    said(&world.arrival(&["install", &second.inf()]), 0, "version 2");
    assert_eq!(State::now(world, "version 2").unwrap().version(), "2.0");
}

fn full_disk(world: &mut World) {
    const PAGE: usize = 4096;
    world.small_disk("lib");
    let packages = ["1.0", "2.0", "3.0"].map(Package::new);
    for package in &packages[..2] {
        package.put("data.bin", &"x".repeat(5 * PAGE));
    }
    said(&world.arrival(&["install", &packages[0].inf()]), 0, "1");
    let one = State::now(world, "version 1").unwrap();

    // More than the disk has at all: version 3 has 300 KB.
    let text = said(&world.arrival(&["install", &packages[2].inf()]), 1, "3");
    assert!(text.contains("No space left on device"), "{text}");
    assert_eq!(State::now(world, "version 3").as_ref(), Some(&one));
    nothing_half(world, &[&one], "version 3");
    nothing_hidden(world, "version 3");

    let ballast = world.root.join("lib/ballast");
    let mut refused = 0;
    for room in 0.. {
        assert!(room < 64, "it never fits");
        let what = format!("{room} pages are free");
        fill(&ballast, room * PAGE);
        let output = world.arrival(&["install", &packages[1].inf()]);
        if output.status.success() {
            break;
        }
        let text = said(&output, 1, &what);
        assert!(
            text.to_lowercase().contains("no space left"),
            "{what}: {text}"
        );
        assert_eq!(State::now(world, &what).as_ref(), Some(&one), "{what}");
        nothing_half(world, &[&one], &what);
        nothing_hidden(world, &what);
        refused += 1;
    }
    println!("refused with {refused} amounts of room");
    assert!(refused >= 8, "only {refused}");
    let two = State::now(world, "version 2").unwrap();
    assert_eq!(two.version(), "2.0");
    // A full disk keeps no package from being removed.
    fill(&ballast, 0);
    said(&world.arrival(&["uninstall", "lab"]), 0, "uninstall");
    assert_eq!(State::now(world, "uninstall"), None);
    assert_eq!(entries(world), Vec::<PathBuf>::new());
}

/// Takes all space but so many bytes.
fn fill(ballast: &Path, room: usize) {
    use std::io::Write;
    let mut file = fs::File::create(ballast).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let size = file.metadata().unwrap().len();
    file.set_len(size.saturating_sub(room as u64)).unwrap();
}

fn beside_a_manager(world: &mut World) {
    let class = "[class]\nname = \"lab\"\nguid = \"{573e8c73-0cb4-4471-a1bf-fab26c31d384}\"\n\
                 [match]\nsubsystem = \"net\"\nname = \"lab*\"\n";
    world.write("classes.d/lab.toml", class);
    let packages = ["1.0", "2.0"].map(Package::without_class);
    let [first, second] = [0, 1].map(|number: usize| packages[number].inf());
    world.start();
    said(&world.arrival(&["install", &first]), 0, "version 1");
    said(&world.arrival(&["install", &second]), 0, "version 2");
    said(&world.arrival(&["install", &first]), 0, "version 1");
    let steps = Steps::of(world, &["install", &second]);
    said(&world.arrival(&["install", &first]), 0, "version 1");
    let runs = |version: &str, what: &str| {
        let link = Link::veth("lab0", "peer0");
        let pid = world.wait_state("labsvc", "RUNNING").pid.unwrap();
        let version = format!("version-{version}");
        wait_for(&format!("{version}, {what}"), || {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&version)
        });
        drop(link);
        world.wait_state("labsvc", "STOPPED");
    };
    let mut died = 0;
    // Every third, and all about the last.
    let about = steps.last - 3..=steps.names.len();
    for number in (1..=steps.names.len()).filter(|number| number % 3 == 0 || about.contains(number))
    {
        let what = format!("killed at step {number}, {}", steps.names[number - 1]);
        let output = arrival_with(
            world,
            Fault::Killed.variable(),
            &number.to_string(),
            &["install", &second],
        );
        assert_eq!(output.status.signal(), Some(libc::SIGKILL), "{what}");
        said(&world.arrival(&["reload"]), 0, &what);
        said(&world.arrival(&["verify"]), 0, &what);
        assert_eq!(world.connect().services().unwrap().len(), 1, "{what}");
        runs(if number > steps.last { "2.0" } else { "1.0" }, &what);
        said(&world.arrival(&["install", &second]), 0, &what);
        nothing_hidden(world, &what);
        said(&world.arrival(&["install", &first]), 0, &what);
        died += 1;
    }
    println!("{died} installs died of {} steps", steps.names.len());
    assert!(died >= 18, "only {died}");
    runs("1.0", "at the end");
    said(&world.arrival(&["uninstall", "lab"]), 0, "at the end");
}
