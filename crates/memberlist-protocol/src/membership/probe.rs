//! Asks one member after the other whether it is there.

use std::net::SocketAddr;
use std::time::Duration;

use super::schedule::{Probe, Relay};
use super::{DEFAULT_PORT, Event, Node};
use crate::message::{Accusation, IndirectPing, Message, Ping, State};

/// Probes for others that go on at most. Who asks for more is not answered, as by a slow member.
const MAX_RELAYS: usize = 256;

/// The protocol version from which on a member says that it got no answer.
const NACK_SINCE: u8 = 4;

impl Node {
    /// Begins and ends probes.
    pub(super) fn poll_probe(&mut self, now: Duration) {
        if let Some(probe) = &self.prober.current {
            if probe.ask_others.is_some_and(|at| at <= now) {
                self.ask_others();
            }
            self.end_probe(now);
        }
        if self.prober.current.is_some() || self.prober.next > now {
            return;
        }
        let interval = self.config.probe_interval;
        self.prober.next += interval;
        if self.prober.next <= now {
            // What was missed is not made up for.
            self.prober.next = now + interval;
        }
        if !self.leaving {
            self.begin_probe(now);
        }
    }

    fn begin_probe(&mut self, now: Duration) {
        let mut forgotten = Vec::new();
        let forget_after = self.config.gossip_to_dead;
        let next = self
            .table
            .next_to_probe(now, forget_after, &mut self.rng, &mut forgotten);
        for name in forgotten {
            self.event(Event::Forgotten(name));
        }
        let Some(record) = next.and_then(|name| self.table.get(&name)) else {
            return;
        };
        let (node, to) = (record.alive.node.clone(), record.alive.addr);
        let to = to.socket(record.alive.port);
        // So that it can say at once that it is alive.
        let accusation = (record.state == State::Suspect).then(|| Accusation {
            incarnation: record.alive.incarnation,
            node: node.clone(),
            from: self.config.name.clone(),
        });
        let seq_no = self.next_seq_no();
        let ping = Ping {
            seq_no,
            node: node.clone(),
            source: Some(self.source()),
        };
        let interval = self.config.probe_interval;
        self.prober.current = Some(Probe {
            node,
            seq_no,
            ask_others: Some(now + self.config.probe_timeout),
            until: now + interval * (self.health_score + 1),
            expected_nacks: 0,
            nacks: 0,
        });
        let mut messages = vec![Message::Ping(ping)];
        messages.extend(accusation.map(Message::Suspect));
        self.send(to, messages);
    }

    fn ask_others(&mut self) {
        let Some(probe) = &mut self.prober.current else {
            return;
        };
        probe.ask_others = None;
        let (name, seq_no) = (probe.node.clone(), probe.seq_no);
        let Some(target) = self.table.get(&name).map(|record| record.alive.clone()) else {
            return;
        };
        let count = self.config.indirect_checks;
        let fits =
            |record: &super::Record| record.state == State::Alive && record.alive.node != name;
        let helpers = self.table.sample(count, &mut self.rng, fits);
        let helpers: Vec<(SocketAddr, bool)> = helpers
            .into_iter()
            .map(|record| {
                let to = record.alive.addr.socket(record.alive.port);
                (to, record.alive.vsn.0[1] >= NACK_SINCE)
            })
            .collect();
        let nacks = helpers.iter().filter(|(_, nack)| *nack).count();
        probe.expected_nacks = u32::try_from(nacks).unwrap_or(u32::MAX);
        for (to, nack) in helpers {
            let ping = IndirectPing {
                seq_no,
                target: target.addr,
                port: target.port,
                node: name.clone(),
                nack,
                source: Some(self.source()),
            };
            self.send(to, vec![Message::IndirectPing(ping)]);
        }
    }

    /// Ends the probe, if its time is over, with a suspicion.
    fn end_probe(&mut self, now: Duration) {
        let Some(probe) = self.prober.current.take_if(|probe| probe.until <= now) else {
            return;
        };
        self.score(match probe.expected_nacks {
            0 => 1,
            expected => expected.saturating_sub(probe.nacks),
        });
        let Some(record) = self.table.get(&probe.node) else {
            return;
        };
        let accusation = Accusation {
            incarnation: record.alive.incarnation,
            node: probe.node,
            from: self.config.name.clone(),
        };
        self.suspect(now, accusation);
    }

    /// A member answers, by itself or by one that was asked.
    pub(super) fn ack(&mut self, seq_no: u32) {
        let is_current = |probe: &mut Probe| probe.seq_no == seq_no;
        if self.prober.current.take_if(is_current).is_some() {
            self.health_score = self.health_score.saturating_sub(1);
            return;
        }
        if let Some(relay) = self.prober.relays.remove(&seq_no) {
            let ack = Message::Ack {
                seq_no: relay.seq_no,
                payload: None,
            };
            self.send(relay.answer_to, vec![ack]);
        }
    }

    /// Whether a ping is for this member.
    pub(super) fn is_for_us(&self, ping: &Ping) -> bool {
        ping.node.is_empty() || ping.node == self.config.name
    }

    /// Answers a ping.
    pub(super) fn answer(&mut self, ping: &Ping, from: Option<SocketAddr>) {
        if !self.is_for_us(ping) {
            return;
        }
        let source = ping.source.as_ref();
        let Some(to) = source
            .map(|source| source.addr.socket(source.port))
            .or(from)
        else {
            return;
        };
        let ack = Message::Ack {
            seq_no: ping.seq_no,
            payload: None,
        };
        self.send(to, vec![ack]);
    }

    /// Pings a member for another one.
    pub(super) fn relay(&mut self, now: Duration, ping: IndirectPing, from: Option<SocketAddr>) {
        let source = ping.source.as_ref();
        let answer_to = source
            .map(|source| source.addr.socket(source.port))
            .or(from);
        let (Some(answer_to), true) = (answer_to, self.prober.relays.len() < MAX_RELAYS) else {
            return;
        };
        let seq_no = self.next_seq_no();
        let relay = Relay {
            seq_no: ping.seq_no,
            answer_to,
            wants_nack: ping.nack,
            until: now + self.config.probe_timeout,
        };
        self.prober.relays.insert(seq_no, relay);
        let port = if ping.port == 0 {
            DEFAULT_PORT
        } else {
            ping.port
        };
        let own = Ping {
            seq_no,
            node: ping.node,
            source: Some(self.source()),
        };
        self.send(ping.target.socket(port), vec![Message::Ping(own)]);
    }

    /// Tells those for whom this member has asked in vain.
    pub(super) fn poll_relays(&mut self, now: Duration) {
        let due = self
            .prober
            .relays
            .extract_if(.., |_, relay| relay.until <= now);
        let due: Vec<Relay> = due.map(|(_, relay)| relay).collect();
        for relay in due.into_iter().filter(|relay| relay.wants_nack) {
            let nack = Message::Nack {
                seq_no: relay.seq_no,
            };
            self.send(relay.answer_to, vec![nack]);
        }
    }
}
