//! A network namespace with a sysfs of its own, for one test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use arrival_linux::device::DeviceConfig;
use arrival_model::class::{ClassFile, Classes};

/// Says why a test does not run, or fails if it must.
pub(crate) fn skip(need: &str, why: &str) {
    let required = std::env::var("ARRIVAL_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name == need),
        "{need} is required, but {why}"
    );
    println!("skipped: {why}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A directory that is removed with this.
pub(crate) struct TempDir(pub(crate) PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("arrival-devices-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The namespace of the calling thread and of those it starts.
pub(crate) struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    /// The mount of sysfs that shows this namespace's devices.
    pub(crate) fn sysfs(&self) -> PathBuf {
        self.dir.0.join("sys")
    }

    /// A directory for whatever a test needs.
    pub(crate) fn path(&self) -> &Path {
        &self.dir.0
    }

    /// A source that looks at this namespace, without udevd and with the class NET alone.
    pub(crate) fn config(&self) -> DeviceConfig {
        DeviceConfig {
            sysfs: self.sysfs(),
            udev: false,
            classes: net_only(),
            ..DeviceConfig::default()
        }
    }

    /// The names of this namespace's interfaces, as sysfs says.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.sysfs().join("class/net"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lo")
            .collect();
        names.sort();
        names
    }

    /// Makes the calling thread's namespaces new; it must be one that nobody needs afterwards.
    pub(crate) fn enter() -> io::Result<Self> {
        let flags = libc::CLONE_NEWNET | libc::CLONE_NEWNS;
        // SAFETY: unshare has no memory arguments; namespaces of a thread are its own.
        if unsafe { libc::unshare(flags) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Self::mounted()
    }

    /// Mounts sysfs in namespaces that are new already.
    pub(crate) fn mounted() -> io::Result<Self> {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        let dir = TempDir::new();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private)?;
        let target = dir.0.join("sys");
        fs::create_dir(&target)?;
        mount("sysfs", &target, "sysfs", MountFlags::empty(), None)?;
        Ok(Sandbox { dir })
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.sysfs(), rustix::mount::UnmountFlags::DETACH);
    }
}

/// Runs a test in a sandbox on a thread of its own.
pub(crate) fn in_sandbox(test: impl FnOnce(&Sandbox) + Send + 'static) {
    if !is_root() {
        return skip("root", "only root may make a network namespace here");
    }
    let run = std::thread::spawn(|| match Sandbox::enter() {
        Ok(sandbox) => test(&sandbox),
        Err(error) => skip(
            "netns",
            &format!("no network namespace can be made: {error}"),
        ),
    });
    if let Err(panic) = run.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The built-in class NET alone.
pub(crate) fn net_only() -> Classes {
    only("net")
}

/// One built-in class alone.
pub(crate) fn only(name: &str) -> Classes {
    let mut classes = Classes::new();
    let class = Classes::built_in().resolve(name).unwrap().clone();
    classes.insert(class).unwrap();
    classes
}

/// A class from the text of a file.
pub(crate) fn class(text: &str) -> Classes {
    let file: ClassFile = toml::from_str(text).unwrap();
    let mut classes = Classes::new();
    classes.insert(file.into_class().unwrap()).unwrap();
    classes
}
