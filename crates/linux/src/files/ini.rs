//! The sections and keys of configuration files, as SSSD, Samba and FreeIPA write them.
//!
//! ```text
//! line = "[" section "]" | key "=" value | ("#" | ";") comment | blank
//! ```
//!
//! Names of sections and keys are compared without regard to case; the last value counts.

use std::collections::BTreeMap;

/// The values by section and key, both in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ini {
    values: BTreeMap<(String, String), String>,
}

impl Ini {
    /// Adds what a file says.
    pub(super) fn read(&mut self, text: &str) {
        let mut section = String::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                section = name.trim().to_ascii_lowercase();
            } else if let Some((key, value)) = line.split_once('=') {
                let key = key.trim().to_ascii_lowercase();
                self.values
                    .insert((section.clone(), key), value.trim().to_owned());
            }
        }
    }

    /// A value that is not empty.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<&str> {
        let place = (section.to_ascii_lowercase(), key.to_owned());
        self.values
            .get(&place)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_section_and_key() {
        let mut ini = Ini::default();
        ini.read(
            "a = 0\n[SSSD]\n# domains = x\n domains = one, two\n[domain/One]\nID_Provider=ad\n",
        );
        ini.read("[sssd]\ndomains = three\n[empty]\nkey =\n");
        assert_eq!(ini.get("sssd", "domains"), Some("three"));
        assert_eq!(ini.get("domain/one", "id_provider"), Some("ad"));
        assert_eq!(ini.get("", "a"), Some("0"));
        assert_eq!(ini.get("empty", "key"), None);
    }
}
