//! `devices` and `classes`: what is present, and what could be.

use std::io::{self, Write};

use arrival_client::{Class, Interface};
use serde::Serialize;

use super::services::field;
use super::{Outcome, Place};
use crate::args::Devices;
use crate::exit::{Exit, Failure};
use crate::screen::{NOTABLE, PLAIN, STRONG, Screen};
use crate::table::{Cell, Table};
use crate::text::printable;

/// The answer of `classes` for programs.
#[derive(Serialize)]
struct Classes<'a> {
    classes: &'a [Class],
}

/// `arrival devices`.
pub(super) fn devices(place: &Place, screen: &mut Screen<'_>, options: &Devices) -> Outcome {
    let reply = place
        .connect()?
        .interfaces(options.class.as_deref())
        .map_err(|error| Failure::of("cannot list interfaces", &error))?;
    if screen.json {
        screen.value(&reply)?;
    } else if options.long {
        write_long(screen, &reply.interfaces)?;
    } else {
        write_table(screen, &reply.interfaces)?;
    }
    Ok(Exit::Done)
}

/// `arrival classes`.
pub(super) fn classes(place: &Place, screen: &mut Screen<'_>) -> Outcome {
    let classes = place
        .connect()?
        .classes()
        .map_err(|error| Failure::of("cannot list classes", &error))?;
    if screen.json {
        screen.value(&Classes { classes: &classes })?;
    } else {
        write_classes(screen, &classes)?;
    }
    Ok(Exit::Done)
}

fn first_id(interface: &Interface) -> &str {
    let ids = [&interface.hardware_ids, &interface.compatible_ids];
    ids.into_iter().flatten().next().map_or("", String::as_str)
}

pub(super) fn write_table(screen: &mut Screen<'_>, interfaces: &[Interface]) -> io::Result<()> {
    let mut table = Table::new(["CLASS", "NAME", "NODE", "READY", "ID", "DEVICE"]);
    for interface in interfaces {
        let ready = if interface.usable {
            Cell::new("usable").style(PLAIN)
        } else {
            Cell::new("appeared").style(NOTABLE)
        };
        table.row([
            interface.class_name.as_str().into(),
            Cell::new(&interface.name).style(STRONG),
            interface.node.as_ref().into(),
            ready,
            first_id(interface).into(),
            interface.owner.as_str().into(),
        ]);
    }
    table.write(screen, "no such device is present")
}

pub(super) fn write_long(screen: &mut Screen<'_>, interfaces: &[Interface]) -> io::Result<()> {
    for (at, interface) in interfaces.iter().enumerate() {
        if at > 0 {
            writeln!(screen)?;
        }
        let name = printable(&interface.name);
        let class = printable(&interface.class_name);
        writeln!(screen, "{STRONG}{name}{STRONG:#} ({class})")?;
        field(screen, "link", &printable(&interface.link))?;
        field(screen, "class", &printable(&interface.class))?;
        if let Some(node) = &interface.node {
            field(screen, "node", &printable(node))?;
        }
        for link in &interface.node_links {
            field(screen, "also", &printable(link))?;
        }
        if let Some(name) = &interface.ce_name {
            field(screen, "CE name", &printable(name))?;
        }
        field(screen, "device", &printable(&interface.owner))?;
        if !interface.reference.is_empty() {
            field(screen, "reference", &printable(&interface.reference))?;
        }
        for id in &interface.hardware_ids {
            field(screen, "id", &printable(id))?;
        }
        for id in &interface.compatible_ids {
            field(screen, "compatible", &printable(id))?;
        }
        field(screen, "enabled by", &printable(&interface.enabled_by))?;
        field(
            screen,
            "usable",
            if interface.usable { "yes" } else { "not yet" },
        )?;
        field(screen, "cursor", &printable(&interface.cursor))?;
    }
    Ok(())
}

pub(super) fn write_classes(screen: &mut Screen<'_>, classes: &[Class]) -> io::Result<()> {
    let mut table = Table::new(["NAME", "GUID", "FROM", "DESCRIPTION"]);
    for class in classes {
        table.row([
            Cell::new(&class.name).style(STRONG),
            class.guid.as_str().into(),
            class.origin.as_str().into(),
            class.description.as_str().into(),
        ]);
    }
    table.write(screen, "no classes")
}
