//! A distributor is killed while it holds samples of the standby.

use std::time::Duration;

use e2e::{Distributor, Etcd, LONG, Sink, wait_for};
use serde_json::json;

use crate::common::elected;
use crate::common::lossless::{
    CLUSTER, GUARD, INTERVAL, Pair, SERIES, TENANT, account, assert_lossless, longest_gap,
    wait_elected,
};
use crate::three;

/// What one distributor may hold in these tests: two or three requests of [`SERIES`] series.
const HOLD: &str = "4KiB";

async fn wait_full(distributor: &Distributor) {
    wait_for("the hold to be full", LONG, || async {
        let metrics = distributor.metrics().await?;
        let evicted = [("reason", "evicted")];
        let evicted = metrics.sum("ha_failover_released_requests_total", &evicted);
        let held = metrics.sum("ha_failover_held_bytes", &[]);
        let is_full = evicted > 0.0 && held > 0.0;
        is_full
            .then_some(())
            .ok_or(format!("{evicted}, {held} bytes"))
    })
    .await;
}

/// While the elected replica lives, what is held is spare: its loss costs nothing, and nothing is
/// elected because of it.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_hold_nothing_is_lost_while_the_elected_replica_lives() {
    let (etcd, sink) = (Etcd::start("etcd").await, Sink::start().await);
    let more = json!({"limits": {"ha_failover_hold_bytes": HOLD}});
    let mut fleet = three(&etcd, &sink, &more).await;
    // The elected replica does not send to the first distributor, so that nothing passes what that
    // one holds.
    let mut pair = Pair::of(&fleet[1..], &fleet);
    pair.start().await;
    wait_full(&fleet[0]).await;
    fleet[0].process.sigkill();
    let before = pair.a.counts().accepted;
    let a = &pair.a;
    wait_for("ten more scrapes", LONG, || async {
        let more = a.counts().accepted - before;
        (more >= 10 * SERIES as u64)
            .then_some(())
            .ok_or(format!("{more}"))
    })
    .await;
    let row = elected(&fleet[1], TENANT, CLUSTER).await.unwrap();
    assert_eq!(
        (&row["replica"], &row["electedChanges"]),
        (&json!("a"), &json!(0))
    );
    pair.a.finish().await;
    assert_lossless(&sink);
}

/// Two failures at once: what the distributor held is gone with it, and it may have forwarded samples
/// until it was seen to be dead. That time is missing, and no more; still nothing is doubled or out
/// of order.
#[tokio::test(flavor = "multi_thread")]
async fn together_with_the_elected_replica_only_its_last_moments_are_lost() {
    let (etcd, sink) = (Etcd::start("etcd").await, Sink::start().await);
    let mut fleet = three(&etcd, &sink, &json!({})).await;
    let mut pair = Pair::new(&fleet);
    pair.start().await;
    let held = async |distributor: &Distributor| -> Result<f64, String> {
        let metrics = distributor.metrics().await?;
        let released = metrics.sum("ha_failover_released_requests_total", &[]);
        Ok(metrics.sum("ha_failover_held_requests_total", &[]) - released)
    };
    pair.a.kill();
    wait_for("samples to be held", LONG, || async {
        let held = held(&fleet[0]).await?;
        (held > 0.0).then_some(()).ok_or(format!("{held}"))
    })
    .await;
    fleet[0].process.sigkill();
    wait_elected(&fleet[1], "b").await;
    pair.wait_for_b().await;
    pair.b.finish().await;
    let samples = account(&sink);
    // A heartbeat is a second old at most, is missed after 5 s, and counts for as long; samples may be
    // 5 s ahead of their receipt.
    let bound = Duration::from_secs(1 + 5 + 5 + 5) + 2 * INTERVAL + GUARD;
    let longest = longest_gap(&samples);
    assert!(
        longest <= bound.as_millis() as i64,
        "{longest} ms: {samples:?}"
    );
    let mut given_up = 0.0;
    for one in &fleet[1..] {
        let metrics = one.metrics().await.unwrap();
        given_up += metrics.sum("ha_failover_given_up_distributors_total", &[]);
    }
    assert!(given_up > 0.0);
}
