//! `ServiceBinary`: a program and its arguments.
//!
//! The program comes first, in quotes if it has blanks; no shorter path is ever tried. Behind it words are cut
//! as the C runtime of Windows cuts them.
//!
//! Source: Microsoft, "Parsing C Command-Line Arguments".

use crate::context::Context;
use crate::plan::Place;
use crate::strings::{Part, Value};
use crate::{place, service};

/// The program and its arguments.
pub(crate) fn read(context: &mut Context<'_, '_>, section: &str) -> Option<(Place, Vec<String>)> {
    let field = service::required_field(context, section, "ServiceBinary")?;
    let value = context.value(field);
    let read = split(&value).and_then(|(program, arguments)| Ok((place::of(&program)?, arguments)));
    match read {
        Ok(read) => Some(read),
        Err((message, remedy)) => {
            context.unfit("1254", field.span.clone(), message, remedy);
            None
        }
    }
}

/// Cuts a command line: the program first, in quotes if it has blanks; no shorter path is ever tried.
fn split(value: &Value) -> Result<(Value, Vec<String>), place::Refusal> {
    // A directory id is one character of a private use area while the line is cut.
    const DIRID: char = '\u{f8ff}';
    let mut dirids = Vec::new();
    let line: String = value
        .parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text.replace(DIRID, "\u{fffd}"),
            Part::Dirid(id) => {
                dirids.push(*id);
                DIRID.to_string()
            }
        })
        .collect();
    let words = words(&line)?;
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    let mut parts = Vec::new();
    let mut ids = dirids.into_iter();
    for (number, text) in program.split(DIRID).enumerate() {
        if number > 0 {
            parts.extend(ids.next().map(Part::Dirid));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
    }
    let arguments: Vec<String> = words.collect();
    if arguments.iter().any(|argument| argument.contains(DIRID)) {
        let remedy = "the program finds its folder by its own path".to_owned();
        return Err((
            "a directory id in an argument is not replaced".to_owned(),
            Some(remedy),
        ));
    }
    let program = Value {
        parts,
        span: value.span.clone(),
    };
    Ok((program, arguments))
}

/// Cuts a line into words: backslashes before a quote count in pairs, elsewhere each is one.
pub(crate) fn words(line: &str) -> Result<Vec<String>, place::Refusal> {
    let mut words: Vec<String> = Vec::new();
    let mut chars = line.trim_matches(' ').chars().peekable();
    while chars.peek().is_some() {
        let mut word = String::new();
        let mut quoted = false;
        while let Some(&c) = chars.peek() {
            if c == ' ' && !quoted {
                break;
            }
            chars.next();
            match c {
                '"' => quoted = !quoted,
                // In the program's path a backslash is nothing but itself.
                '\\' if !words.is_empty() => {
                    let mut number = 1;
                    while chars.next_if_eq(&'\\').is_some() {
                        number += 1;
                    }
                    let before_quote = chars.peek() == Some(&'"');
                    let kept = if before_quote { number / 2 } else { number };
                    word.extend(std::iter::repeat_n('\\', kept));
                    if before_quote && number % 2 == 1 {
                        word.extend(chars.next());
                    }
                }
                c => word.push(c),
            }
        }
        if quoted {
            let message = "the command line has a quote without its end";
            return Err((message.to_owned(), None));
        }
        words.push(word);
        while chars.next_if_eq(&' ').is_some() {}
    }
    Ok(words)
}

/// The line that [`words`] cuts into this program and these arguments.
pub(crate) fn line(program: &str, arguments: &[String]) -> String {
    let mut line = if program.contains(' ') {
        format!("\"{program}\"")
    } else {
        program.to_owned()
    };
    for argument in arguments {
        line.push(' ');
        if !argument.is_empty() && !argument.contains([' ', '"']) {
            line.push_str(argument);
            continue;
        }
        line.push('"');
        let mut backslashes = 0;
        for c in argument.chars() {
            match c {
                '\\' => backslashes += 1,
                c => {
                    let doubled = if c == '"' {
                        2 * backslashes + 1
                    } else {
                        backslashes
                    };
                    line.extend(std::iter::repeat_n('\\', doubled));
                    backslashes = 0;
                    line.push(c);
                }
            }
        }
        line.extend(std::iter::repeat_n('\\', 2 * backslashes));
        line.push('"');
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_cut_as_the_c_runtime_cuts_them() {
        let cut = |line: &str| words(line).unwrap_or_default();
        assert_eq!(
            cut(r#"/p a\\b "c d" e\"f "g\\" """#),
            ["/p", r"a\\b", "c d", "e\"f", r"g\", ""]
        );
        assert_eq!(cut(r#""C:\a b\" x"#), [r"C:\a b\", "x"]);
        assert!(words("/p \"x").is_err());
    }

    proptest! {
        #[test]
        fn a_line_is_cut_into_what_it_was_made_of(
            program in "/[a-z \\\\]{1,12}",
            arguments in proptest::collection::vec("[ab \"\\\\%;,=]{0,8}", 0..4),
        ) {
            let program = program.trim_end().to_owned();
            let mut all = vec![program.clone()];
            all.extend(arguments.iter().cloned());
            prop_assert_eq!(words(&line(&program, &arguments)).unwrap_or_default(), all);
        }
    }
}
