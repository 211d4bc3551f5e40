//! Services that are written with the client library, over the control protocol.

use std::fs;
use std::path::Path;

use arrival_tests::world::{World, wait_for};

use crate::devices::Link;

case!(
    a_service_opens_each_device_once_and_stops_after_the_last as Root,
    each_once
);
case!(
    a_service_of_a_user_opens_each_device_once_and_stops_after_the_last as User,
    each_once
);
case!(
    a_device_that_arrives_before_the_request_to_stop_keeps_the_service as Root,
    arrives_before_the_request
);
case!(
    a_device_that_arrives_while_the_service_lets_go_starts_it_again as Root,
    arrives_while_it_lets_go
);
case!(
    a_service_that_is_started_without_a_device_stops_itself as Root,
    started_without_a_device
);
case!(
    an_operator_stops_a_service_and_its_devices_are_released_first as Root,
    stopped_by_an_operator
);
case!(
    a_device_that_cannot_be_opened_is_tried_again as Root,
    tried_again
);
case!(
    a_service_goes_on_over_kills_of_the_manager_and_follows_as_before as Root,
    over_kills
);
case!(
    a_node_is_handed_to_a_user_without_rights_and_to_nobody_else as Host,
    node_is_handed_over
);
case!(
    a_service_that_never_connects_fails_with_1053 as Root,
    never_connects
);

/// A definition of such a service, which follows network interfaces called `lab*`.
fn define(world: &World, options: &[&str], more: &str) {
    let class = "[class]\nname = \"lab\"\n[match]\nsubsystem = \"net\"\nname = \"lab*\"\n";
    world.write("classes.d/lab.toml", class);
    define_with(world, "lab", options, more, "device = \"lab\"");
}

fn define_with(world: &World, class: &str, options: &[&str], more: &str, trigger: &str) {
    let program = world.program("arrival-follower");
    let record = world.root.join("follower.record");
    let mut exec = vec![
        program.display().to_string(),
        record.display().to_string(),
        class.to_owned(),
    ];
    exec.extend(options.iter().map(|option| (*option).to_owned()));
    let text = format!(
        "[service]\nexec = {exec:?}\nprotocol = \"control\"\nfollow = false\n{more}\n[[start]]\n{trigger}\n"
    );
    world.write("services.d/follower.toml", &text);
}

#[track_caller]
fn wait_noted(world: &World, word: &str, times: usize) {
    wait_for(&format!("{times} times '{word}'"), || {
        world.recorded("follower", word).len() == times
    });
}

/// What was opened has been released, and nothing else.
#[track_caller]
fn all_released(world: &World) {
    let names = |word: &str| {
        let lines = world.recorded("follower", word);
        let mut names: Vec<String> = lines.iter().map(|line| line.replace(word, "")).collect();
        names.sort();
        names
    };
    assert_eq!(names("opened"), names("released"));
    assert_eq!(
        world.recorded("follower", "start").len(),
        world.recorded("follower", "exit").len()
    );
}

fn each_once(world: &mut World) {
    define(world, &[], "");
    let first = Link::veth("lab0", "peer0");
    world.start();
    let run = world.wait_state("follower", "RUNNING");
    // It says that it runs once its devices are open.
    assert_eq!(world.recorded("follower", "opened"), ["opened lab0"]);
    let second = Link::veth("lab1", "peer1");
    wait_noted(world, "opened", 2);
    drop(first);
    wait_noted(world, "released", 1);
    assert_eq!(world.status("follower").pid, run.pid);
    assert_eq!(world.recorded("follower", "released"), ["released lab0"]);
    drop(second);
    let stopped = world.wait_state("follower", "STOPPED");
    assert_eq!(stopped.last_exit.as_deref(), Some("exit status 0"));
    assert_eq!(
        (stopped.starts, stopped.failures, stopped.held_back),
        (1, 0, None)
    );
    all_released(world);
    let third = Link::veth("lab0", "peer0");
    world.wait_state("follower", "RUNNING");
    assert_eq!(world.recorded("follower", "start").len(), 2);
    drop(third);
    world.wait_state("follower", "STOPPED");
    all_released(world);
}

fn arrives_before_the_request(world: &mut World) {
    define(world, &["--before-stop-ms", "1500"], "");
    world.start();
    let link = Link::veth("lab0", "peer0");
    let run = world.wait_state("follower", "RUNNING");
    drop(link);
    wait_noted(world, "none left", 1);
    let link = Link::veth("lab0", "peer0");
    wait_noted(world, "opened", 2);
    let now = world.status("follower");
    assert_eq!(
        (now.state.as_str(), now.pid, now.starts),
        ("RUNNING", run.pid, 1)
    );
    drop(link);
    world.wait_state("follower", "STOPPED");
    assert_eq!(world.recorded("follower", "start").len(), 1);
    all_released(world);
}

fn arrives_while_it_lets_go(world: &mut World) {
    define(world, &["--release-ms", "1500"], "");
    world.start();
    let link = Link::veth("lab0", "peer0");
    world.wait_state("follower", "RUNNING");
    // Asked to stop, it lets go of its device for a while; another one arrives meanwhile.
    world.connect().stop("follower", false).unwrap();
    world.wait_state("follower", "STOP_PENDING");
    let other = Link::veth("lab1", "peer1");
    world.wait_state("follower", "RUNNING");
    wait_noted(world, "start", 2);
    drop((link, other));
    world.wait_state("follower", "STOPPED");
    assert_eq!(world.recorded("follower", "start").len(), 2);
    all_released(world);
}

