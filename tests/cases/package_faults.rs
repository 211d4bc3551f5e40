//! An install, an upgrade and a removal that fail or are killed at each of their steps.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use arrival_tests::world::{World, fresh_dir};

use crate::devices::Link;

case!(
    a_disk_that_is_full_at_any_step_leaves_what_was_there as Root,
    full_at_every_step
);
case!(
    an_installer_that_is_killed_at_any_step_leaves_the_old_or_the_new as User,
    killed_at_every_step
);
case!(
    an_upgrade_that_is_killed_beside_a_manager_leaves_its_service_running as Root,
    killed_beside_a_manager
);
case!(
    a_package_that_does_not_fit_on_the_disk_leaves_what_was_there as Root,
    really_full
);

/// A package in a folder of its own, which is gone with the value.
struct Package {
    folder: PathBuf,
}

impl Package {
    fn new() -> Package {
        let folder = fresh_dir("arrival-package");
        fs::create_dir(folder.join("data")).unwrap();
        fs::write(folder.join("data/table.bin"), [7; 5000]).unwrap();
        let package = Package { folder };
        package.describe("1.0");
        package
    }

    /// Writes the files of a version.
    fn describe(&self, version: &str) {
        let script = format!("#!/bin/sh\n# {version}\nexec sleep 1000\n");
        fs::write(self.folder.join("labd"), script).unwrap();
        let text = format!(
            "[Version]\nSignature = \"$Windows NT$\"\nProvider = ACME\nDriverVer = 11/27/2026,{version}\n\
             [Manufacturer]\nACME = Models, NT.10.0\n[Models.NT.10.0]\nBoard = Install, LAB\\BOARD\n\
             [Install.NT]\nCopyFiles = @table.bin, @labd\n\
             [Install.NT.Interfaces]\nAddInterface = {{573e8c73-0cb4-4471-a1bf-fab26c31d385}}\n\
             [Install.NT.Services]\nAddService = labsvc, , Service\n\
             [DestinationDirs]\nDefaultDestDir = 13\n\
             [SourceDisksNames]\n1 = disk\n[SourceDisksFiles]\ntable.bin = 1, data\nlabd = 1\n\
             [Service]\nServiceType = 0x10\nStartType = 3\nErrorControl = 0\nDescription = v{version}\n\
             ServiceBinary = %13%\\labd\nAddTrigger = Arrival\nAddReg = Parameters\n\
             [Parameters]\nHKR, Parameters\\Arrival, Protocol, , exec\n\
             HKR, Parameters\\Arrival, Follow, 0x10001, 1\nHKR, Parameters, Speed, 0x10001, 9\n\
             [Arrival]\nTriggerType = 1\nAction = 1\nSubType = {{573e8c73-0cb4-4471-a1bf-fab26c31d384}}\n"
        );
        fs::write(self.folder.join("lab.inf"), text).unwrap();
    }

    fn inf(&self) -> String {
        self.folder.join("lab.inf").display().to_string()
    }

