//! What is due next: rounds of gossip, exchanges of states, and probes. What is done then is in
//! [`super::gossip`] and [`super::probe`].

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// When the rounds are due.
pub(super) struct Rounds {
    pub(super) gossip_at: Duration,
    pub(super) push_pull_at: Option<Duration>,
    pub(super) turns: Turns,
}

/// Who is gossiped to next: each in turn, in an order that is drawn again when the members change. So
/// as few copies as possible go to the same one.
#[derive(Default)]
pub(super) struct Turns {
    pub(super) names: VecDeque<String>,
    /// Of the table when the order was drawn.
    pub(super) generation: Option<u64>,
}

/// The probes that go on.
pub(super) struct Prober {
    /// The own one; one at a time.
    pub(super) current: Option<Probe>,
    pub(super) next: Duration,
    /// Those for others, by the sequence numbers of their pings.
    pub(super) relays: BTreeMap<u32, Relay>,
}

/// The probe of one member.
pub(super) struct Probe {
    pub(super) node: String,
    pub(super) seq_no: u32,
    /// When others are asked; `None` once they are.
    pub(super) ask_others: Option<Duration>,
    pub(super) until: Duration,
    /// Nacks that those who were asked, and can, must send.
    pub(super) expected_nacks: u32,
    pub(super) nacks: u32,
}

/// A probe for another member.
pub(super) struct Relay {
    /// Of the indirect ping.
    pub(super) seq_no: u32,
    pub(super) answer_to: SocketAddr,
    pub(super) wants_nack: bool,
    pub(super) until: Duration,
}

impl Prober {
    /// The first probe begins at this time.
    pub(super) fn new(first: Duration) -> Self {
        Self {
            current: None,
            next: first,
            relays: BTreeMap::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Duration {
        let own = match &self.current {
            Some(probe) => probe.ask_others.unwrap_or(probe.until),
            None => self.next,
        };
        let relays = self.relays.values().map(|relay| relay.until);
        relays.fold(own, Duration::min)
    }

    /// Gives all members that have yet to answer more time.
    pub(super) fn postpone(&mut self, by: Duration) {
        if let Some(probe) = &mut self.current {
            probe.ask_others = probe.ask_others.map(|at| at + by);
            probe.until += by;
        }
        for relay in self.relays.values_mut() {
            relay.until += by;
        }
    }

    /// A member that was asked got no answer either: it is not this member that is cut off.
    pub(super) fn nack(&mut self, seq_no: u32) {
        if let Some(probe) = &mut self.current
            && probe.seq_no == seq_no
        {
            probe.nacks += 1;
        }
    }
}
