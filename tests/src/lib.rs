//! What the end-to-end cases share.
//!
//! | module | holds |
//! |---|---|
//! | [`case`] | a case runs in a process and namespaces of its own, as root or as an ordinary user |
//! | [`world`] | a private manager in a folder, and what one does with it |
//! | [`uevents`] | an independent reader of the kernel's events |
//! | [`udevd`] | the udevd beside a case: holding it back, and ending it |
//! | [`recording`] | recorded devices as text, and folders that look like the sysfs they come from |
//! | [`need`] | what a case needs of the machine, and how it is skipped |

pub mod case;
pub mod need;
pub mod recording;
pub mod udevd;
pub mod uevents;
pub mod world;
