//! Decorations, and which of several fits the machine best.
//!
//! ```text
//! decoration = "NT" [ architecture ] [ "." [ major ] [ "." [ minor ] [ "." [ product ] [ "." [ suite ]
//!              [ "." [ build ] ] ] ] ] ]
//! ```
//!
//! A decoration fits if its architecture is the machine's or none, if its version is not above the machine's,
//! and if product type and suite are none or the machine's. Of those that fit the highest version counts;
//! of equal ones the one that says more. A section without a decoration fits always, and comes last.
//!
//! Source: Microsoft, "INF Manufacturer Section".

use std::fmt;

/// What decorations are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// In Windows' words: `amd64`, `arm64`, `x86`, `arm`; another one fits only what names none.
    pub architecture: String,
    /// Version and build of Windows that is asked for.
    pub version: (u32, u32, u32),
    /// 1 workstation, 2 domain controller, 3 server.
    pub product: u32,
    /// The LANGID of the strings; none means the undecorated ones.
    pub language: Option<u16>,
    /// Whether the file is to be installed on this system: what Windows takes and this system does not is an
    /// error then, and else a warning.
    pub here: bool,
    /// Whether the file is to be good for Windows too: what only Windows asks for is reported.
    pub windows: bool,
}

/// Conditions on Windows are judged as if by Windows 11 24H2.
const VERSION: (u32, u32, u32) = (10, 0, 26100);

impl Target {
    /// A machine of this architecture, in Windows' or Rust's words.
    pub fn of(architecture: &str) -> Self {
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "i386" | "i586" | "i686" => "x86",
            other => other,
        };
        Target {
            architecture: architecture.to_ascii_lowercase(),
            version: VERSION,
            product: 1,
            language: None,
            here: true,
            windows: false,
        }
    }

    /// The architecture that most INFs are written for.
    pub fn amd64() -> Self {
        Target::of("amd64")
    }
}

/// A decoration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoration {
    architecture: Option<String>,
    version: (u32, u32, u32),
    product: Option<u32>,
    suite: Option<u32>,
}

/// A text that is no decoration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoDecoration;

impl fmt::Display for NoDecoration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a decoration has the form NTamd64.10.0...22000")
    }
}

/// How well a decoration fits; more is better.
pub type Fit = ((u32, u32, u32), bool, bool, bool);

/// What the tool that stamps a driver's INF would put in its place.
pub const PLACEHOLDER: &str = "$ARCH$";

impl Decoration {
    /// Reads a decoration; a placeholder for the architecture is the target's own.
    ///
    /// # Errors
    ///
    /// If the text has another form.
    pub fn parse(text: &str, target: &Target) -> Result<Self, NoDecoration> {
        let lower = text.to_ascii_lowercase();
        let mut parts = lower.strip_prefix("nt").ok_or(NoDecoration)?.split('.');
        let architecture = match parts.next().unwrap_or_default() {
            "" => None,
            "$arch$" => Some(target.architecture.clone()),
            known @ ("x86" | "ia64" | "amd64" | "arm" | "arm64") => Some(known.to_owned()),
            _ => return Err(NoDecoration),
        };
        let mut number = || match parts.next() {
            None | Some("") => Ok(None),
            Some(text) => {
                let hex = text
                    .strip_prefix("0x")
                    .map(|hex| u32::from_str_radix(hex, 16));
                hex.unwrap_or_else(|| text.parse())
                    .map(Some)
                    .map_err(|_| NoDecoration)
            }
        };
        let (major, minor) = (number()?, number()?);
        let (product, suite) = (number()?, number()?);
        let build = number()?;
        if parts.next().is_some() {
            return Err(NoDecoration);
        }
        Ok(Decoration {
            architecture,
            version: (major.unwrap_or(0), minor.unwrap_or(0), build.unwrap_or(0)),
            product,
            suite,
        })
    }

    /// How well it fits; none if it does not.
    pub fn fit(&self, target: &Target) -> Option<Fit> {
        let own = self
            .architecture
            .as_ref()
            .is_none_or(|own| *own == target.architecture);
        let product = self.product.is_none_or(|product| product == target.product);
        // A suite is a set of editions of Windows, none of which this is.
        let suite = self.suite.is_none_or(|suite| suite == 0);
        (own && product && suite && self.version <= target.version).then(|| {
            (
                self.version,
                self.suite.is_some(),
                self.product.is_some(),
                self.architecture.is_some(),
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn best<'d>(target: &Target, decorations: &[&'d str]) -> Option<&'d str> {
        let fits = decorations.iter().filter_map(|text| {
            let fit = Decoration::parse(text, target).unwrap().fit(target)?;
            Some((fit, *text))
        });
        fits.max_by_key(|(fit, _)| *fit).map(|(_, text)| text)
    }

    #[test]
    fn the_highest_version_that_is_not_above_the_machine_counts() {
        let target = Target::amd64();
        assert_eq!(
            best(&target, &["NT", "NTamd64.6.1", "NTamd64.10.0...22000"]),
            Some("NTamd64.10.0...22000")
        );
        assert_eq!(
            best(&target, &["NTamd64.10.0...99999", "NTamd64.6.3"]),
            Some("NTamd64.6.3")
        );
        assert_eq!(best(&target, &["NTx86", "NTarm64"]), None);
        assert_eq!(
            best(&target, &["NT.10.0", "NTamd64.10.0"]),
            Some("NTamd64.10.0")
        );
        assert_eq!(
            best(&target, &["NTamd64.6.1.1", "NTamd64.6.1", "NTamd64.6.1.3"]),
            Some("NTamd64.6.1.1")
        );
        assert_eq!(best(&target, &["NT$ARCH$.10.0"]), Some("NT$ARCH$.10.0"));
        assert_eq!(best(&Target::of("riscv64"), &["NTamd64", "NT"]), Some("NT"));
    }

    #[test]
    fn what_has_another_form_is_no_decoration() {
        for bad in [
            "",
            "amd64",
            "NTmips",
            "NT.x",
            "NT.1.2.3.4.5.6",
            "NT amd64",
            "NT.-1",
        ] {
            assert_eq!(
                Decoration::parse(bad, &Target::amd64()),
                Err(NoDecoration),
                "{bad}"
            );
        }
    }
}
