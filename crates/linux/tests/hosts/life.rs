//! Exits, kills, emptiness; also for a user without privilege and where clone3 is refused.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use arrival_linux::host::{
    Credentials, Exit, HostEvent, HostId, Spec, Step, Wanted, identity, spawn,
};

use crate::bench::{Bench, each, gone, is_root};

#[test]
fn exit_codes_and_signals_are_told_once_and_then_the_host_is_empty() {
    each(|bench| {
        for (script, exit) in [
            ("exit 0", Exit::Code(0)),
            ("exit 7", Exit::Code(7)),
            ("kill -TERM $$", Exit::Signal(15)),
            ("kill -KILL $$", Exit::Signal(9)),
        ] {
            let record = bench.script(script);
            assert_eq!(bench.until_empty(record.id), exit, "{script}");
            gone(bench, &[record.pid]);
        }
        assert_eq!(bench.folders(), 0);
        assert_eq!(bench.hosts.ids().count(), 0);
    });
}

/// Forks twice, leads sessions of its own, ignores SIGTERM.
const STUBBORN: &str = "trap '' TERM
    setsid sh -c 'setsid sleep 1000 & setsid sh -c \"sleep 1000 & echo ready > $OUT; sleep 1000\" & sleep 1000' &
    while ! test -s $OUT; do sleep 0.01; done; exit 3";

#[test]
fn a_daemon_that_ignores_sigterm_is_killed_whole_and_leaves_nothing() {
    each(|bench| {
        let record = bench.script(STUBBORN);
        bench.until("the main process exits", |bench| !bench.seen.is_empty());
        let exited = HostEvent::MainExited {
            host: record.id,
            exit: Exit::Code(3),
        };
        assert_eq!(bench.seen, [exited]);
        let pids = bench.hosts.pids(record.id).unwrap();
        assert!(pids.len() >= 5, "{pids:?}");
        assert!(pids.iter().all(|pid| bench.hosts.contains(record.id, *pid)));
        assert_eq!(bench.hosts.host_of(pids[0]), Some(record.id));
        assert!(!bench.hosts.contains(record.id, std::process::id()));
        assert_eq!(bench.hosts.host_of(1), None);

        assert_eq!(
            bench.hosts.signal_all(record.id, libc::SIGTERM).unwrap(),
            pids.len()
        );
        assert_eq!(bench.hosts.pids(record.id).unwrap().len(), pids.len());
        assert!(bench.hosts.signal(record.id, libc::SIGTERM).is_err());
        bench.hosts.kill(record.id).unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Code(3));
        gone(bench, &pids);
        assert_eq!(bench.folders(), 0);
        assert!(bench.hosts.kill(record.id).is_err());
    });
}

#[test]
fn a_tree_that_keeps_forking_is_killed_whole() {
    each(|bench| {
        let script = "grow() { if test $1 -gt 0; then grow $(($1-1)) & grow $(($1-1)) & fi
            while :; do sleep 0.02; done; }
            grow 5 & grow 4 & sleep 1000";
        let record = bench.script(script);
        let mut pids = BTreeSet::new();
        bench.until("fifty processes", |bench| {
            pids.extend(bench.hosts.pids(record.id).unwrap());
            pids.len() >= 50
        });
        bench.hosts.kill(record.id).unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Signal(9));
        gone(bench, &pids.into_iter().collect::<Vec<_>>());
        assert_eq!(bench.folders(), 0);
    });
}

