//! What a case needs of the machine, and how it is skipped.

use std::io::Write;

/// A thing that not every machine gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// To be root.
    Root,
    /// Network namespaces of one's own.
    Netns,
    /// A udevd of one's own, which `cargo xtask test` unpacks.
    Udevd,
    /// A virtual machine.
    Vm,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Need::Root => "root",
            Need::Netns => "netns",
            Need::Udevd => "udevd",
            Need::Vm => "vm",
        }
    }
}

/// Skips the calling case: says why, notes it for the count, and fails if the machine must have it.
///
/// # Panics
///
/// If ARRIVAL_REQUIRE names what is missing.
pub fn skip(need: Need, why: &str) {
    let required = std::env::var("ARRIVAL_REQUIRE").unwrap_or_default();
    if required.split(',').any(|word| word.trim() == need.name()) {
        panic!("{} is required here: {why}", need.name());
    }
    println!("skipped: {why}");
    if let Ok(file) = std::env::var("ARRIVAL_SKIPS")
        && let Ok(mut file) = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
    {
        // A count that cannot be written is only a count.
        let _ = writeln!(file, "skipped: {why}");
    }
}
