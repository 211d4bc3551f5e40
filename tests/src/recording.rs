//! Recorded devices as text, and folders that look like the sysfs they were recorded from.
//!
//! A recording has one word and its value a line; blank lines and lines that begin with `#` say nothing.
//!
//! | line | says |
//! |---|---|
//! | `device /devices/pci0000:00/0000:00:1f.3` | a device begins; its path |
//! | `subsystem pci` | where its link `subsystem` leads |
//! | `driver snd_hda_intel` | where its link `driver` leads; of a virtual network device, the driver that made it |
//! | `uevent PCI_ID=8086:A348` | a line of its file `uevent` |
//! | `file vendor 0x8086` | the text of an attribute, without its last line feed; `\n`, `\\` and, at its end, `\s` stand for a line feed, a backslash and a blank |
//! | `hex report_descriptor 05010906` | the bytes of an attribute that is no text |
//! | `udev S:disk/by-id/usb-QEMU` | a line of udevd's entry of its node; `udev` alone: an empty entry |
//!
//! Devices stand in the order of their paths. Written are those that some built-in class may look at, with
//! what is above them, and of their attributes those that classes and ids are made of: so a recording has
//! serial numbers and addresses only where these count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use arrival_linux::device::sysfs::{Scratch, Sysfs};
use arrival_model::class::Classes;
use arrival_model::device::DeviceRecord;
use arrival_model::hwid;
use arrival_wire::udev_entry::file_name;

/// Devices as they were at one moment, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording(BTreeMap<String, Device>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Device {
    subsystem: String,
    driver: Option<String>,
    uevent: Vec<String>,
    files: BTreeMap<String, Value>,
    udev: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Text(String),
    Bytes(Vec<u8>),
}

impl Recording {
    /// Records what is below a sysfs mount, and udevd's entries in its folder.
    ///
    /// # Errors
    ///
    /// If there is no sysfs.
    pub fn of(sysfs: &Path, run_udev: &Path) -> io::Result<Recording> {
        let classes = Classes::built_in();
        let sysfs = Sysfs::open(sysfs)?;
        let mut scratch = Scratch::default();
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        for path in sysfs.walk(|subsystem| classes.admits(subsystem))? {
            let above = path.match_indices('/').map(|(end, _)| &path[..end]);
            wanted.extend(above.map(str::to_owned));
            wanted.insert(path);
        }
        let mut devices = BTreeMap::new();
        for path in wanted {
            let attributes = |subsystem: &str| -> Vec<String> {
                let names = classes.attributes(subsystem).into_iter();
                names.map(str::to_owned).collect()
            };
            // A folder that is no device, or has left meanwhile.
            let Some(record) = sysfs.read(&path, &mut scratch, attributes) else {
                continue;
            };
            devices.insert(path, Device::of(&record, run_udev));
        }
        Ok(Recording(devices))
    }

