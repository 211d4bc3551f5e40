//! Security descriptors in text form (SDDL).
//!
//! The accepted grammar (Microsoft, "Security Descriptor String Format" and "ACE Strings"):
//!
//! ```text
//! descriptor = [ "O:" sid ] [ "G:" sid ] [ "D:" flags { ace } ] [ "S:" flags { ace } ]
//! flags      = { "P" | "AR" | "AI" } | "NO_ACCESS_CONTROL"
//! ace        = "(" ( "A" | "D" ) ";" { "CI" | "OI" | "NP" | "IO" | "ID" } ";" rights ";;;" sid ")"
//! rights     = { "CC" | "DC" | ... | "GA" } | "0x" hex | "0" octal | decimal
//! sid        = "SY" | "BA" | "IU" | "SU" | "AU" | "BU" | "WD" | other known letters | "S-1-" ...
//! ```
//!
//! | SID | who that is here |
//! |---|---|
//! | SY | uid 0, and the manager's own effective uid |
//! | BA | whoever is SY, and the members of the `administrators` group |
//! | IU | peers with a login session behind them |
//! | SU | processes of a service's host |
//! | AU, BU, WD | everybody |
//! | S-1-22-1-N, S-1-22-2-N | Unix user N, Unix group N (Samba's convention) |
//! | every other | nobody |
//!
//! Entries are read in order: for each right the first entry that names the peer decides, and what
//! no entry decides is denied. So an entry that denies must stand before those that allow. `S:`
//! (auditing) is read over, so that the output of `sc sdshow` can be used as it is.

use std::fmt;
use std::str::FromStr;

/// SERVICE_ALL_ACCESS of winsvc.h.
const ALL_ACCESS: u32 = 0xf_01ff;

/// At most this many entries; Windows' limit is 64 KiB of them, a service has a handful.
pub(super) const ACE_LIMIT: usize = 256;

/// At most this many bytes of text.
pub(super) const TEXT_LIMIT: usize = 16 * 1024;

/// Rights by their letters; the generic ones are mapped as the SCM maps them for services.
const RIGHTS: [(&str, u32); 17] = [
    ("CC", 0x1),
    ("DC", 0x2),
    ("LC", 0x4),
    ("SW", 0x8),
    ("RP", 0x10),
    ("WP", 0x20),
    ("DT", 0x40),
    ("LO", 0x80),
    ("CR", 0x100),
    ("SD", 0x1_0000),
    ("RC", 0x2_0000),
    ("WD", 0x4_0000),
    ("WO", 0x8_0000),
    ("GR", 0x2_008d),
    ("GW", 0x2_0002),
    ("GX", 0x2_0170),
    ("GA", ALL_ACCESS),
];

/// Known SIDs that name nobody on this system.
const FOREIGN_SIDS: [&str; 22] = [
    "AN", "AO", "BG", "BO", "CA", "CG", "CO", "DA", "DC", "DD", "DG", "DU", "EA", "LA", "LG", "LS",
    "NO", "NS", "NU", "PO", "PU", "RC",
];

/// Whom an entry of a descriptor is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sid {
    /// SY, S-1-5-18: root, and the manager's own user.
    System,
    /// BA, S-1-5-32-544: the administrators.
    Administrators,
    /// IU, S-1-5-4: peers with a login session.
    Interactive,
    /// SU, S-1-5-6: processes of services.
    Service,
    /// AU, S-1-5-11; BU, S-1-5-32-545; WD, S-1-1-0: everybody.
    Everyone,
    /// S-1-22-1-uid: a Unix user.
    User(u32),
    /// S-1-22-2-gid: a Unix group.
    Group(u32),
    /// A SID that names nobody here.
    Nobody(String),
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sid::System => f.write_str("root"),
            Sid::Administrators => f.write_str("administrators"),
            Sid::Interactive => f.write_str("users with a login session"),
            Sid::Service => f.write_str("services"),
            Sid::Everyone => f.write_str("everybody"),
            Sid::User(uid) => write!(f, "user {uid}"),
            Sid::Group(gid) => write!(f, "group {gid}"),
            Sid::Nobody(text) => f.write_str(text),
        }
    }
}

