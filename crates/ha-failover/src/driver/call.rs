//! Starting the driver, and carrying out effects.

use std::sync::{Arc, RwLock};

use futures::{StreamExt, TryStreamExt, stream};
use ha_tracker::{Clock, ReplicaDesc};
use kv_core::{CasOutcome, CasUpdate, Store, StoreError, StoreExt, TaskFailed, Tasks};
use prometheus_client::registry::Registry;
use tokio::sync::{OnceCell, Semaphore, mpsc};

use super::metrics::FailoverMetrics;
use super::tasks::{self, DEAD_AFTER};
use super::{Cluster, Elections, Failovers, Replayer, Rules, Work, entry_of, records, write};
use crate::limits::saturating_ms;
use crate::{Budget, Claim, Effect, FailoverConfig, Fleet, Plan, Term};

/// Effects that are carried out at once: calls of the store, and replays.
const CONCURRENCY: usize = 256;
/// Claims of one cluster that are read at once.
const CONCURRENT_READS: usize = 16;

/// What a driver is made of.
pub struct Parts<B> {
    /// Where records are kept: a store of the elections' type, below
    /// [`records_prefix`](crate::records_prefix).
    pub store: Arc<dyn Store<ReplicaDesc>>,
    /// The tracker.
    pub elections: Arc<dyn Elections>,
    /// Which tenants are in lossless mode.
    pub rules: Arc<dyn Rules>,
    /// The downstream.
    pub replayer: Arc<dyn Replayer<B>>,
    /// Whether to join the clusters of other distributors before a request of them comes: for a store
    /// with which joining takes long.
    pub joins_early: bool,
    /// Bounds.
    pub config: FailoverConfig,
    /// The time.
    pub clock: Clock,
}

/// Owns the driver's tasks. Dropping it aborts them.
pub struct FailoverHandle {
    tasks: Tasks,
}

impl FailoverHandle {
    /// Waits for a task to fail, which is a bug. [`Send`], and cancel safe.
    pub async fn failed(&mut self) -> TaskFailed {
        self.tasks.failed().await
    }
}

/// What effects are carried out with.
pub(super) struct Hands<B> {
    pub(super) failovers: Arc<Failovers<B>>,
    pub(super) store: Arc<dyn Store<ReplicaDesc>>,
    pub(super) replayer: Arc<dyn Replayer<B>>,
    /// Set when the first heartbeat is stored: before that, no claim is.
    pub(super) first_heartbeat: OnceCell<()>,
}

/// Starts the driver. It does nothing, and calls no store, until a tenant is in lossless mode.
pub fn start<B: Clone + Send + Sync + 'static>(
    parts: Parts<B>,
    registry: &mut Registry,
) -> (Arc<Failovers<B>>, FailoverHandle) {
    let me = format!("{:016x}", rand::random::<u64>());
    let (effects, work) = mpsc::unbounded_channel();
    let now_ms = parts.clock.now_ms();
    let failovers = Arc::new(Failovers {
        me: me.as_str().into(),
        clusters: papaya::HashMap::default(),
        budgets: papaya::HashMap::default(),
        process: Arc::new(Budget::new(parts.config.max_hold_bytes, None)),
        fleet: RwLock::new(Fleet::new(me, saturating_ms(DEAD_AFTER), now_ms)),
        rules: parts.rules,
        elections: parts.elections,
        effects,
        metrics: FailoverMetrics::register(registry),
        clock: parts.clock,
    });
    let hands = Arc::new(Hands {
        failovers: Arc::clone(&failovers),
        store: parts.store,
        replayer: parts.replayer,
        first_heartbeat: OnceCell::new(),
    });
    let mut tasks = Tasks::new("a task of the failovers without loss");
    tasks.spawn(carry_out_all(Arc::clone(&hands), work));
    tasks.spawn(tasks::follow(Arc::clone(&hands), parts.joins_early));
    tasks.spawn(tasks::tick(Arc::clone(&failovers)));
    tasks.spawn(tasks::beat(Arc::clone(&hands)));
    tasks.spawn(tasks::clean_up(hands));
    (failovers, FailoverHandle { tasks })
}

async fn carry_out_all<B: Clone + Send + Sync + 'static>(
    hands: Arc<Hands<B>>,
    mut work: mpsc::UnboundedReceiver<Work<B>>,
) {
    let places = Arc::new(Semaphore::new(CONCURRENCY));
    let mut running = tokio::task::JoinSet::new();
    while let Some((cluster, effect)) = work.recv().await {
        while running.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let hands = Arc::clone(&hands);
        running.spawn(async move {
            hands.carry_out(&cluster, effect).await;
            drop(place);
        });
    }
}

