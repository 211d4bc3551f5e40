#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::os::fd::AsFd;

use super::*;

#[test]
fn the_pid_is_written_in_decimal_and_ended() {
    for number in [1, 9, 10, 4_194_304, u32::MAX as isize] {
        let mut room = [b'x'; 11];
        // SAFETY: eleven bytes.
        unsafe { write_decimal(room.as_mut_ptr(), number) };
        let end = room.iter().position(|byte| *byte == 0).unwrap();
        assert_eq!(
            std::str::from_utf8(&room[..end]).unwrap(),
            number.to_string()
        );
    }
}

#[test]
fn a_probe_keeps_nothing_of_ours_and_does_not_outlive_who_made_it() {
    let (told, probe) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let lock = crate::host::reap::spawning();
    let maker = std::thread::spawn(move || {
        told.send(start(&mut Orders::probe(), None, false)).unwrap();
        // Until the other end is dropped.
        let _ = ended.recv();
    });
    let (pid, pidfd) = probe.recv().unwrap().unwrap();
    let folder = format!("/proc/{pid}/fd");
    let started = std::time::Instant::now();
    while std::fs::read_dir(&folder).unwrap().count() > 0 {
        assert!(started.elapsed().as_secs() < 30, "it keeps descriptors");
        std::thread::yield_now();
    }
    drop(end);
    maker.join().unwrap();
    crate::host::sys::wait(pidfd.as_fd());
    drop(lock);
    assert!(
        started.elapsed().as_secs() < PROBE_SECONDS.unsigned_abs(),
        "it ended only when its time was over"
    );
}

#[test]
fn a_probe_whose_maker_is_gone_ends_at_once() {
    let lock = crate::host::reap::spawning();
    let mut orders = Orders::probe();
    // What the child finds when this process was killed before it could ask to be signalled.
    orders.maker = u32::MAX >> 2;
    let started = std::time::Instant::now();
    let (_, pidfd) = start(&mut orders, None, false).unwrap();
    crate::host::sys::wait(pidfd.as_fd());
    drop(lock);
    assert!(
        started.elapsed().as_secs() < PROBE_SECONDS.unsigned_abs(),
        "it waited for nobody"
    );
}

#[test]
fn the_arguments_have_the_size_the_kernel_published() {
    assert_eq!(size_of::<CloneArgs>(), 88);
    assert_eq!(std::mem::offset_of!(CloneArgs, cgroup), 80);
}