impl FromStr for Sid {
    type Err = SddlError;

    fn from_str(text: &str) -> Result<Self, SddlError> {
        let upper = text.to_ascii_uppercase();
        let known = match upper.as_str() {
            "SY" | "S-1-5-18" => Some(Sid::System),
            "BA" | "S-1-5-32-544" => Some(Sid::Administrators),
            "IU" | "S-1-5-4" => Some(Sid::Interactive),
            "SU" | "S-1-5-6" => Some(Sid::Service),
            "AU" | "S-1-5-11" | "BU" | "S-1-5-32-545" | "WD" | "S-1-1-0" => Some(Sid::Everyone),
            letters if FOREIGN_SIDS.contains(&letters) => Some(Sid::Nobody(upper.clone())),
            _ => None,
        };
        if let Some(sid) = known {
            return Ok(sid);
        }
        let bad = || SddlError::Sid(text.to_owned());
        let numbers = upper.strip_prefix("S-1-").ok_or_else(bad)?;
        let parts = numbers
            .split('-')
            .map(|part| sid_number(part).ok_or_else(bad))
            .collect::<Result<Vec<u64>, _>>()?;
        match parts.as_slice() {
            // Samba's "Unix User" and "Unix Group" authorities.
            [22, 1, id] => u32::try_from(*id).map(Sid::User).map_err(|_| bad()),
            [22, 2, id] => u32::try_from(*id).map(Sid::Group).map_err(|_| bad()),
            [22, ..] => Err(bad()),
            [_, _, ..] if parts.len() <= 16 => Ok(Sid::Nobody(upper)),
            _ => Err(bad()),
        }
    }
}

/// A number of a SID: 48 bits at most, decimal, or hexadecimal for the authority.
fn sid_number(text: &str) -> Option<u64> {
    let value = match text.strip_prefix("0X") {
        Some(hex) if digits(hex, 16) => u64::from_str_radix(hex, 16).ok()?,
        None if digits(text, 10) => text.parse().ok()?,
        Some(_) | None => return None,
    };
    (value < 1 << 48).then_some(value)
}

/// Whether the text is digits and nothing else; `from_str_radix` alone takes a sign too.
fn digits(text: &str, radix: u32) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_digit(radix))
}

/// One entry of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ace {
    /// Whether it allows; else it denies.
    pub allow: bool,
    /// The rights it is about, as an access mask.
    pub mask: u32,
    /// Whom it is about.
    pub sid: Sid,
}

/// A security descriptor: who may do what with a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Descriptor {
    /// The entries in order; none at all (no `D:`, or `NO_ACCESS_CONTROL`) means everybody may
    /// do everything, as on Windows.
    pub entries: Option<Vec<Ace>>,
}

