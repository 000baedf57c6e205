//! The data of the page.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use distributor_config::{MultiKvOverride, MultiSettings};
use ha_tracker::ReplicaDesc;
use kv_multi::{Comparison, Status};

/// The comparison of the stores, or why there is none.
pub(super) type Compared = Result<Arc<Comparison<ReplicaDesc>>, String>;

/// A multi store.
pub(super) struct View<'a> {
    pub(super) configured: &'a MultiSettings,
    /// The override of the runtime configuration.
    pub(super) wanted: Option<MultiKvOverride>,
    /// Why it is not in effect.
    pub(super) refused: Option<Arc<String>>,
    pub(super) status: Status,
    pub(super) compared: Compared,
}

pub(super) fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
