//! A trigger in the form in which Windows keeps it: SERVICE_TRIGGER of winsvc.h.
//!
//! | type | subtype | actions | data items |
//! |---|---|---|---|
//! | 1 DEVICE_INTERFACE_ARRIVAL | an interface class | start, stop | STRING: hardware or compatible ids |
//! | 2 IP_ADDRESS_AVAILABILITY | first arrival, last removal | start, stop | none |
//! | 3 DOMAIN_JOIN | join, leave | start, stop | none |
//! | 4 FIREWALL_PORT_EVENT | open, close | start, stop | STRING: port, protocol, program, service |
//! | 5 GROUP_POLICY | machine, user | start, stop | none |
//! | 6 NETWORK_ENDPOINT | RPC interface, named pipe | start | STRING: the interface or pipe |
//! | 7 CUSTOM_SYSTEM_STATE_CHANGE | its one GUID | start, stop | BINARY of 8 bytes |
//! | 20 CUSTOM | a provider | start, stop | any |
//! | 30 AGGREGATE | an aggregate | start, stop | none |
//!
//! A service has at most 64 triggers, a trigger at most 64 items, an item at most 1024 bytes. Text is
//! UTF-16LE with its NUL; a multistring ends with two.
//!
//! Sources: winsvc.h; [MS-SCMR] 2.2.52 to 2.2.54; Microsoft, "SERVICE_TRIGGER structure".

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::guid::Guid;

mod convert;

pub use self::convert::MeaningError;

/// The most triggers of a service, and the most items of a trigger.
pub const MOST: usize = 64;
/// The most bytes of an item.
pub const ITEM_LIMIT: usize = 1024;

/// What kind of event fires a trigger (SERVICE_TRIGGER_TYPE_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TriggerType {
    /// A device interface arrives.
    DeviceInterfaceArrival,
    /// The first address comes, or the last one goes.
    IpAddressAvailability,
    /// The machine joins a domain or leaves it.
    DomainJoin,
    /// A port is opened or closed.
    FirewallPortEvent,
    /// Policy changes.
    GroupPolicy,
    /// Somebody asks for a pipe or an RPC interface.
    NetworkEndpoint,
    /// A state of the system changes; undocumented.
    CustomSystemStateChange,
    /// A provider writes an event.
    Custom,
    /// Any event of an aggregate; undocumented.
    Aggregate,
}

/// Every type with its number and name.
const TYPES: [(TriggerType, u32, &str); 9] = [
    (
        TriggerType::DeviceInterfaceArrival,
        1,
        "DEVICE_INTERFACE_ARRIVAL",
    ),
    (
        TriggerType::IpAddressAvailability,
        2,
        "IP_ADDRESS_AVAILABILITY",
    ),
    (TriggerType::DomainJoin, 3, "DOMAIN_JOIN"),
    (TriggerType::FirewallPortEvent, 4, "FIREWALL_PORT_EVENT"),
    (TriggerType::GroupPolicy, 5, "GROUP_POLICY"),
    (TriggerType::NetworkEndpoint, 6, "NETWORK_ENDPOINT"),
    (
        TriggerType::CustomSystemStateChange,
        7,
        "CUSTOM_SYSTEM_STATE_CHANGE",
    ),
    (TriggerType::Custom, 20, "CUSTOM"),
    (TriggerType::Aggregate, 30, "AGGREGATE"),
];

