//! The product from outside: the shipped programs, real devices, and counts by the service itself.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

/// A test that runs in namespaces of its own.
macro_rules! case {
    ($(#[$doc:meta])* $name:ident as $who:ident, $body:expr) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            arrival_tests::case::run(arrival_tests::case::As::$who, name, $body);
        }
    };
}

mod adoption;
mod bad_days;
mod client_service;
mod damaged_state;
mod devices;
mod disks;
mod flap_matrix;
mod flaps;
mod follow;
mod full_disk;
mod hostile;
mod kills;
mod many;
mod package_faults;
mod packages;
mod recordings;
mod restarts;
mod rights;
mod triggers;
mod udevd;
