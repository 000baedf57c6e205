//! Admission: whose packets are accepted, in which order, and to which addresses packets may be
//! sent.
//!
//! With keys, only members can make packets, and the sender address in them is true. Without keys,
//! any host can make a packet with any sender address: the answer would go to a third party, and
//! would be larger than the packet. So, as in DTLS or QUIC, an address must first prove that its
//! packets are its own:
//!
//! - A packet without a proof is answered with a *challenge* that is not larger: a cookie, and a
//!   quote of the packet. The packet is not stored or processed otherwise.
//! - A host that really sent the packet sends it again, with the cookie, and with one of its own
//!   for the other side. From then on, all packets between the two carry each other's cookies.
//! - Before this member sends to an address that it knows only from other members, it challenges
//!   it. A member that is challenged without having sent anything *answers* with the cookie and one
//!   of its own, in a packet of the same size.
//! - Addresses named by `join_members` need no proof to be sent to.
//!
//! Members of versions without cookies refuse challenges as malformed. Their packets are accepted
//! without a proof, a few per second, if `join_members` names their address or if they arrived over
//! a connection from the host that they name (which proves the host); but not from an address that
//! has proven itself in the last minute.

mod addresses;
mod cookie;
mod pace;
mod queue;
pub(crate) mod refusals;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, OnceLock, Weak};

use kv_core::lock;

use self::addresses::{Addresses, Held};
use self::cookie::{Issuer, quote};
use self::pace::{Bucket, Rate};
pub(crate) use self::queue::Arrived;
use self::queue::Queue;
use self::refusals::Refusals;
use crate::link::foreign::Foreigner;
use crate::link::{Arrival, Link, Reception, Standing, Via};
use crate::metrics::Metrics;
use crate::seal::packet::{Content, Cookie, Cookies, Envelope, Sealer};
use crate::seal::refusal::Refusal;

/// Addresses that are challenged because other members named them.
const HEARSAY: Rate = Rate {
    per_second: 20,
    at_once: 100,
};

/// Decides about every packet that arrives or is sent.
pub(crate) struct Admission {
    sealer: Sealer,
    refusals: Refusals,
    metrics: Metrics,
    way_out: OnceLock<WayOut>,
    /// Lock order: the last one; no packet is sent and no other lock is taken while it is held.
    state: Mutex<State>,
    queue: Queue,
}

struct WayOut {
    link: Weak<dyn Link>,
    /// Where other members reach this one.
    advertised: SocketAddr,
}

struct State {
    issuer: Issuer,
    addresses: Addresses,
    hearsay: Bucket,
}

/// The reaction to a packet, besides accepting or refusing it.
enum Reaction {
    Nothing,
    /// Not larger than the packet.
    Bare(Cookies, Option<Cookie>),
    Send(Held),
}

impl Admission {
    pub(crate) fn new(sealer: Sealer, metrics: Metrics) -> Self {
        Self {
            sealer,
            refusals: Refusals::new(metrics.clone()),
            metrics,
            way_out: OnceLock::new(),
            state: Mutex::new(State {
                issuer: Issuer::new(),
                addresses: Addresses::new(),
                hearsay: Bucket::new(HEARSAY),
            }),
            queue: Queue::default(),
        }
    }

    /// Starts accepting and sending packets.
    pub(crate) fn open(&self, link: Weak<dyn Link>, advertised: SocketAddr) {
        // Once: a link has one address.
        let _ = self.way_out.set(WayOut { link, advertised });
    }

    /// The next packet, and the address that it came from. Cancel safe.
    pub(crate) async fn next(&self) -> Arrived {
        let next = self.queue.next().await;
        self.metrics.dropped.inc_by(self.queue.take_late());
        next
    }

    /// The message of a packet.
    pub(crate) fn unpack(&self, envelope: &Envelope) -> Result<Vec<u8>, Refusal> {
        self.sealer.unpack(envelope)
    }

    /// Counts and logs a refused packet.
    pub(crate) fn refuse(&self, from: SocketAddr, refusal: Refusal) {
        self.refusals.refuse(from, refusal);
    }

    /// What spoke another protocol last.
    pub(crate) fn last_foreigner(&self) -> Option<Foreigner> {
        self.refusals.last_foreigner()
    }

    /// Sends a message, or keeps it until its destination has proven that it receives.
    pub(crate) fn send(&self, to: SocketAddr, body: &[u8], via: Via) {
        let Some(way_out) = self.way_out.get() else {
            return;
        };
        if self.sealer.has_keys() {
            self.put_out(to, self.sealer.seal(way_out.advertised, body), via);
            return;
        }
        let (may, cookies) = {
            let mut state = self.state();
            let (may, proof) = state.addresses.pass(to);
            if proof.is_none() || !may {
                state.addresses.hold(to, body, via, may);
            }
            let offer = proof.is_some().then(|| state.issuer.issue(to));
            (may, Cookies { proof, offer })
        };
        if !may {
            self.ask(to);
            return;
        }
        let packet = self
            .sealer
            .seal_with(way_out.advertised, cookies, Content::Message(body));
        self.state().addresses.sent(to, quote(&packet));
        self.put_out(to, packet, via);
    }

    /// `join_members` resolves to these addresses: they may be sent to.
    pub(crate) fn name(&self, addresses: &[SocketAddr]) {
        self.state().addresses.name(addresses);
    }

