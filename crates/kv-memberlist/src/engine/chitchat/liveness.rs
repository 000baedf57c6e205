//! Who is alive: a member whose heartbeat grows.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::gossip::Peer;
use crate::engine::{MemberChange, MemberId, MemberRecord, Members};
use crate::status::MemberState;
use crate::watchdog::STALLED_AFTER;

/// Rounds of gossip without a heartbeat after which a member is dead.
const DEAD_AFTER_ROUNDS: u32 = 25;

/// However short the rounds are, a member is not dead before this. A process that the kernel or a
/// garbage collection stalls is not dead.
const DEAD_AFTER_AT_LEAST: Duration = Duration::from_secs(2);

/// What this member saw of the others.
pub(super) struct Liveness {
    dead_after: Duration,
    seen: HashMap<MemberId, Seen>,
    polled_at: Instant,
}

#[derive(Debug, Clone)]
struct Seen {
    heartbeat: u64,
    grew_at: Instant,
    /// Whether its heartbeat ever grew: a remembered dead member is told of, but has never spoken.
    grew: bool,
    state: MemberState,
    may_change: bool,
    is_self: bool,
}

impl Liveness {
    pub(super) fn new(gossip_interval: Duration) -> Self {
        Self {
            dead_after: (gossip_interval * DEAD_AFTER_ROUNDS).max(DEAD_AFTER_AT_LEAST),
            seen: HashMap::new(),
            polled_at: Instant::now(),
        }
    }

    /// Takes note of what gossip says now.
    pub(super) fn poll(&mut self, peers: Vec<Peer>) -> Vec<MemberChange> {
        let now = Instant::now();
        // A member that was itself stalled has heard no other one: that says nothing of them.
        let stalled = now.duration_since(self.polled_at);
        let pardon = if stalled >= STALLED_AFTER {
            stalled
        } else {
            Duration::ZERO
        };
        self.polled_at = now;
        let mut changes = Vec::new();
        let mut before = std::mem::take(&mut self.seen);
        for peer in peers {
            let known = before.remove(&peer.id);
            let was = known.as_ref().map(|seen| seen.state);
            let was_heard = known.as_ref().is_some_and(|seen| seen.grew);
            let seen = self.judge(known, &peer, now, pardon);
            if was != Some(seen.state) || was_heard != seen.grew {
                changes.push(MemberChange {
                    id: peer.id.clone(),
                    heard: seen.grew,
                    from: was,
                    to: Some(seen.state),
                });
            }
            self.seen.insert(peer.id, seen);
        }
        changes.extend(before.into_iter().map(|(id, seen)| MemberChange {
            id,
            heard: seen.grew,
            from: Some(seen.state),
            to: None,
        }));
        changes
    }

    fn judge(&self, known: Option<Seen>, peer: &Peer, now: Instant, pardon: Duration) -> Seen {
        let (grew_at, grew) = match known {
            Some(seen) if peer.heartbeat == seen.heartbeat => (seen.grew_at + pardon, seen.grew),
            Some(_) => (now, true),
            None => (now, false),
        };
        let says = peer.state.unwrap_or(MemberState::Joining);
        let silent = now.duration_since(grew_at.min(now)) >= self.dead_after;
        let state = if peer.is_self || says == MemberState::Left {
            says
        } else if silent {
            MemberState::Dead
        } else if grew {
            says
        } else {
            // Told of, not yet heard.
            match says {
                MemberState::Active => MemberState::Joining,
                other => other,
            }
        };
        Seen {
            heartbeat: peer.heartbeat,
            grew_at: grew_at.min(now),
            grew,
            state,
            may_change: peer.may_change,
            is_self: peer.is_self,
        }
    }

    /// All members, those included that are gone.
    pub(super) fn members(&self) -> Members {
        Members(self.seen.iter().map(|(id, seen)| seen.record(id)).collect())
    }
}

impl Seen {
    fn record(&self, id: &MemberId) -> MemberRecord {
        let is_gone = matches!(self.state, MemberState::Dead | MemberState::Left);
        MemberRecord {
            id: id.clone(),
            state: self.state,
            is_alive: !is_gone && (self.grew || self.is_self),
            heartbeat_age: if self.is_self {
                Duration::ZERO
            } else {
                self.grew_at.elapsed()
            },
            may_change: self.may_change,
            is_self: self.is_self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const ROUND: Duration = Duration::from_millis(200);

    fn peer(name: &str, heartbeat: u64) -> Peer {
        Peer {
            id: MemberId {
                name: Arc::from(name),
                run: 1,
                address: ([127, 0, 0, 1], 7946).into(),
            },
            heartbeat,
            state: Some(MemberState::Active),
            may_change: false,
            is_self: false,
        }
    }

    fn states(liveness: &Liveness) -> Vec<MemberState> {
        liveness.members().iter().map(|seen| seen.state).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_member_is_dead_after_25_rounds_and_back_when_it_speaks() {
        let mut liveness = Liveness::new(ROUND);
        let mut heartbeat = 1;
        for _ in 0..10 {
            tokio::time::advance(ROUND).await;
            heartbeat += 1;
            liveness.poll(vec![peer("a", heartbeat)]);
        }
        assert_eq!(states(&liveness), [MemberState::Active]);
        for round in 1..=25 {
            assert_eq!(liveness.members().alive(), 1, "round {round}");
            tokio::time::advance(ROUND).await;
            liveness.poll(vec![peer("a", heartbeat)]);
        }
        assert_eq!(states(&liveness), [MemberState::Dead]);
        assert!(liveness.members().remembers_gone());
        let changes = liveness.poll(vec![peer("a", heartbeat + 1)]);
        assert_eq!(changes.len(), 1);
        assert_eq!(states(&liveness), [MemberState::Active]);
        assert_eq!(liveness.poll(Vec::new())[0].to, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_was_stopped_itself_declares_nobody_dead() {
        let mut liveness = Liveness::new(ROUND);
        liveness.poll(vec![peer("a", 1)]);
        liveness.poll(vec![peer("a", 2)]);
        tokio::time::advance(Duration::from_secs(60)).await;
        liveness.poll(vec![peer("a", 2)]);
        assert_eq!(states(&liveness), [MemberState::Active]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_only_told_of_is_not_alive() {
        let mut liveness = Liveness::new(ROUND);
        for _ in 0..5 {
            liveness.poll(vec![peer("gone", 77)]);
            tokio::time::advance(ROUND).await;
        }
        assert_eq!(liveness.members().alive(), 0);
        assert!(!liveness.members().holding().contains(&peer("other", 1).id));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_heard_says_so() {
        let mut liveness = Liveness::new(ROUND);
        let heard = |changes: Vec<MemberChange>| {
            changes
                .iter()
                .map(|change| change.heard)
                .collect::<Vec<_>>()
        };
        let peers = |heartbeat| vec![peer("made-up", 77), peer("real", heartbeat)];
        assert_eq!(heard(liveness.poll(peers(1))), [false, false]);
        assert_eq!(heard(liveness.poll(peers(2))), [true]);
        for heartbeat in 3..28 {
            tokio::time::advance(ROUND).await;
            let changes = liveness.poll(peers(heartbeat));
            assert!(changes.iter().all(|change| !change.heard));
        }
        let members = liveness.members();
        let made_up = members
            .iter()
            .find(|member| member.id == peer("made-up", 1).id);
        assert_eq!(made_up.map(|member| member.state), Some(MemberState::Dead));
    }
}
