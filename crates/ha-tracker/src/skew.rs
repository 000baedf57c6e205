//! Distributors whose clocks differ.
//!
//! Elections compare times that several machines write. An entry that arrives with a time of the
//! future was written by a clock that is ahead of this one by that much at least: what it takes on its
//! way only makes it older. Then the failover of that cluster comes so much later, and of two
//! elections the wrong one can count as the later.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;

use crate::ReplicaDesc;
use crate::clock::saturating_ms;
use crate::tracker::HaTracker;

/// Clocks that differ by less are not told of. Those that are kept by NTP differ by milliseconds; this
/// is far below the failover timeout.
const TOLERATED: Duration = Duration::from_secs(5);
/// Entries of an alive cluster come several times in it. What was seen before the last whole one of
/// these is over.
const WINDOW: Duration = Duration::from_secs(5 * 60);

/// Another distributor's clock is ahead of this one's, or this one's is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockSkew {
    /// When it was first seen, Unix ms of this clock.
    pub since_ms: i64,
    /// By how much at least, ms: the most that was seen within the last five to ten minutes.
    pub ahead_ms: i64,
    /// The tenant of the entry that told of it last.
    pub tenant: String,
    /// Its cluster.
    pub cluster: String,
}

#[derive(Debug, Default)]
pub(crate) struct Skews {
    episode: Mutex<Option<Episode>>,
    /// Seconds; 0 without skew.
    pub(crate) gauge: Gauge<f64, AtomicU64>,
}

#[derive(Debug)]
struct Episode {
    told: ClockSkew,
    window_began: Instant,
    /// The most in the window, and in the one before.
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
        self.told.ahead_ms = self.most_ms[0].max(self.most_ms[1]);
    }
}

impl Skews {
    fn with<R>(&self, act: impl FnOnce(&mut Option<Episode>) -> R) -> R {
        act(&mut self.episode.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// To be called with each entry that arrives.
    pub(crate) fn note(&self, tenant: &str, cluster: &str, desc: &ReplicaDesc, now_ms: i64) {
        let newest_ms = desc.received_at.max(desc.elected_at).max(desc.deleted_at);
        let ahead_ms = newest_ms.saturating_sub(now_ms);
        if ahead_ms < saturating_ms(TOLERATED) {
            return;
        }
        self.with(|episode| {
            let is_new = episode.is_none();
            let episode = episode.get_or_insert_with(|| Episode {
                told: ClockSkew {
                    since_ms: now_ms,
                    ahead_ms,
                    tenant: String::new(),
                    cluster: String::new(),
                },
                window_began: Instant::now(),
                most_ms: [0; 2],
            });
            tenant.clone_into(&mut episode.told.tenant);
            cluster.clone_into(&mut episode.told.cluster);
            episode.roll();
            episode.most_ms[0] = episode.most_ms[0].max(ahead_ms);
            episode.roll();
            self.gauge.set(seconds(episode.told.ahead_ms));
            if is_new {
                let (replica, seconds) = (&*desc.replica, seconds(ahead_ms));
                tracing::warn!(
                    tenant,
                    cluster,
                    replica,
                    seconds,
                    "the clock of another distributor is ahead of this one's, or this one's is \
                     behind: failovers come late and elections can be lost; keep all clocks by NTP"
                );
            }
        });
    }

    /// To be called now and then: ends an episode.
    pub(crate) fn settle(&self) {
        let ended = self.with(|episode| {
            episode.as_mut()?.roll();
            let ahead_ms = episode.as_ref()?.told.ahead_ms;
            self.gauge.set(seconds(ahead_ms));
            episode.take_if(|_| ahead_ms == 0)
        });
        if ended.is_some() {
            tracing::info!("no other distributor's clock is ahead of this one's any more");
        }
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

impl HaTracker {
    /// Whether another distributor's clock is ahead of this one's by more than five seconds, as far as
    /// what it writes tells. Over once nothing told of it for five to ten minutes.
    pub fn clock_skew(&self) -> Option<ClockSkew> {
        let told = |episode: &mut Option<Episode>| episode.as_ref().map(|e| e.told.clone());
        self.metrics.skews.with(told)
    }
}
