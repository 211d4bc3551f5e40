//! What was recorded of a device, and of its ancestors.
//!
//! A record is made once, when a device is read, and never again asks the system: whatever is
//! derived from it (which interfaces it exposes, which ids it has) is a pure function, so that it
//! can be tested with recorded devices and is still known after the device is gone.

use std::sync::Arc;

use crate::interface::Incarnation;

/// The state of one device at the moment it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRecord {
    /// The path below the sysfs mount, beginning with `/devices/`.
    pub devpath: String,
    /// The kernel subsystem, such as `net`; empty where there is none.
    pub subsystem: String,
    /// The kind within the subsystem (`DEVTYPE`), such as `disk` or `bridge`.
    pub devtype: Option<String>,
    /// The bound driver; of a virtual network device, the driver that made it.
    pub driver: Option<String>,
    /// What the device's `uevent` file says.
    pub properties: Properties,
    /// The sysfs attributes that classes and id rules ask for, without the final line feed.
    pub attributes: Properties,
    /// The device node, such as `/dev/loop7`.
    pub node: Option<String>,
    /// Which presence of a device at this path.
    pub incarnation: Incarnation,
    /// The nearest directory above that is a device.
    pub parent: Option<Arc<DeviceRecord>>,
}

impl DeviceRecord {
    /// The kernel's name of the device: the last part of its path.
    pub fn name(&self) -> &str {
        self.devpath
            .rsplit_once('/')
            .map_or(self.devpath.as_str(), |(_, name)| name)
    }

    /// A value of the `uevent` file.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.get(key)
    }

    /// A recorded sysfs attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)
    }

    /// The device's ancestors, nearest first, without the device itself.
    pub fn ancestors(&self) -> impl Iterator<Item = &DeviceRecord> {
        std::iter::successors(self.parent.as_deref(), |device| device.parent.as_deref())
    }

    /// Whether the device is of this subsystem and kind.
    pub fn is(&self, subsystem: &str, devtype: &str) -> bool {
        self.subsystem == subsystem && self.devtype.as_deref() == Some(devtype)
    }
}

/// Names with values, few enough for a sorted list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(Box<str>, Box<str>)>);

impl Properties {
    /// The properties in a `uevent` file: one `KEY=VALUE` a line, the first of equal keys.
    pub fn from_uevent_file(text: &str) -> Self {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(key, _)| !key.is_empty())
            .collect()
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self
            .0
            .binary_search_by(|(known, _)| known.as_ref().cmp(name))
            .ok()?;
        self.0.get(index).map(|(_, value)| value.as_ref())
    }

    /// All names with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(N, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut list: Vec<(Box<str>, Box<str>)> = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list.dedup_by(|later, first| later.0 == first.0);
        list.shrink_to_fit();
        Properties(list)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_uevent_file_is_read_by_name_and_the_first_of_equal_keys_counts() {
        let read =
            Properties::from_uevent_file("MAJOR=7\nDEVNAME=loop0\n=x\nodd\nMAJOR=8\nA=b=c\n");
        assert_eq!(read.get("MAJOR"), Some("7"));
        assert_eq!(read.get("A"), Some("b=c"));
        assert_eq!(read.get("odd"), None);
        assert_eq!(read.iter().count(), 3);
    }

    #[test]
    fn a_device_knows_its_name_and_its_ancestors_nearest_first() {
        let bus = Arc::new(DeviceRecord {
            devpath: "/devices/pci0000:00".into(),
            ..DeviceRecord::default()
        });
        let card = Arc::new(DeviceRecord {
            devpath: "/devices/pci0000:00/0000:00:03.0".into(),
            parent: Some(bus),
            ..DeviceRecord::default()
        });
        let nic = DeviceRecord {
            devpath: "/devices/pci0000:00/0000:00:03.0/net/eth0".into(),
            parent: Some(card),
            ..DeviceRecord::default()
        };
        assert_eq!(nic.name(), "eth0");
        let names: Vec<&str> = nic.ancestors().map(DeviceRecord::name).collect();
        assert_eq!(names, ["0000:00:03.0", "pci0000:00"]);
    }
}
