//! The side of the member that is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::asks::Asked;
use super::message::{Ask, BATCH, Word};
use super::parts::Snapshot;
use crate::engine::chitchat::gossip::Gossip;
use crate::engine::chitchat::wire::Wire;
use crate::metrics::Metrics;

/// How long a snapshot is given to those that begin. What has changed since then a joiner gets by
/// ordinary gossip.
const FRESH: Duration = Duration::from_secs(5);

/// Bytes per second that all joiners together are sent at most.
const RATE: f64 = 32.0 * 1024.0 * 1024.0;

/// Answers joiners that ask, one after the other. `may_serve` says whether this member holds what
/// its cluster holds now, and is not leaving.
pub(crate) async fn serve(
    gossip: Arc<Gossip>,
    wire: Arc<Wire>,
    metrics: Metrics,
    may_serve: impl Fn() -> bool + Send,
) {
    let mut held = Held::default();
    loop {
        let Some(Asked { ask, .. }) = wire.asks().first() else {
            // What no joiner wants any more is not kept.
            let idle = tokio::time::timeout(FRESH * 2, wire.asks().asked());
            if idle.await.is_err() {
                held = Held::default();
                wire.asks().asked().await;
            }
            continue;
        };
        let snapshot = if !may_serve() {
            None
        } else if let Some(snapshot) = held.find(ask) {
            Some(snapshot)
        } else {
            held.make(&gossip, &wire, &metrics).await
        };
        let Some(Asked { by, ask }) = wire.asks().take_first() else {
            continue;
        };
        match snapshot {
            Some(snapshot) => send(&wire, &metrics, by, ask, &snapshot).await,
            None => wire.say(by, Word::NotActive),
        }
    }
}

/// Sends the parts that are asked for, or the first ones of another snapshot.
async fn send(wire: &Wire, metrics: &Metrics, to: SocketAddr, ask: Ask, snapshot: &Snapshot) {
    // What is large goes to members only.
    if !wire.contacts().knows(to) {
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
        wire.send_over_stream(to, &part);
        metrics.snapshot_parts.inc();
        metrics.snapshot_bytes.inc_by(part.len() as u64);
        // Sealing takes its time: others come in between.
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / RATE)).await;
}

/// Snapshots that are kept: the newest one, and the one before it for those that it is being sent to.
#[derive(Default)]
struct Held {
    newest: Option<Made>,
    before: Option<Arc<Snapshot>>,
}

struct Made {
    at: Instant,
    snapshot: Arc<Snapshot>,
}

impl Held {
    /// The snapshot that is asked for, or one for a joiner that begins.
    fn find(&self, ask: Ask) -> Option<Arc<Snapshot>> {
        let newest = self.newest.as_ref();
        let kept = newest.map(|made| &made.snapshot).into_iter();
        let mut kept = kept.chain(&self.before);
        let asked = kept.find(|snapshot| snapshot.id() == ask.snapshot);
        let fresh = || newest.filter(|made| made.at.elapsed() < FRESH);
        asked
            .or_else(|| fresh().map(|made| &made.snapshot))
            .cloned()
    }

    async fn make(
        &mut self,
        gossip: &Gossip,
        wire: &Wire,
        metrics: &Metrics,
    ) -> Option<Arc<Snapshot>> {
        let began = Instant::now();
        for to in wire.asks().joiners() {
            wire.say(to, Word::Making);
        }
        let maps = gossip.maps().await;
        // Compressing everything takes as long as many rounds of gossip.
        let made = tokio::task::spawn_blocking(move || maps.into_snapshot()).await;
        let snapshot = Arc::new(made.ok()?);
        metrics.snapshots.inc();
        tracing::info!(
            entries = snapshot.entries(),
            parts = snapshot.parts(),
            bytes = snapshot.size(),
            took_ms = crate::clock::millis(began.elapsed()),
            "made a snapshot for joining members"
        );
        let made = Made {
            at: Instant::now(),
            snapshot: Arc::clone(&snapshot),
        };
        self.before = self.newest.replace(made).map(|made| made.snapshot);
        Some(snapshot)
    }
}
