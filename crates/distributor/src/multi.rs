//! The multi store of this process, and its override by the runtime configuration.

use std::sync::Arc;

use admin::MultiKv;
use arc_swap::ArcSwapOption;
use distributor_config::{RuntimeSnapshot, TenantLimits};
use ha_tracker::ReplicaDesc;
use kv_multi::{MultiStore, Override, Refused};
use tokio::task::JoinHandle;

/// Applies the current override, and in a task later ones.
///
/// # Errors
/// What it says now cannot be. Later that leaves in effect what was before; now nothing was, and
/// what is configured may be some steps behind the other distributors.
pub(crate) async fn start(
    store: MultiStore<ReplicaDesc>,
    runtime: TenantLimits,
) -> Result<(MultiKv, JoinHandle<()>), Refused> {
    let multi = MultiKv {
        store,
        refused: Arc::new(ArcSwapOption::empty()),
    };
    let mut snapshots = runtime.subscribe();
    let now = Arc::clone(&snapshots.borrow_and_update());
    multi.store.apply(&wanted(&now)).await?;
    let task = tokio::spawn({
        let multi = multi.clone();
        // The reader keeps the sender.
        async move {
            let _runtime = runtime;
            while snapshots.changed().await.is_ok() {
                let now = Arc::clone(&snapshots.borrow_and_update());
                apply(&multi, &now).await;
            }
        }
    });
    Ok((multi, task))
}

async fn apply(multi: &MultiKv, runtime: &RuntimeSnapshot) {
    let refused = match multi.store.apply(&wanted(runtime)).await {
        Ok(_) => None,
        Err(refused) => {
            tracing::error!(
                error = %refused,
                "multi_kv_config of the runtime configuration is refused; the previous settings stay in effect"
            );
            Some(Arc::new(refused.to_string()))
        }
    };
    multi.refused.store(refused);
}

/// The override of the runtime configuration.
fn wanted(runtime: &RuntimeSnapshot) -> Override {
    runtime
        .multi_kv_config()
        .map_or_else(Override::default, |multi| Override {
            primary: multi.primary.clone().filter(|name| !name.is_empty()),
            mirror_enabled: multi.mirror_enabled,
        })
}
