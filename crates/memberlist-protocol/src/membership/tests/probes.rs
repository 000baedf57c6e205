//! Who is asked when, and what follows from the answers.

use std::collections::BTreeMap;

use super::super::Event;
use super::*;
use crate::message::{IndirectPing, Ping, Source};

/// The pings that were sent: when, to whom, their sequence numbers, and for whom.
fn pings(actions: &[(Duration, Action)]) -> Vec<(Duration, SocketAddr, u32, String)> {
    let mut pings = Vec::new();
    for (at, action) in actions {
        if let Action::Send { to, messages, .. } = action
            && let Some(Message::Ping(ping)) = messages.first()
        {
            pings.push((*at, *to, ping.seq_no, ping.node.clone()));
        }
    }
    pings
}

fn ack(seq_no: u32) -> Message {
    Message::Ack {
        seq_no,
        payload: None,
    }
}

/// Lets time pass until the next probe begins.
fn probe(bench: &mut Bench) -> (u32, String) {
    for _ in 0..1000 {
        let actions = bench.pass(SECOND / 10);
        if let Some((at, _, seq_no, node)) = pings(&actions).pop() {
            assert_eq!(at.max(bench.now), bench.now);
            return (seq_no, node);
        }
    }
    panic!("no probe");
}

#[test]
fn every_member_is_asked_once_in_each_round() {
    let names = ["a1", "b2", "c3", "d4"];
    let mut bench = Bench::knowing(&names);
    let mut times = BTreeMap::new();
    for _ in 0..3 {
        let mut asked = Vec::new();
        for _ in names {
            let (seq_no, node) = probe(&mut bench);
            bench.handle(ack(seq_no));
            asked.push(node);
        }
        asked.sort();
        // The first round may begin anywhere, as members are entered at random places.
        times
            .entry(asked)
            .and_modify(|times| *times += 1)
            .or_insert(1);
    }
    assert_eq!(times.get(names.map(str::to_owned).as_slice()), Some(&3));
    assert_eq!(bench.node.health_score(), 0);
}

#[test]
fn a_ping_says_where_its_answer_goes() {
    let mut bench = Bench::knowing(&["a1"]);
    let actions = bench.pass(5 * SECOND);
    let (to, message) = sent(&actions)
        .into_iter()
        .find(|(_, message)| matches!(message, Message::Ping(_)))
        .unwrap();
    let Message::Ping(ping) = message else {
        unreachable!()
    };
    assert_eq!((to, &*ping.node), (socket("a1"), "a1"));
    let source = ping.source.as_ref().unwrap();
    assert_eq!(
        (source.addr, source.port, &*source.node),
        (addr("us"), 7946, "us")
    );
}

#[test]
fn one_that_does_not_answer_is_asked_by_others_and_then_suspected() {
    let mut bench = Bench::knowing(&["a1", "b2", "c3", "d4", "e5"]);
    let (seq_no, node) = probe(&mut bench);
    let asked = bench.now;
    let actions = bench.pass(SECOND * 2);
    let indirect: Vec<&IndirectPing> = sent(&actions)
        .into_iter()
        .filter_map(|(to, message)| match message {
            Message::IndirectPing(ping) => {
                assert_ne!(to, socket(&node));
                Some(ping)
            }
            _ => None,
        })
        .collect();
    assert_eq!(indirect.len(), 3);
    for ping in indirect {
        assert_eq!((ping.seq_no, ping.nack, &ping.node), (seq_no, true, &node));
        assert_eq!(ping.target.socket(ping.port), socket(&node));
    }
    assert_eq!(bench.state(&node), Some(State::Alive));
    let actions = bench.pass(asked + 5 * SECOND - bench.now);
    assert_eq!(bench.state(&node), Some(State::Suspect));
    let suspected = Event::Suspected {
        node: node.clone(),
        by: "us".into(),
    };
    let (at, _) = actions
        .iter()
        .find(|(_, action)| *action == Action::Event(suspected.clone()))
        .unwrap();
    assert!(*at - asked <= 5 * SECOND && *at - asked > 4 * SECOND);
    // Three nacks were expected, and none came: it may be this member that is cut off.
    assert_eq!(bench.node.health_score(), 3);
}

