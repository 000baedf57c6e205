//! The receiver and the distributor go away for a while; the members' queues bridge it.

use std::time::Duration;

use e2e::{LONG, SHORT, wait_for};

use crate::pair::{FAILOVER, Pair, REPLICAS, SCRAPE_NUMBER, Setup, UPDATE, ms, now_ms};

/// For what a busy machine adds.
const SLACK: Duration = Duration::from_secs(6);

pub(crate) async fn outages_of_downstream_and_distributor_lose_nothing(setup: Setup) {
    let mut pair = Pair::start(setup, None).await;
    let elected = pair.wait_elected().await;
    pair.wait_history(&[elected], now_ms() + 1000).await;
    receiver_is_killed(&mut pair, elected).await;
    distributor_is_stopped(&mut pair, elected).await;
}

async fn receiver_is_killed(pair: &mut Pair, elected: usize) {
    let changes = pair.changes().await;
    pair.receiver.process.sigkill();
    scrapes_pass(pair, 12).await;
    let other = pair.wait_acknowledged(1 - elected, now_ms()).await;
    assert_eq!(other.retried, 0.0, "is told so at once: {other:?}");
    pair.receiver.restart().await;

    pair.wait_history(&[elected], now_ms() + 1000).await;
    let queue = pair.members[elected].queue().await.unwrap();
    assert!(queue.retried > 0.0, "{queue:?}");
    queue.assert_lossless(REPLICAS[elected]);
    let other = pair.members[1 - elected].queue().await.unwrap();
    other.assert_lossless(REPLICAS[1 - elected]);
    assert_eq!(other.retried, 0.0, "{other:?}");
    assert_eq!(pair.elected().await, Ok(elected));
    assert_eq!(pair.changes().await, changes);
}

/// With elections in memory only, the first replica after the start is elected.
async fn distributor_is_stopped(pair: &mut Pair, before: usize) {
    let acknowledged = pair.members[before].queue().await.unwrap().acknowledged;
    let stopped = now_ms();
    pair.distributor.process.sigterm();
    let status = pair.distributor.process.wait_exit(LONG).await;
    assert!(status.success(), "{status}");
    println!("{:?}: stopped in {} ms", pair.setup, now_ms() - stopped);
    scrapes_pass(pair, 6).await;
    pair.distributor.restart().await;
    let elected = pair.wait_elected().await;
    let down = now_ms() - stopped;

    let until = now_ms() + ms(FAILOVER + UPDATE);
    let name = REPLICAS[before];
    if elected == before {
        pair.wait_history(&[before], until).await;
    } else {
        let runs = pair.wait_history(&[before, elected], until).await;
        let gap = runs[1].first - runs[0].last;
        println!("{:?}: nothing stored for {gap} ms", pair.setup);
        assert!(gap <= down + ms(SLACK), "{SCRAPE_NUMBER}: {gap}, {down}");
        assert!(runs[0].last >= acknowledged, "{runs:?}, {acknowledged}");
    }
    assert_eq!(pair.elected().await, Ok(elected));
    let queue = pair.wait_acknowledged(before, until / 1000 * 1000).await;
    queue.assert_lossless(name);
    assert!(queue.retried > 0.0, "{queue:?}");
}

/// Waits until the members have scraped so often, taken together.
async fn scrapes_pass(pair: &Pair, count: u64) {
    let goal = pair.target.scrapes() + count;
    wait_for(&format!("{count} scrapes"), SHORT, || async {
        match pair.target.scrapes() {
            scrapes if scrapes >= goal => Ok(()),
            scrapes => Err(format!("{scrapes} of {goal}")),
        }
    })
    .await;
}
