//! `bench inf`: reading a large INF file, beside a floor that only cuts it into lines and fields.
//!
//! The file has what real ones have, again and again: models with ids, install sections, services with
//! triggers, lists of files, values of the registry, strings, comments, lines that go on. Three sizes show
//! whether the time is linear in the file; the peak of resident memory is set against the file's size.

use std::fmt::Write;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use arrival_inf::{Target, read, syntax};
use arrival_model::diagnostic::Report;

use super::measure::{Sample, in_turns};
use super::{Options, Row};
use crate::Outcome;

const MIB: usize = 1024 * 1024;
const SIZES: [usize; 3] = [1, 4, 16];
const ROUNDS: usize = 60;

/// The word by which a process is told to measure its memory.
pub(super) const INSIDE: &str = "inf-memory";

pub(super) fn run(options: Options) -> Outcome<Vec<Row>> {
    let files: Vec<(usize, String)> = SIZES.iter().map(|size| (*size, file(size * MIB))).collect();
    let mut rows = Vec::new();
    for (size, text) in &files {
        let mut things: Vec<Sample<'_>> = vec![
            timed(text, floor),
            timed(text, sections),
            timed(text, services),
        ];
        let series = in_turns(&mut things, 2, options.samples(ROUNDS))?;
        drop(things);
        let names = ["lines and fields", "syntax", "whole meaning"];
        for (name, own) in names.iter().zip(&series) {
            rows.push(Row::times(
                format!("{size} MiB, {name}"),
                own,
                series.first(),
            ));
            let seconds = own.percentile(50.0).as_secs_f64().max(1e-9);
            let speed = text.len() as f64 / 1e6 / seconds;
            rows.push(Row::value(
                format!("{size} MiB, {name}"),
                speed.round(),
                "MB/s",
            ));
        }
    }
    for (size, text) in &files {
        // In a process of its own: what this one gave back would be used again, unseen.
        let output = Command::new(std::env::current_exe()?)
            .args(["bench", INSIDE, &size.to_string()])
            .output()?;
        let peak: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
        let ratio = peak as f64 / text.len() as f64;
        rows.push(Row::value(
            format!("{size} MiB, memory beside the text"),
            (ratio * 100.0).round(),
            "% of the file",
        ));
    }
    Ok(rows)
}

/// Reads a file of so many MiB, and tells how much memory that took at most beyond the text itself.
pub(super) fn inside(size: &str) -> Outcome<ExitCode> {
    let text = file(size.parse::<usize>()? * MIB);
    let before = resident("VmRSS:")?;
    black_box(services(&text));
    println!("{}", resident("VmHWM:")?.saturating_sub(before));
    Ok(ExitCode::SUCCESS)
}

fn timed<'t>(text: &'t str, read: impl Fn(&str) -> usize + 't) -> Sample<'t> {
    Box::new(move || {
        let start = Instant::now();
        black_box(read(black_box(text)));
        Ok(start.elapsed())
    })
}

/// As little as somebody could do: lines, and fields in them.
fn floor(text: &str) -> usize {
    let mut count = 0;
    for line in text.lines() {
        let line = line.split(';').next().unwrap_or_default();
        let (key, values) = line.split_once('=').unwrap_or(("", line));
        count += key.trim().len();
        count += values
            .split(',')
            .map(|value| value.trim().len())
            .sum::<usize>();
    }
    count
}

fn sections(text: &str) -> usize {
    let mut report = Report::new(Path::new("large.inf"), text);
    syntax::parse(&mut report).sections.len()
}

fn services(text: &str) -> usize {
    let read = read(Path::new("large.inf"), text.as_bytes(), &Target::amd64());
    read.plan.map_or(0, |plan| plan.services.len())
}

/// A file of at least this many bytes.
fn file(size: usize) -> String {
    let mut text = String::with_capacity(size + 8192);
    let mut strings = String::new();
    text.push_str("[Version]\r\nSignature = \"$Windows NT$\"\r\nProvider = %Mfg%\r\n");
    text.push_str(
        "DriverVer = 11/27/2026,1.0.0.0\r\n\r\n[DestinationDirs]\r\nDefaultDestDir = 13\r\n\r\n",
    );
    text.push_str("[Manufacturer]\r\n%Mfg% = Models, NTamd64.10.0, NTarm64.10.0\r\n");
    strings.push_str(
        "\r\n[Strings]\r\nMfg = \"ACME\"\r\nClass = \"{573e8c73-0cb4-4471-a1bf-fab26c31d384}\"\r\n",
    );
    let mut number = 0;
    while text.len() + strings.len() < size {
        // Writing to a text cannot fail.
        let _ = write!(
            text,
            "\r\n[Models.NTamd64.10.0]\r\n%Device{number}% = Install{number}, USB\\VID_{:04X}&PID_{:04X}&REV_0100, \\\r\n  \
             USB\\VID_{:04X}&PID_{:04X} ; board {number}\r\n\r\n\
             [Install{number}.NTamd64]\r\nCopyFiles = Files{number}\r\nAddReg = Values{number}\r\n\r\n\
             [Install{number}.NTamd64.Services]\r\nAddService = service{number}, , Service{number}\r\n\r\n\
             [Files{number}]\r\nservice{number}.exe\r\n\"table {number}.bin\", table.bin\r\n\r\n\
             [Values{number}]\r\nHKR, Parameters, Speed, 0x10001, 0x{number:x}\r\nHKR, Parameters, Name, , \"board, \"\"{number}\"\"\"\r\n\
             HKR, Parameters, Bytes, 1, 00,01,02,03,04,05,06,07\r\n\r\n\
             [Service{number}] ; the service of board {number}\r\nServiceType = 0x10\r\nStartType = 3\r\nErrorControl = 1\r\n\
             ServiceBinary = \"%13%\\service{number}.exe\"\r\nDescription = %Device{number}%\r\nAddTrigger = Trigger{number}\r\n\r\n\
             [Trigger{number}]\r\nTriggerType = 1\r\nAction = 1\r\nSubType = %Class%\r\n\
             DataItem = 2, \"USB\\VID_{:04X}&PID_{:04X}\"\r\n",
            number >> 16,
            number & 0xffff,
            number >> 16,
            number & 0xffff,
            number >> 16,
            number & 0xffff
        );
        let _ = write!(
            strings,
            "Device{number} = \"The board with the number {number}\"\r\n"
        );
        number += 1;
    }
    text.push_str(&strings);
    text
}

/// A line of our own memory, in bytes.
fn resident(name: &str) -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix("kB"));
    let number: u64 = number
        .ok_or("no such line in /proc/self/status")?
        .trim()
        .parse()?;
    Ok(number * 1024)
}
