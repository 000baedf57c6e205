//! The multi store of this process, and what the runtime configuration says about it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ha_tracker::ReplicaDesc;
use kv_multi::{MultiStore, Override, Refused};
use tokio::task::JoinHandle;

use crate::config::{RuntimeSnapshot, StoreKind, TenantLimits};

/// For pages, and for those who ask which store decides.
pub(crate) struct Multi {
    pub(crate) store: MultiStore<ReplicaDesc>,
    refused: ArcSwapOption<String>,
}

impl Multi {
    /// Applies what the runtime configuration says now, and in a task what it says later.
    ///
    /// # Errors
    /// What it says now cannot be. Later that leaves in effect what was before; now nothing was, and
    /// what is configured may be some steps behind the other distributors.
    pub(crate) async fn start(
        store: MultiStore<ReplicaDesc>,
        runtime: TenantLimits,
    ) -> Result<(Arc<Self>, JoinHandle<()>), Refused> {
        let multi = Arc::new(Self {
            store,
            refused: ArcSwapOption::empty(),
        });
        let mut snapshots = runtime.subscribe();
        let now = Arc::clone(&snapshots.borrow_and_update());
        multi.store.apply(&wanted(&now)).await?;
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
        Ok((multi, task))
    }

    async fn apply(&self, runtime: &RuntimeSnapshot) {
        let refused = match self.store.apply(&wanted(runtime)).await {
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

/// What the runtime configuration says.
fn wanted(runtime: &RuntimeSnapshot) -> Override {
    runtime
        .multi_kv_config()
        .map_or_else(Override::default, |multi| Override {
            primary: multi.primary.clone().filter(|name| !name.is_empty()),
            mirror_enabled: multi.mirror_enabled,
        })
}