#[test]
fn an_answer_through_others_counts() {
    let mut bench = Bench::knowing(&["a1", "b2", "c3"]);
    let (seq_no, node) = probe(&mut bench);
    bench.pass(3 * SECOND);
    bench.handle(ack(seq_no));
    bench.pass(3 * SECOND);
    assert_eq!(bench.state(&node), Some(State::Alive));
    assert_eq!(bench.node.health_score(), 0);
}

#[test]
fn nacks_say_that_it_is_not_this_member() {
    let mut bench = Bench::knowing(&["a1", "b2", "c3", "d4"]);
    let (seq_no, node) = probe(&mut bench);
    bench.pass(4 * SECOND);
    for _ in 0..3 {
        bench.handle(Message::Nack { seq_no });
    }
    bench.handle(Message::Nack {
        seq_no: seq_no.wrapping_add(99),
    });
    bench.pass(SECOND);
    assert_eq!(bench.state(&node), Some(State::Suspect));
    assert_eq!(bench.node.health_score(), 0);
}

#[test]
fn bad_health_gives_others_more_time() {
    let mut bench = Bench::knowing(&["a1"]);
    // No other member that could ask: each silence counts one.
    let (_, node) = probe(&mut bench);
    bench.pass(5 * SECOND);
    assert_eq!(
        (bench.state(&node), bench.node.health_score()),
        (Some(State::Suspect), 1)
    );
    // The next probe has begun at once, and lasts one interval longer.
    bench.alive(alive_of("a1", 2));
    bench.pass(9 * SECOND);
    assert_eq!(bench.state(&node), Some(State::Alive));
    bench.pass(SECOND);
    assert_eq!(
        (bench.state(&node), bench.node.health_score()),
        (Some(State::Suspect), 2)
    );
    // It does not grow beyond a bound.
    for incarnation in 1..20 {
        bench.suspect("us", incarnation, "a1");
    }
    assert_eq!(bench.node.health_score(), 7);
}

#[test]
fn unknown_answers_are_ignored() {
    let mut bench = Bench::knowing(&["a1", "b2"]);
    let (seq_no, node) = probe(&mut bench);
    bench.handle(ack(seq_no.wrapping_add(1)));
    bench.pass(6 * SECOND);
    assert_eq!(bench.state(&node), Some(State::Suspect));
    bench.handle(ack(seq_no));
    assert_eq!(
        bench.state(&node),
        Some(State::Suspect),
        "an answer that came too late"
    );
}

#[test]
fn a_suspect_is_told_so_with_the_ping() {
    let mut bench = Bench::knowing(&["a1"]);
    bench.suspect("a1", 1, "b2");
    let actions = bench.pass(5 * SECOND);
    let told = actions.iter().any(|(_, action)| match action {
        Action::Send { to, messages, .. } => {
            let suspicion = Message::Suspect(accusation("a1", 1, "us"));
            *to == socket("a1")
                && matches!(messages[0], Message::Ping(_))
                && messages[1] == suspicion
        }
        _ => false,
    });
    assert!(told, "{actions:?}");
}

