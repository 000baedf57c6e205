//! When the elected replica is overdue: silent for longer than is usual for it, and not because it
//! waits after a refusal.

use crate::clock::saturating_ms;
use crate::cluster::{Cluster, Elected, Sightings};
use crate::election::Timeouts;

/// A replica is overdue after this many of its cadences, in halves: one request may be lost, sent to
/// another tracker or retried, which makes two cadences, and half a one is for a scrape, a batch or a
/// connection that takes longer than usual.
const HALF_CADENCES: i64 = 5;

/// Silence that no valid failover timeout calls overdue, ms: it costs no access to the limits.
const NEVER_OVERDUE_MS: i64 = 1_000;

/// What decides whether an elected replica is overdue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) timeouts: Timeouts,
    /// Longest wait of a sender before it repeats a request that was refused, ms.
    pub(crate) back_off_ms: i64,
    /// When this process last refused a request that it had not read, of any sender, Unix ms.
    pub(crate) refused_unread_ms: Option<i64>,
}

impl Rules {
    /// Silence after which the elected replica is overdue, ms, as far as it was seen here.
    pub(crate) fn allowed_silence_ms(&self, sightings: &Sightings) -> i64 {
        let cadence_ms = sightings.cadence_ms().unwrap_or(0);
        let allowed_ms =
            saturating_ms(self.timeouts.failover).max(cadence_ms.saturating_mul(HALF_CADENCES) / 2);
        // A request that was not read may have been its one.
        let may_wait = sightings.is_undelivered() || self.refused_unread_ms > sightings.seen_ms();
        if may_wait {
            allowed_ms.saturating_add(self.back_off_ms)
        } else {
            allowed_ms
        }
    }

    /// Until when the elected replica counts as alive, Unix ms: one failover timeout before it is
    /// overdue. `None` if it was not seen here.
    fn alive_until_ms(&self, sightings: &Sightings) -> Option<i64> {
        let beyond_ms = self
            .allowed_silence_ms(sightings)
            .saturating_sub(saturating_ms(self.timeouts.failover));
        Some(sightings.heard_ms()?.saturating_add(beyond_ms))
    }

    /// How long the elected replica has been silent, ms, beyond what is usual for it. It is overdue
    /// when this exceeds the failover timeout.
    pub(crate) fn silent_ms(&self, elected: &Elected, now_ms: i64) -> i64 {
        let alive_ms = self.alive_until_ms(&elected.sightings);
        now_ms.saturating_sub(elected.received_at.max(alive_ms.unwrap_or(i64::MIN)))
    }

    /// Time to write for an elected replica that is silent but not overdue, Unix ms, if it is due.
    ///
    /// Other trackers, Mimir's among them, know only the time that is stored. Without this they would
    /// elect another replica because this one sends rarely, or because we refused it.
    pub(super) fn vouched_ms(&self, elected: &Elected, now_ms: i64) -> Option<i64> {
        let Timeouts {
            update, failover, ..
        } = self.timeouts;
        // In the middle between the two, so that the time is written before others act on it.
        let after_ms = saturating_ms(update.saturating_add(failover) / 2);
        let age_ms = now_ms.saturating_sub(elected.received_at);
        let alive_ms = self.alive_until_ms(&elected.sightings)?;
        let vouched_ms = alive_ms.min(now_ms);
        (age_ms >= after_ms && vouched_ms > elected.received_at).then_some(vouched_ms)
    }
}

/// Whether the elected replica is overdue.
pub(crate) fn is_overdue(cluster: &Cluster, now_ms: i64, rules: impl FnOnce() -> Rules) -> bool {
    let elected = cluster.elected();
    let known_ms = elected
        .sightings
        .seen_ms()
        .unwrap_or(i64::MIN)
        .max(elected.received_at);
    if now_ms.saturating_sub(known_ms) < NEVER_OVERDUE_MS {
        return false;
    }
    let rules = rules();
    rules.silent_ms(&elected, now_ms) >= saturating_ms(rules.timeouts.failover)
}
