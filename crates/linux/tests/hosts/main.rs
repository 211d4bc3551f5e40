//! Hosts with real processes, each test under both containments where it makes sense.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod adoption;
mod bench;
mod life;
mod start;
