//! What a new process finds, and what is said when there is none.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use arrival_linux::host::{Credentials, Exit, Passed, Spec, Step};

use crate::bench::{Bench, each, is_root};

#[test]
fn a_failed_start_says_what_and_why_and_leaves_nothing() {
    each(|bench| {
        let folder = bench.folder.clone();
        let write = |name: &str, text: &str, mode: u32| -> OsString {
            fs::write(folder.join(name), text).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
            folder.join(name).into()
        };
        let fails = |bench: &mut Bench, program: &OsString, step: Step, errno: i32, text: &str| {
            let start = |bench: &mut Bench| bench.start(Spec::new([program.clone()])).unwrap_err();
            let mut error = start(bench);
            // A process that another test is just forking may still have our file open for writing.
            while error.errno == libc::ETXTBSY {
                error = start(bench);
            }
            assert_eq!((error.step, error.errno), (step, errno), "{error}");
            assert!(error.to_string().ends_with(text), "{error}");
        };
        let missing: OsString = "/usr/bin/arrival-no-such-program".into();
        fails(
            bench,
            &missing,
            Step::Exec,
            libc::ENOENT,
            ": no such file or directory",
        );
        let error = bench.start(Spec::new([missing])).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot execute /usr/bin/arrival-no-such-program: no such file or directory"
        );

        let plain = write("plain", "", 0o644);
        fails(
            bench,
            &plain,
            Step::Exec,
            libc::EACCES,
            ": permission denied",
        );
        let script = write("script", "#!/no/such/shell -x\n", 0o755);
        fails(
            bench,
            &script,
            Step::Exec,
            libc::ENOENT,
            ": its interpreter /no/such/shell does not exist",
        );
        let text = write("text", "hello\n", 0o755);
        fails(
            bench,
            &text,
            Step::Exec,
            libc::ENOEXEC,
            ": it is no ELF file and has no #! line",
        );
        let exe = write("x.exe", "MZ....", 0o755);
        fails(
            bench,
            &exe,
            Step::Exec,
            libc::ENOEXEC,
            ": it is a Windows program",
        );
        fails(
            bench,
            &"sh".into(),
            Step::Prepare,
            libc::EINVAL,
            ": the path is not absolute",
        );

        let mut spec = Spec::new(["/bin/true"]);
        spec.cwd = "/no/such/folder".into();
        let error = bench.start(spec).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot enter /no/such/folder: no such file or directory"
        );
        assert_eq!(error.step, Step::Chdir);

        let error = bench
            .start(Spec::new(["/bin/true", "a\0b"]))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "cannot prepare /bin/true: an argument contains a NUL byte"
        );
        assert_eq!(bench.folders(), 0);
        assert!(bench.hosts.next_events().is_empty());
    });
}

#[test]
fn the_environment_is_exactly_what_was_given() {
    each(|bench| {
        let mut spec = Spec::new(["/usr/bin/env", "-0"]);
        spec.env = vec![
            ("A".into(), "1".into()),
            ("WITH".into(), "a=b c\nd".into()),
            ("ARRIVAL_HOST".into(), "forged".into()),
            ("LISTEN_PID".into(), "1".into()),
        ];
        spec.stdout = Some(bench.file("env"));
        let record = bench.start(spec).unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Code(0));
        let text = fs::read_to_string(bench.folder.join("env")).unwrap();
        let mut got: Vec<&str> = text.split_terminator('\0').collect();
        got.sort_unstable();
        let token = format!("ARRIVAL_HOST={}", record.token);
        assert_eq!(got, ["A=1", token.as_str(), "WITH=a=b c\nd"]);
    });
}

#[test]
fn no_descriptor_is_inherited_and_passed_ones_are_placed() {
    each(|bench| {
        // A descriptor that a careless part of this process left inheritable.
        let careless = File::open("/dev/zero").unwrap();
        rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).unwrap();
        let script = "readlink /proc/$$/fd/0 > $OUT.tmp
            echo \"$$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES\" >> $OUT.tmp
            cat <&4 >> $OUT.tmp; mv $OUT.tmp $OUT";
        let mut spec = Spec::new(["/bin/sh", "-c", script]);
        spec.env = vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            ("OUT".into(), bench.folder.join("out").into()),
        ];
        fs::write(bench.folder.join("four"), "the fourth\n").unwrap();
        let four = File::open(bench.folder.join("four")).unwrap();
        spec.listen = vec![
            Passed {
                name: "null".into(),
                fd: File::open("/dev/null").unwrap().into(),
            },
            Passed {
                name: "four".into(),
                fd: four.into(),
            },
        ];
        let record = bench.start(spec).unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Code(0));
        let text = fs::read_to_string(bench.folder.join("out")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "/dev/null");
        assert_eq!(lines[1], format!("{0} {0} 2 null:four", record.pid));
        assert_eq!(lines[2], "the fourth");

        let mut spec = Spec::new(["/bin/ls", "/proc/self/fd"]);
        spec.stdout = Some(bench.file("fds"));
        let null = File::open("/dev/null").unwrap().into();
        spec.listen = vec![Passed {
            name: "null".into(),
            fd: null,
        }];
        let record = bench.start(spec).unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Code(0));
        // The last one is the folder that ls itself reads.
        let text = fs::read_to_string(bench.folder.join("fds")).unwrap();
        assert_eq!(text, "0\n1\n2\n3\n4\n");
        drop(careless);
    });
}

