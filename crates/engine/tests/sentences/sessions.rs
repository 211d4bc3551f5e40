//! Subscriptions: a snapshot, then every change.

use arrival_engine::api::*;
use arrival_model::interface::Interface;
use arrival_model::trigger::{FoldedId, Wait};

use crate::world::*;

fn everything() -> Filter {
    Filter {
        interfaces: true,
        states: true,
        ..Filter::default()
    }
}

fn subscribe(world: &mut World, filter: Filter) {
    world.request(GUEST, Request::Subscribe(filter)).unwrap();
}

#[test]
fn a_subscription_begins_with_what_is_there_and_then_tells_each_change_once() {
    let (mut world, a, _) = World::running();
    subscribe(
        &mut world,
        Filter {
            states: false,
            ..everything()
        },
    );
    assert!(world.took(&Effect::Readable(GUEST)));
    let first = world.notices(GUEST);
    assert_eq!(first.len(), 2);
    assert!(matches!(&first[0].kind, NoticeKind::Interface(i) if i.key == a.key));
    assert_eq!(first[1].kind, NoticeKind::SnapshotComplete);
    assert_eq!(first[0].cursor, first[1].cursor);

    let b = device("b", 2);
    world.arrive(&b);
    assert!(world.took(&Effect::Readable(GUEST)));
    world.leave(&b);
    assert!(
        !world.took(&Effect::Readable(GUEST)),
        "it was said once, and not read since"
    );
    let changes = world.notices(GUEST);
    assert!(matches!(&changes[0].kind, NoticeKind::Arrival(i) if i.key == b.key));
    assert!(matches!(&changes[1].kind, NoticeKind::Removal(i) if i.key == b.key));
    assert_eq!(changes[0].previous, Some(first[1].cursor));
    assert_eq!(changes[1].previous, Some(changes[0].cursor));
}

#[test]
fn a_change_between_subscribing_and_reading_is_in_the_snapshot_alone() {
    let mut world = World::new();
    subscribe(
        &mut world,
        Filter {
            states: false,
            ..everything()
        },
    );
    world.arrive(&device("a", 1));
    let notices = world.notices(GUEST);
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(matches!(notices[0].kind, NoticeKind::Interface(_)));
}

#[test]
fn a_subscriber_that_does_not_read_is_told_how_much_it_lost_and_sees_everything_anew() {
    let mut world = World::new();
    subscribe(
        &mut world,
        Filter {
            states: false,
            ..everything()
        },
    );
    world.notices(GUEST);
    for inode in 1..=6 {
        world.arrive(&device(&format!("d{inode}"), inode));
    }
    assert_eq!(world.engine.counters().subscriber_overruns, 1);
    let notices = world.notices(GUEST);
    assert_eq!(notices[0].kind, NoticeKind::SubscriberOverrun { lost: 6 });
    assert_eq!(notices.len(), 1 + 6 + 1);
    assert_eq!(notices.last().unwrap().kind, NoticeKind::SnapshotComplete);
    world.arrive(&device("more", 9));
    assert!(matches!(
        world.notices(GUEST)[0].kind,
        NoticeKind::Arrival(_)
    ));
}

#[test]
fn a_slow_subscriber_costs_nobody_else_anything() {
    let mut world = World::new();
    subscribe(&mut world, everything());
    world
        .request(
            ROOT,
            Request::Subscribe(Filter {
                states: false,
                ..everything()
            }),
        )
        .unwrap();
    world.notices(ROOT);
    for inode in 1..=20 {
        world.arrive(&device(&format!("d{inode}"), inode));
        assert_eq!(world.notices(ROOT).len(), 1);
    }
}

#[test]
fn a_filter_lets_only_its_ids_through_in_any_case() {
    let mut world = World::new();
    let ids = vec![FoldedId::new(r"test\b")];
    subscribe(
        &mut world,
        Filter {
            ids,
            states: false,
            ..everything()
        },
    );
    world.notices(GUEST);
    world.arrive(&device("a", 1));
    world.arrive(&device("b", 2));
    let notices = world.notices(GUEST);
    assert_eq!(notices.len(), 1);
    assert!(matches!(&notices[0].kind, NoticeKind::Arrival(i) if i.name == "b"));
}

#[test]
fn who_waits_for_usable_hears_of_an_arrival_when_it_is_and_who_does_not_hears_at_once() {
    let mut world = World::new();
    subscribe(
        &mut world,
        Filter {
            states: false,
            ..everything()
        },
    );
    let early = Filter {
        states: false,
        wait: Wait::Appeared,
        ..everything()
    };
    world.request(ROOT, Request::Subscribe(early)).unwrap();
    world.notices(GUEST);
    world.notices(ROOT);
    let unready = Interface {
        usable: false,
        ..device("a", 1)
    };
    world.arrive(&unready);
    assert_eq!(
        (world.notices(GUEST).len(), world.notices(ROOT).len()),
        (0, 1)
    );
    world.arrive(&device("a", 1));
    assert_eq!(
        (world.notices(GUEST).len(), world.notices(ROOT).len()),
        (1, 0)
    );
    let never = Interface {
        usable: false,
        ..device("b", 2)
    };
    world.arrive(&never);
    world.leave(&never);
    assert_eq!(
        (world.notices(GUEST).len(), world.notices(ROOT).len()),
        (0, 2)
    );
}

#[test]
fn an_overrun_of_a_source_and_its_healing_are_told() {
    let mut world = World::new();
    subscribe(
        &mut world,
        Filter {
            states: false,
            ..everything()
        },
    );
    world.notices(GUEST);
    world.event(Event::Overrun { source: "kernel" });
    world.snapshot(&[&device("a", 1)]);
    let kinds: Vec<NoticeKind> = world.notices(GUEST).into_iter().map(|n| n.kind).collect();
    assert_eq!(kinds[0], NoticeKind::SourceOverrun("kernel"));
    assert!(matches!(kinds[1], NoticeKind::Arrival(_)));
    assert_eq!(kinds[2], NoticeKind::Resync("kernel"));
}
