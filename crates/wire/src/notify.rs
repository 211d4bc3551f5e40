//! The datagrams of sd_notify(3): what a service says of itself.
//!
//! ```text
//! datagram   = assignment { LF assignment }        at most DATAGRAM_LIMIT bytes
//! assignment = NAME "=" value
//! ```
//!
//! | assignment | value |
//! |---|---|
//! | `READY`, `STOPPING`, `RELOADING`, `BARRIER` | `1` |
//! | `STATUS` | text for people, kept to [`STATUS_LIMIT`] characters, control characters escaped |
//! | `ERRNO` | an errno, 0 to 4095 |
//! | `EXIT_STATUS` | 0 to 255 |
//! | `MAINPID` | a process id, 1 or greater |
//! | `EXTEND_TIMEOUT_USEC`, `WATCHDOG_USEC`, `MONOTONIC_USEC` | microseconds |
//! | `WATCHDOG` | `1`, or `trigger` |
//!
//! Every other name is ignored. A line that is wrong gets an error of its own and the others count.

use std::fmt::Write;
use std::str::FromStr;
use std::time::Duration;

/// The most bytes of a datagram.
pub const DATAGRAM_LIMIT: usize = 4096;

/// The most characters of a status text that are kept.
pub const STATUS_LIMIT: usize = 512;

/// One thing that a service says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// The service is ready, or has read its files again.
    Ready,
    /// The service lets go.
    Stopping,
    /// The service reads its files again.
    Reloading,
    /// One line for people; control characters are escaped.
    Status(String),
    /// Why the service failed, as an errno.
    Errno(u16),
    /// The exit status that the service is going to have.
    ExitStatus(u8),
    /// Which process is the service's first; the receiver must check that it is one of the service's.
    MainPid(u32),
    /// How much longer a start or stop may take, from now.
    ExtendTimeout(Duration),
    /// The service is alive.
    Watchdog,
    /// The service declares itself dead.
    WatchdogTrigger,
    /// How often the service is going to say that it is alive.
    WatchdogInterval(Duration),
    /// When RELOADING was true, in microseconds of CLOCK_MONOTONIC.
    Monotonic(u64),
    /// The sender waits until the descriptor that came along is closed.
    Barrier,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No `=`, or nothing before it.
    #[error("'{0}' is no assignment")]
    NoAssignment(String),
    /// Bytes that are no text.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
    /// A value that is not the one expected.
    #[error("{name} is '{value}', not {expected}")]
    Value {
        /// The name before `=`.
        name: &'static str,
        /// What came after it, escaped and shortened.
        value: String,
        /// What should have.
        expected: &'static str,
    },
}

/// A wrong line of a datagram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of a notify datagram: {fault}")]
pub struct LineError {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// A datagram that is longer than the limit; nothing of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a notify datagram is longer than {DATAGRAM_LIMIT} bytes")]
pub struct TooLong;

/// What a datagram says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// What was understood, in order.
    pub assignments: Vec<Assignment>,
    /// The lines that were wrong.
    pub errors: Vec<LineError>,
}

/// Reads a datagram.
///
/// # Errors
///
/// [`TooLong`] for one of more than [`DATAGRAM_LIMIT`] bytes; all else is said per line.
pub fn parse(bytes: &[u8]) -> Result<Datagram, TooLong> {
    if bytes.len() > DATAGRAM_LIMIT {
        return Err(TooLong);
    }
    // Some senders count the NUL of their C string.
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let bytes = bytes.get(..end).unwrap_or_default();
    let mut datagram = Datagram::default();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        match read_line(line) {
            Ok(Some(assignment)) => datagram.assignments.push(assignment),
            Ok(None) => {}
            Err(fault) => datagram.errors.push(LineError {
                line: index + 1,
                fault,
            }),
        }
    }
    Ok(datagram)
}

