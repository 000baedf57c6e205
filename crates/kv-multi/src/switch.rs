//! Writes to the primary, and switches: no write may run across a switch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv_core::{CasOutcome, StoreError, UpdateFn, Value};
use tokio::sync::RwLock;

use crate::change::Change;
use crate::comparer::Comparer;
use crate::mirror::{Mirror, Task};
use crate::outcomes::Outcomes;
use crate::roles::Roles;
use crate::state::{Side, State};

/// The first number of a write.
const FIRST_ORDER: u64 = 1;

/// The gate that every write passes.
///
/// Lock order: `switching`, then `writes`, then any of the parts; no part calls back.
pub(crate) struct Switch<V> {
    roles: Arc<Roles<V>>,
    mirror: Arc<Mirror<V>>,
    outcomes: Arc<Outcomes>,
    comparer: Arc<Comparer<V>>,
    mirror_timeout: Duration,
    /// Held by a switch, so that there is only one at a time.
    switching: tokio::sync::Mutex<()>,
    /// Writes share it, a switch takes it exclusively.
    writes: RwLock<()>,
    /// The number of the next write.
    orders: AtomicU64,
}

impl<V: Value> Switch<V> {
    pub(crate) fn new(
        roles: Arc<Roles<V>>,
        mirror: Arc<Mirror<V>>,
        outcomes: Arc<Outcomes>,
        comparer: Arc<Comparer<V>>,
        mirror_timeout: Duration,
    ) -> Self {
        Self {
            roles,
            mirror,
            outcomes,
            comparer,
            mirror_timeout,
            switching: tokio::sync::Mutex::new(()),
            writes: RwLock::new(()),
            orders: AtomicU64::new(FIRST_ORDER),
        }
    }

    /// Changes the roles; `true` if that was a change. See
    /// [`MultiStore::apply`](crate::MultiStore::apply).
    pub(crate) async fn to(&self, primary: Side, mirror_enabled: bool) -> bool {
        let _switching = self.switching.lock().await;
        let before = self.roles.state();
        if (before.primary, before.mirror_enabled) == (primary, mirror_enabled) {
            return false;
        }
        if primary == before.primary {
            self.roles.enter(before.next(primary, mirror_enabled));
            if !mirror_enabled {
                self.drain().await;
            }
        } else {
            let writes = self.writes.write();
            let writes = match tokio::time::timeout(self.mirror_timeout, writes).await {
                Ok(writes) => writes,
                Err(_) => {
                    before.abandoned.cancel();
                    self.writes.write().await
                }
            };
            self.drain().await;
            // A store that has not been used yet cannot lose anything.
            let is_used = self.orders.load(Ordering::Relaxed) > FIRST_ORDER;
            if is_used && !self.comparer.is_complete(before.generation) {
                tracing::warn!(
                    primary = self.roles.store(primary).name(),
                    "switching to a primary that may be incomplete; missing elections will be held again"
                );
            }
            self.roles.enter(before.next(primary, mirror_enabled));
            drop(writes);
            before.moved.cancel();
        }
        tracing::info!(
            primary = self.roles.store(primary).name(),
            mirror_enabled,
            primary_was = self.roles.store(before.primary).name(),
            mirror_enabled_was = before.mirror_enabled,
            "multi store switched"
        );
        true
    }

    /// Waits for pending mirror writes, then cancels the rest.
    pub(crate) async fn drain(&self) {
        let drained = self.mirror.pending_at_most(0);
        if tokio::time::timeout(self.mirror_timeout, drained)
            .await
            .is_err()
        {
            self.outcomes.give_up(&self.mirror);
        }
    }

    /// A compare-and-swap on the primary, mirrored afterwards.
    pub(crate) async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        loop {
            let _writing = self.writes.read().await;
            let state = self.roles.state();
            let mut order = 0;
            let mut replaced = None;
            let mut noting = |current: Option<&V>| {
                // A write is stored only if it has seen the write before it, so the functions of
                // successful writes run in this order.
                order = self.orders.fetch_add(1, Ordering::SeqCst);
                replaced = current.cloned();
                update(current)
            };
            let outcome = tokio::select! {
                biased;
                outcome = self.roles.store(state.primary).cas(key, &mut noting) => outcome,
                () = state.abandoned.cancelled() => continue,
            };
            // Mirroring may have been turned on in the meantime. A write that ended before that is
            // older than the first comparison. The primary is the same: a switch would wait for
            // this write.
            let state = self.roles.state();
            if state.mirror_enabled {
                match &outcome {
                    Ok(CasOutcome::Stored(value)) => {
                        self.follow(key, replaced, Some(value.clone()), order, &state);
                    }
                    Ok(CasOutcome::Deleted) => self.follow(key, replaced, None, order, &state),
                    Ok(CasOutcome::Kept(_)) | Err(_) => {}
                }
            }
            return outcome;
        }
    }

    fn follow(&self, key: &str, replaced: Option<V>, value: Option<V>, order: u64, state: &State) {
        let task = Task::Follow(Change::new(replaced, value, order));
        if let Err((task, full)) = self.mirror.push(key, task, &self.roles.route(state)) {
            self.outcomes.record(key, &task, Some(full.to_string()));
        }
    }
}
