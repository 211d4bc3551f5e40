//! Whether udevd serves us, and what it has finished.
//!
//! | file | says |
//! |---|---|
//! | `control` | a udevd listens here |
//! | `queue` | it has events that are not finished |
//! | `data/b7:0`, `data/c188:0` | what it knows of a device; `I:` once it has finished with it |
//!
//! Source: udev(7), `src/libsystemd/sd-device` of systemd.

use std::path::PathBuf;

use arrival_model::device::DeviceRecord;

/// udevd's directory in /run.
#[derive(Clone, Debug)]
pub(super) struct UdevRun {
    enabled: bool,
    path: PathBuf,
}

impl UdevRun {
    pub(super) fn new(enabled: bool, path: PathBuf) -> Self {
        UdevRun { enabled, path }
    }

    /// Whether somebody will tell us when a node is usable. Asked anew each time, because udevd
    /// may come and go.
    pub(super) fn serves(&self) -> bool {
        self.enabled && self.path.join("control").exists()
    }

    /// Whether it still has work.
    pub(super) fn is_busy(&self) -> bool {
        self.path.join("queue").exists()
    }

    /// Whether it has finished with a device once.
    pub(super) fn has_finished(&self, device: &DeviceRecord) -> bool {
        let kind = match device.subsystem.as_str() {
            "block" => 'b',
            _ => 'c',
        };
        let number = |key| device.property(key)?.parse::<u32>().ok();
        let (Some(major), Some(minor)) = (number("MAJOR"), number("MINOR")) else {
            return false;
        };
        let path = self.path.join(format!("data/{kind}{major}:{minor}"));
        std::fs::read(path).is_ok_and(|data| {
            data.split(|byte| *byte == b'\n')
                .any(|l| l.starts_with(b"I:"))
        })
    }
}
