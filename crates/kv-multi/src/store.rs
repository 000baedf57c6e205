//! [`MultiStore`]: the store contract over two stores, composed of its parts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kv_core::{
    CasOutcome, CasUpdate, Store, StoreError, TaskFailed, Tasks, UpdateFn, Value, WatchStream,
};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::comparer::Comparer;
use crate::comparison::{CompareError, Comparison};
use crate::config::{ConfigError, MultiConfig};
use crate::metrics::Metrics;
use crate::mirror::{Mirror, WORKERS};
use crate::outcomes::Outcomes;
use crate::roles::{Part, Roles};
use crate::state::{Override, Refused, Side};
use crate::status::{BackfillState, BackfillStatus, MirrorStatus, Status};
use crate::switch::Switch;
use crate::{tasks, watch as watching};

const NAME: &str = "multi";

/// A store that combines two. Clones are the same store.
pub struct MultiStore<V> {
    roles: Arc<Roles<V>>,
    switch: Arc<Switch<V>>,
    mirror: Arc<Mirror<V>>,
    comparer: Arc<Comparer<V>>,
    outcomes: Arc<Outcomes>,
    metrics: Metrics,
    mirror_by_default: bool,
}

impl<V> Clone for MultiStore<V> {
    fn clone(&self) -> Self {
        Self {
            roles: Arc::clone(&self.roles),
            switch: Arc::clone(&self.switch),
            mirror: Arc::clone(&self.mirror),
            comparer: Arc::clone(&self.comparer),
            outcomes: Arc::clone(&self.outcomes),
            metrics: self.metrics.clone(),
            mirror_by_default: self.mirror_by_default,
        }
    }
}

/// Owns the tasks of a [`MultiStore`]. Dropping it stops them at once.
pub struct MultiHandle<V> {
    switch: Arc<Switch<V>>,
    shutdown: CancellationToken,
    tasks: Tasks,
}

/// Combines two stores and starts mirroring if `config` enables it. `kv_name` names the user of the
/// store, such as `distributor-hatracker`.
///
/// Must be called in a tokio runtime.
///
/// # Errors
/// The two stores have the same name, or the settings cannot work.
pub fn start<V: Value>(
    primary: impl Into<Part<V>>,
    secondary: impl Into<Part<V>>,
    config: MultiConfig,
    kv_name: &'static str,
    registry: &mut Registry,
) -> Result<(MultiStore<V>, MultiHandle<V>), ConfigError> {
    let parts = [primary.into(), secondary.into()];
    let [first, second] = parts.each_ref().map(|part| part.store.name());
    if first == second {
        return Err(ConfigError::Same(first));
    }
    if config.mirror_timeout.is_zero() {
        return Err(ConfigError::NoTimeout);
    }
    let metrics = Metrics::register(registry, kv_name);
    let stores = parts.each_ref().map(|part| Arc::clone(&part.store));
    let usable: [CancellationToken; 2] = Default::default();
    let shutdown = CancellationToken::new();
    let mut tasks = Tasks::new("a task of the multi store");
    for (part, usable) in parts.into_iter().zip(usable.clone()) {
        match part.usable {
            None => usable.cancel(),
            Some(can_be_used) => {
                tasks.spawn(tasks::announce(can_be_used, usable, shutdown.clone()));
            }
        }
    }
    let mirror_by_default = config.mirror_enabled;
    let roles = Arc::new(Roles::new(
        stores,
        usable,
        mirror_by_default,
        metrics.clone(),
    ));
    let mirror = Arc::new(Mirror::new(metrics.mirror_pending.clone()));
    let outcomes = Arc::new(Outcomes::new(metrics.clone()));
    let comparer = Comparer::new(Arc::clone(&roles), config.settle, metrics.clone());
    let comparer = Arc::new(comparer);
    for _ in 0..WORKERS {
        tasks.spawn(tasks::mirror(
            Arc::clone(&mirror),
            Arc::clone(&outcomes),
            config.mirror_timeout,
            shutdown.clone(),
        ));
    }
    let switch = Arc::new(Switch::new(
        Arc::clone(&roles),
        Arc::clone(&mirror),
        Arc::clone(&outcomes),
        Arc::clone(&comparer),
        config.mirror_timeout,
    ));
    let backfill = tasks::Backfill::new(
        Arc::clone(&roles),
        Arc::clone(&comparer),
        Arc::clone(&mirror),
        config,
    );
    tasks.spawn(backfill.run(shutdown.clone()));
    let store = MultiStore {
        roles,
        switch: Arc::clone(&switch),
        mirror,
        comparer,
        outcomes,
        metrics,
        mirror_by_default,
    };
    let handle = MultiHandle {
        switch,
        shutdown,
        tasks,
    };
    Ok((store, handle))
}

