//! The client that wants nothing but to push, on time, while others attack.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use remote_write_testkit::Delivery;

use crate::{Cluster, Labels, Ledger, Sender, Series, Sink, Version, now_ms, wait_for};

/// Time between two pushes.
const INTERVAL: Duration = Duration::from_millis(20);
/// A push without an answer for so long is given up and sent again.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// One replica of an HA pair that pushes one sample per 20 ms over a kept connection, again and
/// again until each is answered. It has a thread of its own, so that it measures the distributor and
/// not the attacker.
pub struct Healthy {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: Option<JoinHandle<HealthyReport>>,
}

/// What a [`Healthy`] client noticed.
#[derive(Debug, Clone, Default)]
pub struct HealthyReport {
    /// Time of the first sample, Unix ms; each is 1 ms later.
    first_ms: i64,
    /// How often each sample was sent.
    attempts: Vec<u32>,
    /// Time to each answer, of any status, sorted.
    latencies: Vec<Duration>,
    /// Attempts that were not stored, by status (0: no answer).
    pub refused: BTreeMap<u16, usize>,
    tenant: String,
}

impl Healthy {
    /// Begins to push.
    pub fn begin(push_url: &str, tenant: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let (url, name) = (push_url.to_owned(), tenant.to_owned());
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(push(&url, &name, &stopping, &counting))
        });
        Self {
            stop,
            answered,
            thread: Some(thread),
        }
    }

    /// How many samples were answered.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many more samples are answered.
    ///
    /// # Panics
    /// When they are not within `limit`.
    pub async fn pass(&self, samples: usize, limit: Duration) {
        let until = self.answered() + samples;
        wait_for("answers to the healthy client", limit, || async {
            match self.answered() {
                enough if enough >= until => Ok(()),
                answered => Err(format!("{answered} of {until} samples are answered")),
            }
        })
        .await;
    }

    /// Stops once the requests in flight are answered.
    pub async fn end(mut self) -> HealthyReport {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().unwrap();
        tokio::task::spawn_blocking(|| thread.join().unwrap())
            .await
            .unwrap()
    }
}

impl Drop for Healthy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn push(url: &str, tenant: &str, stop: &AtomicBool, count: &AtomicUsize) -> HealthyReport {
    let mut report = HealthyReport {
        first_ms: now_ms(),
        tenant: tenant.to_owned(),
        ..HealthyReport::default()
    };
    let sender = Sender::new(url).tenant(tenant);
    let mut due = Instant::now();
    // A sample without a receiver must not block the thread.
    while !stop.load(Ordering::Relaxed) {
        let timestamp = report.first_ms + i64::try_from(report.attempts.len()).unwrap();
        let series = [series(tenant, timestamp)];
        report.attempts.push(0);
        loop {
            *report.attempts.last_mut().unwrap() += 1;
            let began = Instant::now();
            let answer = timeout(PUSH_TIMEOUT, sender.try_send(Version::V1, &series)).await;
            report.latencies.push(began.elapsed());
            let status = match answer {
                Ok(Ok(answer)) => answer.status,
                _ => 0,
            };
            if status == 200 {
                count.fetch_add(1, Ordering::Relaxed);
                break;
            }
            *report.refused.entry(status).or_default() += 1;
            if stop.load(Ordering::Relaxed) {
                // Not answered, so nothing is promised of it.
                report.attempts.pop();
                break;
            }
            sleep(INTERVAL).await;
        }
        due = (due + INTERVAL).max(Instant::now());
        tokio::time::sleep_until(due).await;
    }
    report.latencies.sort_unstable();
    report
}

fn series(tenant: &str, timestamp: i64) -> Series {
    let labels = [
        ("__name__", "healthy"),
        ("__replica__", "r0"),
        ("cluster", tenant),
    ];
    Series::floats(&labels, &[(timestamp, 1.0)])
}

impl HealthyReport {
    /// The time within which so many of 100 attempts were answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (self.latencies.len() * percent / 100).min(last);
        self.latencies.get(index).copied().unwrap_or_default()
    }

    /// Samples that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.attempts.len()
    }

    /// Acknowledged samples that the sink does not hold, and those that it holds more often than they
    /// were sent.
    pub fn lost_and_doubled(&self, sink: &Sink) -> (usize, usize) {
        let client = Cluster::new(&self.tenant, &self.tenant);
        let mut ledger = Ledger::default();
        for (tick, attempts) in (0..).zip(&self.attempts) {
            let delivery = Delivery {
                accepted: true,
                unanswered: attempts.saturating_sub(1),
                took: Duration::ZERO,
            };
            ledger.sent(&client, 0, tick, delivery);
        }
        let stored = sink.samples();
        let mut labels: Labels = series(&self.tenant, 0).labels;
        labels.remove("__replica__");
        for sample in stored.get(&labels).into_iter().flatten() {
            if let Ok(tick) = u64::try_from(sample.timestamp - self.first_ms) {
                ledger.arrived(&client, 0, tick);
            }
        }
        let account = ledger.account(0..u64::MAX);
        (account.unstored.len(), account.doubled.len())
    }
}
