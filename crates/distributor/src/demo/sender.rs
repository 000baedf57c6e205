//! One replica of the HA pair: scrapes on its own schedule and pushes as Prometheus does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_tracker::Clock;
use remote_write::Version;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::payload;
use crate::downstream::WRITTEN_SAMPLES;

/// Waits between tries of one request, as Prometheus by default.
const MIN_BACKOFF: Duration = Duration::from_millis(30);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How long a distributor that did not answer gets no requests.
const AVOID: Duration = Duration::from_secs(30);
/// Scrapes that wait for an earlier one to be sent; a full queue delays the next scrape.
const QUEUE: usize = 64;

/// What a sender is, for its whole life.
#[derive(Debug, Clone)]
pub(super) struct SenderConfig {
    /// Value of the replica label.
    pub(super) name: &'static str,
    /// What it speaks.
    pub(super) version: Version,
    /// Time between two scrapes.
    pub(super) interval: Duration,
    /// When within each interval, counted from the Unix epoch, it scrapes.
    pub(super) offset: Duration,
    /// Where it pushes to, one request each in turn, as behind a load balancer.
    pub(super) urls: Vec<String>,
    /// `X-Scope-OrgID`.
    pub(super) tenant: &'static str,
}

/// What a sender has sent and what it was told, in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SenderCounts {
    /// In requests, each counted once however often it was tried.
    pub(super) sent: u64,
    /// Answered by 2xx other than 202: stored downstream.
    pub(super) accepted: u64,
    /// Answered by 202: the other replica is elected.
    pub(super) deduplicated: u64,
    /// Answered by 4xx: given up.
    pub(super) refused: u64,
    /// Tries after the first, in requests.
    pub(super) retries: u64,
}

