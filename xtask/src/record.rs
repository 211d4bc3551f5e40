//! `cargo xtask record`: the devices of a machine as text, and folders made of such a text.
//!
//! The form of the text, and what is recorded, says `arrival_tests::recording`. A recording is replayed by
//! a manager of its own:
//!
//! ```console
//! # cargo xtask record > laptop.txt
//! $ cargo xtask record --replay laptop.txt /tmp/laptop
//! $ arrivald --root /tmp/laptop/root --sysfs /tmp/laptop/sys --run-udev /tmp/laptop/udev &
//! $ arrival --root /tmp/laptop/root devices
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arrival_tests::recording::Recording;

use crate::Outcome;

pub(crate) fn run(words: &[String]) -> Outcome<ExitCode> {
    if let [replay, file, folder] = words
        && replay == "--replay"
    {
        let text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        let recording = Recording::parse(&text).map_err(|error| format!("{file}: {error}"))?;
        let folder = Path::new(folder);
        recording.replay(&folder.join("sys"), &folder.join("udev"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (mut sysfs, mut run_udev) = (PathBuf::from("/sys"), PathBuf::from("/run/udev"));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--sysfs" => &mut sysfs,
            "--run-udev" => &mut run_udev,
            other => return Err(format!("'{other}' is not expected").into()),
        };
        *place = words
            .next()
            .ok_or_else(|| format!("{word} needs a folder"))?
            .into();
    }
    let recording = Recording::of(&sysfs, &run_udev)
        .map_err(|error| format!("{}: {error}", sysfs.display()))?;
    print!("{recording}");
    Ok(ExitCode::SUCCESS)
}
