//! What this instance knows of each tenant: counters and the rate limit.
//!
//! A tenant is whatever a sender writes into a header. It is known from the first request on that
//! is valid, and their number is limited: the least recently used one is evicted.

pub(crate) mod collector;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ahash::RandomState;
use remote_write::{Ages, Counts, Scan, Version};
use tokio::time::Instant;

use crate::bounds::TokenBucket;
use crate::cause::Cause;
use crate::counters::{AtomicHistogram, add};
use crate::mixed::MixedRequests;
use crate::unlabelled::Untold;

/// Most tenants known at once, about: some more while several come at the same moment.
const MAX_TENANTS: usize = 100_000;
/// Where there are too many, one of so many goes at once, so that not each new one searches them.
const GOES: usize = 100;
/// A tenant without requests for this long is forgotten, with its metrics.
const IDLE: Duration = Duration::from_secs(20 * 60);

/// All recently seen tenants.
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
    requests_in_v1: AtomicU64,
    requests_in_v2: AtomicU64,
    received_requests: AtomicU64,
    /// All that came in.
    came_in: ItemCounters,
    /// What was neither deduplicated nor refused.
    received: ItemCounters,
    pub(crate) non_ha_samples: AtomicU64,
    pub(crate) untold: Untold,
    pub(crate) mixed: MixedRequests,
    discarded: [ItemCounters; Discarded::ALL.len()],
    discarded_requests: [AtomicU64; DISCARDED_REQUESTS.len()],
    samples_per_request: AtomicHistogram<{ PER_REQUEST.len() + 1 }>,
    exemplars_per_request: AtomicHistogram<{ PER_REQUEST.len() + 1 }>,
    /// Of the last request with accepted samples, Unix ms; 0 before.
    latest_sample_ms: AtomicI64,
    /// Seconds since the start of [`Tenants`].
    last_used_s: AtomicU64,
}

/// Upper bounds of samples and exemplars per request. Few, since each tenant has all of them.
const PER_REQUEST: [f64; 4] = [10.0, 100.0, 1_000.0, 10_000.0];

/// What a request holds, as it is counted and limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Items {
    /// Float samples and native histograms, which is what Mimir counts as samples.
    pub(crate) samples: u64,
    pub(crate) exemplars: u64,
    /// Metadata entries of 1.0.
    pub(crate) metadata: u64,
}

impl Items {
    /// All that came in.
    pub(crate) fn of(scan: &Scan) -> Self {
        Self {
            metadata: scan.metadata,
            ..scan.total().into()
        }
    }

    /// What is left of it, by the verdicts as they stand.
    pub(crate) fn kept(scan: &Scan) -> Self {
        let (all, dropped) = (Self::of(scan), Self::from(scan.dropped()));
        Self {
            samples: all.samples - dropped.samples,
            exemplars: all.exemplars - dropped.exemplars,
            metadata: all.metadata,
        }
    }
}

impl From<Counts> for Items {
    fn from(counts: Counts) -> Self {
        Self {
            samples: counts.samples + counts.histograms,
            exemplars: counts.exemplars,
            metadata: 0,
        }
    }
}

/// Counters of items.
#[derive(Debug, Default)]
struct ItemCounters {
    samples: AtomicU64,
    exemplars: AtomicU64,
    metadata: AtomicU64,
}

impl ItemCounters {
    fn add(&self, items: Items) {
        for (counter, amount) in [
            (&self.samples, items.samples),
            (&self.exemplars, items.exemplars),
            (&self.metadata, items.metadata),
        ] {
            if amount > 0 {
                add(counter, amount);
            }
        }
    }
}

/// Why whole requests are refused for good, or for their tenant's rate. What a downstream refuses is
/// not among it, nor what is refused for this instance's sake: that says nothing about the tenant.
const DISCARDED_REQUESTS: [Cause; 8] = [
    Cause::Malformed,
    Cause::TooLarge,
    Cause::UnsupportedMediaType,
    Cause::RateLimited,
    Cause::TooManyHaClusters,
    Cause::LabelValueTooLong,
    Cause::HaClusterNotStorable,
    Cause::HaLabelNotUtf8,
];

/// Why samples were refused.
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

    /// Its name is the `reason` label.
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
    pub(crate) fn discard(&self, reason: Discarded, items: impl Into<Items>) {
        self.discarded[reason as usize].add(items.into());
    }

    /// Nothing of a request was taken, for this cause.
    pub(crate) fn discard_request(&self, cause: Cause) {
        let index = DISCARDED_REQUESTS.iter().position(|one| *one == cause);
        if let Some(counter) = index.and_then(|index| self.discarded_requests.get(index)) {
            add(counter, 1);
        }
    }

    /// A request was read that holds so much.
    pub(crate) fn count_in(&self, items: Items) {
        self.came_in.add(items);
        for (histogram, count) in [
            (&self.samples_per_request, items.samples),
            (&self.exemplars_per_request, items.exemplars),
        ] {
            histogram.observe(count as f64, &PER_REQUEST);
        }
    }

    /// So much of a request is passed on.
    pub(crate) fn count_received(&self, items: Items) {
        add(&self.received_requests, 1);
        self.received.add(items);
    }

    /// A request had accepted samples of these ages.
    pub(crate) fn see(&self, ages: &Ages) {
        if let Some(latest_ms) = ages.latest_ms() {
            self.latest_sample_ms.store(latest_ms, Ordering::Relaxed);
        }
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

    /// A tenant that has sent something valid before, without counting as a request of it.
    pub(crate) fn peek(&self, name: &str) -> Option<Arc<Tenant>> {
        self.tenants.pin().get(name).map(Arc::clone)
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
            assert!(tenants.peek(&name).is_some());
            assert!(tenants.tenants.len() <= 1_000);
        }
        assert!(tenants.peek("old-7").is_none());
    }
}
