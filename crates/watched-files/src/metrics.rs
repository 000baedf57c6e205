//! Whether files are in use, and how often they were read again.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Files {
    files: Arc<str>,
}

pub(crate) struct Metrics {
    reloads: Family<Files, Counter>,
    failures: Family<Files, Counter>,
    in_use: Family<Files, Gauge>,
}

/// Those of one part.
pub(crate) struct Of<'a> {
    metrics: &'a Metrics,
    files: Files,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            reloads: Family::default(),
            failures: Family::default(),
            in_use: Family::default(),
        };
        registry.register(
            "cortex_distributor_file_reloads",
            "Times that changed files (certificates, secrets) were read again and used",
            metrics.reloads.clone(),
        );
        registry.register(
            "cortex_distributor_file_reload_failures",
            "Attempts to use changed files (certificates, secrets) that failed",
            metrics.failures.clone(),
        );
        registry.register(
            "cortex_distributor_file_reload_successful",
            "Whether the files (certificates, secrets) could be used when they were last read",
            metrics.in_use.clone(),
        );
        metrics
    }

    pub(crate) fn of(&self, name: &Arc<str>) -> Of<'_> {
        Of {
            metrics: self,
            files: Files {
                files: Arc::clone(name),
            },
        }
    }
}

impl Of<'_> {
    /// They are in use. Also creates the counters, which begin at 0.
    pub(crate) fn in_use(&self) {
        self.metrics.in_use.get_or_create(&self.files).set(1);
        drop(self.metrics.reloads.get_or_create(&self.files));
        drop(self.metrics.failures.get_or_create(&self.files));
    }

    pub(crate) fn reloaded(&self) {
        self.metrics.reloads.get_or_create(&self.files).inc();
    }

    pub(crate) fn failed(&self) {
        self.metrics.in_use.get_or_create(&self.files).set(0);
        self.metrics.failures.get_or_create(&self.files).inc();
    }
}
