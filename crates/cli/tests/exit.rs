//! The exit statuses that need no manager, and the one line that comes with each.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("arrival-cli-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(dir.join("run")).unwrap();
        std::fs::create_dir_all(dir.join("services.d")).unwrap();
        Root(dir)
    }

    fn define(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join("services.d").join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arrival"));
        command.args(arguments).env("ARRIVAL_ROOT", &self.0);
        command
    }

    fn arrival(&self, arguments: &[&str]) -> (i32, String, String) {
        told(&self.command(arguments).output().unwrap())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn told(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stdout.clone()).unwrap(),
        String::from_utf8(output.stderr.clone()).unwrap(),
    )
}

const GOOD: &str = r#"
[service]
name = "good"
exec = ["/bin/true"]
user = "root"

[[start]]
device = "net"
"#;

#[test]
fn without_a_manager_every_command_that_needs_one_ends_with_6_and_the_remedy() {
    let root = Root::new();
    let commands: [&[&str]; 15] = [
        &["list"],
        &["status"],
        &["status", "x"],
        &["why", "x"],
        &["watch"],
        &["devices"],
        &["classes"],
        &["triggers"],
        &["start", "x"],
        &["stop", "x"],
        &["enable", "x"],
        &["disable", "x"],
        &["reload"],
        &["info"],
        &["shutdown"],
    ];
    for command in commands {
        let (code, out, err) = root.arrival(command);
        assert_eq!(code, 6, "{command:?}: {err}");
        assert_eq!(out, "", "{command:?}");
        let expected = format!(
            "arrival: no manager answers at {}/run/control: start one with 'arrivald' or name its \
             root with --root\n",
            root.0.display()
        );
        assert_eq!(err, expected, "{command:?}");
    }
}

#[test]
fn the_argument_goes_before_the_environment() {
    let root = Root::new();
    let (code, _, err) = root.arrival(&["--root", "/nonexistent", "list"]);
    assert_eq!(code, 6);
    assert!(err.contains("/nonexistent/run/control"), "{err}");
    let (_, _, err) = root.arrival(&["list", "--root=/nonexistent"]);
    assert!(err.contains("/nonexistent/run/control"), "{err}");
}

