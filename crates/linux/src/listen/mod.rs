//! Listening sockets: which there are in this network namespace, and whose they are.
//!
//! A TCP socket counts while it listens, a UDP socket while it has a port and no peer. What is true is
//! always read from the kernel's own list, by the cookie that no two sockets share; everything else only
//! says when to read it.
//!
//! | module | holds |
//! |---|---|
//! | `source` | the source: when it reads, what it tells |
//! | `diag` | the kernel's list of sockets, and its messages about those that are gone |
//! | `trace` | tracepoints, by which the kernel says that a socket may listen now |
//! | `owners` | which processes have a socket |

mod diag;
mod owners;
mod source;
mod trace;

pub use self::diag::Listener;
pub use self::owners::Owner;
pub use self::source::{ListenConfig, ListenCounters, ListenEvent, ListenSource};
