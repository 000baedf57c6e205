//! The changes of the cache, in order, for those who follow the elections.
//!
//! Changes go through one ring, which all watchers share, and a state is a copy that shares with those
//! before it whatever has not changed: nothing here grows with the number of watchers, nor with how
//! slow they are, and a state costs no more than the changes since the last one.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::elections::{Election, Elections};
use crate::ReplicaDesc;

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

/// The ring and the state. Everything here happens while the cache's write lock is held.
#[derive(Debug)]
pub(super) struct Changes {
    ring: broadcast::Sender<Arc<ElectionChange>>,
    sequence: u64,
    /// `None` until a state is asked for; up to date from then on.
    elections: Option<Elections>,
    state: Arc<ElectionState>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            ring: broadcast::Sender::new(RING),
            sequence: 0,
            elections: None,
            state: Arc::default(),
        }
    }
}

impl Changes {
    /// Adds a change: `desc` makes what is stored now, if it is asked for.
    pub(super) fn push(
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
                Some(desc) => elections.put(Election {
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
    pub(super) fn state(&mut self, elections: impl FnOnce() -> Elections) -> Arc<ElectionState> {
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
    pub(super) fn last_state(&self) -> Arc<ElectionState> {
        Arc::clone(&self.state)
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<ElectionChange>> {
        self.ring.subscribe()
    }
}
