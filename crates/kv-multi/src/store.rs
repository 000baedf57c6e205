//! [`MultiStore`]: the contract over two stores, and switching between them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use kv_core::{CasOutcome, CasUpdate, Mergeable, Store, StoreError, UpdateFn, WatchStream};
use prometheus_client::registry::Registry;
use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::change::Change;
use crate::compare::{CompareError, Comparison, Failed};
use crate::complaint::Complaint;
use crate::config::{ConfigError, MultiConfig};
use crate::metrics::Metrics;
use crate::mirror::{Mirror, Route, Task, WORKERS};
use crate::state::{Override, Refused, Side, State};
use crate::status::{BackfillState, BackfillStatus, MirrorFailure, MirrorStatus, Status};
use crate::{upkeep, watch as watching};

const NAME: &str = "multi";

/// One store over two. Clones are the same store.
pub struct MultiStore<V> {
    pub(crate) shared: Arc<Shared<V>>,
}

impl<V> Clone for MultiStore<V> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Owns the tasks of a [`MultiStore`]. Dropping it stops them at once.
pub struct MultiHandle<V> {
    shared: Arc<Shared<V>>,
    tasks: JoinSet<()>,
}

pub(crate) struct Shared<V> {
    /// As configured: the primary, the secondary.
    stores: [Arc<dyn Store<V>>; 2],
    /// Which of them can be used.
    usable: [CancellationToken; 2],
    pub(crate) config: MultiConfig,
    pub(crate) states: watch::Sender<State>,
    /// Writes hold it shared, a switch exclusively.
    writes: RwLock<()>,
    /// Held by a switch, so that two of them do not meet.
    switching: tokio::sync::Mutex<()>,
    orders: AtomicU64,
    pub(crate) mirror: Mirror<V>,
    pub(crate) last_error: Mutex<Option<MirrorFailure>>,
    pub(crate) mirror_complaint: Complaint,
    pub(crate) backfill_complaint: Complaint,
    pub(crate) compare_complaint: Complaint,
    pub(crate) comparing: tokio::sync::Mutex<Failed>,
    pub(crate) compared: Mutex<Option<Arc<Comparison<V>>>>,
    /// The generation whose secondary was found complete.
    pub(crate) complete: AtomicU64,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
}

/// One of the two stores.
pub struct Part<V> {
    store: Arc<dyn Store<V>>,
    /// Ends when it can be used; `None`: it can.
    usable: Option<BoxFuture<'static, ()>>,
}

impl<V> Part<V> {
    /// A store that takes part only when `usable` ends, such as gossip when it has joined: as the
    /// secondary it is neither mirrored to nor compared before.
    pub fn when(store: Arc<dyn Store<V>>, usable: BoxFuture<'static, ()>) -> Self {
        Self {
            store,
            usable: Some(usable),
        }
    }
}

impl<V> From<Arc<dyn Store<V>>> for Part<V> {
    fn from(store: Arc<dyn Store<V>>) -> Self {
        Self {
            store,
            usable: None,
        }
    }
}

/// No generation.
pub(crate) const NEVER: u64 = u64::MAX;

