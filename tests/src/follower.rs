//! A service for tests that is written with the client library: it notes what it does in a file that is only ever
//! appended to.
//!
//! ```text
//! arrival-follower FILE CLASS [--fail N] [--before-stop-ms N] [--release-ms N] [--open]
//! ```
//!
//! `--fail` lets the first N attempts to open a device fail; `--before-stop-ms` waits between the last removal and the
//! request to stop, `--release-ms` as each device is let go; `--open` has the manager open the node.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use arrival_client::Service;

struct Kept {
    file: String,
    name: String,
    release: Duration,
    _node: Option<File>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        std::thread::sleep(self.release);
        note(&self.file, &format!("released {}", self.name));
    }
}

fn note(file: &str, line: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .expect("the file can be opened");
    let line = format!("{line}\n");
    file.write_all(line.as_bytes())
        .expect("the file can be written");
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("the first argument is the file");
    let class = arguments.next().expect("the second argument is the class");
    let (mut fail, mut before_stop, mut release, mut open) = (0, 0, 0, false);
    let number = |text: Option<String>| -> u64 {
        text.and_then(|text| text.parse().ok()).expect("a number")
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--fail" => fail = number(arguments.next()),
            "--before-stop-ms" => before_stop = number(arguments.next()),
            "--release-ms" => release = number(arguments.next()),
            "--open" => open = true,
            other => panic!("unknown argument {other}"),
        }
    }
    note(&file, &format!("start {}", std::process::id()));
    let decided = file.clone();
    let service = Service::of_class(class).before_stop(move || {
        note(&decided, "none left");
        std::thread::sleep(Duration::from_millis(before_stop));
    });
    let noted = file.clone();
    let code = service.run(move |device| {
        let name = device.interface().name.clone();
        if fail > 0 {
            fail -= 1;
            note(&noted, &format!("failed {name}"));
            return Err("it is asked to fail".into());
        }
        let node = if open { Some(device.open()?) } else { None };
        note(&noted, &format!("opened {name}"));
        Ok::<Kept, Box<dyn std::error::Error>>(Kept {
            file: noted.clone(),
            name,
            release: Duration::from_millis(release),
            _node: node,
        })
    });
    note(&file, &format!("exit {}", std::process::id()));
    code
}
