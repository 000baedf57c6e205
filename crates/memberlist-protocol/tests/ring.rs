//! Who is in a ring: joining, leaving, dying, lying, partitions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

mod support;

use memberlist_protocol::membership::{Event, Priority};
use memberlist_protocol::message::{Accusation, Message, State};
use support::{Ring, SECOND, addr, name};

/// What member 2 says of member 1.
fn accusation(incarnation: u32) -> Accusation {
    Accusation {
        incarnation,
        node: name(1),
        from: name(2),
    }
}

#[test]
fn members_find_each_other() {
    for (count, most) in [(2, 2), (10, 3), (100, 6)] {
        let mut ring = Ring::new(count as u64);
        for number in 0..count {
            ring.start(&name(number), addr(number));
            if number > 0 {
                ring.push_pull(number, ring.members[0].address);
            }
        }
        let took = ring.until(most * SECOND, "all know all", |ring| ring.agree(count));
        println!("{count} members know all after {took:?}");
        ring.pass(60 * SECOND);
        assert!(ring.agree(count));
        assert!(!ring.has_event(|event| matches!(event, Event::Suspected { .. })));
    }
}

#[test]
fn a_message_reaches_all_within_a_second() {
    let mut ring = Ring::of(100, 3);
    ring.write(17, "key", "value");
    ring.until(SECOND, "all have it", |ring| {
        ring.have("key", "value") == 100
    });
    // And then it ends.
    ring.pass(5 * SECOND);
    for member in &ring.members {
        assert_eq!(member.node.waiting(Priority::Own), (0, 0));
        assert_eq!(member.node.waiting(Priority::Relayed), (0, 0));
    }
    let before = ring.traffic.packets;
    ring.pass(60 * SECOND);
    // Pings and their answers, every 5 s, are all that is left.
    assert!(ring.traffic.packets - before < 100 * 12 * 2 + 200);
}

#[test]
fn a_killed_member_is_found_by_all() {
    for count in [3, 10, 100] {
        let mut ring = Ring::of(count, 5);
        ring.stop(1);
        let most = if count == 100 { 120 } else { 75 };
        let took = ring.until(most * SECOND, "all take it for dead", |ring| {
            ring.all_take("node-1", &[Some(State::Dead), None])
        });
        println!("{count} members know of a death after {took:?}");
        assert!(ring.agree(count - 1), "and for no other");
        ring.until(900 * SECOND, "all forget it", |ring| {
            ring.all_take("node-1", &[None])
        });
        assert!(ring.agree(count - 1));
    }
}

#[test]
fn a_member_that_leaves_is_gone_at_once_and_can_come_back_elsewhere() {
    let mut ring = Ring::of(10, 6);
    ring.members[1].node.leave(ring.now);
    ring.poll(1);
    let took = ring.until(5 * SECOND, "it has left", |ring| {
        ring.members[1].node.has_left()
    });
    assert!(took < 3 * SECOND, "{took:?}");
    ring.stop(1);
    ring.until(2 * SECOND, "all know", |ring| {
        ring.all_take("node-1", &[Some(State::Left)])
    });
    // Under its name, at another address, with an incarnation that begins again.
    let number = ring.start("node-1", addr(77));
    ring.push_pull(number, ring.members[0].address);
    ring.until(3 * SECOND, "all know it again", |ring| ring.agree(10));
    for who in ring.running() {
        let record = ring.members[who].node.record("node-1").unwrap();
        assert_eq!(record.alive.addr, addr(77));
    }
}

#[test]
fn a_member_that_crashed_comes_back_under_its_name() {
    let mut ring = Ring::of(5, 7);
    // Its earlier run has refuted something: the new one begins below.
    let source = ring.members[2].address;
    ring.deliver(1, source, vec![Message::Suspect(accusation(1))]);
    ring.until(3 * SECOND, "all believe it", |ring| ring.all_know(2));
    ring.stop(1);
    // Sooner than the others have noticed.
    ring.pass(2 * SECOND);
    let number = ring.start("node-1", addr(1));
    ring.push_pull(number, ring.members[0].address);
    ring.until(5 * SECOND, "all believe the new run", |ring| {
        ring.all_know(3)
    });
    ring.pass(60 * SECOND);
    assert!(ring.agree(5) && ring.all_know(3));
}

