//! What is believed when members say, or are said, to be there.

use bytes::Bytes;

use super::super::{Event, Refusal};
use super::*;
use crate::message::{MAX_META, NodeState};

#[test]
fn a_member_begins_alive_and_says_so() {
    let mut bench = Bench::new();
    assert_eq!(bench.state("us"), Some(State::Alive));
    assert_eq!(bench.queued(), [Message::Alive(alive_of("us", 1))]);
}

#[test]
fn a_newcomer_is_believed_and_told_of() {
    let mut bench = Bench::new();
    bench.alive(alive_of("a1", 1));
    assert_eq!(bench.state("a1"), Some(State::Alive));
    assert_eq!(bench.events(), [Event::Joined("a1".into())]);
    assert_eq!(
        bench.queued_about("a1"),
        [Message::Alive(alive_of("a1", 1))]
    );
    // What is no news is not told again.
    while !bench.queued_about("a1").is_empty() {
        bench.pass(SECOND);
    }
    bench.alive(alive_of("a1", 1));
    assert_eq!(bench.queued_about("a1"), []);
}

#[test]
fn an_incarnation_of_zero_never_takes_effect() {
    let mut bench = Bench::new();
    bench.alive(alive_of("a1", 0));
    assert_eq!(bench.state("a1"), None);
}

#[test]
fn only_higher_incarnations_change_what_is_known() {
    let mut bench = Bench::knowing(&["a1"]);
    let with = |incarnation, meta: &'static str| Alive {
        meta: Bytes::from_static(meta.as_bytes()),
        ..alive_of("a1", incarnation)
    };
    bench.alive(with(1, "same"));
    assert_eq!(bench.known("a1").alive.meta, "");
    bench.alive(with(5, "new"));
    assert_eq!(bench.known("a1").alive, with(5, "new"));
    assert_eq!(bench.events(), [Event::Changed("a1".into())]);
    bench.alive(with(4, "late"));
    assert_eq!(bench.known("a1").alive, with(5, "new"));
}

#[test]
fn a_name_stays_at_its_address_while_its_member_is_there() {
    let mut bench = Bench::knowing(&["a1"]);
    let moved = Alive {
        port: 7999,
        ..alive_of("a1", 9)
    };
    bench.alive(moved.clone());
    assert_eq!(bench.known("a1").alive, alive_of("a1", 1));
    let conflict = Event::Conflict {
        node: "a1".into(),
        known: socket("a1"),
        claimed: addr("a1").socket(7999),
    };
    assert_eq!(bench.events(), [conflict]);
    // Nor does it move when it is dead, unless that is allowed.
    bench.dead("a1", 1, "b2");
    bench.pass(20 * SECOND);
    bench.alive(moved);
    assert_eq!(bench.state("a1"), Some(State::Dead));
}

#[test]
fn the_width_of_an_address_is_part_of_it() {
    let mut bench = Bench::knowing(&["a1"]);
    let Addr::V4(narrow) = addr("a1") else {
        unreachable!()
    };
    let mut wide = [0; 16];
    wide[10] = 0xff;
    wide[11] = 0xff;
    wide[12..].copy_from_slice(&narrow);
    bench.alive(Alive {
        addr: Addr::V16(wide),
        ..alive_of("a1", 9)
    });
    assert_eq!(bench.known("a1").alive, alive_of("a1", 1));
    assert!(matches!(&bench.events()[..], [Event::Conflict { .. }]));
}

#[test]
fn a_name_that_has_left_can_be_taken_at_once() {
    let mut bench = Bench::knowing(&["a1"]);
    bench.dead("a1", 7, "a1");
    assert_eq!(bench.state("a1"), Some(State::Left));
    // Another member by that name begins at 1.
    let moved = Alive {
        port: 7999,
        ..alive_of("a1", 1)
    };
    bench.alive(moved.clone());
    assert_eq!(bench.known("a1").alive, moved);
    assert_eq!(bench.state("a1"), Some(State::Alive));
}

