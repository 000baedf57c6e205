//! A sender with a queue of its own: each scrape is sent until it is answered, in order. The values
//! are of a counter, read some time after the timestamp, as a real scrape does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::{Sender, Series, Sink, Version, now_ms};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at};

pub(crate) const METRIC: &str = "counted_total";

/// How a replica scrapes and sends.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    pub(crate) cluster: String,
    pub(crate) replica: &'static str,
    pub(crate) series: usize,
    pub(crate) interval: Duration,
    /// Of a scrape: its values are as of this long after its timestamp. Below the guard.
    pub(crate) scrape_ms: i64,
    /// Added to each timestamp.
    pub(crate) ahead_ms: i64,
    pub(crate) first_wait: Duration,
    pub(crate) longest_wait: Duration,
}

impl Habits {
    pub(crate) fn new(cluster: &str, replica: &'static str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            replica,
            series: 5,
            interval: Duration::from_millis(330),
            scrape_ms: 0,
            ahead_ms: 0,
            first_wait: Duration::from_millis(50),
            longest_wait: Duration::from_millis(500),
        }
    }

    fn scrape(&self, time_ms: i64) -> Vec<Series> {
        let series = (0..self.series).map(|number| {
            let number = number.to_string();
            let labels = [
                ("__name__", METRIC),
                ("__replica__", self.replica),
                ("cluster", &self.cluster),
                ("number", &number),
            ];
            let value = (time_ms + self.scrape_ms) as f64;
            Series::floats(&labels, &[(time_ms + self.ahead_ms, value)])
        });
        series.collect()
    }
}

/// What became of the scrapes, by their timestamps.
#[derive(Debug, Default, Clone)]
pub(crate) struct Fates {
    pub(crate) scraped: Vec<i64>,
    pub(crate) stored: Vec<i64>,
    /// Answered with 202.
    pub(crate) deduplicated: Vec<i64>,
    /// Answers that asked for another attempt.
    pub(crate) refusals: usize,
}

/// A running one. Dropping it kills it: what it had queued is gone.
pub(crate) struct QueueingSender {
    fates: Arc<Mutex<Fates>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for QueueingSender {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl QueueingSender {
    /// Sends to these in turn.
    pub(crate) fn start(habits: Habits, senders: Vec<Sender>) -> Self {
        let fates = Arc::<Mutex<Fates>>::default();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(habits, senders, Arc::clone(&fates), stopped));
        Self { fates, stop, task }
    }

    pub(crate) fn fates(&self) -> Fates {
        self.fates.lock().unwrap().clone()
    }

    /// No more scrapes; returns when the queue is empty.
    pub(crate) async fn finish(mut self) -> Fates {
        self.stop.send_replace(true);
        (&mut self.task).await.unwrap();
        self.fates()
    }
}

async fn run(
    habits: Habits,
    senders: Vec<Sender>,
    fates: Arc<Mutex<Fates>>,
    stopped: watch::Receiver<bool>,
) {
    let mut queue = VecDeque::new();
    let mut scrapes = interval(habits.interval);
    scrapes.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut wait = habits.first_wait;
    let mut next = Instant::now();
    let mut targets = senders.iter().cycle();
    loop {
        let is_over = *stopped.borrow();
        if is_over && queue.is_empty() {
            return;
        }
        let until = match queue.is_empty() {
            true => Instant::now() + habits.interval,
            false => next,
        };
        if is_over {
            sleep_until(until).await;
        } else if timeout_at(until, scrapes.tick()).await.is_ok() {
            let time_ms = now_ms();
            fates
                .lock()
                .unwrap()
                .scraped
                .push(time_ms + habits.ahead_ms);
            queue.push_back(time_ms);
        }
        let Some(time_ms) = queue.front().copied().filter(|_| Instant::now() >= next) else {
            continue;
        };
        let target = targets.next().unwrap();
        let scrape = habits.scrape(time_ms);
        // A distributor that was killed does not answer: another one may.
        let status = match target.try_send(Version::V1, &scrape).await {
            Ok(answer) => answer.status,
            Err(_) => 503,
        };
        let mut fates = fates.lock().unwrap();
        match status {
            200 | 202 => {
                queue.pop_front();
                let of_fate = match status {
                    200 => &mut fates.stored,
                    _ => &mut fates.deduplicated,
                };
                of_fate.push(time_ms + habits.ahead_ms);
                (wait, next) = (habits.first_wait, Instant::now());
            }
            429 | 503 => {
                fates.refusals += 1;
                next = Instant::now() + wait;
                wait = (2 * wait).min(habits.longest_wait);
            }
            _ => panic!("{status} for {}", habits.replica),
        }
    }
}

/// Of a pair, all that a sender without a failover would have had stored: between two samples of one
/// replica none of its own is missing, and where the other one continues, at most one of it that is
/// later than the guard. Exact however late scrapes are on a busy machine.
pub(crate) fn assert_nothing_lost(times: &[i64], scraped: [&[i64]; 2], guard: Duration) {
    let guard_ms = guard.as_millis() as i64;
    for two in times.windows(2) {
        let missing = scraped.map(|of_replica| {
            let from_ms = match of_replica.contains(&two[0]) {
                true => two[0],
                false => two[0] + guard_ms,
            };
            let between = |time: &&i64| from_ms < **time && **time < two[1];
            of_replica.iter().filter(between).count()
        });
        let of = |of_replica: &&[i64], time| of_replica.contains(&time);
        for (of_replica, missing) in scraped.iter().zip(missing) {
            if of(of_replica, two[1]) {
                let most = usize::from(!of(of_replica, two[0]));
                assert!(missing <= most, "{missing} missing in {two:?}: {scraped:?}");
            }
        }
    }
}

/// The times that were stored of a cluster, the same for each series, in the order of arrival. Nothing
/// is doubled, and nothing goes back in time or value.
pub(crate) fn stored_times(sink: &Sink, cluster: &str, series: usize) -> Vec<i64> {
    let samples = sink.samples().into_iter().filter(|(labels, _)| {
        let is = |name: &str, value: &str| labels.get(name).is_some_and(|known| known == value);
        is("__name__", METRIC) && is("cluster", cluster)
    });
    let all: BTreeMap<_, _> = samples.collect();
    assert_eq!(all.len(), series, "series of {cluster}");
    let mut first: Option<Vec<i64>> = None;
    for (labels, samples) in all {
        let times: Vec<i64> = samples.iter().map(|sample| sample.timestamp).collect();
        for two in samples.windows(2) {
            assert!(two[0].timestamp < two[1].timestamp, "{labels:?}: {times:?}");
            assert!(two[0].value() <= two[1].value(), "{labels:?}: {two:?}");
        }
        match &first {
            Some(first) => assert_eq!(*first, times, "{labels:?}"),
            None => first = Some(times),
        }
    }
    first.unwrap()
}
