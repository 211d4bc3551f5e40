//! wire
pub mod api;
