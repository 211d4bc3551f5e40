//! `org.arrivald.Devices`.

use arrival_engine::api::SessionId;
use arrival_model::access::Right;
use arrival_wire::api::Empty;
use arrival_wire::api::devices::{ClassesReply, ListCall, ListReply};
use arrival_wire::message::Call;

use super::{DEVICES, Stepped, no_method, reply};
use crate::core::Core;
use crate::shapes;

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
            _ => Err(no_method(call)),
        }
    }
}