/// A text that is no security descriptor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SddlError {
    /// The text is longer than any sensible one.
    #[error(
        "the descriptor is longer than {TEXT_LIMIT} bytes or has more than {ACE_LIMIT} entries"
    )]
    TooLong,
    /// It does not begin with a part such as `D:`.
    #[error("expected 'O:', 'G:', 'D:' or 'S:' at '{0}'")]
    Part(String),
    /// A part stands twice or in the wrong order.
    #[error("'{0}:' stands twice or in the wrong place (the order is O: G: D: S:)")]
    Order(char),
    /// Without entries it would let everybody do everything.
    #[error("the descriptor has no 'D:' part, which would let everybody do everything")]
    NoDacl,
    /// The flags after `D:`.
    #[error("'{0}' is no flag of a list of entries (P, AR, AI or NO_ACCESS_CONTROL)")]
    Flags(String),
    /// A parenthesis that is not closed.
    #[error("the entry '{0}' has no closing parenthesis")]
    Open(String),
    /// An entry with another number of fields.
    #[error("the entry '({0})' has {1} fields, not 6 (type;flags;rights;;;sid)")]
    Fields(String, usize),
    /// An entry of another type.
    #[error("the entry type '{0}' is not supported (A allows, D denies)")]
    Kind(String),
    /// Flags of an entry.
    #[error("'{0}' is no flag of an entry (CI, OI, NP, IO, ID)")]
    AceFlags(String),
    /// Rights that are none.
    #[error("'{0}' is no right to a service (CC DC LC SW RP WP DT LO CR SD RC WD WO, or 0x...)")]
    Rights(String),
    /// An object entry, which services do not have.
    #[error("the entry '({0})' names an object type, which a service does not have")]
    Object(String),
    /// A SID that is none.
    #[error("'{0}' is no SID (SY, BA, IU, SU, AU, WD, S-1-22-1-uid, S-1-22-2-gid, S-1-...)")]
    Sid(String),
}

impl FromStr for Descriptor {
    type Err = SddlError;

    fn from_str(text: &str) -> Result<Self, SddlError> {
        if text.len() > TEXT_LIMIT {
            return Err(SddlError::TooLong);
        }
        let mut rest = text.trim();
        let mut last = None;
        let mut entries = None;
        let mut listed = false;
        while !rest.is_empty() {
            let bad = || SddlError::Part(shortened(rest));
            let (head, tail) = rest.split_once(':').ok_or_else(bad)?;
            let part = match head.to_ascii_uppercase().as_str() {
                "O" => 'O',
                "G" => 'G',
                "D" => 'D',
                "S" => 'S',
                _ => return Err(bad()),
            };
            let place = "OGDS".find(part);
            if place <= last {
                return Err(SddlError::Order(part));
            }
            last = place;
            rest = match part {
                'O' | 'G' => {
                    // The owner ends where the next part's letter and colon begin.
                    let end = next_part(tail);
                    let (sid, rest) = tail.split_at(end);
                    sid.trim().parse::<Sid>()?;
                    rest
                }
                'D' => {
                    let (list, rest) = read_list(tail)?;
                    entries = list;
                    listed = true;
                    rest
                }
                _ => skip_audit(tail)?,
            };
        }
        if !listed {
            return Err(SddlError::NoDacl);
        }
        Ok(Descriptor { entries })
    }
}

/// The first few characters of a text, for a message.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(24) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Where the next `G:`, `D:` or `S:` begins, or the end.
fn next_part(text: &str) -> usize {
    match text.find(':') {
        Some(colon) => text
            .get(..colon)
            .and_then(|head| head.char_indices().next_back())
            .map_or(colon, |(at, _)| at),
        None => text.len(),
    }
}

/// Reads the flags and entries after `D:`; the second half of the result is what follows them.
fn read_list(text: &str) -> Result<(Option<Vec<Ace>>, &str), SddlError> {
    let (open_to_all, mut rest) = read_flags(text)?;
    let mut entries = Vec::new();
    while let Some((body, tail)) = read_entry(rest)? {
        if entries.len() == ACE_LIMIT {
            return Err(SddlError::TooLong);
        }
        if let Some(ace) = read_ace(body)? {
            entries.push(ace);
        }
        rest = tail;
    }
    Ok(((!open_to_all).then_some(entries), rest))
}

/// Reads over the audit entries; only their parentheses matter.
fn skip_audit(text: &str) -> Result<&str, SddlError> {
    let (_, mut rest) = read_flags(text)?;
    while let Some((_, tail)) = read_entry(rest)? {
        rest = tail;
    }
    Ok(rest)
}

