//! Where hosts live.
//!
//! ```text
//! for every cgroup2 mount in /proc/self/mountinfo
//!   1. below our own cgroup   unless a part of its path is a *.scope (a login session ends with its scope), or it is a
//!                             systemd service or slice that root was not given (no delegate mark)
//!   2. below the mount        for root
//! each tried before it is used: make a folder, clone a child into it, find it there, cgroup.kill it, remove it.
//! none works                  process containment, with the reasons
//! ```
//!
//! Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst, systemd.resource-control(5) (`Delegate=`).

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::record::{HostId, HostRecord};
use super::{cgroup, clone, reap, sys};

/// What the daemon asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// A cgroup if this machine gives one, else process containment.
    #[default]
    Best,
    /// Process containment even where cgroups work.
    Process,
}

/// How the processes of a host are held together. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Containment(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Cgroup(Arc<Base>),
    Process(Arc<str>),
}

/// A cgroup that hosts lie below.
#[derive(Debug)]
struct Base {
    mount: Mount,
    /// As /proc/PID/cgroup would name it.
    path: PathBuf,
}

/// A mount of the cgroup v2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where it is mounted.
    point: PathBuf,
    /// Which cgroup is visible there.
    root: PathBuf,
}

impl Mount {
    /// The folder of a cgroup, if it is visible in this mount.
    fn folder(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.root).ok()?;
        below
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
            .then(|| self.point.join(below))
    }
}

impl Containment {
    /// Finds out what this machine gives, by trying. `root` is the daemon's root directory, which makes the
    /// name of the base its own: `arrival` for `/`, `arrival-HASH` for any other.
    pub fn detect(root: &Path, wanted: Wanted) -> Self {
        if wanted == Wanted::Process {
            return Self::process("asked for");
        }
        let mounts = mounts();
        if mounts.is_empty() {
            return Self::process("no cgroup2 file system is mounted");
        }
        let name = base_name(root);
        let mut refusals = Vec::new();
        for mount in &mounts {
            for path in candidates(mount, &name, &mut refusals) {
                match attempt(mount, &path) {
                    Ok(()) => {
                        let base = Base {
                            mount: mount.clone(),
                            path,
                        };
                        return Self(Kind::Cgroup(Arc::new(base)));
                    }
                    Err(error) => refusals.push(format!("{}: {error}", path.display())),
                }
            }
        }
        Self::process(&refusals.join("; "))
    }

    /// Process containment, for this reason.
    pub fn process(why: &str) -> Self {
        Self(Kind::Process(Arc::from(why)))
    }

    /// `cgroup` or `process`, as `status` shows it.
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Kind::Cgroup(_) => "cgroup",
            Kind::Process(_) => "process",
        }
    }

    /// Why hosts are not in cgroups, if they are not.
    pub fn reason(&self) -> Option<&str> {
        match &self.0 {
            Kind::Cgroup(_) => None,
            Kind::Process(why) => Some(why),
        }
    }

    /// The folder below which hosts have theirs.
    pub fn base(&self) -> Option<PathBuf> {
        match &self.0 {
            Kind::Cgroup(base) => base.mount.folder(&base.path),
            Kind::Process(_) => None,
        }
    }

    /// The record of a host that does not exist yet: a name for its cgroup, a token. Nothing is made.
    pub fn plan(&self, id: HostId) -> HostRecord {
        match &self.0 {
            Kind::Cgroup(base) => HostRecord::intent(id, Some(&base.path)),
            Kind::Process(_) => HostRecord::intent(id, None),
        }
    }

    /// The folder of a cgroup named in a record, which an earlier daemon may have made elsewhere.
    pub(super) fn folder(&self, path: &Path) -> Option<PathBuf> {
        match &self.0 {
            Kind::Cgroup(base) => base.mount.folder(path),
            Kind::Process(_) => mounts().iter().find_map(|mount| mount.folder(path)),
        }
    }

    /// The path, as records have it, of a folder directly below the base.
    pub(super) fn path_of(&self, folder: &Path) -> Option<PathBuf> {
        match &self.0 {
            Kind::Cgroup(base) => Some(base.path.join(folder.file_name()?)),
            Kind::Process(_) => None,
        }
    }

    /// Removes the base if no host is left in it; the next spawn makes it again.
    ///
    /// For a daemon that ends for good: one that is only restarted leaves it.
    pub fn remove_base(&self) {
        if let Some(base) = self.base() {
            // It fails while a host is there, which is what is wanted.
            let _ = fs::remove_dir(base);
        }
    }

    /// Makes the base again if somebody removed it while it was empty.
    pub(super) fn restore_base(&self) -> io::Result<()> {
        match self.base().map(fs::create_dir) {
            Some(Err(error)) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Containment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Cgroup(base) => write!(f, "cgroup {}", base.path.display()),
            Kind::Process(why) => write!(f, "process ({why})"),
        }
    }
}

