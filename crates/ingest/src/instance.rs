//! Metrics of the instance and of its limits, with Mimir's names.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use remote_write::{AGE_BOUNDS_S, Ages};

use crate::bounds::Budget;
use crate::counters::{AtomicHistogram, add};
use crate::instance_limit::InstanceLimit;

/// What is counted over all tenants.
#[derive(Debug, Default)]
pub(crate) struct InstanceCounters {
    rejected: [AtomicU64; InstanceLimit::ALL.len()],
    sample_delay: AtomicHistogram<{ AGE_BOUNDS_S.len() + 1 }>,
}

impl InstanceCounters {
    /// A request was refused for this limit.
    pub(crate) fn reject(&self, limit: InstanceLimit) {
        add(&self.rejected[limit as usize], 1);
    }

    /// Samples of a request were accepted that are so old.
    pub(crate) fn observe(&self, ages: &Ages) {
        if ages.latest_ms().is_some() {
            self.sample_delay
                .observe_all(ages.counts(), ages.sum_ms() as f64 / 1000.0);
        }
    }
}

/// The limits as they are now: the runtime configuration may change them.
#[derive(Debug)]
pub(crate) struct LimitsNow([AtomicU64; InstanceLimit::ALL.len()]);

impl LimitsNow {
    /// In the order of [`InstanceLimit::ALL`]; 0 = no limit.
    pub(crate) fn new(limits: [f64; 3]) -> Self {
        Self(limits.map(|limit| AtomicU64::new(limit.to_bits())))
    }

    pub(crate) fn set(&self, limits: [f64; 3]) {
        for (now, limit) in self.0.iter().zip(limits) {
            now.store(limit.to_bits(), Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, limit: InstanceLimit) -> f64 {
        f64::from_bits(self.0[limit as usize].load(Ordering::Relaxed))
    }
}

/// Puts limits, what they refused, and what is held of the memory on `/metrics`.
#[derive(Debug)]
pub(crate) struct InstanceCollector {
    pub(crate) memory: Arc<Budget>,
    pub(crate) counters: Arc<InstanceCounters>,
    pub(crate) limits: Arc<LimitsNow>,
}

impl Collector for InstanceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut limits = encoder.encode_descriptor(
            "cortex_distributor_instance_limits",
            "Instance limits used by this distributor; 0 for no limit",
            None,
            MetricType::Gauge,
        )?;
        for limit in InstanceLimit::ALL {
            let labels = [("limit", limit.setting())];
            ConstGauge::new(self.limits.get(limit)).encode(limits.encode_family(&labels)?)?;
        }
        let mut rejected = encoder.encode_descriptor(
            "cortex_distributor_instance_rejected_requests",
            "Requests discarded for hitting per-instance limits",
            None,
            MetricType::Counter,
        )?;
        for limit in InstanceLimit::ALL {
            let count = self.counters.rejected[limit as usize].load(Ordering::Relaxed);
            rejected
                .encode_family(&[("reason", limit.reason())])?
                .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let delay = encoder.encode_descriptor(
            "cortex_distributor_sample_delay_seconds",
            "Number of seconds by which a sample came in late with respect to the wall clock, \
             deduplicated samples excluded; negative if the sender's clock is ahead",
            None,
            MetricType::Histogram,
        )?;
        let bounds = AGE_BOUNDS_S.iter().map(|bound| f64::from(*bound));
        self.counters.sample_delay.encode(delay, bounds)?;
        encoder
            .encode_descriptor(
                "cortex_distributor_inflight_push_requests_bytes",
                "Memory in bytes that inflight push requests use in distributor",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&(self.memory.held() as f64))
    }
}