#[test]
fn many_threads_start_hosts_at_once_and_no_status_is_lost() {
    each(|bench| {
        let containment = bench.hosts.containment().clone();
        let started: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let containment = &containment;
                    scope.spawn(move || {
                        (0..10)
                            .map(|turn| {
                                let code = thread * 10 + turn;
                                let record = containment.plan(HostId(1_000_000 + code));
                                let script = format!("sh -c : & exit {code}");
                                let mut spec = Spec::new(["/bin/sh", "-c", &script]);
                                spec.env = vec![("PATH".into(), "/usr/bin:/bin".into())];
                                (spawn(containment, record, spec).unwrap(), code)
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            // Taking orphans away meanwhile must not take a main that ended at once.
            while threads.iter().any(|thread| !thread.is_finished()) {
                bench.hosts.next_events();
            }
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut expected = Vec::new();
        for (child, code) in started {
            let record = bench.hosts.insert(child).unwrap();
            expected.push((record.id, code));
        }
        for (id, code) in expected {
            assert_eq!(
                bench.until_empty(id),
                Exit::Code(i32::try_from(code).unwrap())
            );
        }
        assert_eq!(bench.folders(), 0);
    });
}

#[test]
fn another_process_of_the_host_becomes_its_main_process() {
    each(|bench| {
        let record = bench.script("setsid sh -c 'echo $$ > $OUT; while ! test -e $OUT.go; do sleep 0.01; done; exit 5' & exec sleep 1000");
        let pid: u32 = bench.until_file("out").trim().parse().unwrap();
        assert!(bench.hosts.set_main(record.id, std::process::id()).is_err());
        assert!(bench.hosts.set_main(record.id, 1).is_err());
        let new = bench.hosts.set_main(record.id, pid).unwrap();
        assert_eq!(new.pid, pid);
        assert_ne!(new.start_time, 0);
        // The old main process ends unnoticed.
        let old = i32::try_from(record.pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .unwrap();
        rustix::process::kill_process(old, rustix::process::Signal::KILL).unwrap();
        gone(bench, &[record.pid]);
        assert_eq!(bench.seen, []);
        fs::write(bench.folder.join("out.go"), "").unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Code(5));
    });
}

#[test]
fn a_child_that_is_no_host_keeps_its_status() {
    each(|bench| {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exit 9"])
            .spawn()
            .unwrap();
        let record = bench.script("setsid sh -c 'sleep 0.05' & exit 1");
        bench.until("the child ends", |_| {
            fs::read_to_string(format!("/proc/{}/stat", child.id()))
                .unwrap()
                .contains(") Z ")
        });
        assert_eq!(bench.until_empty(record.id), Exit::Code(1));
        assert_eq!(child.wait().unwrap().code(), Some(9));
    });
}

/// Not a test by itself: started by the next one as a user without privilege.
#[test]
fn without_privilege() {
    if std::env::var_os("ARRIVAL_TEST_UNPRIVILEGED").is_none() {
        return;
    }
    assert!(!rustix::process::geteuid().is_root());
    let mut bench = Bench::new(Wanted::Best);
    assert_eq!(
        bench.hosts.containment().kind(),
        "process",
        "{}",
        bench.hosts.containment()
    );
    assert!(
        bench
            .hosts
            .containment()
            .reason()
            .is_some_and(|why| !why.is_empty())
    );
    let record = bench.script("exit 7");
    assert_eq!(bench.until_empty(record.id), Exit::Code(7));
    let record = bench.script(STUBBORN);
    bench.until("the main process exits", |bench| bench.seen.len() == 3);
    let pids = bench.hosts.pids(record.id).unwrap();
    assert!(pids.len() >= 5, "{pids:?}");
    bench.hosts.kill(record.id).unwrap();
    assert_eq!(bench.until_empty(record.id), Exit::Code(3));
    gone(&mut bench, &pids);

    let mut spec = Spec::new(["/bin/true"]);
    spec.credentials = Some(Credentials {
        uid: 0,
        gid: 0,
        groups: vec![0],
    });
    let error = bench.start(spec).unwrap_err();
    assert_eq!(
        (error.step, error.errno),
        (Step::Groups, libc::EPERM),
        "{error}"
    );
    let error = identity::resolve("root").unwrap_err().to_string();
    assert!(error.ends_with("and is not root"), "{error}");
    let own = rustix::process::geteuid().as_raw();
    let me = identity::resolve(&own.to_string()).unwrap();
    assert_eq!((me.uid, me.credentials()), (own, None));
    println!("done without privilege");
}

#[test]
fn a_user_without_privilege_gets_process_containment_and_the_same_behaviour() {
    if !is_root() {
        return;
    }
    let output = Command::new("/proc/self/exe")
        .args(["--exact", "life::without_privilege", "--nocapture"])
        .env("ARRIVAL_TEST_UNPRIVILEGED", "1")
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && text.contains("done without privilege"),
        "{text}"
    );
}

/// Not a test by itself: started by the next one, since what is refused stays refused.
#[test]
fn without_clone3() {
    if std::env::var_os("ARRIVAL_TEST_WITHOUT_CLONE3").is_none() {
        return;
    }
    refuse_clone3();
    each(|bench| {
        let record = bench.script("exit 7");
        assert_eq!(bench.until_empty(record.id), Exit::Code(7));
        let record = bench.script(STUBBORN);
        bench.until("the main process exits", |bench| bench.seen.len() == 3);
        let pids = bench.hosts.pids(record.id).unwrap();
        assert!(pids.len() >= 5, "{pids:?}");
        bench.hosts.kill(record.id).unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Code(3));
        gone(bench, &pids);
        let error = bench.start(Spec::new(["/no/such/program"])).unwrap_err();
        assert_eq!((error.step, error.errno), (Step::Exec, libc::ENOENT));
        assert_eq!(bench.folders(), 0);
    });
    println!("done without clone3");
}

/// Makes clone3 answer ENOSYS, as the default filter of container engines does. Source: seccomp(2).
fn refuse_clone3() {
    let code = |class: u32| u16::try_from(class).unwrap();
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let number = u32::try_from(libc::SYS_clone3).unwrap();
    let refusal = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOSYS).unwrap();
    let mut filter = [
        step(code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0, 0),
        step(
            code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            0,
            1,
            number,
        ),
        step(code(libc::BPF_RET | libc::BPF_K), 0, 0, refusal),
        step(
            code(libc::BPF_RET | libc::BPF_K),
            0,
            0,
            libc::SECCOMP_RET_ALLOW,
        ),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true).unwrap();
    // SAFETY: the program points to four instructions that outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn where_clone3_is_refused_hosts_are_made_by_fork() {
    let output = Command::new("/proc/self/exe")
        .args(["--exact", "life::without_clone3", "--nocapture"])
        .env("ARRIVAL_TEST_WITHOUT_CLONE3", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && text.contains("done without clone3"),
        "{text}"
    );
}

#[test]
fn the_descriptor_alone_tells_of_every_event_to_an_edge_triggered_loop() {
    use rustix::event::epoll;
    each(|bench| {
        let outer = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&outer, &bench.hosts, epoll::EventData::new_u64(0), flags).unwrap();
        let patience = rustix::time::Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        // The main process ends first, then a child of its own session, at different moments.
        let records: Vec<_> = (0..20)
            .map(|turn| bench.script(&format!("setsid sleep 0.{:02} & exit 2", turn * 4)))
            .collect();
        let mut seen = Vec::new();
        while seen.len() < 2 * records.len() {
            let mut ready = Vec::with_capacity(4);
            let space = rustix::buffer::spare_capacity(&mut ready);
            match epoll::wait(&outer, space, Some(&patience)) {
                // SIGCHLD, while another test's thread has it blocked for a clone.
                Err(rustix::io::Errno::INTR) => continue,
                told => assert_ne!(told.unwrap(), 0, "not told: {seen:?}"),
            }
            seen.extend(bench.hosts.next_events());
        }
        for record in records {
            let place = |wanted| {
                let found = seen.iter().position(|event| *event == wanted);
                found.unwrap_or_else(|| panic!("no {wanted:?} in {seen:?}"))
            };
            let exited = place(HostEvent::MainExited {
                host: record.id,
                exit: Exit::Code(2),
            });
            assert!(exited < place(HostEvent::Empty { host: record.id }));
        }
    });
}
