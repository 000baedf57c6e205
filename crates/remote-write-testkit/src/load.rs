//! A steady load of HA pairs, as Prometheus sends it through a load balancer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use remote_write::Version;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock::now_ms;
use crate::ledger::{Cluster, Delivery, Ledger};
use crate::pairs::{REPLICAS, pair_series};
use crate::sender::Sender;
use crate::sink::Sink;

/// Pause after all receivers have turned a sample away.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// For all samples to be answered: includes receivers that are started again on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Replicas of clusters, each sending one sample per tick, in order, until it is answered. Dropping
/// it stops them.
pub struct Load {
    shared: Arc<Shared>,
    /// Of each receiver.
    push_urls: Vec<String>,
    try_timeout: Duration,
    senders: BTreeMap<String, Vec<Sender>>,
    tasks: JoinSet<()>,
}

struct Shared {
    interval: Duration,
    began: Instant,
    first_ms: i64,
    state: Mutex<State>,
    /// A tick was answered.
    answered: Notify,
}

#[derive(Default)]
struct State {
    /// The tick of each replica that is not answered yet.
    next: BTreeMap<(Cluster, usize), u64>,
    deliveries: Vec<(Cluster, usize, u64, Delivery)>,
    silent: BTreeSet<(Cluster, usize)>,
    /// An answer that a sender cannot do anything with.
    problem: Option<String>,
}

/// What one replica sends.
struct Flow {
    cluster: Cluster,
    replica: usize,
    ticks: Range<u64>,
    senders: Vec<Sender>,
}