    /// Installs a version, which must succeed.
    fn install(&self, world: &World, version: &str) {
        self.describe(version);
        good(&world.arrival(&["install", &self.inf()]));
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[track_caller]
fn good(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{told}");
    text
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// All that counts: the packages, whether their files are whole, what the service is.
fn state(world: &World) -> String {
    let packages = good(&world.arrival(&["packages", "--json"]));
    let whole = good(&world.arrival(&["verify"]));
    let service = world.arrival(&["export", "labsvc", "--toml"]);
    let service = String::from_utf8_lossy(&service.stdout).into_owned();
    format!("{packages}{whole}{service}")
}

/// Nothing is left of what failed.
fn is_tidy(world: &World, versions: usize) {
    let packages = names(&world.root.join("lib/packages"));
    assert_eq!(packages.len(), versions, "{packages:?}");
    let active = names(&world.root.join("lib/active"));
    let all = packages.iter().chain(&active);
    assert!(
        all.clone().all(|name| !name.starts_with('.')),
        "{packages:?} {active:?}"
    );
}

const FULL: &str = "ARRIVAL_FAIL_AT";
const KILLED: &str = "ARRIVAL_DIE_AT_STEP";

/// Lets a command fail at its first step, at its second and so on; says how many there are. `prepare` makes what
/// is there before, and `versions` folders are there afterwards.
fn every_step(
    world: &World,
    fault: &str,
    command: &[&str],
    prepare: &dyn Fn(&World),
    versions: usize,
) -> usize {
    prepare(world);
    good(&world.arrival(command));
    let after = state(world);
    for step in 1.. {
        prepare(world);
        let before = state(world);
        assert_ne!(before, after);
        let output = world.arrival_with(&[(fault, step.to_string())], command);
        if output.status.success() {
            println!("{command:?}: {} steps", step - 1);
            return step - 1;
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let now = state(world);
        if fault == FULL {
            assert_eq!(output.status.code(), Some(1), "{step}: {told}");
            assert!(told.contains("No space left on device"), "{step}: {told}");
            assert_eq!(now, before, "{step}: {told}");
        } else {
            assert_eq!(output.status.signal(), Some(9), "{step}: {told}");
            assert!(now == before || now == after, "{step}: {now}");
        }
        // Nothing of it stands in the way of the next try.
        if now == before {
            good(&world.arrival(command));
        } else {
            good(&world.arrival(&["packages"]));
        }
        assert_eq!(state(world), after, "{step}");
        if now == before {
            is_tidy(world, versions);
        }
    }
    unreachable!("a command has an end")
}

fn at_every_step(world: &World, fault: &str) {
    let package = Package::new();
    let inf = package.inf();
    let none = |world: &World| {
        package.describe("1.0");
        world.arrival(&["uninstall", "lab"]);
    };
    let first = |world: &World| {
        world.arrival(&["uninstall", "lab"]);
        package.install(world, "1.0");
        package.describe("2.0");
    };
    let installs = every_step(world, fault, &["install", &inf], &none, 1);
    let upgrades = every_step(world, fault, &["install", &inf], &first, 1);
    let removals = every_step(world, fault, &["uninstall", "lab"], &first, 0);
    // A step that nobody counts is one at which nothing fails.
    assert!(installs >= 30 && upgrades >= 30, "{installs} {upgrades}");
    assert!(removals >= 1, "{removals}");
}

fn full_at_every_step(world: &mut World) {
    at_every_step(world, FULL);
}

fn killed_at_every_step(world: &mut World) {
    at_every_step(world, KILLED);
}

fn killed_beside_a_manager(world: &mut World) {
    let class = "[class]\nname = \"lab\"\nguid = \"{573e8c73-0cb4-4471-a1bf-fab26c31d384}\"\n\
                 [match]\nsubsystem = \"net\"\nname = \"lab*\"\n";
    world.write("classes.d/lab.toml", class);
    world.start();
    let package = Package::new();
    package.install(world, "1.0");
    let link = Link::veth("lab0", "peer0");
    let pid = world.wait_state("labsvc", "RUNNING").pid.unwrap();
    package.describe("2.0");
    let command = ["install", &package.inf()];
    for step in 1.. {
        let output = world.arrival_with(&[(KILLED, step.to_string())], &command);
        assert_eq!(world.status("labsvc").pid, Some(pid), "{step}");
        if output.status.success() {
            assert!(step > 30, "{step}");
            break;
        }
        assert_eq!(output.status.signal(), Some(9), "{step}");
        good(&world.arrival(&["verify"]));
    }
    assert!(good(&world.arrival(&["packages"])).contains("2.0"));
    // What runs goes on; the next run is of the new version.
    let status = world.status("labsvc");
    assert_eq!((status.pid, status.starts), (Some(pid), 1));
    drop(link);
    world.wait_state("labsvc", "STOPPED");
    good(&world.arrival(&["uninstall", "lab"]));
    is_tidy(world, 0);
}

fn really_full(world: &mut World) {
    world.small_disk("lib");
    let package = Package::new();
    let inf = package.inf();
    let table = package.folder.join("data/table.bin");
    let large = vec![1; 300 * 1024];
    let refused = |world: &World| {
        let output = world.arrival(&["install", &inf]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("No space left on device"), "{told}");
    };
    fs::write(&table, &large).unwrap();
    refused(world);
    is_tidy(world, 0);
    fs::write(&table, [1; 100]).unwrap();
    package.install(world, "1.0");
    let before = state(world);
    package.describe("2.0");
    fs::write(&table, &large).unwrap();
    refused(world);
    assert_eq!(state(world), before);
    is_tidy(world, 1);
    // A file that is not there.
    fs::remove_file(&table).unwrap();
    let output = world.arrival(&["install", &inf]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{told}");
    assert!(told.contains("there is no file 'table.bin'"), "{told}");
    assert_eq!(state(world), before);
    is_tidy(world, 1);
    // Somebody who changes what is installed is found out.
    let folder = world
        .root
        .join("lib/packages")
        .join(&names(&world.root.join("lib/packages"))[0]);
    fs::write(folder.join("table.bin"), "x").unwrap();
    fs::remove_file(folder.join("labd")).unwrap();
    fs::write(folder.join("more"), "x").unwrap();
    let output = world.arrival(&["verify", "lab"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for line in [
        "labd is missing",
        "table.bin has other bytes",
        "more was not installed",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    good(&world.arrival(&["uninstall", "lab"]));
}