impl<B: Clone + Send + Sync + 'static> Hands<B> {
    async fn carry_out(&self, cluster: &Arc<Cluster<B>>, effect: Effect<B>) {
        let failovers = &self.failovers;
        match effect {
            Effect::WriteClaim(claim) => {
                let stored = self.write_claim(cluster, &claim).await;
                failovers.call(cluster, |state, cx, out| {
                    state.claim_written(stored, cx, out);
                });
            }
            Effect::WritePlan { over, plan } => {
                let (stored, instead) = self.write_plan(cluster, over, &plan).await;
                failovers.call(cluster, |state, cx, out| {
                    if let Some(instead) = &instead {
                        state.plan_seen(instead, cx, out);
                    }
                    state.plan_written(&plan, stored, cx, out);
                });
            }
            Effect::Survey { number } => {
                let found = self.survey(cluster).await;
                failovers.call(cluster, |state, cx, out| {
                    let complete = found.is_some();
                    let (plan, claims) = found.unwrap_or_default();
                    for (instance, claim) in &claims {
                        state.claim_seen(instance, claim, cx, out);
                    }
                    if let Some(plan) = &plan {
                        state.plan_seen(plan, cx, out);
                    }
                    state.surveyed(number, complete, cx, out);
                });
            }
            Effect::Elect { from, successor } => {
                self.elect(cluster, &from, &successor).await;
                failovers.call(cluster, |state, cx, out| {
                    failovers.tell_election(&cluster.name, state, cx, out);
                });
            }
            Effect::Replay(slice) => {
                let number = slice.number;
                let name = &cluster.name;
                let replayed = self.replayer.replay(&name.tenant, &name.cluster, slice);
                let done = replayed.await;
                failovers.call(cluster, |state, cx, out| {
                    state.replayed(number, done, cx, out);
                });
            }
            Effect::Wake => {}
        }
    }

    async fn write_claim(&self, cluster: &Cluster<B>, claim: &Claim) -> bool {
        if let Err(error) = self.first_heartbeat.get_or_try_init(|| self.beat()).await {
            self.failed(&error);
            return false;
        }
        let Ok(record) = records::of_claim(claim) else {
            return false;
        };
        let name = &cluster.name;
        let key = records::claim(&name.tenant, &name.cluster, &self.failovers.me);
        let written = self.put(&key, &record).await;
        written.inspect_err(|error| self.failed(error)).is_ok()
    }

    /// Stores what has one writer.
    pub(super) async fn put(&self, key: &str, record: &ReplicaDesc) -> Result<(), StoreError> {
        self.store.put(key, record.clone()).await
    }

    /// Stores this instance's heartbeat.
    pub(super) async fn beat(&self) -> Result<(), StoreError> {
        let failovers = &self.failovers;
        let now_ms = failovers.clock.now_ms();
        let key = records::heartbeat(&failovers.me);
        self.put(&key, &records::of_heartbeat(now_ms)).await?;
        write(&failovers.fleet).confirmed(now_ms);
        Ok(())
    }

    /// Whether it was stored, and what was instead.
    async fn write_plan(
        &self,
        cluster: &Cluster<B>,
        over: i64,
        plan: &Plan,
    ) -> (bool, Option<Plan>) {
        let Ok(record) = records::of_plan(plan) else {
            return (false, None);
        };
        let key = records::plan(&cluster.name.tenant, &cluster.name.cluster);
        let update = &mut |current: Option<&ReplicaDesc>| {
            if current.map_or(0, |current| current.received_at) == over {
                CasUpdate::Put(record.clone())
            } else {
                CasUpdate::Keep
            }
        };
        match self.store.cas(&key, update).await {
            Ok(CasOutcome::Stored(_)) => (true, None),
            Ok(other) => {
                let instead = other.into_value();
                (false, instead.and_then(|found| self.plan(&found)))
            }
            Err(error) => {
                self.failed(&error);
                (false, None)
            }
        }
    }

    pub(super) fn plan(&self, record: &ReplicaDesc) -> Option<Plan> {
        let plan = records::to_plan(record);
        plan.inspect_err(|_| self.failovers.metrics.undecodable())
            .ok()
    }

    pub(super) fn claim(&self, record: &ReplicaDesc) -> Option<Claim> {
        let claim = records::to_claim(record);
        claim
            .inspect_err(|_| self.failovers.metrics.undecodable())
            .ok()
    }

    /// The cluster's plan and claims; `None` if not all could be read.
    async fn survey(&self, cluster: &Cluster<B>) -> Option<(Option<Plan>, Vec<(String, Claim)>)> {
        let surveyed = self.try_survey(cluster).await;
        surveyed.inspect_err(|error| self.failed(error)).ok()
    }

    async fn try_survey(
        &self,
        cluster: &Cluster<B>,
    ) -> Result<(Option<Plan>, Vec<(String, Claim)>), StoreError> {
        let (tenant, cluster) = (&cluster.name.tenant, &cluster.name.cluster);
        let prefix = records::claims(tenant, cluster);
        // The claims first: a plan that is read after them is not older.
        let keys = self.store.list(&prefix).await?;
        let instances = keys.into_iter().filter_map(|key| {
            let instance = key.strip_prefix(&prefix)?.to_owned();
            // Of another cluster, whose name begins with this one's.
            (!instance.contains('/')).then_some((key, instance))
        });
        let reads = instances.map(|(key, instance)| async move {
            let record = self.store.get(&key).await?;
            Ok(record.map(|record| (instance, record)))
        });
        let found: Vec<Option<(String, ReplicaDesc)>> = stream::iter(reads)
            .buffer_unordered(CONCURRENT_READS)
            .try_collect()
            .await?;
        let claims = found.into_iter().flatten().filter_map(|(name, record)| {
            let claim = self.claim(&record)?;
            Some((name, claim))
        });
        let claims = claims.collect();
        let plan = self.store.get(&records::plan(tenant, cluster)).await?;
        Ok((plan.and_then(|plan| self.plan(&plan)), claims))
    }

    async fn elect(&self, cluster: &Cluster<B>, from: &Term, successor: &str) {
        let (tenant, cluster) = (&cluster.name.tenant, &cluster.name.cluster);
        let elections = &self.failovers.elections;
        let ends = entry_of(from);
        elections.elect(tenant, cluster, successor, &ends).await;
    }

    pub(super) fn failed(&self, error: &StoreError) {
        self.failovers.metrics.store_failed();
        tracing::debug!(%error, "a call for a failover without loss failed; trying again");
    }
}