#[test]
fn pings_are_answered_to_where_they_say() {
    let mut bench = Bench::new();
    let ping = |node: &str, source: Option<&str>| Ping {
        seq_no: 77,
        node: node.to_owned(),
        source: source.map(|name| Source {
            addr: addr(name),
            port: 7946,
            node: name.to_owned(),
        }),
    };
    let mut answer = |ping: Ping, from: Option<SocketAddr>| {
        bench.node.handle(bench.now, from, Message::Ping(ping));
        let actions: Vec<_> = bench
            .drain()
            .into_iter()
            .map(|action| (bench.now, action))
            .collect();
        sent(&actions)
            .into_iter()
            .map(|(to, message)| (to, message.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        answer(ping("us", Some("a1")), None),
        [(socket("a1"), ack(77))]
    );
    assert_eq!(
        answer(ping("", Some("a1")), None),
        [(socket("a1"), ack(77))]
    );
    let header = Some(socket("c3"));
    assert_eq!(answer(ping("us", None), header), [(socket("c3"), ack(77))]);
    assert_eq!(answer(ping("us", None), None), []);
    assert_eq!(answer(ping("other", Some("a1")), header), []);
    let stream = |ping: Ping| Bench::new().node.answer_stream(&ping);
    assert_eq!(stream(ping("us", None)), Some(ack(77)));
    assert_eq!(stream(ping("other", None)), None);
}

fn indirect(nack: bool) -> Message {
    Message::IndirectPing(IndirectPing {
        seq_no: 500,
        target: addr("b2"),
        port: 7946,
        node: "b2".to_owned(),
        nack,
        source: Some(Source {
            addr: addr("a1"),
            port: 7946,
            node: "a1".to_owned(),
        }),
    })
}

#[test]
fn a_member_asks_for_another_one() {
    let mut bench = Bench::with(|config| config.probe_interval = 3600 * SECOND);
    bench.handle(indirect(true));
    let actions = bench.pass(Duration::ZERO);
    let own = pings(&actions);
    let [(_, to, seq_no, node)] = &own[..] else {
        panic!("{own:?}")
    };
    assert_eq!((*to, &**node), (socket("b2"), "b2"));
    bench.handle(ack(*seq_no));
    let actions = bench.pass(5 * SECOND);
    assert_eq!(sent(&actions), [(socket("a1"), &ack(500))]);
}

#[test]
fn a_member_that_asked_in_vain_says_so_if_that_is_wanted() {
    for nack in [true, false] {
        let mut bench = Bench::with(|config| config.probe_interval = 3600 * SECOND);
        bench.handle(indirect(nack));
        let began = bench.now;
        let actions = bench.pass(5 * SECOND);
        let nacks: Vec<_> = actions
            .iter()
            .filter(|(_, action)| match action {
                Action::Send { to, messages, .. } => {
                    *to == socket("a1") && messages[..] == [Message::Nack { seq_no: 500 }]
                }
                _ => false,
            })
            .map(|(at, _)| *at - began)
            .collect();
        assert_eq!(nacks, if nack { vec![2 * SECOND] } else { vec![] });
    }
}

#[test]
fn probes_for_others_are_bounded() {
    let mut bench = Bench::new();
    for _ in 0..1000 {
        bench.handle(indirect(true));
    }
    let actions = bench.pass(Duration::ZERO);
    assert_eq!(pings(&actions).len(), 256);
}

#[test]
fn a_process_that_did_not_run_accuses_no_other() {
    let mut bench = Bench::knowing(&["a1", "b2"]);
    let (seq_no, node) = probe(&mut bench);
    bench.suspect("b2", 1, "a1");
    // Stopped for a minute: the answers wait in the socket meanwhile.
    bench.now += 60 * SECOND;
    bench.drain();
    assert_eq!(
        bench.state(&node).filter(|_| node == "a1"),
        (node == "a1").then_some(State::Alive)
    );
    assert_eq!(bench.state("b2"), Some(State::Suspect));
    bench.handle(ack(seq_no));
    bench.alive(alive_of("b2", 2));
    bench.pass(4 * SECOND);
    assert_eq!(bench.state("a1"), Some(State::Alive));
    assert_eq!(bench.state("b2"), Some(State::Alive));
}

#[test]
fn those_that_are_gone_are_forgotten_after_a_while() {
    let mut bench = Bench::knowing(&["a1", "b2", "c3"]);
    bench.dead("a1", 1, "b2");
    bench.dead("b2", 1, "b2");
    let answer = |bench: &mut Bench, seconds: u32| {
        for _ in 0..seconds * 10 {
            let actions = bench.pass(SECOND / 10);
            for (_, to, seq_no, _) in pings(&actions) {
                assert_eq!(to, socket("c3"), "only those that may be there are asked");
                bench.handle(ack(seq_no));
            }
        }
    };
    answer(&mut bench, 28);
    assert!(bench.state("a1").is_some() && bench.state("b2").is_some());
    answer(&mut bench, 12);
    assert_eq!((bench.state("a1"), bench.state("b2")), (None, None));
    assert_eq!(bench.state("c3"), Some(State::Alive));
    assert_eq!(bench.state("us"), Some(State::Alive));
}
