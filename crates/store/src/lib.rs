//! Arrival's files: what an administrator writes, what packages bring, what must outlive the daemon.
//!
//! | module | holds |
//! |---|---|
//! | [`layout`] | where everything lies, below a root or at the system's places |
//! | [`lock`] | one daemon per root, one writer at a time |
//! | [`definition`] | definitions of services in TOML |
//! | [`lint`] | what `arrival check` says beyond errors |
//! | [`settings`] | `arrivald.toml` |
//! | [`store`] | all definitions and classes of a root, enabled and disabled |
//! | [`package`] | installed packages, and the folder that one comes from |
//! | [`file`](mod@file) | files that must not be half there |
//! | `fault` | what tests do to the steps of an install |
//! | [`journal`] | the run-time state, which survives the daemon but not the boot |
//!
//! The daemon reads and watches; the installer writes below the store's lock. Nothing here waits
//! for anything but a disk.
#![forbid(unsafe_code)]

pub mod definition;
mod document;
mod duration;
mod fault;
pub mod file;
mod identity;
pub mod journal;
pub mod layout;
pub mod lint;
pub mod lock;
pub mod package;
pub mod settings;
pub mod store;

pub use arrival_model::diagnostic::{Diagnostic, Severity};
pub use layout::Layout;
pub use lock::Lock;
pub use settings::Settings;
pub use store::Store;
