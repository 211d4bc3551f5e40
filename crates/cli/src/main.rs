//! The command line of Arrival.
fn main() {}
