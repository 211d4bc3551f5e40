//! The Debian package, really installed, used and purged: in a copy of this machine's root that nobody else sees.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// What happens in the copy; every line must succeed.
const STORY: &str = r#"
set -eux
cd "$1"
mount -t tmpfs tmpfs .
cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=$1/upper,workdir=$1/work root
for folder in proc sys dev; do
    mount --rbind /$folder root/$folder
done
mount -t tmpfs tmpfs root/run
mount -t tmpfs tmpfs root/tmp
cp "$2" root/tmp/arrival.deb
cat > root/tmp/story <<'EOF'
set -eux
# The shell does not end at a command behind `!`, however that ends.
not() {
    if "$@"; then
        exit 1
    fi
}
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
dpkg -i /tmp/arrival.deb
getent passwd arrival-local arrival-network
test -L /etc/systemd/system/multi-user.target.wants/arrivald.service
test -d /etc/arrival/services.d
zcat /usr/share/man/man1/arrival.1.gz | grep -q arrival
zcat /usr/share/man/man8/arrivald.8.gz | grep -q containment
arrivald --containment process > /tmp/log 2>&1 &
manager=$!
until arrival list; do sleep 0.1; done
mkdir /tmp/package
cat > /tmp/package/probe.inf <<'INF'
[Version]
Signature = "$Windows NT$"
[DefaultInstall.NT.Services]
AddService = probe, 0x800, Service
[Service]
ServiceType = 0x10
StartType = 3
ErrorControl = 0
ServiceBinary = %13%\probe
StartName = "NT AUTHORITY\LocalService"
AddReg = Parameters
[Parameters]
HKR, Parameters\Arrival, Protocol, , exec
INF
printf '#!/bin/sh\nid -un\nexec sleep 1000\n' > /tmp/package/probe
arrival install /tmp/package/probe.inf
arrival status probe
until grep -q arrival-local /var/log/arrival/probe.log; do sleep 0.1; done
owner=$(id -u arrival-local)
pgrep -u $owner
dpkg -P arrival
not kill -0 $manager
for path in /usr/bin/arrival /usr/bin/arrivald /etc/arrival /var/lib/arrival /var/log/arrival /run/arrival /usr/lib/arrival \
    /etc/systemd/system/multi-user.target.wants/arrivald.service /usr/share/doc/arrival; do
    not test -e $path
done
not getent passwd arrival-local
not pgrep -u $owner
echo "the story ended"
EOF
chroot root sh /tmp/story
"#;

fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[test]
fn a_package_is_installed_used_and_purged() {
    let root = rustix::process::geteuid().is_root();
    let required = std::env::var("ARRIVAL_REQUIRE").unwrap_or_default();
    if !root
        || run(Command::new("sh").args(["-c", "command -v dpkg-deb"]))
            .stdout
            .is_empty()
    {
        assert!(!required.contains("root"), "root and dpkg are required");
        println!("skipped: a Debian package needs root and dpkg");
        return;
    }
    let dir =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("deb-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let made = run(Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["deb", "--profile", "dev", "--out"])
        .arg(&dir));
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
    let deb = String::from_utf8(made.stdout).unwrap().trim().to_owned();

    let contents = run(Command::new("dpkg-deb").args(["-c", &deb]));
    let contents = String::from_utf8(contents.stdout).unwrap();
    assert!(
        contents.lines().all(|line| line.contains(" root/root ")),
        "{contents}"
    );
    let line = |end: &str| {
        contents
            .lines()
            .find(|line| line.ends_with(end))
            .unwrap_or_else(|| panic!("{end}: {contents}"))
    };
    assert!(line("./usr/bin/arrivald").starts_with("-rwxr-xr-x"));
    assert!(line("./usr/lib/systemd/system/arrivald.service").starts_with("-rw-r--r--"));
    let depends = run(Command::new("dpkg-deb").args(["-f", &deb, "Depends"]));
    assert!(
        String::from_utf8(depends.stdout)
            .unwrap()
            .starts_with("libc6 (>= 2.")
    );

    let scratch = dir.join("scratch");
    fs::create_dir(&scratch).unwrap();
    let told = run(Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            "-c",
            STORY,
            "sh",
        ])
        .arg(&scratch)
        .arg(&deb));
    let out =
        String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    fs::remove_dir_all(&dir).unwrap();
    assert!(
        told.status.success() && out.contains("the story ended"),
        "{out}"
    );
}
