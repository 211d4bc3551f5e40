//! Network interfaces that come and go in a namespace of their own.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use arrival_linux::device::{DeviceConfig, DeviceEvent, DeviceSource};

use crate::recorder::{PATIENCE, start, until};
use crate::rtnetlink::{Links, Tap};
use crate::sandbox::{Sandbox, class, in_sandbox, net_only};

#[test]
fn a_fresh_network_namespace_has_no_interface_of_class_net() {
    in_sandbox(|sandbox| {
        let (_source, recorder) = start(sandbox.config());
        assert_eq!(recorder.names(), Vec::<&str>::new());
    });
}

#[test]
fn a_tap_arrives_and_leaves_once_each() {
    in_sandbox(|sandbox| {
        let (source, mut recorder) = start(sandbox.config());
        let tap = Tap::new("tap0").unwrap();
        let interface = recorder.wait_present("tap0");
        assert_eq!(interface.hardware_ids, ["ARRIVAL\\NET_TAP"]);
        assert_eq!(
            interface.link,
            "\\\\?\\ARRIVAL#NET_TAP#tap0#{cac88484-7515-4c03-82e6-71a87abac361}"
        );
        assert!(interface.usable && interface.node.is_none());
        drop(tap);
        recorder.wait_gone("tap0");
        recorder.rescan(&source);
        assert_eq!(recorder.words_since(0), ["present tap0", "gone tap0"]);
    });
}

#[test]
fn what_was_there_before_the_start_is_in_the_first_snapshot() {
    in_sandbox(|sandbox| {
        let _tap = Tap::new("early").unwrap();
        let (_source, recorder) = start(sandbox.config());
        assert_eq!(recorder.names(), ["early"]);
    });
}

#[test]
fn virtual_interfaces_are_told_apart_by_id() {
    in_sandbox(|sandbox| {
        let (_source, mut recorder) = start(sandbox.config());
        let links = Links::open();
        links.bridge("br0");
        links.veth("va", "vb");
        let first = |interface: &arrival_model::interface::Interface| {
            interface.hardware_ids.first().cloned().unwrap()
        };
        assert_eq!(first(&recorder.wait_present("br0")), "ARRIVAL\\NET_BRIDGE");
        assert_eq!(first(&recorder.wait_present("va")), "ARRIVAL\\NET_VETH");
        let vb = recorder.wait_present("vb");
        assert_eq!(vb.compatible_ids, ["ARRIVAL\\NET"]);
    });
}

#[test]
fn the_same_name_again_is_another_incarnation() {
    in_sandbox(|sandbox| {
        let (_source, mut recorder) = start(sandbox.config());
        let mut keys = Vec::new();
        for _ in 0..3 {
            let tap = Tap::new("again").unwrap();
            keys.push(recorder.wait_present("again").key.clone());
            drop(tap);
            recorder.wait_gone("again");
        }
        keys.dedup();
        assert_eq!(keys.len(), 3);
    });
}

#[test]
fn a_replacement_that_nobody_saw_happen_is_a_removal_and_an_arrival() {
    in_sandbox(|sandbox| {
        // The sink holds up every look, so removal and arrival collapse into one mark.
        let gate = Arc::new(Mutex::new(()));
        let for_sink = Arc::clone(&gate);
        let (sender, events) = channel();
        let source = DeviceSource::start(sandbox.config(), move |event| {
            let _open = for_sink.lock();
            let _ = sender.send(event);
        })
        .unwrap();
        let next = || events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(next(), DeviceEvent::Snapshot(_)));
        let tap = Tap::new("swap").unwrap();
        let DeviceEvent::Present(first) = next() else {
            panic!("the tap did not arrive")
        };
        let held = gate.lock().unwrap();
        drop(tap);
        let _tap = Tap::new("swap").unwrap();
        drop(held);
        assert_eq!(next(), DeviceEvent::Gone(first.key.clone()));
        let DeviceEvent::Present(second) = next() else {
            panic!("the second tap did not arrive")
        };
        assert_eq!(second.name, "swap");
        assert_ne!(second.key, first.key);
        source.stop();
    });
}

