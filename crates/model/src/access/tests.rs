//! The access check, row by row.

use super::sddl::{ACE_LIMIT, TEXT_LIMIT};
use super::*;

const POLICY: AccessPolicy = AccessPolicy {
    own_uid: 0,
    administrators: Some(27),
};

fn peer(uid: u32) -> Peer {
    Peer {
        uid,
        gid: uid,
        groups: vec![100],
        interactive: false,
        service: false,
    }
}

fn descriptor(text: &str) -> Descriptor {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn rights(policy: &AccessPolicy, peer: &Peer, sddl: Option<&str>) -> Vec<Right> {
    let descriptor = sddl.map(descriptor);
    Right::ALL
        .into_iter()
        .filter(|right| policy.check(peer, descriptor.as_ref(), *right).is_ok())
        .collect()
}

const QUERY: [Right; 2] = [Right::QueryStatus, Right::QueryConfig];

#[test]
fn without_a_descriptor_administrators_control_and_others_query() {
    let mut member = peer(1000);
    member.groups.push(27);
    assert_eq!(rights(&POLICY, &peer(0), None), Right::ALL);
    assert_eq!(rights(&POLICY, &member, None), Right::ALL);
    assert_eq!(rights(&POLICY, &peer(1000), None), QUERY);
    let private = AccessPolicy {
        own_uid: 1000,
        administrators: None,
    };
    assert_eq!(rights(&private, &peer(1000), None), Right::ALL);
    assert_eq!(rights(&private, &peer(0), None), Right::ALL);
    assert_eq!(rights(&private, &member, None), Right::ALL);
    assert_eq!(rights(&private, &peer(1001), None), QUERY);
}

#[test]
fn the_default_descriptor_has_the_same_effect_as_none() {
    let policies = [
        POLICY,
        AccessPolicy::default(),
        AccessPolicy {
            own_uid: 1000,
            administrators: None,
        },
    ];
    for policy in &policies {
        for uid in [0, 27, 1000, 1001] {
            for interactive in [false, true] {
                let peer = Peer {
                    interactive,
                    ..peer(uid)
                };
                assert_eq!(
                    rights(policy, &peer, None),
                    rights(policy, &peer, Some(DEFAULT_DESCRIPTOR)),
                    "{policy:?} {peer:?}"
                );
            }
        }
    }
}

#[test]
fn windows_default_descriptor_lets_only_sessions_and_services_query() {
    let windows = "D:(A;;CCLCSWRPWPDTLOCRRC;;;SY)(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;BA)\
                   (A;;CCLCSWLOCRRC;;;IU)(A;;CCLCSWLOCRRC;;;SU)S:(AU;FA;CCDC;;;WD)";
    let at_a_terminal = Peer {
        interactive: true,
        ..peer(1000)
    };
    let in_a_service = Peer {
        service: true,
        ..peer(1000)
    };
    assert_eq!(rights(&POLICY, &peer(0), Some(windows)), Right::ALL);
    assert_eq!(rights(&POLICY, &at_a_terminal, Some(windows)), QUERY);
    assert_eq!(rights(&POLICY, &in_a_service, Some(windows)), QUERY);
    assert_eq!(rights(&POLICY, &peer(1000), Some(windows)), []);
}

#[test]
fn every_sid_names_whom_the_table_says() {
    let nobody = peer(1000);
    let system = peer(0);
    let session = Peer {
        interactive: true,
        ..peer(1000)
    };
    let service = Peer {
        service: true,
        ..peer(1000)
    };
    let administrator = Peer {
        groups: vec![27],
        ..peer(1000)
    };
    let rows: [(&str, [bool; 5]); 18] = [
        ("SY", [false, true, false, false, false]),
        ("S-1-5-18", [false, true, false, false, false]),
        ("BA", [false, true, false, false, true]),
        ("S-1-5-32-544", [false, true, false, false, true]),
        ("IU", [false, false, true, false, false]),
        ("S-1-5-4", [false, false, true, false, false]),
        ("SU", [false, false, false, true, false]),
        ("s-1-5-6", [false, false, false, true, false]),
        ("AU", [true; 5]),
        ("BU", [true; 5]),
        ("WD", [true; 5]),
        ("S-1-1-0", [true; 5]),
        ("S-1-22-1-1000", [true, false, true, true, true]),
        ("S-1-22-1-0", [false, true, false, false, false]),
        ("S-1-22-2-100", [true, true, true, true, false]),
        ("S-1-22-2-27", [false, false, false, false, true]),
        ("PU", [false; 5]),
        ("S-1-5-21-1-2-3-500", [false; 5]),
    ];
    for (sid, expected) in rows {
        let text = format!("D:(A;;RP;;;{sid})");
        let may = [&nobody, &system, &session, &service, &administrator].map(|peer| {
            POLICY
                .check(peer, Some(&descriptor(&text)), Right::Start)
                .is_ok()
        });
        assert_eq!(may, expected, "{sid}");
    }
}

#[test]
fn every_letter_grants_its_right_and_no_other() {
    let rows = [
        ("CC", vec![Right::QueryConfig]),
        ("DC", vec![Right::ChangeConfig]),
        ("LC", vec![Right::QueryStatus]),
        ("RP", vec![Right::Start]),
        ("WP", vec![Right::Stop]),
        ("rpwp", vec![Right::Start, Right::Stop]),
        ("SWDTLOCRSDRCWDWO", vec![]),
        ("0x10", vec![Right::Start]),
        ("0X30", vec![Right::Start, Right::Stop]),
        ("32", vec![Right::Stop]),
        ("040", vec![Right::Stop]),
        ("GR", QUERY.to_vec()),
        ("0x80000000", QUERY.to_vec()),
        ("GW", vec![Right::ChangeConfig]),
        ("GX", vec![Right::Start, Right::Stop]),
        ("", vec![]),
    ];
    for (letters, expected) in rows {
        let text = format!("D:(A;;{letters};;;WD)");
        assert_eq!(
            rights(&POLICY, &peer(1000), Some(&text)),
            expected,
            "{letters}"
        );
    }
    let all: Vec<Right> = Right::ALL
        .into_iter()
        .filter(|right| right.bit().is_some())
        .collect();
    assert_eq!(rights(&POLICY, &peer(1000), Some("D:(A;;GA;;;WD)")), all);
}

#[test]
fn the_first_entry_that_names_peer_and_right_decides() {
    let alice = peer(1000);
    let start = |text| {
        POLICY
            .check(&alice, Some(&descriptor(text)), Right::Start)
            .is_ok()
    };
    assert!(!start("D:(D;;RP;;;S-1-22-1-1000)(A;;RP;;;WD)"));
    assert!(start("D:(A;;RP;;;WD)(D;;RP;;;S-1-22-1-1000)"));
    assert!(start("D:(D;;WP;;;S-1-22-1-1000)(A;;RP;;;WD)"));
    assert!(start("D:(D;;RP;;;S-1-22-1-1001)(A;;RP;;;WD)"));
    assert!(
        !start("D:(A;IO;RP;;;WD)"),
        "an entry for heirs only does not apply"
    );
    assert!(start("D:PAI(A;CIOI;RP;;;WD)"));
}

#[test]
fn an_empty_list_denies_everybody_and_no_list_allows_everybody() {
    assert_eq!(rights(&POLICY, &peer(0), Some("D:")), [Right::Administer]);
    assert_eq!(rights(&POLICY, &peer(0), Some("D:P")), [Right::Administer]);
    let open = rights(&POLICY, &peer(1000), Some("D:NO_ACCESS_CONTROL"));
    assert_eq!(open.len(), 5, "{open:?}");
    assert_eq!("O:BAG:SY".parse::<Descriptor>(), Err(SddlError::NoDacl));
}

#[test]
fn no_service_can_grant_the_right_to_the_manager() {
    for text in [
        "D:(A;;GA;;;WD)",
        "D:(A;;0xffffffff;;;WD)",
        "D:NO_ACCESS_CONTROL",
    ] {
        let descriptor = descriptor(text);
        assert!(
            POLICY
                .check(&peer(1000), Some(&descriptor), Right::Administer)
                .is_err()
        );
        assert!(
            POLICY
                .check(&peer(0), Some(&descriptor), Right::Administer)
                .is_ok()
        );
    }
}

#[test]
fn owner_group_and_audit_parts_are_read_over() {
    let entries = descriptor("D:(A;;RP;;;WD)").entries;
    for text in [
        "O:SYG:SYD:(A;;RP;;;WD)",
        "O:S-1-5-18G:BAD:(A;;RP;;;WD)S:(AU;SAFA;CC;;;WD)",
        "  D:AI(A; ;RP;;;WD) S:NO_ACCESS_CONTROL",
        "d:(a;;rp;;;wd)",
    ] {
        assert_eq!(descriptor(text).entries, entries, "{text}");
    }
}

#[test]
fn the_messages_say_who_may() {
    let denied = |policy: &AccessPolicy, text: Option<&str>, right| {
        let descriptor = text.map(descriptor);
        match policy.check(&peer(1000), descriptor.as_ref(), right) {
            Err(denied) => denied.to("gpsd").to_string(),
            Ok(()) => "allowed".to_owned(),
        }
    };
    assert_eq!(
        denied(&AccessPolicy::default(), None, Right::Start),
        "user 1000 may not start 'gpsd': only root may"
    );
    let policy = AccessPolicy {
        own_uid: 7,
        administrators: Some(27),
    };
    assert_eq!(
        denied(&policy, None, Right::Administer),
        "user 1000 may not control the manager: only root, user 7 and group 27 may"
    );
    assert_eq!(
        denied(&POLICY, Some("D:(D;;WP;;;IU)(D;;WP;;;WD)"), Right::Stop),
        "user 1000 may not stop 'gpsd': its security descriptor denies that to everybody"
    );
    assert_eq!(
        denied(
            &POLICY,
            Some("D:(A;;GA;;;SY)(A;;GA;;;BA)"),
            Right::ChangeConfig
        ),
        "user 1000 may not change 'gpsd': its security descriptor allows that to root and \
         administrators only"
    );
    assert_eq!(
        denied(&POLICY, Some("D:"), Right::QueryStatus),
        "user 1000 may not see the state of 'gpsd': its security descriptor allows that to \
         nobody only"
    );
}

#[test]
fn malformed_descriptors_get_an_exact_error() {
    let rows = [
        (
            "",
            "the descriptor has no 'D:' part, which would let everybody do everything",
        ),
        ("x", "expected 'O:', 'G:', 'D:' or 'S:' at 'x'"),
        (
            "D:(A;;RP;;;WD)D:",
            "'D:' stands twice or in the wrong place (the order is O: G: D: S:)",
        ),
        (
            "S:D:",
            "'D:' stands twice or in the wrong place (the order is O: G: D: S:)",
        ),
        (
            "D:X(A;;RP;;;WD)",
            "'X' is no flag of a list of entries (P, AR, AI or NO_ACCESS_CONTROL)",
        ),
        (
            "D:(A;;RP;;;WD",
            "the entry '(A;;RP;;;WD' has no closing parenthesis",
        ),
        (
            "D:(A;;RP;;WD)",
            "the entry '(A;;RP;;WD)' has 5 fields, not 6 (type;flags;rights;;;sid)",
        ),
        (
            "D:(OA;;RP;;;WD)",
            "the entry type 'OA' is not supported (A allows, D denies)",
        ),
        (
            "D:(A;XX;RP;;;WD)",
            "'XX' is no flag of an entry (CI, OI, NP, IO, ID)",
        ),
        (
            "D:(A;;RPX;;;WD)",
            "'RPX' is no right to a service (CC DC LC SW RP WP DT LO CR SD RC WD WO, or 0x...)",
        ),
        (
            "D:(A;;0x;;;WD)",
            "'0x' is no right to a service (CC DC LC SW RP WP DT LO CR SD RC WD WO, or 0x...)",
        ),
        (
            "D:(A;;0x+1;;;WD)",
            "'0x+1' is no right to a service (CC DC LC SW RP WP DT LO CR SD RC WD WO, or 0x...)",
        ),
        (
            "D:(A;;RP;{0};;WD)",
            "the entry '(A;;RP;{0};;WD)' names an object type, which a service does not have",
        ),
        (
            "D:(A;;RP;;;QQ)",
            "'QQ' is no SID (SY, BA, IU, SU, AU, WD, S-1-22-1-uid, S-1-22-2-gid, S-1-...)",
        ),
        (
            "D:(A;;RP;;;S-1-22-1-4294967296)",
            "'S-1-22-1-4294967296' is no SID (SY, BA, IU, SU, AU, WD, S-1-22-1-uid, S-1-22-2-gid, S-1-...)",
        ),
        (
            "D:(A;;RP;;;S-1-5-+18)",
            "'S-1-5-+18' is no SID (SY, BA, IU, SU, AU, WD, S-1-22-1-uid, S-1-22-2-gid, S-1-...)",
        ),
        (
            "D:(A;;RP;;;WD)x",
            "expected 'O:', 'G:', 'D:' or 'S:' at 'x'",
        ),
    ];
    for (text, message) in rows {
        let error = text
            .parse::<Descriptor>()
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(message), "{text}");
    }
    let many = format!("D:{}", "(A;;RP;;;WD)".repeat(ACE_LIMIT + 1));
    assert_eq!(many.parse::<Descriptor>(), Err(SddlError::TooLong));
    assert_eq!(
        "D".repeat(TEXT_LIMIT + 1).parse::<Descriptor>(),
        Err(SddlError::TooLong)
    );
}

#[test]
fn no_text_makes_the_reader_panic() {
    // Every text of up to five characters of the grammar, and of one that is three bytes long.
    let alphabet = ['D', ':', '(', ')', ';', 'A', '-', '0', '\u{20ac}'];
    let mut texts = vec![String::new()];
    for _ in 0..5 {
        texts = texts
            .iter()
            .flat_map(|text| alphabet.iter().map(move |c| format!("{text}{c}")))
            .collect();
        for text in &texts {
            let _ = text.parse::<Descriptor>();
            let _ = format!("D:(A;;{text};;;{text})").parse::<Descriptor>();
        }
    }
}
