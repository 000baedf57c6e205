//! Checks whether the store answers.

use std::sync::Arc;
use std::time::Duration;

use kv_core::{Store, StoreError};
use tokio::time::Instant;

use crate::ReplicaDesc;
use crate::cache::Cache;
use crate::clock_skew::ClockSkews;
use crate::store_health::{SLOW_CALL, StoreHealth, StoreOutages, UNAVAILABLE_AFTER};
use crate::timing::Timing;

/// The key of the probe; no cluster can have it, since it has no `/`.
const HEALTH_KEY: &str = "health";

/// Probes the store as often as clusters are polled.
pub(crate) struct Probe {
    pub(crate) store: Arc<dyn Store<ReplicaDesc>>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) timing: Arc<Timing>,
    pub(crate) health: Arc<StoreHealth>,
    pub(crate) outages: Arc<StoreOutages>,
    pub(crate) clock_skews: Arc<ClockSkews>,
}

impl Probe {
    pub(crate) async fn run(self) {
        loop {
            self.probe().await;
            self.clock_skews.settle();
            let tenants = self.cache.tenants();
            tokio::time::sleep(self.timing.shortest_poll_interval(&tenants)).await;
        }
    }

    async fn probe(&self) {
        let began = Instant::now();
        let mut call = self.store.get(HEALTH_KEY);
        let answer = match tokio::time::timeout(UNAVAILABLE_AFTER, &mut call).await {
            Ok(answer) => answer,
            Err(_) => {
                self.health.fails();
                self.outages.slow(UNAVAILABLE_AFTER, "does not answer");
                call.await
            }
        };
        self.health.timed(began);
        match answer {
            Err(error @ StoreError::Unavailable { .. }) => {
                self.health.fails();
                self.outages.failed(&error, Duration::ZERO);
            }
            _ => {
                self.health.answers();
                match began.elapsed() {
                    took if took > SLOW_CALL => self.outages.slow(took, "took too long to answer"),
                    _ => self.outages.answered(),
                }
            }
        }
    }
}
