//! A constant load of HA pairs, and the account of what became of every scrape.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::{Distributor, LONG, Sender, Sink, wait_for};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::common::now_ms;
use crate::common::pairs::{pair_series, send_to_any};

pub(crate) const TENANT: &str = "t1";
/// Time between two scrapes of one replica.
pub(crate) const SCRAPE: Duration = Duration::from_millis(100);
/// A sender tries another distributor when one is silent for this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Both replicas of clusters, each sending one sample per scrape, in order, until it is answered.
/// Dropping it stops them.
pub(crate) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    senders: Vec<Sender>,
    began: Instant,
    first_ms: i64,
    flows: Mutex<BTreeMap<(String, usize), Flow>>,
}

/// What one replica of one cluster does.
#[derive(Default)]
struct Flow {
    silent: bool,
    /// Scrapes below have been answered, or left out.
    next: u64,
    /// Those that were sent, and whether they were accepted.
    answers: BTreeMap<u64, bool>,
}

/// What became of the scrapes of a time.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// From how many scrapes of each cluster nothing is stored.
    pub(crate) lost: BTreeMap<String, Vec<u64>>,
    /// From how many scrapes of each cluster the samples of both replicas are stored.
    pub(crate) doubled: BTreeMap<String, Vec<u64>>,
    /// Samples that are stored twice: sent again because the first answer did not come.
    pub(crate) repeated: usize,
}

impl Load {
    /// Nothing is sent yet.
    pub(crate) fn new(distributors: &[Distributor]) -> Self {
        let sender = |at: &Distributor| at.sender(TENANT).timeout(PATIENCE);
        let shared = Shared {
            senders: distributors.iter().map(sender).collect(),
            began: Instant::now(),
            first_ms: now_ms(),
            flows: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            tasks: JoinSet::new(),
        }
    }

    /// A replica of a cluster begins to send to these distributors, in turn.
    pub(crate) fn begin(&mut self, cluster: &str, replica: usize, to: &[usize]) {
        let next = self.now();
        let flow = Flow {
            next,
            ..Flow::default()
        };
        let key = (cluster.to_owned(), replica);
        let before = self.shared.flows.lock().unwrap().insert(key, flow);
        assert!(before.is_none(), "{cluster} has this replica already");
        let shared = Arc::clone(&self.shared);
        self.tasks
            .spawn(shared.send(cluster.to_owned(), replica, next, to.to_vec()));
    }

    /// A replica of a cluster falls silent, or is back; what is under way still arrives.
    pub(crate) fn silence(&self, cluster: &str, replica: usize, silent: bool) {
        self.flow(cluster, replica, |flow| flow.silent = silent);
    }

    /// The scrape that comes next.
    pub(crate) fn now(&self) -> u64 {
        let scrapes = self.shared.began.elapsed().as_millis() / SCRAPE.as_millis();
        u64::try_from(scrapes).unwrap() + 1
    }

    /// Waits until every replica has its answers to all scrapes up to now; the scrape that comes
    /// next then.
    pub(crate) async fn settle(&self) -> u64 {
        let until = self.now();
        self.answered(until).await;
        until
    }

    /// Waits until this many more scrapes have been answered; which they are.
    pub(crate) async fn pass(&self, more: u64) -> Range<u64> {
        let from = self.settle().await;
        self.answered(from + more).await;
        from..from + more
    }

    async fn answered(&self, until: u64) {
        wait_for("all scrapes to be answered", LONG, || async {
            self.check();
            let flows = self.shared.flows.lock().unwrap();
            let late = flows.iter().find(|(_, flow)| flow.next < until);
            match late {
                None => Ok(()),
                Some((who, flow)) => Err(format!("{who:?} is at {} of {until}", flow.next)),
            }
        })
        .await;
    }

