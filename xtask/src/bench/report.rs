//! What a bench tells: `{name, commit, load, rows: [...]}`.

use std::fmt;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde::Serialize;

use super::measure::Series;
use crate::{Outcome, workspace};

/// A bench's result.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The bench.
    pub(crate) name: &'static str,
    /// The commit measured, with `-dirty` if files were changed since.
    pub(crate) commit: String,
    /// The load average over the minute before it began.
    pub(crate) load: f64,
    /// What was measured.
    pub(crate) rows: Vec<Row>,
}

/// One thing measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Row {
    /// What.
    pub(crate) what: String,
    /// The median, in nanoseconds.
    pub(crate) p50_ns: Option<u64>,
    /// The 99th percentile.
    pub(crate) p99_ns: Option<u64>,
    /// The median over the floor's; 1 for the floor, none where there is no floor.
    pub(crate) p50_ratio: Option<f64>,
    /// The 99th percentile over the floor's.
    pub(crate) p99_ratio: Option<f64>,
    /// A result that is no time, and its unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<&'static str>,
    /// How many samples the row stands on.
    pub(crate) samples: usize,
}

impl Row {
    /// A row of times, compared with a floor if there is one (the floor with itself).
    pub(crate) fn times(what: impl Into<String>, series: &Series, floor: Option<&Series>) -> Row {
        let ratio = |percent: f64| {
            floor.map(|floor| {
                let ratio = series.percentile(percent).as_secs_f64()
                    / floor.percentile(percent).as_secs_f64().max(1e-9);
                (ratio * 1000.0).round() / 1000.0
            })
        };
        let nanoseconds = |percent: f64| {
            let time = series.percentile(percent).as_nanos();
            Some(u64::try_from(time).unwrap_or(u64::MAX))
        };
        Row {
            what: what.into(),
            p50_ns: nanoseconds(50.0),
            p99_ns: nanoseconds(99.0),
            p50_ratio: ratio(50.0),
            p99_ratio: ratio(99.0),
            samples: series.len(),
            ..Row::default()
        }
    }

    /// A row of one number that is no time.
    pub(crate) fn value(what: impl Into<String>, value: f64, unit: &'static str) -> Row {
        Row {
            what: what.into(),
            value: Some(value),
            unit: Some(unit),
            samples: 1,
            ..Row::default()
        }
    }
}

impl Report {
    /// A report without rows: notes the commit and the load before the work begins.
    pub(crate) fn begin(name: &'static str) -> Outcome<Report> {
        Ok(Report {
            name,
            commit: commit(),
            load: load()?,
            rows: Vec::new(),
        })
    }
}

fn load() -> Outcome<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let first = text.split(' ').next().ok_or("/proc/loadavg is empty")?;
    Ok(first.parse()?)
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .current_dir(workspace::root())
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(mut commit) = git(&["rev-parse", "--short=10", "HEAD"]) else {
        return "unknown".to_owned();
    };
    if git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty())
    {
        commit.push_str("-dirty");
    }
    commit
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            name,
            commit,
            load,
            rows,
        } = self;
        writeln!(f, "{name} at {commit}, load {load}")?;
        let width = rows.iter().map(|row| row.what.chars().count()).max();
        let width = width.unwrap_or_default();
        writeln!(
            f,
            "{:<width$}  {:>10}  {:>10}  {:>7}  {:>7}  {:>8}",
            "", "p50", "p99", "x floor", "x floor", "samples"
        )?;
        for row in rows {
            let time = |ns: Option<u64>| ns.map(Duration::from_nanos).map(short);
            let ratio = |ratio: Option<f64>| ratio.map(|ratio| format!("{ratio:.2}"));
            let mut first = time(row.p50_ns);
            if let (Some(value), Some(unit)) = (row.value, row.unit) {
                first = Some(format!("{value:.0} {unit}"));
            }
            writeln!(
                f,
                "{:<width$}  {:>10}  {:>10}  {:>7}  {:>7}  {:>8}",
                row.what,
                first.unwrap_or_default(),
                time(row.p99_ns).unwrap_or_default(),
                ratio(row.p50_ratio).unwrap_or_default(),
                ratio(row.p99_ratio).unwrap_or_default(),
                row.samples,
            )?;
        }
        Ok(())
    }
}

/// A time in the unit that suits it.
fn short(time: Duration) -> String {
    let ns = time.as_secs_f64() * 1e9;
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn series(times: impl IntoIterator<Item = u64>) -> Series {
        times.into_iter().map(Duration::from_nanos).collect()
    }

    #[test]
    fn a_row_is_compared_with_the_floor_at_both_percentiles() {
        let floor = series([100; 100]);
        let subject = series((0..100).map(|n| if n < 90 { 130 } else { 200 }));
        let row = Row::times("subject", &subject, Some(&floor));
        assert_eq!((row.p50_ratio, row.p99_ratio), (Some(1.3), Some(2.0)));
    }

    #[test]
    fn a_report_has_the_shape_that_programs_read() {
        let report = Report {
            name: "x",
            commit: "c".into(),
            load: 0.5,
            rows: vec![Row::times("floor", &series([5]), None)],
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"name":"x","commit":"c","load":0.5,"rows":[{"what":"floor","p50_ns":5,"p99_ns":5,"p50_ratio":null,"p99_ratio":null,"samples":1}]}"#
        );
    }

    #[test]
    fn times_are_shown_in_the_unit_that_suits_them() {
        let shown = [7, 7_200, 7_200_000, 7_200_000_000].map(|ns| short(Duration::from_nanos(ns)));
        assert_eq!(shown, ["7 ns", "7.20 µs", "7.20 ms", "7.20 s"]);
    }
}
