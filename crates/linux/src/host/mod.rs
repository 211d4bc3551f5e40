//! Hosts: the process trees in which runs of services live.
//!
//! | file | what it holds |
//! |---|---|
//! | `record` | what is written down about a host so that a later daemon finds it again |
//! | `containment` | where hosts live: below a cgroup v2 folder, or only under this process's eye |
//! | `spec`, `spawn`, `clone` | what to run, everything prepared for it, and the child's own few system calls |
//! | `table`, `entry`, `outcome` | [`Hosts`]: signals, kills, exits, emptiness |
//! | `adoption` | what an earlier daemon left |
//! | `cgroup`, `tree` | membership by cgroup, and by parent chain, session and token |
//! | `reap` | orphans that become our children, so that no zombie stays |
//! | `identity` | a user's name to ids, without name services in this process |
//! | `notify` | the socket behind `NOTIFY_SOCKET` |
//! | `output` | a service's stdout and stderr: the journal's stream or a log file |
//!
//! A host's life:
//!
//! ```text
//! Containment::plan -> HostRecord (write it down) -> spawn -> Child -> Hosts::insert -> HostRecord (write it down)
//!     -> HostEvent::MainExited -> HostEvent::Empty          each exactly once, in this order
//! ```
//!
//! Nothing here ties a host to the life of this process: there is no pipe, no terminal and no parent-death
//! signal. A daemon that starts again calls [`Hosts::adopt`] with the records it wrote.
//!
//! [`spawn`] blocks its thread until the program was executed, which can be long when the executable lies
//! on a slow file system: call it from a thread that may wait, never from the one that owns the engine.

mod adoption;
mod cgroup;
mod clone;
mod containment;
mod entry;
pub mod identity;
pub mod notify;
mod outcome;
pub mod output;
mod reap;
mod record;
mod spawn;
mod spec;
mod sys;
mod table;
mod tree;

pub use containment::{Containment, Wanted};
pub use outcome::{Adopted, Exit, HostError, HostEvent, Stray};
pub use record::{HostId, HostRecord};
pub use spawn::{Child, MAX_PASSED, raise_open_files, spawn};
pub use spec::{Credentials, Passed, SpawnError, Spec, Step};
pub use table::Hosts;