fn read_line(line: &[u8]) -> Result<Option<Assignment>, Fault> {
    if line.is_empty() {
        return Ok(None);
    }
    let equals = line.iter().position(|byte| *byte == b'=');
    let (Some(name), Some(value)) = (
        equals
            .and_then(|at| line.get(..at))
            .filter(|name| !name.is_empty()),
        equals.and_then(|at| line.get(at + 1..)),
    ) else {
        return Err(Fault::NoAssignment(escape(
            &String::from_utf8_lossy(line),
            64,
        )));
    };
    let micros = "a number of microseconds";
    let one = |name, assignment| match value {
        b"1" => Ok(Some(assignment)),
        _ => Err(wrong(name, value, "1")),
    };
    match name {
        b"READY" => one("READY", Assignment::Ready),
        b"STOPPING" => one("STOPPING", Assignment::Stopping),
        b"RELOADING" => one("RELOADING", Assignment::Reloading),
        b"BARRIER" => one("BARRIER", Assignment::Barrier),
        b"STATUS" => {
            let text = str::from_utf8(value).map_err(|_| Fault::NotUtf8("STATUS"))?;
            Ok(Some(Assignment::Status(escape(text, STATUS_LIMIT))))
        }
        b"ERRNO" => number("ERRNO", value, "an errno (0 to 4095)", |n: &u16| *n <= 4095)
            .map(|errno| Some(Assignment::Errno(errno))),
        b"EXIT_STATUS" => number("EXIT_STATUS", value, "an exit status (0 to 255)", |_| true)
            .map(|status| Some(Assignment::ExitStatus(status))),
        b"MAINPID" => {
            let expected = "a process id";
            number("MAINPID", value, expected, |n: &u32| {
                (1..=i32::MAX as u32).contains(n)
            })
            .map(|pid| Some(Assignment::MainPid(pid)))
        }
        b"EXTEND_TIMEOUT_USEC" => number("EXTEND_TIMEOUT_USEC", value, micros, |_| true)
            .map(|usec| Some(Assignment::ExtendTimeout(Duration::from_micros(usec)))),
        b"WATCHDOG_USEC" => number("WATCHDOG_USEC", value, micros, |_| true)
            .map(|usec| Some(Assignment::WatchdogInterval(Duration::from_micros(usec)))),
        b"MONOTONIC_USEC" => number("MONOTONIC_USEC", value, micros, |_| true)
            .map(|usec| Some(Assignment::Monotonic(usec))),
        b"WATCHDOG" => match value {
            b"1" => Ok(Some(Assignment::Watchdog)),
            b"trigger" => Ok(Some(Assignment::WatchdogTrigger)),
            _ => Err(wrong("WATCHDOG", value, "1 or trigger")),
        },
        _ => Ok(None),
    }
}

fn wrong(name: &'static str, value: &[u8], expected: &'static str) -> Fault {
    Fault::Value {
        name,
        value: escape(&String::from_utf8_lossy(value), 64),
        expected,
    }
}

/// Reads a number of digits alone; the parsers of std take a plus sign too.
fn number<T: FromStr>(
    name: &'static str,
    value: &[u8],
    expected: &'static str,
    fits: impl Fn(&T) -> bool,
) -> Result<T, Fault> {
    let text = str::from_utf8(value).map_err(|_| Fault::NotUtf8(name))?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(fits)
        .ok_or_else(|| wrong(name, value, expected))
}

