//! Win32 error codes, as the service control functions return them.
//!
//! Source: Microsoft, "System Error Codes", and the pages of StartService and ControlService.

use serde::{Deserialize, Serialize};

/// A Win32 error code; an open type, so that a foreign number survives.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Win32Error(pub u32);

#[allow(missing_docs, reason = "the names are Microsoft's own")]
impl Win32Error {
    pub const SUCCESS: Self = Self(0);
    pub const FILE_NOT_FOUND: Self = Self(2);
    pub const ACCESS_DENIED: Self = Self(5);
    pub const INVALID_HANDLE: Self = Self(6);
    pub const INVALID_DATA: Self = Self(13);
    pub const GEN_FAILURE: Self = Self(31);
    pub const NOT_SUPPORTED: Self = Self(50);
    pub const BUSY: Self = Self(170);
    pub const INVALID_PARAMETER: Self = Self(87);
    pub const DISK_FULL: Self = Self(112);
    pub const CALL_NOT_IMPLEMENTED: Self = Self(120);
    pub const NO_SUCH_DEVICE: Self = Self(433);
    pub const DEPENDENT_SERVICES_RUNNING: Self = Self(1051);
    pub const INVALID_SERVICE_CONTROL: Self = Self(1052);
    pub const SERVICE_REQUEST_TIMEOUT: Self = Self(1053);
    pub const SERVICE_ALREADY_RUNNING: Self = Self(1056);
    pub const SERVICE_DISABLED: Self = Self(1058);
    pub const SERVICE_DOES_NOT_EXIST: Self = Self(1060);
    pub const SERVICE_CANNOT_ACCEPT_CTRL: Self = Self(1061);
    pub const SERVICE_NOT_ACTIVE: Self = Self(1062);
    pub const SERVICE_SPECIFIC_ERROR: Self = Self(1066);
    pub const PROCESS_ABORTED: Self = Self(1067);
    pub const SERVICE_LOGON_FAILED: Self = Self(1069);
    pub const SERVICE_MARKED_FOR_DELETE: Self = Self(1072);
    pub const SERVICE_NEVER_STARTED: Self = Self(1077);
    pub const SHUTDOWN_IN_PROGRESS: Self = Self(1115);
    pub const NOT_FOUND: Self = Self(1168);
    pub const RETRY: Self = Self(1237);
}
