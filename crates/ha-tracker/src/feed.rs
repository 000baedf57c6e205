//! Telling others of elections: the state, then every change, in order.
//!
//! Changes go through one ring, which all watchers share, and a state is a copy that shares with those
//! before it whatever has not changed: nothing here grows with the number of watchers, nor with how
//! slow they are, and a state costs no more than the changes since the last one.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::ReplicaDesc;
use crate::elections::{ClusterElection, Elections};
use crate::tracker::HaTracker;

/// Changes that a watcher may be behind; then it gets the state again. An election is rare.
const RING: usize = 1024;

/// All elections at one moment.
#[derive(Debug, Default)]
pub struct ElectionState {
    /// By tenant and cluster.
    pub elections: Elections,
    /// The last change that is in it.
    pub(crate) sequence: u64,
}

/// One change.
#[derive(Debug)]
pub struct ElectionChange {
    /// The tenant.
    pub tenant: String,
    /// The cluster.
    pub cluster: String,
    /// What is stored now; `None` if the cluster was forgotten.
    pub desc: Option<ReplicaDesc>,
    pub(crate) sequence: u64,
}

/// What a watcher is told.
#[derive(Debug, Clone)]
pub enum ElectionEvent {
    /// All elections: what is not in it, is not elected (any more). Comes first, and after
    /// [`ElectionEvent::Lagged`].
    State(Arc<ElectionState>),
    /// A replica was elected, or a cluster was forgotten.
    Changed(Arc<ElectionChange>),
    /// The watcher was too slow, and so many changes were left out. The state follows.
    Lagged(u64),
}

/// Follows the elections of a tracker; see [`HaTracker::watch`].
pub struct ElectionWatch {
    tracker: Arc<HaTracker>,
    changes: broadcast::Receiver<Arc<ElectionChange>>,
    /// The last change that was in the state.
    known: u64,
    needs_state: bool,
}

/// The side of the cache. Everything here happens while the cache's write lock is held.
#[derive(Debug)]
pub(crate) struct Feed {
    ring: broadcast::Sender<Arc<ElectionChange>>,
    sequence: u64,
    /// Up to date once somebody has asked for a state.
    elections: Option<Elections>,
    state: Arc<ElectionState>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            ring: broadcast::Sender::new(RING),
            sequence: 0,
            elections: None,
            state: Arc::default(),
        }
    }
}

impl Feed {
    /// To be called for every change, with what `desc` makes of it.
    pub(crate) fn changed(
        &mut self,
        tenant: &str,
        cluster: &str,
        desc: impl FnOnce() -> Option<ReplicaDesc>,
    ) {
        self.sequence += 1;
        let is_watched = self.ring.receiver_count() > 0;
        if self.elections.is_none() && !is_watched {
            return;
        }
        let desc = desc();
        if let Some(elections) = &mut self.elections {
            match &desc {
                Some(desc) => elections.put(ClusterElection {
                    tenant: tenant.to_owned(),
                    cluster: cluster.to_owned(),
                    desc: desc.clone(),
                }),
                None => elections.remove(tenant, cluster),
            }
        }
        if is_watched {
            // Fails if the last watcher went just now.
            let _ = self.ring.send(Arc::new(ElectionChange {
                tenant: tenant.to_owned(),
                cluster: cluster.to_owned(),
                desc,
                sequence: self.sequence,
            }));
        }
    }

    /// The present state; the first one is made by `elections`.
    pub(crate) fn state(&mut self, elections: impl FnOnce() -> Elections) -> Arc<ElectionState> {
        let is_first = self.elections.is_none();
        let elections = self.elections.get_or_insert_with(elections);
        if is_first || self.state.sequence != self.sequence {
            self.state = Arc::new(ElectionState {
                elections: elections.clone(),
                sequence: self.sequence,
            });
        }
        Arc::clone(&self.state)
    }

    /// The one that was made last.
    #[cfg(feature = "grpc")]
    fn last_state(&self) -> Arc<ElectionState> {
        Arc::clone(&self.state)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<ElectionChange>> {
        self.ring.subscribe()
    }
}

impl HaTracker {
    /// All elections now, by tenant and cluster. The first call looks at every cluster; after that a
    /// state costs nothing, and each election a little.
    pub fn election_state(&self) -> Arc<ElectionState> {
        self.cache.state()
    }

    /// A state that has all that any watcher has been told.
    #[cfg(feature = "grpc")]
    pub(crate) fn last_election_state(&self) -> Arc<ElectionState> {
        self.cache.with_feed(|feed| feed.last_state())
    }

    /// Follows the elections from now on: first the state, then each change. Any number of watchers
    /// share their memory; one that is more than 1024 changes behind is told so, and given the state
    /// again.
    pub fn watch(self: &Arc<Self>) -> ElectionWatch {
        ElectionWatch {
            changes: self.cache.with_feed(|feed| feed.subscribe()),
            tracker: Arc::clone(self),
            known: 0,
            needs_state: true,
        }
    }
}

impl ElectionWatch {
    /// The next event; `None` when the tracker shuts down. Waits for [`HaTracker::ready`] first.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ElectionEvent> {
        let shutdown = self.tracker.shutdown.clone();
        shutdown.run_until_cancelled(self.event()).await.flatten()
    }

    async fn event(&mut self) -> Option<ElectionEvent> {
        if self.needs_state {
            self.tracker.ready().await;
            let state = self.tracker.election_state();
            self.known = state.sequence;
            self.needs_state = false;
            return Some(ElectionEvent::State(state));
        }
        loop {
            match self.changes.recv().await {
                // It was in the state already.
                Ok(change) if change.sequence <= self.known => {}
                Ok(change) => return Some(ElectionEvent::Changed(change)),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    self.needs_state = true;
                    return Some(ElectionEvent::Lagged(missed));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