#[test]
fn signals_mask_umask_session_and_folder_are_a_new_programs() {
    each(|bench| {
        // Not a shell, which blocks signals itself while it forks. The names lie in the folder entered.
        let mut spec = Spec::new(["/bin/cat", "status", "stat"]);
        spec.cwd = "/proc/self".into();
        spec.umask = 0o027;
        spec.stdout = Some(bench.file("out"));
        let record = bench.start(spec).unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Code(0));
        let text = fs::read_to_string(bench.folder.join("out")).unwrap();
        let line = |start: &str| {
            text.lines()
                .find(|line| line.starts_with(start))
                .unwrap()
                .to_owned()
        };
        assert_eq!(line("SigBlk:"), "SigBlk:\t0000000000000000");
        // Rust ignores SIGPIPE in this process; the program must not.
        assert_eq!(line("SigIgn:"), "SigIgn:\t0000000000000000");
        assert_eq!(line("Umask:"), "Umask:\t0027");
        let stat = line(&format!("{} (cat)", record.pid));
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let pid = record.pid.to_string();
        // It leads its process group and its session.
        assert_eq!((fields[2], fields[3]), (pid.as_str(), pid.as_str()));
        assert_eq!(fields[19], record.start_time.to_string());
    });
}

#[test]
fn a_program_runs_as_the_user_it_was_given_and_with_no_other_group() {
    if !is_root() {
        return;
    }
    each(|bench| {
        let mut spec = Spec::new(["/bin/cat", "/proc/self/status"]);
        spec.stdout = Some(bench.file("out"));
        spec.credentials = Some(Credentials {
            uid: 65534,
            gid: 65533,
            groups: vec![12, 65533],
        });
        let record = bench.start(spec).unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Code(0));
        let text = fs::read_to_string(bench.folder.join("out")).unwrap();
        assert!(
            text.contains("\nUid:\t65534\t65534\t65534\t65534\n"),
            "{text}"
        );
        assert!(
            text.contains("\nGid:\t65533\t65533\t65533\t65533\n"),
            "{text}"
        );
        assert!(text.contains("\nGroups:\t12 65533 \n"), "{text}");
        assert!(text.contains("\nCapEff:\t0000000000000000\n"), "{text}");

        // The folder is entered as that user, so that no service stands where its user may not go.
        let closed = bench.folder.join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let mut spec = Spec::new(["/bin/true"]);
        spec.cwd = closed;
        spec.credentials = Some(Credentials {
            uid: 65534,
            gid: 65534,
            groups: vec![],
        });
        let error = bench.start(spec).unwrap_err();
        assert_eq!(
            (error.step, error.errno),
            (Step::Chdir, libc::EACCES),
            "{error}"
        );
    });
}

#[test]
fn services_get_the_limit_of_open_files_we_had_before_we_raised_it() {
    // Run apart, since the limit is the whole process's.
    if std::env::var_os("ARRIVAL_TEST_LIMIT").is_none() {
        let exe = std::env::current_exe().unwrap();
        let status = Command::new("/bin/sh")
            .args([
                "-c",
                "ulimit -Sn 300; ulimit -Hn 900; exec \"$0\" --exact \"$1\" > /dev/null",
            ])
            .arg(exe)
            .arg("start::services_get_the_limit_of_open_files_we_had_before_we_raised_it")
            .env("ARRIVAL_TEST_LIMIT", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    arrival_linux::host::raise_open_files().unwrap();
    each(|bench| {
        let record = bench.script("echo $(ulimit -Sn) $(ulimit -Hn) > $OUT");
        assert_eq!(bench.until_empty(record.id), Exit::Code(0));
        assert_eq!(
            fs::read_to_string(bench.folder.join("out")).unwrap(),
            "300 900\n"
        );
    });
}
