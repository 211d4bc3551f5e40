//! What the engine knows in the form in which the control protocol tells it.

use std::path::Path;

use arrival_engine::api::{Notice, NoticeKind, StateChange};
use arrival_engine::view::{Condition, ServiceView};
use arrival_model::class::{Class, Classes};
use arrival_model::cursor::Cursor;
use arrival_model::definition::{Definition, Protocol};
use arrival_model::diagnostic::Diagnostic;
use arrival_model::guid::Guid;
use arrival_model::interface::{EnabledBy, Interface};
use arrival_model::service_trigger::Action;
use arrival_model::state::{Desired, HeldBack};
use arrival_model::trigger::{Cause, Trigger, Wait};
use arrival_wire::api::{daemon, devices, services, session};

/// A service.
pub(crate) fn service(view: &ServiceView<'_>, path: Option<&Path>) -> services::Service {
    services::Service {
        name: view.definition.name.to_string(),
        description: view.definition.description.clone(),
        state: view.state.name().to_owned(),
        desired: match view.desired {
            Desired::Running => "running",
            Desired::Stopped => "stopped",
        }
        .to_owned(),
        held_back: view.held_back.map(held_back),
        note: view.note.map(str::to_owned),
        enabled: view.enabled,
        protocol: match view.definition.protocol {
            Protocol::Exec => "exec",
            Protocol::Notify => "notify",
            Protocol::Control => "control",
        }
        .to_owned(),
        run: view.run.map(|run| run.0),
        pid: view.pid,
        start_reason: view.reason.map(|reason| reason.name().to_owned()),
        starts: view.starts,
        failures: view.failures,
        interfaces: view
            .interfaces
            .iter()
            .map(|interface| interface.link.clone())
            .collect(),
        last_exit: view.last_exit.map(|exit| exit.to_string()),
        last_error: view.last_error.map(str::to_owned),
        status_text: view.status_text.map(str::to_owned),
        checkpoint: view.checkpoint,
        wait_hint_ms: u32::try_from(view.wait_hint.as_millis()).unwrap_or(u32::MAX),
        since_ns: view.since.0,
        definition: path.map(|path| path.to_string_lossy().into_owned()),
    }
}

fn held_back(why: HeldBack) -> String {
    match why {
        HeldBack::Disabled => "disabled",
        HeldBack::StoppedByOperator => "stopped_by_operator",
        HeldBack::GivenUp => "given_up",
        HeldBack::Finished => "finished",
        HeldBack::Flapping => "flapping",
        HeldBack::StoppedByTrigger => "stopped_by_trigger",
    }
    .to_owned()
}

/// A trigger, with how many interfaces it matches now, or whether its level holds.
pub(crate) fn trigger(
    definition: &Definition,
    trigger: &Trigger,
    classes: &Classes,
    present: usize,
) -> services::Trigger {
    let device = match &trigger.cause {
        Cause::Device(device) => Some(device),
        Cause::Network { .. }
        | Cause::Domain { .. }
        | Cause::Port { .. }
        | Cause::Policy(_)
        | Cause::Pipe { .. }
        | Cause::Rpc(_)
        | Cause::Custom(_)
        | Cause::State(_)
        | Cause::Aggregate(_) => None,
    };
    let ids = device.map_or(&[] as &[_], |device| &device.ids);
    services::Trigger {
        service: definition.name.to_string(),
        action: match trigger.action {
            Action::Start => "start",
            Action::Stop => "stop",
        }
        .to_owned(),
        kind: trigger.cause.kind().to_owned(),
        what: trigger.cause.to_string(),
        class: device.map(|device| device.class.to_string()),
        class_name: device.and_then(|device| class_name(classes, device.class)),
        ids: ids.iter().map(|id| id.to_string()).collect(),
        ancestors: device.is_some_and(|device| device.ancestors),
        wait: match device.map(|device| device.wait) {
            Some(Wait::Appeared) => "appeared",
            Some(Wait::Usable) | None => "usable",
        }
        .to_owned(),
        present: present as u64,
    }
}

