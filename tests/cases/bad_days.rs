//! Bad input and bad days, from outside.

use std::fs;

use arrival_tests::world::{World, wait_for};

use crate::devices::Link;

case!(
    a_definition_that_breaks_keeps_the_old_one_and_names_the_place as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "");
        world.start();
        let path = world.root.join("services.d/lab.toml");
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, good.replace("exec", "exce")).unwrap();
        wait_for("the problem to be told", || {
            !world.info().problems.is_empty()
        });
        let problems = world.info().problems;
        let named = problems.iter().find(|problem| problem.line == Some(3));
        let named = named.expect("line 3 is named");
        assert!(named.path.ends_with("lab.toml"), "{named:?}");
        assert!(named.message.contains("exce"), "{named:?}");
        assert!(
            named.remedy.as_deref().unwrap().contains("exec"),
            "{named:?}"
        );
        let check = world.arrival(&["check"]);
        assert_eq!(check.status.code(), Some(8), "{check:?}");
        let _link = Link::bridge("lab0");
        world.wait_running("lab");
        fs::write(&path, good).unwrap();
        wait_for("the problem to go", || world.info().problems.is_empty());
    }
);

case!(
    a_missing_program_is_named_and_given_up as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &[], "");
        let path = world.root.join("services.d/lab.toml");
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, good.replace("arrival-recorder", "no-such-program")).unwrap();
        world.start();
        let _link = Link::bridge("lab0");
        wait_for("it to be given up", || {
            world.status("lab").held_back.as_deref() == Some("given_up")
        });
        let service = world.status("lab");
        assert_eq!(service.failures, 5);
        let error = service.last_error.unwrap();
        assert!(
            error.contains("no-such-program") && error.to_lowercase().contains("no such file"),
            "{error}"
        );
    }
);

case!(
    a_program_that_dies_at_once_is_given_up_after_five_runs as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &["--after-ms", "0", "--exit", "3"], "");
        world.start();
        let _link = Link::bridge("lab0");
        wait_for("it to be given up", || {
            world.status("lab").held_back.as_deref() == Some("given_up")
        });
        assert_eq!(world.recorded("lab", "start").len(), 5);
        assert_eq!(
            world.status("lab").last_exit.as_deref(),
            Some("exit status 3")
        );
        // The next arrival is a new chance.
        let _other = Link::bridge("lab1");
        wait_for("another run", || world.recorded("lab", "start").len() >= 6);
    }
);

case!(
    a_service_that_finishes_is_not_started_again_for_the_same_device as Root,
    |world: &mut World| {
        world.follow("lab", "lab*", &["--after-ms", "10"], "");
        world.start();
        let _link = Link::bridge("lab0");
        wait_for("it to finish", || {
            world.status("lab").held_back.as_deref() == Some("finished")
        });
        world.arrival(&["reload"]);
        world.end_daemon(libc::SIGTERM);
        world.start();
        assert_eq!(world.status("lab").held_back.as_deref(), Some("finished"));
        let _other = Link::bridge("lab1");
        wait_for("a second run", || world.recorded("lab", "start").len() == 2);
    }
);

case!(
    a_second_manager_on_the_same_root_is_refused_and_changes_nothing as Root,
    |world: &mut World| {
        world.start();
        let second = std::process::Command::new(world.program("arrivald"))
            .arg("--root")
            .arg(&world.root)
            .output()
            .unwrap();
        assert_eq!(second.status.code(), Some(1));
        let error = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(error.contains(&world.daemon_pid().to_string()), "{error}");
        assert_eq!(world.info().pid, world.daemon_pid());
    }
);
