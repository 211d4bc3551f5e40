//! Which names in Windows CE's form are taken by devices that are present.
//!
//! | an interface of a class with a prefix | gets |
//! |---|---|
//! | that was present before a restart of the manager | the name it had |
//! | whose device has a name of this prefix through another class | that name |
//! | any other | the first number that is free, in the order of [`ce_name::numbers`] |
//!
//! A name is given when the interface appears and kept while it is present. Those of the first
//! snapshot are given in the order of their paths, so that the same devices get the same names at each
//! boot whoever was looked at first.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrival_model::ce_name::{ce_name, numbers, parts};
use arrival_model::interface::{Interface, InterfaceKey};

/// The names that are taken, and those that are kept for somebody.
#[derive(Debug, Default)]
pub(super) struct CeNames {
    taken: HashMap<Box<str>, BTreeSet<u32>>,
    remembered: HashMap<InterfaceKey, Box<str>>,
}

impl CeNames {
    /// Names for interfaces that had some before.
    pub(super) fn remembering(known: &[Arc<Interface>]) -> Self {
        let named = known.iter().filter_map(|interface| {
            let name = interface.ce_name.as_deref()?;
            Some((interface.key.clone(), name.into()))
        });
        CeNames {
            taken: HashMap::new(),
            remembered: named.collect(),
        }
    }

    /// Gives an interface the name it had, if that is free.
    pub(super) fn give_back(&mut self, prefix: &str, interface: &mut Interface) {
        let name = self.remembered.get(&interface.key);
        if let Some((was, number)) = name.and_then(|name| parts(name))
            && was == prefix
            && !self.is_taken(prefix, number)
        {
            interface.ce_name = Some(self.take(prefix, number));
        }
    }

    /// Gives an interface a name, of which its device's other interfaces may have one.
    pub(super) fn give(
        &mut self,
        prefix: &str,
        interface: &mut Interface,
        others: &[Arc<Interface>],
    ) {
        let reference = &interface.key.reference;
        let of_device = others
            .iter()
            .filter(|other| other.key.reference == *reference);
        let mut names = of_device.filter_map(|other| other.ce_name.as_deref());
        let name = names.find(|name| parts(name).is_some_and(|(theirs, _)| theirs == prefix));
        interface.ce_name = Some(match name {
            Some(name) => name.to_owned(),
            None => {
                let free = numbers().find(|number| !self.is_taken(prefix, *number));
                self.take(prefix, free.unwrap_or_default())
            }
        });
    }

    /// Nobody is called so any more.
    pub(super) fn release(&mut self, name: &str) {
        if let Some((prefix, number)) = parts(name)
            && let Some(taken) = self.taken.get_mut(prefix)
        {
            taken.remove(&number);
            if taken.is_empty() {
                self.taken.remove(prefix);
            }
        }
    }

    /// Whoever had a name before has it again by now.
    pub(super) fn forget(&mut self) {
        self.remembered = HashMap::new();
    }

    fn is_taken(&self, prefix: &str, number: u32) -> bool {
        let taken = self.taken.get(prefix);
        taken.is_some_and(|taken| taken.contains(&number))
    }

    fn take(&mut self, prefix: &str, number: u32) -> String {
        self.taken.entry(prefix.into()).or_default().insert(number);
        ce_name(prefix, number)
    }
}
