//! The multi store, as pages see it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ha_tracker::ReplicaDesc;
use kv_multi::MultiStore;

/// The multi store, and what became of what overrides its configuration.
#[derive(Clone)]
pub struct MultiKv {
    /// The store.
    pub store: MultiStore<ReplicaDesc>,
    /// Why the override that the runtime configuration has now is not in effect; empty if it is.
    pub refused: Arc<ArcSwapOption<String>>,
}
