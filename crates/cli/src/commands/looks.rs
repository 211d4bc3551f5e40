//! How answers look: every table and screen from given data.
#![allow(clippy::unwrap_used)]

use arrival_client::NoticeKind;
use snapbox::data::Inline;
use snapbox::{Assert, str};

use super::samples::{
    class, held_back, info, interface, notice, running, service, state, tap, trigger, why, written,
};
use super::{daemon, devices, services, watch, why as explain};

/// Compares as it is: a backslash in a link is no path of another system.
fn assert_eq(text: String, expected: Inline) {
    Assert::new()
        .action_env("SNAPSHOTS")
        .normalize_paths(false)
        .eq(text, expected);
}

#[test]
fn list_shows_who_runs_and_who_is_held_back() {
    let all = [running(), held_back(), service("printer", "STOPPED")];
    let text = written(None, false, |screen| services::write_list(screen, &all));
    assert_eq(
        text,
        str![[r#"
NAME     STATE    PID   STARTS  INTERFACES  REMARK
gpsd     RUNNING  4242  3       1           3D fix\x1b[2J
modem    STOPPED  -     5       0           held back: given up (5 runs failed within 10 s)
printer  STOPPED  -     0       0           -

"#]],
    );
}

#[test]
fn list_fits_a_terminal() {
    let all = [running(), held_back(), service("printer", "STOPPED")];
    let text = written(Some(60), false, |screen| services::write_list(screen, &all));
    assert!(
        text.lines().all(|line| line.chars().count() <= 60),
        "{text}"
    );
    assert_eq(
        text,
        str![[r#"
NAME     STATE    PID   STARTS  INTERFACES  REMARK
gpsd     RUNNING  4242  3       1           3D fix\x1b[2J
modem    STOPPED  -     5       0           held back: give…
printer  STOPPED  -     0       0           -

"#]],
    );
}

#[test]
fn list_for_programs_has_every_member() {
    let all = [running()];
    let text = written(None, true, |screen| services::write_list(screen, &all));
    assert_eq(
        text,
        str![[r#"
{
  "services": [
    {
      "name": "gpsd",
      "description": "position from a serial receiver",
      "state": "RUNNING",
      "desired": "running",
      "held_back": null,
      "note": null,
      "enabled": true,
      "protocol": "exec",
      "run": 7,
      "pid": 4242,
      "start_reason": "trigger",
      "starts": 3,
      "failures": 1,
      "interfaces": [
        "\\\\?\\USB#VID_067B&PID_2303#1-4#{86e0d1e0}"
      ],
      "last_exit": "signal 15",
      "last_error": null,
      "status_text": "3D fix\u001b[2J",
      "checkpoint": 0,
      "wait_hint_ms": 0,
      "since_ns": 1000000000,
      "definition": "/etc/arrival/services.d/gpsd.toml"
    }
  ]
}

"#]],
    );
}

#[test]
fn status_of_a_running_service_cannot_write_to_the_terminal() {
    let now = 186_000_000_000;
    let text = written(None, false, |screen| {
        services::write_service(screen, &running(), now)
    });
    assert_eq(
        text,
        str![[r#"
gpsd - position from a serial receiver
  state       RUNNING for 3 min 5 s, wanted running
  run         7, pid 4242, started by trigger
  says        3D fix\x1b[2J
  interface   \\?\USB#VID_067B&PID_2303#1-4#{86e0d1e0}
  counts      3 starts, 1 failure
  last exit   signal 15
  enabled     yes
  defined in  /etc/arrival/services.d/gpsd.toml

"#]],
    );
}

#[test]
fn status_of_a_service_that_was_given_up_says_why() {
    let text = written(None, false, |screen| {
        services::write_service(screen, &held_back(), 9_000_000_000)
    });
    assert_eq(
        text,
        str![[r#"
modem
  state       STOPPED for 8.0 s, wanted running
  held back   given up
  counts      5 starts, 5 failures
  last exit   exit status 1
  last error  5 runs failed within 10 s
  enabled     yes

"#]],
    );
}

#[test]
fn status_begins_with_the_manager() {
    let text = written(None, false, |screen| {
        services::write_manager(screen, &info())
    });
    assert_eq(
        text,
        str![[r#"
arrivald 0.1.0, pid 99, root /: 2 services, 1 interface present
1 problem in its files: 'arrival info' shows all


"#]],
    );
}

#[test]
fn triggers_show_what_they_match_now() {
    let all = [trigger(&["USB\\VID_067B&PID_2303"], 1), trigger(&[], 0)];
    let text = written(None, false, |screen| services::write_triggers(screen, &all));
    assert_eq(
        text,
        str![[r#"
SERVICE  ACTION  BY       PRESENT  WHEN
gpsd     start   comport  1        usable: USB\VID_067B&PID_2303
gpsd     start   comport  0        usable: any

"#]],
    );
}

#[test]
fn why_shows_the_answer_and_each_trigger_up_to_its_first_failing_condition() {
    let text = written(None, false, |screen| explain::write_why(screen, &why()));
    assert_eq(
        text,
        str![[r#"
gpsd does not run: no device with its id is present

gpsd is STOPPED
  ✓  it is enabled

trigger 1: start with a device of class comport, id USB\VID_067B&PID_2303
  ✓  2 interfaces of class comport present
  ✗  0 of them with the id USB\VID_067B&PID_2303
     remedy: one that is there has the id USB\VID_0403&PID_6001
     (1 condition behind it not looked at)

"#]],
    );
}

#[test]
fn why_of_a_service_without_triggers_says_so() {
    let mut reply = why();
    reply.triggers.clear();
    let text = written(None, false, |screen| explain::write_why(screen, &reply));
    assert_eq(
        text,
        str![[r#"
gpsd does not run: no device with its id is present

gpsd is STOPPED
  ✓  it is enabled

it has no triggers: only 'arrival start' starts it

"#]],
    );
}

#[test]
fn devices_show_what_is_usable() {
    let all = [interface(), tap()];
    let text = written(None, false, |screen| devices::write_table(screen, &all));
    assert_eq(
        text,
        str![[r#"
CLASS    NAME     NODE          READY     ID                              DEVICE
comport  ttyUSB0  /dev/ttyUSB0  usable    USB\VID_067B&PID_2303&REV_0300  /devices/pci0000:00/usb1/1-4/1-4:1.0/ttyUSB0
net      tap0     -             appeared  -                               /devices/virtual/net/tap0

"#]],
    );
    let text = written(None, false, |screen| devices::write_long(screen, &all));
    assert_eq(
        text,
        str![[r#"
ttyUSB0 (comport)
  link        \\?\USB#VID_067B&PID_2303#1-4#{86e0d1e0-8089-11d0-9ce4-08003e301f73}
  class       {86e0d1e0-8089-11d0-9ce4-08003e301f73}
  node        /dev/ttyUSB0
  also        /dev/serial/by-path/pci-0000:00-usb-0:4:1.0-port0
  CE name     COM1:
  device      /devices/pci0000:00/usb1/1-4/1-4:1.0/ttyUSB0
  id          USB\VID_067B&PID_2303&REV_0300
  compatible  USB\Class_FF
  enabled by  kernel
  usable      yes
  cursor      17-4

tap0 (net)
  link        \\?\NET#TAP0#{cac88484-7515-4c03-82e6-71a87abac361}
  class       {cac88484-7515-4c03-82e6-71a87abac361}
  device      /devices/virtual/net/tap0
  enabled by  kernel
  usable      not yet
  cursor      17-9

"#]],
    );
}

#[test]
fn classes_show_their_names_and_numbers() {
    let text = written(None, false, |screen| {
        devices::write_classes(screen, &[class()])
    });
    assert_eq(
        text,
        str![[r#"
NAME     GUID                                    FROM      DESCRIPTION
comport  {86e0d1e0-8089-11d0-9ce4-08003e301f73}  built in  serial ports

"#]],
    );
}

#[test]
fn info_shows_counts_strays_and_problems() {
    let text = written(None, false, |screen| daemon::write_info(screen, &info()));
    assert_eq(
        text,
        str![[r#"
arrivald 0.1.0
  pid         99
  root        /
  boot id     6f0c
  cursor      17-9
  containment cgroup
  udev        waited for
  services    2
  interfaces  1
  stray       /arrival/host-3
counts since its start
  device events                512
  of a wrong sender            0
  cut short                    0
  overruns of a source         1
  sources read again           1
  devices that did not answer  0
  waits for udev given up      0
  notify messages refused      0
  subscribers too slow         0
  connections refused          0

error[unknown-key]: unknown key 'exce' in [service]
 --> /etc/arrival/services.d/x.toml:3:1
  = help: did you mean 'exec'?
1 error, 0 warnings

"#]],
    );
}

#[test]
fn watch_writes_one_line_an_event() {
    let mut records = Vec::new();
    let mut record = notice(NoticeKind::Snapshot);
    record.interface = Some(interface());
    records.push(record);
    let mut record = notice(NoticeKind::Snapshot);
    record.complete = Some(true);
    records.push(record);
    for kind in [NoticeKind::Arrival, NoticeKind::Removal] {
        let mut record = notice(kind);
        record.interface = Some(tap());
        records.push(record);
    }
    let mut record = notice(NoticeKind::State);
    record.state = Some(state());
    records.push(record);
    let mut record = notice(NoticeKind::State);
    let mut stopped = state();
    stopped.state = "STOPPED".to_owned();
    stopped.held_back = Some("stopped_by_operator".to_owned());
    stopped.run = None;
    stopped.pid = None;
    stopped.start_reason = None;
    stopped.exit = Some("signal 15".to_owned());
    record.state = Some(stopped);
    records.push(record);
    let mut record = notice(NoticeKind::Overrun);
    record.lost = Some(12);
    records.push(record);
    let mut record = notice(NoticeKind::Resync);
    record.source = Some("connection".to_owned());
    records.push(record);
    let text = written(Some(40), false, |screen| {
        let time = "12:01:07.113Z";
        records
            .iter()
            .try_for_each(|record| watch::write_notice(screen, record, time))
    });
    assert_eq(
        text,
        str![[r#"
12:01:07.113Z = comport   ttyUSB0      \\?\USB#VID_067B&PID_2303#1-4#{86e0d1e0-8089-11d0-9ce4-08003e301f73}
12:01:07.113Z + net       tap0         \\?\NET#TAP0#{cac88484-7515-4c03-82e6-71a87abac361}
12:01:07.113Z - net       tap0         \\?\NET#TAP0#{cac88484-7515-4c03-82e6-71a87abac361}
12:01:07.113Z * service   gpsd         RUNNING (run 7, pid 4242, by trigger)
12:01:07.113Z * service   gpsd         STOPPED (stopped by its operator, signal 15)
12:01:07.113Z ! overrun   this stream lost 12 records
12:01:07.113Z ~ resync    connection

"#]],
    );
}

#[test]
fn watch_for_programs_writes_one_object_a_line() {
    let mut record = notice(NoticeKind::State);
    record.state = Some(state());
    let text = written(None, true, |screen| screen.record(&record));
    assert_eq(
        text,
        str![[r#"
{"cursor":"17-9","time_ns":5,"kind":"state","state":{"service":"gpsd","state":"RUNNING","run":7,"pid":4242,"start_reason":"trigger"}}

"#]],
    );
}

#[test]
fn the_time_of_day_is_that_of_utc() {
    let moment = std::time::Duration::from_millis(1_700_000_000_123);
    assert_eq!(watch::time_of_day(moment), "22:13:20.123Z");
}
