//! Forwards what was held.

use std::time::Duration;

use ha_failover::{DONE_MS, Slice};
use ha_tracker::Clock;
use http::HeaderMap;
use remote_write::{Verdict, Window};
use tokio::time::Instant;

use super::HeldBody;
use crate::answer::{Outcome, PushAnswer, Rejection};
use crate::config::PushLimits;
use crate::gaps;
use crate::pusher::{Destination, Pusher};
use crate::tenants::Items;

/// Waits between two attempts to forward a held request.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

impl Pusher {
    /// Forwards the parts of a slice one after another, each again and again until it is stored or
    /// refused for good, or the slice's time is over. Returns how many that were. Not charged to the
    /// rate limits: the samples that they stand for never came.
    pub async fn replay(
        &self,
        tenant: &str,
        limits: &PushLimits,
        slice: &Slice<HeldBody>,
    ) -> usize {
        let until = deadline(slice.until_ms);
        for (done, part) in slice.bodies.iter().enumerate() {
            let window = Window {
                after_ms: part.after_ms,
                until_ms: match slice.before_ms {
                    DONE_MS => i64::MAX,
                    before_ms => before_ms.saturating_sub(1),
                },
            };
            let mut backoff = MIN_BACKOFF;
            loop {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return done;
                }
                let answer = self.replay_once(tenant, limits, &part.body, window, until);
                let answer = answer.await;
                if !answer.outcome.is_retryable() {
                    if answer.outcome != Outcome::Stored {
                        self.failover_metrics.refused_replays.inc();
                        tracing::warn!(
                            tenant,
                            replica = %slice.replica,
                            "samples that were held for a failover are refused: {}",
                            answer.message()
                        );
                    }
                    break;
                }
                self.failover_metrics.failed_replays.inc();
                tracing::debug!(tenant, "held samples: {}", answer.message());
                let end = Instant::now() + backoff;
                tokio::time::sleep_until(until.map_or(end, |until| until.min(end))).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        }
        slice.bodies.len()
    }

    async fn replay_once(
        &self,
        tenant: &str,
        limits: &PushLimits,
        body: &HeldBody,
        window: Window,
        until: Option<Instant>,
    ) -> PushAnswer {
        let end = Instant::now() + self.remote_timeout;
        let deadline = until.map_or(end, |until| until.min(end));
        let forwarded = self
            .forward_held(tenant, limits, body, window, deadline)
            .await;
        forwarded.unwrap_or_else(PushAnswer::from)
    }

    async fn forward_held(
        &self,
        tenant: &str,
        limits: &PushLimits,
        body: &HeldBody,
        window: Window,
        deadline: Instant,
    ) -> Result<PushAnswer, Rejection> {
        let mut held = self.hold();
        let mut within = |_: &str, _: &str| Verdict::Within(window);
        let (version, rule) = (body.version(), limits.ha_rule());
        let scanned = self.scan_body(version, rule, deadline, body.body(), &mut held, &mut within);
        let (scan, content) = scanned.await?;
        let kept = Items::kept(&scan);
        if scan.kept_series() == 0 {
            return Ok(PushAnswer {
                outcome: Outcome::Stored,
                written: None,
            });
        }
        let metrics = &self.failover_metrics;
        let headers = HeaderMap::new();
        let to = Destination {
            tenant,
            version,
            headers: &headers,
            deadline,
        };
        let answer = self.forward(to, content, &scan, &mut held).await;
        if answer.outcome == Outcome::Stored {
            metrics.replayed_samples.inc_by(kept.samples);
            let tracker = self.tracker.as_ref();
            gaps::stored(tracker, self.failovers.get(), tenant, &scan);
            self.tenants.admit(tenant).count_received(kept);
        }
        Ok(answer)
    }
}

/// A time by this machine's clock; `None` for no end.
fn deadline(until_ms: i64) -> Option<Instant> {
    if until_ms == DONE_MS {
        return None;
    }
    let left_ms = until_ms.saturating_sub(Clock::System.now_ms()).max(0);
    Some(Instant::now() + Duration::from_millis(left_ms.unsigned_abs()))
}