#[test]
fn an_interface_that_is_renamed_keeps_its_identity() {
    in_sandbox(|sandbox| {
        let (source, mut recorder) = start(sandbox.config());
        let links = Links::open();
        links.bridge("old");
        let before = recorder.wait_present("old");
        let position = recorder.log.len();
        links.rename("old", "new");
        let after = recorder.wait_present("new");
        assert_eq!(after.key, before.key);
        assert!(after.link.contains("#new#"), "{}", after.link);
        recorder.rescan(&source);
        assert_eq!(recorder.words_since(position), ["present new"]);

        // The name is free for another device, which is not this one.
        links.bridge("old");
        let other = recorder.wait_present("old");
        assert_ne!(other.key, after.key);
        links.delete("new");
        recorder.wait_gone("new");
        assert_eq!(recorder.names(), ["old"]);

        // A source that starts anew keeps the identity, if it is told of it.
        links.rename("old", "newer");
        let config = DeviceConfig {
            known: vec![Arc::clone(&other)],
            ..sandbox.config()
        };
        let (_again, again) = start(config);
        assert_eq!(again.named("newer").unwrap().key, other.key);
    });
}

#[test]
fn an_interface_renamed_many_times_ends_with_its_last_name() {
    in_sandbox(|sandbox| {
        let (source, mut recorder) = start(sandbox.config());
        let links = Links::open();
        links.bridge("n0");
        let key = recorder.wait_present("n0").key.clone();
        for round in 0..100 {
            links.rename(&format!("n{round}"), &format!("n{}", round + 1));
        }
        let last = recorder.wait_present("n100");
        assert_eq!(last.key, key);
        links.rename("n100", "m");
        links.delete("m");
        recorder.wait("nothing left", |r| r.present.is_empty());
        recorder.rescan(&source);
        let gone = |word: &&String| word.starts_with("gone");
        assert_eq!(recorder.words_since(0).iter().filter(gone).count(), 1);
    });
}

#[test]
fn what_lies_below_a_renamed_interface_moves_with_it() {
    in_sandbox(|sandbox| {
        let nodes = class(
            "[class]\nname = 'lab-node'\n[match]\nsubsystem = 'macvtap'\n\
             node = true\nparent.name = 'lab*'\n",
        );
        let config = DeviceConfig {
            classes: nodes,
            ..sandbox.config()
        };
        let (source, mut recorder) = start(config);
        let links = Links::open();
        links.veth("va", "vb");
        links.macvtap("home", "va");
        recorder.rescan(&source);
        assert!(recorder.present.is_empty());
        // The kernel speaks of the interface alone, whose subsystem no class asks for.
        links.rename("home", "lab1");
        recorder.wait("the node", |r| r.present.len() == 1);
        let node = Arc::clone(recorder.present.values().next().unwrap());
        assert_eq!(node.node, Some(format!("/dev/{}", node.name)));
        let position = recorder.log.len();
        links.rename("lab1", "lab2");
        recorder.rescan(&source);
        assert_eq!(recorder.words_since(position), Vec::<String>::new());
        assert!(recorder.present.contains_key(&node.key));
        links.rename("lab2", "home");
        recorder.wait("nothing", |r| r.present.is_empty());
        links.rename("home", "lab3");
        recorder.wait("the node", |r| r.present.contains_key(&node.key));
        links.delete("lab3");
        recorder.wait("nothing", |r| r.present.is_empty());
    });
}

#[test]
fn a_message_that_is_too_long_leads_to_a_walk() {
    in_sandbox(|sandbox| {
        let (source, mut recorder) = start(sandbox.config());
        let snapshots = recorder.snapshots();
        let long = "x".repeat(20_000);
        send_as_udev(&format!(
            "ACTION=add DEVPATH=/devices/x SUBSYSTEM=x SEQNUM=1 X={long}"
        ));
        send_as_udev("ACTION=add DEVPATH=/devices/x SUBSYSTEM=x");
        recorder.wait("a snapshot", |r| r.snapshots() > snapshots);
        until("both messages", || {
            let counters = source.counters();
            counters.truncated == 1 && counters.malformed == 1
        });
    });
}

#[test]
fn three_hundred_blind_flaps_end_in_the_truth() {
    in_sandbox(|sandbox| {
        let (source, mut recorder) = start(sandbox.config());
        let links = Links::open();
        for round in 0..300 {
            links.veth("flap", "peer");
            if round % 7 == 0 {
                links.rename("peer", "other");
            }
            if round < 299 {
                links.delete("flap");
            }
        }
        recorder.wait("both ends of the last pair", |r| {
            r.named("flap").is_some() && r.named("peer").is_some() && r.present.len() == 2
        });
        recorder.rescan(&source);
        let mut names = recorder.names();
        names.sort_unstable();
        assert_eq!(names, sandbox.interfaces());
        links.delete("flap");
        recorder.wait("nothing left", |r| r.present.is_empty());
    });
}

