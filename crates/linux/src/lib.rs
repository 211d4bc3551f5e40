//! The kernel side of Arrival: sources of events, sysfs, and the hosts of services.

pub mod device;
pub mod host;
pub mod memory;
pub mod peer;
pub mod rtnl;
pub mod sandbox;
