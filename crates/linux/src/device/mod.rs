//! Devices: which interfaces are present, from kernel events and sysfs.
//!
//! An event says only where to look: it marks a device's path, and a reader looks at sysfs for
//! the truth. So events may be doubled, late or lost; a device exists iff its directory has a
//! `uevent` file, and it exposes what the classes' predicates say of what was read. Pending work
//! is a set of paths, bounded by the number of devices.
//!
//! | module | holds |
//! |---|---|
//! | [`source`] | the source itself: its threads, its settings, what it delivers |
//! | [`socket`] | the two netlink sockets, and who may be believed |
//! | [`sysfs`] | reading one device, walking over all |
//! | `threads` | the readers, what they share, the walker |
//! | `ears` | what the reader that listens does |
//! | `queue` | paths to look at, and why |
//! | `table` | what is present, and what a look changes |
//! | `names` | names in Windows CE's form: which are taken |
//! | [`node`] | opening the node of a device for somebody |
//! | `ancestors` | records of devices above others, read once |
//! | `udev` | whether udevd serves us, and what it has finished |
//! | `ethtool` | the driver of a virtual network interface |

mod ancestors;
mod counters;
mod ears;
mod ethtool;
mod names;
pub mod node;
mod queue;
mod read;
pub mod socket;
pub mod source;
pub mod sysfs;
mod table;
mod threads;
mod udev;

pub use self::socket::Group;
pub use self::source::{Counters, DeviceConfig, DeviceEvent, DeviceSource, StartError};
