//! What of an installed service stays when it is installed again, flag by flag.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use arrival_inf::plan::{flags, keep};
use arrival_model::definition::{Definition, StartType};
use arrival_model::guid::Guid;
use arrival_model::trigger::{DeviceTrigger, Trigger, Wait};

fn trigger(class: u128) -> Trigger {
    Trigger::device(DeviceTrigger {
        class: Guid::from_u128(class),
        ids: Vec::new(),
        ancestors: false,
        wait: Wait::Usable,
    })
}

/// A service that differs in everything from one with another number.
fn service(number: u8) -> Definition {
    let exec = vec![format!("/bin/{number}")];
    let mut service = Definition::new("blink".parse().unwrap(), exec);
    service.description = format!("version {number}");
    service.start = [StartType::Auto, StartType::Demand][usize::from(number % 2)];
    service.depends = vec![format!("before{number}").parse().unwrap()];
    service.triggers = vec![trigger(number.into())];
    service.failure.delay = Duration::from_secs(number.into());
    service.user = Some(["arrival-local", "own"][usize::from(number % 2)].to_owned());
    service.security = Some(format!("D:(A;;GA;;;S-1-22-1-{number})"));
    service
}

/// The parts that stay, by name.
fn kept(flags: u32) -> Vec<&'static str> {
    let (old, new) = (service(1), service(2));
    let kept = keep(&old, new.clone(), flags);
    // The program is always the new one's.
    assert_eq!(kept.exec, new.exec);
    let mut names = Vec::new();
    let mut look = |name, is_old: bool, is_new: bool| {
        assert!(is_old != is_new, "{name} is neither or both");
        if is_old {
            names.push(name);
        }
    };
    look(
        "description",
        kept.description == old.description,
        kept.description == new.description,
    );
    look("start", kept.start == old.start, kept.start == new.start);
    look(
        "depends",
        kept.depends == old.depends,
        kept.depends == new.depends,
    );
    look(
        "triggers",
        kept.triggers == old.triggers,
        kept.triggers == new.triggers,
    );
    look(
        "failure",
        kept.failure == old.failure,
        kept.failure == new.failure,
    );
    look("user", kept.user == old.user, kept.user == new.user);
    look(
        "security",
        kept.security == old.security,
        kept.security == new.security,
    );
    names
}

#[test]
fn each_flag_keeps_its_part_and_nothing_else() {
    assert_eq!(kept(0), ["security"]);
    assert_eq!(kept(flags::CLOBBER_SECURITY), [""; 0]);
    for (flag, part) in [
        (flags::NOCLOBBER_DISPLAYNAME, "description"),
        (flags::NOCLOBBER_DESCRIPTION, "description"),
        (flags::NOCLOBBER_STARTTYPE, "start"),
        (flags::NOCLOBBER_DEPENDENCIES, "depends"),
        (flags::NOCLOBBER_TRIGGERS, "triggers"),
        (flags::NOCLOBBER_FAILUREACTIONS, "failure"),
        (flags::NOCLOBBER_SERVICESIDTYPE, "user"),
    ] {
        assert_eq!(kept(flag | flags::CLOBBER_SECURITY), [part], "{flag:#x}");
    }
    for nothing in [
        flags::TAGTOFRONT,
        flags::NOCLOBBER_ERRORCONTROL,
        flags::NOCLOBBER_LOADORDERGROUP,
        flags::NOCLOBBER_REQUIREDPRIVILEGES,
        flags::NOCLOBBER_DELAYEDAUTOSTART,
        flags::NOCLOBBER_BOOTFLAGS,
        flags::STARTSERVICE,
    ] {
        assert_eq!(kept(nothing), ["security"], "{nothing:#x}");
    }
}

#[test]
fn what_is_not_there_is_not_kept() {
    let mut old = service(1);
    old.triggers.clear();
    old.description.clear();
    old.security = None;
    let every = flags::ADD & !flags::CLOBBER_SECURITY;
    let kept = keep(&old, service(2), every);
    assert_eq!(kept.triggers, service(2).triggers);
    assert_eq!(kept.description, "version 2");
    assert_eq!(kept.security, service(2).security);
    // A real user is no account of which the type of a SID decides.
    old.user = Some("daemon".to_owned());
    assert_eq!(keep(&old, service(2), every).user, service(2).user);
}
