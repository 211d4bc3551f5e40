//! Records of the devices above others, read once and forgotten when an event speaks of them.
//!
//! A predicate may look at ancestors, and many devices share them. An event of a device forgets
//! its record and all below it, before any device below is looked at again. Whoever was reading
//! at that moment does not get its (perhaps older) record in: the epoch has moved on.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use arrival_model::device::DeviceRecord;

/// The records, by path; a directory that is no device has none.
#[derive(Debug, Default)]
pub(super) struct Ancestors {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    epoch: u64,
    records: BTreeMap<String, Option<Arc<DeviceRecord>>>,
}

impl Ancestors {
    /// Forgets the record of a device and of everything below it.
    pub(super) fn forget(&self, path: &str) {
        let mut inner = self.lock();
        inner.epoch += 1;
        inner.records.remove(path);
        let below: Vec<String> = below(&inner.records, path).cloned().collect();
        for path in below {
            inner.records.remove(&path);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        inner.epoch += 1;
        inner.records.clear();
    }

    /// The nearest device above a path; `read` reads one without its ancestors.
    pub(super) fn above(
        &self,
        path: &str,
        read: &mut dyn FnMut(&str) -> Option<DeviceRecord>,
    ) -> Option<Arc<DeviceRecord>> {
        let (path, _) = path.rsplit_once('/')?;
        if path.is_empty() || path == "/devices" {
            return None;
        }
        let epoch = {
            let inner = self.lock();
            match inner.records.get(path) {
                Some(Some(record)) => return Some(Arc::clone(record)),
                Some(None) => {
                    drop(inner);
                    return self.above(path, read);
                }
                None => inner.epoch,
            }
        };
        let record = read(path);
        let next = self.above(path, read);
        let found = record.map(|record| {
            Arc::new(DeviceRecord {
                parent: next.clone(),
                ..record
            })
        });
        let mut inner = self.lock();
        if inner.epoch == epoch {
            inner.records.insert(path.to_owned(), found.clone());
        }
        found.or(next)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys that are paths below a path.
pub(super) fn below<'a, K, V>(map: &'a BTreeMap<K, V>, path: &str) -> impl Iterator<Item = &'a K>
where
    K: Ord + AsRef<str> + std::borrow::Borrow<str>,
{
    let from = format!("{path}/");
    // '0' is the character after '/'.
    let to = format!("{path}0");
    let range: (Bound<&str>, Bound<&str>) = (Bound::Included(&from), Bound::Excluded(&to));
    map.range::<str, _>(range).map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str) -> Option<DeviceRecord> {
        (!path.ends_with("/net")).then(|| DeviceRecord {
            devpath: path.to_owned(),
            ..DeviceRecord::default()
        })
    }

    #[test]
    fn a_device_above_is_read_once_until_an_event_speaks_of_it() {
        let ancestors = Ancestors::default();
        let mut reads = Vec::new();
        for round in 0..3 {
            if round == 2 {
                ancestors.forget("/devices/a");
            }
            let above = ancestors.above("/devices/a/b/net/x", &mut |path| {
                reads.push(path.to_owned());
                device(path)
            });
            let above = above.expect("there are devices above");
            assert_eq!(above.devpath, "/devices/a/b");
            assert_eq!(above.ancestors().count(), 1);
        }
        let all = ["/devices/a/b/net", "/devices/a/b", "/devices/a"];
        assert_eq!(reads, [all, all].concat());
    }

    #[test]
    fn a_record_read_before_an_event_is_not_kept_after_it() {
        let ancestors = Ancestors::default();
        ancestors.above("/devices/a/x", &mut |path| {
            ancestors.forget("/devices/a");
            device(path)
        });
        let mut reads = 0;
        ancestors.above("/devices/a/x", &mut |path| {
            reads += 1;
            device(path)
        });
        assert_eq!(reads, 1);
    }
}
