//! `%tokens%`, and what they stand for.
//!
//! ```text
//! text  = { "%%" | "%" token "%" | any character }
//! ```
//!
//! | token | stands for |
//! |---|---|
//! | a key of the chosen strings section, in any case | its value, as it is |
//! | a number | the directory of this id |
//! | anything else | itself, and it is reported (1235) |
//!
//! One strings section is chosen for a language (a LANGID such as 0x0407): `[Strings.0407]`, else the one of
//! the neutral sublanguage `[Strings.0007]`, else any of the same language, else `[Strings]`. What that one
//! lacks is not looked for in another.
//!
//! Sources: Microsoft, "INF Strings Section", "Using Dirids".

use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Range;

use arrival_model::diagnostic::{Report, closest};

use crate::syntax::{Document, FIELD_LIMIT, Field, fold};

/// The most tokens among which a misspelled one is looked for.
const MANY: usize = 10_000;

/// A part of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text.
    Text(String),
    /// The directory of this id.
    Dirid(i64),
}

/// A value whose tokens were replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its parts; neighbouring texts are one.
    pub parts: Vec<Part>,
    /// Where it stands.
    pub span: Range<usize>,
}

impl Value {
    /// The text, with directory ids as they were written.
    pub fn text(&self) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Dirid(id) => format!("%{id}%"),
        });
        parts.collect()
    }
}

/// The strings of a file in one language.
#[derive(Clone, Debug, Default)]
pub struct Strings<'t> {
    /// By the folded token: the token as it was written, and its value.
    values: HashMap<String, (&'t str, &'t str)>,
    /// The tokens of each folded value, once somebody asks.
    tokens: OnceCell<HashMap<String, Vec<String>>>,
}

impl<'t> Strings<'t> {
    /// The strings section that fits a LANGID best.
    pub fn choose<'d: 't>(document: &'d Document<'t>, language: Option<u16>) -> Self {
        let named = section_for(document, language);
        let mut values = HashMap::new();
        for entry in document.entries(&named) {
            if let (Some(key), Some(value)) = (&entry.key, entry.values.first()) {
                values.insert(fold(&key.text), (&*key.text, &*value.text));
            }
        }
        Strings {
            values,
            tokens: OnceCell::new(),
        }
    }

    /// What a token stands for.
    pub fn get(&self, token: &str) -> Option<&'t str> {
        self.values.get(&fold(token)).map(|(_, value)| *value)
    }

    /// Whether the folded text is a value.
    pub(crate) fn has_value(&self, folded: &str) -> bool {
        self.by_value().contains_key(folded)
    }

    fn by_value(&self) -> &HashMap<String, Vec<String>> {
        self.tokens.get_or_init(|| {
            let mut tokens: HashMap<String, Vec<String>> = HashMap::new();
            for (token, value) in self.values.values() {
                tokens
                    .entry(fold(value))
                    .or_default()
                    .push((*token).to_owned());
            }
            for names in tokens.values_mut() {
                names.sort();
            }
            tokens
        })
    }

    /// The tokens whose value is this, without case; for names of GUIDs.
    pub fn tokens_of(&self, value: &str) -> Vec<String> {
        let known = self.by_value().get(&fold(value));
        known.cloned().unwrap_or_default()
    }

    /// Replaces the tokens of a field.
    pub fn expand(&self, report: &mut Report<'_>, field: &Field<'_>) -> Value {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = &*field.text;
        while let Some((before, behind)) = rest.split_once('%') {
            text.push_str(before);
            let Some((token, behind)) = behind.split_once('%') else {
                text.push('%');
                rest = behind;
                continue;
            };
            rest = behind;
            if text.len() > 4 * FIELD_LIMIT {
                // Tokens of tokens' values make more of it than any memory has.
                break;
            }
            if token.is_empty() {
                text.push('%');
            } else if let Some(value) = self.get(token) {
                text.push_str(value);
            } else if let Ok(id) = token.parse::<i64>() {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Dirid(id));
            } else {
                self.undefined(report, field, token);
                text.push('%');
                text.push_str(token);
                text.push('%');
            }
        }
        text.push_str(rest);
        if text.len() > FIELD_LIMIT && text.chars().nth(FIELD_LIMIT).is_some() {
            let message =
                format!("with its tokens replaced, this is longer than {FIELD_LIMIT} characters");
            report.error("1002", field.span.clone(), message, None);
        }
        if !text.is_empty() || parts.is_empty() {
            parts.push(Part::Text(text));
        }
        Value {
            parts,
            span: field.span.clone(),
        }
    }

    fn undefined(&self, report: &mut Report<'_>, field: &Field<'_>, token: &str) {
        let at = report
            .text()
            .get(field.span.clone())
            .and_then(|text| text.find(&format!("%{token}%")));
        let span = match at {
            Some(at) => field.span.start + at..field.span.start + at + token.len() + 2,
            None => field.span.clone(),
        };
        // Among very many tokens, a search costs more than it helps.
        let few = self.values.len() <= MANY && !report.is_full();
        let known = self.values.values().map(|(token, _)| *token);
        let remedy = match closest(token, known.take(if few { MANY } else { 0 })) {
            Some(meant) => format!("did you mean %{meant}%?"),
            None => format!("write {token} = \"...\" below [Strings]"),
        };
        let message = format!("the token %{token}% is not defined");
        report.error("1235", span, message, remedy);
    }
}

