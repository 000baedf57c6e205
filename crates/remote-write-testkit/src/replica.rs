//! [`Replica`]: one of an HA pair. It scrapes on its own schedule and pushes as Prometheus does, again
//! and again until each request is answered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use remote_write::Version;
use scrape_client::Answer;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::now_ms;
use crate::encode::compress;
use crate::generate::{Shape, request};
use crate::schedule::scrape;
use crate::sender::{SAMPLES_WRITTEN, Sender, headers};
use crate::targets::Targets;

/// Waits between tries of one request, as Prometheus by default.
const MIN_BACKOFF: Duration = Duration::from_millis(30);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// The same problem is told once in this time.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Scrapes that wait for an earlier one to be sent; a full queue delays the next scrape.
const QUEUE: usize = 64;

/// What a replica is, for its whole life.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    /// Value of the replica label.
    pub name: &'static str,
    /// Value of the cluster label.
    pub cluster: &'static str,
    /// Series of one scrape, each with one sample.
    pub series: usize,
    /// What it speaks.
    pub version: Version,
    /// Time between two scrapes.
    pub interval: Duration,
    /// When within each interval, counted from the Unix epoch, it scrapes.
    pub offset: Duration,
    /// Where it pushes to, one request each in turn, as behind a load balancer.
    pub urls: Vec<String>,
    /// What those are, for messages: "distributor".
    pub receiver: &'static str,
    /// `X-Scope-OrgID`.
    pub tenant: &'static str,
}

/// What a replica has sent and what it was told, in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaCounts {
    /// In requests, each counted once however often it was tried.
    pub sent: u64,
    /// Answered by 2xx other than 202: stored downstream.
    pub accepted: u64,
    /// Answered by 202: the other replica is elected.
    pub deduplicated: u64,
    /// Answered by 4xx: given up.
    pub refused: u64,
    /// Tries after the first, in requests.
    pub retries: u64,
}

impl ReplicaCounts {
    /// Samples whose request was cut off before its answer came.
    pub fn unanswered(&self) -> u64 {
        let answered = self.accepted + self.deduplicated + self.refused;
        self.sent.saturating_sub(answered)
    }
}

#[derive(Default)]
struct Stats {
    sent: AtomicU64,
    accepted: AtomicU64,
    deduplicated: AtomicU64,
    refused: AtomicU64,
    retries: AtomicU64,
    /// A request is neither answered nor given up.
    is_open: AtomicBool,
    /// Timestamp and samples of each scrape that was answered as stored.
    acknowledged: Mutex<Vec<(i64, u64)>>,
}

/// A replica that can be started, killed, and started again. Dropping it kills it.
pub struct Replica {
    senders: Vec<Sender>,
    config: Arc<ReplicaConfig>,
    problems: mpsc::Sender<String>,
    stats: Arc<Stats>,
    job: Option<Job>,
}

struct Job {
    scraper: JoinHandle<()>,
    shipper: JoinHandle<()>,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.scraper.abort();
        self.shipper.abort();
    }
}

