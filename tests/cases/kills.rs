//! The manager is killed again and again, while its device comes and goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrival_tests::world::{World, recorders, wait_for};

use crate::devices::Link;

case!(
    twenty_kills_of_the_manager_during_flaps_end_in_one_process as Root,
    twenty_kills
);
case!(
    twenty_kills_of_a_users_manager_during_flaps_end_in_one_process as User,
    twenty_kills
);

fn twenty_kills(world: &mut World) {
    world.follow("lab", "lab*", &["--stop-ms", "3"], "");
    let calm = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&calm);
    let flaps = std::thread::spawn(move || {
        let mut flaps = 0;
        while !until.load(Ordering::Relaxed) {
            drop(Link::veth("lab0", "peer0"));
            flaps += 1;
        }
        (Link::veth("lab0", "peer0"), flaps)
    });
    // Fixed moments, spread by a multiplicative generator, so that a failure comes again.
    let mut random: u32 = 2026;
    for _ in 0..20 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        world.launch();
        // Some die before they answer, some long after. No outcome waits for this.
        std::thread::sleep(Duration::from_micros(u64::from(random >> 15)));
        world.end_daemon(libc::SIGKILL);
    }
    calm.store(true, Ordering::Relaxed);
    let (link, flaps) = flaps.join().unwrap();
    assert!(flaps >= 20, "the device hardly moved: {flaps}");
    world.start();
    wait_for("one process, the one that the manager names", || {
        let service = world.status("lab");
        service.state == "RUNNING"
            && service.interfaces.len() == 1
            && service
                .pid
                .is_some_and(|pid| recorders(&world.root) == [pid])
    });
    assert_eq!(world.info().strays, Vec::<String>::new());
    if world.info().containment == "cgroup" {
        assert_eq!(world.hosts().len(), 1, "{:?}", world.hosts());
    }
    drop(link);
    world.wait_state("lab", "STOPPED");
    assert_eq!(recorders(&world.root), Vec::<i32>::new());
}