/// Puts one store over two and starts to mirror, if `config` says so. `kv_name` says whose store it
/// is, such as `distributor-hatracker`.
///
/// Must be called in a tokio runtime.
///
/// # Errors
/// The two stores have the same name, or the settings cannot work.
pub fn start<V>(
    primary: impl Into<Part<V>>,
    secondary: impl Into<Part<V>>,
    config: MultiConfig,
    kv_name: &'static str,
    registry: &mut Registry,
) -> Result<(MultiStore<V>, MultiHandle<V>), ConfigError>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let parts = [primary.into(), secondary.into()];
    let [first, second] = parts.each_ref().map(|part| part.store.name());
    if first == second {
        return Err(ConfigError::Same(first));
    }
    if config.mirror_timeout.is_zero() {
        return Err(ConfigError::NoTimeout);
    }
    let metrics = Metrics::register(registry, kv_name);
    metrics.state(first, second, config.mirror_enabled);
    let stores = parts.each_ref().map(|part| Arc::clone(&part.store));
    let usable: [CancellationToken; 2] = Default::default();
    let shared = Arc::new(Shared {
        stores,
        usable: usable.clone(),
        states: watch::Sender::new(State::new(config.mirror_enabled)),
        config,
        writes: RwLock::new(()),
        switching: tokio::sync::Mutex::new(()),
        orders: AtomicU64::new(1),
        mirror: Mirror::new(metrics.mirror_pending.clone()),
        last_error: Mutex::new(None),
        mirror_complaint: Complaint::default(),
        backfill_complaint: Complaint::default(),
        compare_complaint: Complaint::default(),
        comparing: tokio::sync::Mutex::new(None),
        compared: Mutex::new(None),
        complete: AtomicU64::new(NEVER),
        metrics,
        shutdown: CancellationToken::new(),
    });
    let mut tasks = JoinSet::new();
    for (part, usable) in parts.into_iter().zip(usable) {
        let Some(can_be_used) = part.usable else {
            usable.cancel();
            continue;
        };
        tasks.spawn(upkeep::announce(
            can_be_used,
            usable,
            shared.shutdown.clone(),
        ));
    }
    for _ in 0..WORKERS {
        tasks.spawn(upkeep::mirror(Arc::clone(&shared)));
    }
    tasks.spawn(upkeep::backfill(Arc::clone(&shared)));
    let store = MultiStore {
        shared: Arc::clone(&shared),
    };
    Ok((store, MultiHandle { shared, tasks }))
}

impl<V> MultiHandle<V>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    /// Waits for a task that ends before [`MultiHandle::shutdown`]: a bug, whose panic this tells.
    /// Nothing is mirrored reliably afterwards.
    pub async fn failed(&mut self) -> String {
        match self.tasks.join_next().await {
            Some(Err(error)) => format!("a task of the multi store panicked: {error}"),
            Some(Ok(())) => "a task of the multi store ended early".to_owned(),
            None => "the multi store has no tasks".to_owned(),
        }
    }

    /// Mirrors what is pending, within the time-out, and stops. Writes must have ended before.
    pub async fn shutdown(mut self) {
        self.shared.drain().await;
        self.shared.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the multi store panicked");
            }
        }
    }
}

