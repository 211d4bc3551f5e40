//! Durations as people write them.
//!
//! ```text
//! duration = number of seconds | part { [ " " ] part }      1.5    "2s"    "1m 30s"    "500ms"
//! part     = digits [ "." digits ] unit
//! unit     = "us" | "ms" | "s" | "sec" | "m" | "min" | "h" | "d"
//! ```

use std::time::Duration;

/// The longest duration that a file may ask for: a year.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// What a message expects.
pub(crate) const EXPECTED: &str = "a duration such as \"2s\", \"500ms\" or \"1m 30s\"";

/// Reads the text form; a number without a unit is seconds.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        return rest
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| seconds_from(seconds))
            .flatten();
    }
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        if !number.starts_with(|c: char| c.is_ascii_digit()) || number.ends_with('.') {
            return None;
        }
        total = total.checked_add(seconds_from(number.parse::<f64>().ok()? * unit)?)?;
        rest = tail.trim_start();
    }
    (total <= LONGEST).then_some(total)
}

/// A number of seconds, rounded to microseconds.
pub(crate) fn seconds_from(seconds: f64) -> Option<Duration> {
    if !(0.0..=LONGEST.as_secs_f64()).contains(&seconds) {
        return None;
    }
    Some(Duration::from_micros((seconds * 1e6).round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let rows = [
            ("2s", 2_000_000),
            ("500ms", 500_000),
            ("1m 30s", 90_000_000),
            ("1m30s", 90_000_000),
            ("1.5s", 1_500_000),
            ("10us", 10),
            ("1h", 3_600_000_000),
            ("1d", 86_400_000_000),
            ("2 ", 2_000_000),
            ("0", 0),
            ("0.25", 250_000),
            ("0s", 0),
            ("5min", 300_000_000),
        ];
        for (text, micros) in rows {
            assert_eq!(parse(text), Some(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            " ",
            "s",
            "-1s",
            "-1",
            "+1",
            "1x",
            "1 s",
            "1..5s",
            ".5s",
            "1.s",
            "1s2",
            "inf",
            "nan",
            "1e3x",
            "400d",
            "1m-30s",
            "99999999999999999999s",
            "two seconds",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
