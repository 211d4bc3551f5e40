//! A user's name to the ids a process runs with.
//!
//! ```text
//! root, 0, our own user      known without asking anybody
//! another name or number     getent passwd NAME, getent initgroups NAME: short-lived children with a deadline
//! no getent                  /etc/passwd and /etc/group
//! ```
//!
//! Name services load other people's code and may wait for a network; that happens in a child, never here.
//! Sources: getent(1), passwd(5), group(5).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use super::Credentials;

/// How long a name service may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer or file that is read.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;
const GETENT: [&str; 2] = ["/usr/bin/getent", "/bin/getent"];
/// The group of a user that is only a number: it owns nothing. Source: Linux Standard Base, nogroup.
const NOBODY: u32 = 65534;

/// A user as a run needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name; the number, if it has none.
    pub name: String,
    /// The user id.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// All groups, the primary one included, in order.
    pub groups: Vec<u32>,
    /// The home directory, `/` if there is none.
    pub home: PathBuf,
}

impl Identity {
    /// What to spawn with: nothing if we are not root, for then we are this user already.
    pub fn credentials(&self) -> Option<Credentials> {
        rustix::process::geteuid().is_root().then(|| Credentials {
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
        })
    }
}

/// Why a user cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none of this name or number.
    #[error("user '{0}' does not exist")]
    NoUser(String),
    /// A process without privilege can be nobody else.
    #[error("cannot run as user '{user}': this daemon runs as user {own} and is not root")]
    NotRoot {
        /// Whom the definition names.
        user: String,
        /// Our own user id.
        own: u32,
    },
    /// The name service did not answer.
    #[error("cannot look up user '{user}': {cause}")]
    NoAnswer {
        /// Who was looked up.
        user: String,
        /// What went wrong.
        cause: String,
    },
    /// There is no group of this name.
    #[error("group '{0}' does not exist")]
    NoGroup(String),
    /// The name service did not answer.
    #[error("cannot look up group '{group}': {cause}")]
    NoAnswerOfGroup {
        /// Which was looked up.
        group: String,
        /// What went wrong.
        cause: String,
    },
    /// Not a name at all.
    #[error("'{0}' is not a user name")]
    BadName(String),
}

/// Finds a user by name or number. May block for as long as the name service needs, up to some seconds.
///
/// # Errors
/// There is no such user, it cannot be found out, or this process may not become it.
pub fn resolve(user: &str) -> Result<Identity, IdentityError> {
    let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b':' | b'/' | b',');
    if user.is_empty() || user.len() > 256 || user.starts_with('-') || !user.bytes().all(good) {
        return Err(IdentityError::BadName(user.to_owned()));
    }
    let own = rustix::process::geteuid().as_raw();
    let number: Option<u32> = user.parse().ok().filter(|uid| *uid != u32::MAX);
    let found = match number {
        Some(0) => root(),
        _ if user == "root" => root(),
        Some(uid) if uid == own => current(),
        _ => look_up(user, number)?,
    };
    if own != 0 && found.uid != own {
        return Err(IdentityError::NotRoot {
            user: user.to_owned(),
            own,
        });
    }
    Ok(found)
}

/// The id of a group by name or number. May block for as long as the name service needs, up to some seconds.
///
/// # Errors
/// There is no such group, or it cannot be found out.
pub fn group(group: &str) -> Result<u32, IdentityError> {
    let none = || IdentityError::NoGroup(group.to_owned());
    if let Ok(number) = group.parse() {
        return Some(number).filter(|gid| *gid != u32::MAX).ok_or_else(none);
    }
    if group.is_empty() || group.starts_with('-') {
        return Err(none());
    }
    let in_file = read("/etc/group").ok();
    if let Some(gid) = in_file.and_then(|text| group_in(&text, group)) {
        return Ok(gid);
    }
    let answer = GETENT
        .into_iter()
        .find(|path| fs::metadata(path).is_ok())
        .map_or(Ok(None), |getent| ask(getent, &["group", group], PATIENCE))
        .map_err(|cause| IdentityError::NoAnswerOfGroup {
            group: group.to_owned(),
            cause,
        })?;
    answer
        .and_then(|text| group_in(&text, group))
        .ok_or_else(none)
}

/// The id of the group of this name in the form of group(5).
fn group_in(text: &str, group: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(group);
        found
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
            .filter(|gid| *gid != u32::MAX)
    })
}

