//! The changes of the cache, in order, for watchers of the elections.
//!
//! All watchers share one ring of changes. A state is a copy that shares its unchanged parts with
//! earlier ones. So memory does not depend on the number of watchers or on how slow they are, and a
//! state costs no more than the changes since the last one.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::elections::{Election, Elections};
use crate::ReplicaDesc;

/// Changes that a watcher may be behind before it gets the state again. Elections are rare.
const RING: usize = 1024;

/// All elections at one moment.
#[derive(Debug, Default)]
pub struct ElectionState {
    /// By tenant and cluster.
    pub elections: Elections,
    /// The last change that it includes.
    pub(crate) sequence: u64,
}

/// One change.
#[derive(Debug)]
pub struct ElectionChange {
    /// The tenant.
    pub tenant: String,
    /// The cluster.
    pub cluster: String,
    /// The entry that is stored now; `None` if the cluster was removed.
    pub desc: Option<ReplicaDesc>,
    pub(crate) sequence: u64,
}

/// The ring and the state. Used only while the cache's write lock is held.
#[derive(Debug)]
pub(super) struct Changes {
    ring: broadcast::Sender<Arc<ElectionChange>>,
    sequence: u64,
    /// `None` until a state is requested; up to date from then on.
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
    /// Adds a change: `desc` creates the stored entry, if it is needed.
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
            // Fails if the last watcher has just left.
            let _ = self.ring.send(Arc::new(ElectionChange {
                tenant: tenant.to_owned(),
                cluster: cluster.to_owned(),
                desc,
                sequence: self.sequence,
            }));
        }
    }

    /// The current state; `elections` creates the first one.
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

    /// The last one that was created.
    #[cfg(feature = "grpc")]
    pub(super) fn last_state(&self) -> Arc<ElectionState> {
        Arc::clone(&self.state)
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<ElectionChange>> {
        self.ring.subscribe()
    }
}
