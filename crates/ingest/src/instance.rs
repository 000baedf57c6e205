//! Metrics of the instance's limits, with Mimir's names.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::bounds::Budget;

/// `cortex_distributor_instance_limits` and what is held of the memory.
#[derive(Debug)]
pub(crate) struct InstanceCollector {
    pub(crate) memory: Arc<Budget>,
    /// By the names of their settings; 0 = no limit.
    pub(crate) limits: [(&'static str, f64); 3],
}

impl Collector for InstanceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut limits = encoder.encode_descriptor(
            "cortex_distributor_instance_limits",
            "Instance limits used by this distributor; 0 for no limit",
            None,
            MetricType::Gauge,
        )?;
        for (name, limit) in &self.limits {
            let labels = [("limit", *name)];
            ConstGauge::new(*limit).encode(limits.encode_family(&labels)?)?;
        }
        encoder
            .encode_descriptor(
                "cortex_distributor_inflight_push_requests_bytes",
                "Memory in bytes that inflight push requests hold in distributor",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&(self.memory.held() as f64))
    }
}
