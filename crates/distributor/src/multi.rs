//! The multi store of this process, and what the runtime configuration says about it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ha_tracker::ReplicaDesc;
use kv_multi::{MultiStore, Override};
use tokio::task::JoinHandle;

use crate::config::{RuntimeSnapshot, StoreKind, TenantLimits};

/// For pages, and for those who ask which store decides.
pub(crate) struct Multi {
    pub(crate) store: MultiStore<ReplicaDesc>,
    refused: ArcSwapOption<String>,
}

impl Multi {
    /// Applies what the runtime configuration says now, and in a task what it says later.
    pub(crate) async fn start(
        store: MultiStore<ReplicaDesc>,
        runtime: TenantLimits,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let multi = Arc::new(Self {
            store,
            refused: ArcSwapOption::empty(),
        });
        let mut snapshots = runtime.subscribe();
        let now = Arc::clone(&snapshots.borrow_and_update());
        multi.apply(&now).await;
        let task = tokio::spawn({
            let multi = Arc::clone(&multi);
            // The reader keeps the sender.
            async move {
                let _runtime = runtime;
                while snapshots.changed().await.is_ok() {
                    let now = Arc::clone(&snapshots.borrow_and_update());
                    multi.apply(&now).await;
                }
            }
        });
        (multi, task)
    }

    async fn apply(&self, runtime: &RuntimeSnapshot) {
        let wanted = runtime
            .multi_kv_config()
            .map_or_else(Override::default, |multi| Override {
                primary: multi.primary.clone().filter(|name| !name.is_empty()),
                mirror_enabled: multi.mirror_enabled,
            });
        let refused = match self.store.apply(&wanted).await {
            Ok(_) => None,
            Err(refused) => {
                tracing::error!(
                    error = %refused,
                    "multi_kv_config of the runtime configuration is refused; what was in effect stays"
                );
                Some(Arc::new(refused.to_string()))
            }
        };
        self.refused.store(refused);
    }

    /// Why what the runtime configuration says is not in effect.
    pub(crate) fn refused(&self) -> Option<Arc<String>> {
        self.refused.load_full()
    }

    pub(crate) fn is_primary(&self, kind: StoreKind) -> bool {
        self.store.primary() == kind.as_str()
    }
}
