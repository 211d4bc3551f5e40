//! One look at a device: its record with its ancestors, its interfaces, its node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrival_model::class::{Classes, OfSubsystem};
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
    pub(super) known: Known,
}

/// How many subsystems are remembered.
const MAX_SUBSYSTEMS: usize = 512;

/// What the classes say of subsystems, remembered: going through all classes at every look would
/// take longer than the look.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Whose answers these are.
    classes: Option<Arc<Classes>>,
    answers: HashMap<String, Arc<OfSubsystem>>,
}

impl Known {
    fn of(&self, classes: &Arc<Classes>, subsystem: &str) -> Arc<OfSubsystem> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |kept: &Arc<Classes>| Arc::ptr_eq(kept, classes);
        if !known.classes.as_ref().is_some_and(same) || known.answers.len() >= MAX_SUBSYSTEMS {
            known.answers.clear();
            known.classes = Some(Arc::clone(classes));
        }
        if let Some(answer) = known.answers.get(subsystem) {
            return Arc::clone(answer);
        }
        let answer = Arc::new(classes.of_subsystem(subsystem));
        known
            .answers
            .insert(subsystem.to_owned(), Arc::clone(&answer));
        answer
    }
}

impl Eyes {
    /// Looks at a path; nothing if there is no device.
    pub(super) fn look(
        &self,
        path: &str,
        why: &Why,
        classes: &Arc<Classes>,
        scratch: &mut Scratch,
    ) -> Option<Look> {
        let mut read = |path: &str| {
            self.sysfs.read(path, scratch, |subsystem| {
                self.known.of(classes, subsystem).attributes.clone()
            })
        };
        let record = read(path)?;
        let parent = self.ancestors.above(path, &mut read);
        let record = DeviceRecord { parent, ..record };
        let (mut udev, mut links) = (UdevLook::NotNeeded, None);
        if record.node.is_some() && self.udev.serves() {
            // An `add` that was just seen cannot be finished: the entry would be an older one.
            let ask = why.walked || why.udev.is_some() || why.waited;
            let entry = ask.then(|| self.udev.entry(&record));
            udev = UdevLook::Serves {
                finished: entry.as_ref().is_some_and(|entry| entry.finished),
            };
            links = entry.map(|entry| entry.links);
        }
        Some(Look {
            incarnation: record.incarnation,
            interfaces: classes
                .interfaces_among(&self.known.of(classes, &record.subsystem), &record),
            classes: Arc::clone(classes),
            node: record.node.is_some(),
            udev,
            links,
        })
    }

    /// Whether a path still is that of the device with this directory.
    pub(super) fn is_still(&self, path: &str, inode: u64) -> bool {
        let dir = self.sysfs.device_dir(path);
        dir.is_some_and(|dir| dir.inode() == inode)
    }
}