#[test]
fn a_dead_members_name_can_be_reclaimed_after_a_time() {
    let mut bench = Bench::with(|config| {
        config.reclaim_after = 10 * SECOND;
        config.gossip_to_dead = 100 * SECOND;
    });
    bench.meet(&["a1", "b2"]);
    bench.dead("a1", 1, "b2");
    let moved = Alive {
        port: 7999,
        ..alive_of("a1", 1)
    };
    bench.now += 10 * SECOND;
    bench.alive(moved.clone());
    assert_eq!(bench.state("a1"), Some(State::Dead));
    bench.now += SECOND;
    bench.alive(moved.clone());
    assert_eq!(bench.known("a1").alive, moved);
}

#[test]
fn what_would_poison_gos_members_is_neither_believed_nor_repeated() {
    let versions = |vsn| Alive {
        vsn: Vsn(vsn),
        ..alive_of("a1", 1)
    };
    let cases = [
        (versions([0, 0, 0, 0, 0, 0]), Refusal::Versions),
        (versions([5, 1, 2, 0, 0, 0]), Refusal::Versions),
        (versions([3, 5, 3, 0, 0, 0]), Refusal::Versions),
        (versions([1, 1, 1, 0, 0, 0]), Refusal::Versions),
        (versions([1, 5, 4, 0, 0, 0]), Refusal::Versions),
        (versions([1, 5, 2, 1, 1, 1]), Refusal::Versions),
        (
            Alive {
                meta: vec![0; MAX_META + 1].into(),
                ..alive_of("a1", 1)
            },
            Refusal::Meta,
        ),
        (alive_of("", 1), Refusal::Name),
        (alive_of(&"n".repeat(513), 1), Refusal::Name),
    ];
    for (alive, why) in cases {
        for state in [
            None,
            Some(State::Alive),
            Some(State::Left),
            Some(State::Dead),
        ] {
            let mut bench = Bench::new();
            match state {
                None => bench.alive(alive.clone()),
                Some(state) => {
                    let state = NodeState {
                        alive: alive.clone(),
                        state,
                    };
                    bench.node.merge(bench.now, vec![state]);
                }
            }
            assert_eq!(bench.node.records().count(), 1, "{alive:?}");
            assert_eq!(bench.queued().len(), 1);
            let events = bench.events();
            let refused =
                |event: &Event| matches!(event, Event::Refused { why: told, .. } if *told == why);
            assert!(
                events.iter().all(refused) && events.len() == 1,
                "{events:?}"
            );
        }
    }
}

#[test]
fn an_exchange_with_one_bad_record_still_brings_the_others() {
    let mut bench = Bench::new();
    let bad = Alive {
        vsn: Vsn([0; 6]),
        ..alive_of("a1", 1)
    };
    let states = [bad, alive_of("b2", 1)].map(|alive| NodeState {
        alive,
        state: State::Alive,
    });
    bench.node.merge(bench.now, states.to_vec());
    assert_eq!(bench.state("a1"), None);
    assert_eq!(bench.state("b2"), Some(State::Alive));
}

#[test]
fn members_are_remembered_up_to_a_number() {
    let mut bench = Bench::with(|config| config.max_nodes = 3);
    for name in ["a1", "b2", "c3"] {
        bench.alive(alive_of(name, 1));
    }
    assert_eq!(bench.state("b2"), Some(State::Alive));
    assert_eq!(bench.state("c3"), None);
}

#[test]
fn a_port_of_zero_means_the_default() {
    let mut bench = Bench::new();
    bench.alive(Alive {
        port: 0,
        ..alive_of("a1", 1)
    });
    assert_eq!(bench.known("a1").alive.port, 7946);
}

#[test]
fn foreign_metadata_is_kept_and_told_as_it_is() {
    let mut bench = Bench::new();
    let zone = Alive {
        meta: Bytes::from_static(b"\x01\x02\x06zone-a"),
        ..alive_of("a1", 3)
    };
    bench.alive(zone.clone());
    assert_eq!(bench.queued_about("a1"), [Message::Alive(zone.clone())]);
    let told = bench.node.states();
    assert!(told.iter().any(|state| state.alive == zone));
}