/// The user this process runs as, with the groups it has now.
pub fn current() -> Identity {
    let uid = rustix::process::geteuid().as_raw();
    if uid == 0 {
        return root();
    }
    let gid = rustix::process::getegid().as_raw();
    let groups = rustix::process::getgroups().unwrap_or_default();
    let groups: BTreeSet<u32> = groups
        .into_iter()
        .map(|group| group.as_raw())
        .chain([gid])
        .collect();
    let entry = read("/etc/passwd")
        .ok()
        .and_then(|text| entry(&text, &uid.to_string(), Some(uid)));
    let (name, home) = match entry {
        Some(entry) => (entry.name, entry.home),
        None => (uid.to_string(), PathBuf::from("/")),
    };
    Identity {
        name,
        uid,
        gid,
        groups: groups.into_iter().collect(),
        home,
    }
}

fn root() -> Identity {
    Identity {
        name: "root".into(),
        uid: 0,
        gid: 0,
        groups: vec![0],
        home: PathBuf::from("/root"),
    }
}

fn look_up(user: &str, number: Option<u32>) -> Result<Identity, IdentityError> {
    let no_answer = |cause: String| IdentityError::NoAnswer {
        user: user.to_owned(),
        cause,
    };
    let getent = GETENT.into_iter().find(|path| fs::metadata(path).is_ok());
    let passwd = match getent {
        Some(getent) => ask(getent, &["passwd", user], PATIENCE).map_err(no_answer)?,
        None => Some(read("/etc/passwd").map_err(|error| no_answer(error.to_string()))?),
    };
    let Some(entry) = passwd.and_then(|text| entry(&text, user, number)) else {
        // A number is an identity even when nobody gave it a name.
        return match number {
            Some(uid) => Ok(Identity {
                name: user.to_owned(),
                uid,
                gid: NOBODY,
                groups: vec![NOBODY],
                home: PathBuf::from("/"),
            }),
            None => Err(IdentityError::NoUser(user.to_owned())),
        };
    };
    let asked = match getent {
        Some(getent) => ask(getent, &["initgroups", &entry.name], PATIENCE).map_err(no_answer)?,
        None => None,
    };
    let mut groups: BTreeSet<u32> = match asked
        .as_deref()
        .and_then(|text| initgroups(text, &entry.name))
    {
        Some(groups) => groups,
        // Not every getent knows this database.
        None => read("/etc/group")
            .map(|text| groups_in(&text, &entry.name))
            .unwrap_or_default(),
    };
    groups.insert(entry.gid);
    let Entry {
        name,
        uid,
        gid,
        home,
    } = entry;
    Ok(Identity {
        name,
        uid,
        gid,
        groups: groups.into_iter().collect(),
        home,
    })
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

/// The line for this user in the form of passwd(5): a name goes before a number, as getent has it.
fn entry(text: &str, user: &str, number: Option<u32>) -> Option<Entry> {
    let entries = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields
            .nth(1)
            .filter(|home| home.starts_with('/'))
            .unwrap_or("/")
            .into();
        Some(Entry {
            name,
            uid,
            gid,
            home,
        })
    });
    let mut by_number = None;
    for entry in entries {
        if entry.name == user {
            return Some(entry);
        }
        if by_number.is_none() && Some(entry.uid) == number {
            by_number = Some(entry);
        }
    }
    by_number
}

/// The answer of `getent initgroups NAME`: the name, then numbers.
fn initgroups(text: &str, name: &str) -> Option<BTreeSet<u32>> {
    let mut words = text.lines().next()?.split_ascii_whitespace();
    (words.next() == Some(name)).then(|| words.filter_map(|word| word.parse().ok()).collect())
}

