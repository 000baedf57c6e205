//! Metrics of failovers without loss.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::Counts;

type ByReason = Family<[(&'static str, &'static str); 1], Counter>;

#[derive(Debug)]
pub(super) struct FailoverMetrics {
    held: Counter,
    released: ByReason,
    replayed: Counter,
    ahead: ByReason,
    plans: ByReason,
    given_up: Counter,
    store_failures: Counter,
    undecodable: Counter,
    pub(super) held_bytes: Gauge,
    pub(super) held_requests: Gauge,
    pub(super) transitions: Gauge,
}

/// Registers the metrics where no driver is started: all stay 0.
pub fn register_metrics(registry: &mut Registry) {
    FailoverMetrics::register(registry);
}

impl FailoverMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            held: counter(
                registry,
                "ha_failover_held_requests",
                "Number of standbys' requests that were held",
            ),
            released: family(
                registry,
                "ha_failover_released_requests",
                "Number of requests that are not held any more, without having been forwarded: the \
                 elected replica sent as much (passed), they were held for the longest time (expired), \
                 the hold was full (evicted), or an election took place that could not wait for them \
                 (lost)",
                &["passed", "expired", "evicted", "lost"],
            ),
            replayed: counter(
                registry,
                "ha_failover_replayed_requests",
                "Number of held requests that were forwarded after an election",
            ),
            ahead: family(
                registry,
                "ha_failover_ahead_requests",
                "Number of requests with samples more than 5s in the future, which move a failover's \
                 boundary by 5s at most, and are not held",
                &["elected", "standby"],
            ),
            plans: family(
                registry,
                "ha_failover_plans",
                "Number of failovers that this instance began, fixed the boundary of, or withdrew since \
                 the elected replica had been seen or refused elsewhere, or no standby could fill its \
                 pause; and of elections by distributors that do not take part (foreign)",
                &["begun", "fixed", "withdrawn", "foreign"],
            ),
            given_up: counter(
                registry,
                "ha_failover_given_up_distributors",
                "Number of distributors that a failover did not wait for: their heartbeat had stopped",
            ),
            store_failures: counter(
                registry,
                "ha_failover_store_failures",
                "Number of failed calls of the store, each of which is repeated",
            ),
            undecodable: counter(
                registry,
                "ha_failover_undecodable_records",
                "Number of records in the store that cannot be decoded, and are ignored",
            ),
            held_bytes: Gauge::default(),
            held_requests: Gauge::default(),
            transitions: Gauge::default(),
        };
        registry.register(
            "ha_failover_held_bytes",
            "Bytes of standbys' requests held now",
            metrics.held_bytes.clone(),
        );
        registry.register(
            "ha_failover_held",
            "Standbys' requests held now",
            metrics.held_requests.clone(),
        );
        registry.register(
            "ha_failover_transitions",
            "Clusters whose elected replica changes now, or for which this instance joins a term",
            metrics.transitions.clone(),
        );
        metrics
    }

    pub(super) fn add(&self, counts: &Counts) {
        // Of most calls nothing is to be counted.
        if *counts == Counts::default() {
            return;
        }
        self.held.inc_by(counts.held);
        self.replayed.inc_by(counts.replayed);
        self.given_up.inc_by(counts.given_up);
        for (family, label, value, count) in [
            (&self.released, "reason", "passed", counts.passed),
            (&self.released, "reason", "expired", counts.expired),
            (&self.released, "reason", "evicted", counts.evicted),
            (&self.released, "reason", "lost", counts.lost),
            (&self.ahead, "reason", "elected", counts.elected_ahead),
            (&self.ahead, "reason", "standby", counts.ahead),
            (&self.plans, "reason", "begun", counts.plans),
            (&self.plans, "reason", "fixed", counts.boundaries),
            (&self.plans, "reason", "withdrawn", counts.withdrawn),
            (&self.plans, "reason", "foreign", counts.foreign),
        ] {
            if count > 0 {
                family.get_or_create(&[(label, value)]).inc_by(count);
            }
        }
    }

    pub(super) fn store_failed(&self) {
        self.store_failures.inc();
    }

    pub(super) fn undecodable(&self) {
        self.undecodable.inc();
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

/// Every reason has a series from the start.
fn family(registry: &mut Registry, name: &str, help: &str, reasons: &[&'static str]) -> ByReason {
    let family = ByReason::default();
    for reason in reasons {
        drop(family.get_or_create(&[("reason", reason)]));
    }
    registry.register(name, help, family.clone());
    family
}
