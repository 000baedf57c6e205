//! Detects distributors whose clocks differ.
//!
//! Elections compare times written by several machines. If an entry arrives with a time in the
//! future, its writer's clock is ahead of this one by at least the difference, because the
//! transport only makes the entry older. The failover of that cluster is then late by this much,
//! and of two elections the wrong one can count as the later one.

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kv_core::lock;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::ReplicaDesc;
use crate::clock::saturating_ms;

/// Smaller differences are not reported. Clocks synchronized by NTP differ by milliseconds; this is
/// far below the failover timeout.
const TOLERATED: Duration = Duration::from_secs(5);
/// A window in which an active cluster's entries arrive several times. Differences from before the
/// last complete window are over.
const WINDOW: Duration = Duration::from_secs(5 * 60);

/// Another distributor's clock is ahead of this one's, or this one's is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockSkew {
    /// When it was first seen, Unix ms of this clock.
    pub since_ms: i64,
    /// The minimum difference, ms: the largest one seen within the last five to ten minutes.
    pub ahead_ms: i64,
    /// The tenant of the last entry that showed it.
    pub tenant: String,
    /// Its cluster.
    pub cluster: String,
}

#[derive(Debug)]
pub(crate) struct ClockSkews {
    /// Locked alone.
    episode: Mutex<Option<Episode>>,
    /// Seconds; 0 without skew.
    gauge: Gauge<f64, AtomicU64>,
}

#[derive(Debug)]
struct Episode {
    shown: ClockSkew,
    window_began: Instant,
    /// The largest difference in the window, and in the previous one.
    most_ms: [i64; 2],
}

impl Episode {
    fn roll(&mut self) {
        let elapsed = self.window_began.elapsed();
        if elapsed >= WINDOW {
            let before = if elapsed < 2 * WINDOW {
                self.most_ms[0]
            } else {
                0
            };
            self.most_ms = [0, before];
            self.window_began = Instant::now();
        }
        self.shown.ahead_ms = self.most_ms[0].max(self.most_ms[1]);
    }
}

impl ClockSkews {
    pub(crate) fn new(gauge: Gauge<f64, AtomicU64>) -> Self {
        Self {
            episode: Mutex::new(None),
            gauge,
        }
    }

    /// The current skew, if any.
    pub(crate) fn current(&self) -> Option<ClockSkew> {
        let episode = lock(&self.episode);
        episode.as_ref().map(|episode| episode.shown.clone())
    }

    /// Must be called with each entry that arrives.
    pub(crate) fn note(&self, tenant: &str, cluster: &str, desc: &ReplicaDesc, now_ms: i64) {
        let newest_ms = desc.received_at.max(desc.elected_at).max(desc.deleted_at);
        let ahead_ms = newest_ms.saturating_sub(now_ms);
        if ahead_ms < saturating_ms(TOLERATED) {
            return;
        }
        let mut current = lock(&self.episode);
        let is_new = current.is_none();
        let episode = current.get_or_insert_with(|| Episode {
            shown: ClockSkew {
                since_ms: now_ms,
                ahead_ms,
                tenant: String::new(),
                cluster: String::new(),
            },
            window_began: Instant::now(),
            most_ms: [0; 2],
        });
        tenant.clone_into(&mut episode.shown.tenant);
        cluster.clone_into(&mut episode.shown.cluster);
        episode.roll();
        episode.most_ms[0] = episode.most_ms[0].max(ahead_ms);
        episode.roll();
        self.gauge.set(seconds(episode.shown.ahead_ms));
        if is_new {
            let (replica, seconds) = (&*desc.replica, seconds(ahead_ms));
            tracing::warn!(
                tenant,
                cluster,
                replica,
                seconds,
                "the clock of another distributor is ahead of this one's, or this one's is \
                     behind: failovers are late and elections can be lost; synchronize all \
                     clocks by NTP"
            );
        }
    }

    /// Must be called regularly: ends an episode.
    pub(crate) fn settle(&self) {
        let mut current = lock(&self.episode);
        let Some(episode) = &mut *current else {
            return;
        };
        episode.roll();
        let ahead_ms = episode.shown.ahead_ms;
        self.gauge.set(seconds(ahead_ms));
        if ahead_ms == 0 {
            *current = None;
            tracing::info!("no other distributor's clock is ahead of this one's any more");
        }
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
