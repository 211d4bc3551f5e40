//! The built-in classes.
//!
//! A class that Windows has bears Windows' GUID. Our own bear the GUID that any name without one
//! gets: version 5 of RFC 9562 of the name in [`NAMESPACE`], as in
//! `uuidgen --sha1 --namespace 5d1a9a3e-7c1f-4b55-9f0e-3a1c7e0b6d42 --name loop`.

use uuid::Uuid;

use super::{Class, Match, Patterns, Test};
use crate::guid::Guid;

/// The namespace of GUIDs that are made of a class's short name.
pub const NAMESPACE: Guid = Guid::from_u128(NAMESPACE_NUMBER);

const NAMESPACE_NUMBER: u128 = 0x5d1a9a3e_7c1f_4b55_9f0e_3a1c7e0b6d42;

/// A row of the table of built-in classes.
pub struct BuiltIn {
    /// The short name.
    pub name: &'static str,
    /// Windows' GUID, if it has the class; 0 otherwise.
    guid: u128,
    /// Windows' symbols and other names.
    pub aliases: &'static [&'static str],
    /// What it is.
    pub description: &'static str,
    when: fn() -> Match,
}

/// The built-in classes.
pub const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "net",
        guid: 0xcac88484_7515_4c03_82e6_71a87abac361,
        aliases: &["GUID_DEVINTERFACE_NET"],
        description: "network interfaces, except loopback",
        when: || Match {
            // ARPHRD_LOOPBACK, linux/if_arp.h.
            attribute: [("type".to_owned(), Test::not(["772"]))].into(),
            ..subsystem("net")
        },
    },
    BuiltIn {
        name: "disk",
        guid: 0x53f56307_b6bf_11d0_94f2_00a0c91efb8b,
        aliases: &["GUID_DEVINTERFACE_DISK"],
        description: "whole disks: on a bus, or with a size; no RAM disks, no optical drives",
        when: || Match {
            devtype: Some(Patterns::new(["disk"])),
            not: Some(Box::new(Match {
                any: vec![
                    Match {
                        name: Some(Patterns::new(["ram[0-9]*", "zram[0-9]*"])),
                        ..Match::default()
                    },
                    Match {
                        parent: Some(Box::new(scsi_type("5"))),
                        ..Match::default()
                    },
                ],
                ..Match::default()
            })),
            any: vec![
                Match {
                    attribute: [("size".to_owned(), Test::not(["0"]))].into(),
                    ..Match::default()
                },
                Match {
                    parent: Some(Box::default()),
                    ..Match::default()
                },
            ],
            ..subsystem("block")
        },
    },
    BuiltIn {
        name: "loop",
        guid: 0,
        aliases: &[],
        description: "loop devices, with or without a backing file",
        when: || Match {
            devtype: Some(Patterns::new(["disk"])),
            name: Some(Patterns::new(["loop[0-9]*"])),
            ..subsystem("block")
        },
    },
    BuiltIn {
        name: "tun",
        guid: 0,
        aliases: &[],
        description: "TUN and TAP interfaces",
        when: || Match {
            attribute: [("tun_flags".to_owned(), Test::present())].into(),
            ..subsystem("net")
        },
    },
];

fn subsystem(name: &str) -> Match {
    Match {
        subsystem: Some(Patterns::new([name])),
        ..Match::default()
    }
}

/// A SCSI device of this peripheral type.
fn scsi_type(number: &str) -> Match {
    Match {
        attribute: [("type".to_owned(), Test::is([number]))].into(),
        ..subsystem("scsi")
    }
}

impl BuiltIn {
    /// The GUID.
    pub fn guid(&self) -> Guid {
        match self.guid {
            0 => derived_guid(self.name),
            number => Guid::from_u128(number),
        }
    }

    /// The row as a class.
    pub fn class(&self) -> Class {
        Class {
            guid: self.guid(),
            name: self.name.to_owned(),
            aliases: self.aliases.iter().map(|&alias| alias.to_owned()).collect(),
            description: self.description.to_owned(),
            when: (self.when)(),
        }
    }
}

/// The GUID of a class that has a name alone.
pub(super) fn derived_guid(name: &str) -> Guid {
    let namespace = Uuid::from_u128(NAMESPACE_NUMBER);
    Guid::from_u128(Uuid::new_v5(&namespace, name.as_bytes()).as_u128())
}