impl<V: Value> MultiHandle<V> {
    /// Waits for a task that ends before [`MultiHandle::shutdown`]: a bug; the error has its panic.
    /// Mirroring is not reliable afterwards. [`Send`], and cancel safe.
    pub async fn failed(&mut self) -> TaskFailed {
        self.tasks.failed().await
    }

    /// Mirrors pending changes, within the timeout, and stops. Writes must have ended before. [`Send`].
    /// If it is cancelled, mirroring stops at once; the next comparison finds what is missing.
    pub async fn shutdown(self) {
        self.switch.drain().await;
        self.shutdown.cancel();
        self.tasks.stopped().await;
    }
}

impl<V: Value> MultiStore<V> {
    /// Puts `wanted` into effect, or the configuration where it has no value. If the primary
    /// changes, waits for the writes in progress (those that take longer than the timeout are
    /// cancelled and made again on the new primary), then until their changes are mirrored, if
    /// mirroring is on (also within the timeout). A change of mirroring alone interrupts no call;
    /// when mirroring is turned off, this waits for pending changes in the same way. Returns
    /// whether anything changed.
    ///
    /// [`Send`]. If it is cancelled, the switch is completed all the same.
    ///
    /// # Errors
    /// Neither store has the wanted name; nothing has changed.
    pub async fn apply(&self, wanted: &Override) -> Result<bool, Refused> {
        let primary = match &wanted.primary {
            None => Side::First,
            Some(name) => self.roles.side(name)?,
        };
        let mirror_enabled = wanted.mirror_enabled.unwrap_or(self.mirror_by_default);
        // A task of its own: if the caller is cancelled, the switch must still complete.
        let switch = Arc::clone(&self.switch);
        let switched = tokio::spawn(async move { switch.to(primary, mirror_enabled).await });
        match switched.await {
            Ok(changed) => Ok(changed),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Name of the current primary.
    pub fn primary(&self) -> &'static str {
        let state = self.roles.state();
        self.roles.store(state.primary).name()
    }

    /// The settings in effect, and progress.
    pub fn status(&self) -> Status {
        let state = self.roles.state();
        let backfill = if !state.mirror_enabled {
            BackfillState::Off
        } else if self.comparer.is_complete(state.generation) {
            BackfillState::Complete
        } else {
            BackfillState::Running
        };
        let metrics = &self.metrics;
        Status {
            primary: self.roles.store(state.primary).name(),
            secondary: self.roles.store(state.primary.other()).name(),
            mirror_enabled: state.mirror_enabled,
            since: state.since,
            mirror: MirrorStatus {
                writes_total: metrics.mirror_writes.get(),
                write_errors_total: metrics.mirror_errors.get(),
                pending_keys: self.mirror.pending(),
                last_error: self.outcomes.last_error(),
            },
            backfill: BackfillStatus {
                state: backfill,
                pending_keys: u64::try_from(metrics.backfill_pending.get()).unwrap_or(0),
                copied_keys_total: metrics.backfill_copied.get(),
                failed_keys_total: metrics.backfill_failed.get(),
            },
        }
    }

    /// A comparison of the stores that is at most `max_age` old: the last one or a new one.
    /// Concurrent callers share one.
    ///
    /// [`Send`], and cancel safe: a comparison that is cancelled is begun again by the next caller.
    ///
    /// # Errors
    /// A store does not answer, or the primary was switched in the meantime.
    pub async fn compare(&self, max_age: Duration) -> Result<Arc<Comparison<V>>, CompareError> {
        self.comparer.compare(max_age).await
    }

    /// The last comparison, if it is at most `max_age` old and there was no switch since. Does not
    /// wait.
    pub fn last_comparison(&self, max_age: Duration) -> Option<Arc<Comparison<V>>> {
        self.comparer.last(max_age)
    }
}

#[async_trait]
impl<V: Value> Store<V> for MultiStore<V> {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.roles.read(|store| store.list(prefix)).await
    }

    async fn get(&self, key: &str) -> Result<Option<V>, StoreError> {
        self.roles.read(|store| store.get(key)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.cas(key, &mut |_| CasUpdate::Delete).await {
            // The old value is unknown, so the other store's value cannot be compared with it.
            Err(StoreError::Decode { .. }) => self.roles.read(|store| store.delete(key)).await,
            outcome => outcome.map(drop),
        }
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        self.switch.cas(key, update).await
    }

    fn watch_key(&self, key: &str) -> WatchStream<V> {
        let (roles, key) = (Arc::clone(&self.roles), key.to_owned());
        watching::follow(self.roles.subscribe(), move |state| {
            roles.store(state.primary).watch_key(&key)
        })
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<V> {
        let (roles, prefix) = (Arc::clone(&self.roles), prefix.to_owned());
        watching::follow(self.roles.subscribe(), move |state| {
            roles.store(state.primary).watch_prefix(&prefix)
        })
    }
}
