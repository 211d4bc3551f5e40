//! `AddReg` and `DelReg`: values of the registry, which become a service's or a device's parameters.
//!
//! ```text
//! AddReg    = section [, section ...]
//! [section]   root, [subkey], [name], [flags] [, value ...]      root: HKR, HKLM, HKCU, HKCR, HKU
//! DelReg    = section [, section ...]
//! [section]   root, subkey [, name]                              without a name: the key and all below it
//! ```
//!
//! | flags | value |
//! |---|---|
//! | 0 | text |
//! | 0x10000, 0x20000 | several texts; text with `%variables%` |
//! | 0x1, 0x20001, 0xNNNN0001 | bytes, as two-digit hexadecimal numbers; of no type; of another type |
//! | 0x10001, 0xb0001 | a number of 32 or 64 bits, or its bytes |
//! | + 0x2, 0x20 | keeps a value that is there; only replaces one that is there |
//! | + 0x4, 0x8004 | deletes the value; deletes one text of several |
//! | + 0x8 | adds texts to those that are there |
//! | + 0x10, 0x2000 | the key alone |
//! | + 0x1000, 0x4000 | the view of 64 or 32 bits; there is one here |
//!
//! Only HKR is read: the service's own key, or the device's. Everything else is Windows' own.
//!
//! Source: Microsoft, "INF AddReg Directive", "INF DelReg Directive"; setupapi.h, FLG_ADDREG_*.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use crate::context::Context;
use crate::plan::{Data, Value};
use crate::syntax::{Entry, Field, fold};

/// Keeps a value that is there.
const NOCLOBBER: u32 = 0x2;
/// Deletes the value, or the key.
const DELVAL: u32 = 0x4;
/// Adds texts.
const APPEND: u32 = 0x8;
/// Makes the key alone.
const KEYONLY: u32 = 0x10 | 0x2000;
/// Replaces only what is there.
const OVERWRITEONLY: u32 = 0x20;
/// In `AddReg`: the other bits mean a deletion.
const DELREG: u32 = 0x8000;
/// The bits of the value's type.
const TYPE: u32 = 0xffff_0001;
/// Every bit that has a meaning.
const ALL: u32 = TYPE | NOCLOBBER | DELVAL | APPEND | KEYONLY | OVERWRITEONLY | DELREG | 0x5000;

/// Values in the order in which they were first set.
#[derive(Default)]
pub(crate) struct Registry {
    values: Vec<Option<Value>>,
    /// The place of each value by its folded key, a NUL, and its folded name.
    places: BTreeMap<String, usize>,
}

fn place(key: &str, name: &str) -> String {
    format!("{}\0{}", fold(key), fold(name))
}

impl Registry {
    /// The values that are left.
    pub(crate) fn into_values(self) -> Vec<Value> {
        self.values.into_iter().flatten().collect()
    }

    fn remove(&mut self, key: &str, name: &str) {
        let known = self.places.remove(&place(key, name));
        if let Some(value) = known.and_then(|at| self.values.get_mut(at)) {
            *value = None;
        }
    }

    /// Removes a key and all below it.
    fn remove_key(&mut self, key: &str) {
        let key = fold(key);
        for (first, end) in [
            (format!("{key}\0"), format!("{key}\u{1}")),
            (format!("{key}\\"), format!("{key}]")),
        ] {
            let found = self.places.range(first..end);
            let found: Vec<String> = found.map(|(place, _)| place.clone()).collect();
            for place in found {
                let known = self.places.remove(&place);
                if let Some(value) = known.and_then(|at| self.values.get_mut(at)) {
                    *value = None;
                }
            }
        }
    }

    fn set(&mut self, flags: u32, value: Value) {
        let place = place(&value.key, &value.name);
        let at = self.places.get(&place);
        let known = at
            .and_then(|at| self.values.get_mut(*at))
            .and_then(Option::as_mut);
        match known {
            None if flags & OVERWRITEONLY != 0 => {}
            None => {
                self.places.insert(place, self.values.len());
                self.values.push(Some(value));
            }
            Some(_) if flags & NOCLOBBER != 0 => {}
            Some(known) => match (&mut known.data, value.data) {
                (Data::Texts(texts), Data::Texts(more)) if flags & APPEND != 0 => {
                    let seen: HashSet<String> = texts.iter().map(|text| fold(text)).collect();
                    texts.extend(more.into_iter().filter(|one| !seen.contains(&fold(one))));
                }
                (known, data) => *known = data,
            },
        }
    }
}

/// Reads the sections that `AddReg` and `DelReg` of a section name, deletions first.
pub(crate) fn read(context: &mut Context<'_, '_>, section: &str, registry: &mut Registry) {
    for directive in ["DelReg", "AddReg"] {
        let document = context.document;
        let mut seen = BTreeSet::new();
        let entries = document
            .entries(section)
            .filter(|entry| entry.is(directive));
        for field in entries
            .flat_map(|entry| &entry.values)
            .filter(|field| !field.text.is_empty())
        {
            let name = context.text(field);
            if !document.has(&name) {
                context.no_section("1203", field, &name, None);
                continue;
            }
            if !seen.insert(fold(&name)) {
                continue;
            }
            for line in document.entries(&name) {
                match directive {
                    "DelReg" => delete(context, line, registry),
                    _ => add(context, line, registry),
                }
            }
        }
    }
}

