//! Names of device interfaces in Windows CE's form.
//!
//! | number | name | |
//! |---|---|---|
//! | 1 to 9, then 0 | `COM1:` | the legacy form: prefix, one digit, colon |
//! | 10 and more | `\$device\COM10` | the device's name space; such a device has no legacy name |
//!
//! The prefix is that of the interface's class. Of numbers the first that is free in this order is
//! given; a device has the same number in all its classes of one prefix. A name is an attribute, unique
//! among the interfaces of a class that are present, and never the identity.
//!
//! Source: Windows Embedded CE 6.0, "Device File Names", "Device Interface Notifications".

/// How many characters a prefix has.
const PREFIX: usize = 3;

/// The numbers in the order in which they are given.
pub fn numbers() -> impl Iterator<Item = u32> {
    (1..10).chain([0]).chain(10..)
}

/// The name of this prefix and number.
pub fn ce_name(prefix: &str, number: u32) -> String {
    if number < 10 {
        format!("{prefix}{number}:")
    } else {
        format!("\\$device\\{prefix}{number}")
    }
}

/// Prefix and number of a name.
pub fn parts(name: &str) -> Option<(&str, u32)> {
    let legacy = name.strip_suffix(':');
    let whole = legacy.or_else(|| name.strip_prefix("\\$device\\"))?;
    let (prefix, number) = whole.split_at_checked(PREFIX)?;
    Some((prefix, number.parse().ok()?))
}

/// Whether a text can be a prefix: three of `A-Z` and `0-9`, beginning with a letter.
pub fn is_prefix(text: &str) -> bool {
    text.len() == PREFIX
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_devices_have_legacy_names_and_further_ones_have_not() {
        let names: Vec<String> = numbers().take(12).map(|n| ce_name("COM", n)).collect();
        assert_eq!(
            names.join(" "),
            "COM1: COM2: COM3: COM4: COM5: COM6: COM7: COM8: COM9: COM0: \\$device\\COM10 \\$device\\COM11"
        );
    }

    #[test]
    fn a_name_tells_its_prefix_and_number() {
        for number in numbers().take(30) {
            assert_eq!(parts(&ce_name("I2C", number)), Some(("I2C", number)));
        }
        for text in ["", "COM:", "COM1", "é1:", "\\$device\\CO1", "\\$bus\\COM1"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn a_prefix_has_three_capitals_or_digits() {
        assert!(is_prefix("COM") && is_prefix("I2C"));
        for text in ["", "CO", "COMM", "com", "2IC", "C:1", "CÖ"] {
            assert!(!is_prefix(text), "{text}");
        }
    }
}
