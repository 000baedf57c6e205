//! How long a key that is written anywhere takes to all members, by their watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use kv_core::WatchEvent;

use super::*;

/// Writes of a batch.
const WRITES: usize = 120;

/// Time between two.
const PACE: Duration = Duration::from_millis(20);

/// Batches, at most, until one is as fast as the rule says: the machine may be busy, or chance leaves a
/// member out, which then gets a key with the next exchange of states.
const BATCHES: usize = 5;

/// By key: how many milliseconds it took to the last member.
type Times = BTreeMap<String, i64>;

/// What has arrived at the members of ours.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<Vec<Times>>>);

impl Arrivals {
    /// Follows what each of these members' watches delivers.
    fn follow(ring: &Ring, prefix: &str) -> Self {
        let this = Self(Arc::new(Mutex::new(vec![Times::new(); ring.ours.len()])));
        for (number, member) in ring.ours.iter().enumerate() {
            let (this, mut events) = (this.clone(), member.store.watch_prefix(prefix));
            tokio::spawn(async move {
                while let Some(event) = events.next().await {
                    if let WatchEvent::Put(key, value) = event {
                        let took = now_ms() - value.received_at;
                        let mut all = this.0.lock().unwrap_or_else(PoisonError::into_inner);
                        all[number].insert(key, took);
                    }
                }
            });
        }
        this
    }

    fn of_all(&self) -> Vec<Times> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What has arrived at a member in Go.
async fn arrived(member: &MemberlistGo, prefix: &str) -> Result<Times, String> {
    let keys = member.keys().await?.into_iter();
    let below = keys.filter(|(key, entry)| key.starts_with(prefix) && entry.arrived_at > 0);
    Ok(below
        .map(|(key, entry)| (key, entry.arrived_at - entry.received_at))
        .collect())
}

/// Each member writes in turn; how long each write took to the last member, in order.
async fn batch(ring: &Ring, number: usize) -> Vec<i64> {
    let prefix = format!("ha-tracker/spread-{number}/");
    let arrivals = Arrivals::follow(ring, &prefix);
    let members = ring.ours.len() + ring.go.len();
    for write in 0..WRITES {
        let (writer, key) = (write % members, format!("{prefix}{write}"));
        match ring.ours.get(writer) {
            Some(member) => member.put(&key, "r1", now_ms()).await,
            None => {
                let member = &ring.go[writer - ring.ours.len()];
                member.cas(&key, "r1", now_ms()).await.unwrap();
            }
        }
        tokio::time::sleep(PACE).await;
    }
    let all = wait_for("all keys on all members", EXCHANGED, || async {
        let mut all = arrivals.of_all();
        for member in &ring.go {
            all.push(arrived(member, &prefix).await?);
        }
        match all.iter().map(BTreeMap::len).min() {
            Some(WRITES) => Ok(all),
            least => Err(format!("{least:?} of {WRITES}")),
        }
    })
    .await;
    let mut slowest = Times::new();
    for (key, took) in all.into_iter().flatten() {
        let slowest = slowest.entry(key).or_insert(took);
        *slowest = (*slowest).max(took);
    }
    let mut times: Vec<i64> = slowest.into_values().collect();
    times.sort_unstable();
    times
}

async fn within_a_second(rust: usize, go: usize) {
    let ring = Ring::of(rust, go).await;
    for number in 0..BATCHES {
        let times = batch(&ring, number).await;
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let (median, p99) = (at(50), at(99));
        println!(
            "{rust} of ours, {go} in Go: {WRITES} writes on all members after {median} ms (median), \
             {p99} ms (99 %), {} ms (slowest)",
            at(100)
        );
        if p99 < 1000 {
            ring.check_logs();
            return;
        }
    }
    panic!("{rust} of ours, {go} in Go: p99 is never within a second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_on_all_within_a_second_in_a_ring_of_one_of_each() {
    within_a_second(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_on_all_within_a_second_in_a_ring_of_three_of_each() {
    within_a_second(3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_on_all_within_a_second_with_one_in_go_among_nine() {
    within_a_second(9, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_on_all_within_a_second_with_nine_in_go() {
    within_a_second(1, 9).await;
}
