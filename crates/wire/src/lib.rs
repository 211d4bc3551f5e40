//! Every byte format that reaches Arrival from outside, without any input or output.
//!
//! | module | reads and writes |
//! |---|---|
//! | [`api`] | the interfaces of the control protocol and their types |
//! | [`event`] | the frames of the event bus |
//! | [`frame`] | the framing of Varlink on a stream |
//! | [`keytab`] | whose keys a Kerberos keytab holds |
//! | [`message`] | the calls and replies of Varlink |
//! | [`notify`] | the datagrams of sd_notify(3) |
//! | [`preg`] | the registry values of a group policy, Registry.pol |
//! | [`tdb`] | Samba's trivial database |
//! | [`udev_entry`] | udevd's file of a device |
//! | [`uevent`] | the kernel's and udevd's device events |
#![forbid(unsafe_code)]

pub mod api;
pub mod event;
pub mod frame;
pub mod keytab;
pub mod message;
pub mod notify;
pub mod preg;
pub mod tdb;
pub mod udev_entry;
pub mod uevent;
