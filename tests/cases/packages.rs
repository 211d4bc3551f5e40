//! Services that come from INF packages, from their installation to their removal.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Output;

use arrival_tests::world::{World, fresh_dir, recorders, wait_for};

use crate::devices::Link;

case!(
    a_package_follows_its_device_from_installation_to_removal as Root,
    from_installation_to_removal
);
case!(
    a_package_of_a_user_follows_its_device_from_installation_to_removal as User,
    from_installation_to_removal
);
case!(
    a_hostile_package_is_refused_with_its_reason_and_leaves_nothing as Root,
    hostile
);
case!(
    a_service_with_a_sid_of_its_own_has_a_user_of_its_own as Root,
    own_user
);

/// A package in a folder of its own, which is gone with the value.
struct Package {
    folder: PathBuf,
}

impl Package {
    /// An INF whose service records its life, and follows network interfaces of the world's class.
    fn new(world: &World, version: &str, more: &str) -> Package {
        let folder = fresh_dir("arrival-package");
        fs::copy(world.program("arrival-recorder"), folder.join("labd")).unwrap();
        let package = Package { folder };
        package.describe(world, version, more);
        package
    }

    fn describe(&self, world: &World, version: &str, more: &str) {
        let record = world.root.join("labsvc.record");
        let record = record.display();
        let text = format!(
            "[Version]\nSignature = \"$Windows NT$\"\nProvider = ACME\nDriverVer = 11/27/2026,{version}\n\
             [DefaultInstall.NT.Services]\nAddService = labsvc, , Service\n\
             [Service]\nServiceType = 0x10\nStartType = 3\nErrorControl = 0\n\
             ServiceBinary = \"%13%\\labd.exe {record}\"\nAddTrigger = Arrival\nAddReg = Parameters\n{more}\n\
             [Parameters]\nHKR, Parameters\\Arrival, Protocol, , exec\nHKR, Parameters\\Arrival, Follow, 0x10001, 1\n\
             [Arrival]\nTriggerType = 1\nAction = 1\nSubType = {{573e8c73-0cb4-4471-a1bf-fab26c31d384}}\n"
        );
        fs::write(self.folder.join("lab.inf"), text).unwrap();
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

/// The class that the package's service waits for.
fn define_class(world: &World) {
    let class = "[class]\nname = \"lab\"\nguid = \"{573e8c73-0cb4-4471-a1bf-fab26c31d384}\"\n\
                 [match]\nsubsystem = \"net\"\nname = \"lab*\"\n";
    world.write("classes.d/lab.toml", class);
}

/// What a command said, which must have ended so.
#[track_caller]
fn said(output: &Output, status: i32) -> String {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    text.into_owned()
}

/// The folders of versions of the package.
fn versions(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.root.join("lib/packages"))
        .into_iter()
        .flatten()
        .flatten();
    entries.map(|entry| entry.path()).collect()
}

fn from_installation_to_removal(world: &mut World) {
    define_class(world);
    world.start();
    let package = Package::new(world, "1.0", "");
    let text = said(&world.arrival(&["install", &package.inf()]), 0);
    assert!(text.contains("installed lab 1.0 of ACME"), "{text}");
    assert!(text.contains("labsvc: STOPPED"), "{text}");

    let link = Link::veth("lab0", "peer0");
    let first = world.wait_running("labsvc");
    let pid = first.pid.unwrap();
    let program = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let old = program(pid);
    assert!(old.starts_with(world.root.join("lib/packages")), "{old:?}");

    // Another version: what runs goes on, from where it was started.
    package.describe(world, "1.1", "");
    let text = said(&world.arrival(&["install", &package.inf()]), 0);
    assert!(text.contains("upgraded lab 1.1"), "{text}");
    let second = world.status("labsvc");
    assert_eq!((second.pid, second.starts), (Some(pid), 1));
    assert_eq!(program(pid), old);
    assert_eq!(versions(world).len(), 2);
    drop(link);
    world.wait_state("labsvc", "STOPPED");
    let link = Link::veth("lab0", "peer0");
    let again = world.wait_running("labsvc");
    assert_ne!(program(again.pid.unwrap()), old);
    assert_eq!(world.recorded("labsvc", "start").len(), 2);

    let text = said(&world.arrival(&["packages"]), 0);
    assert!(
        text.contains("lab") && text.contains("1.1") && text.contains("labsvc"),
        "{text}"
    );
    said(&world.arrival(&["uninstall", "lab.inf"]), 0);
    assert_eq!(recorders(&world.root), Vec::<i32>::new());
    said(&world.arrival(&["status", "labsvc"]), 4);
    assert_eq!(versions(world), Vec::<PathBuf>::new());
    said(&world.arrival(&["uninstall", "lab"]), 4);
    drop(link);
    assert_eq!(world.recorded("labsvc", "start").len(), 2);
}

fn hostile(world: &mut World) {
    world.start();
    let package = Package::new(world, "1.0", "");
    let inf = package.inf();
    let good = fs::read_to_string(&inf).unwrap();
    let outside = good.replace("%13%\\labd.exe", "%13%\\..\\..\\labd.exe");
    let absolute = good.replace("%13%\\labd.exe", "%-1%\\bin\\sh");
    let unsigned = good.replace("$Windows NT$", "$Linux$");
    let cases = [
        (outside.as_str(), "it leaves its folder"),
        (
            &absolute,
            "the directory id -1 is a place outside of the package",
        ),
        (&unsigned, "'$Linux$' is no signature of an INF"),
        (
            &good.replace("labd.exe", "link.exe"),
            "is a link, and links are not followed",
        ),
        (
            &good.replace("labd.exe", "windows.exe"),
            "is one of Windows",
        ),
        ("", "the file has no section [Version]"),
        ("[Version", "no closing bracket"),
    ];
    std::os::unix::fs::symlink("/bin/sh", package.folder.join("link.exe")).unwrap();
    fs::write(package.folder.join("windows.exe"), "MZ").unwrap();
    let nothing_is_left = || {
        assert_eq!(versions(world), Vec::<PathBuf>::new());
        assert_eq!(
            fs::read_dir(world.root.join("lib/active"))
                .into_iter()
                .flatten()
                .count(),
            0
        );
        assert_eq!(world.connect().services().unwrap(), []);
    };
    for (text, reason) in cases {
        fs::write(&inf, text).unwrap();
        let told = said(&world.arrival(&["install", &inf]), 8);
        assert!(told.contains(reason), "{reason}: {told}");
        nothing_is_left();
    }
    fs::write(&inf, good).unwrap();
    fs::set_permissions(&package.folder, fs::Permissions::from_mode(0o777)).unwrap();
    let told = said(&world.arrival(&["install", &inf]), 8);
    assert!(told.contains("is writable by others"), "{told}");
    nothing_is_left();
    said(
        &world.arrival(&["install", "--trust", "--dry-run", &inf]),
        0,
    );
    nothing_is_left();
    said(&world.arrival(&["install", "--trust", &inf]), 0);
    assert_eq!(world.connect().services().unwrap().len(), 1);
}

fn own_user(world: &mut World) {
    define_class(world);
    world.start();
    let more = "StartName = \"NT AUTHORITY\\LocalService\"\nServiceSidType = 1";
    let package = Package::new(world, "1.0", more);
    world.write("labsvc.record", "");
    let own = "labsvc"
        .parse::<arrival_model::definition::ServiceName>()
        .unwrap()
        .own_id();
    let record = world.root.join("labsvc.record");
    std::os::unix::fs::chown(&record, Some(own), Some(own)).unwrap();
    fs::set_permissions(&world.root, fs::Permissions::from_mode(0o755)).unwrap();
    said(&world.arrival(&["install", &package.inf()]), 0);
    let link = Link::veth("lab0", "peer0");
    let pid = world.wait_running("labsvc").pid.unwrap();
    let process = fs::metadata(format!("/proc/{pid}")).unwrap();
    assert_eq!((process.uid(), process.gid()), (own, own));
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    drop(link);
    wait_for("its end", || recorders(&world.root).is_empty());
}
