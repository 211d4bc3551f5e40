//! Why a machine refuses a private world, and what to change.
//!
//! | step | errno | and | is |
//! |---|---|---|---|
//! | namespaces | ENOSPC, EUSERS | a `user.max_*_namespaces` is 0 | that limit |
//! | namespaces | ENOSPC, EUSERS | none is | the limit of user namespaces, reached here or above |
//! | namespaces, ids | EPERM, EACCES | `kernel.unprivileged_userns_clone` is 0 | that setting (Debian) |
//! | namespaces, ids, mounts | EPERM, EACCES | `kernel.apparmor_restrict_unprivileged_userns` is 1 | that setting (Ubuntu) |
//! | namespaces | EPERM, EACCES, ENOSYS | a seccomp filter is there | the filter (containers) |
//! | namespaces | EPERM | no mount at / | the chroot |
//! | namespaces | EINVAL, ENOSYS | | the kernel, built without |
//! | proc, sysfs | EPERM, EACCES | something is mounted over a part of it, or it is read-only | the mask (containers) |
//! | any | EPERM, EACCES | none of these | a security module, by name if it can be read |
//!
//! The first row that fits counts. The two settings concern only those who need a user namespace.
//!
//! Sources: user_namespaces(7), namespaces(7) (`/proc/sys/user`), clone(2) (EPERM in a chroot), seccomp(2),
//! mount_namespaces(7), and for masked procfs the kernel's `mount_too_revealing`.

use std::fmt;
use std::fs;
use std::io;

use super::{SandboxError, Step};

/// What the machine says about namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// We have CAP_SYS_ADMIN and CAP_NET_ADMIN and need no user namespace.
    pub privileged: bool,
    /// `kernel.unprivileged_userns_clone`, where there is such a setting.
    pub userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, where there is such a setting.
    pub apparmor: Option<u64>,
    /// `user.max_KIND_namespaces` of user, net, mnt and pid namespaces.
    pub limits: Vec<(String, u64)>,
    /// A seccomp filter is on us.
    pub filtered: bool,
    /// Our root folder is not a mount point.
    pub chroot: bool,
    /// What is mounted over parts of /proc.
    pub masked_proc: Vec<String>,
    /// What is mounted over parts of /sys, other than file systems that belong there.
    pub masked_sys: Vec<String>,
    /// The security modules, such as `capability,apparmor`.
    pub modules: String,
}

/// What forbids it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `kernel.unprivileged_userns_clone` is 0.
    UnprivilegedClone,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    AppArmor,
    /// A limit in `/proc/sys/user`, and its value.
    Limit(String, u64),
    /// A seccomp filter.
    Seccomp,
    /// A chroot.
    Chroot,
    /// The kernel has no such namespaces.
    Kernel,
    /// Something is mounted over parts of this file system, which would become visible.
    Masked(String),
    /// Nothing that we can read; the security modules that there are.
    Unknown(String),
}

/// A refusal: what was refused, by what, and what to do about it.
#[derive(Debug)]
pub struct Refusal {
    /// What was being done.
    pub step: Step,
    /// What the kernel answered.
    pub cause: io::Error,
    /// What forbids it.
    pub setting: Setting,
    /// Whether root would be allowed to do it.
    pub root_may: bool,
}

