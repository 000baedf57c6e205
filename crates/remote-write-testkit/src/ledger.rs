//! What was sent, what arrived, and what that means. Pure: it knows neither HTTP nor a clock.
//!
//! Both replicas of a cluster scrape at the same moments, and each such tick must arrive exactly
//! once. It is *lost* when the samples of neither replica arrived, or when one that was accepted did
//! not, and *doubled* when those of both did, or one replica's more often than can be explained: a
//! sample whose answer was lost with its connection is sent again, and may have been forwarded
//! before. Such identical samples are counted apart, as *resent*: every receiver stores them once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::slot::Slot;

/// Who is deduplicated: the replicas of one cluster of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cluster {
    /// The tenant.
    pub tenant: String,
    /// The value of the cluster label.
    pub name: String,
}

impl Cluster {
    /// A cluster of a tenant.
    pub fn new(tenant: &str, name: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The key of its election in every store, as Mimir has it.
    pub fn key(&self) -> String {
        format!("ha-tracker/{}/{}", self.tenant, self.name)
    }
}

/// How one sample was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// Stored, or dropped as that of the replica that is not elected.
    pub accepted: bool,
    /// How often it was sent without an answer, over a connection that was there.
    pub unanswered: u32,
    /// From the first attempt to the answer.
    pub took: Duration,
}

/// Both sides of every tick.
#[derive(Debug, Default)]
pub struct Ledger {
    ticks: BTreeMap<(u64, Cluster), Tick>,
    /// Ticks of which no replica that may be accepted has sent.
    excused: Vec<(Cluster, Range<u64>)>,
    /// Samples that are not known to have been sent, or that still have the replica label.
    strange: Vec<String>,
}

/// The samples of one tick of a cluster.
#[derive(Debug, Clone, Default)]
struct Tick {
    /// By replica.
    deliveries: [Option<Delivery>; 2],
    arrived: Slot<usize>,
}

/// What became of the samples of some ticks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Samples that were sent and answered.
    pub sent: u64,
    /// Answered with: stored.
    pub accepted: u64,
    /// Answered with: another replica is elected.
    pub deduplicated: u64,
    /// The ticks that did not arrive.
    pub lost: Vec<(u64, Cluster)>,
    /// Of those, the ticks of which a sample was accepted.
    pub unstored: Vec<(u64, Cluster)>,
    /// The ticks that arrived more than once.
    pub doubled: Vec<(u64, Cluster)>,
    /// Samples that arrived once more because their first answer was lost.
    pub resent: u64,
    /// Of the times from sending to the answer, what 99 of 100 are below.
    pub p99: Duration,
}

impl Ledger {
    /// A sample was answered.
    pub fn sent(&mut self, cluster: &Cluster, replica: usize, tick: u64, how: Delivery) {
        if let Some(delivery) = self.tick(cluster, tick).deliveries.get_mut(replica) {
            *delivery = Some(how);
        }
    }

    /// A sample arrived.
    pub fn arrived(&mut self, cluster: &Cluster, replica: usize, tick: u64) {
        self.tick(cluster, tick).arrived.add(replica);
    }

    /// In these ticks the elected replica was silent, and no other was elected yet.
    pub fn excuse(&mut self, cluster: &Cluster, ticks: Range<u64>) {
        self.excused.push((cluster.clone(), ticks));
    }

    /// Something arrived that must not.
    pub fn strange(&mut self, what: String) {
        self.strange.push(what);
    }

    fn tick(&mut self, cluster: &Cluster, tick: u64) -> &mut Tick {
        self.ticks.entry((tick, cluster.clone())).or_default()
    }

    /// The account of these ticks, all of which must be answered.
    pub fn account(&self, ticks: Range<u64>) -> Account {
        let mut account = Account::default();
        let mut times = Vec::new();
        for ((tick, cluster), of_tick) in &self.ticks {
            if !ticks.contains(tick) {
                continue;
            }
            let Tick {
                deliveries,
                arrived,
            } = of_tick;
            let (mut is_unstored, mut is_doubled) = (false, arrived.is_doubled());
            for (replica, delivery) in deliveries.iter().enumerate() {
                let Some(delivery) = delivery else {
                    continue;
                };
                let stored = arrived.times(&replica);
                account.sent += 1;
                if delivery.accepted {
                    account.accepted += 1;
                } else {
                    account.deduplicated += 1;
                }
                times.push(delivery.took);
                is_unstored |= delivery.accepted && stored == 0;
                let again = stored.saturating_sub(1);
                is_doubled |= again > delivery.unanswered;
                account.resent += u64::from(again.min(delivery.unanswered));
            }
            let is_excused =
                |(who, ticks): &(Cluster, Range<u64>)| who == cluster && ticks.contains(tick);
            let is_missing = arrived.is_empty() && !self.excused.iter().any(is_excused);
            if is_unstored {
                account.unstored.push((*tick, cluster.clone()));
            }
            if is_unstored || is_missing {
                account.lost.push((*tick, cluster.clone()));
            }
            if is_doubled {
                account.doubled.push((*tick, cluster.clone()));
            }
        }
        account.p99 = p99(times);
        account
    }

