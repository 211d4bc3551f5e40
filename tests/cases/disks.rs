//! Loop devices of the machine: a disk arrives when it has a size, and leaves when it has none.

use std::fs;

use arrival_tests::world::World;

use crate::devices::Loop;

case!(
    a_disk_arrives_with_its_medium_and_leaves_with_it as Host,
    |world: &mut World| {
        let image = world.root.join("disk.img");
        fs::write(&image, vec![0_u8; 1 << 20]).unwrap();
        let disk = Loop::new();
        let class = format!(
            "[class]\nname = \"lab-disk\"\n[match]\nsubsystem = \"block\"\nname = \"{}\"\nattribute = {{ size = {{ not = \"0\" }} }}\n",
            disk.name
        );
        world.write("classes.d/lab-disk.toml", &class);
        world.define("lab", &[], "", "[[start]]\ndevice = \"lab-disk\"\n");
        world.start();
        assert_eq!(world.status("lab").state, "STOPPED");
        disk.attach(&image);
        let running = world.wait_running("lab");
        assert_eq!(running.starts, 1);
        disk.detach();
        world.wait_state("lab", "STOPPED");
        disk.attach(&image);
        world.wait_running("lab");
        disk.detach();
        world.wait_state("lab", "STOPPED");
        assert_eq!(world.recorded("lab", "start").len(), 2);
    }
);