/// Reads the flags before the entries, and whether they are `NO_ACCESS_CONTROL`.
fn read_flags(text: &str) -> Result<(bool, &str), SddlError> {
    let end = text.find('(').unwrap_or(text.len());
    // Without a parenthesis the flags reach to the next part.
    let end = end.min(next_part(text));
    let (flags, rest) = text.split_at(end);
    let flags = flags.trim().to_ascii_uppercase();
    if flags == "NO_ACCESS_CONTROL" {
        return Ok((true, rest.trim_start()));
    }
    let mut left = flags.as_str();
    while !left.is_empty() {
        left = ["AR", "AI", "P"]
            .iter()
            .find_map(|flag| left.strip_prefix(flag))
            .ok_or_else(|| SddlError::Flags(shortened(&flags)))?;
    }
    Ok((false, rest))
}

/// What stands in the next pair of parentheses, and what follows it.
fn read_entry(text: &str) -> Result<Option<(&str, &str)>, SddlError> {
    let Some(open) = text.strip_prefix('(') else {
        return Ok(None);
    };
    let (body, tail) = open
        .split_once(')')
        .ok_or_else(|| SddlError::Open(shortened(text)))?;
    Ok(Some((body, tail.trim_start())))
}

/// Reads one entry; one that is only there to be inherited does not apply and is none.
fn read_ace(body: &str) -> Result<Option<Ace>, SddlError> {
    let fields: Vec<&str> = body.split(';').map(str::trim).collect();
    let &[kind, flags, rights, object, inherited, sid] = fields.as_slice() else {
        return Err(SddlError::Fields(shortened(body), fields.len()));
    };
    let allow = match kind.to_ascii_uppercase().as_str() {
        "A" => true,
        "D" => false,
        _ => return Err(SddlError::Kind(shortened(kind))),
    };
    if !object.is_empty() || !inherited.is_empty() {
        return Err(SddlError::Object(shortened(body)));
    }
    let mut inherit_only = false;
    let upper = flags.to_ascii_uppercase();
    let mut left = upper.as_str();
    while !left.is_empty() {
        if let Some(rest) = left.strip_prefix("IO") {
            inherit_only = true;
            left = rest;
            continue;
        }
        left = ["CI", "OI", "NP", "ID"]
            .iter()
            .find_map(|flag| left.strip_prefix(flag))
            .ok_or_else(|| SddlError::AceFlags(shortened(flags)))?;
    }
    let mask = read_rights(rights)?;
    let sid = sid.parse()?;
    Ok((!inherit_only).then_some(Ace { allow, mask, sid }))
}

fn read_rights(text: &str) -> Result<u32, SddlError> {
    let bad = || SddlError::Rights(shortened(text));
    let upper = text.to_ascii_uppercase();
    if upper.starts_with(|c: char| c.is_ascii_digit()) {
        let (number, radix) = match upper.strip_prefix("0X") {
            Some(hex) => (hex, 16),
            None if upper.len() > 1 && upper.starts_with('0') => (upper.as_str(), 8),
            None => (upper.as_str(), 10),
        };
        if !digits(number, radix) {
            return Err(bad());
        }
        let raw = u32::from_str_radix(number, radix).map_err(|_| bad())?;
        // The generic bits of a number mean what their letters mean.
        let generic = [(31, "GR"), (30, "GW"), (29, "GX"), (28, "GA")];
        let mapped = generic
            .iter()
            .filter(|(bit, _)| raw & (1 << bit) != 0)
            .filter_map(|(_, letters)| RIGHTS.iter().find(|(name, _)| name == letters))
            .fold(0, |mask, (_, bits)| mask | bits);
        return Ok(raw & 0x0fff_ffff | mapped);
    }
    let mut mask = 0;
    let mut left = upper.as_str();
    while !left.is_empty() {
        let (rest, bits) = RIGHTS
            .iter()
            .find_map(|(name, bits)| Some((left.strip_prefix(name)?, bits)))
            .ok_or_else(bad)?;
        mask |= bits;
        left = rest;
    }
    Ok(mask)
}
