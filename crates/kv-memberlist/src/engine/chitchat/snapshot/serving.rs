//! The side of the member that is asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kv_core::Mergeable;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::BATCH;
use super::message::{Ask, Word};
use super::parts::Snapshot;
use crate::MemberState;
use crate::member::Inner;

/// Joiners that wait for an answer at most; further ones ask again later.
const MAX_WAITING: usize = 64;

/// How long a snapshot is given to those that begin. What has changed since then a joiner gets by
/// ordinary gossip.
const FRESH: Duration = Duration::from_secs(5);

/// Bytes per second that all joiners together are sent at most.
const RATE: f64 = 32.0 * 1024.0 * 1024.0;

/// Who asks.
#[derive(Default)]
pub(crate) struct Serving {
    waiting: Mutex<VecDeque<(SocketAddr, Ask)>>,
    wake: Notify,
}

impl Serving {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(SocketAddr, Ask)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody asks; what it asked before and was not answered, it does not want any more.
    pub(crate) fn ask(&self, from: SocketAddr, ask: Ask) {
        let mut waiting = self.lock();
        if let Some((_, before)) = waiting.iter_mut().find(|(address, _)| *address == from) {
            *before = ask;
        } else if waiting.len() < MAX_WAITING {
            waiting.push_back((from, ask));
        }
        self.wake.notify_one();
    }

    fn waiting(&self) -> Vec<SocketAddr> {
        self.lock().iter().map(|(address, _)| *address).collect()
    }

    fn first(&self) -> Option<(SocketAddr, Ask)> {
        self.lock().front().copied()
    }

    /// The first one, as it is by now.
    fn take_first(&self) -> Option<(SocketAddr, Ask)> {
        self.lock().pop_front()
    }
}

/// Answers whoever asks, one after the other.
pub(crate) async fn serve<V>(inner: Arc<Inner<V>>) -> String
where
    V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
{
    let mut held = Held::default();
    loop {
        let Some((_, ask)) = inner.gossip.wire().serving().first() else {
            // What nobody wants any more is not kept.
            let idle =
                tokio::time::timeout(FRESH * 2, inner.gossip.wire().serving().wake.notified());
            if idle.await.is_err() {
                held = Held::default();
                inner.gossip.wire().serving().wake.notified().await;
            }
            continue;
        };
        let gives = inner.says() == MemberState::Active && inner.is_ready();
        let snapshot = if gives {
            match held.find(ask) {
                Some(snapshot) => Some(snapshot),
                None => held.make(&inner).await,
            }
        } else {
            None
        };
        let Some((to, ask)) = inner.gossip.wire().serving().take_first() else {
            continue;
        };
        match snapshot {
            Some(snapshot) => send(&inner, to, ask, &snapshot).await,
            None => inner.gossip.wire().say(to, Word::NotActive),
        }
    }
}

/// Sends the parts that are asked for, or the first ones of another snapshot.
async fn send<V>(inner: &Inner<V>, to: SocketAddr, ask: Ask, snapshot: &Snapshot) {
    // What is large goes to members only.
    if !inner.gossip.wire().contacts().knows(to) {
        return;
    }
    let from = if ask.snapshot == snapshot.id() {
        ask.next
    } else {
        0
    };
    let mut bytes = 0;
    for number in from..from.saturating_add(BATCH) {
        let Some(part) = snapshot.part(number) else {
            break;
        };
        bytes += part.len();
        inner.gossip.wire().send_over_stream(to, &part);
        inner.metrics.snapshot_parts.inc();
        inner.metrics.snapshot_bytes.inc_by(part.len() as u64);
        // Sealing takes its time: others come in between.
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / RATE)).await;
}

/// Snapshots that are kept: the newest one, and the one before it for those that it is being sent to.
#[derive(Default)]
struct Held {
    newest: Option<(Instant, Arc<Snapshot>)>,
    before: Option<Arc<Snapshot>>,
}

impl Held {
    /// The snapshot that is asked for, or one for who begins.
    fn find(&self, ask: Ask) -> Option<Arc<Snapshot>> {
        let newest = self.newest.as_ref();
        let kept = newest.map(|(_, snapshot)| snapshot).into_iter();
        let mut kept = kept.chain(&self.before);
        let asked = kept.find(|snapshot| snapshot.id() == ask.snapshot);
        let fresh = || newest.filter(|(made_at, _)| made_at.elapsed() < FRESH);
        asked
            .or_else(|| fresh().map(|(_, snapshot)| snapshot))
            .cloned()
    }

    async fn make<V>(&mut self, inner: &Inner<V>) -> Option<Arc<Snapshot>>
    where
        V: Mergeable + Clone + PartialEq + Send + Sync + 'static,
    {
        let began = Instant::now();
        let wire = inner.gossip.wire();
        for to in wire.serving().waiting() {
            wire.say(to, Word::Making);
        }
        let maps = inner.gossip.maps().await;
        // Compressing everything takes as long as many rounds of gossip.
        let made = tokio::task::spawn_blocking(move || maps.into_snapshot()).await;
        let snapshot = Arc::new(made.ok()?);
        inner.metrics.snapshots.inc();
        tracing::info!(
            entries = snapshot.entries(),
            parts = snapshot.parts(),
            bytes = snapshot.size(),
            took_ms = crate::clock::millis(began.elapsed()),
            "made a snapshot for members that join"
        );
        let newest = (Instant::now(), Arc::clone(&snapshot));
        let before = self.newest.replace(newest);
        self.before = before.map(|(_, snapshot)| snapshot);
        Some(snapshot)
    }
}