#[test]
fn synthetic_events_change_nothing() {
    in_sandbox(|sandbox| {
        let (source, mut recorder) = start(sandbox.config());
        let _tap = Tap::new("still").unwrap();
        recorder.wait_present("still");
        let position = recorder.log.len();
        let file = sandbox.sysfs().join("class/net/still/uevent");
        let uuid = "fe4d7c9d-b8c6-4a70-9ef1-3d8a58d18eed";
        for action in ["remove", "add", "change", "bind", "unbind", "offline"] {
            fs::write(&file, format!("{action} {uuid} A=1")).unwrap();
            fs::write(&file, action).unwrap();
        }
        until("the events", || source.counters().events >= 12);
        recorder.rescan(&source);
        assert_eq!(recorder.words_since(position), Vec::<String>::new());
    });
}

/// Sends a datagram on the sockets of device events.
fn send(groups: u32, payload: &[u8]) {
    // SAFETY: socket has no memory arguments.
    let raw = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 15) };
    assert!(raw >= 0);
    // SAFETY: raw was just made and belongs to nobody else.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: sockaddr_nl is plain data for which zeros are valid.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = groups;
    // SAFETY: payload and address have the lengths given and live through the call.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            payload.as_ptr().cast(),
            payload.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_nl>() as u32,
        )
    };
    assert_eq!(
        sent,
        payload.len() as isize,
        "{}",
        io::Error::last_os_error()
    );
}

/// What the kernel takes as an event to send on: behind a netlink header, without a number.
fn as_message(payload: &[u8]) -> Vec<u8> {
    let mut message = (16 + payload.len() as u32).to_ne_bytes().to_vec();
    message.extend(16_u16.to_ne_bytes());
    message.extend(1_u16.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(payload);
    message
}

/// A packet as udevd sends it.
pub(crate) fn send_as_udev(properties: &str) {
    let properties = properties.replace(' ', "\0") + "\0";
    let mut packet = b"libudev\0".to_vec();
    packet.extend(0xfeed_cafe_u32.to_be_bytes());
    for number in [40, 40, properties.len() as u32] {
        packet.extend(number.to_ne_bytes());
    }
    packet.extend([0; 16]);
    packet.extend(properties.as_bytes());
    send(2, &packet);
}

#[test]
fn what_others_send_in_the_kernels_name_is_refused_and_counted() {
    in_sandbox(|sandbox| {
        let (source, mut recorder) = start(sandbox.config());
        let tap = Tap::new("real").unwrap();
        recorder.wait_present("real");
        let position = recorder.log.len();
        // Remove events with which a daemon that believed them would do harm, to the group and
        // to the kernel, which sends the second one on under its own address.
        let forged = "remove@/devices/virtual/net/real\0ACTION=remove\0\
                      DEVPATH=/devices/virtual/net/real\0SUBSYSTEM=net\0";
        send(1, format!("{forged}SEQNUM=99999999\0").as_bytes());
        send(0, &as_message(forged.as_bytes()));
        until("two forgeries", || source.counters().spoofed >= 2);
        recorder.rescan(&source);
        assert_eq!(recorder.words_since(position), Vec::<String>::new());
        assert_eq!(source.counters().spoofed, 2);
        drop(tap);
        recorder.wait_gone("real");
    });
}

#[test]
fn an_arrival_in_the_middle_of_an_overrun_is_not_lost() {
    in_sandbox(|sandbox| {
        let config = DeviceConfig {
            receive_buffer: 4096,
            ..sandbox.config()
        };
        let (source, mut recorder) = start(config);
        let _noise = Tap::new("noise").unwrap();
        recorder.wait_present("noise");
        let file = sandbox.sysfs().join("class/net/noise/uevent");
        let mut taps = Vec::new();
        // Bursts until the kernel had to drop something: one real arrival in the middle of each.
        for round in 0..1000 {
            let burst = || {
                for _ in 0..300 {
                    fs::write(&file, "change").unwrap();
                }
            };
            burst();
            taps.push((
                format!("real{round}"),
                Tap::new(&format!("real{round}")).unwrap(),
            ));
            burst();
            if source.counters().overruns > 0 {
                break;
            }
        }
        let counters = source.counters();
        assert!(counters.overruns > 0, "{counters:?}");
        recorder.wait("the overrun", |r| {
            r.words_since(0).contains(&"overrun kernel".to_owned())
        });
        let snapshots = recorder.snapshots();
        recorder.wait("its snapshot", |r| {
            r.snapshots() > snapshots || snapshots > 1
        });
        recorder.wait("every arrival", |r| {
            taps.iter().all(|(name, _)| r.named(name).is_some())
        });
        assert!(source.counters().lost > 0);
        recorder.rescan(&source);
        let mut names = recorder.names();
        names.sort_unstable();
        assert_eq!(names, sandbox.interfaces());
    });
}

#[test]
fn a_sink_that_blocks_holds_up_nothing_but_itself() {
    in_sandbox(|sandbox| {
        let gate = Arc::new(Mutex::new(()));
        let for_sink = Arc::clone(&gate);
        let (sender, events) = channel();
        let source = DeviceSource::start(sandbox.config(), move |event| {
            let _open = for_sink.lock();
            let _ = sender.send(event);
        })
        .unwrap();
        let next = || events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(next(), DeviceEvent::Snapshot(_)));
        let held = gate.lock().unwrap();
        let links = Links::open();
        for _ in 0..40 {
            links.bridge("b");
            links.delete("b");
        }
        links.bridge("b");
        // 81 events of the device alone have been read although the sink takes none.
        until("the events", || source.counters().events >= 81);
        drop(held);
        let mut seen = 0;
        let mut last;
        loop {
            last = next();
            seen += 1;
            let DeviceEvent::Present(interface) = &last else {
                continue;
            };
            let inode = fs::metadata(sandbox.sysfs().join("class/net/b")).unwrap();
            let inode = std::os::unix::fs::MetadataExt::ino(&inode);
            let owner = &interface.key.owner;
            let arrival_model::interface::Owner::Device { incarnation, .. } = owner else {
                panic!("{owner:?}")
            };
            if incarnation.inode == inode {
                break;
            }
        }
        assert!(seen <= 20, "{seen} events instead of a handful");
        source.stop();
    });
}

