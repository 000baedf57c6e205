//! What is believed when members are said not to be there, this one included.

use super::super::{Event, Refusal};
use super::*;
use crate::message::NodeState;

#[test]
fn a_suspected_member_that_stays_silent_is_dead() {
    let mut bench = Bench::knowing(&["a1", "b2"]);
    bench.suspect("a1", 1, "b2");
    assert_eq!(bench.state("a1"), Some(State::Suspect));
    let suspicion = Message::Suspect(accusation("a1", 1, "b2"));
    assert_eq!(bench.queued_about("a1"), [suspicion]);
    let began = bench.now;
    let actions = bench.pass(20 * SECOND);
    let gone = Event::Gone {
        node: "a1".into(),
        state: State::Dead,
    };
    let at = actions
        .iter()
        .find(|(_, action)| *action == Action::Event(gone.clone()));
    assert_eq!(at.unwrap().0 - began, 20 * SECOND);
    assert_eq!(bench.state("a1"), Some(State::Dead));
    let death = Message::Dead(accusation("a1", 1, "us"));
    assert_eq!(bench.queued_about("a1"), [death]);
}

#[test]
fn a_suspected_member_that_speaks_is_alive() {
    let mut bench = Bench::knowing(&["a1", "b2"]);
    bench.suspect("a1", 1, "b2");
    // The incarnation that was accused does not do.
    bench.alive(alive_of("a1", 1));
    assert_eq!(bench.state("a1"), Some(State::Suspect));
    bench.alive(alive_of("a1", 2));
    assert_eq!(bench.state("a1"), Some(State::Alive));
    assert!(bench.events().contains(&Event::Cleared("a1".into())));
    bench.suspect("a1", 1, "b2");
    assert_eq!(bench.state("a1"), Some(State::Alive), "an old accusation");
    assert!(!bench.node.suspicions.contains_key("a1"));
}

#[test]
fn confirmations_hasten_the_end_and_are_repeated() {
    let mut bench = Bench::knowing(&["a1", "b2", "c3", "d4", "e5"]);
    bench.suspect("a1", 1, "b2");
    let slow = bench.node.suspicions["a1"].deadline() - bench.now;
    assert_eq!(slow, 120 * SECOND);
    bench.suspect("a1", 1, "c3");
    assert_eq!(
        bench.queued_about("a1"),
        [Message::Suspect(accusation("a1", 1, "c3"))]
    );
    bench.suspect("a1", 1, "d4");
    let fast = bench.node.suspicions["a1"].deadline() - bench.now;
    assert_eq!(fast, 20 * SECOND);
    bench.suspect("a1", 1, "e5");
    assert_eq!(
        bench.queued_about("a1"),
        [Message::Suspect(accusation("a1", 1, "d4"))]
    );
}

#[test]
fn strangers_are_not_accused() {
    let mut bench = Bench::new();
    bench.suspect("a1", 1, "b2");
    bench.dead("a1", 1, "b2");
    assert_eq!(bench.state("a1"), None);
    assert_eq!(bench.queued_about("a1"), []);
}

#[test]
fn a_death_is_told_once() {
    let mut bench = Bench::knowing(&["a1"]);
    bench.dead("a1", 3, "b2");
    assert_eq!(bench.state("a1"), Some(State::Dead));
    assert_eq!(bench.known("a1").alive.incarnation, 3);
    while !bench.queued_about("a1").is_empty() {
        bench.pass(SECOND);
    }
    bench.dead("a1", 4, "c3");
    bench.suspect("a1", 4, "c3");
    assert_eq!(bench.queued_about("a1"), []);
    assert_eq!(bench.known("a1").alive.incarnation, 3);
}

#[test]
fn the_dead_come_back_with_a_higher_incarnation_only() {
    let mut bench = Bench::knowing(&["a1"]);
    bench.dead("a1", 3, "b2");
    bench.alive(alive_of("a1", 3));
    assert_eq!(bench.state("a1"), Some(State::Dead));
    bench.alive(alive_of("a1", 4));
    assert_eq!(bench.state("a1"), Some(State::Alive));
}

#[test]
fn a_suspicion_of_this_member_is_refuted() {
    let mut bench = Bench::knowing(&["a1"]);
    bench.suspect("us", 1, "a1");
    assert_eq!(bench.state("us"), Some(State::Alive));
    assert_eq!(bench.own_incarnation(), 2);
    assert_eq!(
        bench.queued_about("us"),
        [Message::Alive(alive_of("us", 2))]
    );
    assert_eq!(bench.events(), [Event::Refuted { incarnation: 2 }]);
    assert_eq!(bench.node.health_score(), 1);
    // The same accusation is answered already.
    bench.suspect("us", 1, "a1");
    assert_eq!(bench.own_incarnation(), 2);
}

