#![allow(clippy::unwrap_used)]

use super::*;

/// What a machine says that allows everything to an ordinary user.
fn open() -> Readings {
    let limits = ["user", "net", "mnt", "pid"];
    Readings {
        limits: limits
            .map(|kind| (format!("user.max_{kind}_namespaces"), 4096))
            .into(),
        ..Readings::default()
    }
}

fn refusal(readings: &Readings, step: Step, errno: i32) -> Refusal {
    match readings.judge(step, io::Error::from_raw_os_error(errno)) {
        SandboxError::Refused(refusal) => refusal,
        other @ (SandboxError::Failed { .. } | SandboxError::Nul(_)) => panic!("{other:?}"),
    }
}

#[test]
fn debians_setting_is_named_with_its_sysctl() {
    let readings = Readings {
        userns_clone: Some(0),
        ..open()
    };
    let refusal = refusal(&readings, Step::Namespaces, libc::EPERM);
    assert_eq!(
        refusal.to_string(),
        "kernel.unprivileged_userns_clone is 0: only root may make private namespaces \
         (Operation not permitted (os error 1))"
    );
    assert_eq!(
        refusal.remedy(),
        "run it as root, or allow it with: sysctl -w kernel.unprivileged_userns_clone=1"
    );
}

#[test]
fn apparmors_setting_is_named_whichever_step_it_hits() {
    let readings = Readings {
        userns_clone: Some(1),
        apparmor: Some(1),
        ..open()
    };
    for (step, errno) in [
        (Step::Namespaces, libc::EPERM),
        (Step::Ids, libc::EPERM),
        (Step::Proc, libc::EACCES),
    ] {
        let refusal = refusal(&readings, step, errno);
        assert_eq!(refusal.setting, Setting::AppArmor);
        assert!(
            refusal
                .remedy()
                .starts_with("run it as root, or allow it with: sysctl -w kernel.apparmor_")
        );
    }
}

#[test]
fn a_limit_of_zero_is_named_and_root_is_the_remedy_only_where_it_helps() {
    for (place, name, root) in [
        (0, "user.max_user_namespaces", true),
        (1, "user.max_net_namespaces", false),
        (3, "user.max_pid_namespaces", false),
    ] {
        let mut readings = open();
        readings.limits.get_mut(place).unwrap().1 = 0;
        let refusal = refusal(&readings, Step::Namespaces, libc::ENOSPC);
        assert_eq!(refusal.setting, Setting::Limit(name.to_owned(), 0));
        assert!(refusal.to_string().starts_with(&format!("{name} is 0: ")));
        let command = format!("raise it with: sysctl -w {name}=1024");
        assert!(refusal.remedy().ends_with(&command));
        assert_eq!(refusal.remedy().starts_with("run it as root"), root);
    }
}

#[test]
fn a_limit_that_is_reached_is_told_from_one_of_zero() {
    let refusal = refusal(&open(), Step::Namespaces, libc::ENOSPC);
    assert!(
        refusal
            .to_string()
            .starts_with("the limit user.max_user_namespaces (4096) is reached: ")
    );
    assert!(refusal.remedy().ends_with("user.max_user_namespaces=8192"));
}

#[test]
fn a_containers_seccomp_filter_is_named_for_its_root_too() {
    for privileged in [false, true] {
        let readings = Readings {
            privileged,
            filtered: true,
            ..open()
        };
        for errno in [libc::EPERM, libc::ENOSYS] {
            let refusal = refusal(&readings, Step::Namespaces, errno);
            assert_eq!(refusal.setting, Setting::Seccomp);
            assert!(refusal.remedy().contains("seccomp=unconfined"));
            assert_eq!(refusal.root_may, !privileged);
        }
    }
}

#[test]
fn masked_parts_of_proc_and_sys_are_named() {
    let mut readings = open();
    readings.read_mounts(
        "700 600 0:50 / / rw,relatime - overlay overlay rw\n\
         701 700 0:51 / /proc rw,nosuid - proc proc rw\n\
         702 701 0:52 / /proc/sys/fs/binfmt_misc rw - binfmt_misc binfmt_misc rw\n\
         703 701 0:53 / /proc/kcore rw,nosuid - tmpfs tmpfs rw\n\
         704 700 0:54 / /sys ro,nosuid - sysfs sysfs ro\n\
         705 704 0:55 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n\
         706 704 0:56 / /sys/kernel/debug rw - debugfs debugfs rw\n\
         707 704 0:57 / /sys/firmware ro - tmpfs tmpfs ro\n",
    );
    let proc = refusal(&readings, Step::Proc, libc::EPERM);
    assert_eq!(proc.setting, Setting::Masked("/proc/kcore".to_owned()));
    assert_eq!(
        proc.to_string(),
        "/proc/kcore is hidden or read-only here, which forbids to mount proc \
         (Operation not permitted (os error 1))"
    );
    assert!(proc.remedy().contains("systempaths=unconfined"));
    let sysfs = refusal(&readings, Step::Sysfs, libc::EPERM);
    assert_eq!(sysfs.setting, Setting::Masked("/sys/firmware".to_owned()));
}

#[test]
fn a_chroot_is_known_by_having_no_mount_at_its_root() {
    let mut readings = open();
    readings.read_mounts("36 35 8:1 / /proc rw - proc proc rw\n");
    let refusal = refusal(&readings, Step::Namespaces, libc::EPERM);
    assert_eq!(refusal.setting, Setting::Chroot);
}

#[test]
fn a_kernel_without_namespaces_is_no_matter_of_rights() {
    let refusal = refusal(&open(), Step::Namespaces, libc::EINVAL);
    assert_eq!(refusal.setting, Setting::Kernel);
    assert!(!refusal.root_may);
}

#[test]
fn what_nothing_explains_names_the_security_modules() {
    let readings = Readings {
        modules: "capability,selinux".to_owned(),
        ..open()
    };
    let refusal = refusal(&readings, Step::Namespaces, libc::EACCES);
    assert!(
        refusal
            .to_string()
            .starts_with("a security module (of capability,selinux) does not let us make private")
    );
}

#[test]
fn errors_that_no_setting_makes_are_failures() {
    for (step, errno) in [
        (Step::Namespaces, libc::ENOMEM),
        (Step::Namespaces, libc::EAGAIN),
        (Step::Tmpfs, libc::ENOENT),
        (Step::Program, libc::EACCES),
    ] {
        let error = open().judge(step, io::Error::from_raw_os_error(errno));
        assert!(matches!(error, SandboxError::Failed { .. }), "{error:?}");
    }
}

#[test]
fn a_root_without_capabilities_needs_a_user_namespace() {
    let mut readings = Readings::default();
    readings.read_status("Name:\tx\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n");
    assert!(!readings.privileged);
    assert!(readings.filtered);
    readings.read_status("CapEff:\t000001ffffffffff\nSeccomp:\t0\n");
    assert!(readings.privileged);
    assert!(!readings.filtered);
}
