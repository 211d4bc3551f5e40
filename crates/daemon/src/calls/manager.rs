//! `org.arrivald.Daemon`.

use arrival_engine::api::{Request, SessionId};
use arrival_model::access::Right;
use arrival_model::error::Win32Error;
use arrival_wire::api::Empty;
use arrival_wire::api::daemon::{Counters, InfoReply, Problem, SourcesReply};
use arrival_wire::message::Call;

use super::{Answer, Asked, DAEMON, Step, Stepped, coded, no_method, reply};
use crate::core::Core;
use crate::shapes;

impl Core {
    pub(super) fn call_daemon(&mut self, id: SessionId, call: &Call) -> Stepped {
        let _: Empty = call.parameters_as()?;
        match call.member() {
            "Info" => {
                self.may(DAEMON, id, Right::QueryStatus)?;
                reply(self.info())
            }
            "Sources" => {
                self.may(DAEMON, id, Right::QueryStatus)?;
                reply(SourcesReply {
                    sources: self.sources(),
                })
            }
            "Reload" => {
                self.may(DAEMON, id, Right::Administer)?;
                let ticket = self.new_ticket();
                let answer = if call.oneway {
                    Answer::Oneway
                } else {
                    Answer::Problems
                };
                let connection = id;
                self.asked.insert(ticket, Asked { connection, answer });
                if !self.files.look(Some((id, ticket))) {
                    self.asked.remove(&ticket);
                    return Ok(Step::Reply(coded(
                        "org.arrivald.Daemon.Denied",
                        Win32Error::GEN_FAILURE,
                        "the thread that reads files has ended",
                    )));
                }
                if call.oneway {
                    self.end_call(id);
                }
                Ok(Step::Later)
            }
            "Shutdown" => Ok(Step::Request(id, Request::Shutdown, Answer::Stopped)),
            _ => Err(no_method(call)),
        }
    }

    fn info(&self) -> InfoReply {
        let devices = self.devices.counters();
        let engine = self.engine.counters();
        let notify_dropped = self.notify.get_ref().dropped();
        let strays = self.facts.strays.clone();
        InfoReply {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: i32::try_from(std::process::id()).unwrap_or(0),
            root: self.facts.root.clone(),
            boot_id: self.facts.boot_id.clone(),
            cursor: self.engine.cursor().to_string(),
            containment: self.hosts.get_ref().containment().kind().to_owned(),
            udev: self.facts.udev && std::path::Path::new("/run/udev/control").exists(),
            services: self.engine.service_count() as u64,
            interfaces: self.engine.interfaces().count() as u64,
            strays,
            counters: Counters {
                events: devices.events,
                spoofed: devices.spoofed,
                truncated: devices.truncated,
                overruns: devices.overruns,
                resyncs: engine.resyncs,
                wedged: devices.wedged,
                udev_timeouts: devices.udev_timeouts,
                notify_refused: self.notify_refused + notify_dropped,
                subscriber_overruns: engine.subscriber_overruns,
                connections_refused: self.gate.borrow().refused,
            },
            problems: self.all_problems(),
        }
    }

    /// What is wrong with files, and with writing the state.
    pub(super) fn all_problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.problems.iter().map(shapes::problem).collect();
        if let Some(error) = &self.state.error {
            let failures = self.state.failures;
            problems.push(Problem {
                path: self.facts.root.clone(),
                line: None,
                column: None,
                severity: "error".to_owned(),
                code: "state-not-saved".to_owned(),
                message: format!("{error} (failed {failures} times)"),
                remedy: Some("make room in the folder of the state".to_owned()),
            });
        }
        problems
    }
}
