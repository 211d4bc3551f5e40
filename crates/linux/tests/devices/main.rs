//! The device source with real devices: network interfaces in namespaces of their own, loop
//! devices of the machine, and trees of files that look like sysfs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod loops;
mod net;
mod recorder;
mod rtnetlink;
mod sandbox;
mod trees;
mod unprivileged;
