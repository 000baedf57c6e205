//! A hold that is full, of one tenant: others do not notice.

use std::time::Duration;

use e2e::{LONG, Sink, wait_for};
use serde_json::json;

use crate::alone;
use crate::common::lossless::{Pair, assert_lossless};
use crate::queue::{Habits, QueueingSender};

/// Of the other tenant.
const HOLD_BYTES: f64 = 64.0 * 1024.0;

/// A standby of another tenant sends far more than may be held, while its elected replica is slow to
/// send as much. Memory is bounded, what is evicted is counted, and a pair beside it fails over
/// without a loss.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_hold_of_one_tenant_does_not_harm_another() {
    let sink = Sink::start().await;
    let more = json!({
        "limits": {"ha_failover_hold_bytes": "64KiB"},
        "distributor": {"ha_failover": {"max_hold_bytes": "1MiB"}},
    });
    let distributor = alone("full", &sink, &more).await;
    let sender = distributor.sender("large");
    // Its samples are old, so those of the standby are always newer.
    let elected = Habits {
        ahead_ms: -60_000,
        ..Habits::new("large", "a")
    };
    let elected = QueueingSender::start(elected, vec![sender.clone()]);
    wait_for("the elected replica", LONG, || async {
        let stored = elected.fates().stored.len();
        (stored > 2).then_some(()).ok_or(format!("{stored}"))
    })
    .await;
    let standbys: Vec<QueueingSender> = (0..4)
        .map(|_| {
            let habits = Habits {
                series: 200,
                interval: Duration::from_millis(50),
                ..Habits::new("large", "b")
            };
            QueueingSender::start(habits, vec![sender.clone()])
        })
        .collect();
    let evicted = async || -> Result<f64, String> {
        let metrics = distributor.metrics().await?;
        let held = metrics.sum("ha_failover_held_bytes", &[]);
        // The other tenant's as well.
        assert!(held <= 2.0 * HOLD_BYTES, "{held} bytes");
        let evicted = [("reason", "evicted")];
        Ok(metrics.sum("ha_failover_released_requests_total", &evicted))
    };
    let evicts = async |count: f64| {
        wait_for("requests to be evicted", LONG, || async {
            let now = evicted().await?;
            (now >= count).then_some(()).ok_or(format!("{now}"))
        })
        .await;
    };
    evicts(20.0).await;

    let mut pair = Pair::new(std::slice::from_ref(&distributor));
    pair.start().await;
    pair.a.kill();
    pair.wait_for_b().await;
    let before = evicted().await.unwrap();
    evicts(before + 20.0).await;
    drop(standbys);
    drop(elected);
    pair.b.finish().await;
    assert_lossless(&sink);
}
