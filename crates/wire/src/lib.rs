//! wire
pub mod api;
pub mod uevent;
