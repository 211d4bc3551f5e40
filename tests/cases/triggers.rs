//! Services that start and stop by what is no device, each from its real source.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use arrival_client::{ErrorKind, Event, EventProvider, Root, Source};
use arrival_linux::rtnl::Links;
use arrival_tests::world::{World, wait_for};

fn source(world: &World, name: &str) -> Source {
    let sources = world.connect().sources().unwrap();
    let found = sources.into_iter().find(|source| source.name == name);
    found.unwrap_or_else(|| panic!("there is no source {name}"))
}

/// A cable whose ends are up; an address on one of them is usable.
fn cable() -> Links {
    let mut links = Links::open().unwrap();
    links.create_veth("va", "vb").unwrap();
    for end in ["va", "vb"] {
        // No address of the link comes by itself.
        let path = format!("/proc/sys/net/ipv6/conf/{end}/addr_gen_mode");
        let _ = std::fs::write(path, "1");
        links.set_up(end, true).unwrap();
    }
    links
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

case!(
    the_first_address_starts_a_service_and_the_last_that_goes_ends_it as Root,
    |world| {
        let trigger = "[[start]]\nnetwork = \"available\"\n";
        world.define("net", &[], "", trigger);
        world.define("idle", &[], "", "[[start]]\nnetwork = \"unavailable\"\n");
        world.start();
        // At the first start in a boot what is true fires: there is no address.
        world.wait_running("idle");
        assert_eq!(world.status("net").state, "STOPPED");
        let mut links = cable();
        links.add_address("va", address(1), 24).unwrap();
        world.wait_running("net");
        world.wait_state("idle", "STOPPED");
        links.add_address("va", address(2), 24).unwrap();
        links.delete_address("va", address(2), 24).unwrap();
        // The carrier goes: no message speaks of the address.
        links.set_up("vb", false).unwrap();
        world.wait_state("net", "STOPPED");
        world.wait_running("idle");
        links.set_up("vb", true).unwrap();
        world.wait_running("net");
        assert_eq!(world.recorded("net", "start").len(), 2);
        assert_eq!(source(world, "network").state, "on");
    }
);

case!(
    a_stop_trigger_stops_a_service_when_the_last_address_goes as Root,
    |world| {
        let triggers = "[[start]]\ndevice = \"lab-class\"\n[[stop]]\nnetwork = \"unavailable\"\n";
        world.follow("lab", "lab*", &[], "");
        world.define("lab", &[], "", triggers);
        let mut links = cable();
        links.add_address("va", address(1), 24).unwrap();
        world.start();
        let _lab = crate::devices::Link::bridge("lab0");
        world.wait_running("lab");
        links.delete_address("va", address(1), 24).unwrap();
        let stopped = world.wait_state("lab", "STOPPED");
        assert_eq!(stopped.held_back.as_deref(), Some("stopped_by_trigger"));
        let _other = crate::devices::Link::bridge("lab1");
        world.wait_running("lab");
        assert_eq!(world.recorded("lab", "start").len(), 2);
    }
);

case!(
    an_address_that_goes_while_no_manager_is_there_is_noticed as Root,
    |world| {
        world.define("net", &[], "", "[[start]]\nnetwork = \"available\"\n");
        let mut links = cable();
        links.add_address("va", address(1), 24).unwrap();
        world.start();
        let first = world.wait_running("net");
        let daemon = world.daemon_pid();
        world.end_daemon(libc::SIGKILL);
        world.start();
        assert_ne!(world.daemon_pid(), daemon);
        assert_eq!(world.wait_running("net").pid, first.pid);
        world.end_daemon(libc::SIGKILL);
        links.delete_address("va", address(1), 24).unwrap();
        world.start();
        world.wait_state("net", "STOPPED");
        assert_eq!(world.recorded("net", "start").len(), 1);
    }
);

case!(
    a_trigger_that_is_registered_while_its_condition_is_true_fires as Root,
    |world| {
        let mut links = cable();
        links.add_address("va", address(1), 24).unwrap();
        world.start();
        assert_eq!(source(world, "network").state, "off");
        world.define("net", &[], "", "[[start]]\nnetwork = \"available\"\n");
        world.arrival(&["reload"]);
        world.wait_running("net");
        assert_eq!(source(world, "network").state, "on");
        std::fs::remove_file(world.root.join("services.d/net.toml")).unwrap();
        world.arrival(&["reload"]);
        // A run without a definition goes on, followed as before.
        assert_eq!(source(world, "network").state, "on");
        links.delete_address("va", address(1), 24).unwrap();
        wait_for("the source to end", || {
            source(world, "network").state == "off"
        });
    }
);

/// Writes a line and gives the answer: the process that served it.
fn ask(stream: &mut UnixStream, line: &str) -> String {
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer
}

case!(
    a_client_of_a_pipe_starts_its_service as Root,
    client_of_a_pipe
);
case!(
    a_client_of_a_pipe_starts_the_service_of_a_user_too as User,
    client_of_a_pipe
);

fn client_of_a_pipe(world: &mut World) {
    world.define(
        "piped",
        &["--serve", "2"],
        "",
        "[[start]]\npipe = 'demo\\one'\nmode = \"0666\"\n",
    );
    world.start();
    let path = world.root.join("run/pipe/demo%5Cone");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    // Two wait and have written before anybody serves; the third is left for the next run.
    let mut first = UnixStream::connect(&path).unwrap();
    let mut second = UnixStream::connect(&path).unwrap();
    let mut third = UnixStream::connect(&path).unwrap();
    writeln!(third, "three").unwrap();
    let one = ask(&mut first, "one");
    let two = ask(&mut second, "two");
    assert_eq!(one.split(' ').next(), two.split(' ').next());
    wait_for("a second run for the third client", || {
        world.recorded("piped", "start").len() == 2
    });
    let mut answer = String::new();
    BufReader::new(&third).read_line(&mut answer).unwrap();
    assert!(answer.ends_with(" three\n"), "{answer}");
    let running = world.wait_state("piped", "RUNNING");
    assert_eq!(running.start_reason.as_deref(), Some("trigger"));
    // The second run serves one more client, and nobody waits after that.
    let mut fourth = UnixStream::connect(&path).unwrap();
    ask(&mut fourth, "four");
    world.wait_state("piped", "STOPPED");
    assert_eq!(world.recorded("piped", "start").len(), 2);
    assert_eq!(world.recorded("piped", "client").len(), 4);
}

case!(
    clients_of_a_service_that_is_given_up_are_let_go as Root,
    |world| {
        let failing = "[service.failure]\nlimit = 2\ndelay = \"10ms\"\n";
        let options = ["--exit", "1", "--after-ms", "1"];
        world.define(
            "broken",
            &options,
            failing,
            "[[start]]\npipe = \"broken\"\n",
        );
        world.start();
        let path = world.root.join("run/pipe/broken");
        wait_for("the socket", || path.exists());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let stream = UnixStream::connect(&path).unwrap();
        let mut answer = String::new();
        // The end of the stream: nobody will serve it.
        let _ = BufReader::new(&stream).read_line(&mut answer);
        assert_eq!(answer, "");
        let state = world.status("broken");
        assert_eq!(state.held_back.as_deref(), Some("given_up"));
        let starts = world.recorded("broken", "start").len();
        assert_eq!(starts, 2);
        // The next client is one more chance.
        let _stream = UnixStream::connect(&path).unwrap();
        wait_for("another run", || {
            world.recorded("broken", "start").len() > starts
        });
        world.arrival(&["disable", "broken"]);
        wait_for("the socket to go", || !path.exists());
    }
);

/// The machine's files, below a folder of the case.
fn system_root(world: &World) -> std::path::PathBuf {
    let system = world.root.join("system");
    std::fs::create_dir_all(&system).unwrap();
    world.write(
        "arrivald.toml",
        &format!("system_root = {:?}\n", system.display().to_string()),
    );
    system
}

fn put(root: &std::path::Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let beside = path.with_extension("new");
    std::fs::write(&beside, bytes).unwrap();
    std::fs::rename(&beside, &path).unwrap();
}

const SECRETS: &str = "var/lib/samba/private/secrets.tdb";
const JOINED: &[u8] = include_bytes!("../../crates/wire/tests/data/secrets_joined.tdb");
const LEFT: &[u8] = include_bytes!("../../crates/wire/tests/data/secrets_left.tdb");

case!(
    joining_a_domain_starts_a_service_and_leaving_stops_it as Root,
    |world| {
        let system = system_root(world);
        world.define("member", &[], "", "[[start]]\ndomain = \"joined\"\n");
        let both = "[[start]]\ndevice = \"lab-class\"\n[[stop]]\ndomain = \"left\"\n";
        world.follow("lab", "lab*", &[], "");
        world.define("lab", &[], "", both);
        world.start();
        let _lab = crate::devices::Link::bridge("lab0");
        put(&system, SECRETS, JOINED);
        world.wait_running("member");
        let _other = crate::devices::Link::bridge("lab1");
        world.wait_running("lab");
        let detail = source(world, "domain").detail.unwrap();
        assert!(detail.starts_with("member of SCM S-1-5-21-"), "{detail}");
        // A change of the password, and a tool that reads, are no news.
        put(&system, SECRETS, JOINED);
        put(&system, "etc/krb5.keytab", b"\x05\x02");
        put(&system, SECRETS, LEFT);
        world.wait_state("member", "STOPPED");
        world.wait_state("lab", "STOPPED");
        assert_eq!(world.recorded("member", "start").len(), 1);
        // A leave and a join while no manager is there are noticed by the next.
        world.end_daemon(libc::SIGKILL);
        put(&system, SECRETS, JOINED);
        world.start();
        world.wait_running("member");
        assert_eq!(world.recorded("member", "start").len(), 2);
    }
);

case!(a_change_of_policy_starts_a_service as Root, |world| {
    let system = system_root(world);
    let once = ["--after-ms", "1"];
    world.define("machine", &once, "", "[[start]]\npolicy = \"machine\"\n");
    world.define("user", &once, "", "[[start]]\npolicy = \"user\"\n");
    world.start();
    wait_for("the source", || source(world, "policy").reads >= 1);
    let gpo = "var/cache/samba/gpo_cache/SCM.TEST/POLICIES/{31B2F340-016D-11D2-945F-00C04FB984F9}";
    let machine = format!("{gpo}/MACHINE/REGISTRY.POL");
    fn starts(world: &World, service: &str, count: usize) {
        wait_for(&format!("{count} runs of {service}"), || {
            world.recorded(service, "exit").len() == count
        });
    }
    put(&system, &machine, b"one");
    starts(world, "machine", 1);
    // Fetched again with the same bytes: nothing.
    let reads = source(world, "policy").reads;
    put(&system, &machine, b"one");
    wait_for("another look", || source(world, "policy").reads > reads);
    put(&system, &format!("{gpo}/USER/REGISTRY.POL"), b"one");
    starts(world, "user", 1);
    put(&system, &machine, b"two");
    starts(world, "machine", 2);
    assert_eq!(world.recorded("user", "start").len(), 1);
    // What changes while no manager is there fires once with the next.
    world.end_daemon(libc::SIGTERM);
    put(&system, &machine, b"three");
    world.start();
    starts(world, "machine", 3);
    assert_eq!(world.recorded("user", "start").len(), 1);
});

case!(a_source_says_what_it_cannot_read as Root, |world| {
    let system = system_root(world);
    put(&system, SECRETS, &JOINED[..5000]);
    world.define("member", &[], "", "[[start]]\ndomain = \"joined\"\n");
    world.start();
    wait_for("the trouble", || source(world, "domain").error.is_some());
    let error = source(world, "domain").error.unwrap();
    assert!(error.contains("secrets.tdb: no TDB file"), "{error}");
    put(&system, SECRETS, JOINED);
    world.wait_running("member");
    assert_eq!(source(world, "domain").error, None);
});

const PROVIDER: &str = "{8d5b7f06-0c3e-4f0d-9e8a-5c2f5a1f6f11}";

fn runs(world: &World, service: &str, count: usize) {
    wait_for(&format!("{count} runs of {service}"), || {
        world.recorded(service, "exit").len() == count
    });
}

case!(a_custom_event_starts_whom_it_passes as Root, custom_events);
case!(
    a_custom_event_starts_services_of_a_user_too as User,
    custom_events
);

fn custom_events(world: &mut World) {
    let once = ["--after-ms", "1"];
    let trigger = |more: &str| format!("[[start]]\nevent = \"{PROVIDER}\"\n{more}");
    world.define("any", &once, "", &trigger(""));
    world.define("severe", &once, "", &trigger("level = \"2\"\n"));
    world.define(
        "worded",
        &once,
        "",
        &trigger("text = \"ready\"\nany = \"0x6\"\n"),
    );
    let stop = format!("[[stop]]\nevent = \"{PROVIDER}\"\nbinary = \"dead\"\n");
    world.define("long", &[], "start = \"auto\"\n", &stop);
    world.start();
    world.wait_running("long");
    let write = |arguments: &[&str]| {
        let all = [&["event", "write", PROVIDER], arguments].concat();
        let output = world.arrival(&all);
        assert!(output.status.success(), "{output:?}");
    };
    write(&["--text", "hello"]);
    runs(world, "any", 1);
    write(&["--level", "2", "--keyword", "0x1", "--text", "READY"]);
    runs(world, "any", 2);
    runs(world, "severe", 1);
    write(&["--keyword", "0x2", "--text", "Ready"]);
    runs(world, "worded", 1);
    runs(world, "any", 3);
    assert_eq!(world.status("long").state, "RUNNING");
    write(&["--bytes", "dead"]);
    let stopped = world.wait_state("long", "STOPPED");
    assert_eq!(stopped.held_back.as_deref(), Some("stopped_by_trigger"));
    assert_eq!(world.recorded("severe", "start").len(), 1);
    assert_eq!(world.recorded("worded", "start").len(), 1);
    assert_eq!(source(world, "events").events, 4);
    assert_eq!(source(world, "events").losses, 0);
}

case!(
    a_flood_of_events_is_filtered_and_one_run_follows as Root,
    |world| {
        let trigger = format!("[[start]]\nevent = \"{PROVIDER}\"\nbinary = \"01\"\n");
        world.define("picky", &["--after-ms", "1"], "", &trigger);
        world.start();
        let root = Root::at(&world.root);
        let mut provider = EventProvider::connect(&root, PROVIDER.parse().unwrap()).unwrap();
        wait_for("the filter", || provider.enabled(4, 0));
        let event = Event::default();
        for _ in 0..20_000 {
            provider.write(&event, &[0]).unwrap();
        }
        wait_for("room for the last event", || {
            let before = provider.lost();
            provider.write(&event, &[1]).unwrap();
            provider.lost() == before
        });
        runs(world, "picky", 1);
        // What could not be taken at once is counted, and told with a later event.
        wait_for("what was lost to be told", || {
            provider.write(&event, &[0]).unwrap();
            source(world, "events").losses == provider.lost()
        });
        assert_eq!(world.recorded("picky", "start").len(), 1);
        assert!(source(world, "events").events + provider.lost() > 20_000);
    }
);

/// The same as another user of the machine would see it.
fn as_nobody(program: &std::path::Path, arguments: &[&str]) -> std::process::Output {
    use std::os::unix::process::CommandExt;
    let mut command = std::process::Command::new(program);
    command.args(arguments).uid(65534).gid(65534);
    command.output().unwrap()
}

case!(
    nobody_else_may_publish_a_providers_events as Root,
    |world| {
        let trigger = format!("[[start]]\nevent = \"{PROVIDER}\"\n");
        world.define("any", &["--after-ms", "1"], "", &trigger);
        world.start();
        std::fs::set_permissions(&world.root, std::fs::Permissions::from_mode(0o755)).unwrap();
        let root = world.root.display().to_string();
        let arguments = ["--root", &root, "event", "write", PROVIDER, "--text", "x"];
        let refused = as_nobody(&world.program("arrival"), &arguments);
        assert_eq!(refused.status.code(), Some(5));
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            error.contains("only root and services whose definition provides"),
            "{error}"
        );
        // A service that provides it may, whoever it runs as.
        let program = world.program("arrival").display().to_string();
        let exec = [
            &program[..],
            "--root",
            &root,
            "event",
            "write",
            PROVIDER,
            "--text",
            "x",
        ];
        for (name, provides, starts) in [("liar", "", 0), ("publisher", PROVIDER, 1)] {
            let provides = if provides.is_empty() {
                String::new()
            } else {
                format!("provides = \"{provides}\"\n")
            };
            let text = format!(
                "[service]\nexec = {exec:?}\nuser = \"65534\"\n{provides}[service.failure]\nrestart = false\n"
            );
            world.write(&format!("services.d/{name}.toml"), &text);
            world.arrival(&["reload"]);
            let _ = world.arrival(&["start", name]);
            wait_for("its end", || world.status(name).last_exit.is_some());
            wait_for("the start", || {
                world.recorded("any", "start").len() == starts
            });
        }
        assert_eq!(source(world, "events").events, 1);
        let error = EventProvider::connect(&Root::at("/nonexistent"), PROVIDER.parse().unwrap());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NoDaemon);
    }
);