/// The subtypes of the types that have only some (winsvc.h), each with what it says.
pub const SUBTYPES: [(TriggerType, Guid, &str); 11] = [
    (
        TriggerType::IpAddressAvailability,
        Guid::from_u128(0x4f27f2de_14e2_430b_a549_7cd48cbc8245),
        "the first IP address comes",
    ),
    (
        TriggerType::IpAddressAvailability,
        Guid::from_u128(0xcc4ba62a_162e_4648_847a_b6bdf993e335),
        "the last IP address goes",
    ),
    (
        TriggerType::DomainJoin,
        Guid::from_u128(0x1ce20aba_9851_4421_9430_1ddeb766e809),
        "the machine joins a domain",
    ),
    (
        TriggerType::DomainJoin,
        Guid::from_u128(0xddaf516e_58c2_4866_9574_c3b615d42ea1),
        "the machine leaves its domain",
    ),
    (
        TriggerType::FirewallPortEvent,
        Guid::from_u128(0xb7569e07_8421_4ee0_ad10_86915afdad09),
        "a port is opened",
    ),
    (
        TriggerType::FirewallPortEvent,
        Guid::from_u128(0xa144ed38_8e12_4de4_9d96_e64740b1a524),
        "a port is closed",
    ),
    (
        TriggerType::GroupPolicy,
        Guid::from_u128(0x659fcae6_5bdb_4da9_b1ff_ca2a178d46e0),
        "the machine's policy changes",
    ),
    (
        TriggerType::GroupPolicy,
        Guid::from_u128(0x54fb46c8_f089_464c_b1fd_59d1b62c3b50),
        "a user's policy changes",
    ),
    (
        TriggerType::NetworkEndpoint,
        Guid::from_u128(0xbc90d167_9470_4139_a9ba_be0bbbf5b74d),
        "a client asks for the RPC interface",
    ),
    (
        TriggerType::NetworkEndpoint,
        Guid::from_u128(0x1f81d131_3fac_4537_9e0c_7e7b0c2f4b55),
        "a client opens the named pipe",
    ),
    (
        TriggerType::CustomSystemStateChange,
        Guid::from_u128(0x2d7a2816_0c5e_45fc_9ce7_570e5ecde9c9),
        "a state of the system changes",
    ),
];

impl TriggerType {
    /// Every type.
    pub const ALL: [TriggerType; 9] = [
        TriggerType::DeviceInterfaceArrival,
        TriggerType::IpAddressAvailability,
        TriggerType::DomainJoin,
        TriggerType::FirewallPortEvent,
        TriggerType::GroupPolicy,
        TriggerType::NetworkEndpoint,
        TriggerType::CustomSystemStateChange,
        TriggerType::Custom,
        TriggerType::Aggregate,
    ];

    /// The type of this number.
    pub fn from_raw(number: u32) -> Option<Self> {
        let found = TYPES.iter().find(|(_, known, _)| *known == number);
        found.map(|(kind, ..)| *kind)
    }

    fn entry(self) -> (u32, &'static str) {
        let found = TYPES.iter().find(|(kind, ..)| *kind == self);
        found.map_or((0, ""), |(_, number, name)| (*number, name))
    }

    /// The number of winsvc.h.
    pub fn to_raw(self) -> u32 {
        self.entry().0
    }

    /// The name behind SERVICE_TRIGGER_TYPE_.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// The subtypes that this type has; empty if it takes any.
    pub fn subtypes(self) -> impl Iterator<Item = (Guid, &'static str)> {
        let own = SUBTYPES.iter().filter(move |(kind, ..)| *kind == self);
        own.map(|(_, guid, says)| (*guid, *says))
    }
}

/// What a trigger does with its service (SERVICE_TRIGGER_ACTION_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// Starts it.
    Start,
    /// Stops it.
    Stop,
}

impl Action {
    /// The action of this number.
    pub fn from_raw(number: u32) -> Option<Self> {
        match number {
            1 => Some(Action::Start),
            2 => Some(Action::Stop),
            _ => None,
        }
    }

    /// The number of winsvc.h.
    pub fn to_raw(self) -> u32 {
        match self {
            Action::Start => 1,
            Action::Stop => 2,
        }
    }
}

/// What the bytes of an item are (SERVICE_TRIGGER_DATA_TYPE_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DataType {
    /// Any bytes.
    Binary,
    /// UTF-16LE with its NUL.
    String,
    /// One byte: the level of an event.
    Level,
    /// Eight bytes: any of these keywords.
    KeywordAny,
    /// Eight bytes: all of these keywords.
    KeywordAll,
}

impl DataType {
    /// Every type, by its number from 1.
    pub const ALL: [DataType; 5] = [
        DataType::Binary,
        DataType::String,
        DataType::Level,
        DataType::KeywordAny,
        DataType::KeywordAll,
    ];