/// The short name of a class.
pub(crate) fn class_name(classes: &Classes, guid: Guid) -> Option<String> {
    classes.get(guid).map(|class| class.name.clone())
}

/// One condition on the way to a running service.
pub(crate) fn condition(condition: Condition) -> services::Condition {
    services::Condition {
        holds: condition.holds,
        what: condition.what,
        remedy: condition.remedy,
    }
}

/// An interface, with the cursor of its arrival or of the notice that tells of it.
pub(crate) fn interface(interface: &Interface, cursor: Cursor) -> devices::Interface {
    devices::Interface {
        link: interface.link.clone(),
        class: interface.key.class.to_string(),
        class_name: interface.class_name.clone(),
        node: interface.node.clone(),
        node_links: interface.node_links.clone(),
        ce_name: interface.ce_name.clone(),
        name: interface.name.clone(),
        owner: interface.key.owner.name().to_owned(),
        reference: interface.key.reference.clone(),
        hardware_ids: interface.hardware_ids.clone(),
        compatible_ids: interface.compatible_ids.clone(),
        enabled_by: match interface.enabled_by {
            EnabledBy::Kernel => "kernel",
            EnabledBy::Package => "package",
            EnabledBy::Driver => "driver",
            EnabledBy::Program => "program",
        }
        .to_owned(),
        usable: interface.usable,
        cursor: cursor.to_string(),
    }
}

/// A class, and whether a file defines it.
pub(crate) fn class(class: &Class, built_in: &Classes) -> devices::Class {
    let origin = if built_in.get(class.guid) == Some(class) {
        "built-in"
    } else {
        "classes.d"
    };
    devices::Class {
        guid: class.guid.to_string(),
        name: class.name.clone(),
        description: class.description.clone(),
        origin: origin.to_owned(),
    }
}

/// A change of a service's state.
fn state(change: StateChange) -> session::StateChange {
    session::StateChange {
        service: change.service.to_string(),
        state: change.state.name().to_owned(),
        held_back: change.held_back.map(held_back),
        run: change.run.map(|run| run.0),
        pid: change.pid,
        start_reason: change.reason.map(|reason| reason.name().to_owned()),
        exit: change.exit.map(|exit| exit.to_string()),
    }
}

/// One record of a session's stream.
pub(crate) fn notice(notice: Notice) -> session::Notice {
    let mut out = session::Notice::new(
        session::NoticeKind::Snapshot,
        notice.cursor.to_string(),
        notice.time.0,
    );
    out.previous = notice.previous.map(|cursor| cursor.to_string());
    let tell = |one: &Interface| Some(interface(one, notice.cursor));
    match notice.kind {
        NoticeKind::Interface(one) => out.interface = tell(&one),
        NoticeKind::Service(change) => out.state = Some(state(change)),
        NoticeKind::SnapshotComplete => out.complete = Some(true),
        NoticeKind::Arrival(one) => {
            out.kind = session::NoticeKind::Arrival;
            out.interface = tell(&one);
        }
        NoticeKind::Removal(one) => {
            out.kind = session::NoticeKind::Removal;
            out.interface = tell(&one);
        }
        NoticeKind::State(change) => {
            out.kind = session::NoticeKind::State;
            out.state = Some(state(change));
        }
        NoticeKind::SubscriberOverrun { lost } => {
            out.kind = session::NoticeKind::Overrun;
            out.lost = Some(lost);
        }
        NoticeKind::SourceOverrun(source) => {
            out.kind = session::NoticeKind::Overrun;
            out.source = Some(source.to_owned());
        }
        NoticeKind::Resync(source) => {
            out.kind = session::NoticeKind::Resync;
            out.source = Some(source.to_owned());
        }
    }
    out
}

/// Something wrong in a file.
pub(crate) fn problem(found: &Diagnostic) -> daemon::Problem {
    let number = |n: usize| u32::try_from(n).ok().filter(|n| *n > 0);
    daemon::Problem {
        path: found.path.to_string_lossy().into_owned(),
        line: number(found.line),
        column: number(found.column),
        severity: found.severity.name().to_owned(),
        code: found.code.to_string(),
        message: found.message.clone(),
        remedy: found.remedy.clone(),
    }
}