    /// Reads a recording's text.
    ///
    /// # Errors
    ///
    /// Names the line that cannot be read.
    pub fn parse(text: &str) -> Result<Recording, String> {
        let mut devices: BTreeMap<String, Device> = BTreeMap::new();
        let mut path = None;
        for (line, number) in text.lines().zip(1..) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, value) = line.split_once(' ').unwrap_or((line, ""));
            if word == "device" {
                if !is_sound(value) {
                    return Err(format!("line {number}: '{value}' is no path of a device"));
                }
                if devices
                    .insert(value.to_owned(), Device::default())
                    .is_some()
                {
                    return Err(format!("line {number}: {value} stands here twice"));
                }
                path = Some(value);
                continue;
            }
            let Some(device) = path.and_then(|path| devices.get_mut(path)) else {
                return Err(format!("line {number}: '{word}' before any 'device'"));
            };
            device
                .add(word, value)
                .map_err(|error| format!("line {number}: {error}"))?;
        }
        Ok(Recording(devices))
    }

    /// Makes a folder that looks like sysfs with these devices, and one that looks like udevd's.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub fn replay(&self, sysfs: &Path, run_udev: &Path) -> io::Result<()> {
        fs::create_dir_all(sysfs.join("devices"))?;
        fs::create_dir_all(run_udev.join("data"))?;
        if self.0.values().any(|device| device.udev.is_some()) {
            // Whoever looks for it finds that udevd serves here.
            fs::write(run_udev.join("control"), "")?;
        }
        for (path, device) in &self.0 {
            let folder = sysfs.join(path.trim_start_matches('/'));
            fs::create_dir_all(&folder)?;
            let lines: String = device
                .uevent
                .iter()
                .map(|line| format!("{line}\n"))
                .collect();
            fs::write(folder.join("uevent"), lines)?;
            if !device.subsystem.is_empty() {
                // Only where it leads is ever read.
                symlink(
                    Path::new("/class").join(&device.subsystem),
                    folder.join("subsystem"),
                )?;
            }
            if let Some(driver) = &device.driver {
                symlink(Path::new("/drivers").join(driver), folder.join("driver"))?;
            }
            for (name, value) in &device.files {
                let file = folder.join(name);
                fs::create_dir_all(file.parent().unwrap_or(&folder))?;
                match value {
                    Value::Text(text) => fs::write(file, format!("{text}\n"))?,
                    Value::Bytes(bytes) => fs::write(file, bytes)?,
                }
            }
            if let Some((entry, lines)) = device.entry().zip(device.udev.as_ref()) {
                let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
                fs::write(run_udev.join("data").join(entry), lines)?;
            }
        }
        Ok(())
    }
}

impl Device {
    fn of(record: &DeviceRecord, run_udev: &Path) -> Device {
        let files = record.attributes.iter().map(|(name, text)| {
            let value = match hwid::binary(name) {
                Some(_) => Value::Bytes(bytes(text).unwrap_or_default()),
                None => Value::Text(text.to_owned()),
            };
            (name.to_owned(), value)
        });
        let properties = record.properties.iter();
        let mut device = Device {
            subsystem: record.subsystem.clone(),
            driver: record.driver.clone(),
            uevent: properties
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
            files: files.collect(),
            udev: None,
        };
        let entry = (device.entry())
            .and_then(|entry| fs::read_to_string(run_udev.join("data").join(entry)).ok());
        if let Some(text) = entry {
            let counts = |line: &&str| line.starts_with("S:") || line.starts_with("I:");
            let lines: Vec<String> = text.lines().filter(counts).map(str::to_owned).collect();
            // An entry without any of these says nothing to us, unless it is empty.
            device.udev = (text.is_empty() || !lines.is_empty()).then_some(lines);
        }
        device
    }

    /// The name of udevd's file of the node, if it has one.
    fn entry(&self) -> Option<String> {
        let value = |key: &str| self.uevent.iter().find_map(|line| line.strip_prefix(key));
        file_name(&self.subsystem, value("MAJOR=")?, value("MINOR=")?)
    }

