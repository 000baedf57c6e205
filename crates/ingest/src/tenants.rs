//! What this instance knows of each tenant: counters and the rate limit.
//!
//! A tenant is whatever a sender writes into a header. It is known from the first request on that
//! holds anything valid, and there are only so many: the one that was used longest ago gives way.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ahash::RandomState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use remote_write::Version;
use tokio::time::Instant;

use crate::bounds::TokenBucket;
use crate::cause::Cause;
use crate::counters::add;
use crate::unlabelled::Untold;

/// Most tenants known at once, about: some more while several come at the same moment.
const MAX_TENANTS: usize = 100_000;
/// Where there are too many, one of so many goes at once, so that not each new one searches them.
const GOES: usize = 100;
/// A tenant without requests for this long is forgotten, with its metrics.
const IDLE: Duration = Duration::from_secs(20 * 60);

/// All tenants seen lately.
#[derive(Debug)]
pub(crate) struct Tenants {
    tenants: papaya::HashMap<Box<str>, Arc<Tenant>, RandomState>,
    max: usize,
    /// Held by the one that makes room.
    making_room: Mutex<()>,
    start: Instant,
}

/// Counters of one tenant.
#[derive(Debug, Default)]
pub(crate) struct Tenant {
    pub(crate) rate: TokenBucket,
    pub(crate) requests_in_v1: AtomicU64,
    pub(crate) requests_in_v2: AtomicU64,
    pub(crate) received_requests: AtomicU64,
    pub(crate) samples_in: AtomicU64,
    pub(crate) received_samples: AtomicU64,
    pub(crate) non_ha_samples: AtomicU64,
    pub(crate) untold: Untold,
    discarded: [AtomicU64; Discarded::ALL.len()],
    /// Seconds since the start of [`Tenants`].
    last_used_s: AtomicU64,
}

/// Why samples were refused; the `reason` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discarded {
    TooManyHaClusters,
    RateLimited,
    LabelValueTooLong,
    HaClusterNotStorable,
    HaLabelNotUtf8,
}

impl Discarded {
    const ALL: [Self; 5] = [
        Self::TooManyHaClusters,
        Self::RateLimited,
        Self::LabelValueTooLong,
        Self::HaClusterNotStorable,
        Self::HaLabelNotUtf8,
    ];

    fn reason(self) -> &'static str {
        self.cause().name()
    }

    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::TooManyHaClusters => Cause::TooManyHaClusters,
            Self::RateLimited => Cause::RateLimited,
            Self::LabelValueTooLong => Cause::LabelValueTooLong,
            Self::HaClusterNotStorable => Cause::HaClusterNotStorable,
            Self::HaLabelNotUtf8 => Cause::HaLabelNotUtf8,
        }
    }
}

impl Tenant {
    pub(crate) fn discard(&self, reason: Discarded, samples: u64) {
        add(&self.discarded[reason as usize], samples);
    }

    pub(crate) fn count_request(&self, version: Version) {
        let counter = match version {
            Version::V1 => &self.requests_in_v1,
            Version::V2 => &self.requests_in_v2,
        };
        add(counter, 1);
    }
}

impl Tenants {
    pub(crate) fn new() -> Self {
        Self::with_most(MAX_TENANTS)
    }

    fn with_most(max: usize) -> Self {
        Self {
            tenants: papaya::HashMap::default(),
            max,
            making_room: Mutex::new(()),
            start: Instant::now(),
        }
    }

    pub(crate) fn is_known(&self, name: &str) -> bool {
        self.tenants.pin().contains_key(name)
    }

    /// A tenant that has sent something valid before.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<Tenant>> {
        let tenants = self.tenants.pin();
        let tenant = tenants.get(name)?;
        let now_s = self.now_s();
        if tenant.last_used_s.load(Ordering::Relaxed) != now_s {
            tenant.last_used_s.store(now_s, Ordering::Relaxed);
        }
        Some(Arc::clone(tenant))
    }

    /// A tenant that has sent something valid now.
    pub(crate) fn admit(&self, name: &str) -> Arc<Tenant> {
        let tenants = self.tenants.pin();
        if tenants.len() >= self.max {
            self.make_room();
        }
        let tenant = tenants.get_or_insert_with(name.into(), || {
            Arc::new(Tenant {
                last_used_s: AtomicU64::new(self.now_s()),
                ..Tenant::default()
            })
        });
        Arc::clone(tenant)
    }

    /// Seconds since the start.
    pub(crate) fn now_s(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// Forgets those that were used longest ago. Requests of theirs in flight end with the counters
    /// that they have.
    fn make_room(&self) {
        let Ok(_only) = self.making_room.try_lock() else {
            return;
        };
        let tenants = self.tenants.pin();
        let mut by_age: Vec<_> = tenants
            .iter()
            .map(|(name, tenant)| (tenant.last_used_s.load(Ordering::Relaxed), name))
            .collect();
        let goes = (self.max / GOES).max(1) + by_age.len().saturating_sub(self.max);
        if goes < by_age.len() {
            by_age.select_nth_unstable(goes);
            by_age.truncate(goes);
        }
        for (_, name) in by_age {
            tenants.remove(name);
        }
    }

    /// Forgets tenants that have been idle.
    pub(crate) fn forget_idle(&self) {
        let oldest = self.now_s().saturating_sub(IDLE.as_secs());
        self.tenants
            .pin()
            .retain(|_, tenant| tenant.last_used_s.load(Ordering::Relaxed) >= oldest);
    }
}

