//! Many services for one device.

use arrival_tests::world::{World, recorders, wait_for};

use crate::devices::Link;

const SERVICES: usize = 50;

case!(
    fifty_services_of_one_device_start_with_it_and_stop_with_it as Root,
    fifty
);
case!(
    fifty_services_of_a_users_device_start_and_stop_with_it as User,
    fifty
);

fn fifty(world: &mut World) {
    world.follow("lab", "lab*", &[], "");
    let names: Vec<String> = (1..SERVICES).map(|n| format!("lab-{n}")).collect();
    for name in &names {
        world.define(name, &[], "", "[[start]]\ndevice = \"lab-class\"\n");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["lab"]).collect();
    world.start();
    for turn in 1..=2 {
        let link = Link::bridge("lab0");
        wait_for("all programs to record their start", || {
            let started = |name: &&&str| world.recorded(name, "start").len() == turn;
            names.iter().filter(started).count() == SERVICES
        });
        // A program may have begun before the manager has heard that it was executed.
        for name in &names {
            world.wait_running(name);
        }
        assert_eq!(world.connect().services().unwrap().len(), SERVICES);
        assert_eq!(recorders(&world.root).len(), SERVICES);
        drop(link);
        for name in &names {
            world.wait_state(name, "STOPPED");
            assert_eq!(world.recorded(name, "start").len(), turn, "{name}");
            assert_eq!(world.recorded(name, "exit").len(), turn, "{name}");
        }
        assert_eq!(recorders(&world.root), Vec::<i32>::new());
    }
}
