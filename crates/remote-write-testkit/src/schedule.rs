//! When a replica scrapes.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

/// Queues the timestamp of one scrape per interval. As in Prometheus, that is the time a scrape was
/// due, also if it came late.
pub(crate) async fn scrape(
    interval: Duration,
    offset: Duration,
    now_ms: i64,
    queue: mpsc::Sender<i64>,
) {
    let (mut due_ms, wait) = first_due(interval, offset, now_ms);
    let mut ticks = tokio::time::interval_at(Instant::now() + wait, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        if queue.send(due_ms).await.is_err() {
            return;
        }
        due_ms = due_ms.saturating_add(millis(interval));
    }
}

/// The first scrape after now: its time, Unix ms, and how long that is from now.
fn first_due(interval: Duration, offset: Duration, now_ms: i64) -> (i64, Duration) {
    let interval_ms = millis(interval).max(1);
    let begun = now_ms.div_euclid(interval_ms) + 1;
    let due_ms = begun * interval_ms + millis(offset);
    (
        due_ms,
        Duration::from_millis(due_ms.saturating_sub(now_ms).unsigned_abs()),
    )
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(250);

    #[test]
    fn replicas_scrape_at_their_offset_in_the_next_interval() {
        let due = |offset_ms, now_ms| {
            let (due_ms, wait) = first_due(INTERVAL, Duration::from_millis(offset_ms), now_ms);
            assert_eq!(now_ms + wait.as_millis() as i64, due_ms);
            due_ms
        };
        assert_eq!(due(20, 10_000), 10_270);
        assert_eq!(due(140, 10_249), 10_390);
        assert_eq!(due(0, 10_250), 10_500);
    }

    #[tokio::test(start_paused = true)]
    async fn timestamps_are_when_a_scrape_was_due() {
        let (queue, mut scrapes) = mpsc::channel(1);
        let task = tokio::spawn(scrape(INTERVAL, Duration::from_millis(20), 10_100, queue));
        assert_eq!(scrapes.recv().await, Some(10_270));
        // A queue that was full for a second delays scrapes, and leaves none out.
        tokio::time::advance(Duration::from_secs(1)).await;
        for expected in [10_520, 10_770, 11_020] {
            assert_eq!(scrapes.recv().await, Some(expected));
        }
        drop(scrapes);
        task.await.unwrap();
    }
}