#[test]
fn wrong_usage_ends_with_2() {
    let root = Root::new();
    for arguments in [
        &["start"] as &[&str],
        &["lsit"],
        &["list", "--jsno"],
        &["start", "x", "--no-wait", "--timeout", "3"],
        &["stop", "x", "--timeout", "0"],
        &["--color", "sometimes", "list"],
        &["daemon", "--rot"],
        &[],
    ] {
        let (code, _, err) = root.arrival(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_daemon_explains_itself() {
    let root = Root::new();
    let (code, out, err) = root.arrival(&["daemon", "--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("Usage: arrivald [OPTIONS]"), "{out}");
}

#[test]
fn a_mistyped_command_is_guessed() {
    let (_, _, err) = Root::new().arrival(&["lsit"]);
    assert!(err.contains("list"), "{err}");
}

#[test]
fn check_needs_no_manager() {
    let root = Root::new();
    root.define("good.toml", GOOD);
    let (code, out, err) = root.arrival(&["check"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(out, "0 errors, 0 warnings in 1 file\n");
}

#[test]
fn errors_in_a_file_end_with_8_and_show_the_place() {
    let root = Root::new();
    root.define("good.toml", GOOD);
    let path = root.define("bad.toml", &GOOD.replace("exec", "exce"));
    let (code, out, _) = root.arrival(&["check"]);
    assert_eq!(code, 8, "{out}");
    assert!(out.contains("unknown key 'exce'"), "{out}");
    assert!(out.contains(&format!("{}:4:1", path.display())), "{out}");
    let (code, same, _) = root.arrival(&["check", path.to_str().unwrap()]);
    assert_eq!(code, 8);
    assert!(same.contains("unknown key 'exce'"), "{same}");
    let (code, json, _) = root.arrival(&["check", "--json"]);
    assert_eq!(code, 8);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let problems = value["problems"].as_array().unwrap();
    let unknown = problems
        .iter()
        .find(|problem| problem["code"] == "unknown-key");
    assert_eq!(unknown.unwrap()["line"], 4, "{json}");
    assert_eq!(unknown.unwrap()["severity"], "error");
}

#[test]
fn a_mistake_is_told_once() {
    let root = Root::new();
    root.define("twice.toml", GOOD);
    root.define("good.toml", GOOD);
    let (code, out, _) = root.arrival(&["check"]);
    assert_eq!(code, 8, "{out}");
    assert_eq!(out.matches("[duplicate-service]").count(), 1, "{out}");
    assert_eq!(out.matches("[name-differs]").count(), 1, "{out}");
    assert!(out.contains("1 error, 1 warning in 2 files"), "{out}");
}

#[test]
fn a_class_file_is_known_by_its_folder_or_its_table() {
    let root = Root::new();
    let text = "[class]\nname = \"no such key follows\"\nwhatever = 1\n";
    let path = root.define("class.toml", text);
    let (code, out, _) = root.arrival(&["check", path.to_str().unwrap()]);
    assert_eq!(code, 8, "{out}");
    assert!(!out.contains("[service]"), "{out}");
}

#[test]
fn a_file_that_is_not_there_ends_with_8_and_a_root_that_is_not_there_with_4() {
    let root = Root::new();
    let (code, out, _) = root.arrival(&["check", "/nonexistent.toml"]);
    assert_eq!(code, 8);
    assert!(out.contains("cannot read the file"), "{out}");
    let (code, _, err) = root.arrival(&["--root", "/nonexistent", "check"]);
    assert_eq!(code, 4, "{err}");
}

#[test]
fn a_manager_that_only_hangs_up_ends_with_1() {
    let root = Root::new();
    let listener = UnixListener::bind(root.0.join("run/control")).unwrap();
    let server = std::thread::spawn(move || drop(listener.accept()));
    let (code, _, err) = root.arrival(&["list"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.starts_with("arrival: cannot list services: "), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    server.join().unwrap();
}

#[test]
fn a_socket_that_may_not_be_used_ends_with_5() {
    let root = Root::new();
    let control = root.0.join("run/control");
    let _listener = UnixListener::bind(&control).unwrap();
    std::fs::set_permissions(&control, PermissionsExt::from_mode(0o000)).unwrap();
    let mut command = root.command(&["list"]);
    if rustix::process::geteuid().is_root() {
        // Root may use every socket: somebody else has to try.
        command.uid(65_534);
    }
    match command.output() {
        Ok(output) => {
            let (code, _, err) = told(&output);
            assert_eq!(code, 5, "{err}");
        }
        Err(error) => println!("skipped: another user may not run the program: {error}"),
    }
}

#[test]
fn a_closed_pipe_is_quiet() {
    let root = Root::new();
    // Enough to fill any pipe, into one that nobody reads.
    for number in 0..200 {
        root.define(&format!("bad{number}.toml"), "\n\n[service]\nexce = 1\n");
    }
    let mut child = root
        .command(&["check"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn colours_come_only_where_they_are_wanted() {
    let root = Root::new();
    let escape = '\u{1b}';
    let (_, plain, _) = root.arrival(&["check"]);
    assert!(!plain.contains(escape), "{plain:?}");
    let (_, coloured, _) = root.arrival(&["check", "--color", "always"]);
    assert!(coloured.contains(escape), "{coloured:?}");
    let forced = root
        .command(&["check"])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(told(&forced).1.contains(escape));
    let forbidden = root
        .command(&["check", "--color", "never"])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(!told(&forbidden).1.contains(escape));
}

#[test]
fn verify_says_what_has_become_of_packages() {
    let root = Root::new();
    assert_eq!(
        root.arrival(&["verify"]),
        (0, "no packages\n".to_owned(), String::new())
    );
    let source = Root::new();
    let inf = source.0.join("lab.inf");
    let text = "[Version]\nSignature = \"$Windows NT$\"\nProvider = ACME\nDriverVer = 11/27/2026,1.0\n\
                [DefaultInstall.NT.Services]\nAddService = labsvc, , Service\n\
                [Service]\nServiceType = 0x10\nStartType = 3\nErrorControl = 0\nServiceBinary = %13%\\labd\n";
    std::fs::write(&inf, text).unwrap();
    std::fs::write(source.0.join("labd"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&source.0, std::fs::Permissions::from_mode(0o755)).unwrap();
    let install = ["install", inf.to_str().unwrap()];
    let (status, _, errors) = root.arrival(&install);
    assert_eq!(status, 0, "{errors}");
    let whole = (
        0,
        "lab 1.0: as installed, 2 files\n".to_owned(),
        String::new(),
    );
    assert_eq!(root.arrival(&["verify"]), whole);
    assert_eq!(root.arrival(&["verify", "LAB.inf"]), whole);

    let folder = root.0.join("lib/active/lab").canonicalize().unwrap();
    std::fs::write(folder.join(".arrival/services.d/labsvc.toml"), "").unwrap();
    std::fs::write(folder.join("x\u{1b}"), "").unwrap();
    std::fs::remove_file(folder.join("labd")).unwrap();
    let (status, answer, errors) = root.arrival(&["verify"]);
    let expected = format!(
        "lab 1.0: 3 differences in {}\n  changed .arrival/services.d/labsvc.toml\n  missing labd\n  added   x\\x1b\n",
        folder.display()
    );
    assert_eq!((status, answer, errors), (1, expected, String::new()));
    let (status, answer, _) = root.arrival(&["verify", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let package = &answer["packages"][0];
    assert_eq!((status, &package["name"]), (1, &"lab".into()));
    assert_eq!(
        package["problems"][1],
        serde_json::json!({ "path": "labd", "what": "missing" })
    );

    let (status, answer, errors) = root.arrival(&["verify", "lab", "other"]);
    assert_eq!((status, answer.as_str()), (4, ""));
    assert_eq!(errors, "arrival: there is no package 'other'\n");
    assert_eq!(root.arrival(&install).0, 0);
    assert_eq!(root.arrival(&["verify"]), whole);
}
