//! Any bytes as an INF file.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/inf/tests/fuzz/check.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| check::inf(bytes));