    /// The type of this number.
    pub fn from_raw(number: u32) -> Option<Self> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(at).copied()
    }

    /// The number of winsvc.h.
    pub fn to_raw(self) -> u32 {
        self as u32 + 1
    }

    /// The name behind SERVICE_TRIGGER_DATA_TYPE_.
    pub fn name(self) -> &'static str {
        match self {
            DataType::Binary => "BINARY",
            DataType::String => "STRING",
            DataType::Level => "LEVEL",
            DataType::KeywordAny => "KEYWORD_ANY",
            DataType::KeywordAll => "KEYWORD_ALL",
        }
    }
}

/// One datum that an event is compared with (SERVICE_TRIGGER_SPECIFIC_DATA_ITEM).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DataItem {
    /// What the bytes are.
    pub kind: DataType,
    /// The bytes, as Windows keeps them.
    pub bytes: Vec<u8>,
}

impl DataItem {
    /// An item of text; several texts make a multistring.
    pub fn strings<'s>(texts: impl IntoIterator<Item = &'s str>) -> Self {
        let mut bytes = Vec::new();
        let mut number = 0;
        for text in texts {
            number += 1;
            bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        }
        if number > 1 {
            bytes.extend([0, 0]);
        }
        DataItem {
            kind: DataType::String,
            bytes,
        }
    }

    /// The texts of a STRING item; none if it is of another type or no UTF-16.
    pub fn texts(&self) -> Option<Vec<String>> {
        if self.kind != DataType::String || !self.bytes.len().is_multiple_of(2) {
            return None;
        }
        let units: Vec<u16> = self
            .bytes
            .chunks_exact(2)
            .filter_map(|pair| Some(u16::from_le_bytes(pair.try_into().ok()?)))
            .collect();
        let text = String::from_utf16(&units).ok()?;
        let text = text.trim_end_matches('\0');
        Some(text.split('\0').map(str::to_owned).collect())
    }
}

/// A trigger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceTrigger {
    /// What kind of event fires it.
    pub kind: TriggerType,
    /// What it does.
    pub action: Action,
    /// Which event of its kind.
    pub subtype: Guid,
    /// What the event is compared with.
    pub items: Vec<DataItem>,
}

/// Why a trigger cannot be (ERROR_INVALID_PARAMETER of ChangeServiceConfig2W).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// The subtype is none of this type's.
    #[error("{subtype} is no subtype of {}", kind.name())]
    Subtype {
        /// The type.
        kind: TriggerType,
        /// The subtype.
        subtype: Guid,
    },
    /// NETWORK_ENDPOINT can only start.
    #[error("a trigger of type {} cannot stop a service", .0.name())]
    Action(TriggerType),
    /// An item is of a type that this trigger does not take.
    #[error("a trigger of type {} takes no item of type {}", kind.name(), item.name())]
    Item {
        /// The trigger's type.
        kind: TriggerType,
        /// The item's type.
        item: DataType,
    },
    /// A trigger of this type needs an item.
    #[error("a trigger of type {} needs a data item", .0.name())]
    NoItem(TriggerType),
    /// The bytes are none of the item's type.
    #[error("the data item is no {}: {why}", kind.name())]
    Bytes {
        /// The item's type.
        kind: DataType,
        /// What is wrong.
        why: &'static str,
    },
    /// There are more items than 64.
    #[error("a trigger has at most {MOST} data items")]
    Items,
}

impl DataItem {
    /// Checks the bytes against the type.
    ///
    /// # Errors
    ///
    /// [`TriggerError::Bytes`].
    pub fn check(&self) -> Result<(), TriggerError> {
        let length = self.bytes.len();
        let why = match self.kind {
            _ if length > ITEM_LIMIT => "it has more than 1024 bytes",
            DataType::Binary => return Ok(()),
            DataType::String => match self.texts() {
                None => "it is not UTF-16",
                Some(_) if !self.bytes.ends_with(&[0, 0]) => "it does not end with a NUL",
                Some(texts) if texts.iter().all(String::is_empty) => "it is empty",
                Some(_) => return Ok(()),
            },
            DataType::Level if length == 1 => return Ok(()),
            DataType::Level => "it has not one byte",
            DataType::KeywordAny | DataType::KeywordAll if length == 8 => return Ok(()),
            DataType::KeywordAny | DataType::KeywordAll => "it has not eight bytes",
        };
        Err(TriggerError::Bytes {
            kind: self.kind,
            why,
        })
    }
}

