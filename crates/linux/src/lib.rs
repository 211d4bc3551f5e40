//! The kernel side of Arrival: sources of events, sysfs, and the hosts of services.

pub mod bus;
pub mod device;
pub mod files;
pub mod host;
pub mod listen;
pub mod memory;
pub mod network;
pub mod peer;
pub mod rtnl;
pub mod sandbox;
mod worker;
#[cfg(test)]
mod world;
