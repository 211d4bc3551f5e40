//! From a trigger in Windows' form to what it means here, and back.
//!
//! | type | means | its items |
//! |---|---|---|
//! | 1 | [`Cause::Device`] | every text is an id, in whatever item it stands |
//! | 2, 3, 5 | network, domain, policy | none |
//! | 4 | [`Cause::Port`] | an item is a socket, its texts must all fit |
//! | 6 | pipe, RPC | an item is a name or an interface |
//! | 7 | [`Cause::State`] | the state's name |
//! | 20 | [`Cause::Custom`] | kept as they are |
//! | 30 | [`Cause::Aggregate`] | none |
//!
//! What is given back has the same meaning; ids are folded to upper case and doubled ones left out.

use super::{DataItem, DataType, SUBTYPES, ServiceTrigger, TriggerError, TriggerType};
use crate::guid::Guid;
use crate::pipe::PipeNameError;
use crate::port::{PortError, PortMatch};
use crate::trigger::{
    Cause, CustomTrigger, DeviceTrigger, FoldedId, PIPE_MODE, PolicyKind, Trigger, Wait,
};

/// Why a trigger that Windows takes means nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeaningError {
    /// Windows would not take it either.
    #[error(transparent)]
    Wrong(#[from] TriggerError),
    /// An item does not say which socket is meant.
    #[error(transparent)]
    Port(#[from] PortError),
    /// An item is no name of a pipe.
    #[error(transparent)]
    Pipe(#[from] PipeNameError),
    /// An item is no GUID of an interface.
    #[error("'{0}' is no GUID of an RPC interface")]
    Interface(String),
}

/// The place of a subtype in the table, by its type and which of the type's it is.
fn subtype(kind: TriggerType, which: usize) -> Guid {
    let mut own = SUBTYPES.iter().filter(|(known, ..)| *known == kind);
    own.nth(which)
        .map_or(Guid::from_u128(0), |(_, guid, _)| *guid)
}

impl ServiceTrigger {
    /// What the trigger means.
    ///
    /// # Errors
    ///
    /// [`MeaningError`]: what [`ServiceTrigger::check`] refuses, and items that say nothing.
    pub fn meaning(&self) -> Result<Trigger, MeaningError> {
        self.check()?;
        let first = self.subtype == subtype(self.kind, 0);
        let texts = || self.items.iter().filter_map(DataItem::texts);
        let cause = match self.kind {
            TriggerType::DeviceInterfaceArrival => {
                let mut ids: Vec<FoldedId> = Vec::new();
                for text in texts().flatten() {
                    let id = FoldedId::new(&text);
                    if !text.is_empty() && !ids.contains(&id) {
                        ids.push(id);
                    }
                }
                Cause::Device(DeviceTrigger {
                    class: self.subtype,
                    ids,
                    ancestors: false,
                    wait: Wait::Usable,
                })
            }
            TriggerType::IpAddressAvailability => Cause::Network { available: first },
            TriggerType::DomainJoin => Cause::Domain { joined: first },
            TriggerType::FirewallPortEvent => Cause::Port {
                open: first,
                ports: texts()
                    .map(|texts| PortMatch::from_texts(&texts))
                    .collect::<Result<_, _>>()?,
            },
            TriggerType::GroupPolicy => Cause::Policy(if first {
                PolicyKind::Machine
            } else {
                PolicyKind::User
            }),
            TriggerType::NetworkEndpoint if first => Cause::Rpc(
                texts()
                    .flatten()
                    .map(|text| {
                        let refused = |_| MeaningError::Interface(text.clone());
                        text.parse::<Guid>().map_err(refused)
                    })
                    .collect::<Result<_, _>>()?,
            ),
            TriggerType::NetworkEndpoint => Cause::Pipe {
                names: texts()
                    .flatten()
                    .map(|text| text.parse())
                    .collect::<Result<_, _>>()?,
                mode: PIPE_MODE,
            },
            TriggerType::CustomSystemStateChange => {
                let state = self.items.first().map(|item| item.bytes.as_slice());
                let state = state.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
                Cause::State(u64::from_le_bytes(state.unwrap_or_default()))
            }
            TriggerType::Custom => {
                Cause::Custom(CustomTrigger::new(self.subtype, self.items.clone()))
            }
            TriggerType::Aggregate => Cause::Aggregate(self.subtype),
        };
        Ok(Trigger {
            action: self.action,
            cause,
        })
    }
}

impl From<&Trigger> for ServiceTrigger {
    /// Each id is an item of its own, since all strings of one item must match on Windows.
    fn from(trigger: &Trigger) -> Self {
        let form = |kind, subtype, items| ServiceTrigger {
            kind,
            action: trigger.action,
            subtype,
            items,
        };
        let known = |kind: TriggerType, first: bool, items| {
            form(kind, subtype(kind, usize::from(!first)), items)
        };
        match &trigger.cause {
            Cause::Device(device) => form(
                TriggerType::DeviceInterfaceArrival,
                device.class,
                (device.ids.iter())
                    .map(|id| DataItem::strings([id.as_str()]))
                    .collect(),
            ),
            Cause::Network { available } => {
                known(TriggerType::IpAddressAvailability, *available, Vec::new())
            }
            Cause::Domain { joined } => known(TriggerType::DomainJoin, *joined, Vec::new()),
            Cause::Port { open, ports } => {
                let items = ports.iter().map(|port| {
                    let texts = port.texts();
                    DataItem::strings(texts.iter().map(String::as_str))
                });
                known(TriggerType::FirewallPortEvent, *open, items.collect())
            }
            Cause::Policy(kind) => {
                let first = *kind == PolicyKind::Machine;
                known(TriggerType::GroupPolicy, first, Vec::new())
            }
            Cause::Rpc(interfaces) => {
                let items = interfaces.iter().map(|interface| {
                    let text = interface.to_string();
                    DataItem::strings([text.trim_matches(['{', '}'])])
                });
                known(TriggerType::NetworkEndpoint, true, items.collect())
            }
            Cause::Pipe { names, .. } => {
                let items = names.iter().map(|name| DataItem::strings([name.as_str()]));
                known(TriggerType::NetworkEndpoint, false, items.collect())
            }
            Cause::Custom(custom) => {
                form(TriggerType::Custom, custom.provider, custom.items.clone())
            }
            Cause::State(state) => {
                let item = DataItem {
                    kind: DataType::Binary,
                    bytes: state.to_le_bytes().to_vec(),
                };
                known(TriggerType::CustomSystemStateChange, true, vec![item])
            }
            Cause::Aggregate(id) => form(TriggerType::Aggregate, *id, Vec::new()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::Action;
    use super::*;

    fn form(kind: u32, action: Action, subtype: u128, items: &[DataItem]) -> ServiceTrigger {
        ServiceTrigger {
            kind: TriggerType::from_raw(kind).unwrap(),
            action,
            subtype: Guid::from_u128(subtype),
            items: items.to_vec(),
        }
    }

    const OPEN: u128 = 0xb7569e07_8421_4ee0_ad10_86915afdad09;
    const PIPE: u128 = 0x1f81d131_3fac_4537_9e0c_7e7b0c2f4b55;
    const RPC: u128 = 0xbc90d167_9470_4139_a9ba_be0bbbf5b74d;

    #[test]
    fn every_type_goes_there_and_back() {
        let text = |text: &str| DataItem::strings([text]);
        let bytes = |kind, bytes: &[u8]| DataItem {
            kind,
            bytes: bytes.to_vec(),
        };
        let (start, stop) = (Action::Start, Action::Stop);
        for (form, says) in [
            (
                form(
                    1,
                    stop,
                    5,
                    &[text("USB\\VID_0547&PID_1002"), text("USB\\CLASS_08")],
                ),
                "a device of the class {00000000-0000-0000-0000-000000000005} arrives: \
                 USB\\VID_0547&PID_1002 or USB\\CLASS_08",
            ),
            (
                form(2, start, 0x4f27f2de_14e2_430b_a549_7cd48cbc8245, &[]),
                "the first address comes",
            ),
            (
                form(2, stop, 0xcc4ba62a_162e_4648_847a_b6bdf993e335, &[]),
                "the last address goes",
            ),
            (
                form(3, start, 0x1ce20aba_9851_4421_9430_1ddeb766e809, &[]),
                "the machine joins a domain",
            ),
            (
                form(3, stop, 0xddaf516e_58c2_4866_9574_c3b615d42ea1, &[]),
                "the machine leaves its domain",
            ),
            (
                form(
                    4,
                    start,
                    OPEN,
                    &[DataItem::strings(["5001", "UDP", "", "Served"])],
                ),
                "a socket listens at udp:5001 as Served",
            ),
            (
                form(
                    4,
                    stop,
                    0xa144ed38_8e12_4de4_9d96_e64740b1a524,
                    &[
                        DataItem::strings(["RPC", "TCP"]),
                        DataItem::strings(["1", "UDP", "system"]),
                    ],
                ),
                "no socket listens at tcp:rpc or udp:1 of the kernel",
            ),
            (
                form(5, start, 0x659fcae6_5bdb_4da9_b1ff_ca2a178d46e0, &[]),
                "the machine's policy changes",
            ),
            (
                form(5, stop, 0x54fb46c8_f089_464c_b1fd_59d1b62c3b50, &[]),
                "a user's policy changes",
            ),
            (
                form(6, start, PIPE, &[text("demo")]),
                "a client opens the pipe demo",
            ),
            (
                form(
                    6,
                    start,
                    RPC,
                    &[text("12345678-1234-abcd-ef00-0123456789ab")],
                ),
                "a client asks for the RPC interface {12345678-1234-abcd-ef00-0123456789ab}",
            ),
            (
                form(
                    7,
                    start,
                    0x2d7a2816_0c5e_45fc_9ce7_570e5ecde9c9,
                    &[bytes(DataType::Binary, &[1, 2, 3, 4, 5, 6, 7, 8])],
                ),
                "the state 0807060504030201 of Windows changes",
            ),
            (
                form(20, stop, 9, &[text("x"), bytes(DataType::Level, &[4])]),
                "the provider {00000000-0000-0000-0000-000000000009} writes an event that fits",
            ),
            (
                form(30, start, 9, &[]),
                "the aggregate {00000000-0000-0000-0000-000000000009} of Windows happens",
            ),
        ] {
            let trigger = form.meaning().unwrap();
            assert_eq!(trigger.cause.to_string(), says);
            assert_eq!(trigger.action, form.action);
            assert_eq!(ServiceTrigger::from(&trigger), form);
        }
    }

    #[test]
    fn ids_in_one_item_are_ids_as_well_and_doubled_ones_count_once() {
        let several = form(1, Action::Start, 5, &[DataItem::strings(["a", "b", "A"])]);
        let trigger = several.meaning().unwrap();
        assert_eq!(trigger.starts_with_device().unwrap().ids.len(), 2);
    }

    #[test]
    fn what_means_nothing_is_refused_with_its_reason() {
        let told = |form: ServiceTrigger| form.meaning().unwrap_err().to_string();
        let text = |text: &str| [DataItem::strings([text])];
        let start = Action::Start;
        assert!(told(form(4, start, OPEN, &text("5001"))).contains("port, protocol"));
        assert!(told(form(6, start, PIPE, &text(r"a\\b"))).contains("cannot name a pipe"));
        assert!(told(form(6, start, RPC, &text("demo"))).contains("no GUID"));
        assert!(told(form(6, Action::Stop, PIPE, &text("x"))).contains("cannot stop"));
    }
}