/// Every cgroup2 mount of this mount namespace.
fn mounts() -> Vec<Mount> {
    fs::read_to_string("/proc/self/mountinfo")
        .map(|text| parse_mounts(&text))
        .unwrap_or_default()
}

fn parse_mounts(text: &str) -> Vec<Mount> {
    let mut found = Vec::new();
    for line in text.lines() {
        // 36 35 98:0 /root /point options optional-fields - type source super-options
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        if after.split(' ').next() != Some("cgroup2") {
            continue;
        }
        let mut fields = before.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mount = Mount {
            point: unescape(point),
            root: unescape(root),
        };
        if !found.contains(&mount) {
            found.push(mount);
        }
    }
    found
}

/// Undoes the octal escapes of proc_pid_mountinfo(5).
fn unescape(field: &str) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let code = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => out.push(*first),
        }
    }
    PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(out))
}

/// A base's name: two daemons with two roots must not meet.
fn base_name(root: &Path) -> String {
    let root = fs::canonicalize(root).unwrap_or_else(|_| root.to_path_buf());
    if root == Path::new("/") {
        return "arrival".to_owned();
    }
    format!("arrival-{}", sys::tag(&root))
}

/// The paths to try in this mount, best first; why others are not tried goes to `refusals`.
fn candidates(mount: &Mount, name: &str, refusals: &mut Vec<String>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let privileged = rustix::process::geteuid().is_root();
    if let Ok(Some(own)) = cgroup::of_self() {
        match mount.folder(&own) {
            None => refusals.push(format!(
                "{}: not below {}",
                own.display(),
                mount.point.display()
            )),
            Some(_) if own == mount.root => {}
            Some(folder) => match refuse_own(&own, &folder, privileged) {
                Some(why) => refusals.push(format!("{}: {why}", own.display())),
                None => paths.push(own.join(name)),
            },
        }
    }
    if privileged || mount.root == own_or_root() {
        paths.push(mount.root.join(name));
    }
    paths
}

fn own_or_root() -> PathBuf {
    cgroup::of_self()
        .ok()
        .flatten()
        .unwrap_or_else(|| PathBuf::from("/"))
}

/// Why our own cgroup is no place for hosts, if it is none.
fn refuse_own(own: &Path, folder: &Path, privileged: bool) -> Option<&'static str> {
    let part_ends = |ending: &str| {
        own.components().any(|part| {
            part.as_os_str()
                .as_encoded_bytes()
                .ends_with(ending.as_bytes())
        })
    };
    if part_ends(".scope") {
        return Some("a session's scope, which ends with the session");
    }
    // Whoever is not root can write there only because it was given.
    let last_is = |ending: &str| {
        own.as_os_str()
            .as_encoded_bytes()
            .ends_with(ending.as_bytes())
    };
    if privileged && (last_is(".service") || last_is(".slice")) && !delegated(folder) {
        return Some("not delegated (Delegate=yes)");
    }
    None
}

fn delegated(folder: &Path) -> bool {
    ["trusted.delegate", "user.delegate"]
        .into_iter()
        .any(|name| {
            let mut value = [0_u8; 8];
            rustix::fs::getxattr(folder, name, &mut value[..])
                .is_ok_and(|length| value.get(..length) == Some(b"1".as_slice()))
        })
}