    /// Live members listen at these addresses: they are served first.
    pub(crate) fn set_members(&self, members: impl IntoIterator<Item = SocketAddr>) {
        let members = members.into_iter().collect();
        self.state().addresses.set_members(members);
    }

    /// Whether every sender whose packets are accepted is a member.
    pub(crate) fn has_keys(&self) -> bool {
        self.sealer.has_keys()
    }

    /// Whether an address has proven that it receives packets.
    pub(crate) fn has_proven(&self, address: SocketAddr) -> bool {
        self.sealer.has_keys() || self.state().addresses.pass(address).0
    }

    /// A member reports another one at this address: challenges it from time to time.
    pub(crate) fn hear_of(&self, address: SocketAddr) {
        let may = !self.has_proven(address) && self.state().hearsay.take();
        if may && !self.ask(address) {
            self.state().hearsay.give_back();
        }
    }

    /// Challenges an address that has sent nothing, if it is time for that.
    fn ask(&self, address: SocketAddr) -> bool {
        let cookie = {
            let mut state = self.state();
            if !state.addresses.is_to_be_asked(address) {
                return false;
            }
            state.issuer.issue(address)
        };
        let cookies = Cookies {
            proof: None,
            offer: Some(cookie),
        };
        self.send_bare(address, cookies, Some(Cookie::default()), usize::MAX);
        true
    }

    fn send_bare(&self, to: SocketAddr, cookies: Cookies, quote: Option<Cookie>, at_most: usize) {
        let Some(way_out) = self.way_out.get() else {
            return;
        };
        let content = Content::Bare(quote);
        let packet = self.sealer.seal_with(way_out.advertised, cookies, content);
        if packet.len() <= at_most {
            self.put_out(to, packet, Via::SizeDecides);
        }
    }

    fn put_out(&self, to: SocketAddr, packet: Vec<u8>, via: Via) {
        if let Some(link) = self.way_out.get().and_then(|way| way.link.upgrade()) {
            link.send(to, packet, via);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Reception for Admission {
    fn deliver(&self, arrival: Arrival) -> Standing {
        let Some(way_out) = self.way_out.get() else {
            return Standing::Stranger;
        };
        let (from, size) = (arrival.from, arrival.packet.len());
        let envelope = match self.sealer.unseal(arrival.packet) {
            Ok(envelope) => envelope,
            Err(refusal) => {
                self.refuse(from, refusal);
                return Standing::Stranger;
            }
        };
        // An address that this member was configured to join.
        if envelope.reply_to == way_out.advertised {
            return Standing::Stranger;
        }
        let (standing, reaction) = if self.sealer.has_keys() {
            (Standing::Member, Reaction::Nothing)
        } else {
            let connection = arrival.stream.then_some(from);
            self.state().judge(&envelope, connection)
        };
        let reply_to = envelope.reply_to;
        if envelope.is_message() && standing == Standing::Stranger {
            self.metrics.unproven.inc();
        }
        if envelope.is_message()
            && standing > Standing::Stranger
            && !self.queue.push(standing, Arrived { from, envelope })
        {
            self.metrics.dropped.inc();
        }
        match reaction {
            Reaction::Nothing => {}
            Reaction::Bare(cookies, quote) => self.send_bare(reply_to, cookies, quote, size),
            Reaction::Send(held) => self.send(reply_to, &held.body, held.via),
        }
        standing
    }

    fn refuse(&self, from: SocketAddr, refusal: Refusal) {
        self.refusals.refuse(from, refusal);
    }
}

impl State {
    /// `connection`: the other end of the connection that the packet came over.
    fn judge(
        &mut self,
        envelope: &Envelope,
        connection: Option<SocketAddr>,
    ) -> (Standing, Reaction) {
        let from = envelope.reply_to;
        let proof = envelope.cookies.proof;
        if proof.is_some_and(|proof| self.issuer.has_issued(from, &proof)) {
            let held = self.addresses.proven(from, envelope.cookies.offer);
            let reaction = held.map_or(Reaction::Nothing, Reaction::Send);
            return (self.addresses.standing(from), reaction);
        }
        if !envelope.is_message() {
            return (Standing::Stranger, self.react_to_bare(envelope));
        }
        if !self.addresses.is_vouched_for(from, connection) {
            return (Standing::Stranger, self.challenge(envelope));
        }
        // Perhaps it does know cookies.
        let reaction = if self.addresses.is_to_be_asked(from) {
            self.challenge(envelope)
        } else {
            Reaction::Nothing
        };
        (self.addresses.standing(from), reaction)
    }

    fn challenge(&mut self, envelope: &Envelope) -> Reaction {
        let cookies = Cookies {
            proof: None,
            offer: Some(self.issuer.issue(envelope.reply_to)),
        };
        Reaction::Bare(cookies, Some(quote(envelope.as_received())))
    }

    /// An answer to a challenge; one with a wrong cookie is ignored.
    fn react_to_bare(&mut self, envelope: &Envelope) -> Reaction {
        let (Some(quote), Some(cookie)) = (envelope.quote(), envelope.cookies.offer) else {
            return Reaction::Nothing;
        };
        let from = envelope.reply_to;
        let (is_ours, held) = self.addresses.challenged(from, &quote, cookie);
        match held {
            Some(held) => Reaction::Send(held),
            // Gossip will send it again, with the cookie.
            None if is_ours => Reaction::Nothing,
            None => {
                let cookies = Cookies {
                    proof: Some(cookie),
                    offer: Some(self.issuer.issue(from)),
                };
                Reaction::Bare(cookies, None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
