//! The tracker's metrics, with the names of Mimir.
//!
//! Series of a cluster are read from the cache when metrics are scraped: they appear and disappear
//! with its entry, and the hot path keeps no second copy.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::cluster::{Cluster, Sightings};
use crate::gate::FailoverCause;
use crate::survey::Survey;

/// The counters of the background tasks.
#[derive(Debug)]
pub(crate) struct TrackerMetrics {
    pub(crate) follow: FollowMetrics,
    pub(crate) cleanup: CleanupMetrics,
    /// Values in the store that are not elections, found by any task.
    pub(crate) undecodable: Counter,
    /// Seconds; 0 without skew.
    pub(crate) clock_skew: Gauge<f64, AtomicU64>,
    pub(crate) failovers: FailoverMetrics,
    pub(crate) gaps: GapMetrics,
}

/// Failovers that this process has written.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailoverMetrics(Family<[(&'static str, &'static str); 1], Counter>);

impl FailoverMetrics {
    /// Every cause has a series from the start.
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for cause in [
            FailoverCause::Poll,
            FailoverCause::Arrival,
            FailoverCause::ByHand,
            FailoverCause::Lossless,
        ] {
            drop(metrics.0.get_or_create(&[("cause", cause.name())]));
        }
        registry.register(
            "cortex_ha_tracker_failovers",
            "Number of failovers written by this process, by what led to them",
            metrics.0.clone(),
        );
        metrics
    }

    pub(crate) fn count(&self, cause: FailoverCause) {
        self.0.get_or_create(&[("cause", cause.name())]).inc();
    }
}

/// What failovers cost, by mode.
#[derive(Debug, Clone)]
pub(crate) struct GapMetrics(Family<[(&'static str, &'static str); 1], Histogram>);

/// Upper bounds, seconds: below the guard, scrape intervals, the failover timeout, and more.
const GAPS_S: [f64; 11] = [
    0.5, 1.0, 2.0, 5.0, 10.0, 16.0, 31.0, 61.0, 120.0, 300.0, 900.0,
];

impl GapMetrics {
    /// Both modes have series from the start.
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self(Family::new_with_constructor(|| Histogram::new(GAPS_S)));
        for mode in ["classic", "lossless"] {
            drop(metrics.0.get_or_create(&[("mode", mode)]));
        }
        registry.register(
            "cortex_ha_tracker_failover_gap_seconds",
            "What failovers cost: the sample time without samples between the last one that was \
             forwarded of a replica and the first one of its successor, in seconds, by mode. In \
             classic mode each distributor counts its own share of the samples",
            metrics.0.clone(),
        );
        metrics
    }

    pub(crate) fn observe(&self, mode: &'static str, gap_ms: i64) {
        let histogram = self.0.get_or_create(&[("mode", mode)]);
        histogram.observe(gap_ms as f64 / 1000.0);
    }
}

/// Of the task that follows the store.
#[derive(Debug)]
pub(crate) struct FollowMetrics {
    pub(crate) propagation: Histogram,
    pub(crate) undecodable: Counter,
}

/// Of the clean-up.
#[derive(Debug)]
pub(crate) struct CleanupMetrics {
    pub(crate) started: Counter,
    pub(crate) marked_for_deletion: Counter,
    pub(crate) deleted: Counter,
    pub(crate) delete_failed: Counter,
    pub(crate) undecodable: Counter,
}