    fn add(&mut self, word: &str, value: &str) -> Result<(), String> {
        let named = || value.split_once(' ').unwrap_or((value, ""));
        match word {
            "subsystem" => self.subsystem = value.to_owned(),
            "driver" => self.driver = Some(value.to_owned()),
            "uevent" => self.uevent.push(value.to_owned()),
            "udev" => {
                let lines = self.udev.get_or_insert_default();
                lines.extend((!value.is_empty()).then(|| value.to_owned()));
            }
            "file" => {
                let (name, text) = named();
                let text = Value::Text(unescape(text));
                self.files.insert(name.to_owned(), text);
            }
            "hex" => {
                let (name, digits) = named();
                let bytes =
                    bytes(digits).ok_or("an even number of hexadecimal digits is expected")?;
                self.files.insert(name.to_owned(), Value::Bytes(bytes));
            }
            other => return Err(format!("no word '{other}'")),
        }
        let outside = |name: &&String| !is_sound(&format!("/devices/{name}"));
        match self.files.keys().find(outside) {
            Some(name) => Err(format!("'{name}' is no attribute")),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (path, device)) in self.0.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            writeln!(f, "device {path}")?;
            if !device.subsystem.is_empty() {
                writeln!(f, "subsystem {}", device.subsystem)?;
            }
            if let Some(driver) = &device.driver {
                writeln!(f, "driver {driver}")?;
            }
            for line in &device.uevent {
                writeln!(f, "uevent {line}")?;
            }
            for (name, value) in &device.files {
                match value {
                    Value::Text(text) => {
                        writeln!(f, "{}", format!("file {name} {}", escape(text)).trim_end())?;
                    }
                    Value::Bytes(bytes) => {
                        let digits: String =
                            bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                        writeln!(f, "{}", format!("hex {name} {digits}").trim_end())?;
                    }
                }
            }
            match device.udev.as_deref() {
                None => {}
                Some([]) => writeln!(f, "udev")?,
                Some(lines) => lines
                    .iter()
                    .try_for_each(|line| writeln!(f, "udev {line}"))?,
            }
        }
        Ok(())
    }
}

/// Whether a path stays below `/devices`.
fn is_sound(path: &str) -> bool {
    let rest = path.strip_prefix("/devices/");
    rest.is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    // Blanks at the end of a line do not survive every editor; devices fill their names with them.
    let kept = text.trim_end_matches(' ');
    format!("{kept}{}", "\\s".repeat(text.len() - kept.len()))
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n') => plain.push('\n'),
                Some('s') => plain.push(' '),
                other => plain.extend(other),
            },
            _ => plain.push(c),
        }
    }
    plain
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let sound = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !sound || !digits.len().is_multiple_of(2) {
        return None;
    }
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::world::fresh_dir;

    const DISK: &str = "\
device /devices/pci0000:00/0000:00:02.0
subsystem pci
driver nvme
uevent PCI_ID=1B36:0010
file revision 0x02

device /devices/pci0000:00/0000:00:02.0/block/sda
subsystem block
uevent DEVNAME=sda
uevent DEVTYPE=disk
uevent MAJOR=8
uevent MINOR=0
file model QEMU HARDDISK\\s\\s
file size 16384
file vpd a\\\\b\\nc
udev S:disk/by-id/x
udev I:5
";

    #[test]
    fn what_is_written_reads_back() {
        let recording = Recording::parse(DISK).unwrap();
        assert_eq!(recording.to_string(), DISK);
    }

    #[test]
    fn what_is_replayed_is_recorded_again_as_far_as_it_counts() {
        let seen = |line: &&str| !line.starts_with("file vpd") && !line.starts_with("file model");
        let lines: Vec<&str> = DISK.lines().filter(seen).collect();
        let text = lines.join("\n") + "\n";
        let dir = fresh_dir("arrival-recording");
        let (sysfs, udev) = (dir.join("sys"), dir.join("udev"));
        Recording::parse(DISK)
            .unwrap()
            .replay(&sysfs, &udev)
            .unwrap();
        let again = Recording::of(&sysfs, &udev).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(again.to_string(), text);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        for (text, error) in [
            ("subsystem pci", "line 1: 'subsystem' before any 'device'"),
            (
                "# x\n\ndevice /etc",
                "line 3: '/etc' is no path of a device",
            ),
            (
                "device /devices/a/../b",
                "line 1: '/devices/a/../b' is no path of a device",
            ),
            (
                "device /devices/a\ndevice /devices/a",
                "line 2: /devices/a stands here twice",
            ),
            (
                "device /devices/a\nfile ../x 1",
                "line 2: '../x' is no attribute",
            ),
            (
                "device /devices/a\nhex x 123",
                "line 2: an even number of hexadecimal digits is expected",
            ),
            ("device /devices/a\ncolour red", "line 2: no word 'colour'"),
        ] {
            assert_eq!(Recording::parse(text).unwrap_err(), error);
        }
    }
}