/// The name of the strings section that fits a language best.
fn section_for(document: &Document<'_>, language: Option<u16>) -> String {
    /// The low ten bits of a LANGID are the language, the others the sublanguage (winnt.h, LANGIDFROMLCID).
    const PRIMARY: u16 = 0x3ff;
    let Some(language) = language else {
        return "Strings".to_owned();
    };
    let mut present: Vec<(u16, &str)> = document
        .sections
        .iter()
        .filter_map(|section| {
            let (base, code) = section.name.split_once('.')?;
            let code = Some(code).filter(|code| code.len() == 4)?;
            let code = u16::from_str_radix(code, 16).ok()?;
            base.eq_ignore_ascii_case("strings")
                .then_some((code, section.name))
        })
        .collect();
    present.sort();
    let find = |fits: &dyn Fn(u16) -> bool| {
        let found = present.iter().find(|(code, _)| fits(*code));
        found.map(|(_, name)| (*name).to_owned())
    };
    find(&|code| code == language)
        .or_else(|| find(&|code| code == language & PRIMARY))
        .or_else(|| find(&|code| code & PRIMARY == language & PRIMARY))
        .unwrap_or_else(|| "Strings".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::syntax;

    const TEXT: &str = "[s]\nv=%A%|%b%%13%\\x|100%%|%nothing%|50%\n\
        [Strings]\na=one\nB=\"two, %A%\"\n[Strings.0407]\na=eins\n[Strings.0009]\na=two\n[Strings.0c09]\na=three\n";

    fn expand(language: Option<u16>) -> (Vec<Part>, Vec<String>) {
        let mut report = Report::new(Path::new("x.inf"), TEXT);
        let document = syntax::parse(&mut report);
        let strings = Strings::choose(&document, language);
        let field = document.entry("s", "v").unwrap().value(0).unwrap();
        let value = strings.expand(&mut report, field);
        let told = report
            .finish()
            .iter()
            .map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message))
            .collect();
        (value.parts, told)
    }

    #[test]
    fn tokens_are_strings_then_directories_and_what_is_neither_is_reported_at_its_place() {
        let (parts, told) = expand(None);
        assert_eq!(
            parts,
            [
                Part::Text("one|two, %A%".to_owned()),
                Part::Dirid(13),
                Part::Text("\\x|100%|%nothing%|50%".to_owned()),
            ]
        );
        assert_eq!(told, ["2:23 the token %nothing% is not defined"]);
    }

    #[test]
    fn one_section_is_chosen_by_language_and_nothing_is_looked_up_elsewhere() {
        let first = |language| match expand(Some(language)).0.first() {
            Some(Part::Text(text)) => text.clone(),
            _ => String::new(),
        };
        assert!(first(0x0407).starts_with("eins|%b%"), "{}", first(0x0407));
        assert!(first(0x0807).starts_with("eins"));
        assert!(first(0x0409).starts_with("two"));
        assert!(first(0x0c09).starts_with("three"));
        assert!(first(0x0411).starts_with("one"));
    }
}
