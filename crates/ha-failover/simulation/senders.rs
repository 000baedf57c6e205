//! Replicas: they scrape, queue by shard, and send one request of a shard at a time.

use std::collections::VecDeque;
use std::rc::Rc;

use super::rng::Rng;
use super::scenario::Scenario;

/// A sample, with the time at which it was really taken as its value: a counter that never stands
/// still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub series: usize,
    pub at_ms: i64,
    pub value: i64,
}

/// A request; what is held is this.
#[derive(Debug)]
pub(crate) struct Body {
    pub id: u64,
    pub replica: usize,
    pub shard: usize,
    pub samples: Vec<Sample>,
}

impl Body {
    pub(crate) fn oldest_ms(&self) -> i64 {
        self.samples.iter().map(|one| one.at_ms).min().unwrap_or(0)
    }

    pub(crate) fn newest_ms(&self) -> i64 {
        self.samples.iter().map(|one| one.at_ms).max().unwrap_or(0)
    }
}

pub(crate) struct Shard {
    queue: VecDeque<(i64, Sample)>,
    pub sending: Option<Rc<Body>>,
    pub connection: Option<usize>,
    /// Number of the last attempt.
    pub attempt: u32,
    /// Whether its answer is still to come.
    pub is_waiting: bool,
    backoff_ms: i64,
}

pub(crate) struct Replica {
    pub name: String,
    /// What is scheduled for an earlier life is ignored.
    pub life: u32,
    pub is_alive: bool,
    pub died_ms: i64,
    pub clock_ms: i64,
    pub offsets: Vec<i64>,
    pub shards: Vec<Shard>,
    /// Everything that was scraped and is not lost with a restart, by series.
    pub scraped: Vec<Vec<Sample>>,
    /// How long a scrape takes, ms.
    pub scrape_ms: i64,
}

impl Replica {
    pub(crate) fn new(index: usize, scenario: &Scenario, rng: &mut Rng) -> Self {
        let series = scenario.targets * scenario.series_per_target;
        let mut replica = Self {
            name: format!("r{index}"),
            life: 0,
            is_alive: true,
            died_ms: 0,
            clock_ms: rng.range(-300, 301),
            offsets: Vec::new(),
            shards: Vec::new(),
            scraped: vec![Vec::new(); series],
            scrape_ms: rng.range(1, 300),
        };
        if scenario.future_replica && index == 0 {
            replica.clock_ms = rng.pick(&[60_000, 3_600_000, 31_536_000_000]);
        }
        replica.start(scenario, rng);
        replica
    }

    /// Begins a life: with new offsets, and nothing queued.
    pub(crate) fn start(&mut self, scenario: &Scenario, rng: &mut Rng) {
        self.is_alive = true;
        let offset = |_| rng.range(0, scenario.interval_ms);
        self.offsets = (0..scenario.targets).map(offset).collect();
        let shard = |_| Shard {
            queue: VecDeque::new(),
            sending: None,
            connection: None,
            attempt: 0,
            is_waiting: false,
            backoff_ms: 0,
        };
        self.shards = (0..scenario.shards).map(shard).collect();
    }

    /// What it had not sent is lost.
    pub(crate) fn kill(&mut self, now_ms: i64) {
        self.is_alive = false;
        self.died_ms = now_ms;
        self.life += 1;
        for shard in &mut self.shards {
            let unsent = shard.sending.take().into_iter();
            let unsent = unsent.flat_map(|body| body.samples.clone());
            for sample in unsent.chain(shard.queue.drain(..).map(|(_, sample)| sample)) {
                self.scraped[sample.series].retain(|known| known.at_ms != sample.at_ms);
            }
        }
    }

    pub(crate) fn scrape(&mut self, target: usize, scenario: &Scenario, now_ms: i64) {
        for one in 0..scenario.series_per_target {
            let series = target * scenario.series_per_target + one;
            let sample = Sample {
                series,
                at_ms: now_ms + self.clock_ms,
                value: now_ms + self.scrape_ms,
            };
            self.scraped[series].push(sample);
            let shard = series % self.shards.len();
            self.shards[shard].queue.push_back((now_ms, sample));
        }
    }
}

impl Shard {
    /// The next request, or when to ask again.
    pub(crate) fn next(
        &mut self,
        at: (usize, usize),
        id: u64,
        scenario: &Scenario,
        now_ms: i64,
    ) -> Result<Rc<Body>, Option<i64>> {
        if self.sending.is_some() {
            return Err(None);
        }
        let Some((queued_ms, _)) = self.queue.front() else {
            return Err(None);
        };
        let due_ms = queued_ms + scenario.batch_ms;
        if self.queue.len() < scenario.batch && now_ms < due_ms {
            return Err(Some(due_ms));
        }
        let count = self.queue.len().min(scenario.batch);
        let samples = self
            .queue
            .drain(..count)
            .map(|(_, sample)| sample)
            .collect();
        let body = Rc::new(Body {
            id,
            replica: at.0,
            shard: at.1,
            samples,
        });
        self.sending = Some(Rc::clone(&body));
        self.backoff_ms = 0;
        Ok(body)
    }

    /// How long to wait before the next attempt.
    pub(crate) fn backoff(&mut self, scenario: &Scenario, retry_after_ms: i64) -> i64 {
        let (first_ms, most_ms) = if scenario.is_slow_to_retry {
            (1_000, 60_000)
        } else {
            (30, 5_000)
        };
        self.backoff_ms = (self.backoff_ms * 2).clamp(first_ms, most_ms);
        self.backoff_ms.max(retry_after_ms)
    }
}