impl<V> MultiStore<V>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    /// Puts what `wanted` says, else what is configured, into effect. If the primary changes: waits
    /// for the writes under way (those that outlast the time-out are given up and made again on
    /// the new primary), then until what they stored is mirrored, if it is to be (not longer than
    /// the time-out either). A change of mirroring alone disturbs nobody; if it ends, this waits for
    /// what is pending in the same way. `true` when something changed.
    ///
    /// # Errors
    /// There is no store of the wanted name; nothing has changed.
    pub async fn apply(&self, wanted: &Override) -> Result<bool, Refused> {
        let shared = &*self.shared;
        let primary = match &wanted.primary {
            None => Side::First,
            Some(name) => shared.side(name)?,
        };
        let mirror_enabled = wanted
            .mirror_enabled
            .unwrap_or(shared.config.mirror_enabled);
        // A task of its own: half a switch is none, should the caller go away.
        let switch = tokio::spawn({
            let shared = Arc::clone(&self.shared);
            async move { shared.switch(primary, mirror_enabled).await }
        });
        match switch.await {
            Ok(changed) => Ok(changed),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Name of the store that is the primary now.
    pub fn primary(&self) -> &'static str {
        let state = self.shared.state();
        self.shared.store(state.primary).name()
    }

    /// What is in effect, and how it goes.
    pub fn status(&self) -> Status {
        let shared = &*self.shared;
        let state = shared.state();
        let route = shared.route(&state);
        let backfill = if !state.mirror_enabled {
            BackfillState::Off
        } else if shared.complete.load(Ordering::Relaxed) == state.generation {
            BackfillState::Complete
        } else {
            BackfillState::Running
        };
        let metrics = &shared.metrics;
        Status {
            primary: route.primary.name(),
            secondary: route.secondary.name(),
            mirror_enabled: state.mirror_enabled,
            since: state.since,
            mirror: MirrorStatus {
                writes_total: metrics.mirror_writes.get(),
                write_errors_total: metrics.mirror_errors.get(),
                pending_keys: shared.mirror.pending(),
                last_error: lock(&shared.last_error).clone(),
            },
            backfill: BackfillStatus {
                state: backfill,
                pending_keys: u64::try_from(metrics.backfill_pending.get()).unwrap_or(0),
                copied_keys_total: metrics.backfill_copied.get(),
                failed_keys_total: metrics.backfill_failed.get(),
            },
        }
    }

    /// A comparison of the stores that is not older than `max_age`: the last one, or one made now.
    /// Any number of callers share one.
    ///
    /// # Errors
    /// A store does not answer, or the primary was switched meanwhile.
    pub async fn compare(&self, max_age: Duration) -> Result<Arc<Comparison<V>>, CompareError> {
        self.shared.compare(max_age).await
    }

    /// The last comparison, if it is not older than `max_age` and the stores have had the same roles
    /// since. Does not wait.
    pub fn last_comparison(&self, max_age: Duration) -> Option<Arc<Comparison<V>>> {
        self.shared.last_comparison(max_age)
    }
}

impl<V> Shared<V>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    pub(crate) fn state(&self) -> State {
        self.states.borrow().clone()
    }

    fn store(&self, side: Side) -> &Arc<dyn Store<V>> {
        &self.stores[side.index()]
    }

    pub(crate) fn route(&self, state: &State) -> Route<V> {
        let (primary, secondary) = (state.primary, state.primary.other());
        Route {
            primary: Arc::clone(self.store(primary)),
            secondary: Arc::clone(self.store(secondary)),
            primary_usable: self.usable[primary.index()].clone(),
            secondary_usable: self.usable[secondary.index()].clone(),
        }
    }

    fn side(&self, name: &str) -> Result<Side, Refused> {
        [Side::First, Side::Second]
            .into_iter()
            .find(|side| self.store(*side).name() == name)
            .ok_or_else(|| Refused {
                primary: name.to_owned(),
                first: self.stores[0].name(),
                second: self.stores[1].name(),
            })
    }

    async fn switch(&self, primary: Side, mirror_enabled: bool) -> bool {
        let _switching = self.switching.lock().await;
        let before = self.state();
        if (before.primary, before.mirror_enabled) == (primary, mirror_enabled) {
            return false;
        }
        if primary == before.primary {
            self.enter(before.next(primary, mirror_enabled));
            if !mirror_enabled {
                self.drain().await;
            }
        } else {
            let timeout = self.config.mirror_timeout;
            let writes = match tokio::time::timeout(timeout, self.writes.write()).await {
                Ok(writes) => writes,
                Err(_) => {
                    before.abandoned.cancel();
                    self.writes.write().await
                }
            };
            self.drain().await;
            // What nobody has used yet has nothing to lose.
            let is_used = self.orders.load(Ordering::Relaxed) > 1;
            if is_used && self.complete.load(Ordering::Relaxed) != before.generation {
                tracing::warn!(
                    primary = self.store(primary).name(),
                    "switching to a store that was not seen to have all that the old primary has: elections that it lacks are made anew"
                );
            }
            self.enter(before.next(primary, mirror_enabled));
            drop(writes);
            before.moved.cancel();
        }
        tracing::info!(
            primary = self.store(primary).name(),
            mirror_enabled,
            primary_was = self.store(before.primary).name(),
            mirror_enabled_was = before.mirror_enabled,
            "multi store switched"
        );
        true
    }

    /// Puts a state into effect. Its metrics change with it: whoever sets one of them for a state
    /// does so while that state is borrowed.
    fn enter(&self, after: State) {
        let primary = self.store(after.primary).name();
        let other = self.store(after.primary.other()).name();
        self.states.send_modify(|state| {
            self.metrics.state(primary, other, after.mirror_enabled);
            *state = after;
        });
    }

    /// Waits for what is to be mirrored, then gives up the rest.
    async fn drain(&self) {
        let drained = self.mirror.pending_at_most(0);
        if tokio::time::timeout(self.config.mirror_timeout, drained)
            .await
            .is_ok()
        {
            return;
        }
        for (key, task) in self.mirror.give_up() {
            upkeep::ended(self, &key, &task, Some(upkeep::GIVEN_UP.to_owned()));
        }
    }

    /// Reads from the primary, from the new one if it is switched meanwhile.
    async fn read<'a, T>(
        &'a self,
        call: impl Fn(&'a dyn Store<V>) -> BoxFuture<'a, T> + Send,
    ) -> T {
        loop {
            let state = self.state();
            tokio::select! {
                biased;
                answer = call(&**self.store(state.primary)) => return answer,
                () = state.moved.cancelled() => {}
            }
        }
    }

    fn follow(&self, key: &str, replaced: Option<V>, value: Option<V>, order: u64, state: &State) {
        let task = Task::Follow(Change::new(replaced, value, order));
        if let Err((task, full)) = self.mirror.push(key, task, &self.route(state)) {
            upkeep::ended(self, key, &task, Some(full.to_string()));
        }
    }
}

