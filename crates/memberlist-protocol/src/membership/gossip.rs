//! What is sent to whom, and when whole states are exchanged.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Action, Node, Record};
use crate::message::{Message, State};

/// Members beyond which states are exchanged less often, so that all together do not do so more
/// often.
const SCALE_BEYOND: usize = 32;

/// The protocol version from which on packets can have a checksum.
const CHECKSUM_SINCE: u8 = 5;

/// Bytes of a message in front of what is queued, at most: a ping, or a ping and an accusation.
const LEADING_LEN: usize = 2048;

/// An own message goes to every member of a ring that has no more others than this, however few
/// copies the limit allows: the first copies of Go's members go to random members, which in a small
/// ring leaves one out now and then, until states are exchanged.
const TOLD_TO_ALL: usize = 9;

impl Node {
    pub(super) fn poll_rounds(&mut self, now: Duration) {
        if self.rounds.gossip_at <= now {
            self.rounds.gossip_at =
                following(self.rounds.gossip_at, self.config.gossip_interval, now);
            self.gossip(now);
        }
        if self.rounds.push_pull_at.is_some_and(|at| at <= now) {
            let interval = scaled(self.config.push_pull_interval, self.table.len());
            self.rounds.push_pull_at = Some(now + interval);
            self.push_pull();
        }
    }

    /// Tells some members what is queued.
    fn gossip(&mut self, now: Duration) {
        let chosen: Vec<(SocketAddr, bool)> = self
            .next_told(now)
            .iter()
            .filter_map(|name| self.table.get(name))
            .map(|record| {
                let to = record.alive.addr.socket(record.alive.port);
                (to, record.alive.vsn.0[1] >= CHECKSUM_SINCE)
            })
            .collect();
        for (to, checksum) in chosen {
            let mut messages = Vec::new();
            self.take_queued(self.config.packet_budget, &mut messages);
            if messages.is_empty() {
                return;
            }
            self.actions.push_back(Action::Send {
                to,
                messages,
                checksum,
            });
        }
    }

    /// The members that this round goes to.
    fn next_told(&mut self, now: Duration) -> Vec<String> {
        let to_dead = self.config.gossip_to_dead;
        let fits = |record: &Record| match record.state {
            State::Alive | State::Suspect => true,
            // It may be alive, and learns so that it is taken for dead.
            State::Dead => now.saturating_sub(record.since) <= to_dead,
            State::Left => false,
        };
        let turns = &mut self.rounds.turns;
        if turns.generation != Some(self.table.generation()) {
            let all = self.table.sample(usize::MAX, &mut self.rng, |_| true);
            let all = all.into_iter().map(|record| record.alive.node.clone());
            turns.names = all.collect();
            turns.generation = Some(self.table.generation());
        }
        let mut chosen = Vec::new();
        for _ in 0..turns.names.len() {
            if chosen.len() >= self.config.gossip_nodes {
                break;
            }
            turns.names.rotate_left(1);
            let next = turns.names.back().and_then(|name| self.table.get(name));
            chosen.extend(
                next.filter(|record| fits(record))
                    .map(|record| record.alive.node.clone()),
            );
        }
        chosen
    }

    fn push_pull(&mut self) {
        if self.leaving {
            return;
        }
        let alive = |record: &Record| record.state == State::Alive;
        let chosen = self.table.sample(1, &mut self.rng, alive);
        let with = chosen.first().map(|record| &record.alive);
        if let Some(with) = with.map(|alive| alive.addr.socket(alive.port)) {
            self.actions.push_back(Action::PushPull { with });
        }
    }

    /// Sends messages, and what is queued with them, if it goes to a member: what a stranger is sent
    /// does not count as told to the ring.
    pub(super) fn send(&mut self, to: SocketAddr, mut messages: Vec<Message>) {
        let is_member = self
            .table
            .others()
            .any(|record| record.is_here() && record.alive.addr.socket(record.alive.port) == to);
        if is_member {
            let budget = self.config.packet_budget.saturating_sub(LEADING_LEN);
            self.take_queued(budget, &mut messages);
        }
        self.actions.push_back(Action::Send {
            to,
            messages,
            checksum: false,
        });
    }

    /// Messages about members go first, then own ones of users, then those that are repeated.
    fn take_queued(&mut self, mut budget: usize, messages: &mut Vec<Message>) {
        let of_members = self.transmit_limit(self.table.len());
        let present = self.present();
        let of_users = self.transmit_limit(present);
        let others = u32::try_from(present.saturating_sub(1).min(TOLD_TO_ALL)).unwrap_or(0);
        let queues = &mut self.queues;
        queues.members.take(of_members, &mut budget, messages);
        queues.own.take(of_users.max(others), &mut budget, messages);
        queues.relayed.take(of_users, &mut budget, messages);
    }
}

/// When the next round is due, after the one that was due at `due`. Rounds that were missed are not
/// made up for.
fn following(due: Duration, interval: Duration, now: Duration) -> Duration {
    let next = due + interval;
    if next <= now { now + interval } else { next }
}

/// The time between two exchanges of states in a ring of so many members.
fn scaled(interval: Duration, nodes: usize) -> Duration {
    if nodes <= SCALE_BEYOND {
        return interval;
    }
    let doublings = nodes.div_ceil(SCALE_BEYOND).next_power_of_two().ilog2();
    interval * (doublings + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_are_rarer_in_large_rings() {
        let times = [1, 32, 33, 64, 65, 128, 129]
            .map(|nodes| scaled(Duration::from_secs(30), nodes).as_secs() / 30);
        assert_eq!(times, [1, 1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn missed_rounds_are_not_made_up_for() {
        let seconds = Duration::from_secs;
        assert_eq!(following(seconds(10), seconds(5), seconds(11)), seconds(15));
        assert_eq!(following(seconds(10), seconds(5), seconds(30)), seconds(35));
    }
}