impl SenderCounts {
    /// Samples whose request was cut off before its answer came.
    pub(super) fn unanswered(&self) -> u64 {
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
    /// Timestamp and samples of each scrape that was answered as stored.
    acknowledged: Mutex<Vec<(i64, u64)>>,
}

/// A replica that can be started, killed, and started again. Dropping it kills it.
pub(super) struct Sender {
    config: Arc<SenderConfig>,
    client: reqwest::Client,
    troubles: mpsc::Sender<String>,
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

impl Sender {
    /// A sender that does not run yet. What goes wrong is told to `troubles`, as far as there is
    /// room.
    pub(super) fn new(
        config: SenderConfig,
        client: reqwest::Client,
        troubles: mpsc::Sender<String>,
    ) -> Self {
        Self {
            config: Arc::new(config),
            client,
            troubles,
            stats: Arc::default(),
            job: None,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.config.name
    }

    pub(super) fn version(&self) -> Version {
        self.config.version
    }

    pub(super) fn is_running(&self) -> bool {
        self.job.is_some()
    }

    /// Begins with the next interval.
    pub(super) fn start(&mut self) {
        let (queue, scrapes) = mpsc::channel(QUEUE);
        let shipper = Shipper {
            config: Arc::clone(&self.config),
            client: self.client.clone(),
            troubles: self.troubles.clone(),
            stats: Arc::clone(&self.stats),
            targets: Targets::new(self.config.urls.len()),
        };
        let interval = self.config.interval;
        let scraper = scrape(interval, self.config.offset, Clock::System.now_ms(), queue);
        self.job = Some(Job {
            scraper: tokio::spawn(scraper),
            shipper: tokio::spawn(shipper.run(scrapes)),
        });
    }

    /// Ends it like a crash: a request in flight is cut off, scrapes in its queue are gone.
    pub(super) fn kill(&mut self) {
        self.job = None;
    }

    /// No more scrapes; waits until those in the queue are answered.
    pub(super) async fn finish(&mut self) {
        if let Some(job) = &mut self.job {
            job.scraper.abort();
            // An error is a panic: `has_failed` tells before, and the counts tell after.
            let _ = (&mut job.shipper).await;
        }
        self.job = None;
    }

    /// Whether a part of it ended by itself, which is a bug.
    pub(super) fn has_failed(&self) -> bool {
        self.job
            .as_ref()
            .is_some_and(|job| job.scraper.is_finished() || job.shipper.is_finished())
    }

    pub(super) fn counts(&self) -> SenderCounts {
        let stats = &self.stats;
        SenderCounts {
            sent: stats.sent.load(Ordering::Relaxed),
            accepted: stats.accepted.load(Ordering::Relaxed),
            deduplicated: stats.deduplicated.load(Ordering::Relaxed),
            refused: stats.refused.load(Ordering::Relaxed),
            retries: stats.retries.load(Ordering::Relaxed),
        }
    }

    /// Timestamp (Unix ms) and samples of each scrape that was acknowledged as stored.
    pub(super) fn acknowledged(&self) -> Vec<(i64, u64)> {
        let acknowledged = &self.stats.acknowledged;
        acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Queues the timestamp of one scrape per interval. As in Prometheus, that is the time a scrape was
/// due, also if it came late.
async fn scrape(interval: Duration, offset: Duration, now_ms: i64, queue: mpsc::Sender<i64>) {
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

/// Whose turn it is, and who did not answer.
struct Targets {
    next: usize,
    avoided_until: Vec<Option<Instant>>,
}

impl Targets {
    fn new(count: usize) -> Self {
        Self {
            next: 0,
            avoided_until: vec![None; count],
        }
    }

    /// The next one that answers, as far as is known.
    fn take(&mut self) -> usize {
        let count = self.avoided_until.len().max(1);
        let now = Instant::now();
        let answers = |target: usize| match self.avoided_until.get(target) {
            Some(Some(until)) => *until <= now,
            _ => true,
        };
        let turn = (self.next..self.next + count).map(|target| target % count);
        let target = turn.clone().find(|target| answers(*target));
        let target = target.unwrap_or(self.next % count);
        self.next = (target + 1) % count;
        target
    }

    fn avoid(&mut self, target: usize) {
        if let Some(until) = self.avoided_until.get_mut(target) {
            *until = Some(Instant::now() + AVOID);
        }
    }
}

struct Shipper {
    targets: Targets,
    config: Arc<SenderConfig>,
    client: reqwest::Client,
    troubles: mpsc::Sender<String>,
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
            self.ship(timestamp_ms).await;
        }
    }

    /// Sends one scrape, again and again until there is an answer that settles it.
    async fn ship(&mut self, timestamp_ms: i64) {
        let body = payload::encode(self.config.version, self.config.name, timestamp_ms);
        let body = bytes::Bytes::from(body);
        add(&self.stats.sent, payload::SERIES as u64);
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
                self.tell(&format!("{why}; trying another distributor"));
            }
            add(&self.stats.retries, 1);
            tokio::time::sleep(after.unwrap_or(backoff).min(MAX_BACKOFF)).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn push(
        &self,
        target: usize,
        body: bytes::Bytes,
        attempt: u32,
        timestamp_ms: i64,
    ) -> Next {
        let Some(url) = self.config.urls.get(target) else {
            let why = "there is no distributor".to_owned();
            return Next::Retry { why, after: None };
        };
        let version = self.config.version;
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, version.content_type())
            .header(CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", version.header())
            .header("X-Scope-OrgID", self.config.tenant)
            .body(body);
        if attempt > 0 {
            request = request.header("Retry-Attempt", attempt);
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let why = if error.is_connect() {
                    "a distributor refused the connection".to_owned()
                } else {
                    format!("a distributor did not answer ({})", error.without_url())
                };
                return Next::Retry { why, after: None };
            }
        };
        let status = response.status();
        let number = |name| response.headers().get(name)?.to_str().ok()?.parse().ok();
        let after = number(RETRY_AFTER).map(Duration::from_secs);
        let all = payload::SERIES as u64;
        let written = number(WRITTEN_SAMPLES).unwrap_or(all);
        // To the end, so that the connection is used again.
        let message = match response.text().await {
            Ok(message) => message,
            Err(error) => {
                let why = error.to_string();
                return Next::Retry { why, after };
            }
        };
        if status == StatusCode::ACCEPTED {
            add(&self.stats.deduplicated, all);
        } else if status.is_success() {
            add(&self.stats.accepted, written);
            let acknowledged = &self.stats.acknowledged;
            acknowledged
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((timestamp_ms, written));
        } else if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let why = format!("{status}: {message}");
            return Next::Retry { why, after };
        } else {
            add(&self.stats.refused, all);
            self.tell(&format!("{status}: {message}; given up"));
        }
        Next::GoOn
    }

    fn tell(&self, what: &str) {
        // Without room there are enough troubles to look at.
        let _ = self
            .troubles
            .try_send(format!("{}: {what}", self.config.name));
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
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

    #[tokio::test(start_paused = true)]
    async fn distributors_take_turns_and_silent_ones_are_left_out() {
        let mut targets = Targets::new(3);
        let turns = |targets: &mut Targets| [(); 4].map(|()| targets.take());
        assert_eq!(turns(&mut targets), [0, 1, 2, 0]);
        targets.avoid(2);
        assert_eq!(turns(&mut targets), [1, 0, 1, 0]);
        targets.avoid(0);
        targets.avoid(1);
        assert_eq!(turns(&mut targets), [1, 2, 0, 1]);
        tokio::time::advance(AVOID).await;
        assert_eq!(turns(&mut targets), [2, 0, 1, 2]);
    }

    #[test]
    fn what_was_cut_off_is_unanswered() {
        let counts = SenderCounts {
            sent: 1000,
            accepted: 400,
            deduplicated: 300,
            refused: 100,
            retries: 9,
        };
        assert_eq!(counts.unanswered(), 200);
    }
}