impl Load {
    /// Nothing is sent yet. There will be a tick per `interval`, of whole milliseconds; a sender
    /// tries another receiver when one does not answer within `try_timeout`.
    pub fn new(interval: Duration, try_timeout: Duration, push_urls: Vec<String>) -> Self {
        Self {
            shared: Arc::new(Shared {
                interval,
                began: Instant::now(),
                first_ms: now_ms(),
                state: Mutex::default(),
                answered: Notify::new(),
            }),
            push_urls,
            try_timeout,
            senders: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// A replica of a cluster begins to send to these receivers, in turn, forever or for this many
    /// ticks.
    ///
    /// # Panics
    /// When it sends already.
    pub fn begin(&mut self, cluster: &Cluster, replica: usize, to: &[usize], ticks: Option<u64>) {
        let (push_urls, try_timeout) = (&self.push_urls, self.try_timeout);
        let senders = self.senders.entry(cluster.tenant.clone());
        let senders = senders.or_insert_with(|| {
            let sender = |url: &String| {
                let sender = Sender::new(url).tenant(&cluster.tenant);
                sender.timeout(try_timeout)
            };
            push_urls.iter().map(sender).collect()
        });
        let first = self.shared.now();
        let flow = Flow {
            cluster: cluster.clone(),
            replica,
            ticks: first..ticks.map_or(u64::MAX, |ticks| first + ticks),
            senders: to.iter().map(|number| senders[*number].clone()).collect(),
        };
        let key = (cluster.clone(), replica);
        let before = self.shared.state().next.insert(key, first);
        assert!(before.is_none(), "{cluster:?} has this replica already");
        self.tasks.spawn(Arc::clone(&self.shared).send(flow));
    }

    /// A replica goes silent, or is back; requests in progress still arrive.
    pub fn silence(&self, cluster: &Cluster, replica: usize, silent: bool) {
        let mut state = self.shared.state();
        let key = (cluster.clone(), replica);
        if silent {
            state.silent.insert(key);
        } else {
            state.silent.remove(&key);
        }
    }

    /// All clusters that send or have sent.
    pub fn clusters(&self) -> Vec<Cluster> {
        let state = self.shared.state();
        let mut all: Vec<Cluster> = state
            .next
            .keys()
            .map(|(cluster, _)| cluster.clone())
            .collect();
        all.dedup();
        all
    }

    /// The tick that comes next.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// How many ticks there are in this time, begun ones included.
    pub fn ticks_in(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos().div_ceil(self.shared.interval.as_nanos());
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Waits until all ticks up to now are answered; the one that comes next then.
    ///
    /// # Errors
    /// They are not within a minute.
    pub async fn settle(&self) -> Result<u64, String> {
        let until = self.now();
        self.answered(until).await?;
        Ok(until)
    }

    /// Waits until this many more ticks are answered; which they are.
    ///
    /// # Errors
    /// They are not within a minute.
    pub async fn pass(&self, ticks: u64) -> Result<Range<u64>, String> {
        let from = self.settle().await?;
        self.answered(from + ticks).await?;
        Ok(from..from + ticks)
    }

    async fn answered(&self, until: u64) -> Result<(), String> {
        let all_answered = async {
            loop {
                let answered = self.shared.answered.notified();
                if self.shared.is_answered(until).is_ok() {
                    return;
                }
                answered.await;
            }
        };
        match timeout(ANSWER_TIMEOUT, all_answered).await {
            Ok(()) => Ok(()),
            Err(_) => self.shared.is_answered(until).map_err(|missing| {
                format!("waited {ANSWER_TIMEOUT:?} for all samples to be answered; {missing}")
            }),
        }
    }

    /// Hands over what was answered and what has arrived since the last time.
    pub fn record(&self, sink: &Sink, ledger: &mut Ledger) {
        let deliveries = {
            let mut state = self.shared.state();
            if let Some(problem) = state.problem.take() {
                ledger.strange(problem);
            }
            std::mem::take(&mut state.deliveries)
        };
        for (cluster, replica, tick, how) in deliveries {
            ledger.sent(&cluster, replica, tick, how);
        }
        for refused in sink.refused() {
            ledger.strange(format!("the sink cannot read: {refused}"));
        }
        for request in sink.take() {
            let tenant = request.tenant.unwrap_or_default();
            for series in &request.series {
                let name = series.labels.get("cluster").map_or("", String::as_str);
                let cluster = Cluster::new(&tenant, name);
                for sample in &series.samples {
                    let place = self.shared.place(sample.timestamp, sample.value());
                    match place {
                        Some((tick, replica)) if series.labels.len() == 2 => {
                            ledger.arrived(&cluster, replica, tick);
                        }
                        _ => ledger.strange(format!("{tenant}: {series:?}")),
                    }
                }
            }
        }
    }
}

impl Shared {
    /// A panic of another task leaves what it held whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is not answered yet, of all ticks before this one.
    fn is_answered(&self, until: u64) -> Result<(), String> {
        let state = self.state();
        match state.next.iter().find(|(_, next)| **next < until) {
            None => Ok(()),
            Some((who, next)) => Err(format!(
                "{who:?} is at {next} of {until}; {:?}",
                state.problem
            )),
        }
    }

    fn interval_ms(&self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX)
    }

    fn timestamp(&self, tick: u64) -> i64 {
        let tick = i64::try_from(tick).unwrap_or(i64::MAX);
        let since = self.interval_ms().saturating_mul(tick);
        self.first_ms.saturating_add(since)
    }

    /// Which sample has this time and value.
    fn place(&self, timestamp: i64, value: f64) -> Option<(u64, usize)> {
        let since = timestamp.checked_sub(self.first_ms)?;
        let tick = u64::try_from(since.checked_div(self.interval_ms())?).ok()?;
        let replica = (0..REPLICAS.len()).find(|replica| *replica as f64 == value)?;
        (self.timestamp(tick) == timestamp).then_some((tick, replica))
    }

    fn now(&self) -> u64 {
        let ticks = self.began.elapsed().as_nanos() / self.interval.as_nanos();
        u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1)
    }

    async fn send(self: Arc<Self>, flow: Flow) {
        let key = (flow.cluster.clone(), flow.replica);
        // All flows differ in where they begin, so that each tick is spread over all.
        let offset = key.0.key().bytes().map(usize::from).sum::<usize>() + flow.replica;
        for tick in flow.ticks.clone() {
            let since = self.interval * u32::try_from(tick).unwrap_or(u32::MAX);
            sleep_until(self.began + since).await;
            let turn = offset.wrapping_add(usize::try_from(tick).unwrap_or_default());
            let is_silent = self.state().silent.contains(&key);
            let how = if is_silent {
                None
            } else {
                Some(self.deliver(&flow, tick, turn).await)
            };
            let mut state = self.state();
            let delivery = how.map(|how| (flow.cluster.clone(), flow.replica, tick, how));
            state.deliveries.extend(delivery);
            state.next.insert(key.clone(), tick + 1);
            drop(state);
            self.answered.notify_waiters();
        }
        self.state().next.insert(key, u64::MAX);
        self.answered.notify_waiters();
    }

    /// Tries until there is an answer, with the next receiver whenever one does not answer.
    async fn deliver(&self, flow: &Flow, tick: u64, turn: usize) -> Delivery {
        let series = pair_series(&flow.cluster.name, flow.replica, self.timestamp(tick));
        let senders = &flow.senders;
        let began = Instant::now();
        let mut unanswered = 0;
        for attempt in 0.. {
            let sender = &senders[(turn + attempt) % senders.len()];
            let sent = sender.deliver(Version::V1, std::slice::from_ref(&series));
            match sent.await {
                Ok(answer) if matches!(answer.status, 200 | 202) => {
                    return Delivery {
                        accepted: answer.status == 200,
                        unanswered,
                        took: began.elapsed(),
                    };
                }
                // Stopping, or not ready.
                Ok(answer) if answer.status == 503 => {}
                Ok(answer) => {
                    let problem = format!("{:?}, tick {tick}: {answer:?}", flow.cluster);
                    self.state().problem = Some(problem);
                }
                Err(failure) => unanswered += u32::from(failure.may_have_arrived),
            }
            if (attempt + 1) % senders.len() == 0 {
                sleep(RETRY_PAUSE).await;
            }
        }
        unreachable!("attempts do not end");
    }
}
