//! Failover without loss: what connects its driver with tracker, limits and downstreams.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use distributor_config::{Config, Limits, TenantLimits};
use ha_failover::{
    Elections, FailoverConfig, FailoverHandle, FailoverMode, Parts, Reason, Replayer, Rules,
    Settings, Slice,
};
use ha_tracker::{Clock, ElectionGate, Failover, GateAnswer, HaTracker, ReplicaDesc};
use ingest::{Failovers, HeldBody, Pusher};
use prometheus_client::registry::Registry;

use crate::store::Records;

/// How long a plan waits for a distributor that is alive and does not close its claim: longer than any
/// request is in flight there.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);
/// Between the longest request and the end of the wait.
const CLOSE_MARGIN: Duration = Duration::from_secs(10);

/// Starts what decides about the clusters of tenants whose mode is lossless. Nothing is read or
/// written for the others.
pub(crate) fn start(
    records: Records,
    tracker: &Arc<HaTracker>,
    pusher: &Arc<Pusher>,
    limits: &TenantLimits,
    config: FailoverConfig,
    registry: &mut Registry,
) -> FailoverHandle {
    let parts = Parts {
        store: records.store,
        elections: Arc::new(Tracked(Arc::clone(tracker))),
        rules: Arc::new(LosslessTenants {
            limits: limits.clone(),
            tracker: Arc::clone(tracker),
            settle: records.settle,
            close_timeout: CLOSE_TIMEOUT.max(pusher.remote_timeout() + CLOSE_MARGIN),
        }),
        replayer: Arc::new(ToDownstreams {
            pusher: Arc::clone(pusher),
            limits: limits.clone(),
        }),
        joins_early: !records.settle.is_zero(),
        config,
        clock: Clock::System,
    };
    let (failovers, handle) = ha_failover::start(parts, registry);
    tracker.set_gate(Arc::new(Gate(Arc::clone(&failovers))));
    pusher.set_failovers(failovers);
    handle
}

/// Whether failovers of the clusters of a tenant with these limits are to lose nothing.
pub(crate) fn is_lossless(limits: &Limits) -> bool {
    limits.push.accept_ha_samples && limits.failover.mode == FailoverMode::Lossless
}

/// Says which tenants want what this store does not allow for.
pub(crate) fn warn_of_classic(config: &Config, limits: &TenantLimits) {
    if !config.distributor.ha_tracker.enable_ha_tracker {
        return;
    }
    let snapshot = limits.snapshot();
    let mut tenants = snapshot.tenants();
    let first = tenants.find(|(_, limits)| is_lossless(limits));
    let kvstore = &config.distributor.ha_tracker.kvstore;
    if let (Some((tenant, _)), Some(problem)) = (first, kvstore.lossless_refusal()) {
        tracing::warn!(
            tenant,
            "ha_failover_mode lossless of this tenant has no effect, failovers are as with classic: \
             {problem}"
        );
    }
}

struct Tracked(Arc<HaTracker>);

#[async_trait]
impl Elections for Tracked {
    fn entry(&self, tenant: &str, cluster: &str) -> Option<ReplicaDesc> {
        self.0.entry(tenant, cluster)
    }

    async fn elect(&self, tenant: &str, cluster: &str, successor: &str, ends: &ReplicaDesc) {
        if let Err(error) = self.0.elect(tenant, cluster, successor, ends).await {
            tracing::warn!(tenant, cluster, successor, %error, "election failed; trying again");
        }
    }
}

struct LosslessTenants {
    limits: TenantLimits,
    tracker: Arc<HaTracker>,
    settle: Duration,
    close_timeout: Duration,
}

impl Rules for LosslessTenants {
    fn settings(&self, tenant: &str, cluster: &str) -> Option<Settings> {
        let limits = self.limits.limits(tenant);
        is_lossless(&limits).then(|| {
            // A replica that sends once a minute is not late after half of one.
            let interval = self.tracker.send_interval(tenant, cluster);
            let failover = limits.failover;
            Settings {
                close_timeout_ms: self
                    .close_timeout
                    .as_millis()
                    .try_into()
                    .unwrap_or(i64::MAX),
                ..failover.settings(&limits.elections, interval, self.settle)
            }
        })
    }
}

struct ToDownstreams {
    pusher: Arc<Pusher>,
    limits: TenantLimits,
}

#[async_trait]
impl Replayer<HeldBody> for ToDownstreams {
    async fn replay(&self, tenant: &str, _cluster: &str, slice: Slice<HeldBody>) -> usize {
        let limits = self.limits.limits(tenant);
        self.pusher.replay(tenant, &limits.push, &slice).await
    }
}

/// Has failovers wait until all that they take over is known.
struct Gate(Arc<Failovers>);

impl ElectionGate for Gate {
    fn ask(&self, failover: &Failover<'_>) -> GateAnswer {
        let reason = match failover.cause {
            ha_tracker::FailoverCause::ByHand => Reason::ByHand,
            _ => Reason::Overdue,
        };
        let Failover {
            tenant,
            cluster,
            successor,
            ..
        } = *failover;
        match self.0.begin(tenant, cluster, successor, reason) {
            true => GateAnswer::NotYet,
            false => GateAnswer::Go,
        }
    }
}