case!(
    a_port_that_is_opened_starts_a_service_and_one_that_is_closed_stops_it as Root,
    |world| {
        Links::open().unwrap().set_up("lo", true).unwrap();
        world.write("arrivald.toml", "port_closed_after = \"300ms\"\n");
        let own = std::env::current_exe().unwrap();
        let own = own.display();
        world.define("open", &[], "", "[[start]]\nport = \"udp:5001\"\n");
        let mine =
            format!("[[start]]\nport = \"tcp:5002\"\nprogram = \"{own}\"\nuser = \"root\"\n");
        world.define("mine", &[], "", &mine);
        let others = "[[start]]\nport = \"tcp:5002\"\nprogram = \"/usr/sbin/other\"\n";
        world.define("others", &[], "", others);
        let stop =
            "[[start]]\nport = \"udp:5001\"\n[[stop]]\nport = \"udp:5001\"\nwhen = \"closed\"\n";
        world.define("closes", &[], "follow = false\n", stop);
        world.start();
        wait_for("the source", || source(world, "ports").reads > 0);
        let first = std::net::UdpSocket::bind("127.0.0.1:5001").unwrap();
        world.wait_running("open");
        let closes = world.wait_running("closes");
        // Another socket for the same port changes nothing, and neither does the end of the first.
        let second = std::net::UdpSocket::bind("[::1]:5001");
        let listener = std::net::TcpListener::bind("127.0.0.1:5002").unwrap();
        world.wait_running("mine");
        assert_eq!(world.status("others").state, "STOPPED");
        drop(second);
        drop(first);
        world.wait_state("open", "STOPPED");
        // It is opened again before it counts as closed.
        let again = std::net::UdpSocket::bind("127.0.0.1:5001").unwrap();
        world.wait_running("open");
        assert_eq!(world.status("closes").run, closes.run);
        drop(again);
        let stopped = world.wait_state("closes", "STOPPED");
        assert_eq!(stopped.held_back.as_deref(), Some("stopped_by_trigger"));
        drop(listener);
        world.wait_state("mine", "STOPPED");
        assert_eq!(world.recorded("others", "start").len(), 0);
        assert_eq!(world.recorded("open", "start").len(), 2);
        let ports = source(world, "ports");
        assert_eq!(ports.mechanism, "tracepoints, sock_diag");
        assert_eq!(ports.losses, 0);
    }
);