/// Puts the counters on `/metrics`, with Mimir's names.
#[derive(Debug)]
pub(crate) struct TenantCollector(pub(crate) Arc<Tenants>);

impl TenantCollector {
    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&Tenant) -> &AtomicU64,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (user, tenant) in &self.0.tenants.pin() {
            metric
                .encode_family(&[("user", &**user)])?
                .encode_counter::<NoLabelSet, _, u64>(
                    &value(tenant).load(Ordering::Relaxed),
                    None,
                )?;
        }
        Ok(())
    }
}

impl Collector for TenantCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.counter(
            encoder,
            "cortex_distributor_received_requests",
            "The total number of received requests, excluding rejected and deduped requests",
            |tenant| &tenant.received_requests,
        )?;
        self.counter(
            encoder,
            "cortex_distributor_received_samples",
            "The total number of received samples, excluding rejected and deduped samples",
            |tenant| &tenant.received_samples,
        )?;
        self.counter(
            encoder,
            "cortex_distributor_samples_in",
            "The total number of samples that have come in to the distributor, including rejected or deduped samples",
            |tenant| &tenant.samples_in,
        )?;
        self.counter(
            encoder,
            "cortex_distributor_non_ha_samples_received",
            "The total number of received samples for a user that has HA tracking turned on, but the sample didn't contain both HA labels",
            |tenant| &tenant.non_ha_samples,
        )?;
        let mut metric = encoder.encode_descriptor(
            "cortex_distributor_requests_in",
            "The total number of requests that have come in to the distributor, including rejected or deduped requests",
            None,
            MetricType::Counter,
        )?;
        for (user, tenant) in &self.0.tenants.pin() {
            for (version, counter) in [
                ("1.0", &tenant.requests_in_v1),
                ("2.0", &tenant.requests_in_v2),
            ] {
                metric
                    .encode_family(&[("user", &**user), ("version", version)])?
                    .encode_counter::<NoLabelSet, _, u64>(&counter.load(Ordering::Relaxed), None)?;
            }
        }
        let mut metric = encoder.encode_descriptor(
            "cortex_discarded_samples",
            "The total number of samples that were discarded",
            None,
            MetricType::Counter,
        )?;
        for (user, tenant) in &self.0.tenants.pin() {
            for reason in Discarded::ALL {
                let samples = tenant.discarded[reason as usize].load(Ordering::Relaxed);
                if samples > 0 {
                    metric
                        .encode_family(&[("user", &**user), ("reason", reason.reason())])?
                        .encode_counter::<NoLabelSet, _, u64>(&samples, None)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_tenants_are_forgotten_and_busy_ones_are_not() {
        let tenants = Tenants::new();
        tenants.admit("idle");
        tenants.admit("busy");
        for _ in 0..25 {
            tokio::time::advance(Duration::from_secs(60)).await;
            tenants.known("busy").unwrap();
            tenants.forget_idle();
        }
        let names: Vec<_> = tenants.tenants.pin().keys().cloned().collect();
        assert_eq!(names, ["busy".into()]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_used_longest_ago_gives_way() {
        let tenants = Tenants::with_most(1_000);
        for number in 0..1_000 {
            tenants.admit(&format!("old-{number}"));
        }
        tenants.admit("busy");
        for number in 0..10_000 {
            if number % 100 == 0 {
                tokio::time::advance(Duration::from_secs(1)).await;
                tenants.known("busy").expect("it is used");
            }
            let name = format!("new-{number}");
            tenants.admit(&name);
            assert!(tenants.is_known(&name));
            assert!(tenants.tenants.len() <= 1_000);
        }
        assert!(!tenants.is_known("old-7"));
    }
}