    /// What became of these scrapes, all of which are answered.
    pub(crate) fn account(&self, sink: &Sink, scrapes: Range<u64>) -> Account {
        self.check();
        let mut stored = BTreeMap::<(String, u64), [usize; 2]>::new();
        for (labels, samples) in sink.samples() {
            let Some(cluster) = labels.get("cluster") else {
                continue;
            };
            for sample in samples {
                let step = i64::try_from(SCRAPE.as_millis()).unwrap();
                let Ok(scrape) = u64::try_from((sample.timestamp - self.shared.first_ms) / step)
                else {
                    continue;
                };
                let counts = stored.entry((cluster.clone(), scrape)).or_default();
                counts[sample.value() as usize] += 1;
            }
        }
        let mut account = Account::default();
        let flows = self.shared.flows.lock().unwrap();
        for scrape in scrapes {
            let mut sent = BTreeMap::<&str, Vec<(usize, bool)>>::new();
            for ((cluster, replica), flow) in &*flows {
                if let Some(accepted) = flow.answers.get(&scrape) {
                    sent.entry(cluster).or_default().push((*replica, *accepted));
                }
            }
            for (cluster, answers) in sent {
                let counts = stored.get(&(cluster.to_owned(), scrape));
                let counts = counts.copied().unwrap_or_default();
                for (replica, accepted) in answers {
                    let here = counts[replica];
                    assert!(
                        here > 0 || !accepted,
                        "{cluster}: scrape {scrape} of {replica} was accepted and is not stored"
                    );
                    account.repeated += here.saturating_sub(1);
                }
                let list = match counts {
                    [0, 0] => &mut account.lost,
                    [0, _] | [_, 0] => continue,
                    _ => &mut account.doubled,
                };
                list.entry(cluster.to_owned()).or_default().push(scrape);
            }
        }
        account
    }

    /// Fails the test if a sender has given up.
    fn check(&self) {
        let flows = self.shared.flows.lock().unwrap().len();
        assert_eq!(self.tasks.len(), flows, "a sender has ended");
    }

    fn flow<R>(&self, cluster: &str, replica: usize, act: impl FnOnce(&mut Flow) -> R) -> R {
        self.shared.flow(cluster, replica, act)
    }
}

impl Account {
    /// The scrapes, from the first to the last, of which some cluster is doubled or lost.
    pub(crate) fn disturbed(&self) -> Option<RangeInclusive<u64>> {
        let all = || self.lost.values().chain(self.doubled.values()).flatten();
        Some(*all().min()?..=*all().max()?)
    }
}

impl Shared {
    fn flow<R>(&self, cluster: &str, replica: usize, act: impl FnOnce(&mut Flow) -> R) -> R {
        let mut flows = self.flows.lock().unwrap();
        act(flows.get_mut(&(cluster.to_owned(), replica)).unwrap())
    }

    async fn send(self: Arc<Self>, cluster: String, replica: usize, first: u64, to: Vec<usize>) {
        // All flows differ in where they begin, so that each scrape is spread over all.
        let offset = cluster.bytes().map(usize::from).sum::<usize>() + replica;
        for scrape in first.. {
            let since = SCRAPE * u32::try_from(scrape).unwrap();
            sleep_until(self.began + since).await;
            if !self.flow(&cluster, replica, |flow| flow.silent) {
                let accepted = self.deliver(&cluster, replica, scrape, offset, &to).await;
                self.flow(&cluster, replica, |flow| {
                    flow.answers.insert(scrape, accepted);
                });
            }
            self.flow(&cluster, replica, |flow| flow.next = scrape + 1);
        }
    }

    /// Tries until there is an answer: whether the sample was accepted.
    async fn deliver(
        &self,
        cluster: &str,
        replica: usize,
        scrape: u64,
        offset: usize,
        to: &[usize],
    ) -> bool {
        let since = i64::try_from(SCRAPE.as_millis()).unwrap() * i64::try_from(scrape).unwrap();
        let series = pair_series(cluster, replica, self.first_ms + since);
        for attempt in 0.. {
            let begin = offset + usize::try_from(scrape).unwrap() + attempt;
            let turns = (begin..begin + to.len()).map(|turn| to[turn % to.len()]);
            match send_to_any(turns.map(|at| &self.senders[at]), &series).await {
                Ok(answer) if answer.status == 200 => return true,
                Ok(answer) if answer.status == 202 => return false,
                // Stopping, or not ready.
                Ok(answer) if answer.status == 503 => {}
                Ok(answer) => panic!("{cluster}, scrape {scrape}: {answer:?}"),
                Err(_) => {}
            }
            sleep(Duration::from_millis(20)).await;
        }
        unreachable!("attempts do not end");
    }
}