impl TrackerMetrics {
    pub(crate) fn register(
        registry: &mut Registry,
        (cache, survey, clock): (&Arc<Cache>, &Arc<Survey>, &Clock),
        shown: Shown,
    ) -> Self {
        registry.register_collector(Box::new(ClusterCollector {
            cache: Arc::clone(cache),
            survey: Arc::clone(survey),
            clock: clock.clone(),
            shown,
        }));
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(format!("cortex_ha_tracker_{name}"), help, counter.clone());
            counter
        };
        let started = counter(
            "replicas_cleanup_started",
            "Number of clean-ups of old clusters that began",
        );
        let marked_for_deletion = counter(
            "replicas_cleanup_marked_for_deletion",
            "Number of clusters that a clean-up marked for deletion",
        );
        let deleted = counter(
            "replicas_cleanup_deleted",
            "Number of clusters that a clean-up deleted from the store",
        );
        let delete_failed = counter(
            "replicas_cleanup_delete_failed",
            "Number of clusters that a clean-up failed to delete from the store",
        );
        let undecodable = counter(
            "replica_desc_failed_type_assertions",
            "Number of values in the store that could not be decoded as replica descriptions",
        );
        let propagation = Histogram::new(exponential_buckets(0.005, 2.0, 14));
        registry.register(
            "cortex_ha_tracker_elected_replica_change_propagation_time_seconds",
            "Age of the recorded sample time when a change arrives from the store, in seconds",
            propagation.clone(),
        );
        let clock_skew = Gauge::<f64, AtomicU64>::default();
        registry.register(
            "cortex_ha_tracker_clock_skew_seconds",
            "By how much another distributor's clock is ahead of this one's, at least, according \
             to the times that it writes, in seconds; 0 below 5 s",
            clock_skew.clone(),
        );
        Self {
            follow: FollowMetrics {
                propagation,
                undecodable: undecodable.clone(),
            },
            cleanup: CleanupMetrics {
                started,
                marked_for_deletion,
                deleted,
                delete_failed,
                undecodable: undecodable.clone(),
            },
            undecodable,
            clock_skew,
            failovers: FailoverMetrics::register(registry),
            gaps: GapMetrics::register(registry),
        }
    }
}

/// Which metrics with the replica as a label are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    pub(crate) elected_replica: bool,
    pub(crate) replicas: bool,
}

#[derive(Debug)]
struct ClusterCollector {
    cache: Arc<Cache>,
    survey: Arc<Survey>,
    clock: Clock,
    shown: Shown,
}

impl ClusterCollector {
    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Cluster) -> i64,
    ) -> fmt::Result {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        self.series(metric, |mut encoder, cluster| {
            encoder.encode_gauge(&value(cluster))
        })
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Cluster) -> u64,
    ) -> fmt::Result {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.series(metric, |mut encoder, cluster| {
            encoder.encode_counter::<NoLabelSet, _, u64>(&value(cluster), None)
        })
    }

    fn series(
        &self,
        mut metric: MetricEncoder<'_>,
        encode: impl Fn(MetricEncoder<'_>, &Cluster) -> fmt::Result,
    ) -> fmt::Result {
        let mut result = Ok(());
        self.cache.for_each(|user, name, cluster| {
            let labels = [("user", user), ("cluster", name)];
            result = result.and_then(|()| encode(metric.encode_family(&labels)?, cluster));
        });
        result
    }
}

impl Collector for ClusterCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.counter(
            encoder,
            "cortex_ha_tracker_elected_replica_changes",
            "The total number of times the elected replica has changed for a user ID/cluster",
            |cluster| cluster.changes.load(Ordering::Relaxed),
        )?;
        self.gauge(
            encoder,
            "cortex_ha_tracker_elected_replica_timestamp_seconds",
            "The timestamp stored for the currently elected replica, from the store",
            |cluster| cluster.elected().received_at.div_euclid(1000),
        )?;
        self.gauge(
            encoder,
            "cortex_ha_tracker_last_election_timestamp_seconds",
            "The timestamp of the last election for a user ID/cluster",
            |cluster| cluster.elected().elected_at.div_euclid(1000),
        )?;
        self.gauge(
            encoder,
            "cortex_ha_tracker_reelections_total",
            "The number of reelections of a user ID/cluster, from the store",
            |cluster| cluster.elected().elected_changes,
        )?;
        self.counter(
            encoder,
            "cortex_ha_tracker_kv_store_cas",
            "The total number of CAS calls to the store for a user ID/cluster",
            |cluster| cluster.cas.load(Ordering::Relaxed),
        )?;
        self.counter(
            encoder,
            "cortex_distributor_deduped_samples",
            "The total number of deduplicated samples",
            |cluster| cluster.deduplicated_samples.load(Ordering::Relaxed),
        )?;
        let now_ms = self.clock.now_ms();
        self.gauge(
            encoder,
            "cortex_ha_tracker_replicas_seen",
            "The number of replicas of a user ID/cluster that were seen within the last 15 minutes, \
             by this distributor or, if elected, by another one",
            |cluster| i64::try_from(cluster.replicas_seen(now_ms)).unwrap_or(i64::MAX),
        )?;
        self.redundancy(encoder)?;
        self.history(encoder)?;
        self.gaps(encoder)?;
        if self.shown.elected_replica {
            self.elected_replicas(encoder)?;
        }
        if self.shown.replicas {
            self.replicas(encoder)?;
        }
        Ok(())
    }
}

