//! The store contract over the merged view.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use kv_core::{
    CasOutcome, CasUpdate, MAX_KEY, Store, StoreError, UpdateFn, Value, WatchScope, WatchStream,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::phase::Phase;
use crate::view::{CasRefused, View};
use crate::watchdog::Watchdog;

const NAME: &str = "memberlist";

/// How long a call waits until this member has caught up with its cluster.
const READY_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two checks whether a stalled member runs again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A store of values that the members of a gossip cluster share.
///
/// Calls read and change this member's merged view, and wait a few seconds at most for it to be
/// complete when the member has just started. A write is acknowledged when it is in the view;
/// gossip carries it to the others. Two members that write a key at the same time both succeed: all
/// members end with the join of their values ([`kv_core::Mergeable`]).
pub struct MemberlistStore<V> {
    view: Arc<View<V>>,
    phase: watch::Receiver<Phase>,
    watchdog: Arc<Watchdog>,
    /// Least time between two deliveries to a watcher; zero for each change at once.
    notify_interval: Duration,
    metrics: Metrics,
}

impl<V> Clone for MemberlistStore<V> {
    fn clone(&self) -> Self {
        Self {
            view: Arc::clone(&self.view),
            phase: self.phase.clone(),
            watchdog: Arc::clone(&self.watchdog),
            notify_interval: self.notify_interval,
            metrics: self.metrics.clone(),
        }
    }
}

impl<V: Value> MemberlistStore<V> {
    pub(crate) fn new(
        view: Arc<View<V>>,
        phase: watch::Receiver<Phase>,
        watchdog: Arc<Watchdog>,
        notify_interval: Duration,
        metrics: Metrics,
    ) -> Self {
        Self {
            view,
            phase,
            watchdog,
            notify_interval,
            metrics,
        }
    }

    async fn ready(&self, operation: &'static str, key: &str) -> Result<(), StoreError> {
        let mut phase = self.phase.clone();
        let settled = async {
            // Without this check, a process that was stopped would answer with its old state when
            // it continues.
            while self.watchdog.is_stalled() && !matches!(*phase.borrow(), Phase::Gone) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            let settled = phase.wait_for(|phase| !matches!(phase, Phase::Joining(_)));
            settled.await.is_ok_and(|phase| *phase == Phase::Ready)
        };
        let waited_for = match tokio::time::timeout(READY_TIMEOUT, settled).await {
            Ok(true) => return Ok(()),
            Ok(false) => "this member has left the gossip cluster".to_owned(),
            Err(_) => match &*self.phase.borrow() {
                Phase::Joining(waiting) => waiting.clone(),
                Phase::Ready => {
                    "this member's background task does not run (starved of CPU?)".to_owned()
                }
                Phase::Gone => "this member has left the gossip cluster".to_owned(),
            },
        };
        Err(StoreError::Unavailable {
            store: NAME,
            operation,
            key: key.to_owned(),
            source: waited_for.into(),
        })
    }

    fn watch(&self, scope: WatchScope) -> WatchStream<V> {
        let (view, mut phase) = (Arc::clone(&self.view), self.phase.clone());
        let notify_interval = self.notify_interval;
        // A watch begins with the existing entries, so it must wait until this member has them.
        futures::stream::once(async move {
            let settled = phase.wait_for(|phase| !matches!(phase, Phase::Joining(_)));
            match settled.await {
                Ok(phase) if *phase == Phase::Ready => {}
                _ => return futures::stream::empty().boxed(),
            }
            paced(view.watch(scope), notify_interval)
        })
        .flatten()
        .boxed()
    }
}

/// Delivers what has happened, and then nothing for this time: meanwhile, changes of one key are joined
/// into the last.
fn paced<V: Value>(events: WatchStream<V>, interval: Duration) -> WatchStream<V> {
    if interval.is_zero() {
        return events;
    }
    let began = Instant::now();
    let paced =
        futures::stream::unfold((events, began), move |(mut events, mut next)| async move {
            let ready = events.next().now_or_never();
            let event = match ready {
                Some(event) => event,
                None => {
                    tokio::time::sleep_until(next).await;
                    events.next().await
                }
            };
            next = Instant::now() + interval;
            event.map(|event| (event, (events, next)))
        });
    paced.boxed()
}

