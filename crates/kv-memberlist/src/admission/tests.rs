//! On a network in memory, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use prometheus_client::registry::Registry;

use super::*;
use crate::link::LastError;
use crate::seal::keyring::Keyring;
use crate::seal::packet::MAX_PACKET;

type Sent = (SocketAddr, SocketAddr, Vec<u8>);

/// Delivers packets only on request, and shows them.
#[derive(Clone, Default)]
struct Wires {
    admissions: Arc<Mutex<HashMap<SocketAddr, Arc<Admission>>>>,
    on_their_way: Arc<Mutex<Vec<Sent>>>,
}

struct End {
    wires: Wires,
    address: SocketAddr,
}

impl Link for End {
    fn send(&self, to: SocketAddr, packet: Vec<u8>, _: Via) {
        let sent = (self.address, to, packet);
        self.wires.on_their_way.lock().unwrap().push(sent);
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn last_error(&self, _: SocketAddr) -> Option<LastError> {
        None
    }
}

/// The admission of a member, and the link that it uses.
struct Member {
    admission: Arc<Admission>,
    address: SocketAddr,
    _link: Arc<dyn Link>,
}

impl Wires {
    fn member(&self, number: u8) -> Member {
        self.member_with(number, Keyring::default())
    }

    fn member_with(&self, number: u8, keys: Keyring) -> Member {
        let address = address(number);
        let sealer = Sealer::new(keys, "label".to_owned(), true, true);
        let admission = Arc::new(Admission::new(
            sealer,
            Metrics::register(&mut Registry::default()),
        ));
        let link: Arc<dyn Link> = Arc::new(End {
            wires: self.clone(),
            address,
        });
        admission.open(Arc::downgrade(&link), address);
        self.admissions
            .lock()
            .unwrap()
            .insert(address, Arc::clone(&admission));
        Member {
            admission,
            address,
            _link: link,
        }
    }

    fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.on_their_way.lock().unwrap())
    }

    /// Delivers packets in transit and the packets that follow from them; returns their number.
    fn carry(&self) -> usize {
        let mut carried = 0;
        loop {
            let sent = self.take();
            if sent.is_empty() {
                return carried;
            }
            for (from, to, packet) in sent {
                carried += 1;
                assert!(carried < 100, "members answer each other without end");
                let admission = self.admissions.lock().unwrap().get(&to).cloned();
                if let Some(admission) = admission {
                    deliver(&admission, from, false, packet);
                }
            }
        }
    }
}

fn address(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 7946).into()
}

fn deliver(admission: &Admission, from: SocketAddr, stream: bool, packet: Vec<u8>) -> Standing {
    admission.deliver(Arrival {
        from,
        stream,
        packet,
    })
}

/// A message that is as long as those of gossip are at least, when they ask something.
fn message(start: &[u8]) -> Vec<u8> {
    let mut message = start.to_vec();
    message.resize(21, 0);
    message
}

/// A packet as a version makes it that knows no cookies, or as anyone does.
fn plain(reply_to: SocketAddr, body: &[u8]) -> Vec<u8> {
    Sealer::new(Keyring::default(), "label".to_owned(), true, true).seal(reply_to, body)
}

