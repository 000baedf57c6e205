//! The elected member goes away, in two ways, and comes back.

use std::time::Duration;

use crate::history::Run;
use crate::pair::{FAILOVER, Pair, REPLICAS, Setup, UPDATE, ms, now_ms};

/// More than everything that adds to the failover timeout on a busy machine: two scrapes, two
/// batches, an update.
const SLACK: Duration = Duration::from_secs(6);

pub(crate) async fn the_other_takes_over_and_stays(setup: Setup) {
    let mut pair = Pair::start(setup, None).await;
    let first = pair.wait_elected().await;
    let second = 1 - first;
    pair.wait_history(&[first], now_ms() + 1000).await;
    let changes = pair.changes().await;

    // Away for the distributor, but alive: its samples pile up, and come in one go afterwards.
    let acknowledged = pair.members[first].queue().await.unwrap().acknowledged;
    pair.members[first].relay.cut();
    pair.wait_elected_is(second).await;
    assert_eq!(pair.changes().await, changes + 1.0);
    let before_replay = pair.deduplicated().await;
    pair.members[first].relay.heal();
    let healed = now_ms();
    let queue = pair.wait_acknowledged(first, healed).await;
    assert!(queue.retried > 0.0, "{queue:?}");
    assert!(pair.deduplicated().await > before_replay);
    // Long enough that a second failover would show.
    let until = now_ms() + ms(FAILOVER + UPDATE);
    let runs = pair.wait_history(&[first, second], until).await;
    assert_eq!(pair.changes().await, changes + 1.0);
    assert_takeover(setup, "cut off", &runs, acknowledged);

    // Killed, and started again on its old data. Prometheus then sends what it scrapes from now on;
    // what it had not sent before is lost with its queue.
    let acknowledged = pair.members[second].queue().await.unwrap().acknowledged;
    pair.members[second].server.process.sigkill();
    pair.wait_elected_is(first).await;
    assert_eq!(pair.changes().await, changes + 2.0);
    pair.members[second].server.restart().await;
    let until = now_ms() + ms(FAILOVER + UPDATE);
    let runs = pair.wait_history(&[first, second, first], until).await;
    assert_takeover(setup, "killed", &runs, acknowledged);
    pair.wait_acknowledged(second, until / 1000 * 1000).await;
    assert_eq!(pair.elected().await, Ok(first));
    assert_eq!(pair.changes().await, changes + 2.0);

    for (index, name) in REPLICAS.iter().enumerate() {
        let queue = pair.members[index].queue().await.unwrap();
        queue.assert_lossless(name);
    }
}

/// The last change of owners lost nothing that was acknowledged, came not before its time, and soon
/// after it.
fn assert_takeover(setup: Setup, how: &str, runs: &[Run], acknowledged: i64) {
    let [.., from, to] = runs else {
        panic!("no takeover: {runs:?}");
    };
    assert!(from.last >= acknowledged, "{from:?}, {acknowledged}");
    let gap = to.first - from.last;
    println!("{setup:?}: {how}: nothing stored for {gap} ms");
    // Silence is measured from the last time that was recorded, which is up to one update old.
    assert!(gap >= ms(FAILOVER - 2 * UPDATE), "{gap}");
    assert!(gap <= ms(FAILOVER + SLACK), "{gap}");
}
