//! A private world for tests: namespaces in which their devices and sockets disturb nobody.
#![allow(clippy::unwrap_used)]

use std::fs;

use crate::sandbox::{Sandbox, SandboxError, temporary_folder};

/// Runs one test of this program again in a private world, where its devices disturb nobody.
///
/// The test is named by its path; true if this is that second time.
pub(crate) fn in_a_world(test: &str) -> bool {
    const INSIDE: &str = "ARRIVAL_TEST_WORLD";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let root = temporary_folder("arrival-test-").unwrap();
    let sandbox = Sandbox::new(&root, std::env::current_exe().unwrap())
        .argument(test)
        .argument("--exact")
        .argument("--nocapture")
        .variable(INSIDE, "1");
    let result = sandbox.start();
    let code = match result {
        Ok(mut world) => world.wait().unwrap().code(),
        Err(SandboxError::Refused(refusal)) => {
            let required = std::env::var("ARRIVAL_REQUIRE").unwrap_or_default();
            assert!(!required.contains("netns"), "{refusal}");
            println!("skipped: {refusal}");
            Some(0)
        }
        Err(error) => panic!("{error}"),
    };
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(code, Some(0));
    false
}