#[async_trait]
impl<V> Store<V> for MultiStore<V>
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    fn name(&self) -> &'static str {
        NAME
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.shared.read(|store| store.list(prefix)).await
    }

    async fn get(&self, key: &str) -> Result<Option<V>, StoreError> {
        self.shared.read(|store| store.get(key)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.cas(key, &mut |_| CasUpdate::Delete).await {
            // Nobody can tell what it was, so there is nothing to compare the other's value with.
            Err(StoreError::Decode { .. }) => self.shared.read(|store| store.delete(key)).await,
            outcome => outcome.map(drop),
        }
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        let shared = &*self.shared;
        loop {
            let _writing = shared.writes.read().await;
            let state = shared.state();
            let mut order = 0;
            let mut replaced = None;
            let mut noting = |current: Option<&V>| {
                // A write is stored only if it has seen the one before it: in this order the
                // functions of successful writes run.
                order = shared.orders.fetch_add(1, Ordering::SeqCst);
                replaced = current.cloned();
                update(current)
            };
            let outcome = tokio::select! {
                biased;
                outcome = shared.store(state.primary).cas(key, &mut noting) => outcome,
                () = state.abandoned.cancelled() => continue,
            };
            // Mirroring may have begun meanwhile. A write that ended before it did is older than the
            // first comparison. The primary is the same: its switch would wait for this write.
            let state = shared.state();
            if state.mirror_enabled {
                match &outcome {
                    Ok(CasOutcome::Stored(value)) => {
                        shared.follow(key, replaced, Some(value.clone()), order, &state);
                    }
                    Ok(CasOutcome::Deleted) => shared.follow(key, replaced, None, order, &state),
                    Ok(CasOutcome::Kept(_)) | Err(_) => {}
                }
            }
            return outcome;
        }
    }

    fn watch_key(&self, key: &str) -> WatchStream<V> {
        let (shared, key) = (Arc::clone(&self.shared), key.to_owned());
        watching::follow(self.shared.states.subscribe(), move |state| {
            shared.store(state.primary).watch_key(&key)
        })
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<V> {
        let (shared, prefix) = (Arc::clone(&self.shared), prefix.to_owned());
        watching::follow(self.shared.states.subscribe(), move |state| {
            shared.store(state.primary).watch_prefix(&prefix)
        })
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