#[async_trait]
impl<V: Value> Store<V> for MemberlistStore<V> {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.ready("List", prefix).await?;
        Ok(self.view.list(prefix))
    }

    async fn get(&self, key: &str) -> Result<Option<V>, StoreError> {
        self.ready("GET", key).await?;
        Ok(self.view.get(key))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.cas(key, &mut |_| CasUpdate::Delete).await.map(|_| ())
    }

    async fn cas(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        self.metrics.cas_attempts.inc();
        let result = self.cas_when_ready(key, update).await;
        match &result {
            Ok(_) => self.metrics.cas_successes.inc(),
            Err(_) => self.metrics.cas_failures.inc(),
        };
        result
    }

    fn watch_key(&self, key: &str) -> WatchStream<V> {
        self.watch(WatchScope::Key(key.to_owned()))
    }

    fn watch_prefix(&self, prefix: &str) -> WatchStream<V> {
        self.watch(WatchScope::Prefix(prefix.to_owned()))
    }
}

impl<V: Value> MemberlistStore<V> {
    async fn cas_when_ready(
        &self,
        key: &str,
        update: &mut UpdateFn<'_, V>,
    ) -> Result<CasOutcome<V>, StoreError> {
        let invalid = |reason| StoreError::InvalidKey {
            store: NAME,
            key: key.to_owned(),
            reason,
        };
        if key.is_empty() {
            return Err(invalid("it is empty"));
        }
        if key.len() > MAX_KEY {
            return Err(invalid("it is longer than 16 KiB"));
        }
        self.ready("CAS", key).await?;
        // No conflict is possible: the view is locked while `update` runs.
        self.view
            .cas(key, crate::clock::now_ms(), update)
            .map_err(|refused| {
                let (store, key) = (NAME, key.to_owned());
                match refused {
                    CasRefused::Aborted(source) => StoreError::Aborted { store, key, source },
                    CasRefused::Codec(error) => StoreError::InvalidValue {
                        store,
                        key,
                        source: error.into(),
                    },
                    CasRefused::TooLarge(size) => StoreError::InvalidValue {
                        store,
                        key,
                        source: format!(
                            "the entry has {size} bytes of text and, with its key, exceeds gossip's \
                             limit of {}",
                            crate::view::entry::MAX_TEXT
                        )
                        .into(),
                    },
                }
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed check panics")]

    use kv_core::WatchEvent;
    use kv_core::conformance::{CODEC, Counter};
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::watchdog::STALLED_AFTER;

    #[tokio::test(start_paused = true)]
    async fn changes_are_delivered_at_most_once_in_the_interval() {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<u32>();
        let events = futures::stream::unfold(receiver, |mut receiver| async move {
            let number = receiver.recv().await?;
            let counter = Counter {
                value: number.into(),
                writer: String::new(),
            };
            Some((WatchEvent::Put("key".to_owned(), counter), receiver))
        });
        let interval = Duration::from_secs(5);
        let mut events = paced(events.boxed(), interval);
        let began = Instant::now();
        // What has happened already comes at once.
        for number in [1, 2] {
            sender.send(number).unwrap();
        }
        for _ in 0..2 {
            assert!(events.next().await.is_some());
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        // What follows comes together, after the interval.
        let (next, ()) = tokio::join!(events.next(), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for number in [3, 4] {
                sender.send(number).unwrap();
            }
        });
        assert!(next.is_some());
        assert!(events.next().await.is_some());
        assert_eq!(began.elapsed(), interval);
        // After a quiet time, a change comes at once.
        tokio::time::sleep(interval * 2).await;
        sender.send(5).unwrap();
        let before = Instant::now();
        assert!(events.next().await.is_some());
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_while_the_background_task_stands_still_and_until_caught_up() {
        let metrics = Metrics::register(&mut Registry::default());
        let view = Arc::new(View::new(Arc::new(CODEC), metrics.clone()));
        let (phase, phases) = watch::channel(Phase::Ready);
        let watchdog = Arc::new(Watchdog::new());
        let store: MemberlistStore<Counter> =
            MemberlistStore::new(view, phases, Arc::clone(&watchdog), Duration::ZERO, metrics);
        assert_eq!(store.get("key").await.unwrap(), None);
        tokio::time::advance(STALLED_AFTER).await;
        let get = store.get("key");
        tokio::pin!(get);
        let moment = Duration::from_millis(500);
        assert!(tokio::time::timeout(moment, &mut get).await.is_err());
        phase.send_replace(Phase::Joining("catching up".to_owned()));
        watchdog.feed();
        assert!(tokio::time::timeout(moment, &mut get).await.is_err());
        phase.send_replace(Phase::Ready);
        assert_eq!(get.await.unwrap(), None);
        tokio::time::advance(STALLED_AFTER).await;
        let error = store.get("key").await.unwrap_err();
        assert!(error.to_string().contains("not run"), "{error}");
    }
}