#[test]
fn a_panic_in_the_sink_ends_neither_the_source_nor_the_process() {
    in_sandbox(|sandbox| {
        let (sender, events) = channel();
        let source = DeviceSource::start(sandbox.config(), move |event| {
            let panics = matches!(&event, DeviceEvent::Present(i) if i.name == "bad");
            let _ = sender.send(event);
            assert!(!panics, "this is part of the test");
        })
        .unwrap();
        let next = || events.recv_timeout(PATIENCE).unwrap();
        assert!(matches!(next(), DeviceEvent::Snapshot(_)));
        let _bad = Tap::new("bad").unwrap();
        assert!(matches!(next(), DeviceEvent::Present(_)));
        let _good = Tap::new("good").unwrap();
        assert!(matches!(next(), DeviceEvent::Present(i) if i.name == "good"));
        assert_eq!(source.counters().panics, 1);
    });
}

#[test]
fn other_classes_are_looked_for_at_once() {
    in_sandbox(|sandbox| {
        let (source, mut recorder) = start(sandbox.config());
        let links = Links::open();
        links.bridge("lab0");
        links.bridge("home0");
        recorder.wait("both", |r| r.present.len() == 2);
        source.set_classes(class(
            "[class]\nname = 'lab'\n[match]\nsubsystem = 'net'\nname = 'lab*'\n",
        ));
        recorder.wait("the lab's class alone", |r| {
            r.present.len() == 1 && r.named("lab0").is_some_and(|i| i.class_name == "lab")
        });
        source.set_classes(net_only());
        recorder.wait("both again", |r| {
            r.present.len() == 2 && r.present.values().all(|i| i.class_name == "net")
        });
    });
}

#[test]
fn nothing_is_delivered_after_the_stop() {
    in_sandbox(|sandbox: &Sandbox| {
        let (source, mut recorder) = start(sandbox.config());
        let _one = Tap::new("one").unwrap();
        recorder.wait_present("one");
        source.stop();
        let _two = Tap::new("two").unwrap();
        // The sink, and with it the sender, is dropped with the last thread.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            recorder.wait("two", |r| r.named("two").is_some());
        }));
        let message = *ended.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(message, "two: the source has ended");
    });
}
