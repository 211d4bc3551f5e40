//! The service of the OSR USB-FX2 board: it opens every board as it arrives, lets go of it when it leaves, and stops
//! after the last one. Each step is a line of its log.
//!
//! `osrsvc --before-stop SECONDS` waits so long between the last board's leaving and the request to stop, which shows
//! what happens if a board arrives right then: the manager refuses, and the service goes on.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use arrival_client::{Device, Service};

/// GUID_DEVINTERFACE_OSRFX2.
const CLASS: &str = "{573e8c73-0cb4-4471-a1bf-fab26c31d384}";

/// A board, for as long as it is open.
struct Board {
    name: String,
    _usb: File,
}

impl Board {
    fn open(device: &Device<'_>) -> Result<Board, Box<dyn std::error::Error>> {
        let name = device.interface().name.clone();
        let mut usb = device.open()?;
        // A USB node begins with the device descriptor (USB 2.0, 9.6.1).
        let mut descriptor = [0; 18];
        usb.read_exact(&mut descriptor)?;
        let [
            ..,
            vendor_low,
            vendor_high,
            product_low,
            product_high,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = descriptor;
        let vendor = u16::from_le_bytes([vendor_low, vendor_high]);
        let product = u16::from_le_bytes([product_low, product_high]);
        say(&format!("opened {name}, {vendor:04x}:{product:04x}"));
        Ok(Board { name, _usb: usb })
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        say(&format!("released {}", self.name));
    }
}

/// A line of the log, at once.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    // A log that cannot be written must not keep the board from its service.
    let _ = writeln!(out, "{} {line}", std::process::id()).and_then(|()| out.flush());
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let pause = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Duration::ZERO,
        (Some("--before-stop"), Some(seconds)) if seconds.parse::<u16>().is_ok() => {
            Duration::from_secs(seconds.parse().unwrap_or(0))
        }
        _ => {
            eprintln!("usage: osrsvc [--before-stop SECONDS]");
            return ExitCode::from(2);
        }
    };
    say("started");
    let code = Service::of_class(CLASS)
        .before_stop(move || {
            say("no board is left");
            std::thread::sleep(pause);
        })
        .run(Board::open);
    say("stopped");
    code
}
