//! The daemon as a whole: a process of its own, real services, plain Varlink.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod adoption;
mod devices;
mod files;
mod lives;
mod protocol;
mod start;
mod support;
