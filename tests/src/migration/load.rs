//! A steady load of HA pairs, as Prometheus sends it through a load balancer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::ledger::{Cluster, Delivery, Ledger};
use crate::wait::comes_true;
use crate::{Distributor, LONG, REPLICAS, Sender, Sink, Version, now_ms, pair_series};

/// A sender tries another distributor when one is silent for this long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after all distributors have turned a sample away.
const AGAIN: Duration = Duration::from_millis(20);
/// Ticks of a cluster that falls silent: enough to be elected and to have been refreshed.
const SHORT_LIVED: u64 = 10;

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) tenants: usize,
    /// Clusters of each tenant that send all the time.
    pub(crate) busy: usize,
    /// Clusters of each tenant that send in the beginning and never again: only the stores know
    /// who is elected.
    pub(crate) idle: usize,
    /// Time between two samples of a replica.
    pub(crate) interval: Duration,
}

/// Both replicas of all clusters, each sending one sample per tick, in order, until it is answered.
/// Dropping it stops them.
pub(crate) struct Load {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    /// By tenant and distributor.
    senders: BTreeMap<String, Vec<Sender>>,
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

impl Scale {
    /// All clusters, and whether each is busy.
    fn clusters(&self) -> Vec<(Cluster, bool)> {
        let name = |number| match number < self.busy {
            true => format!("busy{number}"),
            false => format!("idle{}", number - self.busy),
        };
        (0..self.tenants)
            .flat_map(|tenant| (0..self.busy + self.idle).map(move |number| (tenant, number)))
            .map(|(tenant, number)| {
                let cluster = Cluster {
                    tenant: format!("t{tenant}"),
                    name: name(number),
                };
                (cluster, number < self.busy)
            })
            .collect()
    }
}

impl Load {
    /// Begins to send.
    pub(crate) fn start(scale: Scale, distributors: &[Distributor]) -> Self {
        let clusters = scale.clusters();
        let senders = |cluster: &Cluster| {
            let sender = |at: &Distributor| at.sender(&cluster.tenant).timeout(PATIENCE);
            distributors.iter().map(sender).collect::<Vec<_>>()
        };
        let mut by_tenant = BTreeMap::new();
        for (cluster, _) in &clusters {
            by_tenant
                .entry(cluster.tenant.clone())
                .or_insert_with(|| senders(cluster));
        }
        let shared = Arc::new(Shared {
            senders: by_tenant,
            interval: scale.interval,
            began: Instant::now(),
            first_ms: now_ms(),
            state: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for (index, (cluster, is_busy)) in clusters.into_iter().enumerate() {
            for replica in 0..REPLICAS.len() {
                let key = (cluster.clone(), replica);
                shared.state.lock().unwrap().next.insert(key, 0);
                let ticks = if is_busy { u64::MAX } else { SHORT_LIVED };
                let shared = Arc::clone(&shared);
                tasks.spawn(shared.send(cluster.clone(), replica, ticks, index));
            }
        }
        Self {
            shared,
            _tasks: tasks,
        }
    }

    /// A replica falls silent, or is back; what is under way still arrives.
    pub(crate) fn silence(&self, cluster: &Cluster, replica: usize, silent: bool) {
        let mut state = self.shared.state.lock().unwrap();
        let key = (cluster.clone(), replica);
        match silent {
            true => state.silent.insert(key),
            false => state.silent.remove(&key),
        };
    }

    /// All clusters that send or have sent.
    pub(crate) fn clusters(&self) -> Vec<Cluster> {
        let state = self.shared.state.lock().unwrap();
        let all = state.next.keys();
        all.filter(|(_, replica)| *replica == 0)
            .map(|(cluster, _)| cluster.clone())
            .collect()
    }

    /// The tick that comes next.
    pub(crate) fn now(&self) -> u64 {
        let ticks = self.shared.began.elapsed().as_nanos() / self.shared.interval.as_nanos();
        u64::try_from(ticks).unwrap() + 1
    }

    /// How many ticks there are in this time, begun ones included.
    pub(crate) fn ticks_in(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos().div_ceil(self.shared.interval.as_nanos());
        u64::try_from(ticks).unwrap()
    }

    /// Waits until all ticks up to now are answered; the one that comes next then.
    pub(crate) async fn settle(&self) -> Result<u64, String> {
        let until = self.now();
        self.answered(until).await?;
        Ok(until)
    }

    /// Waits until this many more ticks are answered.
    pub(crate) async fn pass(&self, ticks: u64) -> Result<(), String> {
        self.answered(self.now() + ticks).await
    }

    /// Waits until the clusters that do not go on sending have sent all.
    pub(crate) async fn begun(&self) -> Result<(), String> {
        self.answered(SHORT_LIVED).await
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
    pub(crate) fn record(&self, sink: &Sink, ledger: &mut Ledger) {
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
                let cluster = Cluster {
                    tenant: tenant.clone(),
                    name: series.labels.get("cluster").cloned().unwrap_or_default(),
                };
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

    async fn send(self: Arc<Self>, cluster: Cluster, replica: usize, ticks: u64, offset: usize) {
        let key = (cluster.clone(), replica);
        for tick in 0..ticks {
            let since = self.interval * u32::try_from(tick).unwrap();
            sleep_until(self.began + since).await;
            // Begun elsewhere by each replica and cluster, so that each tick is spread over all.
            let turn = offset + replica + usize::try_from(tick).unwrap();
            let is_silent = self.state.lock().unwrap().silent.contains(&key);
            let how = match is_silent {
                true => None,
                false => Some(self.deliver(&cluster, replica, tick, turn).await),
            };
            let mut state = self.state.lock().unwrap();
            let delivery = how.map(|how| (cluster.clone(), replica, tick, how));
            state.deliveries.extend(delivery);
            state.next.insert(key.clone(), tick + 1);
        }
        self.state.lock().unwrap().next.insert(key, u64::MAX);
    }

    /// Tries until there is an answer, with the next distributor whenever one does not answer.
    async fn deliver(&self, cluster: &Cluster, replica: usize, tick: u64, turn: usize) -> Delivery {
        let series = pair_series(&cluster.name, replica, self.timestamp(tick));
        let senders = &self.senders[&cluster.tenant];
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
                    let problem = format!("{cluster:?}, tick {tick}: {answer:?}");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_sends_all_the_time_or_only_in_the_beginning() {
        let scale = Scale {
            tenants: 2,
            busy: 2,
            idle: 1,
            interval: Duration::from_millis(100),
        };
        let clusters: Vec<_> = scale
            .clusters()
            .into_iter()
            .map(|(cluster, is_busy)| (cluster.key(), is_busy))
            .collect();
        let of = |key: &str, is_busy| (format!("ha-tracker/{key}"), is_busy);
        assert_eq!(
            clusters,
            [
                of("t0/busy0", true),
                of("t0/busy1", true),
                of("t0/idle0", false),
                of("t1/busy0", true),
                of("t1/busy1", true),
                of("t1/idle0", false),
            ]
        );
    }
}
