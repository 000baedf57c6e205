//! Metrics of the push path about failovers without loss.

use ha_failover::Wait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Counters of this instance, over all tenants.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailoverMetrics {
    deferred: Family<Reason, Counter>,
    /// Samples and histograms before a boundary.
    pub(super) cut: Counter,
    pub(super) replayed_samples: Counter,
    pub(super) failed_replays: Counter,
    pub(super) refused_replays: Counter,
    pub(super) not_held: Counter,
}

const WAITS: [Wait; 6] = [
    Wait::NoElection,
    Wait::Opening,
    Wait::Election,
    Wait::Replay,
    Wait::Late,
    Wait::Stalled,
];

impl FailoverMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for wait in WAITS {
            drop(metrics.deferred.get_or_create(&reason(wait)));
        }
        registry.register(
            "ha_failover_deferred_requests",
            "Requests that were answered with 503 because of ha_failover_mode lossless, by reason: the \
             sender's queue keeps them",
            metrics.deferred.clone(),
        );
        for (name, help, counter) in [
            (
                "ha_failover_boundary_samples",
                "Samples of an elected replica that were dropped because its predecessor had delivered \
                 up to that time",
                &metrics.cut,
            ),
            (
                "ha_failover_replayed_samples",
                "Samples that were held for a failover and then stored",
                &metrics.replayed_samples,
            ),
            (
                "ha_failover_replay_failures",
                "Attempts to forward held samples that failed and are made again",
                &metrics.failed_replays,
            ),
            (
                "ha_failover_replays_refused",
                "Held requests that the downstream refused for good",
                &metrics.refused_replays,
            ),
            (
                "ha_failover_not_held_requests",
                "Requests of standbys that cannot be held, because they have samples of several \
                 replicas or of none: they are deduplicated as in classic mode",
                &metrics.not_held,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    pub(super) fn defer(&self, wait: Wait) {
        self.deferred.get_or_create(&reason(wait)).inc();
    }
}

fn reason(wait: Wait) -> Reason {
    Reason {
        reason: match wait {
            Wait::NoElection => "no_election",
            Wait::Opening => "opening",
            Wait::Election => "election",
            Wait::Replay => "replay",
            Wait::Late => "late",
            Wait::Stalled => "stalled",
        },
    }
}
