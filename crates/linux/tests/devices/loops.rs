//! Loop devices of the machine, whose nodes wait for udevd.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use arrival_linux::device::DeviceConfig;
use arrival_model::class::Classes;

use crate::net::send_as_udev;
use crate::recorder::{start, until};
use crate::sandbox::{Sandbox, in_sandbox, only, skip};

const LOOP_SET_FD: u64 = 0x4c00;
const LOOP_CLR_FD: u64 = 0x4c01;
const LOOP_CTL_ADD: u64 = 0x4c80;
const LOOP_CTL_REMOVE: u64 = 0x4c81;

/// A loop device that was made for a test.
struct Loop {
    control: File,
    number: i32,
    attached: Option<File>,
}

impl Loop {
    /// Makes a device with a free number, if the machine lets us.
    fn new() -> Option<Self> {
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control");
        let Ok(control) = control else {
            skip("root", "there is no /dev/loop-control to open");
            return None;
        };
        let begin = 64 + (std::process::id() % 500) as i32;
        for number in begin..begin + 100 {
            if ioctl(&control, LOOP_CTL_ADD, number).is_ok() {
                return Some(Loop {
                    control,
                    number,
                    attached: None,
                });
            }
        }
        skip("root", "no loop device can be made");
        None
    }

    fn name(&self) -> String {
        format!("loop{}", self.number)
    }

    fn devpath(&self) -> String {
        format!("/devices/virtual/block/loop{}", self.number)
    }

    fn attach(&mut self, file: &Path) {
        let backing = OpenOptions::new()
            .read(true)
            .write(true)
            .open(file)
            .unwrap();
        let node = format!("/dev/loop{}", self.number);
        let node = OpenOptions::new()
            .read(true)
            .write(true)
            .open(node)
            .unwrap();
        ioctl(&node, LOOP_SET_FD, backing.as_raw_fd()).unwrap();
        self.attached = Some(node);
    }

    fn detach(&mut self) {
        if let Some(node) = self.attached.take() {
            ioctl(&node, LOOP_CLR_FD, 0).unwrap();
        }
    }

    fn remove(mut self) {
        self.take_away();
    }