/// The fields of a line; one that has no key but a value with `=` in it was cut there.
fn own_root(context: &mut Context<'_, '_>, line: &Entry<'_>) -> bool {
    let root = line.value(0).map(|field| context.text(field));
    match root.as_deref().map(fold).as_deref() {
        Some("hkr") if line.key.is_none() => return true,
        Some("hklm" | "hkcu" | "hkcr" | "hku") if line.key.is_none() => {
            let message =
                "this is a value of Windows' own registry, which this system does not have";
            let remedy = "a value below HKR reaches the service as a parameter".to_owned();
            context
                .report
                .warn("no-effect", line.span.clone(), message, remedy);
        }
        _ => {
            let message = "a line of the registry begins with HKR, HKLM, HKCU, HKCR or HKU";
            let remedy = "write HKR, Parameters, NAME, , VALUE".to_owned();
            context
                .report
                .error("1081", line.span.clone(), message, remedy);
        }
    }
    false
}

fn text_at(context: &mut Context<'_, '_>, line: &Entry<'_>, number: usize) -> String {
    line.value(number)
        .map(|field| context.text(field))
        .unwrap_or_default()
}

fn key_at(context: &mut Context<'_, '_>, line: &Entry<'_>) -> String {
    let key = text_at(context, line, 1);
    key.trim_matches('\\').to_owned()
}

fn delete(context: &mut Context<'_, '_>, line: &Entry<'_>, registry: &mut Registry) {
    if !own_root(context, line) {
        return;
    }
    let key = key_at(context, line);
    match line.value(2) {
        Some(field) => {
            let name = context.text(field);
            registry.remove(&key, &name);
        }
        None => registry.remove_key(&key),
    }
}

fn add(context: &mut Context<'_, '_>, line: &Entry<'_>, registry: &mut Registry) {
    if !own_root(context, line) {
        return;
    }
    let (key, name) = (key_at(context, line), text_at(context, line, 2));
    let flags = match line.value(3) {
        Some(field) => {
            let Some(flags) = context.number(field) else {
                return;
            };
            if flags & !ALL != 0 {
                let message = format!("AddReg has no flags {:#x}", flags & !ALL);
                context
                    .report
                    .warn("1085", field.span.clone(), message, None);
            }
            flags
        }
        None => 0,
    };
    if flags & KEYONLY != 0 {
        return;
    }
    if flags & DELVAL != 0 {
        // 0x8004 removes one text of several; without it, or for other types, the value goes.
        registry.remove(&key, &name);
        return;
    }
    let values = line.values.get(4..).unwrap_or_default();
    let Some(data) = data(context, line, flags & TYPE, values) else {
        return;
    };
    let span = values.first().map_or(line.span.clone(), |first| {
        first.span.start..values.last().map_or(first.span.end, |last| last.span.end)
    });
    registry.set(
        flags,
        Value {
            key,
            name,
            data,
            span: context.span(span),
            line: context.span(line.span.clone()),
        },
    );
}

fn data(
    context: &mut Context<'_, '_>,
    line: &Entry<'_>,
    kind: u32,
    values: &[Field<'_>],
) -> Option<Data> {
    let text = |context: &mut Context<'_, '_>| {
        let texts: Vec<String> = values.iter().map(|field| context.text(field)).collect();
        texts
    };
    let first = |texts: Vec<String>| texts.into_iter().next().unwrap_or_default();
    Some(match kind {
        0 => Data::Text(first(text(context))),
        0x2_0000 => Data::Expand(first(text(context))),
        0x1_0000 => {
            let mut texts = text(context);
            while texts.last().is_some_and(String::is_empty) {
                texts.pop();
            }
            Data::Texts(texts)
        }
        0x1_0001 => match values {
            [only] => Data::Number(context.number(only)?.into(), 4),
            bytes => Data::Number(little_endian(&hex(context, line, bytes, Some(4))?), 4),
        },
        0xb_0001 => match values {
            [only] => Data::Number(context.long_number(only)?, 8),
            bytes => Data::Number(little_endian(&hex(context, line, bytes, Some(8))?), 8),
        },
        kind if kind & 1 != 0 => Data::Bytes(hex(context, line, values, None)?, kind >> 16),
        _ => {
            let message = format!("{kind:#x} is no type of a value");
            let remedy = "write 0 for text, 0x10001 for a number, 1 for bytes".to_owned();
            context
                .report
                .error("1085", line.span.clone(), message, remedy);
            return None;
        }
    })
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// A list of bytes, each of one or two hexadecimal digits.
pub(crate) fn hex(
    context: &mut Context<'_, '_>,
    line: &Entry<'_>,
    fields: &[Field<'_>],
    exactly: Option<usize>,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for field in fields {
        let text = context.text(field);
        let digits = text
            .strip_prefix("0x")
            .or_else(|| text.strip_prefix("0X"))
            .unwrap_or(&text);
        // Twice as many digits are twice as many bytes: some write them all in one.
        let good = !digits.is_empty()
            && (digits.len() == 1 || digits.len().is_multiple_of(2))
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !good {
            let message = format!("'{text}' is no list of bytes");
            let remedy = "write each byte with two hexadecimal digits: 0a,ff".to_owned();
            context
                .report
                .error("1267", field.span.clone(), message, remedy);
            return None;
        }
        for pair in digits.as_bytes().chunks(2) {
            let pair = std::str::from_utf8(pair).unwrap_or_default();
            bytes.push(u8::from_str_radix(pair, 16).unwrap_or_default());
        }
    }
    if let Some(exactly) = exactly.filter(|exactly| *exactly != bytes.len()) {
        let span: Range<usize> = fields
            .first()
            .map_or(line.span.clone(), |field| field.span.clone());
        let message = format!("{exactly} bytes belong here, not {}", bytes.len());
        context.report.error("1268", span, message, None);
        return None;
    }
    Some(bytes)
}
