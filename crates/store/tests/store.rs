//! Which file counts, what a second look changes, and what is kept when a file goes wrong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod scratch;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use arrival_model::definition::{Definition, ServiceName, StartType};
use arrival_model::device::{DeviceRecord, Properties};
use arrival_store::store::Changes;
use arrival_store::{Layout, Settings, Store};
use scratch::Scratch;

/// Where the files of a package lie.
const PACKAGE: &str = "lib/active/other/.arrival";

struct Root {
    dir: Scratch,
}

impl Root {
    fn new() -> Self {
        let root = Root {
            dir: Scratch::new(),
        };
        root.layout().prepare().unwrap();
        fs::create_dir_all(root.dir.path().join(PACKAGE)).unwrap();
        for dir in root
            .layout()
            .services()
            .iter()
            .chain(&root.layout().classes())
        {
            fs::create_dir_all(dir).unwrap();
        }
        root
    }

    fn layout(&self) -> Layout {
        Layout::at(self.dir.path()).unwrap()
    }

    /// An administrator's file.
    fn own(&self, name: &str) -> PathBuf {
        self.dir.path().join("services.d").join(name)
    }

    /// A package's file.
    fn package(&self, name: &str) -> PathBuf {
        self.dir.path().join(PACKAGE).join("services.d").join(name)
    }

    fn store(&self) -> Store {
        let mut store = Store::open(self.layout());
        store.load();
        store
    }
}

fn program(path: &str) -> String {
    format!("[service]\nexec = [\"{path}\"]\nstart = \"auto\"\n")
}

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn names(store: &mut Store) -> Vec<String> {
    let loaded = store.load();
    loaded
        .definitions
        .iter()
        .map(|placed| placed.definition.name.to_string())
        .collect()
}

fn said(changes: &Changes) -> (Vec<String>, Vec<String>, Vec<String>) {
    (
        changes
            .defined
            .iter()
            .map(|placed| placed.definition.name.to_string())
            .collect(),
        changes.undefined.iter().map(ToString::to_string).collect(),
        changes
            .problems
            .iter()
            .map(|problem| problem.message.clone())
            .collect(),
    )
}

fn exec<'a>(store: &'a Store, of: &str) -> &'a str {
    &store.get(&name(of)).unwrap().definition.exec[0]
}

#[test]
fn an_empty_root_has_nothing_and_no_problems() {
    let dir = Scratch::new();
    let loaded = Store::open(Layout::at(dir.path()).unwrap()).load();
    assert_eq!((loaded.definitions.len(), loaded.problems.len()), (0, 0));
    assert!(loaded.classes.resolve("net").is_some());
}

#[test]
fn an_administrators_file_overrides_a_packages() {
    let root = Root::new();
    fs::write(root.package("a.toml"), program("/package")).unwrap();
    fs::write(root.package("b.toml"), program("/package")).unwrap();
    let mut store = root.store();
    assert_eq!(exec(&store, "a"), "/package");
    fs::write(root.own("a.toml"), program("/own")).unwrap();
    assert_eq!(
        said(&store.reload()),
        (vec!["a".to_owned()], vec![], vec![])
    );
    assert_eq!(exec(&store, "a"), "/own");
    assert_eq!(store.get(&name("A")).unwrap().path, root.own("a.toml"));
    fs::remove_file(root.own("a.toml")).unwrap();
    assert_eq!(
        said(&store.reload()),
        (vec!["a".to_owned()], vec![], vec![])
    );
    assert_eq!(exec(&store, "a"), "/package");
}

#[test]
fn a_link_to_dev_null_masks_a_packages_file() {
    let root = Root::new();
    fs::write(root.package("a.toml"), program("/package")).unwrap();
    let mut store = root.store();
    symlink("/dev/null", root.own("a.toml")).unwrap();
    assert_eq!(
        said(&store.reload()),
        (vec![], vec!["a".to_owned()], vec![])
    );
    fs::remove_file(root.own("a.toml")).unwrap();
    assert_eq!(
        said(&store.reload()),
        (vec!["a".to_owned()], vec![], vec![])
    );
}

#[test]
fn only_files_called_toml_count() {
    let root = Root::new();
    for file in [
        "a.toml",
        "a.toml.bak",
        ".b.toml",
        "c.TOML",
        "d",
        "e.toml~",
        "README",
    ] {
        fs::write(root.own(file), program("/x")).unwrap();
    }
    assert_eq!(names(&mut root.store()), ["a"]);
}

