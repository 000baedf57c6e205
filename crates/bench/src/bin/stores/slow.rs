//! Pushes of known clusters while the store takes a second for each call, and while it does not.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use bench::measure::{Effort, median};
use e2e::Distributor;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, interval};

use crate::backend::{Backend, Kind};
use crate::counted::Counted;
use crate::fleet::{Fleet, Push, Pusher};

const FLEET: Fleet = Fleet {
    tenants: 1,
    clusters: 100,
    per_request: 100,
};
/// How much longer every request to the store takes.
pub(crate) const DELAY: Duration = Duration::from_secs(1);
/// From one push to the next, so that a round lasts several update timeouts.
const PACE: Duration = Duration::from_millis(5);
/// Pause after a change of the delay, in which earlier calls end and updates begin again.
const SETTLE: Duration = Duration::from_secs(6);

/// Direct and slow rounds by turns.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) store: &'static str,
    pub(crate) pushes_in_a_round: usize,
    pub(crate) rounds: Vec<Pair>,
}

/// Two rounds, one after the other.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    pub(crate) direct: Round,
    pub(crate) slow: Round,
}

/// Pushes one after the other.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Updates of elections that the store answered meanwhile.
    pub(crate) updates: f64,
    /// How long these took, mean.
    pub(crate) update_seconds: f64,
}

impl Comparison {
    /// Median of a number over the rounds of one side.
    pub(crate) fn typical(
        &self,
        side: impl Fn(&Pair) -> &Round,
        number: impl Fn(&Round) -> f64,
    ) -> f64 {
        median(self.rounds.iter().map(|pair| number(side(pair))).collect())
    }

    /// Median over the pairs of slow / direct.
    pub(crate) fn ratio(&self, number: impl Fn(&Round) -> f64) -> f64 {
        let ratios = self.rounds.iter();
        median(
            ratios
                .map(|pair| number(&pair.slow) / number(&pair.direct))
                .collect(),
        )
    }
}

/// Runs a store and a distributor of its own.
pub(crate) async fn measure(effort: Effort, kind: Kind) -> Result<Comparison> {
    let backend = Backend::start(kind).await;
    let config = json!({
        "distributor": {"ha_tracker": {
            "enable_ha_tracker": true,
            "kvstore": Backend::kvstore(backend.as_ref()),
        }},
        "limits": {
            "accept_ha_samples": true,
            "ha_max_clusters": 0,
            // A request holds series of several clusters.
            "ha_tracker_per_sample_dedupe": true,
            // Updates all the time.
            "ha_tracker_update_timeout": "1s",
            "ha_tracker_update_timeout_jitter_max": "100ms",
            "ha_tracker_failover_timeout": "5s",
        },
    });
    let distributor = Distributor::start("distributor", &config.to_string()).await;
    let pusher = Pusher::new(&distributor);
    // Of all clusters, replica 0 is elected: of half of those in a request.
    let pushes: Vec<Push> = (0..2)
        .map(|turn| FLEET.pushes(|number| (number + turn) % 2))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    let (count, pairs) = match effort {
        Effort::Quick => (500, 3),
        Effort::Full => (1_000, 5),
    };
    let backend = backend.context("this store has no server")?;
    pushes_for(&pusher, &FLEET.pushes(|_| 0)?, 1).await?;
    // Warms up.
    settle(&pusher, &pushes).await?;
    let mut rounds = Vec::new();
    for _ in 0..pairs {
        let direct = round(&distributor, &pusher, &pushes, count).await?;
        backend.proxy.delay(DELAY);
        settle(&pusher, &pushes).await?;
        let slow = round(&distributor, &pusher, &pushes, count).await?;
        backend.proxy.delay(Duration::ZERO);
        settle(&pusher, &pushes).await?;
        ensure!(
            slow.updates > 0.0 && slow.update_seconds >= DELAY.as_secs_f64(),
            "the store was not slow: {slow:?}"
        );
        rounds.push(Pair { direct, slow });
    }
    Ok(Comparison {
        store: kind.name(),
        pushes_in_a_round: count,
        rounds,
    })
}

async fn settle(pusher: &Pusher, pushes: &[Push]) -> Result<()> {
    let count = SETTLE.as_millis() / PACE.as_millis();
    pushes_for(pusher, pushes, usize::try_from(count)?).await?;
    Ok(())
}

async fn round(
    distributor: &Distributor,
    pusher: &Pusher,
    pushes: &[Push],
    count: usize,
) -> Result<Round> {
    let before = calls(distributor).await?;
    let mut latencies = pushes_for(pusher, pushes, count).await?;
    let [updates, update_seconds] = calls(distributor).await?.growth(&before);
    latencies.sort_by(f64::total_cmp);
    let ms = |quantile| percentile(&latencies, quantile) * 1e3;
    Ok(Round {
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        max_ms: ms(1.0),
        updates,
        update_seconds: update_seconds / updates.max(1.0),
    })
}

/// Seconds that each of so many pushes took.
async fn pushes_for(pusher: &Pusher, pushes: &[Push], count: usize) -> Result<Vec<f64>> {
    let mut latencies = Vec::with_capacity(count);
    let mut ticks = interval(PACE);
    for push in pushes.iter().cycle().take(count) {
        ticks.tick().await;
        let start = Instant::now();
        let outcome = pusher.push(push).await;
        latencies.push(start.elapsed().as_secs_f64());
        outcome.map_err(|error| anyhow!("push: {error}"))?;
    }
    Ok(latencies)
}

/// Updates of the store, and the seconds that they took.
async fn calls(distributor: &Distributor) -> Result<Counted<2>> {
    let metrics = distributor.metrics().await.map_err(|e| anyhow!("{e}"))?;
    let cas = &[("operation", "CAS")];
    let of = |what| {
        let name = format!("cortex_kv_request_duration_seconds_{what}");
        metrics.sum(&name, cas)
    };
    Ok(Counted::now([of("count"), of("sum")]))
}

/// Of sorted values: as few are above it as the quantile allows.
fn percentile(sorted: &[f64], quantile: f64) -> f64 {
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    let index = rank.saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let values: Vec<f64> = (1..=1_000).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 500.0);
        assert_eq!(percentile(&values, 0.99), 990.0);
        assert_eq!(percentile(&values, 1.0), 1_000.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
