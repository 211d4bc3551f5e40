//! Hosts that an earlier daemon left.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use arrival_linux::host::{
    Adopted, Containment, Exit, HostEvent, HostId, HostRecord, Hosts, Spec, Wanted,
};

use crate::bench::{Bench, each, gone, in_proc};

/// Not a test by itself: the process of an earlier daemon, started by the tests below.
#[test]
fn earlier_daemon() {
    let Ok(folder) = std::env::var("ARRIVAL_TEST_EARLIER") else {
        return;
    };
    let folder = PathBuf::from(folder);
    let wanted = match std::env::var("ARRIVAL_TEST_WANTED").as_deref() {
        Ok("process") => Wanted::Process,
        _ => Wanted::Best,
    };
    let containment = Containment::detect(&folder, wanted);
    let mut hosts = Hosts::new(containment).unwrap();
    let intent = hosts.containment().plan(HostId(7));
    let script = "sleep 1000 & while ! test -e $OUT.go; do sleep 0.01; done; exit 6";
    let mut spec = Spec::new(["/bin/sh", "-c", script]);
    spec.env = vec![
        ("PATH".into(), "/usr/bin:/bin".into()),
        ("OUT".into(), folder.join("out").into()),
    ];
    let record = hosts.spawn(intent, spec).unwrap();
    fs::write(
        folder.join("record"),
        serde_json::to_string(&record).unwrap(),
    )
    .unwrap();
    // It ends as after a crash: nothing is stopped, nothing is said.
    std::process::exit(0);
}

fn started_by_an_earlier_daemon(bench: &mut Bench) -> HostRecord {
    let status = Command::new("/proc/self/exe")
        .args(["--exact", "adoption::earlier_daemon"])
        .env("ARRIVAL_TEST_EARLIER", &bench.folder)
        .env("ARRIVAL_TEST_WANTED", bench.hosts.containment().kind())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    serde_json::from_str(&fs::read_to_string(bench.folder.join("record")).unwrap()).unwrap()
}

#[test]
fn a_host_of_an_earlier_daemon_is_adopted_with_its_exit() {
    each(|bench| {
        let record = started_by_an_earlier_daemon(bench);
        let adopted = bench.hosts.adopt(record.clone()).unwrap();
        assert_eq!(
            adopted,
            Adopted::Alive {
                record: record.clone(),
                main: true
            }
        );
        assert!(bench.hosts.adopt(record.clone()).is_err());
        assert!(bench.hosts.contains(record.id, record.pid));
        assert!(bench.hosts.strays().is_empty());
        fs::write(bench.folder.join("out.go"), "").unwrap();
        bench.until("the main process exits", |bench| !bench.seen.is_empty());
        assert_eq!(
            bench.seen,
            [HostEvent::MainExited {
                host: record.id,
                exit: Exit::Code(6)
            }]
        );
        bench.hosts.kill(record.id).unwrap();
        bench.until_empty(record.id);
        gone(bench, &[record.pid]);
        // The same record again names nothing, even if the number were in use.
        assert_eq!(bench.hosts.adopt(record.clone()).unwrap(), Adopted::Gone);
        let recycled = HostRecord {
            pid: std::process::id(),
            cgroup: None,
            ..record
        };
        assert_eq!(bench.hosts.adopt(recycled).unwrap(), Adopted::Gone);
    });
}

#[test]
fn an_intent_finds_the_process_that_was_started_for_it() {
    each(|bench| {
        let record = started_by_an_earlier_daemon(bench);
        let intent = HostRecord {
            pid: 0,
            start_time: 0,
            ..record.clone()
        };
        let adopted = bench.hosts.adopt(intent).unwrap();
        assert_eq!(
            adopted,
            Adopted::Alive {
                record: record.clone(),
                main: true
            }
        );
        bench.hosts.kill(record.id).unwrap();
        assert_eq!(bench.until_empty(record.id), Exit::Signal(9));
    });
}

#[test]
fn a_host_whose_main_process_ended_meanwhile_is_adopted_without_it() {
    each(|bench| {
        let record = started_by_an_earlier_daemon(bench);
        fs::write(bench.folder.join("out.go"), "").unwrap();
        gone(bench, &[record.pid]);
        let adopted = bench.hosts.adopt(record.clone()).unwrap();
        assert_eq!(
            adopted,
            Adopted::Alive {
                record: record.clone(),
                main: false
            }
        );
        bench.until("the unknown exit", |bench| !bench.seen.is_empty());
        assert_eq!(
            bench.seen,
            [HostEvent::MainExited {
                host: record.id,
                exit: Exit::Unknown
            }]
        );
        bench.hosts.kill(record.id).unwrap();
        bench.until_empty(record.id);
    });
}

#[test]
fn processes_that_no_record_names_are_strays_and_stay() {
    let mut bench = Bench::new(Wanted::Best);
    if bench.hosts.containment().kind() != "cgroup" {
        println!("skipped: no cgroup here");
        return;
    }
    let record = started_by_an_earlier_daemon(&mut bench);
    let strays = bench.hosts.strays();
    assert_eq!(strays.len(), 1);
    assert_eq!(Some(&strays[0].cgroup), record.cgroup.as_ref());
    assert!(strays[0].pids.contains(&record.pid));
    assert!(in_proc(record.pid));
    bench.hosts.adopt(record.clone()).unwrap();
    bench.hosts.kill(record.id).unwrap();
    bench.until_empty(record.id);
    assert!(bench.hosts.strays().is_empty());
}

#[test]
fn a_main_process_that_is_somebody_elses_child_is_watched_all_the_same() {
    let mut bench = Bench::new(Wanted::Process);
    let folder = bench.folder.clone();
    // The parent lives on and waits for it, as init does for what a crashed daemon leaves.
    let script = "sh -c 'echo $$ > pid; while ! test -e go; do sleep 0.01; done; exit 4' & wait; while ! test -e end; do sleep 0.01; done";
    let mut parent = Command::new("/bin/sh")
        .args(["-c", script])
        .current_dir(&folder)
        .spawn()
        .unwrap();
    let pid: u32 = bench.until_file("pid").trim().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let start_time = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(19)
        .unwrap()
        .parse()
        .unwrap();
    let record = HostRecord {
        id: HostId(9),
        token: "nobody has it".into(),
        cgroup: None,
        pid,
        start_time,
    };
    assert!(matches!(
        bench.hosts.adopt(record).unwrap(),
        Adopted::Alive { main: true, .. }
    ));
    fs::write(folder.join("go"), "").unwrap();
    let exit = bench.until_empty(HostId(9));
    // Linux 6.15 tells whoever holds a pidfd.
    assert!(matches!(exit, Exit::Code(4) | Exit::Unknown), "{exit:?}");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next(), parts.next()) >= (Some(6), Some(15)) {
        assert_eq!(exit, Exit::Code(4));
    }
    fs::write(folder.join("end"), "").unwrap();
    parent.wait().unwrap();
}