impl ServiceTrigger {
    /// Checks the trigger against the table above.
    ///
    /// # Errors
    ///
    /// What Windows answers with ERROR_INVALID_PARAMETER (87).
    pub fn check(&self) -> Result<(), TriggerError> {
        let ServiceTrigger {
            kind,
            action,
            subtype,
            items,
        } = self;
        let kind = *kind;
        let mut known = kind.subtypes().peekable();
        if known.peek().is_some() && !known.any(|(guid, _)| guid == *subtype) {
            return Err(TriggerError::Subtype {
                kind,
                subtype: *subtype,
            });
        }
        if kind == TriggerType::NetworkEndpoint && *action == Action::Stop {
            return Err(TriggerError::Action(kind));
        }
        if items.len() > MOST {
            return Err(TriggerError::Items);
        }
        for item in items {
            let takes = match kind {
                TriggerType::DeviceInterfaceArrival
                | TriggerType::FirewallPortEvent
                | TriggerType::NetworkEndpoint => item.kind == DataType::String,
                TriggerType::CustomSystemStateChange => item.kind == DataType::Binary,
                TriggerType::Custom => true,
                // Valid for the others only; whoever gives them nevertheless means something.
                TriggerType::IpAddressAvailability
                | TriggerType::DomainJoin
                | TriggerType::GroupPolicy
                | TriggerType::Aggregate => false,
            };
            if !takes {
                return Err(TriggerError::Item {
                    kind,
                    item: item.kind,
                });
            }
            item.check()?;
            if kind == TriggerType::CustomSystemStateChange && item.bytes.len() != 8 {
                return Err(TriggerError::Bytes {
                    kind: item.kind,
                    why: "a state's name has eight bytes",
                });
            }
        }
        let needs = matches!(
            kind,
            TriggerType::FirewallPortEvent
                | TriggerType::NetworkEndpoint
                | TriggerType::CustomSystemStateChange
        );
        if needs && items.is_empty() {
            return Err(TriggerError::NoItem(kind));
        }
        Ok(())
    }
}