    /// What arrived and must not have.
    pub fn strangers(&self) -> &[String] {
        &self.strange
    }
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    let index = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster::new("t", "c")
    }

    fn delivery(accepted: bool, unanswered: u32) -> Delivery {
        Delivery {
            accepted,
            unanswered,
            took: Duration::from_millis(1),
        }
    }

    /// One tick: of each replica whether it was accepted, attempts without an answer, arrivals.
    fn tick(replicas: [(bool, u32, u32); 2]) -> Account {
        let mut ledger = Ledger::default();
        for (replica, (accepted, unanswered, arrivals)) in replicas.into_iter().enumerate() {
            ledger.sent(&cluster(), replica, 7, delivery(accepted, unanswered));
            for _ in 0..arrivals {
                ledger.arrived(&cluster(), replica, 7);
            }
        }
        assert_eq!(ledger.account(0..7), Account::default());
        ledger.account(7..8)
    }

    fn judged(replicas: [(bool, u32, u32); 2]) -> (usize, usize, u64) {
        let account = tick(replicas);
        (account.lost.len(), account.doubled.len(), account.resent)
    }

    #[test]
    fn one_of_two_is_right() {
        let account = tick([(true, 0, 1), (false, 0, 0)]);
        let expected = Account {
            sent: 2,
            accepted: 1,
            deduplicated: 1,
            p99: Duration::from_millis(1),
            ..Account::default()
        };
        assert_eq!(account, expected);
    }

    #[test]
    fn none_of_two_is_lost_and_both_are_doubled() {
        assert_eq!(judged([(false, 0, 0), (false, 0, 0)]), (1, 0, 0));
        assert_eq!(judged([(true, 0, 1), (true, 0, 1)]), (0, 1, 0));
        // Whatever they were answered with.
        assert_eq!(judged([(true, 0, 1), (false, 1, 1)]), (0, 1, 0));
    }

    #[test]
    fn what_was_accepted_must_be_there() {
        assert_eq!(judged([(true, 0, 0), (true, 0, 1)]), (1, 0, 0));
        assert_eq!(judged([(true, 3, 0), (false, 0, 0)]), (1, 0, 0));
    }

    #[test]
    fn an_answer_that_was_lost_explains_one_more() {
        assert_eq!(judged([(true, 1, 2), (false, 0, 0)]), (0, 0, 1));
        assert_eq!(judged([(true, 1, 1), (false, 0, 0)]), (0, 0, 0));
        assert_eq!(judged([(true, 1, 3), (false, 0, 0)]), (0, 1, 1));
        assert_eq!(judged([(true, 0, 2), (false, 5, 0)]), (0, 1, 0));
        // Accepted before its connection broke; dropped when it came again.
        assert_eq!(judged([(false, 1, 1), (false, 0, 0)]), (0, 0, 0));
    }

    #[test]
    fn a_failover_excuses_what_nobody_could_send() {
        let mut ledger = Ledger::default();
        for tick in 0..5 {
            ledger.sent(&cluster(), 1, tick, delivery(false, 0));
        }
        ledger.excuse(&cluster(), 1..3);
        let lost: Vec<u64> = ledger
            .account(0..5)
            .lost
            .iter()
            .map(|(tick, _)| *tick)
            .collect();
        assert_eq!(lost, [0, 3, 4]);
    }

    #[test]
    fn one_in_a_hundred_may_be_slow() {
        let ms = Duration::from_millis;
        assert_eq!(p99(Vec::new()), Duration::ZERO);
        assert_eq!(p99(vec![ms(5)]), ms(5));
        let mut times = vec![ms(1); 99];
        times.push(ms(1000));
        assert_eq!(p99(times.clone()), ms(1));
        times.push(ms(1000));
        assert_eq!(p99(times), ms(1000));
    }
}