#[test]
fn a_death_of_this_member_is_refuted() {
    let mut bench = Bench::knowing(&["a1"]);
    bench.dead("us", 41, "a1");
    assert_eq!(bench.own_incarnation(), 42);
    assert_eq!(bench.state("us"), Some(State::Alive));
    // An earlier run of this member has left.
    bench.dead("us", 50, "us");
    assert_eq!(bench.own_incarnation(), 51);
    assert_eq!(
        bench.queued_about("us"),
        [Message::Alive(alive_of("us", 51))]
    );
}

#[test]
fn what_an_earlier_run_said_of_this_member_is_refuted() {
    let mut bench = Bench::new();
    bench.alive(alive_of("us", 5));
    assert_eq!(bench.own_incarnation(), 6);
    // The very same is what others repeat.
    bench.alive(alive_of("us", 6));
    assert_eq!(bench.own_incarnation(), 6);
    // The same incarnation with other data is not.
    bench.alive(Alive {
        meta: bytes::Bytes::from_static(b"old"),
        ..alive_of("us", 6)
    });
    assert_eq!(bench.own_incarnation(), 7);
    assert_eq!(bench.known("us").alive.meta, "");
    bench.alive(alive_of("us", 3));
    assert_eq!(bench.own_incarnation(), 7);
}

#[test]
fn an_incarnation_that_cannot_be_exceeded_is_not_believed() {
    let mut bench = Bench::new();
    bench.suspect("us", u32::MAX, "a1");
    assert_eq!(bench.own_incarnation(), 1);
    let refused = Event::Refused {
        node: "us".into(),
        why: Refusal::Incarnation,
    };
    assert_eq!(bench.events(), [refused]);
}

#[test]
fn reported_dead_members_are_suspected_and_reported_left_ones_are_gone() {
    let mut bench = Bench::knowing(&["a1", "b2", "c3"]);
    let state = |name, state| NodeState {
        alive: alive_of(name, 1),
        state,
    };
    let states = vec![
        state("a1", State::Dead),
        state("b2", State::Suspect),
        state("c3", State::Left),
        state("d4", State::Dead),
    ];
    bench.node.merge(bench.now, states);
    assert_eq!(bench.state("a1"), Some(State::Suspect));
    assert_eq!(bench.state("b2"), Some(State::Suspect));
    assert_eq!(bench.state("c3"), Some(State::Left));
    assert_eq!(bench.state("d4"), None);
    let suspicion = Message::Suspect(accusation("a1", 1, "us"));
    assert_eq!(bench.queued_about("a1"), [suspicion]);
}

#[test]
fn reports_of_this_members_end_are_refuted() {
    for (state, incarnation) in [(State::Suspect, 8), (State::Dead, 9), (State::Left, 10)] {
        let mut bench = Bench::new();
        let report = NodeState {
            alive: alive_of("us", incarnation),
            state,
        };
        bench.node.merge(bench.now, vec![report]);
        assert_eq!(bench.own_incarnation(), incarnation + 1);
        assert_eq!(bench.state("us"), Some(State::Alive));
    }
}

#[test]
fn a_member_that_leaves_says_so_and_refutes_nothing() {
    let mut bench = Bench::knowing(&["a1"]);
    assert!(!bench.node.has_left());
    bench.node.leave(bench.now);
    assert_eq!(bench.state("us"), Some(State::Left));
    assert!(!bench.node.has_left());
    bench.suspect("us", 1, "a1");
    bench.alive(alive_of("us", 9));
    bench.dead("us", 9, "a1");
    assert_eq!(bench.own_incarnation(), 1);
    let actions = bench.pass(2 * SECOND);
    let end = Message::Dead(accusation("us", 1, "us"));
    let told = sent(&actions)
        .into_iter()
        .filter(|(_, message)| **message == end);
    assert_eq!(told.count(), 4, "as often as any message");
    assert!(bench.node.has_left());
}

#[test]
fn a_member_that_is_alone_has_left_at_once() {
    let mut bench = Bench::new();
    bench.node.leave(bench.now);
    assert!(bench.node.has_left());
    let mut bench = Bench::knowing(&["a1"]);
    bench.dead("a1", 1, "a1");
    bench.node.leave(bench.now);
    assert!(bench.node.has_left());
}