    fn take_away(&mut self) {
        self.detach();
        // Whoever scans new disks may hold it open for a moment.
        for _ in 0..1000 {
            match ioctl(&self.control, LOOP_CTL_REMOVE, self.number) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                _ => break,
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.take_away();
    }
}

fn ioctl(file: &File, request: u64, argument: i32) -> io::Result<()> {
    // SAFETY: these requests take a number.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, argument) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn config(sandbox: &Sandbox, classes: Classes) -> DeviceConfig {
    DeviceConfig {
        classes,
        ..sandbox.config()
    }
}

/// A directory in which udevd seems to run.
fn with_udev(sandbox: &Sandbox, silence: Duration) -> DeviceConfig {
    let run = sandbox.path().join("udev");
    std::fs::create_dir_all(run.join("data")).unwrap();
    std::fs::write(run.join("control"), "").unwrap();
    DeviceConfig {
        udev: true,
        run_udev: run,
        udev_silence: silence,
        ..config(sandbox, only("loop"))
    }
}

fn seqnum(sandbox: &Sandbox) -> u64 {
    let text = std::fs::read_to_string(sandbox.sysfs().join("kernel/uevent_seqnum")).unwrap();
    text.trim().parse().unwrap()
}

#[test]
fn a_loop_device_arrives_with_its_node_and_leaves() {
    in_sandbox(|sandbox| {
        let (_source, mut recorder) = start(config(sandbox, only("loop")));
        let Some(made) = Loop::new() else { return };
        let name = made.name();
        let interface = recorder.wait_present(&name);
        assert_eq!(interface.node, Some(format!("/dev/{name}")));
        assert_eq!(interface.hardware_ids, ["ARRIVAL\\BLOCK_LOOP"]);
        assert!(interface.usable, "nobody prepares its node");
        made.remove();
        recorder.wait_gone(&name);
    });
}

#[test]
fn a_loop_device_is_a_disk_while_something_is_behind_it() {
    in_sandbox(|sandbox| {
        let (_source, mut recorder) = start(config(sandbox, only("disk")));
        let Some(mut made) = Loop::new() else { return };
        let file = sandbox.path().join("image");
        File::create(&file).unwrap().set_len(1 << 20).unwrap();
        let name = made.name();
        assert!(recorder.named(&name).is_none());
        made.attach(&file);
        recorder.wait_present(&name);
        made.detach();
        recorder.wait_gone(&name);
    });
}

#[test]
fn a_node_is_usable_when_udev_says_so_of_this_incarnation() {
    in_sandbox(|sandbox| {
        let (source, mut recorder) = start(with_udev(sandbox, Duration::from_secs(3600)));
        let before = seqnum(sandbox);
        let Some(made) = Loop::new() else { return };
        let name = made.name();
        let devpath = made.devpath();
        assert!(!recorder.wait_present(&name).usable, "it has appeared");
        let finished = |seqnum: u64| {
            send_as_udev(&format!(
                "ACTION=add DEVPATH={devpath} SUBSYSTEM=block SEQNUM={seqnum}"
            ));
        };
        let events = source.counters().events;
        finished(before);
        until("the older message", || source.counters().events > events);
        recorder.rescan(&source);
        assert!(!recorder.named(&name).unwrap().usable, "of an older one");
        finished(seqnum(sandbox));
        recorder.wait("a usable node", |r| {
            r.named(&name).is_some_and(|i| i.usable)
        });
        made.remove();
        recorder.wait_gone(&name);
    });
}

#[test]
fn a_node_from_before_the_start_is_usable_if_udev_has_finished_with_it() {
    in_sandbox(|sandbox| {
        let Some(made) = Loop::new() else { return };
        let config = with_udev(sandbox, Duration::from_secs(3600));
        let data = config.run_udev.join(format!("data/b7:{}", made.number));
        let (_source, recorder) = start(config.clone());
        assert!(!recorder.named(&made.name()).unwrap().usable);
        for finished in ["I:123\nE:ID_X=1\n", ""] {
            std::fs::write(&data, "E:ID_X=1\n").unwrap();
            let (_source, recorder) = start(config.clone());
            assert!(!recorder.named(&made.name()).unwrap().usable);
            std::fs::write(&data, finished).unwrap();
            let (_source, recorder) = start(config.clone());
            assert!(recorder.named(&made.name()).unwrap().usable, "{finished:?}");
        }
    });
}

#[test]
fn a_node_is_usable_without_udev_when_it_is_silent_and_when_it_goes() {
    in_sandbox(|sandbox| {
        let config = with_udev(sandbox, Duration::from_millis(100));
        let queue = config.run_udev.join("queue");
        std::fs::write(&queue, "").unwrap();
        let control = config.run_udev.join("control");
        std::fs::remove_file(&control).unwrap();
        let listening = UnixListener::bind(&control).unwrap();
        let (source, mut recorder) = start(config.clone());
        let Some(made) = Loop::new() else { return };
        let name = made.name();
        assert!(!recorder.wait_present(&name).usable);
        std::thread::sleep(Duration::from_millis(1000));
        assert!(!recorder.named(&name).unwrap().usable, "udevd is at work");
        std::fs::remove_file(&queue).unwrap();
        recorder.wait("a usable node", |r| {
            r.named(&name).is_some_and(|i| i.usable)
        });
        assert!(source.counters().udev_timeouts > 0);
        source.stop();

        // One that was killed at its work leaves all its files, and nobody listens.
        std::fs::write(&queue, "").unwrap();
        drop(listening);
        let (source, mut recorder) = start(config.clone());
        recorder.wait("a usable node", |r| {
            r.named(&name).is_some_and(|i| i.usable)
        });
        assert!(source.counters().udev_timeouts > 0);
        source.stop();

        std::fs::remove_file(&control).unwrap();
        let endless = with_udev(sandbox, Duration::from_secs(3600));
        let control = endless.run_udev.join("control");
        let (source, mut recorder) = start(endless);
        assert!(!recorder.named(&name).unwrap().usable);
        std::fs::remove_file(control).unwrap();
        recorder.wait("a usable node", |r| {
            r.named(&name).is_some_and(|i| i.usable)
        });
        assert_eq!(source.counters().udev_timeouts, 0);
    });
}