impl fmt::Display for ServiceTrigger {
    /// What the trigger waits for, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.action {
            Action::Start => "start",
            Action::Stop => "stop",
        };
        write!(f, "{verb} when ")?;
        let known = self.kind.subtypes().find(|(guid, _)| *guid == self.subtype);
        match (self.kind, known) {
            (_, Some((_, says))) => f.write_str(says)?,
            (TriggerType::DeviceInterfaceArrival, None) => {
                write!(f, "a device interface of {} arrives", self.subtype)?;
            }
            (kind, None) => write!(f, "{} {} happens", kind.name(), self.subtype)?,
        }
        for (number, item) in self.items.iter().enumerate() {
            f.write_str(if number == 0 { ": " } else { " | " })?;
            match item.texts() {
                Some(texts) => f.write_str(&texts.join(" + "))?,
                None => {
                    f.write_str(item.kind.name())?;
                    for byte in &item.bytes {
                        write!(f, " {byte:02x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn trigger(kind: u32, action: u32, subtype: u128, items: &[DataItem]) -> ServiceTrigger {
        ServiceTrigger {
            kind: TriggerType::from_raw(kind).unwrap(),
            action: Action::from_raw(action).unwrap(),
            subtype: Guid::from_u128(subtype),
            items: items.to_vec(),
        }
    }

    fn item(kind: u32, bytes: &[u8]) -> DataItem {
        DataItem {
            kind: DataType::from_raw(kind).unwrap(),
            bytes: bytes.to_vec(),
        }
    }

    #[test]
    fn numbers_are_those_of_the_header() {
        for (kind, number, name) in TYPES {
            assert_eq!(TriggerType::from_raw(number), Some(kind), "{name}");
            assert_eq!((kind.to_raw(), kind.name()), (number, name));
        }
        assert_eq!(TriggerType::from_raw(32), None);
        for (number, kind) in (1..).zip(DataType::ALL) {
            assert_eq!(kind.to_raw(), number);
            assert_eq!(DataType::from_raw(number), Some(kind));
        }
        assert_eq!(DataType::from_raw(0), None);
        assert_eq!(DataType::from_raw(6), None);
        assert_eq!(Action::from_raw(3), None);
    }

    /// The data of shipping services: hidserv ends with one NUL, IKEEXT's multistring with two.
    #[test]
    fn strings_have_the_bytes_that_windows_keeps() {
        let one = DataItem::strings(["HID_DEVICE_UP:000C_U:0001"]);
        assert_eq!(one.bytes.len(), 2 * ("HID_DEVICE_UP:000C_U:0001".len() + 1));
        let ports = ["500", "UDP", "%windir%\\system32\\svchost.exe", "IKEEXT"];
        let many = DataItem::strings(ports);
        assert!(many.bytes.ends_with(&[b'T', 0, 0, 0, 0, 0]));
        assert_eq!(many.texts().unwrap(), ports);
        assert_eq!(one.texts().unwrap(), ["HID_DEVICE_UP:000C_U:0001"]);
        assert_eq!(item(2, &[0x00, 0xd8, 0, 0]).texts(), None);
        assert_eq!(item(1, b"x").texts(), None);
    }

    #[test]
    fn what_windows_refuses_is_refused_with_its_reason() {
        let told = |trigger: ServiceTrigger| trigger.check().map_err(|error| error.to_string());
        let pipe = 0x1f81d131_3fac_4537_9e0c_7e7b0c2f4b55;
        let port = 0xb7569e07_8421_4ee0_ad10_86915afdad09;
        let text = DataItem::strings(["x"]);
        let one = std::slice::from_ref(&text);
        for good in [
            trigger(1, 1, 5, &[]),
            trigger(1, 2, 5, one),
            trigger(2, 2, 0xcc4ba62a_162e_4648_847a_b6bdf993e335, &[]),
            // Windows takes every pair of subtype and action.
            trigger(3, 2, 0x1ce20aba_9851_4421_9430_1ddeb766e809, &[]),
            trigger(4, 1, port, &[DataItem::strings(["RPC", "TCP"])]),
            trigger(6, 1, pipe, one),
            trigger(
                7,
                1,
                0x2d7a2816_0c5e_45fc_9ce7_570e5ecde9c9,
                &[item(1, &[1; 8])],
            ),
            trigger(
                20,
                1,
                9,
                &[
                    item(3, &[4]),
                    item(4, &[0; 8]),
                    item(5, &[0; 8]),
                    item(1, &[]),
                ],
            ),
            trigger(30, 1, 9, &[]),
        ] {
            assert_eq!(told(good.clone()), Ok(()), "{good}");
        }
        for (bad, why) in [
            (
                trigger(2, 1, port, &[]),
                "is no subtype of IP_ADDRESS_AVAILABILITY",
            ),
            (trigger(6, 2, pipe, one), "cannot stop a service"),
            (
                trigger(6, 1, pipe, &[]),
                "NETWORK_ENDPOINT needs a data item",
            ),
            (
                trigger(4, 1, port, &[]),
                "FIREWALL_PORT_EVENT needs a data item",
            ),
            (
                trigger(1, 1, 5, &[item(1, b"x")]),
                "takes no item of type BINARY",
            ),
            (
                trigger(5, 1, 0x659fcae6_5bdb_4da9_b1ff_ca2a178d46e0, one),
                "takes no item of type STRING",
            ),
            (
                trigger(20, 1, 5, &[item(3, &[1, 2])]),
                "LEVEL: it has not one byte",
            ),
            (
                trigger(20, 1, 5, &[item(4, &[1; 7])]),
                "KEYWORD_ANY: it has not eight bytes",
            ),
            (
                trigger(20, 1, 5, &[item(1, &[0; 1025])]),
                "more than 1024 bytes",
            ),
            (
                trigger(20, 1, 5, &[item(2, &[b'x', 0])]),
                "does not end with a NUL",
            ),
            (trigger(20, 1, 5, &[item(2, &[0, 0])]), "it is empty"),
            (trigger(20, 1, 5, &[item(2, b"x")]), "it is not UTF-16"),
            (
                trigger(20, 1, 5, &vec![text.clone(); 65]),
                "at most 64 data items",
            ),
            (
                trigger(
                    7,
                    1,
                    0x2d7a2816_0c5e_45fc_9ce7_570e5ecde9c9,
                    &[item(1, &[1])],
                ),
                "eight bytes",
            ),
        ] {
            let error = told(bad).unwrap_err();
            assert!(error.contains(why), "{error}: {why}");
        }
    }
}
