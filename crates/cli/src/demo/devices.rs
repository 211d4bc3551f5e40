//! The devices of the demonstration: network interfaces, which the kernel makes and unmakes at a word.

use std::collections::BTreeMap;

use arrival_linux::rtnl::{LinkError, Links, Tap};

use super::record::boot_time_ns;

/// The devices that are there.
pub(super) struct Devices {
    links: Links,
    kind: Kind,
    taps: BTreeMap<String, Tap>,
}

/// What the devices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// TAP interfaces, held by us.
    Tap,
    /// Bridges, where `/dev/net/tun` may not be used.
    Bridge,
}

impl Kind {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Tap => "a TAP interface",
            Kind::Bridge => "a bridge",
        }
    }
}

impl Devices {
    /// Finds out, by trying, which devices this machine lets us make.
    pub(super) fn new() -> Result<Self, String> {
        let mut links = Links::open().map_err(|error| format!("no rtnetlink socket: {error}"))?;
        // A name that the demonstration's class does not match.
        let probe = "probe0";
        let kind = match Tap::create(probe) {
            Ok(_) => Kind::Tap,
            Err(tap) => {
                links
                    .create_bridge(probe)
                    .and_then(|()| links.delete(probe))
                    .map_err(|bridge| {
                        format!(
                            "neither TAP interfaces ({tap}) nor bridges ({bridge}) can be made: \
                             load the module tun or bridge"
                        )
                    })?;
                Kind::Bridge
            }
        };
        Ok(Devices {
            links,
            kind,
            taps: BTreeMap::new(),
        })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Makes a device; returns the time just before the call that makes it.
    pub(super) fn make(&mut self, name: &str) -> Result<u64, LinkError> {
        let begun = boot_time_ns();
        match self.kind {
            Kind::Tap => {
                let tap = Tap::create(name)?;
                self.taps.insert(name.to_owned(), tap);
            }
            Kind::Bridge => self.links.create_bridge(name)?,
        }
        Ok(begun)
    }

    /// Takes a device away; returns the time just before the call that does it.
    pub(super) fn remove(&mut self, name: &str) -> Result<u64, LinkError> {
        let begun = boot_time_ns();
        match self.kind {
            Kind::Tap => drop(self.taps.remove(name)),
            Kind::Bridge => self.links.delete(name)?,
        }
        Ok(begun)
    }
}
