//! Hardware ids as people write them.
//!
//! | short form | Windows form |
//! |---|---|
//! | `usb:067b:2303` | `USB\VID_067B&PID_2303` |
//! | `usb:067b:2303:0300` | `USB\VID_067B&PID_2303&REV_0300` |
//! | `pci:8086:10d3` | `PCI\VEN_8086&DEV_10D3` |
//! | `hid:046d:c52b` | `HID\Vid_046D&Pid_C52B` |
//! | `acpi:PNP0501` | `*PNP0501` |
//!
//! Everything else is taken as an id in Windows' form, which may have colons too, behind something
//! that is no mere word: `HID_DEVICE_UP:000C_U:0001`, `HID\Vid_046D&UP:0001_U:0006`.
//!
//! Source: Microsoft, "Standard USB Identifiers" and "Identifiers for PCI Devices".

/// MAX_DEVICE_ID_LEN of cfgmgr32.h.
const LONGEST: usize = 200;

/// Expands a short form, or checks the Windows form; the error is a message and a remedy.
pub(crate) fn expand(text: &str) -> Result<String, (String, Option<String>)> {
    let short = text.split_once(':').filter(|(bus, _)| is_word(bus));
    if let Some((bus, rest)) = short {
        let parts: Vec<&str> = rest.split(':').collect();
        let hex = |part: &&str| part.len() == 4 && part.chars().all(|c| c.is_ascii_hexdigit());
        let good = parts.iter().all(hex);
        let upper: Vec<String> = parts.iter().map(|part| part.to_ascii_uppercase()).collect();
        return match (bus.to_ascii_lowercase().as_str(), upper.as_slice()) {
            ("usb", [vendor, product]) if good => Ok(format!("USB\\VID_{vendor}&PID_{product}")),
            ("usb", [vendor, product, revision]) if good => {
                Ok(format!("USB\\VID_{vendor}&PID_{product}&REV_{revision}"))
            }
            ("pci", [vendor, device]) if good => Ok(format!("PCI\\VEN_{vendor}&DEV_{device}")),
            ("hid", [vendor, product]) if good => Ok(format!("HID\\Vid_{vendor}&Pid_{product}")),
            ("acpi", [id]) if is_acpi_id(id) => Ok(format!("*{id}")),
            ("acpi", _) => {
                let message = format!(
                    "'{text}' is not of the form acpi:PNP0501, three or four letters and four hexadecimal digits"
                );
                Err((message, None))
            }
            (bus @ ("usb" | "pci" | "hid"), _) => {
                let example = match bus {
                    "usb" => "usb:067b:2303",
                    "pci" => "pci:8086:10d3",
                    _ => "hid:046d:c52b",
                };
                let message =
                    format!("'{text}' is not of the form {example}, four hexadecimal digits each");
                Err((message, None))
            }
            // What lsusb(8) prints.
            (_, [_]) if good && hex(&bus) => {
                let remedy = format!("write usb:{text} or pci:{text}");
                Err((
                    format!("'{text}' does not say which bus it is of"),
                    Some(remedy),
                ))
            }
            _ => Err((
                format!("'{text}' is no hardware id"),
                Some(
                    "short forms are usb:067b:2303, pci:8086:10d3, hid:046d:c52b and acpi:PNP0501"
                        .to_owned(),
                ),
            )),
        };
    }
    if text.is_empty() || text.len() > LONGEST {
        return Err((format!("a hardware id has 1 to {LONGEST} characters"), None));
    }
    // The characters that Windows allows: no blank or control character, no comma, only ASCII.
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || *c == ',') {
        let remedy = (bad == ',').then(|| "write several ids as a list".to_owned());
        return Err((format!("a hardware id cannot contain {bad:?}"), remedy));
    }
    if text.contains('/') && !text.contains('\\') {
        let remedy = format!("write '{}' in single quotes", text.replace('/', "\\"));
        return Err((
            format!("'{text}' has a slash where Windows has a backslash"),
            Some(remedy),
        ));
    }
    Ok(text.to_owned())
}

/// Whether this may be meant as the name of a bus, or as a number.
fn is_word(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric())
}

/// `PNP0501`, `SYNA8004`.
fn is_acpi_id(id: &str) -> bool {
    let parts = id.len().checked_sub(4).map(|n| id.split_at_checked(n));
    matches!(parts, Some(Some((vendor, number)))
        if matches!(vendor.len(), 3 | 4)
            && vendor.chars().all(|c| c.is_ascii_alphanumeric())
            && number.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_become_windows_ids() {
        let rows = [
            ("usb:067b:2303", "USB\\VID_067B&PID_2303"),
            ("USB:067B:2303:0300", "USB\\VID_067B&PID_2303&REV_0300"),
            ("pci:8086:10d3", "PCI\\VEN_8086&DEV_10D3"),
            ("hid:046d:C52B", "HID\\Vid_046D&Pid_C52B"),
            ("acpi:syna8004", "*SYNA8004"),
            ("USB\\VID_067B&PID_2303", "USB\\VID_067B&PID_2303"),
            ("*PNP0501", "*PNP0501"),
            ("GenDisk", "GenDisk"),
            ("HID_DEVICE_UP:000C_U:0001", "HID_DEVICE_UP:000C_U:0001"),
            (
                "HID\\Vid_046D&UP:0001_U:0006",
                "HID\\Vid_046D&UP:0001_U:0006",
            ),
        ];
        for (text, id) in rows {
            assert_eq!(expand(text), Ok(id.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_id_gets_an_exact_error() {
        let rows = [
            (
                "usb:67b:2303",
                "'usb:67b:2303' is not of the form usb:067b:2303, four hexadecimal digits each",
                "",
            ),
            (
                "pci:8086",
                "'pci:8086' is not of the form pci:8086:10d3, four hexadecimal digits each",
                "",
            ),
            (
                "067b:2303",
                "'067b:2303' does not say which bus it is of",
                "write usb:067b:2303 or pci:067b:2303",
            ),
            (
                "isa:x",
                "'isa:x' is no hardware id",
                "short forms are usb:067b:2303, pci:8086:10d3, hid:046d:c52b and acpi:PNP0501",
            ),
            (
                ":2303",
                "':2303' is no hardware id",
                "short forms are usb:067b:2303, pci:8086:10d3, hid:046d:c52b and acpi:PNP0501",
            ),
            (
                "acpi:x",
                "'acpi:x' is not of the form acpi:PNP0501, three or four letters and four hexadecimal digits",
                "",
            ),
            ("", "a hardware id has 1 to 200 characters", ""),
            (
                "USB\\A,USB\\B",
                "a hardware id cannot contain ','",
                "write several ids as a list",
            ),
            ("USB\\A B", "a hardware id cannot contain ' '", ""),
            (
                "USB/VID_067B",
                "'USB/VID_067B' has a slash where Windows has a backslash",
                "write 'USB\\VID_067B' in single quotes",
            ),
        ];
        for (text, message, remedy) in rows {
            let (said, help) = expand(text).expect_err(text);
            assert_eq!(
                (said.as_str(), help.as_deref().unwrap_or("")),
                (message, remedy),
                "{text}"
            );
        }
        assert!(expand(&"x".repeat(201)).is_err());
    }
}
