//! What each file in `cases` means, and what is wrong with it, is to the letter what stands beside it.
//!
//! Run with `UPDATE_EXPECTED=1` to write down what is said now, and read the difference.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use arrival_inf::plan::{Account, Place, Plan, Settings, Value};
use arrival_inf::{Target, read_package};
use arrival_model::definition::Protocol;
use proptest::prelude::*;

/// A plan as a person would note it.
fn notes(plan: &Plan) -> String {
    let mut out = String::new();
    let Plan {
        provider,
        version,
        devices,
        services,
        removed,
        interfaces,
        declared,
        files,
        parameters,
    } = plan;
    writeln!(out, "package of '{provider}', version '{version}'").unwrap();
    for device in devices {
        writeln!(
            out,
            "device '{}' in [{}]: {}",
            device.description,
            device.section,
            device.ids.join(", ")
        )
        .unwrap();
    }
    for service in services {
        let program = match &service.program {
            Place::Package(path) => format!("the package's {path}"),
            Place::Machine(path) => format!("this machine's {path}"),
        };
        let account = match &service.account {
            Account::System => "root".to_owned(),
            Account::LocalService => "LocalService".to_owned(),
            Account::NetworkService => "NetworkService".to_owned(),
            Account::Own => "a user of its own".to_owned(),
            Account::User(name) => format!("'{name}'"),
        };
        writeln!(
            out,
            "service {} ({}), flags {:#x}",
            service.name, service.description, service.flags
        )
        .unwrap();
        writeln!(
            out,
            "    runs {program} {:?} as {account}",
            service.arguments
        )
        .unwrap();
        let settings = &service.settings;
        let protocol = settings.protocol.unwrap_or(Protocol::Control);
        writeln!(
            out,
            "    start {:?}, protocol {protocol:?}, follow {}, linger {:?}",
            service.start, settings.follow, settings.linger
        )
        .unwrap();
        let plain = Settings {
            protocol: settings.protocol,
            follow: settings.follow,
            linger: settings.linger,
            ..Settings::default()
        };
        if *settings != plain {
            writeln!(out, "    {settings:?}").unwrap();
        }
        if let Some(failure) = &service.failure {
            writeln!(
                out,
                "    after a failure {:?}: {:?}",
                failure.actions,
                failure.policy()
            )
            .unwrap();
        }
        for value in &service.parameters {
            writeln!(out, "    parameter {}", parameter(value)).unwrap();
        }
        for depends in &service.depends {
            writeln!(out, "    after {depends}").unwrap();
        }
        if let Some(security) = &service.security {
            writeln!(out, "    security {security}").unwrap();
        }
        for trigger in &service.triggers {
            writeln!(out, "    {} [{}]", trigger.form, trigger.section).unwrap();
        }
    }
    for one in removed {
        writeln!(
            out,
            "without the service {}, flags {:#x}",
            one.name, one.flags
        )
        .unwrap();
    }
    for class in declared {
        writeln!(out, "declares the class {class}").unwrap();
    }
    for own in parameters {
        for value in &own.values {
            writeln!(out, "parameter of [{}]: {}", own.section, parameter(value)).unwrap();
        }
    }
    for interface in interfaces {
        let ids: Vec<&str> = interface.ids.iter().map(|id| id.as_str()).collect();
        writeln!(
            out,
            "interface {} ({}) of {}",
            interface.class,
            interface.names.join(", "),
            ids.join(" | ")
        )
        .unwrap();
    }
    for file in files {
        writeln!(out, "file {} -> {}", file.source, file.target).unwrap();
    }
    out
}

fn parameter(value: &Value) -> String {
    format!("{}\\{} = {:?}", value.key, value.name, value.data)
}

fn said(name: &str, bytes: &[u8]) -> String {
    let mut target = Target::amd64();
    // What only Windows asks for is asked for in the files that are about it.
    target.windows = name.starts_with("windows-");
    target.here = name.starts_with("here-");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut open = |name: &str| fs::read(folder.join(name.to_ascii_lowercase())).ok();
    let read = read_package(Path::new(name), bytes, &target, &mut open);
    let mut text = match &read.plan {
        Some(plan) => notes(plan),
        None => "installs nothing\n".to_owned(),
    };
    for problem in &read.problems {
        write!(text, "\n{problem}\n").unwrap();
    }
    let errors = read.problems.iter().any(|problem| problem.is_error());
    assert_eq!(
        read.plan.is_none(),
        errors,
        "{name}: a file with an error installs nothing"
    );
    text
}