impl Readings {
    /// Reads all of it; what cannot be read counts as absent.
    pub fn take() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let number = |path: &str| text(path).trim().parse().ok();
        let limits = ["user", "net", "mnt", "pid"]
            .into_iter()
            .filter_map(|kind| {
                let name = format!("max_{kind}_namespaces");
                let value = number(&format!("/proc/sys/user/{name}"))?;
                Some((format!("user.{name}"), value))
            })
            .collect();
        let mut readings = Readings {
            userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            limits,
            modules: text("/sys/kernel/security/lsm").trim().to_owned(),
            ..Readings::default()
        };
        readings.read_status(&text("/proc/self/status"));
        readings.read_mounts(&text("/proc/self/mountinfo"));
        readings
    }

    /// Reads `/proc/self/status`.
    fn read_status(&mut self, text: &str) {
        // CAP_NET_ADMIN is 12, CAP_SYS_ADMIN 21 (linux/capability.h).
        const NEEDED: u64 = 1 << 12 | 1 << 21;
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key {
                "CapEff" => {
                    self.privileged = u64::from_str_radix(value, 16)
                        .is_ok_and(|capabilities| capabilities & NEEDED == NEEDED);
                }
                "Seccomp" => self.filtered = value == "2",
                _ => {}
            }
        }
    }

    /// Reads `/proc/self/mountinfo`.
    fn read_mounts(&mut self, text: &str) {
        // What the kernel and systemd mount there, on folders made for it, hides nothing.
        const BELONGS: [&str; 14] = [
            "binfmt_misc",
            "autofs",
            "nfsd",
            "cgroup",
            "cgroup2",
            "bpf",
            "configfs",
            "debugfs",
            "efivarfs",
            "fusectl",
            "pstore",
            "securityfs",
            "selinuxfs",
            "tracefs",
        ];
        self.chroot = !text.is_empty();
        for line in text.lines() {
            let Some((before, after)) = line.split_once(" - ") else {
                continue;
            };
            let mut fields = before.split(' ').skip(4);
            let point = fields.next().unwrap_or_default();
            let read_only = fields
                .next()
                .is_some_and(|options| options.split(',').any(|option| option == "ro"));
            let kind = after.split(' ').next().unwrap_or_default();
            if point == "/" {
                self.chroot = false;
            }
            if BELONGS.contains(&kind) {
                continue;
            }
            let below = |folder: &str| point.starts_with(folder);
            if below("/proc/") || (point == "/proc" && read_only) {
                self.masked_proc.push(point.to_owned());
            }
            // systemd's own tmpfs holds the cgroup mounts.
            if below("/sys/") && point != "/sys/fs/cgroup" {
                self.masked_sys.push(point.to_owned());
            }
        }
    }

    /// What an error of a step means on this machine.
    pub fn judge(&self, step: Step, cause: io::Error) -> SandboxError {
        match self.setting(step, cause.raw_os_error().unwrap_or(0)) {
            Some(setting) => SandboxError::Refused(Refusal {
                root_may: !self.privileged && setting.spares_root(),
                step,
                cause,
                setting,
            }),
            None => SandboxError::Failed { step, cause },
        }
    }

    fn setting(&self, step: Step, errno: i32) -> Option<Setting> {
        let making = step == Step::Namespaces;
        let mounting = match step {
            Step::Propagation | Step::Proc | Step::Tmpfs | Step::Sysfs => true,
            Step::Namespaces | Step::Ids | Step::Loopback => false,
            // The program's own errors are nobody's refusal.
            Step::Program => return None,
        };
        let forbidden = matches!(errno, libc::EPERM | libc::EACCES);
        if making && matches!(errno, libc::ENOSPC | libc::EUSERS) {
            let zero = self.limits.iter().find(|(_, value)| *value == 0);
            let (name, value) = zero.or_else(|| self.limits.first())?;
            return Some(Setting::Limit(name.clone(), *value));
        }
        if forbidden && !self.privileged {
            if !mounting && self.userns_clone == Some(0) {
                return Some(Setting::UnprivilegedClone);
            }
            if self.apparmor.is_some_and(|value| value != 0) {
                return Some(Setting::AppArmor);
            }
        }
        if making && self.filtered && (forbidden || errno == libc::ENOSYS) {
            return Some(Setting::Seccomp);
        }
        if making && self.chroot && errno == libc::EPERM {
            return Some(Setting::Chroot);
        }
        if making && matches!(errno, libc::EINVAL | libc::ENOSYS) {
            return Some(Setting::Kernel);
        }
        if !forbidden {
            return None;
        }
        let masked = match step {
            Step::Proc => &self.masked_proc,
            Step::Sysfs => &self.masked_sys,
            Step::Namespaces
            | Step::Ids
            | Step::Propagation
            | Step::Tmpfs
            | Step::Loopback
            | Step::Program => &Vec::new(),
        };
        Some(match masked.first() {
            Some(point) => Setting::Masked(point.clone()),
            None => Setting::Unknown(self.modules.clone()),
        })
    }
}

impl Setting {
    /// Whether root, outside of any container, does not care for it.
    fn spares_root(&self) -> bool {
        match self {
            // A limit of other than user namespaces binds root as well.
            Setting::Limit(name, _) => name == "user.max_user_namespaces",
            Setting::Kernel => false,
            Setting::UnprivilegedClone
            | Setting::AppArmor
            | Setting::Seccomp
            | Setting::Chroot
            | Setting::Masked(_)
            | Setting::Unknown(_) => true,
        }
    }
}

impl Refusal {
    /// What to do about it, for people.
    pub fn remedy(&self) -> String {
        let change = match &self.setting {
            Setting::UnprivilegedClone => {
                "allow it with: sysctl -w kernel.unprivileged_userns_clone=1".to_owned()
            }
            Setting::AppArmor => {
                "allow it with: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".to_owned()
            }
            Setting::Limit(name, value) => {
                let more = value.saturating_mul(2).max(1024);
                format!("raise it with: sysctl -w {name}={more}")
            }
            Setting::Seccomp => "start the container with: --privileged, or with \
                                 --cap-add SYS_ADMIN --cap-add NET_ADMIN \
                                 --security-opt seccomp=unconfined"
                .to_owned(),
            Setting::Chroot => "run it outside of the chroot".to_owned(),
            Setting::Kernel => {
                "use a kernel with CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS".to_owned()
            }
            Setting::Masked(_) => "start the container with: --privileged, or with \
                                   --security-opt systempaths=unconfined"
                .to_owned(),
            Setting::Unknown(_) => "look into the log of the security module".to_owned(),
        };
        if self.root_may {
            format!("run it as root, or {change}")
        } else {
            change
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { step, cause, .. } = self;
        match &self.setting {
            Setting::UnprivilegedClone => {
                write!(f, "kernel.unprivileged_userns_clone is 0: only root may ")?;
            }
            Setting::AppArmor => write!(
                f,
                "kernel.apparmor_restrict_unprivileged_userns is 1: only root may "
            )?,
            Setting::Limit(name, 0) => write!(f, "{name} is 0: nobody may ")?,
            Setting::Limit(name, value) => {
                write!(f, "the limit {name} ({value}) is reached: nobody may ")?;
            }
            Setting::Seccomp => write!(f, "a seccomp filter forbids to ")?,
            Setting::Chroot => write!(f, "who is in a chroot may not ")?,
            Setting::Kernel => write!(f, "this kernel was built without what it takes to ")?,
            Setting::Masked(point) => {
                write!(f, "{point} is hidden or read-only here, which forbids to ")?;
            }
            Setting::Unknown(modules) if modules.is_empty() => {
                write!(f, "this machine does not let us ")?;
            }
            Setting::Unknown(modules) => {
                write!(f, "a security module (of {modules}) does not let us ")?;
            }
        }
        write!(f, "{step} ({cause})")
    }
}

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod tests;
