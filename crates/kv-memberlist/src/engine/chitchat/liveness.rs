//! Who is alive: a member whose heartbeat grows.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::MemberState;
use crate::engine::chitchat::{Peer, PeerId};
use crate::store::OVERDUE;

/// Rounds of gossip without a heartbeat after which a member is dead.
const ROUNDS: u32 = 25;

/// However short the rounds are, a member is not dead before this. A process that the kernel or a
/// garbage collection of memory holds up is not dead.
const AT_LEAST: Duration = Duration::from_secs(2);

/// What this member saw of the others.
pub(crate) struct Liveness {
    dead_after: Duration,
    seen: HashMap<PeerId, Seen>,
    looked_at: Instant,
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    heartbeat: u64,
    grew_at: Instant,
    /// Whether its heartbeat ever grew: a remembered dead member is told of, but has never spoken.
    grew: bool,
    pub(crate) state: MemberState,
    pub(crate) is_self: bool,
}

/// A member that changed its state, or was heard for the first time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: PeerId,
    /// Whether its heartbeat ever grew. Otherwise others told of it, or somebody made it up.
    pub(crate) heard: bool,
    /// `None`: not known before.
    pub(crate) from: Option<MemberState>,
    /// `None`: forgotten.
    pub(crate) to: Option<MemberState>,
}

impl Liveness {
    pub(crate) fn new(gossip_interval: Duration) -> Self {
        Self {
            dead_after: (gossip_interval * ROUNDS).max(AT_LEAST),
            seen: HashMap::new(),
            looked_at: Instant::now(),
        }
    }

    /// Takes note of what gossip says now.
    pub(crate) fn look(&mut self, peers: Vec<Peer>) -> Vec<Change> {
        let now = Instant::now();
        // A member that was itself held up, or stopped, has heard nobody: that says nothing of them.
        let held_up = now.duration_since(self.looked_at);
        let pardon = if held_up >= OVERDUE {
            held_up
        } else {
            Duration::ZERO
        };
        self.looked_at = now;
        let mut changes = Vec::new();
        let mut before = std::mem::take(&mut self.seen);
        for peer in peers {
            let known = before.remove(&peer.id);
            let was = known.as_ref().map(|seen| seen.state);
            let was_heard = known.as_ref().is_some_and(|seen| seen.grew);
            let seen = self.judge(known, &peer, now, pardon);
            if was != Some(seen.state) || was_heard != seen.grew {
                changes.push(Change {
                    id: peer.id.clone(),
                    heard: seen.grew,
                    from: was,
                    to: Some(seen.state),
                });
            }
            self.seen.insert(peer.id, seen);
        }
        changes.extend(before.into_iter().map(|(id, seen)| Change {
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
            is_self: peer.is_self,
        }
    }

    /// All members, those included that are gone.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&PeerId, &Seen)> {
        self.seen.iter()
    }

    pub(crate) fn state(&self, id: &PeerId) -> Option<MemberState> {
        self.seen.get(id).map(|seen| seen.state)
    }

    /// Whether what this member publishes can be relied on to stay.
    pub(crate) fn holds(&self, id: &PeerId) -> bool {
        self.state(id).is_some_and(MemberState::holds)
    }

    /// Members that speak, this one included.
    pub(crate) fn alive(&self) -> usize {
        self.seen.values().filter(|seen| is_alive(seen)).count()
    }

    /// The others that speak.
    pub(crate) fn others(&self) -> Vec<(PeerId, MemberState)> {
        self.seen
            .iter()
            .filter(|(_, seen)| !seen.is_self && is_alive(seen))
            .map(|(id, seen)| (id.clone(), seen.state))
            .collect()
    }

    /// Whether a member that is gone, and may come back with what it held, is still remembered.
    pub(crate) fn remembers_gone(&self) -> bool {
        self.seen.values().any(|seen| !is_alive(seen))
    }

    /// Addresses of the others that speak.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.others()
            .into_iter()
            .map(|(id, _)| id.gossip_advertise_addr)
            .collect()
    }
}

impl Seen {
    pub(crate) fn age(&self) -> Duration {
        if self.is_self {
            Duration::ZERO
        } else {
            self.grew_at.elapsed()
        }
    }
}

fn is_alive(seen: &Seen) -> bool {
    !matches!(seen.state, MemberState::Dead | MemberState::Left) && (seen.grew || seen.is_self)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const ROUND: Duration = Duration::from_millis(200);

    fn peer(name: &str, heartbeat: u64) -> Peer {
        Peer {
            id: PeerId {
                node_id: Arc::from(name),
                generation_id: 1,
                gossip_advertise_addr: ([127, 0, 0, 1], 7946).into(),
            },
            heartbeat,
            state: Some(MemberState::Active),
            is_self: false,
        }
    }

    fn states(liveness: &Liveness) -> Vec<MemberState> {
        liveness.members().map(|(_, seen)| seen.state).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_member_is_dead_after_25_rounds_and_back_when_it_speaks() {
        let mut liveness = Liveness::new(ROUND);
        let mut heartbeat = 1;
        for _ in 0..10 {
            tokio::time::advance(ROUND).await;
            heartbeat += 1;
            liveness.look(vec![peer("a", heartbeat)]);
        }
        assert_eq!(states(&liveness), [MemberState::Active]);
        for round in 1..=25 {
            assert_eq!(liveness.alive(), 1, "round {round}");
            tokio::time::advance(ROUND).await;
            liveness.look(vec![peer("a", heartbeat)]);
        }
        assert_eq!(states(&liveness), [MemberState::Dead]);
        assert!(liveness.remembers_gone());
        let changes = liveness.look(vec![peer("a", heartbeat + 1)]);
        assert_eq!(changes.len(), 1);
        assert_eq!(states(&liveness), [MemberState::Active]);
        assert_eq!(liveness.look(Vec::new())[0].to, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_was_stopped_itself_declares_nobody_dead() {
        let mut liveness = Liveness::new(ROUND);
        liveness.look(vec![peer("a", 1)]);
        liveness.look(vec![peer("a", 2)]);
        tokio::time::advance(Duration::from_secs(60)).await;
        liveness.look(vec![peer("a", 2)]);
        assert_eq!(states(&liveness), [MemberState::Active]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_only_told_of_is_not_alive() {
        let mut liveness = Liveness::new(ROUND);
        for _ in 0..5 {
            liveness.look(vec![peer("gone", 77)]);
            tokio::time::advance(ROUND).await;
        }
        assert_eq!(liveness.alive(), 0);
        assert!(!liveness.holds(&peer("other", 1).id));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_heard_says_so() {
        let mut liveness = Liveness::new(ROUND);
        let heard = |changes: Vec<Change>| {
            changes
                .iter()
                .map(|change| change.heard)
                .collect::<Vec<_>>()
        };
        let peers = |heartbeat| vec![peer("made-up", 77), peer("real", heartbeat)];
        assert_eq!(heard(liveness.look(peers(1))), [false, false]);
        assert_eq!(heard(liveness.look(peers(2))), [true]);
        for heartbeat in 3..28 {
            tokio::time::advance(ROUND).await;
            let changes = liveness.look(peers(heartbeat));
            assert!(changes.iter().all(|change| !change.heard));
        }
        assert_eq!(
            liveness.state(&peer("made-up", 1).id),
            Some(MemberState::Dead)
        );
    }
}