#[test]
fn a_name_at_another_address_is_refused_until_the_old_one_is_forgotten() {
    let mut ring = Ring::of(5, 8);
    let number = ring.start("node-1", addr(66));
    ring.push_pull(number, ring.members[0].address);
    ring.pass(5 * SECOND);
    assert!(ring.has_event(|event| matches!(event, Event::Conflict { .. })));
    assert_eq!(
        ring.members[2].node.record("node-1").unwrap().alive.addr,
        addr(1)
    );
    ring.stop(1);
    ring.until(200 * SECOND, "the name is free", |ring| {
        ring.running()
            .filter(|&who| who != number)
            .all(|who| ring.taken_for(who, "node-1").is_none())
    });
    ring.push_pull(number, ring.members[0].address);
    ring.until(5 * SECOND, "it is taken", |ring| ring.agree(5));
}

#[test]
fn a_false_accusation_is_refuted() {
    let mut ring = Ring::of(10, 9);
    let source = ring.members[2].address;
    ring.deliver(3, source, vec![Message::Suspect(accusation(1))]);
    assert_eq!(ring.taken_for(3, "node-1"), Some(State::Suspect));
    ring.until(3 * SECOND, "all believe it again", |ring| ring.all_know(2));
    ring.deliver(4, source, vec![Message::Dead(accusation(2))]);
    assert_eq!(ring.taken_for(4, "node-1"), Some(State::Dead));
    ring.until(3 * SECOND, "all believe it again", |ring| ring.all_know(3));
    assert!(ring.agree(10));
}

#[test]
fn a_member_that_was_stopped_is_taken_back_and_accuses_no_other() {
    let mut ring = Ring::of(10, 10);
    ring.stop(1);
    ring.until(120 * SECOND, "it is dead for all", |ring| {
        ring.all_take("node-1", &[Some(State::Dead), None])
    });
    ring.go_on(1);
    // Gossip to the recently dead tells it, or its own exchange of states does.
    ring.until(40 * SECOND, "all have it back", |ring| ring.agree(10));
    let of_itself = |event: &Event| matches!(event, Event::Suspected { by, .. } if by == "node-1");
    assert!(!ring.has_event(of_itself));
}

#[test]
fn the_parts_of_a_split_ring_find_each_other_again() {
    let mut ring = Ring::of(10, 11);
    for number in 0..4 {
        ring.members[number].part = 1;
    }
    // Not so long that all are dead and forgotten: then a member has to join again.
    let doubts = |state| matches!(state, Some(State::Dead | State::Suspect));
    ring.until(60 * SECOND, "each part doubts the other", |ring| {
        doubts(ring.taken_for(0, "node-9")) && doubts(ring.taken_for(9, "node-0"))
    });
    for member in &mut ring.members {
        member.part = 0;
    }
    ring.until(90 * SECOND, "all know all", |ring| ring.agree(10));
}

#[test]
fn after_a_long_split_one_join_heals_all() {
    let mut ring = Ring::of(10, 12);
    for number in 0..4 {
        ring.members[number].part = 1;
    }
    ring.pass(600 * SECOND);
    for member in &mut ring.members {
        member.part = 0;
    }
    ring.pass(60 * SECOND);
    assert_eq!(ring.taken_for(0, "node-9"), None, "forgotten");
    ring.push_pull(0, ring.members[9].address);
    ring.until(10 * SECOND, "all know all", |ring| ring.agree(10));
}

#[test]
fn a_lossy_network_kills_no_member() {
    let mut ring = Ring::of(20, 13);
    ring.loss = 0.2;
    ring.pass(600 * SECOND);
    let died = ring.has_event(|event| matches!(event, Event::Gone { .. }));
    assert!(!died);
    ring.loss = 0.0;
    ring.until(30 * SECOND, "all believe in all", |ring| ring.agree(20));
}
