//! Trigger sections: one section is one trigger.
//!
//! | key | value |
//! |---|---|
//! | TriggerType | 1 to 7, 20, 30: SERVICE_TRIGGER_TYPE_* |
//! | Action | 1 start, 2 stop |
//! | SubType | a GUID in braces |
//! | DataItem | type, data; may be repeated, any of them will do |
//!
//! | type of a data item | data |
//! |---|---|
//! | 1 BINARY | bytes of two hexadecimal digits: `1,0a,ff` |
//! | 2 STRING | a text; several make one multistring: `2,"500","UDP"` |
//! | 3 LEVEL | a number up to 255 |
//! | 4 KEYWORD_ANY, 5 KEYWORD_ALL | a number of 64 bits, or its eight bytes |
//!
//! Microsoft documents type 1 alone, and of its data items STRING alone; the forms of the others are those
//! that INF files have for such values elsewhere. Which combinations there are, says
//! [`arrival_model::service_trigger`].
//!
//! Source: Microsoft, "INF AddService Directive", AddTrigger.

use arrival_model::service_trigger::{
    Action, DataItem, DataType, MOST, ServiceTrigger, TriggerError, TriggerType,
};

use arrival_model::trigger::Cause;

use crate::context::Context;
use crate::plan::Trigger;
use crate::registry;
use crate::syntax::{Entry, Field};

const KEYS: [&str; 4] = ["TriggerType", "Action", "SubType", "DataItem"];

/// The triggers of a service-install-section.
pub(crate) fn all(context: &mut Context<'_, '_>, section: &str) -> Vec<Trigger> {
    let mut triggers: Vec<Trigger> = Vec::new();
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
            let remedy = format!("add [{name}] with TriggerType and so on");
            context.no_section("1203", field, &name, remedy);
            continue;
        }
        if triggers.len() == MOST {
            let message = format!("a service has at most {MOST} triggers");
            context
                .report
                .error("1014", field.span.clone(), message, None);
            break;
        }
        if let Some(form) = one(context, &name)
            && !triggers.iter().any(|known| known.form == form)
        {
            let span = context.span(field.span.clone());
            triggers.push(Trigger {
                section: name,
                form,
                span,
            });
        }
    }
    triggers
}

fn one(context: &mut Context<'_, '_>, section: &str) -> Option<ServiceTrigger> {
    context.unknown_keys(section, &KEYS);
    let document = context.document;
    let mut get = |key: &str, example: &str| {
        let field = document
            .entry(section, key)
            .and_then(|entry| entry.value(0));
        if field.is_none() {
            let span = context.header(section);
            let message = format!("the trigger [{section}] has no {key}");
            context
                .report
                .error("1013", span, message, format!("write {key} = {example}"));
        }
        field
    };
    let (kind_field, action_field) = (get("TriggerType", "1"), get("Action", "1"));
    let subtype_field = get("SubType", "{GUID of an interface class}");
    let kind = kind_field.and_then(|field| {
        let number = context.number(field)?;
        let kind = TriggerType::from_raw(number);
        if kind.is_none() {
            let message = format!("there is no trigger type {number}");
            let remedy = "write 1 to 7 or 20: 1 is the arrival of a device".to_owned();
            context
                .report
                .error("1014", field.span.clone(), message, remedy);
        }
        kind
    });
    let action = action_field.and_then(|field| {
        let number = context.number(field)?;
        let action = Action::from_raw(number);
        if action.is_none() {
            let message = format!("there is no action {number}");
            let remedy = "write 1 (start) or 2 (stop)".to_owned();
            context
                .report
                .error("1014", field.span.clone(), message, remedy);
        }
        action
    });
    let subtype = subtype_field.and_then(|field| context.guid(field));
    let mut items: Vec<DataItem> = Vec::new();
    let mut places = Vec::new();
    for entry in document
        .entries(section)
        .filter(|entry| entry.is("DataItem"))
    {
        // One more than there may be is enough to say so.
        if items.len() > MOST {
            break;
        }
        if let Some(item) = item(context, entry, kind)
            && !items.contains(&item)
        {
            items.push(item);
            places.push(entry.span.clone());
        }
    }
    let trigger = ServiceTrigger {
        kind: kind?,
        action: action?,
        subtype: subtype?,
        items,
    };
    if let Err(error) = trigger.check() {
        let span = match &error {
            TriggerError::Subtype { .. } => subtype_field.map(|field| field.span.clone()),
            TriggerError::Action(_) => action_field.map(|field| field.span.clone()),
            TriggerError::NoItem(_) | TriggerError::Items => None,
            // The first item that would not do alone.
            TriggerError::Item { .. } | TriggerError::Bytes { .. } => {
                let bad = trigger.items.iter().position(|item| {
                    let items = vec![item.clone()];
                    let alone = ServiceTrigger {
                        items,
                        ..trigger.clone()
                    };
                    alone.check().is_err()
                });
                bad.and_then(|bad| places.get(bad).cloned())
            }
        };
        let span = span.unwrap_or_else(|| context.header(section));
        let subtypes: Vec<String> = trigger
            .kind
            .subtypes()
            .map(|(guid, says)| format!("{guid} ({says})"))
            .collect();
        let remedy = match &error {
            TriggerError::Subtype { .. } => Some(format!("write {}", subtypes.join(" or "))),
            TriggerError::Action(_) => Some("write Action = 1".to_owned()),
            TriggerError::NoItem(_) => Some("add a DataItem = 2, \"...\"".to_owned()),
            TriggerError::Item { .. } | TriggerError::Bytes { .. } | TriggerError::Items => None,
        };
        context
            .report
            .error("1014", span, error.to_string(), remedy);
        return None;
    }
    let unfit = match trigger.meaning() {
        Ok(meant) => match meant.cause {
            Cause::State(_) | Cause::Aggregate(_) => {
                let (number, name) = (trigger.kind.to_raw(), trigger.kind.name());
                let message = format!("triggers of type {number}, {name}, happen on Windows only");
                Some((kind_field, message))
            }
            Cause::Rpc(_) => {
                let message = "RPC interfaces are not watched yet".to_owned();
                Some((subtype_field, message))
            }
            Cause::Device(_)
            | Cause::Network { .. }
            | Cause::Domain { .. }
            | Cause::Port { .. }
            | Cause::Policy(_)
            | Cause::Pipe { .. }
            | Cause::Custom(_) => None,
        },
        Err(error) => {
            let item = document.entry(section, "DataItem");
            let field = item.and_then(|entry| entry.values.get(1));
            Some((field.or(kind_field), error.to_string()))
        }
    };
    if let Some((field, message)) = unfit {
        let span = field.map_or(0..0, |field| field.span.clone());
        let remedy = "leave the trigger out, or write one that happens here";
        context.unfit("unsupported-trigger", span, message, remedy.to_owned());
    }
    Some(trigger)
}

