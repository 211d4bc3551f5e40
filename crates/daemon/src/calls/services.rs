//! `org.arrivald.Services`.

use arrival_engine::api::{Request, SessionId};
use arrival_model::access::Right;
use arrival_model::definition::ServiceName;
use arrival_wire::api::Empty;
use arrival_wire::api::services::{
    ListReply, Named, Service, StartCall, StatusReply, StopCall, Trigger as ToldTrigger,
    TriggerReport, TriggersCall, TriggersReply, WhyReply,
};
use arrival_wire::message::Call;

use super::{Answer, SERVICES, Step, Stepped, missing, no_method, reply};
use crate::core::Core;
use crate::shapes;

impl Core {
    pub(super) fn call_services(&mut self, id: SessionId, call: &Call) -> Stepped {
        match call.member() {
            "List" => {
                let _: Empty = call.parameters_as()?;
                let services = self
                    .engine
                    .services()
                    .filter(|view| {
                        let name = &view.definition.name;
                        self.engine
                            .check(id, Some(name), Right::QueryStatus)
                            .is_ok()
                    })
                    .map(|view| self.shape(&view))
                    .collect();
                reply(ListReply { services })
            }
            "Status" => {
                let Named { name } = call.parameters_as()?;
                let name = self.readable(id, &name, Right::QueryStatus)?;
                let view = self.engine.service(&name).ok_or_else(|| missing(&name))?;
                reply(StatusReply {
                    service: self.shape(&view),
                })
            }
            "Start" => {
                let StartCall {
                    name,
                    arguments,
                    wait,
                } = call.parameters_as()?;
                let service = self.named(&name)?;
                let answer = Answer::Run(service.clone());
                let request = Request::Start {
                    service,
                    arguments,
                    wait,
                };
                Ok(Step::Request(id, request, answer))
            }
            "Stop" => {
                let StopCall { name, wait } = call.parameters_as()?;
                let service = self.named(&name)?;
                let request = Request::Stop { service, wait };
                Ok(Step::Request(id, request, Answer::Done(SERVICES)))
            }
            "Enable" => {
                let Named { name } = call.parameters_as()?;
                let request = Request::Enable(self.named(&name)?);
                Ok(Step::Request(id, request, Answer::Done(SERVICES)))
            }
            "Disable" => {
                let Named { name } = call.parameters_as()?;
                let request = Request::Disable(self.named(&name)?);
                Ok(Step::Request(id, request, Answer::Done(SERVICES)))
            }
            "Triggers" => {
                let TriggersCall { name } = call.parameters_as()?;
                let names: Vec<ServiceName> = match name {
                    Some(name) => vec![self.readable(id, &name, Right::QueryConfig)?],
                    None => self
                        .engine
                        .services()
                        .map(|view| view.definition.name.clone())
                        .filter(|name| {
                            let may = self.engine.check(id, Some(name), Right::QueryConfig);
                            may.is_ok()
                        })
                        .collect(),
                };
                let triggers = names
                    .iter()
                    .flat_map(|name| self.triggers_of(name))
                    .collect();
                reply(TriggersReply { triggers })
            }
            "Why" => {
                let Named { name } = call.parameters_as()?;
                let name = self.readable(id, &name, Right::QueryStatus)?;
                let view = self.engine.service(&name).ok_or_else(|| missing(&name))?;
                let why = self.engine.why(&name, |guid| self.class_name(guid));
                let why = why.ok_or_else(|| missing(&name))?;
                let triggers = self.triggers_of(&name).into_iter().zip(why.triggers);
                reply(WhyReply {
                    service: self.shape(&view),
                    answer: why.answer,
                    conditions: why.conditions.into_iter().map(shapes::condition).collect(),
                    triggers: triggers
                        .map(|(trigger, conditions)| TriggerReport {
                            trigger,
                            conditions: conditions.into_iter().map(shapes::condition).collect(),
                        })
                        .collect(),
                })
            }
            _ => Err(no_method(call)),
        }
    }

    fn shape(&self, view: &arrival_engine::view::ServiceView<'_>) -> Service {
        let path = self.paths.get(&view.definition.name.folded());
        shapes::service(view, path.map(std::path::PathBuf::as_path))
    }

    fn triggers_of(&self, name: &ServiceName) -> Vec<ToldTrigger> {
        let Some(view) = self.engine.service(name) else {
            return Vec::new();
        };
        let triggers = view.definition.triggers.iter().map(|trigger| {
            let holding = self.engine.holding(&trigger.cause);
            shapes::trigger(view.definition, trigger, &self.classes, holding)
        });
        triggers.collect()
    }
}