impl ClusterCollector {
    fn redundancy(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "cortex_ha_tracker_clusters_without_redundancy",
            "The number of clusters of a user ID of which this distributor has seen only the elected \
             replica for 15 minutes",
            None,
            MetricType::Gauge,
        )?;
        for (user, clusters) in &self.survey.last().without_redundancy {
            let clusters = i64::try_from(*clusters).unwrap_or(i64::MAX);
            metric
                .encode_family(&[("user", user.as_str())])?
                .encode_gauge(&clusters)?;
        }
        Ok(())
    }

    fn history(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (kept, dropped) = self.cache.history_counts();
        encoder
            .encode_descriptor(
                "cortex_ha_tracker_election_history_entries",
                "The number of elections in the history that the pages show",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::try_from(kept).unwrap_or(i64::MAX))?;
        encoder
            .encode_descriptor(
                "cortex_ha_tracker_election_history_dropped",
                "The number of elections that were dropped from the history because it was full",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&dropped, None)
    }

    /// Only of clusters that have failed over since this process knows them.
    fn gaps(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "cortex_ha_tracker_last_failover_gap_seconds",
            "What the last failover of a user ID/cluster cost: the sample time without samples between \
             the last one that was forwarded of a replica and the first one of its successor; negative \
             if both have samples of that time. As far as this distributor forwarded them: the \
             smallest value of a fleet is the best estimate",
            None,
            MetricType::Gauge,
        )?;
        let mut result = Ok(());
        self.cache.for_each(|user, name, cluster| {
            let Some(gap_ms) = cluster.elected().stretch.gap_ms() else {
                return;
            };
            let labels = [("user", user), ("cluster", name)];
            let gap_s = gap_ms as f64 / 1000.0;
            result = result.and_then(|()| metric.encode_family(&labels)?.encode_gauge(&gap_s));
        });
        result
    }

    fn elected_replicas(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(
            "cortex_ha_tracker_elected_replica_status",
            "1 for the replica that is elected for a user ID/cluster",
            None,
            MetricType::Gauge,
        )?;
        let mut result = Ok(());
        self.cache.for_each(|user, name, cluster| {
            let elected = cluster.elected();
            let labels = [
                ("user", user),
                ("cluster", name),
                ("replica", elected.replica.as_str()),
            ];
            result = result.and_then(|()| metric.encode_family(&labels)?.encode_gauge(&1_i64));
        });
        result
    }

    /// At most five replicas of a cluster.
    fn replicas(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        self.of_replicas(
            encoder,
            "cortex_ha_tracker_replica_last_seen_timestamp_seconds",
            "When a request of a replica last arrived at this distributor",
            |sightings| sightings.seen_ms().map(seconds),
        )?;
        self.of_replicas(
            encoder,
            "cortex_ha_tracker_replica_newest_sample_timestamp_seconds",
            "The time of the newest sample in the last request of a replica",
            |sightings| sightings.newest_ms().map(seconds),
        )?;
        self.of_replicas(
            encoder,
            "cortex_ha_tracker_replica_send_interval_seconds",
            "How often requests of a replica arrive at this distributor: the mean gap, weighed by its \
             length",
            |sightings| sightings.cadence_ms().map(seconds),
        )?;
        self.of_replicas(
            encoder,
            "cortex_ha_tracker_replica_clock_ahead_seconds",
            "How far the newest sample of a replica was ahead of this clock when it arrived; negative: \
             how old it was",
            |sightings| sightings.ahead_ms().map(seconds),
        )?;
        self.of_replicas(
            encoder,
            "cortex_ha_tracker_replica_last_refused_timestamp_seconds",
            "When a request of a replica was last refused with 429 or 5xx, by this distributor or by a \
             downstream",
            |sightings| sightings.refused_ms().map(seconds),
        )
    }

    fn of_replicas(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Sightings) -> Option<f64>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let mut result = Ok(());
        self.cache.for_each(|user, name, cluster| {
            let elected = cluster.elected();
            let mut one = |replica: &str, sightings: &Sightings| {
                let Some(value) = value(sightings) else {
                    return;
                };
                let labels = [("user", user), ("cluster", name), ("replica", replica)];
                result = result.and_then(|()| metric.encode_family(&labels)?.encode_gauge(&value));
            };
            one(&elected.replica, &elected.sightings);
            for standby in cluster.standbys.in_order(0) {
                if standby.replica != elected.replica {
                    one(&standby.replica, &standby.sightings);
                }
            }
        });
        result
    }
}