/// Makes a text safe for a terminal and a log, and keeps the first `limit` characters of it.
///
/// Besides control characters, those that turn the direction of writing are escaped: they could
/// make one line look like another.
pub fn escape(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let start = out.len();
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() || turns => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
        length += out.get(start..).map_or(1, |added| added.chars().count());
        if length > limit {
            out.truncate(start);
            out.push_str("...");
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    fn said(text: &str) -> Vec<Assignment> {
        let datagram = parse(text.as_bytes()).unwrap();
        assert_eq!(datagram.errors, [], "{text}");
        datagram.assignments
    }

    #[test]
    fn every_assignment_is_read() {
        let text = "READY=1\nSTOPPING=1\nRELOADING=1\nSTATUS=4 of 5 a=b\nERRNO=2\nEXIT_STATUS=3\n\
                    MAINPID=4711\nEXTEND_TIMEOUT_USEC=1500000\nWATCHDOG=1\nWATCHDOG=trigger\n\
                    WATCHDOG_USEC=20000000\nMONOTONIC_USEC=18446744073709551615\nBARRIER=1";
        let expected = [
            Assignment::Ready,
            Assignment::Stopping,
            Assignment::Reloading,
            Assignment::Status("4 of 5 a=b".to_owned()),
            Assignment::Errno(2),
            Assignment::ExitStatus(3),
            Assignment::MainPid(4711),
            Assignment::ExtendTimeout(Duration::from_millis(1500)),
            Assignment::Watchdog,
            Assignment::WatchdogTrigger,
            Assignment::WatchdogInterval(Duration::from_secs(20)),
            Assignment::Monotonic(u64::MAX),
            Assignment::Barrier,
        ];
        assert_eq!(said(text), expected);
    }

    #[test]
    fn unknown_names_blank_lines_and_final_nuls_are_ignored() {
        assert_eq!(said(""), []);
        assert_eq!(
            said("\n\nX_VENDOR=\u{1}\nFDSTORE=1\nREADY=1\n\0\0"),
            [Assignment::Ready]
        );
        assert_eq!(said("STATUS="), [Assignment::Status(String::new())]);
    }

    #[test]
    fn a_wrong_line_is_named_and_the_others_count() {
        let datagram = parse(
            b"READY=yes\nSTATUS=fine\nSTATUS=\xff\nERRNO=-2\nERRNO=4096\nEXIT_STATUS=256\nMAINPID=0\n\
              MAINPID=2147483648\nEXTEND_TIMEOUT_USEC=+1\nWATCHDOG=2\nhello\n=1\nWATCHDOG_USEC=\n\
              MONOTONIC_USEC=18446744073709551616\nMAINPID=\xfe\nSTOPPING=1",
        )
        .unwrap();
        let expected = [Assignment::Status("fine".to_owned()), Assignment::Stopping];
        assert_eq!(datagram.assignments, expected);
        let errors: Vec<String> = datagram.errors.iter().map(ToString::to_string).collect();
        let lines = [
            "line 1 of a notify datagram: READY is 'yes', not 1",
            "line 3 of a notify datagram: STATUS is not UTF-8",
            "line 4 of a notify datagram: ERRNO is '-2', not an errno (0 to 4095)",
            "line 5 of a notify datagram: ERRNO is '4096', not an errno (0 to 4095)",
            "line 6 of a notify datagram: EXIT_STATUS is '256', not an exit status (0 to 255)",
            "line 7 of a notify datagram: MAINPID is '0', not a process id",
            "line 8 of a notify datagram: MAINPID is '2147483648', not a process id",
            "line 9 of a notify datagram: EXTEND_TIMEOUT_USEC is '+1', not a number of microseconds",
            "line 10 of a notify datagram: WATCHDOG is '2', not 1 or trigger",
            "line 11 of a notify datagram: 'hello' is no assignment",
            "line 12 of a notify datagram: '=1' is no assignment",
            "line 13 of a notify datagram: WATCHDOG_USEC is '', not a number of microseconds",
            "line 14 of a notify datagram: MONOTONIC_USEC is '18446744073709551616', not a number of \
             microseconds",
            "line 15 of a notify datagram: MAINPID is not UTF-8",
        ];
        assert_eq!(errors, lines);
    }

    #[test]
    fn a_status_cannot_steer_a_terminal_or_fill_a_log() {
        let status = |text: &str| match said(&format!("STATUS={text}")).pop() {
            Some(Assignment::Status(status)) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status("a\u{1b}[2J\u{7}\tb\\"), "a\\u{1b}[2J\\u{7}\\tb\\\\");
        assert_eq!(status("\u{202e}evil\u{85}"), "\\u{202e}evil\\u{85}");
        assert_eq!(status("\u{fc}ber\u{1f600}"), "\u{fc}ber\u{1f600}");
        assert_eq!(status(&"x".repeat(STATUS_LIMIT)), "x".repeat(STATUS_LIMIT));
        let long = status(&"x".repeat(STATUS_LIMIT + 1));
        assert_eq!(long, format!("{}...", "x".repeat(STATUS_LIMIT)));
    }

    #[test]
    fn a_datagram_beyond_the_limit_counts_for_nothing() {
        let mut bytes = b"READY=1\nX=".to_vec();
        bytes.resize(DATAGRAM_LIMIT, b'x');
        assert_eq!(parse(&bytes).unwrap().assignments, [Assignment::Ready]);
        bytes.push(b'x');
        assert_eq!(parse(&bytes), Err(TooLong));
        assert_eq!(
            TooLong.to_string(),
            "a notify datagram is longer than 4096 bytes"
        );
    }

    proptest! {
        #[test]
        fn no_datagram_panics_and_every_text_is_clean(
            lines in proptest::collection::vec((
                prop_oneof![
                    Just("READY="), Just("STATUS="), Just("MAINPID="), Just("ERRNO="), Just(""),
                    Just("EXTEND_TIMEOUT_USEC="), Just("WATCHDOG="),
                ],
                proptest::collection::vec(any::<u8>(), 0..40),
            ), 0..20),
        ) {
            let mut bytes = Vec::new();
            for (name, value) in &lines {
                bytes.extend_from_slice(name.as_bytes());
                bytes.extend_from_slice(value);
                bytes.push(b'\n');
            }
            let datagram = parse(&bytes).unwrap();
            let written = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
            prop_assert!(datagram.assignments.len() + datagram.errors.len() <= written);
            for assignment in &datagram.assignments {
                if let Assignment::Status(text) = assignment {
                    prop_assert!(!text.chars().any(char::is_control));
                    prop_assert!(text.chars().count() <= STATUS_LIMIT + 3);
                }
            }
            for error in &datagram.errors {
                prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }

        #[test]
        fn what_a_service_says_is_what_is_read(text in "[ -\\[\\]-~]{0,100}", pid in 1u32..4_000_000) {
            let expected = vec![Assignment::Status(text.clone()), Assignment::MainPid(pid)];
            prop_assert_eq!(said(&format!("STATUS={text}\nMAINPID={pid}")), expected);
        }
    }
}
