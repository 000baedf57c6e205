//! What this instance knows of each tenant: counters and the rate limit.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::RandomState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use remote_write::Version;
use tokio::time::Instant;

use super::rate::TokenBucket;

/// Most tenants known at once. A tenant is whatever a sender writes into a header, so there has to
/// be a bound.
const MAX_TENANTS: usize = 100_000;
/// A tenant without requests for this long is forgotten, with its metrics.
const IDLE: Duration = Duration::from_secs(20 * 60);

/// All tenants seen lately.
#[derive(Debug)]
pub(crate) struct Tenants {
    tenants: papaya::HashMap<Box<str>, Arc<Tenant>, RandomState>,
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
}

impl Discarded {
    const ALL: [Self; 4] = [
        Self::TooManyHaClusters,
        Self::RateLimited,
        Self::LabelValueTooLong,
        Self::HaClusterNotStorable,
    ];

    fn reason(self) -> &'static str {
        match self {
            Self::TooManyHaClusters => "too_many_ha_clusters",
            Self::RateLimited => "rate_limited",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::HaClusterNotStorable => "ha_cluster_not_storable",
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

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

impl Tenants {
    pub(crate) fn new() -> Self {
        Self {
            tenants: papaya::HashMap::default(),
            start: Instant::now(),
        }
    }

    /// The tenant's counters; `None` if there are too many tenants to take another.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Tenant>> {
        let tenants = self.tenants.pin();
        let tenant = match tenants.get(name) {
            Some(tenant) => tenant,
            None if tenants.len() >= MAX_TENANTS => return None,
            None => tenants.get_or_insert_with(name.into(), Arc::default),
        };
        let now_s = self.start.elapsed().as_secs();
        if tenant.last_used_s.load(Ordering::Relaxed) != now_s {
            tenant.last_used_s.store(now_s, Ordering::Relaxed);
        }
        Some(Arc::clone(tenant))
    }

    /// Forgets tenants that have been idle.
    pub(crate) fn forget_idle(&self) {
        let oldest = self.start.elapsed().saturating_sub(IDLE).as_secs();
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

/// Why a tenant's name cannot be one. The rules are Mimir's.
pub fn validate_tenant(name: &str) -> Result<(), String> {
    const MAX: usize = 150;
    if name.is_empty() {
        return Err("the tenant ID is empty".to_owned());
    }
    if name.len() > MAX {
        return Err(format!(
            "the tenant ID has {} bytes, more than {MAX}",
            name.len()
        ));
    }
    if let Some(bad) = name
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !"!-_.*'()".contains(*c))
    {
        return Err(format!(
            "the tenant ID {name:?} contains {bad:?}; allowed are letters, digits and !-_.*'()"
        ));
    }
    if matches!(name, "." | ".." | "__mimir_cluster") {
        return Err(format!("the tenant ID {name:?} is reserved"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_tenants_are_forgotten_and_busy_ones_are_not() {
        let tenants = Tenants::new();
        tenants.get("idle").unwrap();
        for _ in 0..25 {
            tokio::time::advance(Duration::from_secs(60)).await;
            tenants.get("busy").unwrap();
            tenants.forget_idle();
        }
        let names: Vec<_> = tenants.tenants.pin().keys().cloned().collect();
        assert_eq!(names, ["busy".into()]);
    }

    #[test]
    fn tenant_names_follow_mimirs_rules() {
        for good in ["a", "team-1", "A!b_c.d*e'f(g)", "...", &"x".repeat(150)] {
            assert_eq!(validate_tenant(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "a|b",
            "a b",
            "ü",
            "__mimir_cluster",
            &"x".repeat(151),
        ] {
            assert!(validate_tenant(bad).is_err(), "{bad}");
        }
    }
}
