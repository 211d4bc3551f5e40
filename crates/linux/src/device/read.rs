//! One look at a device: its record with its ancestors, its interfaces, its node.

use arrival_model::class::Classes;
use arrival_model::device::DeviceRecord;

use super::ancestors::Ancestors;
use super::queue::Why;
use super::sysfs::{Scratch, Sysfs};
use super::table::{Look, UdevLook};
use super::udev::UdevRun;

/// What a look needs, shared by all readers.
#[derive(Debug)]
pub(super) struct Eyes {
    pub(super) sysfs: Sysfs,
    pub(super) udev: UdevRun,
    pub(super) ancestors: Ancestors,
}

impl Eyes {
    /// Looks at a path; nothing if there is no device.
    pub(super) fn look(
        &self,
        path: &str,
        why: &Why,
        classes: &Classes,
        scratch: &mut Scratch,
    ) -> Option<Look> {
        let mut read = |path: &str| {
            self.sysfs.read(path, scratch, |subsystem| {
                let names = classes.attributes(subsystem);
                names.into_iter().map(str::to_owned).collect()
            })
        };
        let record = read(path)?;
        let parent = self.ancestors.above(path, &mut read);
        let record = DeviceRecord { parent, ..record };
        let udev = if record.node.is_none() || !self.udev.serves() {
            UdevLook::NotNeeded
        } else {
            // An `add` that was just seen cannot be finished: the file would be an older one.
            let ask = why.walked || why.udev.is_some() || why.waited;
            UdevLook::Serves {
                finished: ask && self.udev.has_finished(&record),
            }
        };
        Some(Look {
            incarnation: record.incarnation,
            interfaces: classes.interfaces_of(&record),
            udev,
        })
    }

    /// Whether a path still is that of the device with this directory.
    pub(super) fn is_still(&self, path: &str, inode: u64) -> bool {
        let dir = self.sysfs.device_dir(path);
        dir.is_some_and(|dir| dir.inode() == inode)
    }
}
