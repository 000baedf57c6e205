//! Handing an election over by hand.

use std::sync::Arc;

use kv_core::StoreError;

/// What a handover has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandedOver {
    /// The replica is elected.
    Elected,
    /// The [`ElectionGate`](crate::ElectionGate) has taken note, and will elect it.
    Begun,
}

/// Why an election was not handed over. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// The cluster has no election.
    #[error(
        "tenant {tenant:?} has no cluster {cluster:?}: check both names on the HA tracker's page"
    )]
    UnknownCluster {
        /// The tenant.
        tenant: String,
        /// The cluster.
        cluster: String,
    },
    /// This tracker has not seen the replica within the last two minutes.
    #[error(
        "this distributor has seen no request of replica {replica:?} within the last two minutes: ask \
         a distributor that it sends to, or check that it sends"
    )]
    NotSeen {
        /// The replica.
        replica: String,
    },
    /// The replica is the elected one.
    #[error("replica {replica:?} is already elected")]
    AlreadyElected {
        /// The replica.
        replica: String,
    },
    /// The election that was to be ended is over.
    #[error(
        "replica {elected:?} was elected in the meantime; check whether the handover is still wanted"
    )]
    Superseded {
        /// The replica that is elected now.
        elected: String,
    },
    /// The store failed; the election may have been written all the same.
    #[error("the HA tracker's store failed, so the handover may or may not have taken place: {0}")]
    Store(Arc<StoreError>),
}

impl HandOverError {
    /// Whether the same call may succeed later, without another's doing: only if the store failed in a
    /// way that may pass.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_retryable())
    }
}
