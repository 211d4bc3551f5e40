//! How the plan of an INF is shown: as tables, and for programs.

use std::io::{self, Write};

use arrival_inf::plan::{Account, Data, Place, Plan, Service, Value};
use serde_json::{Value as Json, json};

use crate::screen::{STRONG, Screen};
use crate::table::{Cell, Table};

fn program(service: &Service) -> String {
    match &service.program {
        Place::Package(path) => format!("%13%/{path}"),
        Place::Machine(path) => path.clone(),
    }
}

fn account(account: &Account) -> &str {
    match account {
        Account::System => "root",
        Account::LocalService => "arrival-local",
        Account::NetworkService => "arrival-network",
        Account::Own => "its own",
        Account::User(name) => name,
    }
}

fn data(value: &Value) -> Json {
    let own = match &value.data {
        Data::Text(text) | Data::Expand(text) => json!(text),
        Data::Texts(texts) => json!(texts),
        Data::Number(number, _) => json!(number),
        Data::Bytes(bytes, _) => json!(bytes),
    };
    json!({ "key": value.key, "name": value.name, "value": own })
}

/// A plan for programs.
pub(super) fn shown(plan: &Plan) -> Json {
    let services = plan.services.iter().map(|service| {
        let definition = service.definition(&program(service));
        let triggers = service.triggers.iter().map(|trigger| {
            json!({
                "section": trigger.section,
                "type": trigger.form.kind,
                "action": trigger.form.action,
                "subtype": trigger.form.subtype,
                "items": trigger.form.items.iter().map(|item| match item.texts() {
                    Some(texts) => json!({ "type": item.kind, "texts": texts }),
                    None => json!({ "type": item.kind, "bytes": item.bytes }),
                }).collect::<Vec<_>>(),
                "says": trigger.form.to_string(),
            })
        });
        json!({
            "name": service.name,
            "flags": service.flags,
            "description": service.description,
            "program": program(service),
            "arguments": service.arguments,
            "user": account(&service.account),
            "start": service.start,
            "protocol": definition.protocol,
            "follow": definition.follow,
            "depends": service.depends,
            "security": service.security,
            "failure": {
                "restart": definition.failure.restart,
                "delay_ms": definition.failure.delay.as_millis() as u64,
                "limit": definition.failure.limit,
                "within_ms": definition.failure.within.as_millis() as u64,
            },
            "triggers": triggers.collect::<Vec<_>>(),
            "parameters": service.parameters.iter().map(data).collect::<Vec<_>>(),
        })
    });
    let interfaces = plan.interfaces.iter().map(|interface| {
        let ids: Vec<&str> = interface.ids.iter().map(|id| id.as_str()).collect();
        json!({ "class": interface.class, "names": interface.names, "ids": ids })
    });
    let devices = plan.devices.iter().map(|device| {
        json!({ "description": device.description, "section": device.section, "ids": device.ids })
    });
    let files = plan
        .files
        .iter()
        .map(|file| json!({ "source": file.source, "target": file.target }));
    json!({
        "provider": plan.provider,
        "version": plan.version,
        "devices": devices.collect::<Vec<_>>(),
        "services": services.collect::<Vec<_>>(),
        "removed": plan.removed.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        "interfaces": interfaces.collect::<Vec<_>>(),
        "declared": plan.declared,
        "files": files.collect::<Vec<_>>(),
        "parameters": plan.parameters.iter().map(|own| {
            let ids: Vec<&str> = own.ids.iter().map(|id| id.as_str()).collect();
            json!({ "ids": ids, "values": own.values.iter().map(data).collect::<Vec<_>>() })
        }).collect::<Vec<_>>(),
    })
}

/// A plan for people.
pub(super) fn write(screen: &mut Screen<'_>, plan: &Plan) -> io::Result<()> {
    writeln!(screen)?;
    let mut table = Table::new(["SERVICE", "PROGRAM", "USER", "START", "TRIGGERS"]);
    for service in &plan.services {
        let triggers: Vec<String> = service
            .triggers
            .iter()
            .map(|trigger| trigger.form.to_string())
            .collect();
        let start = format!("{:?}", service.start).to_lowercase();
        table.row([
            Cell::new(service.name.as_str()).style(STRONG),
            Cell::new(&program(service)),
            Cell::new(account(&service.account)),
            Cell::new(&start),
            Cell::new(&triggers.join("; ")),
        ]);
    }
    table.write(screen, "no services")?;
    writeln!(screen)?;
    let mut table = Table::new(["FILE", "GOES TO"]);
    for file in &plan.files {
        table.row([
            Cell::new(&file.source),
            Cell::new(&format!("%13%/{}", file.target)).style(STRONG),
        ]);
    }
    table.write(screen, "no files")?;
    if !plan.devices.is_empty() {
        writeln!(screen)?;
        let mut table = Table::new(["DEVICE", "IDS", "SECTION"]);
        for device in &plan.devices {
            table.row([
                Cell::new(&device.description).style(STRONG),
                Cell::new(&device.ids.join(", ")),
                Cell::new(&device.section),
            ]);
        }
        table.write(screen, "no devices")?;
    }
    Ok(())
}