fn item(
    context: &mut Context<'_, '_>,
    entry: &Entry<'_>,
    trigger: Option<TriggerType>,
) -> Option<DataItem> {
    let data = entry.values.get(1..).unwrap_or_default();
    let (Some(kind), Some(first)) = (entry.value(0), data.first()) else {
        let remedy = "write DataItem = 2, \"USB\\VID_0547&PID_1002\"".to_owned();
        let message = "a data item has a type and data";
        context
            .report
            .error("1006", entry.span.clone(), message, remedy);
        return None;
    };
    let number = context.number(kind)?;
    let Some(own) = DataType::from_raw(number) else {
        let message = format!("there is no type {number} of a data item");
        let remedy = "write 2 for text, 1 for bytes".to_owned();
        context
            .report
            .error("1014", kind.span.clone(), message, remedy);
        return None;
    };
    let item = match own {
        DataType::String => strings(context, data, trigger)?,
        DataType::Binary => DataItem {
            kind: own,
            bytes: registry::hex(context, entry, data, None)?,
        },
        DataType::Level => {
            let level = context.number(first)?;
            let Ok(level) = u8::try_from(level) else {
                let message = format!("{level} is no level: it has one byte");
                context
                    .report
                    .error("1268", first.span.clone(), message, None);
                return None;
            };
            DataItem {
                kind: own,
                bytes: vec![level],
            }
        }
        DataType::KeywordAny | DataType::KeywordAll => DataItem {
            kind: own,
            bytes: match data {
                [only] => context.long_number(only)?.to_le_bytes().to_vec(),
                bytes => registry::hex(context, entry, bytes, Some(8))?,
            },
        },
    };
    if let Err(error) = item.check() {
        let span = first.span.start..data.last().map_or(first.span.end, |last| last.span.end);
        context.report.error("1014", span, error.to_string(), None);
        return None;
    }
    Some(item)
}

fn strings(
    context: &mut Context<'_, '_>,
    data: &[Field<'_>],
    trigger: Option<TriggerType>,
) -> Option<DataItem> {
    let mut texts = Vec::new();
    for field in data {
        let text = context.text(field);
        let text = match trigger {
            Some(TriggerType::DeviceInterfaceArrival) => context.id(field, text)?,
            _ => text,
        };
        if text.contains('\0') {
            let message = "a text of a data item has no NUL; write several texts instead";
            context
                .report
                .error("1014", field.span.clone(), message, None);
            return None;
        }
        texts.push(text);
    }
    Some(DataItem::strings(texts.iter().map(String::as_str)))
}
