//! Input and result of a check.

use std::sync::Arc;

use kv_core::StoreError;
use smol_str::SmolStr;

/// A sample, or all samples of one replica in a request.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// Value of the cluster label.
    pub cluster: &'a str,
    /// Value of the replica label.
    pub replica: &'a str,
    /// Newest sample time, Unix ms; `None` without samples.
    pub newest_ms: Option<i64>,
    /// When it arrived, Unix ms.
    pub now_ms: i64,
}

impl Sighting<'_> {
    /// The newest sample time, but now at most, as in Mimir: a sender whose clock is ahead does not
    /// bring a failover forward.
    pub(crate) fn sample_ms(&self) -> Option<i64> {
        self.newest_ms.map(|newest_ms| newest_ms.min(self.now_ms))
    }
}

/// What the cache knows about a replica, without recording anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// It is the elected one.
    Elected,
    /// Another one is elected.
    NotElected,
    /// The cluster is unknown: only [`HaTracker::check`](crate::HaTracker::check) can decide.
    Unknown,
    /// Another one is elected, but overdue: [`HaTracker::check`](crate::HaTracker::check) may elect
    /// this one.
    Overdue,
}

/// The result of a check. No variants will be added: a caller has to handle each.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The replica is elected: keep its samples.
    Accepted,
    /// Another replica is elected: drop them.
    Deduplicated(ElectedReplica),
    /// The cluster would exceed the tenant's limit.
    TooManyClusters {
        /// The tenant's limit.
        limit: u64,
    },
    /// The store cannot keep an entry for this cluster: [`StoreError::InvalidKey`] or
    /// [`StoreError::InvalidValue`].
    NotStorable(Arc<StoreError>),
}

/// The elected replica.
#[derive(Debug, Clone)]
pub struct ElectedReplica(pub(crate) SmolStr);

impl ElectedReplica {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Why a check has no result. All of these are temporary: the sender should retry.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TrackerError {
    /// The cluster is unknown here and the store failed.
    #[error("the HA tracker's store cannot answer for a new cluster: {0}")]
    Store(Arc<StoreError>),
    /// The elected replica is overdue, and the store failed to elect this one.
    #[error(
        "the elected replica is overdue, and the HA tracker's store cannot elect this one: {0}"
    )]
    Failover(Arc<StoreError>),
    /// The cluster's entry was deleted between election and check.
    #[error("the cluster's entry was removed while it was checked")]
    Vanished,
    /// The tenant is new, and would exceed the limit of tenants.
    #[error("the tracker already has {0} tenants")]
    TooManyTenants(u64),
    /// The tracker is shutting down.
    #[error("the HA tracker is shutting down")]
    ShuttingDown,
}

impl TrackerError {
    /// Whether the same check may succeed later, without a change of settings, at this tracker or, if
    /// it is shutting down, at another one.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) | Self::Failover(error) => error.is_retryable(),
            Self::Vanished | Self::TooManyTenants(_) | Self::ShuttingDown => true,
        }
    }
}