/// The groups that list this user in the form of group(5).
fn groups_in(text: &str, name: &str) -> BTreeSet<u32> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let gid = fields.nth(2)?.parse().ok()?;
            fields
                .next()?
                .split(',')
                .any(|member| member == name)
                .then_some(gid)
        })
        .collect()
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_ANSWER).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the program prints; `None` if it says that it found nothing.
fn ask(program: &str, args: &[&str], patience: Duration) -> Result<Option<String>, String> {
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let answer = child
        .stdout
        .take()
        .map(|mut out| gather(&mut out, patience));
    if !matches!(answer, Some(Ok(_))) {
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|error| format!("{program}: {error}"))?;
    match answer {
        Some(Ok(bytes)) if status.success() => {
            Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Some(Ok(_)) => match status.code() {
            // 1: the database is unknown; 2: the key is.
            Some(1 | 2) => Ok(None),
            _ => Err(format!("{program}: {status}")),
        },
        Some(Err(cause)) => Err(format!("{program} {cause}")),
        None => Err(format!("{program} gave no output")),
    }
}

/// Reads to the end of a pipe, until the deadline or the limit.
fn gather(out: &mut std::process::ChildStdout, patience: Duration) -> Result<Vec<u8>, String> {
    let deadline = std::time::Instant::now() + patience;
    let mut bytes = Vec::new();
    let mut buffer = [0_u8; 4096];
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(out, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(format!("did not answer within {} s", patience.as_secs())),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.to_string()),
        }
        match out.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(n) => bytes.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
        if bytes.len() as u64 > MAX_ANSWER {
            return Err("answers without end".to_owned());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_number() {
        if rustix::process::geteuid().is_root() {
            assert_eq!(resolve("root").unwrap(), resolve("0").unwrap());
            assert_eq!(resolve("root").unwrap().credentials().unwrap().groups, [0]);
        } else {
            let error = resolve("root").unwrap_err().to_string();
            assert!(error.contains("is not root"), "{error}");
        }
    }

    #[test]
    fn an_unknown_user_is_named_in_the_error() {
        let error = resolve("arrival-nobody-at-all").unwrap_err();
        assert_eq!(
            error.to_string(),
            "user 'arrival-nobody-at-all' does not exist"
        );
        for bad in ["", "-l", "a:b", "a b", "a\n", "../x"] {
            assert!(
                matches!(resolve(bad), Err(IdentityError::BadName(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_group_is_found_by_name_and_number() {
        let text = "root:x:0:\nscanner:x:113:saned,me\nbad:x:z:\n";
        assert_eq!(group_in(text, "scanner"), Some(113));
        assert_eq!(group_in(text, "bad"), None);
        assert_eq!(group_in(text, "scan"), None);
        assert_eq!(group("42").unwrap(), 42);
        assert_eq!(group("root").unwrap(), 0);
        for none in ["4294967295", "", "-x", "arrival-no-such-group"] {
            let error = group(none).unwrap_err().to_string();
            assert_eq!(error, format!("group '{none}' does not exist"));
        }
    }

    #[test]
    fn a_name_service_that_hangs_is_given_up() {
        let error = ask("/bin/sleep", &["100"], Duration::from_millis(30)).unwrap_err();
        assert!(error.contains("did not answer"), "{error}");
    }

    #[test]
    fn the_files_are_read_like_the_name_service_answers() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\ngps:x:7:9:GPS,,,:/var/lib/gps:/bin/false\n0:x:12:12::nowhere:\n";
        let gps = entry(passwd, "gps", None).unwrap();
        assert_eq!(
            (gps.uid, gps.gid, gps.home.to_str()),
            (7, 9, Some("/var/lib/gps"))
        );
        assert_eq!(entry(passwd, "7", Some(7)).unwrap().name, "gps");
        assert_eq!(entry(passwd, "0", Some(0)).unwrap().uid, 12);
        assert!(entry(passwd, "nobody", None).is_none());
        let group = "dialout:x:20:a,gps\nfloppy:x:21:gpsd\nplugdev:x:46:gps\n";
        assert_eq!(groups_in(group, "gps"), BTreeSet::from([20, 46]));
        assert_eq!(
            initgroups("gps                   20 46\n", "gps"),
            Some(BTreeSet::from([20, 46]))
        );
        assert_eq!(initgroups("Unknown database\n", "gps"), None);
    }

    #[test]
    fn a_user_of_this_machine_is_resolved_alike_by_name_and_number() {
        let text = read("/etc/passwd").unwrap();
        let Some(daemon) = entry(&text, "daemon", None) else {
            return;
        };
        if rustix::process::geteuid().is_root() {
            let by_name = resolve("daemon").unwrap();
            assert_eq!(by_name.uid, daemon.uid);
            assert_eq!(by_name, resolve(&daemon.uid.to_string()).unwrap());
            assert!(by_name.groups.contains(&by_name.gid));
        }
    }
}