impl Replica {
    /// A replica that does not run yet. What goes wrong is told to `problems`, as far as there is
    /// room.
    pub fn new(
        config: ReplicaConfig,
        client: &reqwest::Client,
        problems: mpsc::Sender<String>,
    ) -> Self {
        let sender = |url: &String| Sender::with_client(client.clone(), url).tenant(config.tenant);
        Self {
            senders: config.urls.iter().map(sender).collect(),
            config: Arc::new(config),
            problems,
            stats: Arc::default(),
            job: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.config.name
    }

    /// What it speaks.
    pub fn version(&self) -> Version {
        self.config.version
    }

    /// It was started, and neither killed nor finished.
    pub fn is_running(&self) -> bool {
        self.job.is_some()
    }

    /// Begins with the next interval.
    pub fn start(&mut self) {
        let (queue, scrapes) = mpsc::channel(QUEUE);
        let shipper = Shipper {
            config: Arc::clone(&self.config),
            senders: self.senders.clone(),
            problems: self.problems.clone(),
            stats: Arc::clone(&self.stats),
            targets: Targets::new(self.senders.len()),
            told: None,
        };
        let interval = self.config.interval;
        let scraper = scrape(interval, self.config.offset, now_ms(), queue);
        self.job = Some(Job {
            scraper: tokio::spawn(scraper),
            shipper: tokio::spawn(shipper.run(scrapes)),
        });
    }

    /// Ends it like a crash: a request in flight is cut off, scrapes in its queue are gone.
    pub fn kill(&mut self) {
        self.job = None;
        self.stats.is_open.store(false, Ordering::Relaxed);
    }

    /// No more scrapes; waits until those in the queue are answered.
    pub async fn finish(&mut self) {
        if let Some(job) = &mut self.job {
            job.scraper.abort();
            // An error is a panic: `has_failed` tells before, and the counts tell after.
            let _ = (&mut job.shipper).await;
        }
        self.job = None;
    }

    /// Whether a request of it has no answer yet, or waits to be sent again.
    pub fn is_request_open(&self) -> bool {
        self.stats.is_open.load(Ordering::Relaxed)
    }

    /// Whether a part of it ended by itself, which is a bug.
    pub fn has_failed(&self) -> bool {
        self.job
            .as_ref()
            .is_some_and(|job| job.scraper.is_finished() || job.shipper.is_finished())
    }

    /// Totals of all times that it ran.
    pub fn counts(&self) -> ReplicaCounts {
        let stats = &self.stats;
        ReplicaCounts {
            sent: stats.sent.load(Ordering::Relaxed),
            accepted: stats.accepted.load(Ordering::Relaxed),
            deduplicated: stats.deduplicated.load(Ordering::Relaxed),
            refused: stats.refused.load(Ordering::Relaxed),
            retries: stats.retries.load(Ordering::Relaxed),
        }
    }

    /// Timestamp (Unix ms) and samples of each scrape that was acknowledged as stored.
    pub fn acknowledged(&self) -> Vec<(i64, u64)> {
        let acknowledged = &self.stats.acknowledged;
        acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Sends what was scraped.
struct Shipper {
    config: Arc<ReplicaConfig>,
    senders: Vec<Sender>,
    targets: Targets,
    /// What was told last, and when.
    told: Option<(String, Instant)>,
    problems: mpsc::Sender<String>,
    stats: Arc<Stats>,
}

/// What an answer tells the sender to do.
enum Next {
    GoOn,
    Retry {
        why: String,
        after: Option<Duration>,
    },
}

impl Shipper {
    async fn run(mut self, mut scrapes: mpsc::Receiver<i64>) {
        while let Some(timestamp_ms) = scrapes.recv().await {
            self.stats.is_open.store(true, Ordering::Relaxed);
            self.ship(timestamp_ms).await;
            self.stats.is_open.store(false, Ordering::Relaxed);
        }
    }

    /// The samples of one scrape, all of the same time.
    fn body(&self, timestamp_ms: i64) -> Bytes {
        let shape = Shape {
            series: self.config.series,
            pairs: &[(self.config.cluster, self.config.name)],
            timestamp_ms,
            spread_ms: 1,
        };
        compress(&request(self.config.version, shape)).into()
    }

    fn all_samples(&self) -> u64 {
        self.config.series as u64
    }

    /// Sends one scrape, again and again until there is an answer that settles it.
    async fn ship(&mut self, timestamp_ms: i64) {
        let body = self.body(timestamp_ms);
        add(&self.stats.sent, self.all_samples());
        let mut backoff = MIN_BACKOFF;
        for attempt in 0_u32.. {
            let target = self.targets.take();
            let pushed = self.push(target, body.clone(), attempt, timestamp_ms).await;
            let (why, after) = match pushed {
                Next::GoOn => return,
                Next::Retry { why, after } => (why, after),
            };
            self.targets.avoid(target);
            if attempt == 0 {
                self.tell(&format!("{why}; trying another {}", self.config.receiver));
            }
            add(&self.stats.retries, 1);
            tokio::time::sleep(after.unwrap_or(backoff).min(MAX_BACKOFF)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn push(&mut self, target: usize, body: Bytes, attempt: u32, timestamp_ms: i64) -> Next {
        let Some(sender) = self.senders.get(target).cloned() else {
            let why = format!("there is no {}", self.config.receiver);
            return Next::Retry { why, after: None };
        };
        let mut headers = headers(self.config.version).to_vec();
        let number = attempt.to_string();
        if attempt > 0 {
            headers.push(("Retry-Attempt", &number));
        }
        let answer = match sender.request(&headers, body).await {
            Ok(answer) => answer,
            Err(unanswered) => {
                let receiver = self.config.receiver;
                let why = if unanswered.may_have_arrived {
                    format!("a {receiver} did not answer ({})", unanswered.reason)
                } else {
                    format!("a {receiver} refused the connection")
                };
                return Next::Retry { why, after: None };
            }
        };
        let all = self.all_samples();
        match answer.status {
            202 => add(&self.stats.deduplicated, all),
            200..300 => {
                let written = answer.header(SAMPLES_WRITTEN.as_str());
                let written = written.and_then(|written| written.parse().ok());
                self.stored(timestamp_ms, written.unwrap_or(all));
            }
            429 | 500.. => {
                let after = answer.header("retry-after");
                let after = after.and_then(|after| after.parse().ok());
                return Next::Retry {
                    why: problem(&answer),
                    after: after.map(Duration::from_secs),
                };
            }
            _ => {
                add(&self.stats.refused, all);
                self.tell(&format!("{}; gave up", problem(&answer)));
            }
        }
        Next::GoOn
    }

    fn stored(&self, timestamp_ms: i64, samples: u64) {
        add(&self.stats.accepted, samples);
        let acknowledged = &self.stats.acknowledged;
        acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((timestamp_ms, samples));
    }

    fn tell(&mut self, what: &str) {
        let is_known =
            |(told, at): &(String, Instant)| told == what && at.elapsed() < TELL_AGAIN_AFTER;
        if self.told.as_ref().is_some_and(is_known) {
            return;
        }
        self.told = Some((what.to_owned(), Instant::now()));
        // If there is no room, enough problems have been reported.
        let _ = self
            .problems
            .try_send(format!("{}: {what}", self.config.name));
    }
}

/// An answer that is not a success: `503 Service Unavailable: starting`.
fn problem(answer: &Answer) -> String {
    format!("{}: {}", answer.status_text(), answer.body)
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Checker;
    use crate::sink::{Fault, Sink};

    const SERIES: usize = 200;

    /// What is seen of a distributor that deduplicates nothing.
    #[tokio::test]
    async fn senders_without_a_distributor_are_seen_to_double() {
        let interval = Duration::from_millis(20);
        let sink = Sink::start().await;
        let mut checker = Checker::new(20, "__replica__");
        let client = scrape_client::plain_client(Duration::from_secs(10)).unwrap();
        let (problems, mut told) = mpsc::channel(8);
        let mut replicas =
            [("r1", Version::V1, 2), ("r2", Version::V2, 12)].map(|(name, version, offset_ms)| {
                let config = ReplicaConfig {
                    name,
                    cluster: "c",
                    series: SERIES,
                    version,
                    interval,
                    offset: Duration::from_millis(offset_ms),
                    urls: vec![sink.url()],
                    receiver: "sink",
                    tenant: "t",
                };
                let mut replica = Replica::new(config, &client, problems.clone());
                replica.start();
                replica
            });
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while checker.counts().doubled() < 3 * SERIES as u64 {
            ticks.tick().await;
            sink.drain_into(&mut checker);
        }
        for replica in &mut replicas {
            replica.finish().await;
            let counts = replica.counts();
            assert_eq!((counts.accepted, counts.deduplicated), (counts.sent, 0));
        }
        sink.drain_into(&mut checker);
        let counts = checker.counts();
        assert_eq!(counts.labelled, counts.stored);
        assert_eq!(counts.repeated, 0);
        let acknowledged = replicas.iter().flat_map(Replica::acknowledged);
        assert_eq!(checker.lost(acknowledged), 0);
        assert!(told.try_recv().is_err(), "no problem");
    }

    #[tokio::test]
    async fn problems_name_the_status_in_words() {
        let sink = Sink::start().await;
        sink.fail_next(1, &Fault::status(503));
        sink.fail(Fault::status(400));
        let client = scrape_client::plain_client(Duration::from_secs(10)).unwrap();
        let (problems, mut told) = mpsc::channel(8);
        let config = ReplicaConfig {
            name: "r1",
            cluster: "c",
            series: 1,
            version: Version::V1,
            interval: Duration::from_millis(10),
            offset: Duration::ZERO,
            urls: vec![sink.url()],
            receiver: "sink",
            tenant: "t",
        };
        let mut replica = Replica::new(config, &client, problems);
        replica.start();
        assert_eq!(
            told.recv().await.unwrap(),
            "r1: 503 Service Unavailable: a fault of the test; trying another sink"
        );
        assert_eq!(
            told.recv().await.unwrap(),
            "r1: 400 Bad Request: a fault of the test; gave up"
        );
        replica.kill();
    }

    #[test]
    fn what_was_cut_off_is_unanswered() {
        let counts = ReplicaCounts {
            sent: 1000,
            accepted: 400,
            deduplicated: 300,
            refused: 100,
            retries: 9,
        };
        assert_eq!(counts.unanswered(), 200);
    }
}