fn started_without_a_device(world: &mut World) {
    define(world, &[], "");
    world.start();
    world.connect().start("follower", &[], false).unwrap();
    wait_noted(world, "exit", 1);
    let stopped = world.wait_state("follower", "STOPPED");
    assert_eq!((stopped.failures, stopped.last_error), (0, None));
}

fn stopped_by_an_operator(world: &mut World) {
    define(world, &["--release-ms", "300"], "");
    world.start();
    let link = Link::veth("lab0", "peer0");
    world.wait_state("follower", "RUNNING");
    world.connect().stop("follower", true).unwrap();
    assert_eq!(world.recorded("follower", "released"), ["released lab0"]);
    let stopped = world.status("follower");
    assert_eq!(stopped.state, "STOPPED");
    assert_eq!(stopped.held_back.as_deref(), Some("stopped_by_operator"));
    all_released(world);
    drop(link);
}

fn tried_again(world: &mut World) {
    define(world, &["--fail", "3"], "");
    world.start();
    let link = Link::veth("lab0", "peer0");
    wait_noted(world, "opened", 1);
    assert_eq!(world.recorded("follower", "failed").len(), 3);
    assert_eq!(world.status("follower").state, "RUNNING");
    drop(link);
    world.wait_state("follower", "STOPPED");
    all_released(world);
}

fn over_kills(world: &mut World) {
    define(world, &[], "");
    world.start();
    let first = Link::veth("lab0", "peer0");
    let run = world.wait_state("follower", "RUNNING");
    let manager = world.daemon_pid();
    world.end_daemon(libc::SIGKILL);
    // What happens while no manager is there is made good by the next one.
    let second = Link::veth("lab1", "peer1");
    world.start();
    assert_ne!(world.daemon_pid(), manager);
    wait_noted(world, "opened", 2);
    let now = world.status("follower");
    assert_eq!(
        (now.state.as_str(), now.pid, now.starts),
        ("RUNNING", run.pid, 1)
    );
    world.end_daemon(libc::SIGKILL);
    drop((first, second));
    world.start();
    world.wait_state("follower", "STOPPED");
    assert_eq!(world.recorded("follower", "opened").len(), 2);
    assert_eq!(world.recorded("follower", "start").len(), 1);
    all_released(world);
}

fn node_is_handed_over(world: &mut World) {
    use arrival_client::{Access, Connection, ErrorKind, Root, Win32Error};
    let class = "[class]\nname = \"nothing\"\n[match]\nsubsystem = \"mem\"\nname = \"null\"\n";
    world.write("classes.d/nothing.toml", class);
    fs::write(world.root.join("follower.record"), "").unwrap();
    let own = "follower"
        .parse::<arrival_model::definition::ServiceName>()
        .unwrap()
        .own_id();
    std::os::unix::fs::chown(world.root.join("follower.record"), Some(own), Some(own)).unwrap();
    define_with(
        world,
        "nothing",
        &["--open"],
        "user = \"own\"",
        "device = \"nothing\"",
    );
    world.start();
    world.wait_state("follower", "RUNNING");
    assert_eq!(world.recorded("follower", "opened"), ["opened null"]);
    let pid = world.status("follower").pid.unwrap();
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open = links
        .filter(|link| fs::read_link(link.path()).is_ok_and(|to| to == Path::new("/dev/null")));
    // Standard input, and the one that was handed over.
    assert_eq!(open.count(), 2);

    let mut manager = world.connect();
    let list = manager.interfaces(Some("nothing")).unwrap();
    let link = &list.interfaces[0].link;
    manager.open(link, Access::Read).unwrap();
    assert_eq!(
        manager
            .open("\\\\?\\none", Access::Read)
            .unwrap_err()
            .code(),
        Win32Error::NO_SUCH_DEVICE
    );
    let net = manager.interfaces(Some("net")).unwrap();
    if let Some(net) = net.interfaces.first() {
        let error = manager.open(&net.link, Access::Read).unwrap_err();
        assert_eq!(error.code(), Win32Error::NOT_SUPPORTED);
    }
    // A process of nobody in particular may list, and not have anything opened.
    let root = Root::at(&world.root);
    let denied = std::thread::spawn({
        let link = link.clone();
        move || {
            // SAFETY: of this thread alone: the call is made for the kernel's thread.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
            assert_eq!(changed, 0);
            let mut other = Connection::connect(&root).unwrap();
            other.interfaces(Some("nothing")).unwrap();
            other.open(&link, Access::Read).unwrap_err()
        }
    });
    let denied = denied.join().unwrap();
    assert_eq!(
        (denied.kind(), denied.code()),
        (ErrorKind::Denied, Win32Error::ACCESS_DENIED)
    );
    world.connect().stop("follower", true).unwrap();
}

fn never_connects(world: &mut World) {
    world.follow(
        "mute",
        "lab*",
        &[],
        "protocol = \"control\"\nstart_timeout = \"300ms\"\n[service.failure]\nrestart = false",
    );
    world.start();
    let link = Link::veth("lab0", "peer0");
    wait_for("it to be given up", || {
        world.status("mute").held_back.as_deref() == Some("given_up")
    });
    let failed = world.status("mute");
    assert!(
        failed
            .last_error
            .unwrap()
            .contains("it was not running 0.3 s after its start")
    );
    let error = world.connect().start("mute", &[], true).unwrap_err();
    assert_eq!(
        error.code(),
        arrival_client::Win32Error::SERVICE_REQUEST_TIMEOUT
    );
    drop(link);
}