#[test]
fn of_two_files_that_define_one_name_the_first_wins_and_the_error_names_both() {
    let root = Root::new();
    fs::write(root.own("a.toml"), program("/first")).unwrap();
    let second = program("/second").replace("[service]", "[service]\nname = \"A\"");
    fs::write(root.own("b.toml"), second).unwrap();
    let mut store = root.store();
    assert_eq!(exec(&store, "a"), "/first");
    let loaded = store.load();
    let problem = loaded
        .problems
        .iter()
        .find(|problem| problem.is_error())
        .unwrap();
    assert_eq!(problem.path, root.own("b.toml"));
    assert_eq!(
        problem.message,
        format!(
            "the service 'A' is defined by {} already",
            root.own("a.toml").display()
        )
    );
}

#[test]
fn a_look_that_finds_nothing_new_says_so() {
    let root = Root::new();
    fs::write(root.own("a.toml"), program("/x")).unwrap();
    let mut store = root.store();
    fs::write(
        root.own("a.toml"),
        format!("# a comment\n{}", program("/x")),
    )
    .unwrap();
    assert_eq!(said(&store.reload()), (vec![], vec![], vec![]));
    assert!(store.reload().classes.is_none());
}

#[test]
fn a_file_that_has_become_wrong_keeps_what_it_defined() {
    let root = Root::new();
    fs::write(root.own("a.toml"), program("/x")).unwrap();
    let mut store = root.store();
    fs::write(root.own("a.toml"), "[service]\nexce = 5\n").unwrap();
    let problems = vec![
        "'exec' is missing from [service]".to_owned(),
        "unknown key 'exce' in [service]".to_owned(),
    ];
    assert_eq!(said(&store.reload()), (vec![], vec![], problems.clone()));
    assert_eq!(exec(&store, "a"), "/x");
    assert_eq!(store.problems().len(), 2);
    assert_eq!(said(&store.reload()), (vec![], vec![], problems));
    fs::write(root.own("a.toml"), program("/y")).unwrap();
    assert_eq!(
        said(&store.reload()),
        (vec!["a".to_owned()], vec![], vec![])
    );
    fs::remove_file(root.own("a.toml")).unwrap();
    assert_eq!(
        said(&store.reload()),
        (vec![], vec!["a".to_owned()], vec![])
    );
}

#[test]
fn a_wrong_override_leaves_what_was_in_effect() {
    let root = Root::new();
    fs::write(root.package("a.toml"), program("/package")).unwrap();
    let mut store = root.store();
    fs::write(root.own("a.toml"), "[service").unwrap();
    let (defined, undefined, problems) = said(&store.reload());
    assert_eq!((defined, undefined, problems.len()), (vec![], vec![], 1));
    assert_eq!(exec(&store, "a"), "/package");
}

#[test]
fn a_service_whose_file_gets_another_name_is_another_service() {
    let root = Root::new();
    fs::write(root.own("a.toml"), program("/x")).unwrap();
    let mut store = root.store();
    fs::rename(root.own("a.toml"), root.own("b.toml")).unwrap();
    assert_eq!(
        said(&store.reload()),
        (vec!["b".to_owned()], vec!["a".to_owned()], vec![])
    );
}