impl Member {
    fn received(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.admission.next().now_or_never())
            .map(|waiting| self.admission.unpack(&waiting.envelope).unwrap())
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_larger_than_what_came_goes_to_whom_a_packet_names() {
    let wires = Wires::default();
    let member = wires.member(1);
    let victim = address(9);
    // 34 bytes without a label: nothing is known, tell me all.
    for size in [0, 1, 5, 20, 21, 22, 1000, 50_000] {
        let packet = plain(victim, &vec![7; size]);
        let came = packet.len();
        for stream in [false, true] {
            let standing = deliver(&member.admission, address(8), stream, packet.clone());
            assert_eq!(standing, Standing::Stranger);
            let sent = wires.take();
            assert!(sent.len() <= 1);
            for (_, to, packet) in sent {
                assert_eq!(to, victim);
                assert!(packet.len() <= came.min(40), "{} for {came}", packet.len());
            }
        }
    }
    assert!(member.received().is_empty());
    assert_eq!(member.admission.metrics.unproven.get(), 16);
    // Nor is anything remembered of it.
    assert!(!member.admission.has_proven(address(7)));
}

#[tokio::test(start_paused = true)]
async fn whoever_receives_there_is_heard_after_one_round_trip_more() {
    let wires = Wires::default();
    let (first, second) = (wires.member(1), wires.member(2));
    first.admission.name(&[second.address]);
    first
        .admission
        .send(second.address, &message(b"question"), Via::SizeDecides);
    // The question, a challenge, the question with a cookie.
    assert_eq!(wires.carry(), 3);
    assert_eq!(second.received(), [message(b"question")]);
    second
        .admission
        .send(first.address, &[7; 50_000], Via::SizeDecides);
    assert_eq!(wires.carry(), 1);
    assert_eq!(first.received(), [[7; 50_000]]);
    first
        .admission
        .send(second.address, &message(b"thanks"), Via::SizeDecides);
    assert_eq!(wires.carry(), 1);
    assert_eq!(second.received(), [message(b"thanks")]);
    assert!(
        first.admission.has_proven(second.address) && second.admission.has_proven(first.address)
    );
}

#[tokio::test(start_paused = true)]
async fn who_was_only_told_of_is_asked_first() {
    let wires = Wires::default();
    let (first, second) = (wires.member(1), wires.member(2));
    first
        .admission
        .send(second.address, &[7; 50_000], Via::SizeDecides);
    let sent = wires.take();
    assert!(sent.len() == 1 && sent[0].2.len() < 40);
    deliver(&second.admission, first.address, false, sent[0].2.clone());
    assert_eq!(wires.carry(), 2);
    assert_eq!(second.received(), [[7; 50_000]]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_never_answers_is_asked_seldom() {
    let wires = Wires::default();
    let member = wires.member(1);
    let mut bytes = 0;
    for _ in 0..1500 {
        member.admission.send(address(9), &[7; 50_000], Via::Stream);
        member.admission.hear_of(address(9));
        bytes += wires.take().iter().map(|sent| sent.2.len()).sum::<usize>();
        tokio::time::advance(std::time::Duration::from_millis(200)).await;
    }
    assert!(bytes < 500, "{bytes} bytes in five minutes");
}

#[tokio::test(start_paused = true)]
async fn hearsay_is_followed_at_a_rate() {
    let wires = Wires::default();
    let member = wires.member(1);
    for number in 2..=255 {
        member.admission.hear_of(address(number));
        member.admission.hear_of(address(number));
    }
    assert_eq!(wires.take().len(), HEARSAY.at_once as usize);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_starts_again_at_its_address_is_heard_again() {
    let wires = Wires::default();
    let (first, second) = (wires.member(1), wires.member(2));
    first.admission.name(&[second.address]);
    first
        .admission
        .send(second.address, &message(b"1"), Via::SizeDecides);
    wires.carry();
    drop(second);
    let second = wires.member(2);
    first
        .admission
        .send(second.address, &message(b"2"), Via::SizeDecides);
    wires.carry();
    // It restarted, so its old cookies are invalid: a packet sent with one is lost, later ones are
    // not.
    assert!(second.received().is_empty());
    first
        .admission
        .send(second.address, &message(b"3"), Via::SizeDecides);
    assert_eq!(wires.carry(), 1);
    assert_eq!(second.received(), [message(b"3")]);
    second
        .admission
        .send(first.address, &message(b"4"), Via::SizeDecides);
    assert_eq!(wires.carry(), 1);
    assert_eq!(first.received(), [message(b"4")]);
}

#[tokio::test(start_paused = true)]
async fn cookies_outlast_their_secret() {
    let wires = Wires::default();
    let (first, second) = (wires.member(1), wires.member(2));
    first.admission.name(&[second.address]);
    for _ in 0..100 {
        first
            .admission
            .send(second.address, &message(b"?"), Via::SizeDecides);
        wires.carry();
        assert_eq!(second.received(), [message(b"?")]);
        second
            .admission
            .send(first.address, &message(b"!"), Via::SizeDecides);
        assert_eq!(wires.carry(), 1);
        assert_eq!(first.received(), [message(b"!")]);
        tokio::time::advance(std::time::Duration::from_secs(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_knows_no_cookies_is_taken_where_it_was_named() {
    let wires = Wires::default();
    let member = wires.member(1);
    let old = address(2);
    member.admission.name(&[old]);
    assert_eq!(
        deliver(&member.admission, old, false, plain(old, &message(b"old"))),
        Standing::Member
    );
    assert_eq!(member.received(), [message(b"old")]);
    // It is sent to, without a cookie that it would not understand.
    wires.take();
    member
        .admission
        .send(old, &message(b"answer"), Via::SizeDecides);
    let sent = wires.take();
    assert_eq!(sent[0].2, plain(member.address, &message(b"answer")));
    // So is one whose host has a connection; not one that only a datagram names.
    let other = address(3);
    let other_end = SocketAddr::new(other.ip(), 50_000);
    assert_eq!(
        deliver(
            &member.admission,
            other_end,
            false,
            plain(other, &message(b"?"))
        ),
        Standing::Stranger
    );
    assert_eq!(
        deliver(
            &member.admission,
            other_end,
            true,
            plain(other, &message(b"?"))
        ),
        Standing::Guest
    );
    assert_eq!(
        deliver(
            &member.admission,
            other,
            false,
            plain(other, &message(b"?"))
        ),
        Standing::Guest
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_speaks_for_a_member_that_knows_cookies() {
    let wires = Wires::default();
    let (first, second) = (wires.member(1), wires.member(2));
    for member in [&first, &second] {
        member.admission.name(&[first.address, second.address]);
        member
            .admission
            .set_members([first.address, second.address]);
    }
    first
        .admission
        .send(second.address, &message(b"1"), Via::SizeDecides);
    wires.carry();
    second.received();
    for stream in [false, true] {
        for _ in 0..1000 {
            let forged = plain(first.address, &message(b"forged"));
            assert_eq!(
                deliver(&second.admission, first.address, stream, forged),
                Standing::Stranger
            );
        }
    }
    assert!(second.received().is_empty());
    // What is asked of the other for that makes it say nothing but that it is there.
    assert!(wires.take().iter().all(|sent| sent.2.len() < 40));
    first
        .admission
        .send(second.address, &message(b"2"), Via::SizeDecides);
    wires.carry();
    assert_eq!(second.received(), [message(b"2")]);
}

#[tokio::test(start_paused = true)]
async fn with_keys_there_are_no_cookies() {
    let wires = Wires::default();
    let keys = || {
        use base64::Engine;
        let key = base64::engine::general_purpose::STANDARD.encode([1; 32]);
        Keyring::parse(&[key]).unwrap()
    };
    let (first, second) = (wires.member_with(1, keys()), wires.member_with(2, keys()));
    first
        .admission
        .send(second.address, &[7; 50_000], Via::SizeDecides);
    assert_eq!(wires.carry(), 1);
    assert_eq!(second.received(), [[7; 50_000]]);
    let stranger = deliver(
        &second.admission,
        address(9),
        false,
        plain(first.address, &message(b"?")),
    );
    assert_eq!(stranger, Standing::Stranger);
    assert_eq!(wires.carry(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_packet_of_ours_is_refused() {
    let wires = Wires::default();
    let member = wires.member(1);
    for packet in [b"GET / HTTP/1.1".to_vec(), vec![0; MAX_PACKET + 1]] {
        deliver(&member.admission, address(9), false, packet);
    }
    assert_eq!(member.admission.metrics.invalid.get(), 2);
    assert_eq!(wires.carry(), 0);
}
