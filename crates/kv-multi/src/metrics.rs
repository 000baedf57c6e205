//! Metrics of a multi store. The first four have dskit's names; the others are ours.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::comparison::{Comparison, Reason};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StoreLabel {
    store: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    primary: Family<StoreLabel, Gauge>,
    mirror_enabled: Gauge,
    pub(crate) mirror_writes: Counter,
    pub(crate) mirror_errors: Counter,
    pub(crate) mirror_pending: Gauge,
    divergent: Family<ReasonLabel, Gauge>,
    compared_at: Gauge<f64, AtomicU64>,
    pub(crate) backfill_pending: Gauge,
    pub(crate) backfill_copied: Counter,
    pub(crate) backfill_failed: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry, kv_name: &'static str) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_label(("kv_name".into(), kv_name.into()));
        registry.register(
            "cortex_multikv_primary_store",
            "Selected primary KV store: 1 for it, 0 for the other",
            metrics.primary.clone(),
        );
        registry.register(
            "cortex_multikv_mirror_enabled",
            "Whether mirroring to the secondary store is enabled",
            metrics.mirror_enabled.clone(),
        );
        registry.register(
            "cortex_multikv_mirror_writes",
            "Number of writes to the secondary store",
            metrics.mirror_writes.clone(),
        );
        registry.register(
            "cortex_multikv_mirror_write_errors",
            "Number of failures to write to the secondary store",
            metrics.mirror_errors.clone(),
        );
        registry.register(
            "cortex_multikv_mirror_pending_keys",
            "Keys that wait to be written to the secondary store",
            metrics.mirror_pending.clone(),
        );
        registry.register(
            "cortex_multikv_divergent_keys",
            "Keys that differ between the stores, by how the secondary differs; only while mirroring is enabled",
            metrics.divergent.clone(),
        );
        registry.register(
            "cortex_multikv_last_comparison_timestamp_seconds",
            "When the stores were last compared successfully; 0 = not yet",
            metrics.compared_at.clone(),
        );
        registry.register(
            "cortex_multikv_backfill_pending_keys",
            "Keys that the backfill of the secondary store has not copied yet",
            metrics.backfill_pending.clone(),
        );
        registry.register(
            "cortex_multikv_backfill_copied_keys",
            "Keys that the backfill has copied to the secondary store, or found there in the meantime",
            metrics.backfill_copied.clone(),
        );
        registry.register(
            "cortex_multikv_backfill_failed_keys",
            "Keys that the backfill could not copy; each is tried again after the next comparison",
            metrics.backfill_failed.clone(),
        );
        metrics
    }

    pub(crate) fn state(&self, primary: &'static str, other: &'static str, mirror_enabled: bool) {
        for (store, value) in [(primary, 1), (other, 0)] {
            self.primary.get_or_create(&StoreLabel { store }).set(value);
        }
        self.mirror_enabled.set(i64::from(mirror_enabled));
        // The old value does not apply to the new state.
        self.divergent.clear();
        self.backfill_pending.set(0);
    }

    pub(crate) fn compared<V>(&self, comparison: &Comparison<V>) {
        for reason in Reason::ALL {
            let reason_label = ReasonLabel {
                reason: reason.as_str(),
            };
            let keys = i64::try_from(comparison.count(reason)).unwrap_or(i64::MAX);
            self.divergent.get_or_create(&reason_label).set(keys);
        }
        let at = comparison
            .at
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        self.compared_at.set(at.as_secs_f64());
    }
}
