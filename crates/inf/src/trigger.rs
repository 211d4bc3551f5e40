//! Trigger sections: one section is one trigger.
//!
//! | key | value |
//! |---|---|
//! | TriggerType | 1, SERVICE_TRIGGER_TYPE_DEVICE_INTERFACE_ARRIVAL |
//! | Action | 1, SERVICE_TRIGGER_ACTION_SERVICE_START |
//! | SubType | the interface class, a GUID in braces |
//! | DataItem | 2, "hardware or compatible id"; may be repeated, any of them will do |
//!
//! Other types and actions of Windows are refused: a service that would never be started must not look
//! installed.
//!
//! Source: Microsoft, "INF AddService Directive", AddTrigger.

use arrival_model::trigger::{DeviceTrigger, FoldedId, Wait};

use crate::install::Context;
use crate::syntax::Entry;

const KEYS: [&str; 4] = ["TriggerType", "Action", "SubType", "DataItem"];

/// The most triggers of a service and items of a trigger ([MS-SCMR] 2.2.52 to 2.2.54).
const MOST: usize = 64;

/// The types of triggers that Windows has and this system has not (winsvc.h).
const OTHERS: [(u32, &str); 7] = [
    (2, "IP_ADDRESS_AVAILABILITY"),
    (3, "DOMAIN_JOIN"),
    (4, "FIREWALL_PORT_EVENT"),
    (5, "GROUP_POLICY"),
    (6, "NETWORK_ENDPOINT"),
    (7, "CUSTOM_SYSTEM_STATE_CHANGE"),
    (20, "CUSTOM"),
];

/// The triggers of a service-install-section.
pub(crate) fn all(context: &mut Context<'_, '_, '_>, section: &str) -> Vec<DeviceTrigger> {
    let mut triggers: Vec<DeviceTrigger> = Vec::new();
    let document = context.document;
    let entries = document
        .entries(section)
        .filter(|entry| entry.is("AddTrigger"));
    for field in entries
        .flat_map(|entry| &entry.values)
        .filter(|field| !field.text.is_empty())
    {
        let name = context.text(field);
        if !document.has(&name) {
            let message = format!("there is no section [{name}]");
            context.report.error(
                "1203",
                field.span.clone(),
                message,
                format!("add [{name}] with TriggerType and so on"),
            );
            continue;
        }
        if triggers.len() == MOST {
            let message = format!("a service has at most {MOST} triggers");
            context
                .report
                .error("1014", field.span.clone(), message, None);
            break;
        }
        if let Some(trigger) = one(context, &name)
            && !triggers.contains(&trigger)
        {
            triggers.push(trigger);
        }
    }
    triggers
}

fn one(context: &mut Context<'_, '_, '_>, section: &str) -> Option<DeviceTrigger> {
    context.unknown_keys(section, &KEYS);
    let document = context.document;
    let mut get = |key: &str, example: &str| {
        let field = document
            .entry(section, key)
            .and_then(|entry| entry.value(0));
        if field.is_none() {
            let span = document
                .named(section)
                .next()
                .map_or(0..0, |section| section.span.clone());
            let message = format!("the trigger [{section}] has no {key}");
            context
                .report
                .error("1013", span, message, format!("write {key} = {example}"));
        }
        field
    };
    let (kind, action) = (get("TriggerType", "1"), get("Action", "1"));
    let class = get("SubType", "{GUID of an interface class}");
    let number = kind.and_then(|field| Some((field, context.number(field)?)));
    if let Some((field, number)) = number.filter(|(_, number)| *number != 1) {
        let known = OTHERS.iter().find(|(known, _)| *known == number);
        let message = match known {
            Some((_, name)) => format!("triggers of type {number}, {name}, cannot be watched yet"),
            None => format!("there is no trigger type {number}"),
        };
        context.report.error(
            "unsupported-trigger",
            field.span.clone(),
            message,
            "write TriggerType = 1".to_owned(),
        );
    }
    let does = action.and_then(|field| Some((field, context.number(field)?)));
    if let Some((field, does)) = does.filter(|(_, does)| *does != 1) {
        let message = match does {
            2 => "a device that arrives cannot stop a service".to_owned(),
            _ => format!("there is no action {does}"),
        };
        context.report.error(
            "unsupported-trigger",
            field.span.clone(),
            message,
            "write Action = 1".to_owned(),
        );
    }
    let class = class.and_then(|field| context.guid(field));
    let mut ids: Vec<FoldedId> = Vec::new();
    for entry in document
        .entries(section)
        .filter(|entry| entry.is("DataItem"))
    {
        if let Some(id) = item(context, entry)
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    if ids.len() > MOST {
        let span = document
            .named(section)
            .next()
            .map_or(0..0, |section| section.span.clone());
        context.report.error(
            "1014",
            span,
            format!("a trigger has at most {MOST} data items"),
            None,
        );
    }
    Some(DeviceTrigger {
        class: class?,
        ids,
        ancestors: false,
        wait: Wait::Usable,
    })
}

fn item(context: &mut Context<'_, '_, '_>, entry: &Entry<'_>) -> Option<FoldedId> {
    let (Some(kind), Some(data)) = (entry.value(0), entry.value(1)) else {
        let remedy = "write DataItem = 2, \"USB\\VID_0547&PID_1002\"".to_owned();
        context.report.error(
            "1006",
            entry.span.clone(),
            "a data item has a type and data",
            remedy,
        );
        return None;
    };
    if context.number(kind)? != 2 {
        let message = "a device trigger has data items of type 2, SERVICE_TRIGGER_DATA_TYPE_STRING";
        context
            .report
            .error("1014", kind.span.clone(), message, "write 2".to_owned());
        return None;
    }
    let text = context.text(data);
    context.id(data, text).map(|id| FoldedId::new(&id))
}
