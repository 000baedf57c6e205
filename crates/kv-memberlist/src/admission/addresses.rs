//! State of addresses: which ones have proven that they receive packets, and the messages that wait
//! for a proof.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::pace::{Bucket, Pace, Rate};
use crate::link::{Standing, Via};
use crate::seal::packet::Cookie;

/// Most addresses that are remembered.
const MAX_ADDRESSES: usize = 2_048;
/// How long a proof allows sending.
const PROVEN_FOR: Duration = Duration::from_secs(300);
/// How long an address counts as named by `join_members`; names are resolved much more often.
const NAMED_FOR: Duration = Duration::from_secs(3600);
/// For this long after a proof or a cookie from an address, packets to it carry cookies, and
/// packets from it need one. After that, an earlier version of this program may run there.
const KNOWS_COOKIES: Duration = Duration::from_secs(60);
/// Packets without a proof that are accepted from one address.
const UNPROVEN: Rate = Rate {
    per_second: 20,
    at_once: 40,
};
/// How long a message waits for the proof of its destination.
const HOLD_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of all waiting messages.
const MAX_HELD: usize = 4 << 20;
/// Ports below this belong to services that may trust this host.
const FIRST_FREE_PORT: u16 = 1024;

pub(super) struct Addresses {
    known: HashMap<SocketAddr, Known>,
    /// Addresses of live members.
    members: HashSet<SocketAddr>,
    held: usize,
}

struct Known {
    touched: Instant,
    /// When it last returned its cookie.
    proven: Option<Instant>,
    /// When `join_members` last named it.
    named: Option<Instant>,
    /// When a connection from its host last brought a packet that names it.
    connected: Option<Instant>,
    /// The cookie that it wants returned, and since when.
    cookie: Option<(Cookie, Instant)>,
    /// The packet that was sent to it last.
    sent: Option<Cookie>,
    held: Option<Held>,
    unproven: Bucket,
    asked: Pace,
}

/// A message to an address that has not proven that it receives, or that may require its cookie
/// first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) body: Vec<u8>,
    pub(super) via: Via,
    at: Instant,
    /// Whether it was sent, without a cookie.
    sent: bool,
}

impl Known {
    fn new() -> Self {
        Self {
            touched: Instant::now(),
            proven: None,
            named: None,
            connected: None,
            cookie: None,
            sent: None,
            held: None,
            unproven: Bucket::new(UNPROVEN),
            asked: Pace::new(),
        }
    }

    fn is_named(&self) -> bool {
        is_recent(self.named, NAMED_FOR)
    }

    /// Whether more bytes may be sent there than arrived from there.
    fn may_be_sent_to(&self) -> bool {
        self.is_named()
            || is_recent(self.proven, PROVEN_FOR)
            || is_recent(self.connected, PROVEN_FOR)
    }
}

fn is_recent(at: Option<Instant>, within: Duration) -> bool {
    at.is_some_and(|at| at.elapsed() < within)
}