case!(
    without_the_right_to_trace_ports_are_looked_for_and_that_is_said as User,
    |world| {
        Links::open().unwrap().set_up("lo", true).unwrap();
        world.define("open", &[], "", "[[start]]\nport = \"tcp:5001\"\n");
        world.start();
        wait_for("the source", || source(world, "ports").reads > 0);
        assert_eq!(source(world, "ports").mechanism, "sock_diag every 2 s");
        let listener = std::net::TcpListener::bind("127.0.0.1:5001").unwrap();
        world.wait_running("open");
        drop(listener);
        world.wait_state("open", "STOPPED");
    }
);

case!(
    what_one_definition_gives_up_another_may_begin_to_wait_for as Root,
    |world| {
        Links::open().unwrap().set_up("lo", true).unwrap();
        let mut links = cable();
        links.add_address("va", address(1), 24).unwrap();
        let _socket = std::net::UdpSocket::bind("127.0.0.1:5001").unwrap();
        let (network, port) = ("network = \"available\"", "port = \"udp:5001\"");
        world.define(
            "a",
            &[],
            "",
            &format!("[[start]]\n{network}\n[[start]]\n{port}\n"),
        );
        world.start();
        world.wait_running("a");
        // In one look one ceases to wait for both, and the others begin to.
        world.define("a", &[], "", "");
        world.define("b", &[], "", &format!("[[start]]\n{network}\n"));
        world.define("c", &[], "", &format!("[[start]]\n{port}\n"));
        world.arrival(&["reload"]);
        world.wait_running("b");
        world.wait_running("c");
        world.wait_state("a", "STOPPED");
    }
);
