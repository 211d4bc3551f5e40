#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

fn in_a_world(test: &str) -> bool {
    crate::world::in_a_world(&format!("rtnl::tests::{test}"))
}

/// The private sysfs; the folder of the world is where its program begins.
fn is_there(name: &str) -> bool {
    Path::new("sys/class/net").join(name).exists()
}

fn flags(name: &str) -> u32 {
    let text = fs::read_to_string(format!("sys/class/net/{name}/flags")).unwrap();
    u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap()
}

fn errno(result: Result<(), LinkError>) -> Option<i32> {
    result.unwrap_err().cause.raw_os_error()
}

#[test]
fn bridges_and_cables_come_and_go_by_name() {
    if !in_a_world("bridges_and_cables_come_and_go_by_name") {
        return;
    }
    let mut links = Links::open().unwrap();
    links.create_bridge("b0").unwrap();
    assert!(is_there("b0"));
    assert_eq!(errno(links.create_bridge("b0")), Some(libc::EEXIST));
    links.create_veth("v0", "v1").unwrap();
    assert!(is_there("v0") && is_there("v1"));
    links.delete("v1").unwrap();
    assert!(!is_there("v0") && !is_there("v1"));
    links.delete("b0").unwrap();
    assert!(!is_there("b0"));
    assert_eq!(errno(links.delete("b0")), Some(libc::ENODEV));
}

#[test]
fn a_device_is_renamed_and_set_up_and_down() {
    if !in_a_world("a_device_is_renamed_and_set_up_and_down") {
        return;
    }
    let mut links = Links::open().unwrap();
    links.create_bridge("old").unwrap();
    links.create_bridge("other").unwrap();
    links.rename("old", "new").unwrap();
    assert!(!is_there("old") && is_there("new"));
    assert_eq!(errno(links.rename("new", "other")), Some(libc::EEXIST));
    assert_eq!(errno(links.rename("old", "x")), Some(libc::ENODEV));
    let up = libc::IFF_UP as u32;
    assert_eq!(flags("new") & up, 0);
    links.set_up("new", true).unwrap();
    assert_eq!(flags("new") & up, up);
    links.set_up("new", false).unwrap();
    assert_eq!(flags("new") & up, 0);
    assert_eq!(errno(links.set_up("old", true)), Some(libc::ENODEV));
}

#[test]
fn a_tap_lives_as_long_as_it_is_held_or_for_good() {
    if !in_a_world("a_tap_lives_as_long_as_it_is_held_or_for_good") {
        return;
    }
    let tap = match Tap::create("t0") {
        Ok(tap) => tap,
        Err(error) => return println!("skipped: {error}"),
    };
    assert!(is_there("t0"));
    let taken = Tap::create("t0").unwrap_err();
    assert_eq!(taken.cause.raw_os_error(), Some(libc::EBUSY));
    drop(tap);
    assert!(!is_there("t0"));
    let tap = Tap::create("t0").unwrap();
    tap.set_persistent(true).unwrap();
    drop(tap);
    assert!(is_there("t0"));
    Links::open().unwrap().delete("t0").unwrap();
    assert!(!is_there("t0"));
}

#[test]
fn an_impossible_name_is_refused_before_it_is_cut() {
    let mut links = Links::open().unwrap();
    for name in [
        "",
        ".",
        "..",
        "a b",
        "a/b",
        "a:b",
        "a\0b",
        "sixteen-bytes-xx",
    ] {
        let error = links.delete(name).unwrap_err();
        assert_eq!(error.cause.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        assert!(error.to_string().contains("1 to 15 bytes"), "{error}");
        assert!(Tap::create(name).is_err(), "{name:?}");
    }
}

#[test]
fn without_the_right_nothing_is_made_and_the_error_says_so() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = status.lines().find(|line| line.starts_with("CapEff"));
    if !capabilities.unwrap().ends_with("0000000000000000") {
        // With every right there is nothing to refuse: ask one who has none.
        let exe = std::env::current_exe().unwrap();
        let test = "rtnl::tests::without_the_right_nothing_is_made_and_the_error_says_so";
        let status = Command::new("setpriv")
            .arg("--bounding-set=-all")
            .arg(exe)
            .args([test, "--exact"])
            .status();
        match status {
            Ok(status) => assert!(status.success()),
            Err(error) => println!("skipped: setpriv: {error}"),
        }
        return;
    }
    let error = Links::open().unwrap().create_bridge("b0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot make the network device 'b0': Operation not permitted (os error 1)"
    );
}