/// Uses a base once: whatever does not work here must not be found out with a service in it.
fn attempt(mount: &Mount, path: &Path) -> Result<(), String> {
    let folder = mount.folder(path).ok_or("not visible in this mount")?;
    let made = match fs::create_dir(&folder) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(format!("cannot make it: {error}")),
    };
    let name = format!("probe-{}", sys::random_word());
    let probe = folder.join(&name);
    let done = fs::create_dir(&probe)
        .map_err(|error| format!("cannot make a folder in it: {error}"))
        .and_then(|()| probe_kill(&probe, &path.join(name)));
    let _ = cgroup::remove(&probe);
    if done.is_err() && made {
        let _ = fs::remove_dir(&folder);
    }
    done
}

fn probe_kill(folder: &Path, path: &Path) -> Result<(), String> {
    let text = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    let opened = open_folder(folder).map_err(text("cannot open it"))?;
    let procs = fs::OpenOptions::new()
        .write(true)
        .open(folder.join("cgroup.procs"))
        .map_err(text("cannot move processes into it"))?;
    let mut orders = clone::Orders::probe();
    let lock = reap::spawning();
    let (pid, pidfd) = clone::start(&mut orders, Some((opened.as_fd(), procs.as_fd())), false)
        .map_err(text("cannot clone into it"))?;
    drop(lock);

    // A plain fork joins a moment later; that it does is what is looked for here.
    let mut there = false;
    for _ in 0..200 {
        there = cgroup::of_process(pid).ok().flatten().as_deref() == Some(path);
        if there {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let killed = cgroup::kill(folder);
    let died = killed.is_ok() && sys::ends_within(pidfd.as_fd(), Duration::from_secs(2));
    if !died {
        let _ = sys::pidfd_signal(pidfd.as_fd(), libc::SIGKILL);
    }
    sys::wait(pidfd.as_fd());
    killed.map_err(text("cannot kill through it (cgroup.kill, Linux 5.14)"))?;
    match (there, died) {
        (false, _) => Err("a process made in it is not found in it".to_owned()),
        (true, false) => Err("cgroup.kill kills nothing".to_owned()),
        (true, true) => Ok(()),
    }
}

/// A descriptor that names a cgroup for clone3.
pub(super) fn open_folder(folder: &Path) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(folder, flags, Mode::empty())?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_mount_of_a_hybrid_system_is_found() {
        let text = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        let mounts = parse_mounts(text);
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].point, Path::new("/sys/fs/cgroup/uni fied"));
        assert_eq!(
            mounts[0].folder(Path::new("/a/b")).unwrap(),
            Path::new("/sys/fs/cgroup/uni fied/a/b")
        );
    }

    #[test]
    fn a_mount_of_a_part_shows_only_what_lies_below_it() {
        let mount = Mount {
            point: "/cg".into(),
            root: "/docker/x".into(),
        };
        assert_eq!(
            mount.folder(Path::new("/docker/x/h1")).unwrap(),
            Path::new("/cg/h1")
        );
        assert_eq!(mount.folder(Path::new("/docker/y")), None);
        assert_eq!(mount.folder(Path::new("/docker/x/../y")), None);
    }

    #[test]
    fn a_login_session_is_no_place_for_hosts() {
        let refused =
            |path: &str, root| refuse_own(Path::new(path), Path::new("/nonexistent"), root);
        assert!(refused("/user.slice/user-0.slice/session-3.scope", true).is_some());
        assert!(refused("/user.slice/session-3.scope/below", false).is_some());
        assert!(refused("/system.slice/cron.service", true).is_some());
        assert!(refused("/user.slice/user@1000.service/app.slice/x.service", false).is_none());
        assert!(refused("/openrc/arrivald", true).is_none());
    }

    #[test]
    fn roots_have_names_of_their_own() {
        assert_eq!(base_name(Path::new("/")), "arrival");
        assert_ne!(base_name(Path::new("/tmp")), base_name(Path::new("/usr")));
        // What FNV-1a, reckoned apart from this code, gives for the one byte: another name would hide the
        // hosts of an older version.
        assert_eq!(sys::tag(Path::new("/")), "af63a24c860189fe");
    }

    #[test]
    fn process_containment_can_be_asked_for() {
        let containment = Containment::detect(Path::new("/"), Wanted::Process);
        assert_eq!(containment.kind(), "process");
        assert_eq!(containment.plan(HostId(1)).cgroup, None);
    }
}
