//! `arrival inf check` says of every file of the corpus what stands beside it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_file_of_the_corpus_is_checked_to_the_letter() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inf/tests/cases");
    let mut seen = 0;
    for entry in fs::read_dir(&cases).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        // What is judged as if it were to be installed is what `install` says.
        let checked = path.extension().is_some_and(|e| e == "inf" || e == "inx");
        if !checked || name.starts_with("here-") {
            continue;
        }
        seen += 1;
        let expected = fs::read_to_string(path.with_extension("expected")).unwrap();
        let problems = expected.find("\n\n").map_or("", |at| &expected[at..]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_arrival"));
        command.args(["inf", "check", "--arch", "amd64", name]);
        if name.starts_with("windows-") {
            command.arg("--windows");
        }
        let output = command.current_dir(&cases).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // The last line counts.
        let (told, _) = said.trim_end().rsplit_once('\n').unwrap_or_default();
        assert_eq!(told.trim(), problems.trim(), "{name}");
        let errors = problems.contains("\nerror[");
        let status = if errors { 8 } else { 0 };
        assert_eq!(output.status.code(), Some(status), "{name}");
    }
    assert!(seen >= 110, "only {seen} files were found");
}

/// A folder that is gone with the value.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("arrival-inf-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("services.d")).unwrap();
        Folder(folder)
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Status, output and what was told.
    fn arrival(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arrival"));
        let output = command
            .args(arguments)
            .env("ARRIVAL_ROOT", &self.0)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PACKAGE: &str = "[Version]\nSignature=\"$Windows NT$\"\n[DefaultInstall.NTamd64.Services]\nAddService=blink,,Service\n\
    [DefaultInstall.NTarm64.Services]\nAddService=blinkarm,,Service\n\
    [Service]\nServiceType=0x10\nStartType=3\nErrorControl=0\nServiceBinary=/bin/sh\nDescription=%Text%\nAddReg=R\n\
    [R]\nHKR,Parameters,Speed,0x10001,9\n[Strings]\nText=\"main\"\n[Strings.0407]\nText=\"deutsch\"\n";

#[test]
fn fmt_changes_the_layout_and_keeps_encoding_mode_and_line_ends() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("fmt");
    let wide: Vec<u8> = std::iter::once(0xfeff)
        .chain(PACKAGE.replace('\n', "\r\n").encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let path = folder.put("blink.inf", &wide);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(folder.arrival(&["inf", "fmt", "--check", &path]).0, 1);
    assert_eq!(fs::read(&path).unwrap(), wide);
    assert_eq!(folder.arrival(&["inf", "fmt", &path]).0, 0);
    let after = fs::read(&path).unwrap();
    assert_eq!(after.get(..2), Some([0xff, 0xfe].as_slice()));
    let units: Vec<u16> = after
        .chunks(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let text = String::from_utf16(&units).unwrap();
    assert!(text.contains("StartType     = 3\r\n"), "{text}");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(folder.arrival(&["inf", "fmt", "--check", &path]).0, 0);
    let broken = folder.put("broken.inf", "[Version\n");
    assert_eq!(folder.arrival(&["inf", "fmt", &broken]).0, 8);
    assert_eq!(fs::read(&broken).unwrap(), b"[Version\n");
}

#[test]
fn the_target_is_an_option() {
    let folder = Folder::new("target");
    let path = folder.put("blink.inf", PACKAGE);
    let explain = |more: &[&str]| {
        let mut arguments = vec!["inf", "explain", "--json", path.as_str()];
        arguments.extend(more);
        let (status, out, err) = folder.arrival(&arguments);
        assert_eq!(status, 0, "{out}{err}");
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        let service = &value["plan"]["services"][0];
        (
            service["name"].to_string(),
            service["description"].to_string(),
        )
    };
    assert_eq!(
        explain(&["--arch", "amd64"]),
        ("\"blink\"".to_owned(), "\"main\"".to_owned())
    );
    let german = explain(&["--arch", "aarch64", "--language", "0407"]);
    assert_eq!(
        german,
        ("\"blinkarm\"".to_owned(), "\"deutsch\"".to_owned())
    );
    for (option, bad) in [
        ("--language", "german"),
        ("--os", "ten"),
        ("--arch", "mips"),
    ] {
        let (status, _, told) = folder.arrival(&["inf", "explain", &path, option, bad]);
        assert_ne!(status, 0, "{option} {bad}");
        assert!(!told.is_empty());
    }
}

#[test]
fn every_form_reads_as_the_same_definition() {
    let folder = Folder::new("export");
    let definition = "[service]\nexec = [\"/bin/sh\", \"-c\", \"a b\"]\nlinger = \"1500ms\"\n\
        [[start]]\ndevice = \"serial\"\nid = \"usb:067b:2303\"\n";
    folder.put("services.d/gpsd.toml", definition);
    let (status, toml, _) = folder.arrival(&["export", "gpsd", "--toml"]);
    assert_eq!(status, 0);
    for form in ["inf", "reg"] {
        let (status, text, told) = folder.arrival(&["export", "gpsd", &format!("--{form}")]);
        assert_eq!(status, 0, "{told}");
        let path = folder.put(&format!("gpsd.{form}"), text);
        assert_eq!(
            folder.arrival(&["export", &path, "--toml"]).1,
            toml,
            "{form}"
        );
        assert_eq!(folder.arrival(&["check", &path]).0, 0, "{form}");
    }
    assert_eq!(folder.arrival(&["export", "nobody", "--inf"]).0, 4);
    assert_eq!(folder.arrival(&["export", "gpsd"]).0, 2);
    let (status, _, told) = folder.arrival(&["export", "./missing.reg", "--toml"]);
    assert_eq!(status, 8, "{told}");
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let folder = Folder::new("dry");
    let path = folder.put("blink.inf", PACKAGE.replace("NTamd64", "NT"));
    let (status, out, err) = folder.arrival(&["install", "--trust", "--dry-run", &path]);
    assert_eq!(status, 0, "{out}{err}");
    for part in [
        "would install blink",
        "SERVICE",
        "blink",
        "/bin/sh",
        "demand",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (_, json, _) = folder.arrival(&["install", "--trust", "--dry-run", "--json", &path]);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        value["plan"]["services"][0]["parameters"][0]["value"], 9,
        "{json}"
    );
    assert_eq!(value["dry_run"], true);
    assert_eq!(
        folder.arrival(&["packages"]).1,
        "no packages: 'arrival install FILE.inf' installs one\n"
    );
}