#[test]
fn what_cannot_be_read_is_a_problem_and_never_waited_for() {
    let root = Root::new();
    fs::create_dir(root.own("folder.toml")).unwrap();
    symlink("/nowhere", root.own("dangling.toml")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.own("pipe.toml"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::write(root.own("bytes.toml"), b"[service]\nexec = [\"\xff\"]\n").unwrap();
    fs::write(root.own("long.toml"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    let mut store = Store::open(root.layout());
    let problems = store.load().problems;
    let said: Vec<(&str, &str)> = problems
        .iter()
        .map(|problem| {
            (
                problem.path.file_name().unwrap().to_str().unwrap(),
                problem.message.as_str(),
            )
        })
        .collect();
    let expected = [
        ("bytes.toml", "the file is not UTF-8 (byte 20)"),
        (
            "dangling.toml",
            "cannot open the file: No such file or directory (os error 2)",
        ),
        ("folder.toml", "not a regular file"),
        ("long.toml", "the file is longer than 1048576 bytes"),
        ("pipe.toml", "not a regular file"),
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_folder_that_is_none_is_a_problem() {
    let root = Root::new();
    fs::remove_dir(root.dir.path().join("services.d")).unwrap();
    fs::write(root.dir.path().join("services.d"), "").unwrap();
    let loaded = Store::open(root.layout()).load();
    assert_eq!(
        loaded.problems[0].to_string(),
        format!(
            "error[unreadable]: cannot read the folder: Not a directory (os error 20)\n --> {}",
            root.dir.path().join("services.d").display()
        )
    );
}

#[test]
fn a_definition_that_everyone_may_write_gets_a_warning() {
    let root = Root::new();
    fs::write(root.own("a.toml"), program("/x")).unwrap();
    fs::set_permissions(root.own("a.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    let loaded = Store::open(root.layout()).load();
    assert_eq!(
        loaded.problems[0].message,
        "the file is writable by everyone (mode 0666)"
    );
    assert_eq!(loaded.definitions.len(), 1);
}

#[test]
fn class_files_define_classes_that_definitions_can_name() {
    let root = Root::new();
    let file = root.dir.path().join("classes.d/gps.toml");
    let service = format!("{}[[start]]\ndevice = \"gps\"\n", program("/x"));
    fs::write(root.own("a.toml"), &service).unwrap();
    let mut store = root.store();
    assert_eq!(
        store.problems()[0].message,
        "there is no device class 'gps'"
    );
    let class = "[class]\nname = \"gps\"\n[match]\nsubsystem = \"tty\"\n";
    fs::write(&file, class).unwrap();
    let changes = store.reload();
    assert_eq!(said(&changes), (vec!["a".to_owned()], vec![], vec![]));
    assert!(changes.classes.unwrap().resolve("gps").is_some());
    // A class file that has become wrong keeps its class, and so the service.
    fs::write(&file, "[class]\nname = 5\n").unwrap();
    let changes = store.reload();
    assert!(changes.classes.is_none());
    assert_eq!((changes.undefined.len(), changes.problems.len()), (0, 1));
    // Two files that define one class: the first wins.
    fs::write(&file, class).unwrap();
    fs::write(root.dir.path().join("classes.d/other.toml"), class).unwrap();
    let message = format!("the class 'gps' is defined by {} already", file.display());
    assert_eq!(said(&store.reload()).2, [message]);
    fs::remove_file(&file).unwrap();
    fs::remove_file(root.dir.path().join("classes.d/other.toml")).unwrap();
    assert!(store.reload().classes.unwrap().resolve("gps").is_none());
    assert_eq!(store.definition_count(), 1, "the service stays as it was");
}

/// A USB board with one function, and its interface below it, which has the same ids.
fn board() -> [DeviceRecord; 2] {
    let properties = |text: &str| Properties::from_uevent_file(text);
    let device = DeviceRecord {
        devpath: "/devices/usb1/1-1".to_owned(),
        subsystem: "usb".to_owned(),
        devtype: Some("usb_device".to_owned()),
        properties: properties("PRODUCT=547/1002/0\nTYPE=255/0/0\n"),
        ..DeviceRecord::default()
    };
    let interface = DeviceRecord {
        devpath: "/devices/usb1/1-1/1-1:1.0".to_owned(),
        devtype: Some("usb_interface".to_owned()),
        properties: properties(
            "PRODUCT=547/1002/0\nTYPE=255/0/0\nINTERFACE=255/0/0\nMODALIAS=usb:in00\n",
        ),
        parent: Some(device.clone().into()),
        ..device.clone()
    };
    [device, interface]
}

#[test]
fn a_class_of_a_trigger_alone_counts_a_device_once() {
    let root = Root::new();
    let start =
        "[[start]]\nclass = \"{00000000-1111-2222-3333-444444444444}\"\nid = \"usb:0547:1002\"\n";
    fs::write(root.own("a.toml"), format!("{}{start}", program("/x"))).unwrap();
    let loaded = Store::open(root.layout()).load();
    let guid = "{00000000-1111-2222-3333-444444444444}".parse().unwrap();
    let count = |device: &DeviceRecord| {
        let exposed = loaded.classes.interfaces_of(device);
        exposed.iter().filter(|one| one.key.class == guid).count()
    };
    let [device, interface] = board();
    assert_eq!((count(&device), count(&interface)), (1, 0));
}

#[test]
fn a_class_that_only_a_trigger_names_is_defined_for_its_ids() {
    let root = Root::new();
    let guid = "{00000000-1111-2222-3333-444444444444}";
    let trigger = |more: &str| {
        let start = format!("[[start]]\nclass = \"{guid}\"\n{more}");
        format!("{}{start}", program("/x"))
    };
    fs::write(
        root.own("a.toml"),
        trigger("id = ['USB\\VID_1&PID_2', '*PNP[05?']\n"),
    )
    .unwrap();
    fs::write(
        root.own("b.toml"),
        trigger("id = 'PCI\\X'\nancestors = true\n"),
    )
    .unwrap();
    let mut store = Store::open(root.layout());
    let loaded = store.load();
    let class = loaded.classes.get(guid.parse().unwrap()).unwrap();
    assert_eq!(class.name, "guid-0000000011112222");
    assert_eq!(class.when.any.len(), 3);
    assert_eq!(class.when.check("match"), Ok(()));
    let patterns = class.when.any[0].id.as_ref().unwrap();
    assert!(patterns.matches_ignoring_case("usb\\vid_1&pid_2"));
    assert!(patterns.matches_ignoring_case("*pnp[05?"));
    assert!(!patterns.matches_ignoring_case("XPNP[05X"));
    assert!(
        loaded
            .problems
            .iter()
            .all(|problem| problem.code == "undefined-class")
    );
    assert_eq!(loaded.problems.len(), 2);
    // A class file that defines it takes its place.
    let file =
        format!("[class]\nname = \"gps\"\nguid = \"{guid}\"\n[match]\nsubsystem = \"tty\"\n");
    fs::write(root.dir.path().join("classes.d/gps.toml"), file).unwrap();
    let changes = store.reload();
    assert_eq!(
        changes
            .classes
            .unwrap()
            .get(guid.parse().unwrap())
            .unwrap()
            .name,
        "gps"
    );
    assert_eq!((changes.defined.len(), changes.problems.len()), (0, 0));
}

#[test]
fn the_folders_that_are_read_are_those_of_the_manual_and_of_every_package() {
    let root = Root::new();
    let dir = root.dir.path();
    let read = ["services.d", "lib/active/other/.arrival/services.d"].map(|d| dir.join(d));
    assert_eq!(root.layout().services(), read);
    let watched = ["lib/active", "services.d", "classes.d"].map(|d| dir.join(d));
    assert_eq!(root.layout().watched(), watched);
    let watched = [
        "/var/lib/arrival/active",
        "/etc/arrival/services.d",
        "/etc/arrival/classes.d",
        "/usr/lib/arrival/services.d",
        "/usr/lib/arrival/classes.d",
    ]
    .map(PathBuf::from);
    assert_eq!(Layout::system().watched(), watched);
}

#[test]
fn enabling_and_disabling_survive_the_store() {
    let root = Root::new();
    fs::write(root.own("A.toml"), program("/x")).unwrap();
    fs::write(
        root.own("off.toml"),
        program("/x").replace("auto", "disabled"),
    )
    .unwrap();
    let mut store = root.store();
    assert!(store.is_enabled(&name("a")) && !store.is_enabled(&name("off")));
    assert!(!store.is_enabled(&name("nobody")));
    store.set_enabled(&name("A"), Some(false)).unwrap();
    store.set_enabled(&name("off"), Some(true)).unwrap();
    let again = root.store();
    for store in [&store, &again] {
        assert!(!store.is_enabled(&name("a")) && store.is_enabled(&name("OFF")));
        let definition =
            |of: &str| -> Definition { (*store.get(&name(of)).unwrap().definition).clone() };
        assert_eq!(store.start_type(&definition("a")), StartType::Disabled);
        assert_eq!(store.start_type(&definition("off")), StartType::Demand);
    }
    store.set_enabled(&name("a"), None).unwrap();
    store.set_enabled(&name("a"), None).unwrap();
    assert!(root.store().is_enabled(&name("a")));
    assert_eq!(root.store().enabled_override(&name("a")), None);
}

#[test]
fn a_damaged_override_says_nothing() {
    let root = Root::new();
    fs::write(root.own("a.toml"), program("/x")).unwrap();
    fs::create_dir_all(root.layout().enabled()).unwrap();
    fs::write(root.layout().enabled().join("a"), "").unwrap();
    fs::write(root.layout().enabled().join(".a.123.new"), "disabled\n").unwrap();
    assert!(root.store().is_enabled(&name("a")));
}

#[test]
fn enabling_that_cannot_be_written_changes_nothing() {
    let root = Root::new();
    fs::write(root.own("a.toml"), program("/x")).unwrap();
    fs::write(root.layout().enabled(), "a file where the folder should be").unwrap();
    let mut store = root.store();
    let error = store
        .set_enabled(&name("a"), Some(false))
        .unwrap_err()
        .to_string();
    let path = root.layout().enabled().join("a");
    assert_eq!(
        error,
        format!(
            "cannot disable 'a': {}: File exists (os error 17)",
            path.display()
        )
    );
    assert!(store.is_enabled(&name("a")));
}

#[test]
fn settings_that_are_not_there_are_the_defaults() {
    let root = Root::new();
    assert_eq!(
        Settings::load(&root.layout()).unwrap().0,
        Settings::default()
    );
    fs::write(
        root.layout().settings(),
        "udev = false\nuevent_buffer = 65536\n",
    )
    .unwrap();
    let settings = Settings::load(&root.layout()).unwrap().0;
    assert_eq!((settings.udev, settings.uevent_buffer), (false, 65536));
    fs::write(root.layout().settings(), "udev = 5\n").unwrap();
    assert_eq!(Settings::load(&root.layout()).unwrap_err()[0].line, 1);
    fs::remove_file(root.layout().settings()).unwrap();
    symlink("/nowhere", root.layout().settings()).unwrap();
    assert_eq!(
        Settings::load(&root.layout()).unwrap_err()[0].code,
        "unreadable"
    );
}
