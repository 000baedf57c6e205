//! The load: an HA pair with large requests, as many as make the distributors use half a core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use e2e::attack::Usage;
use e2e::{REPLICAS, Sender, Version, now_ms};
use remote_write_testkit::generate::{Shape, request};
use remote_write_testkit::{compress, headers};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

pub(super) const TENANT: &str = "bulk";
/// Of one request.
pub(super) const SERIES: usize = 5_000;
/// CPU time that both distributors use together, per second.
const AIM: f64 = 0.5;
/// Requests at the same time.
const FLOWS: usize = 3;
/// Between two requests of a flow.
const PAUSES: [f64; 2] = [0.000_5, 2.0];
/// Slower answers are those of a machine that has nothing left: it gets less, not more.
const SLOW: Duration = Duration::from_millis(250);
/// Between two corrections of the pause.
const EVERY: Duration = Duration::from_secs(1);
/// Corrections for which the same bodies are sent: then their samples are of now again.
const FRESH: u32 = 20;

/// The requests of both replicas.
type Bodies = [Bytes; 2];

/// What the flows and the pace tell each other.
struct Pace {
    /// Nanoseconds between two requests of a flow.
    pause: AtomicU64,
    /// Of the answers since the last correction, the slowest, in nanoseconds.
    slowest: AtomicU64,
}

/// The load while it is sent.
pub(super) struct Bulk {
    stop: Arc<AtomicBool>,
    flows: JoinSet<Sent>,
    pace: JoinHandle<()>,
}

/// What was answered, in requests.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) accepted: u64,
    pub(super) deduplicated: u64,
    /// Any other answer, or none.
    pub(super) problems: Vec<String>,
}

impl Bulk {
    /// Begins to send to both.
    pub(super) fn begin(urls: &[String; 2], processes: [u32; 2]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pace = Arc::new(Pace {
            pause: AtomicU64::new(Duration::from_millis(50).as_nanos() as u64),
            slowest: AtomicU64::new(0),
        });
        let (fresh, bodies) = watch::channel(bodies());
        let mut flows = JoinSet::new();
        for number in 0..FLOWS {
            let senders = urls.each_ref().map(|url| Sender::new(url).tenant(TENANT));
            let (stop, pace) = (Arc::clone(&stop), Arc::clone(&pace));
            flows.spawn(flow(number, senders, bodies.clone(), stop, pace));
        }
        let pace = tokio::spawn(keep_pace(processes, fresh, pace));
        Self { stop, flows, pace }
    }

    /// Stops once the requests in flight are answered.
    pub(super) async fn end(mut self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Sent::default();
        while let Some(sent) = self.flows.join_next().await {
            let sent = sent.unwrap();
            all.accepted += sent.accepted;
            all.deduplicated += sent.deduplicated;
            all.problems.extend(sent.problems);
        }
        self.pace.abort();
        all
    }
}

fn bodies() -> Bodies {
    REPLICAS.map(|replica| {
        let shape = Shape {
            series: SERIES,
            pairs: &[("bulk", replica)],
            timestamp_ms: now_ms(),
            spread_ms: 15,
        };
        compress(&request(Version::V1, shape)).into()
    })
}

/// Requests of both replicas in turn, to both distributors in turn.
async fn flow(
    number: usize,
    senders: [Sender; 2],
    bodies: watch::Receiver<Bodies>,
    stop: Arc<AtomicBool>,
    pace: Arc<Pace>,
) -> Sent {
    let mut sent = Sent::default();
    let mut turn = number;
    while !stop.load(Ordering::Relaxed) {
        for replica in 0..REPLICAS.len() {
            let body = bodies.borrow()[replica].clone();
            let sender = &senders[turn % senders.len()];
            let began = Instant::now();
            match sender.request(&headers(Version::V1), body).await {
                Ok(answer) if answer.status == 200 => sent.accepted += 1,
                Ok(answer) if answer.status == 202 => sent.deduplicated += 1,
                Ok(answer) => sent.problems.push(format!("{answer:?}")),
                Err(unanswered) => sent.problems.push(unanswered.to_string()),
            }
            turn += 1;
            let took = began.elapsed().as_nanos() as u64;
            pace.slowest.fetch_max(took, Ordering::Relaxed);
            sleep(Duration::from_nanos(pace.pause.load(Ordering::Relaxed))).await;
        }
        // Else each replica would have a distributor of its own.
        turn += 1;
    }
    sent
}

/// Sets the pause, so that the processes use [`AIM`], and has the samples be of now.
async fn keep_pace(processes: [u32; 2], fresh: watch::Sender<Bodies>, pace: Arc<Pace>) {
    let used = || -> Duration {
        let usages = processes.iter().filter_map(|process| Usage::of(*process));
        usages.map(|usage| usage.cpu).sum()
    };
    let (mut before, mut since) = (used(), Instant::now());
    for correction in 1.. {
        sleep(EVERY).await;
        let (now, at) = (used(), Instant::now());
        let cores = now.saturating_sub(before).as_secs_f64() / (at - since).as_secs_f64();
        (before, since) = (now, at);
        let seconds = pace.pause.load(Ordering::Relaxed) as f64 / 1e9;
        let slowest = Duration::from_nanos(pace.slowest.swap(0, Ordering::Relaxed));
        let factor = match slowest > SLOW {
            true => 2.0,
            false => (cores / AIM).clamp(0.5, 2.0),
        };
        let corrected = seconds * factor;
        let corrected = Duration::from_secs_f64(corrected.clamp(PAUSES[0], PAUSES[1]));
        pace.pause
            .store(corrected.as_nanos() as u64, Ordering::Relaxed);
        if correction % FRESH == 0
            && let Ok(bodies) = tokio::task::spawn_blocking(bodies).await
        {
            // Fails only when nothing is sent any more.
            let _ = fresh.send(bodies);
        }
    }
}
