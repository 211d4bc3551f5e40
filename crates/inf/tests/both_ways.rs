//! A definition that is written as an INF or as a registry file is read as the same one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;

use arrival_inf::{Target, reg, write};
use arrival_model::definition::Definition;
use proptest::prelude::*;

#[path = "../../store/src/definition/strategy.rs"]
mod strategy;

/// What an INF can say: one line of text, and a description without blanks around it.
fn sayable(mut definition: Definition) -> Definition {
    for text in definition
        .exec
        .iter_mut()
        .chain(definition.environment.values_mut())
    {
        text.retain(|c| !c.is_control());
    }
    definition.description = definition.description.trim().to_owned();
    plain_program(definition)
}

/// No quote can be in a program's path on Windows, and what ends with a blank does not.
fn plain_program(mut definition: Definition) -> Definition {
    if let Some(program) = definition.exec.first_mut() {
        program.retain(|c| c.is_ascii_alphanumeric() || c == ' ');
        *program = format!("/x{}", program.trim_end());
    }
    definition
}

/// Another machine, which may watch what this one does not.
fn elsewhere() -> Target {
    Target {
        here: false,
        ..Target::amd64()
    }
}

proptest! {
    #[test]
    fn as_an_inf(definition in strategy::definitions()) {
        let definition = sayable(definition);
        let text = write(&definition, None);
        prop_assert!(text.is_ok(), "{:?}", text);
        let text = text.unwrap();
        let read = arrival_inf::read(Path::new("x.inf"), text.as_bytes(), &elsewhere());
        let plan = read.plan.unwrap();
        prop_assert_eq!(plan.services.len(), 1);
        let again = plan.services.first().unwrap().definition(&definition.exec[0]);
        prop_assert_eq!(again, definition, "{}", text);
    }

    #[test]
    fn as_a_registry_file(definition in strategy::definitions()) {
        let definition = plain_program(definition);
        let text = reg::write(&definition).unwrap();
        let read = reg::read(Path::new("x.reg"), text.as_bytes());
        let errors: Vec<_> = read.problems.iter().filter(|problem| problem.is_error()).collect();
        prop_assert!(errors.is_empty(), "{}\n{:?}", text, errors);
        prop_assert_eq!(read.services, vec![definition], "{}", text);
    }

    #[test]
    fn any_bytes_are_a_registry_file_or_have_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let read = reg::read(Path::new("x.reg"), &bytes);
        prop_assert!(!read.services.is_empty() || read.problems.iter().any(|problem| problem.is_error()));
    }
}

#[test]
fn a_command_line_cannot_have_a_quote_in_its_program() {
    let definition = Definition::new("x".parse().unwrap(), vec!["/a\"b".to_owned()]);
    for error in [write(&definition, None), reg::write(&definition)] {
        let error = error.unwrap_err();
        assert!(error.contains("cannot be written"), "{error}");
    }
}

/// The triggers of a shipping service as `reg export` writes them.
#[test]
fn the_registry_of_a_windows_service_reads_as_its_triggers() {
    let text = "Windows Registry Editor Version 5.00\r\n\r\n\
        [HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\hidserv]\r\n\
        \"ImagePath\"=\"/usr/lib/hidserv -k\"\r\n\"Start\"=dword:00000003\r\n\"Type\"=dword:00000020\r\n\
        \"FailureActions\"=hex:80,51,01,00,00,00,00,00,00,00,00,00,02,00,00,00,14,00,00,\\\r\n  \
        00,01,00,00,00,60,ea,00,00,00,00,00,00,00,00,00,00\r\n\r\n\
        [HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\hidserv\\TriggerInfo\\0]\r\n\
        \"Type\"=dword:00000001\r\n\"Action\"=dword:00000001\r\n\
        \"GUID\"=hex:b2,55,1e,4d,6f,f1,cf,11,88,cb,00,11,11,00,00,30\r\n\
        \"DataType0\"=dword:00000002\r\n\"Data0\"=hex:48,00,49,00,44,00,00,00\r\n";
    let wide: Vec<u8> = std::iter::once(0xfeff)
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let read = reg::read(Path::new("hidserv.reg"), &wide);
    assert_eq!(read.problems, []);
    let [service] = read.services.as_slice() else {
        panic!("{:?}", read.services);
    };
    assert_eq!(service.exec, ["/usr/lib/hidserv", "-k"]);
    assert!(!service.follow);
    let trigger = service.triggers.first().unwrap();
    let trigger = trigger.starts_with_device().unwrap();
    assert_eq!(
        trigger.class.to_string(),
        "{4d1e55b2-f16f-11cf-88cb-001111000030}"
    );
    assert_eq!(trigger.ids.first().unwrap().as_str(), "HID");
    // One restart after a minute, then none.
    assert_eq!(service.failure.limit, 2);
    assert_eq!(service.failure.delay.as_secs(), 60);
    assert_eq!(service.failure.within.as_secs(), 86_400);
}

#[test]
fn what_an_inf_cannot_say_is_refused() {
    let name = "x".parse().unwrap();
    let definition = Definition::new(name, vec!["/bin/x".to_owned(), "a\nb".to_owned()]);
    let error = write(&definition, None).unwrap_err();
    assert!(error.contains("line break"), "{error}");
}

#[test]
fn a_program_of_a_package_stays_one() {
    let name = "x".parse().unwrap();
    let exec = vec!["/var/lib/p/sub/x y".to_owned(), "50%".to_owned()];
    let definition = Definition::new(name, exec);
    let text = write(&definition, Some(Path::new("/var/lib/p"))).unwrap();
    assert!(
        text.contains(r#"ServiceBinary = """%13%\sub\x y"" 50%%""#),
        "{text}"
    );
    assert!(text.contains("Service.Files = 13, sub"), "{text}");
}
