//! Which domain the machine is a member of.
//!
//! | by | the machine is a member iff | the domain is |
//! |---|---|---|
//! | Samba | secrets.tdb has MACHINE_PASSWORD and MACHINE_DOMAIN_INFO of one workgroup | `realm` of smb.conf, else the workgroup; its SID |
//! | SSSD | a domain of `[sssd] domains` has the provider ad or ipa, and the keytab a key of this machine in its realm | the realm |
//! | FreeIPA | default.conf names a realm, and the keytab has a key of this machine in it | the realm |
//!
//! The first that holds counts. A keytab alone says nothing: two of three tools leave it behind. A change
//! of the machine's password changes none of this, and neither does reading.
//!
//! A key of this machine is one of a principal `NAME$` or `host/NAME`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrival_wire::keytab::{self, Principal};
use arrival_wire::tdb;

use super::ini::Ini;
use super::look::{FileEvent, FileSource, Trouble, Watch, below, read};

const SECRETS: &str = "/var/lib/samba/private/secrets.tdb";
const SMB: &str = "/etc/samba/smb.conf";
const KEYTAB: &str = "/etc/krb5.keytab";
const SSSD: &str = "/etc/sssd/sssd.conf";
const SSSD_MORE: &str = "/etc/sssd/conf.d";
const IPA: &str = "/etc/ipa/default.conf";

/// Where to look, and how patiently.
#[derive(Clone, Debug)]
pub struct MembershipConfig {
    /// The folder below which the files of the machine are.
    pub root: PathBuf,
    /// How long it must be quiet before the files are looked at.
    pub settle: Duration,
}

impl Default for MembershipConfig {
    fn default() -> Self {
        MembershipConfig {
            root: PathBuf::from("/"),
            settle: Duration::from_millis(500),
        }
    }
}

/// A membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The realm, or the workgroup where no realm is known.
    pub realm: String,
    /// The domain's security identifier, if Samba knows it.
    pub sid: Option<String>,
    /// Who keeps it: `samba`, `sssd` or `ipa`.
    pub by: &'static str,
}

/// Starts looking; the first event is how it is now.
///
/// # Errors
///
/// Those of inotify_init1(2) and of starting a thread.
pub fn start(
    config: MembershipConfig,
    sink: impl FnMut(FileEvent<Option<Membership>>) + Send + 'static,
) -> io::Result<FileSource> {
    let root = config.root;
    let look = move |watch: &mut Watch| {
        for path in [SECRETS, SMB, KEYTAB, SSSD, IPA] {
            let path = below(&root, path);
            watch.folder(path.parent().unwrap_or(Path::new("/")));
        }
        watch.folder(&below(&root, SSSD_MORE));
        membership(&root)
    };
    FileSource::start("arrival-domain", config.settle, look, sink)
}

/// The membership as the files below a root say.
fn membership(root: &Path) -> Result<Option<Membership>, Trouble> {
    if let Some(found) = samba(root)? {
        return Ok(Some(found));
    }
    let sssd = sssd_domains(root)?;
    let ipa = ipa_realm(root)?;
    if sssd.is_empty() && ipa.is_none() {
        return Ok(None);
    }
    let principals = match read(&below(root, KEYTAB))? {
        Some(bytes) => keytab::principals(&bytes).map_err(|error| passing(root, KEYTAB, &error))?,
        None => Vec::new(),
    };
    let has_key = |realm: &str| {
        principals
            .iter()
            .any(|principal| is_machine(principal) && principal.realm.eq_ignore_ascii_case(realm))
    };
    let member = |realm: String, by| Membership {
        realm,
        sid: None,
        by,
    };
    if let Some(realm) = sssd.into_iter().find(|realm| has_key(realm)) {
        return Ok(Some(member(realm, "sssd")));
    }
    let ipa = ipa.filter(|realm| has_key(realm));
    Ok(ipa.map(|realm| member(realm, "ipa")))
}

fn passing(root: &Path, path: &str, error: &dyn std::fmt::Display) -> Trouble {
    Trouble {
        what: format!("{}: {error}", below(root, path).display()),
        passing: true,
    }
}

fn is_machine(principal: &Principal) -> bool {
    match principal.components.as_slice() {
        [name] => name.ends_with('$'),
        [service, _] => service == "host",
        _ => false,
    }
}

fn samba(root: &Path) -> Result<Option<Membership>, Trouble> {
    let Some(bytes) = read(&below(root, SECRETS))? else {
        return Ok(None);
    };
    let records = tdb::records(&bytes).map_err(|error| passing(root, SECRETS, &error))?;
    let named = |prefix: &str| {
        let prefix = format!("SECRETS/{prefix}/");
        records.iter().filter_map(move |record| {
            let key = std::str::from_utf8(record.key).ok()?;
            let name = key.trim_end_matches('\0').strip_prefix(&prefix)?;
            Some((name, record.data))
        })
    };
    let workgroup = named("MACHINE_PASSWORD")
        .map(|(name, _)| name)
        .filter(|name| named("MACHINE_DOMAIN_INFO").any(|(other, _)| other == *name))
        .min();
    let Some(workgroup) = workgroup else {
        return Ok(None);
    };
    let sid = named("SID").find(|(name, _)| *name == workgroup);
    let mut config = Ini::default();
    if let Some(text) = read(&below(root, SMB))? {
        config.read(&String::from_utf8_lossy(&text));
    }
    let realm = config.get("global", "realm").unwrap_or(workgroup);
    Ok(Some(Membership {
        realm: realm.to_ascii_uppercase(),
        sid: sid.and_then(|(_, data)| tdb::sid(data)),
        by: "samba",
    }))
}

/// The realms of SSSD's domains with a provider that makes a machine a member.
fn sssd_domains(root: &Path) -> Result<Vec<String>, Trouble> {
    let mut config = Ini::default();
    if let Some(text) = read(&below(root, SSSD))? {
        config.read(&String::from_utf8_lossy(&text));
    }
    let more = std::fs::read_dir(below(root, SSSD_MORE));
    let mut more: Vec<PathBuf> = more
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .collect();
    more.sort();
    for path in more {
        if let Some(text) = read(&path)? {
            config.read(&String::from_utf8_lossy(&text));
        }
    }
    let domains = config.get("sssd", "domains").unwrap_or_default();
    let realms = domains.split(',').map(str::trim).filter_map(|domain| {
        let section = format!("domain/{domain}");
        let provider = config.get(&section, "id_provider")?;
        if !matches!(provider.to_ascii_lowercase().as_str(), "ad" | "ipa") {
            return None;
        }
        let realm = ["krb5_realm", "ad_domain", "ipa_domain"]
            .iter()
            .find_map(|key| config.get(&section, key));
        Some(realm.unwrap_or(domain).to_ascii_uppercase())
    });
    Ok(realms.collect())
}

fn ipa_realm(root: &Path) -> Result<Option<String>, Trouble> {
    let mut config = Ini::default();
    if let Some(text) = read(&below(root, IPA))? {
        config.read(&String::from_utf8_lossy(&text));
    }
    Ok(config.get("global", "realm").map(str::to_ascii_uppercase))
}

#[cfg(test)]
#[path = "membership_tests.rs"]
mod tests;
