//! A steady load of HA pairs, as Prometheus sends it through a load balancer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ledger::{Cluster, Delivery, Ledger};
use crate::{Distributor, LONG, REPLICAS, Sender, Sink, Version, now_ms, pair_series};
use peers::comes_true;

/// Pause after all distributors have turned a sample away.
const AGAIN: Duration = Duration::from_millis(20);

/// Replicas of clusters, each sending one sample per tick, in order, until it is answered. Dropping
/// it stops them.
pub struct Load {
    shared: Arc<Shared>,
    /// Of each distributor.
    push_urls: Vec<String>,
    patience: Duration,
    senders: BTreeMap<String, Vec<Sender>>,
    tasks: JoinSet<()>,
}

struct Shared {
    interval: Duration,
    began: Instant,
    first_ms: i64,
    state: Mutex<State>,
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
    /// Nothing is sent yet. There will be a tick per `interval`; a sender tries another distributor
    /// when one is silent for `patience`.
    pub fn new(interval: Duration, patience: Duration, distributors: &[Distributor]) -> Self {
        Self {
            shared: Arc::new(Shared {
                interval,
                began: Instant::now(),
                first_ms: now_ms(),
                state: Mutex::default(),
            }),
            push_urls: distributors.iter().map(Distributor::push_url).collect(),
            patience,
            senders: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// A replica of a cluster begins to send to these distributors, in turn, for ever or for so many
    /// ticks.
    ///
    /// # Panics
    /// When it sends already.
    pub fn begin(&mut self, cluster: &Cluster, replica: usize, to: &[usize], ticks: Option<u64>) {
        let (push_urls, patience) = (&self.push_urls, self.patience);
        let senders = self.senders.entry(cluster.tenant.clone());
        let senders = senders.or_insert_with(|| {
            let sender = |url: &String| Sender::new(url).tenant(&cluster.tenant).timeout(patience);
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
        let before = self.shared.state.lock().unwrap().next.insert(key, first);
        assert!(before.is_none(), "{cluster:?} has this replica already");
        self.tasks.spawn(Arc::clone(&self.shared).send(flow));
    }

    /// A replica falls silent, or is back; what is under way still arrives.
    pub fn silence(&self, cluster: &Cluster, replica: usize, silent: bool) {
        let mut state = self.shared.state.lock().unwrap();
        let key = (cluster.clone(), replica);
        match silent {
            true => state.silent.insert(key),
            false => state.silent.remove(&key),
        };
    }

    /// All clusters that send or have sent.
    pub fn clusters(&self) -> Vec<Cluster> {
        let state = self.shared.state.lock().unwrap();
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
        u64::try_from(ticks).unwrap()
    }

    /// Waits until all ticks up to now are answered; the one that comes next then.
    ///
    /// # Errors
    /// They are not within [`LONG`].
    pub async fn settle(&self) -> Result<u64, String> {
        let until = self.now();
        self.answered(until).await?;
        Ok(until)
    }

    /// Waits until this many more ticks are answered; which they are.
    ///
    /// # Errors
    /// They are not within [`LONG`].
    pub async fn pass(&self, ticks: u64) -> Result<Range<u64>, String> {
        let from = self.settle().await?;
        self.answered(from + ticks).await?;
        Ok(from..from + ticks)
    }

    async fn answered(&self, until: u64) -> Result<(), String> {
        comes_true("all samples to be answered", LONG, || async {
            let state = self.shared.state.lock().unwrap();
            match state.next.iter().find(|(_, next)| **next < until) {
                None => Ok(()),
                Some((who, next)) => Err(format!(
                    "{who:?} is at {next} of {until}; {:?}",
                    state.problem
                )),
            }
        })
        .await
    }

    /// Hands over what was answered and what has arrived since the last time.
    pub fn record(&self, sink: &Sink, ledger: &mut Ledger) {
        let deliveries = {
            let mut state = self.shared.state.lock().unwrap();
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
    fn timestamp(&self, tick: u64) -> i64 {
        let since = self.interval.as_millis() * u128::from(tick);
        self.first_ms + i64::try_from(since).unwrap()
    }

    /// Which sample has this time and value.
    fn place(&self, timestamp: i64, value: f64) -> Option<(u64, usize)> {
        let interval = i64::try_from(self.interval.as_millis()).unwrap();
        let tick = u64::try_from((timestamp - self.first_ms) / interval).ok()?;
        let replica = (0..REPLICAS.len()).find(|replica| *replica as f64 == value)?;
        (self.timestamp(tick) == timestamp).then_some((tick, replica))
    }

    fn now(&self) -> u64 {
        let ticks = self.began.elapsed().as_nanos() / self.interval.as_nanos();
        u64::try_from(ticks).unwrap() + 1
    }

    async fn send(self: Arc<Self>, flow: Flow) {
        let key = (flow.cluster.clone(), flow.replica);
        // All flows differ in where they begin, so that each tick is spread over all.
        let offset = key.0.key().bytes().map(usize::from).sum::<usize>() + flow.replica;
        for tick in flow.ticks.clone() {
            let since = self.interval * u32::try_from(tick).unwrap();
            sleep_until(self.began + since).await;
            let turn = offset + usize::try_from(tick).unwrap();
            let is_silent = self.state.lock().unwrap().silent.contains(&key);
            let how = match is_silent {
                true => None,
                false => Some(self.deliver(&flow, tick, turn).await),
            };
            let mut state = self.state.lock().unwrap();
            let delivery = how.map(|how| (flow.cluster.clone(), flow.replica, tick, how));
            state.deliveries.extend(delivery);
            state.next.insert(key.clone(), tick + 1);
        }
        self.state.lock().unwrap().next.insert(key, u64::MAX);
    }

    /// Tries until there is an answer, with the next distributor whenever one does not answer.
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
                    self.state.lock().unwrap().problem = Some(problem);
                }
                Err(failure) => unanswered += u32::from(failure.may_have_arrived),
            }
            if (attempt + 1) % senders.len() == 0 {
                sleep(AGAIN).await;
            }
        }
        unreachable!("attempts do not end");
    }
}
