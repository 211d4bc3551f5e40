//! The state machine's table, a sentence per cell.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]
#![allow(missing_docs, unreachable_pub)]

mod arrivals;
mod definitions;
mod ends;
mod requests;
mod restart;
mod runs;
mod sessions;
mod signals;
mod world;
