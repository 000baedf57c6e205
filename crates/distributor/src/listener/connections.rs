//! The connections of a listener: their limit, and which one is closed for a new one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kv_core::LogThrottle;
use prometheus_client::metrics::gauge::Gauge;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// All connections of one listener.
pub(super) struct Connections {
    protocol: &'static str,
    limit: usize,
    start: Instant,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Activity>>>,
    gauge: Gauge,
    full: LogThrottle,
    failures: Failures,
}

/// Whether accepting fails. Milliseconds after the listener's start.
#[derive(Default)]
struct Failures {
    /// The first one since accepting last worked for [`WORKS_AGAIN`]; 0: none.
    first_ms: AtomicU64,
    last_ms: AtomicU64,
}

/// Accepting works again if it has not failed for this long.
const WORKS_AGAIN: Duration = Duration::from_secs(10);

/// What one connection does.
pub(super) struct Activity {
    /// Requests since it was opened.
    requests: AtomicU64,
    /// Requests that are being answered.
    busy: AtomicUsize,
    /// Milliseconds after the listener's start at which it was opened, or the last answer ended.
    idle_since_ms: AtomicU64,
    start: Instant,
    /// Cancelled when it must be closed for another one.
    gives_way: CancellationToken,
}

/// The place of a connection, free again when dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    id: u64,
    activity: Arc<Activity>,
}

/// A request that is being answered, until this is dropped.
pub(crate) struct Answering(Arc<Activity>);

impl Connections {
    /// Of a listener that may have `limit` of them at the same time.
    pub(super) fn new(protocol: &'static str, limit: usize, gauge: Gauge) -> Self {
        Self {
            protocol,
            limit,
            start: Instant::now(),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            gauge,
            full: LogThrottle::default(),
            failures: Failures::default(),
        }
    }

    /// A connection could not be accepted.
    pub(super) fn accepting_failed(&self) {
        self.failures.note(elapsed_ms(self.start));
    }

    /// A place for a new connection. If there is none left, an idle connection is closed: first one
    /// that never asked for anything, then the one that has been idle for longest. `None` when all
    /// are busy.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let activity = Arc::new(Activity {
            requests: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(elapsed_ms(self.start)),
            start: self.start,
            gives_way: CancellationToken::new(),
        });
        if let Some(failed_ms) = self.failures.ended(elapsed_ms(self.start)) {
            let failed_for = Duration::from_millis(failed_ms);
            tracing::info!(
                protocol = self.protocol,
                ?failed_for,
                "connections are accepted again"
            );
        }
        let mut open = self.lock();
        if open.len() >= self.limit {
            let gave_way = remove_idlest(&mut open);
            if let Some(suppressed) = self.full.admit() {
                tracing::warn!(
                    protocol = self.protocol,
                    limit = self.limit,
                    suppressed,
                    "{}",
                    if gave_way.is_some() {
                        "the limit of connections is reached: an idle one was closed for a new one"
                    } else {
                        "the limit of connections is reached, and all are busy: a new one was closed"
                    }
                );
            }
            gave_way?.gives_way.cancel();
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(id, Arc::clone(&activity));
        self.gauge
            .set(i64::try_from(open.len()).unwrap_or(i64::MAX));
        Some(Place {
            connections: Arc::clone(self),
            id,
            activity,
        })
    }

    /// Closes the least needed connection, to free its descriptor. Busy ones stay.
    pub(super) fn make_room(&self) {
        if let Some(idlest) = remove_idlest(&mut self.lock()) {
            idlest.gives_way.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn note(&self, now_ms: u64) {
        let now_ms = now_ms.max(1);
        self.last_ms.store(now_ms, Ordering::Relaxed);
        // Fails if this is not the first one, which is then kept.
        let _ = self
            .first_ms
            .compare_exchange(0, now_ms, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// If they ended a while ago, and this was not said before: the milliseconds between the first
    /// and the last one.
    fn ended(&self, now_ms: u64) -> Option<u64> {
        let first_ms = self.first_ms.load(Ordering::Relaxed);
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        if first_ms == 0 || now_ms.saturating_sub(last_ms) < WORKS_AGAIN.as_millis() as u64 {
            return None;
        }
        self.first_ms
            .compare_exchange(first_ms, 0, Ordering::Relaxed, Ordering::Relaxed)
            .ok()?;
        Some(last_ms.saturating_sub(first_ms))
    }
}

/// One that never sent a request, or else the one that has been idle for the longest time.
fn remove_idlest(open: &mut HashMap<u64, Arc<Activity>>) -> Option<Arc<Activity>> {
    let idlest = open
        .iter()
        .filter(|(_, other)| !other.is_busy())
        .min_by_key(|(_, other)| {
            (
                other.requests() > 0,
                other.idle_since_ms.load(Ordering::Relaxed),
            )
        })
        .map(|(id, _)| *id)?;
    open.remove(&idlest)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.remove(&self.id);
        self.connections
            .gauge
            .set(i64::try_from(open.len()).unwrap_or(i64::MAX));
    }
}

impl Place {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Activity {
    /// Requests since the connection was opened.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Cancelled when the connection must be closed for another one.
    pub(super) fn gives_way(&self) -> &CancellationToken {
        &self.gives_way
    }

    /// A request has arrived.
    pub(super) fn answer(self: &Arc<Self>) -> Answering {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0
            .idle_since_ms
            .store(elapsed_ms(self.0.start), Ordering::Relaxed);
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn elapsed_ms(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_works_again_once_it_has_not_failed_for_a_while() {
        let failures = Failures::default();
        assert_eq!(failures.ended(20_000), None);
        failures.note(20_000);
        failures.note(25_000);
        assert_eq!(failures.ended(34_999), None);
        assert_eq!(failures.ended(35_000), Some(5_000));
        assert_eq!(failures.ended(35_001), None, "said once");
        failures.note(40_000);
        assert_eq!(failures.ended(50_000), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_idlest_connection_gives_way() {
        let connections = Arc::new(Connections::new("http", 3, Gauge::default()));
        let enter = || connections.enter();
        let later = || tokio::time::advance(Duration::from_secs(1));
        let asked = enter().unwrap();
        drop(asked.activity().answer());
        later().await;
        let silent = enter().unwrap();
        later().await;
        let busy = enter().unwrap();
        let answering = busy.activity().answer();
        let gone = |place: &Place| place.activity().gives_way().is_cancelled();

        // One that never asked goes before one that did, though it is younger.
        let fourth = enter().unwrap();
        assert!(gone(&silent) && !gone(&asked) && !gone(&busy));
        let fourth_answer = fourth.activity().answer();
        let fifth = enter().unwrap();
        assert!(gone(&asked) && !gone(&busy));
        let fifth_answer = fifth.activity().answer();
        // Connections with a request in progress are not closed.
        assert!(enter().is_none());
        assert_eq!(connections.gauge.get(), 3);
        drop(answering);
        assert!(enter().is_some());
        assert!(gone(&busy));
        drop((fourth_answer, fifth_answer, silent, asked));
        drop((busy, fourth, fifth));
        assert_eq!(connections.gauge.get(), 0);
    }
}
