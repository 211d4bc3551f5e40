//! `org.arrivald.Devices`.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use arrival_engine::api::{Denied, SessionId};
use arrival_linux::device::node::{Access, NodeError, open_node};
use arrival_model::access::Right;
use arrival_model::error::Win32Error;
use arrival_model::interface::{Interface, InterfaceKey, Owner};
use arrival_model::trigger::Trigger;
use arrival_wire::api::Empty;
use arrival_wire::api::devices::{ClassesReply, ListCall, ListReply, OpenCall, OpenReply};
use arrival_wire::frame::encode;
use arrival_wire::message::Call;

use super::{DEVICES, LONGEST, Refusal, Step, Stepped, coded, no_method, plain, reply, wrong};
use crate::core::Core;
use crate::outcome::Outcome;
use crate::shapes;

/// The most nodes that are being opened at once: a device can take its time.
const OPENINGS: usize = 16;

impl Core {
    pub(super) fn call_devices(&mut self, id: SessionId, call: &Call) -> Stepped {
        self.may(DEVICES, id, Right::QueryStatus)?;
        match call.member() {
            "List" => {
                let ListCall { class } = call.parameters_as()?;
                let wanted = class.map(|class| self.class(DEVICES, &class)).transpose()?;
                let interfaces = self
                    .engine
                    .interfaces()
                    .filter(|(one, _)| wanted.is_none_or(|class| one.key.class == class))
                    .map(|(one, cursor)| shapes::interface(one, cursor))
                    .collect();
                reply(ListReply {
                    interfaces,
                    cursor: self.engine.cursor().to_string(),
                })
            }
            "Classes" => {
                let _: Empty = call.parameters_as()?;
                let built_in = arrival_model::class::Classes::built_in();
                let classes = self.classes.iter();
                reply(ClassesReply {
                    classes: classes
                        .map(|class| shapes::class(class, &built_in))
                        .collect(),
                })
            }
            "Open" => self.open_node(id, call),
            _ => Err(no_method(call)),
        }
    }

    /// Whether a connection may have the node of an interface opened: it is root's or ours, or comes from a
    /// service that the interface starts.
    fn may_open(&self, id: SessionId, interface: &Interface) -> Result<(), Denied> {
        let Some(known) = self.connections.get(&id) else {
            return Err(Denied::NoSuchSession);
        };
        if known.uid == 0 || known.uid == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        let mut services = self.engine.services();
        let own = known
            .host
            .and_then(|host| services.find(|view| view.host == Some(host)));
        let matches = own.is_some_and(|view| {
            let triggers = view.definition.triggers.iter();
            let mut devices = triggers.filter_map(Trigger::starts_with_device);
            devices.any(|device| device.matches(interface))
        });
        if matches {
            return Ok(());
        }
        Err(Denied::AccessDenied(format!(
            "only root and services that {} starts may open it",
            interface.link
        )))
    }

    fn open_node(&mut self, id: SessionId, call: &Call) -> Stepped {
        let OpenCall { link, access } = call.parameters_as()?;
        let access = match access.as_deref() {
            None | Some("read_write") => Access::ReadWrite,
            Some("read") => Access::Read,
            Some("write") => Access::Write,
            Some(_) => return Err(wrong("access")),
        };
        let refuse = |code, reason: String| Ok(Step::Reply(coded(DENIED, code, &reason)));
        let mut interfaces = self.engine.interfaces();
        let found = interfaces.find(|(one, _)| one.link.eq_ignore_ascii_case(&link));
        let Some(interface) = found.map(|(one, _)| Arc::clone(one)) else {
            return refuse(
                Win32Error::NO_SUCH_DEVICE,
                format!("there is no interface {link}"),
            );
        };
        drop(interfaces);
        self.may_open(id, &interface)
            .map_err(|denied| Refusal::Denied(DEVICES, denied))?;
        let (Some(node), Owner::Device { devpath, .. }) =
            (interface.node.clone(), &interface.key.owner)
        else {
            return refuse(Win32Error::NOT_SUPPORTED, format!("{link} has no node"));
        };
        if self.openings >= OPENINGS {
            let reason = format!("{OPENINGS} nodes are being opened already");
            return refuse(Win32Error::BUSY, reason);
        }
        let (sysfs, devpath) = (self.facts.sysfs.clone(), devpath.clone());
        let (outcomes, key) = (self.outcomes.clone(), interface.key.clone());
        let opening = thread::Builder::new()
            .name("arrival-open".to_owned())
            .stack_size(256 * 1024);
        let spawned = opening.spawn(move || {
            let result = open_node(&sysfs, &devpath, &node, access);
            // Nobody listens any more when the daemon ends.
            let _ = outcomes.send(Outcome::Opened {
                connection: id,
                interface: key,
                node,
                result,
            });
        });
        match spawned {
            Ok(_) => {
                self.openings += 1;
                Ok(Step::Later)
            }
            Err(error) => refuse(
                Win32Error::GEN_FAILURE,
                format!("cannot make a thread: {error}"),
            ),
        }
    }

    /// A node was opened, or not; the interface may have gone meanwhile.
    pub(crate) fn opened(
        &mut self,
        connection: SessionId,
        interface: &InterfaceKey,
        node: &str,
        result: Result<OwnedFd, NodeError>,
    ) {
        self.openings = self.openings.saturating_sub(1);
        let Some(known) = self.connections.get(&connection) else {
            return;
        };
        let present = self
            .engine
            .interfaces()
            .any(|(one, _)| one.key == *interface);
        let (reply, descriptor) = match result {
            Ok(descriptor) if present => {
                let reply = plain(OpenReply {
                    node: node.to_owned(),
                });
                (reply, Some(descriptor))
            }
            Ok(_) => (
                coded(DENIED, Win32Error::NO_SUCH_DEVICE, "the interface is gone"),
                None,
            ),
            Err(error) => (coded(DENIED, error.code(), &error.to_string()), None),
        };
        match encode(&reply, LONGEST) {
            Ok(message) => known.outbox.push_with(message, descriptor),
            Err(error) => {
                tracing::error!("a reply cannot be told: {error}");
                known.outbox.close();
            }
        }
        known.outbox.end_call();
    }
}

const DENIED: &str = "org.arrivald.Devices.Denied";
