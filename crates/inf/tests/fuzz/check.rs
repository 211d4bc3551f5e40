//! What must hold for any bytes; the fuzz targets and the replay of their corpus include this.
#![allow(dead_code, clippy::unwrap_used)]

use std::path::Path;

use arrival_inf::{Target, encoding, format, read_package, reg, syntax};
use arrival_model::diagnostic::Report;

type Entry = (Option<String>, Vec<String>);

/// What a text says, after a look whether every place lies in it, in order.
fn meaning(text: &str) -> Vec<(String, Vec<Entry>)> {
    let mut report = Report::new(Path::new("x.inf"), text);
    let document = syntax::parse(&mut report);
    let mut at = 0;
    let mut sections = Vec::new();
    for section in &document.sections {
        assert!(section.span.start >= at && text.get(section.span.clone()).is_some());
        assert!(document.has(section.name));
        at = section.span.end;
        let mut entries = Vec::new();
        for entry in &section.entries {
            assert!(entry.span.start >= at && text.get(entry.span.clone()).is_some());
            at = entry.span.start;
            for field in entry.key.iter().chain(&entry.values) {
                assert!(field.span.start >= at && field.span.end <= entry.span.end);
                assert!(text.get(field.span.clone()).is_some());
                at = field.span.end;
            }
            let values = entry.values.iter().map(|value| value.text.to_string());
            let key = entry.key.as_ref().map(|key| key.text.to_string());
            entries.push((key, values.collect()));
        }
        sections.push((section.name.to_owned(), entries));
    }
    sections
}

/// Any bytes as an INF file, which may include itself.
pub(crate) fn inf(bytes: &[u8]) {
    let text = encoding::decode(bytes).text;
    let lines = text.lines().count() + text.matches('\r').count() + 1;
    for architecture in ["amd64", "riscv64"] {
        for here in [true, false] {
            let target = Target {
                here,
                windows: !here,
                ..Target::of(architecture)
            };
            let mut open = |_: &str| Some(bytes.to_vec());
            let read = read_package(Path::new("x.inf"), bytes, &target, &mut open);
            let errors = read.problems.iter().any(|problem| problem.is_error());
            assert_eq!(read.plan.is_none(), errors);
            assert!(read.problems.iter().all(|problem| problem.line <= lines));
            for problem in &read.problems {
                let _ = problem.to_string();
            }
            for service in read.plan.iter().flat_map(|plan| &plan.services) {
                let _ = arrival_inf::write(&service.definition("/x"), None);
            }
        }
    }
    let before = meaning(&text);
    if let Ok(laid_out) = format::format(Path::new("x.inf"), &text) {
        assert_eq!(meaning(&laid_out), before);
        let again = format::format(Path::new("x.inf"), &laid_out);
        assert_eq!(again.ok().as_ref(), Some(&laid_out));
    }
}

/// Any bytes as a registry file.
pub(crate) fn registry(bytes: &[u8]) {
    let read = reg::read(Path::new("x.reg"), bytes);
    let errors = read.problems.iter().any(|problem| problem.is_error());
    assert_eq!(read.services.is_empty(), errors);
    for service in &read.services {
        if let Ok(text) = reg::write(service) {
            let again = reg::read(Path::new("x.reg"), text.as_bytes());
            assert_eq!(again.services.first(), Some(service));
        }
    }
}
