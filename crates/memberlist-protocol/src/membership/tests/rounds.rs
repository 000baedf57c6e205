//! What is told to whom, and when.

use std::collections::BTreeSet;

use super::super::Priority;
use super::*;
use crate::broadcast::Broadcast;
use crate::message::Ping;

fn text(text: &'static str) -> Broadcast {
    Broadcast {
        topic: text.to_owned(),
        contents: Vec::new(),
        version: 1,
        message: Message::User(bytes::Bytes::from_static(text.as_bytes())),
        len: text.len() + 1,
    }
}

/// The packets with a message of a user.
fn packets(actions: &[(Duration, Action)]) -> Vec<(Duration, SocketAddr, Vec<Message>)> {
    let mut packets = Vec::new();
    for (at, action) in actions {
        if let Action::Send { to, messages, .. } = action
            && messages
                .iter()
                .any(|message| matches!(message, Message::User(_)))
        {
            packets.push((*at, *to, messages.clone()));
        }
    }
    packets
}

/// A bench that neither probes nor exchanges states.
fn quiet(names: &[&str]) -> Bench {
    let mut bench = Bench::with(|config| {
        config.probe_interval = 36_000 * SECOND;
        config.push_pull_interval = Duration::ZERO;
    });
    bench.meet(names);
    while !bench.queued().is_empty() {
        bench.pass(SECOND);
    }
    bench
}

#[test]
fn a_message_is_told_to_three_in_each_round_and_as_often_as_the_limit_says() {
    let mut bench = quiet(&["a1", "b2", "c3", "d4", "e5"]);
    bench.node.broadcast(Priority::Relayed, text("key"));
    let packets = packets(&bench.pass(10 * SECOND));
    assert_eq!(packets.len(), 4);
    assert_eq!(packets[0].0, packets[2].0);
    assert_eq!(packets[3].0 - packets[0].0, SECOND / 5);
    let told: BTreeSet<SocketAddr> = packets.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(told.len(), 4, "four different ones");
    assert_eq!(bench.node.waiting(Priority::Relayed), (0, 0));
}

#[test]
fn an_own_message_goes_to_every_member_of_a_small_ring() {
    let mut bench = quiet(&["a1", "b2", "c3", "d4", "e5", "f6", "g7"]);
    for _ in 0..10 {
        bench.node.broadcast(Priority::Own, text("key"));
        let packets = packets(&bench.pass(SECOND));
        let told: BTreeSet<SocketAddr> = packets.iter().map(|(_, to, _)| *to).collect();
        assert_eq!((packets.len(), told.len()), (7, 7));
    }
}

#[test]
fn members_go_before_own_messages_and_these_before_repeated_ones() {
    let mut bench = quiet(&["a1"]);
    bench.node.broadcast(Priority::Relayed, text("relayed"));
    bench.node.broadcast(Priority::Own, text("own"));
    bench.alive(alive_of("a1", 2));
    let packets = packets(&bench.pass(SECOND));
    let user = |text: &'static str| Message::User(bytes::Bytes::from_static(text.as_bytes()));
    let wanted = [
        Message::Alive(alive_of("a1", 2)),
        user("own"),
        user("relayed"),
    ];
    assert_eq!(packets[0].2, wanted);
}

#[test]
fn the_recently_dead_are_gossiped_to_and_those_that_left_are_not() {
    let mut bench = quiet(&["a1", "b2", "c3"]);
    bench.suspect("a1", 1, "c3");
    bench.dead("b2", 1, "c3");
    bench.dead("c3", 1, "c3");
    let mut told = BTreeSet::new();
    for _ in 0..20 {
        bench.node.broadcast(Priority::Own, text("key"));
        let packets = packets(&bench.pass(SECOND));
        told.extend(packets.into_iter().map(|(_, to, _)| to));
    }
    assert_eq!(told, BTreeSet::from([socket("a1"), socket("b2")]));
    bench.pass(11 * SECOND);
    bench.node.broadcast(Priority::Own, text("late"));
    let packets = packets(&bench.pass(SECOND));
    assert!(
        packets.iter().all(|(_, to, _)| *to == socket("a1")),
        "{packets:?}"
    );
}

#[test]
fn answers_to_members_carry_what_is_queued_and_those_to_strangers_do_not() {
    let mut bench = quiet(&["a1"]);
    bench.node.broadcast(Priority::Own, text("key"));
    let ping = |name: &str| {
        Message::Ping(Ping {
            seq_no: 5,
            node: "us".to_owned(),
            source: Some(crate::message::Source {
                addr: addr(name),
                port: 7946,
                node: name.to_owned(),
            }),
        })
    };
    bench.handle(ping("z9"));
    bench.handle(ping("a1"));
    let sent: Vec<(SocketAddr, usize)> = bench
        .drain()
        .into_iter()
        .filter_map(|action| match action {
            Action::Send { to, messages, .. } => Some((to, messages.len())),
            _ => None,
        })
        .collect();
    assert_eq!(sent, [(socket("z9"), 1), (socket("a1"), 2)]);
}

#[test]
fn gossip_has_checksums_and_answers_have_none() {
    let mut bench = quiet(&["a1"]);
    bench.node.broadcast(Priority::Own, text("key"));
    let actions = bench.pass(SECOND);
    let checksums: Vec<bool> = actions
        .iter()
        .filter_map(|(_, action)| match action {
            Action::Send { checksum, .. } => Some(*checksum),
            _ => None,
        })
        .collect();
    assert_eq!(checksums, [true; 4]);
}

#[test]
fn a_packet_keeps_its_budget() {
    let mut bench = quiet(&["a1"]);
    for number in 0..30 {
        let message = Message::User(bytes::Bytes::from(vec![0; 100_000]));
        bench.node.broadcast(
            Priority::Own,
            Broadcast {
                topic: number.to_string(),
                contents: Vec::new(),
                version: 1,
                message,
                len: 100_001,
            },
        );
    }
    let packets = packets(&bench.pass(SECOND));
    assert!(packets.iter().all(|(_, _, messages)| messages.len() == 8));
}

#[test]
fn states_are_exchanged_with_one_living_member_at_a_time() {
    let mut bench = Bench::knowing(&["a1", "b2", "c3"]);
    bench.suspect("a1", 1, "b2");
    bench.dead("b2", 1, "b2");
    let exchanges: Vec<(Duration, SocketAddr)> = bench
        .pass(31 * SECOND)
        .into_iter()
        .filter_map(|(at, action)| match action {
            Action::PushPull { with } => Some((at, with)),
            _ => None,
        })
        .collect();
    assert!(!exchanges.is_empty() && exchanges.len() <= 2);
    assert!(exchanges.iter().all(|(_, with)| *with == socket("c3")));
    if let [(first, _), (second, _)] = exchanges[..] {
        assert_eq!(second - first, 30 * SECOND);
    }
}

#[test]
fn the_whole_state_has_all_members_in_every_state() {
    let mut bench = Bench::knowing(&["a1", "b2", "c3"]);
    bench.suspect("a1", 1, "b2");
    bench.dead("b2", 1, "us");
    bench.dead("c3", 1, "c3");
    let states: Vec<(String, State)> = bench
        .node
        .states()
        .into_iter()
        .map(|state| (state.alive.node, state.state))
        .collect();
    let wanted = [
        ("a1", State::Suspect),
        ("b2", State::Dead),
        ("c3", State::Left),
        ("us", State::Alive),
    ];
    assert_eq!(states, wanted.map(|(name, state)| (name.to_owned(), state)));
}
