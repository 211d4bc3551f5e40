//! What files say of the machine: the domain that it is a member of, and its policy.
//!
//! | module | holds |
//! |---|---|
//! | [`membership`] | which domain, from what Samba, SSSD and FreeIPA keep |
//! | [`policy`] | machine and user policy, from caches of group policy |
//! | `look` | watching folders, and looking again when it is quiet |
//! | `ini` | the sections and keys of configuration files |

mod ini;
mod look;
pub mod membership;
pub mod policy;

pub use self::look::{FileCounters, FileEvent, FileSource};