impl Addresses {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::new(),
            members: HashSet::new(),
            held: 0,
        }
    }

    /// `join_members` resolve to these.
    pub(super) fn name(&mut self, addresses: &[SocketAddr]) {
        for address in addresses.iter().take(MAX_ADDRESSES / 2) {
            self.at(*address).named = Some(Instant::now());
        }
    }

    /// Members that are alive listen here.
    pub(super) fn set_members(&mut self, members: HashSet<SocketAddr>) {
        self.members = members;
    }

    /// The standing of an address whose packets are accepted.
    pub(super) fn standing(&self, address: SocketAddr) -> Standing {
        let is_named = || self.known.get(&address).is_some_and(Known::is_named);
        if self.members.contains(&address) || is_named() {
            Standing::Member
        } else {
            Standing::Guest
        }
    }

    /// It returned its cookie, and maybe sent one of its own; returns the messages that waited for
    /// this.
    pub(super) fn proven(&mut self, from: SocketAddr, offer: Option<Cookie>) -> Option<Held> {
        let known = self.at(from);
        known.proven = Some(Instant::now());
        known.cookie = offer
            .map(|cookie| (cookie, Instant::now()))
            .or(known.cookie);
        known.asked = Pace::new();
        let waits = known.held.as_ref().is_some_and(|held| !held.sent);
        if waits { self.take_held(from) } else { None }
    }

    /// It requires its cookie with the packet that it quotes: returns whether that packet was sent,
    /// and the message to send again.
    pub(super) fn challenged(
        &mut self,
        from: SocketAddr,
        quote: &Cookie,
        cookie: Cookie,
    ) -> (bool, Option<Held>) {
        let Some(known) = self.known.get_mut(&from) else {
            return (false, None);
        };
        if known.sent.as_ref() != Some(quote) {
            return (false, None);
        }
        known.cookie = Some((cookie, Instant::now()));
        known.sent = None;
        (true, self.take_held(from))
    }

    fn take_held(&mut self, address: SocketAddr) -> Option<Held> {
        let held = self.known.get_mut(&address)?.held.take()?;
        self.held -= held.body.len();
        (held.at.elapsed() < HOLD_TIMEOUT).then_some(held)
    }

    /// Whether a packet without a proof is accepted anyway: from a member of an earlier version,
    /// which does not know cookies, if `join_members` names it or a connection came from its host.
    pub(super) fn is_vouched_for(
        &mut self,
        from: SocketAddr,
        connection: Option<SocketAddr>,
    ) -> bool {
        let from_its_host = connection.is_some_and(|other_end| {
            other_end.ip().to_canonical() == from.ip().to_canonical()
                && from.port() >= FIRST_FREE_PORT
        });
        if from_its_host {
            self.at(from).connected = Some(Instant::now());
        }
        let Some(known) = self.known.get_mut(&from) else {
            return false;
        };
        (known.is_named() || is_recent(known.connected, PROVEN_FOR))
            && !is_recent(known.proven, KNOWS_COOKIES)
            && known.unproven.take()
    }

    /// Whether the address may be challenged now; each is, at growing intervals.
    pub(super) fn is_to_be_asked(&mut self, address: SocketAddr) -> bool {
        self.at(address).asked.is_due()
    }

    /// Whether a message can be sent, and the cookie to send with it.
    pub(super) fn pass(&mut self, to: SocketAddr) -> (bool, Option<Cookie>) {
        let known = self.at(to);
        // A member of an earlier version, which may run there now, would refuse it.
        let cookie = known
            .cookie
            .filter(|(_, since)| is_recent(Some(*since), KNOWS_COOKIES));
        (known.may_be_sent_to(), cookie.map(|(cookie, _)| cookie))
    }

    /// This packet was sent.
    pub(super) fn sent(&mut self, to: SocketAddr, quote: Cookie) {
        self.at(to).sent = Some(quote);
    }

    /// Keeps a message until the address has proven itself, or requires its cookie.
    pub(super) fn hold(&mut self, to: SocketAddr, body: &[u8], via: Via, sent: bool) {
        self.take_held(to);
        if self.held + body.len() > MAX_HELD {
            self.drop_late();
        }
        if self.held + body.len() > MAX_HELD {
            return;
        }
        self.held += body.len();
        self.at(to).held = Some(Held {
            body: body.to_vec(),
            via,
            at: Instant::now(),
            sent,
        });
    }

    fn drop_late(&mut self) {
        for known in self.known.values_mut() {
            if let Some(late) = known.held.take_if(|held| held.at.elapsed() >= HOLD_TIMEOUT) {
                self.held -= late.body.len();
            }
        }
    }

    /// The state of an address. To make room, the address without traffic for the longest time is
    /// removed, first among those that never proved themselves.
    fn at(&mut self, address: SocketAddr) -> &mut Known {
        if self.known.len() >= MAX_ADDRESSES && !self.known.contains_key(&address) {
            let worth =
                |(_, known): &(&SocketAddr, &Known)| (known.may_be_sent_to(), known.touched);
            let least = self.known.iter().min_by_key(worth).map(|(least, _)| *least);
            if let Some(least) = least {
                self.take_held(least);
                self.known.remove(&least);
            }
        }
        let known = self.known.entry(address).or_insert_with(Known::new);
        known.touched = Instant::now();
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        let [.., high, low] = number.to_be_bytes();
        ([10, 0, high, low], 7946).into()
    }

    #[tokio::test(start_paused = true)]
    async fn who_proved_something_stays_whoever_else_comes() {
        let mut addresses = Addresses::new();
        addresses.name(&[address(1)]);
        addresses.proven(address(2), None);
        for stranger in 3..3 * MAX_ADDRESSES {
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(addresses.is_to_be_asked(address(stranger)));
            addresses.hold(address(stranger), &[0; 10_000], Via::SizeDecides, false);
            assert!(addresses.held <= MAX_HELD);
        }
        assert_eq!(addresses.known.len(), MAX_ADDRESSES);
        assert!(addresses.pass(address(1)).0);
        assert!(addresses.pass(address(2)).0);
        let held = |known: &Known| known.held.as_ref().map_or(0, |held| held.body.len());
        let all: usize = addresses.known.values().map(held).sum();
        assert_eq!(all, addresses.held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_is_good_for_five_minutes() {
        let mut addresses = Addresses::new();
        addresses.proven(address(1), Some([1; 8]));
        assert_eq!(addresses.pass(address(1)), (true, Some([1; 8])));
        tokio::time::advance(KNOWS_COOKIES).await;
        assert_eq!(addresses.pass(address(1)), (true, None));
        tokio::time::advance(PROVEN_FOR).await;
        assert_eq!(addresses.pass(address(1)), (false, None));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_quoted_packet_brings_a_cookie() {
        let mut addresses = Addresses::new();
        addresses.hold(address(1), b"body", Via::Stream, true);
        addresses.sent(address(1), [7; 8]);
        let guessed = addresses.challenged(address(1), &[8; 8], [1; 8]);
        assert_eq!(guessed, (false, None));
        assert_eq!(addresses.pass(address(1)).1, None);
        let (known, held) = addresses.challenged(address(1), &[7; 8], [1; 8]);
        assert!(known && held.is_some_and(|held| held.body == b"body"));
        assert_eq!(addresses.pass(address(1)).1, Some([1; 8]));
        // Once.
        assert_eq!(
            addresses.challenged(address(1), &[7; 8], [2; 8]),
            (false, None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_proof_little_is_taken_and_nothing_of_whom_has_one() {
        let mut addresses = Addresses::new();
        let taken = |addresses: &mut Addresses, connection| {
            let take = |_: &usize| addresses.is_vouched_for(address(1), connection);
            (0..1000).filter(take).count()
        };
        assert_eq!(taken(&mut addresses, None), 0);
        assert_eq!(taken(&mut addresses, Some(address(2))), 0);
        // From its host, another port.
        let connection = SocketAddr::new(address(1).ip(), 50_000);
        assert_eq!(taken(&mut addresses, Some(connection)), 40);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(taken(&mut addresses, None), 20);
        tokio::time::advance(Duration::from_secs(9)).await;
        addresses.proven(address(1), None);
        assert_eq!(taken(&mut addresses, Some(connection)), 0);
        let low = SocketAddr::new(address(1).ip(), 22);
        assert!(!addresses.is_vouched_for(low, Some(connection)));
    }
}
