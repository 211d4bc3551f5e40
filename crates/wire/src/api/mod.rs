//! The control protocol's interfaces: the Varlink text as it is served, and the types of its
//! parameters and replies.
//!
//! | interface | text | types |
//! |---|---|---|
//! | `org.arrivald.Services` | [`SERVICES`] | [`services`] |
//! | `org.arrivald.Devices` | [`DEVICES`] | [`devices`] |
//! | `org.arrivald.Session` | [`SESSION`] | [`session`] |
//! | `org.arrivald.Daemon` | [`DAEMON`] | [`daemon`] |

use serde::{Deserialize, Serialize};

pub mod daemon;
pub mod devices;
pub mod services;
pub mod session;

/// The text of `org.arrivald.Services`.
pub const SERVICES: &str = include_str!("org.arrivald.Services.varlink");
/// The text of `org.arrivald.Devices`.
pub const DEVICES: &str = include_str!("org.arrivald.Devices.varlink");
/// The text of `org.arrivald.Session`.
pub const SESSION: &str = include_str!("org.arrivald.Session.varlink");
/// The text of `org.arrivald.Daemon`.
pub const DAEMON: &str = include_str!("org.arrivald.Daemon.varlink");

/// Parameters or a reply without any member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// The parameters of the error `Denied`, and of `Failed`, which has the same ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// The Win32 error code of the case.
    pub code: u32,
    /// What a person reads.
    pub reason: String,
}
