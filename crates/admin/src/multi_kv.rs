//! The multi store, for pages.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ha_tracker::ReplicaDesc;
use kv_multi::MultiStore;

/// The multi store, and the state of the override of its configuration.
#[derive(Clone)]
pub struct MultiKv {
    /// The store.
    pub store: MultiStore<ReplicaDesc>,
    /// Why the override of the runtime configuration is not in effect; empty if it is.
    pub refused: Arc<ArcSwapOption<String>>,
}