#[test]
fn every_file_means_exactly_what_stands_beside_it() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<_> = fs::read_dir(&cases)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (mut wrong, mut seen) = (String::new(), 0);
    for path in files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "inf" || e == "inx"))
    {
        seen += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let actual = said(name, &fs::read(path).unwrap());
        let beside = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&beside, &actual).unwrap();
        }
        let expected = fs::read_to_string(&beside).unwrap_or_default();
        if actual != expected {
            write!(
                wrong,
                "== {name}, expected\n{expected}\n== {name}, said\n{actual}\n"
            )
            .unwrap();
        }
    }
    assert!(seen >= 115, "only {seen} cases were found");
    assert!(wrong.is_empty(), "{wrong}");
}

/// The sample sections of a page of Microsoft's documentation, in the order of the page.
fn sample(page: &str) -> String {
    let lines = page
        .lines()
        .skip_while(|line| !line.starts_with("[UserSvc_"));
    let ini =
        lines.take_while(|line| line.is_empty() || line.starts_with('[') || line.contains('='));
    ini.collect::<Vec<_>>().join("\r\n")
}

/// A minimal file around them.
fn around(sections: &str) -> String {
    format!(
        "[Version]\r\nSignature = \"$Windows NT$\"\r\n\r\n[DefaultInstall.NTamd64.Services]\r\n\
         AddService = oemsvc, , UserSvc_Install\r\n\r\n{sections}\r\n\r\n[Strings]\r\n\
         GUID_DEVINTERFACE_OSRFX2 = \"{{573E8C73-0CB4-4471-A1BF-FAB26C31D384}}\"\r\n"
    )
}

#[test]
fn the_sample_sections_of_both_language_versions_mean_the_same_service() {
    let pages = [include_str!("mission/en.md"), include_str!("mission/ja.md")];
    let read = pages.map(|page| {
        let text = around(&sample(page));
        let read = arrival_inf::read(Path::new("oemsvc.inf"), text.as_bytes(), &Target::amd64());
        let told: Vec<String> = read
            .problems
            .iter()
            .map(|problem| problem.code.to_string())
            .collect();
        assert_eq!(told, ["2084"], "{text}");
        read.plan.unwrap()
    });
    for plan in &read {
        assert_eq!(
            notes(plan),
            "package of '', version ''\n\
             service oemsvc (), flags 0x0\n    \
             runs the package's oemsvc.exe [] as root\n    \
             start Demand, protocol Control, follow false, linger 0ns\n    \
             start when a device interface of {573e8c73-0cb4-4471-a1bf-fab26c31d384} arrives: USB\\VID_0547&PID_1002 \
             [UserSvc_AddTrigger]\n\
             file oemsvc.exe -> oemsvc.exe\n"
        );
    }
}

#[test]
fn a_file_in_utf_16_means_the_same() {
    let text = around(&sample(include_str!("mission/en.md")));
    let plain = said("oemsvc.inf", text.as_bytes());
    let wide: Vec<u8> = std::iter::once(0xfeff)
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(said("oemsvc.inf", &wide), plain);
}

proptest! {
    #[test]
    fn no_damage_makes_the_reader_panic(
        number in 0usize..64,
        cuts in proptest::collection::vec((any::<u16>(), proptest::option::of(any::<u8>())), 1..12),
    ) {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
        let mut files: Vec<_> = fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "inf"));
        files.sort();
        let mut bytes = fs::read(&files[number % files.len()]).unwrap();
        for (at, put) in cuts {
            let at = usize::from(at) % bytes.len().max(1);
            match put {
                Some(byte) if at < bytes.len() => bytes[at] = byte,
                _ => bytes.truncate(at),
            }
        }
        let read = arrival_inf::read(Path::new("x.inf"), &bytes, &Target::amd64());
        prop_assert_eq!(read.plan.is_none(), read.problems.iter().any(|problem| problem.is_error()));
    }
}
