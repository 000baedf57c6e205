//! A larger cluster under load, and small ones with random events; in virtual time.
//!
//! The faults of the network follow from a seed, which is printed; `GOSSIP_SEED` sets another. The
//! choice of peers does not, so it may take several runs to reproduce a failure.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kv_core::conformance::Counter;
use kv_core::{CasUpdate, Store, WatchEvent};
use kv_memberlist::simulated::{Faults, SimulatedNetwork};
use kv_memberlist::{MemberlistConfig, Protocol};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{Node, address, agreement, cluster_with, config, counter, eventually, start, within};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn faults() -> Faults {
    Faults {
        loss: 0.05,
        duplication: 0.01,
        delay: (Duration::from_millis(1), Duration::from_millis(50)),
    }
}

fn key(number: usize) -> String {
    format!("tenant-{}/cluster-{number}", number % 10)
}

#[test]
fn a_cluster_under_load() {
    load_with_seeds(Protocol::Chitchat, &[1, 2]);
}

#[test]
fn a_ring_of_memberlist_under_load() {
    load_with_seeds(Protocol::Memberlist, &[1]);
}

fn load_with_seeds(protocol: Protocol, seeds: &[u64]) {
    let seeds = match std::env::var("GOSSIP_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => seeds.to_vec(),
    };
    for seed in seeds {
        println!("GOSSIP_SEED={seed}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(load(seed, protocol));
    }
}

/// Members, keys, and how many changes are made.
const NODES: usize = 30;
const KEYS: usize = 1_000;
const CHANGES: usize = 300;

async fn load(seed: u64, protocol: Protocol) {
    let network = SimulatedNetwork::new(seed, faults());
    // With memberlist, a member that packets have not reached by chance gets the rest with its next
    // exchange of states.
    let (arrive, agree) = match protocol {
        Protocol::Memberlist => (40 * SECOND, 40 * SECOND),
        _ => (10 * SECOND, 2 * SECOND),
    };
    // Superseded copies go after half of this.
    let adjust = |config| MemberlistConfig {
        protocol,
        obsolete_entries_timeout: 4 * SECOND,
        ..config
    };
    let mut nodes = cluster_with(&network, NODES, adjust).await;
    for number in 0..KEYS {
        nodes[number % NODES]
            .put(&key(number), counter(0, "filler"))
            .await;
        if number % 10 == 9 {
            sleep(Duration::from_millis(10)).await;
        }
    }
    eventually(arrive, "all hold all", async || {
        nodes
            .iter()
            .all(|node| node.memberlist.inspector().entries().len() == KEYS)
    })
    .await;

    let spread = Arc::new(Mutex::new(Spread::default()));
    for (number, node) in nodes.iter().enumerate() {
        let (spread, store) = (Arc::clone(&spread), node.store.clone());
        tokio::spawn(async move {
            let mut events = store.watch_prefix("");
            while let Some(event) = events.next().await {
                if let WatchEvent::Put(key, value) = event {
                    spread.lock().unwrap().held(number, &key, value.value);
                }
            }
        });
    }
    let mut random = StdRng::seed_from_u64(seed);
    let mut newest = HashMap::new();
    let mut joiner = None;
    for change in 1..=CHANGES {
        let key = key(random.random_range(0..KEYS));
        let value = i64::try_from(change).unwrap();
        spread.lock().unwrap().made(&key, value);
        newest.insert(key.clone(), value);
        nodes[random.random_range(0..NODES)]
            .put(&key, counter(value, "w"))
            .await;
        // A hundred in a second.
        sleep(Duration::from_millis(10)).await;
        if change == CHANGES / 2 {
            let node = start(&network, NODES, adjust(config(0..NODES))).await;
            joiner = Some(Joiner {
                node,
                began: Instant::now(),
                as_of_start: newest.clone(),
            });
        }
        if let Some(ready) = joiner.take_if(|joiner: &mut Joiner| is_ready(&joiner.node)) {
            nodes.push(ready.check().await);
        }
    }
    // Which packets are lost decides how long it takes: it may outlast the changes.
    if let Some(joiner) = joiner {
        nodes.push(joiner.check().await);
    }
    eventually(arrive, "all changes have arrived", async || {
        spread.lock().unwrap().on_their_way.is_empty()
    })
    .await;
    let mut took = spread.lock().unwrap().arrived.clone();
    took.sort();
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!(
        "{protocol:?}: {} changes arrived: p50 {p50:?}, p99 {p99:?}, max {:?}",
        took.len(),
        took.last()
    );
    // With memberlist, a lost packet that begins a connection is sent again after a second.
    let bounded = match protocol {
        Protocol::Memberlist => p50,
        _ => p99,
    };
    assert!(bounded < 2 * SECOND);
    // The joiner is not among those whose changes were followed.
    eventually(
        agree,
        "all have the same view, with the newest values",
        async || {
            let Some(all) = agreement(&nodes).await else {
                return false;
            };
            all.len() == KEYS && newest.iter().all(|(key, value)| all[key].value == *value)
        },
    )
    .await;
    if protocol == Protocol::Memberlist {
        // Each member holds each entry.
        return;
    }
    eventually(30 * SECOND, "few copies are left", async || {
        nodes[0].copies().await <= KEYS * 12 / 10
    })
    .await;
}

fn is_ready(node: &Node) -> bool {
    node.memberlist.inspector().waiting_for().is_none()
}

/// A member that joins while others write.
struct Joiner {
    node: Node,
    began: Instant,
    /// The newest values when it started.
    as_of_start: HashMap<String, i64>,
}

impl Joiner {
    /// That it is ready within ten seconds of its start and holds all keys, and soon the newest
    /// values as of its start: a write of that very moment may have been known to its writer alone.
    async fn check(self) -> Node {
        let rest = (10 * SECOND).saturating_sub(self.began.elapsed());
        within(rest, "the joiner is ready", self.node.memberlist.ready()).await;
        println!("a joiner was ready after {:?}", self.began.elapsed());
        let picture = self.node.picture().await;
        assert_eq!(picture.len(), KEYS);
        eventually(
            2 * SECOND,
            "the joiner holds what was written before",
            async || {
                let picture = self.node.picture().await;
                (self.as_of_start)
                    .iter()
                    .all(|(key, value)| picture[key].value >= *value)
            },
        )
        .await;
        self.node
    }
}

/// Changes on their way to all members.
#[derive(Default)]
struct Spread {
    /// By key: value, when it was written, who holds it.
    on_their_way: HashMap<String, (i64, Instant, HashSet<usize>)>,
    arrived: Vec<Duration>,
}

impl Spread {
    fn made(&mut self, key: &str, value: i64) {
        let change = || (value, Instant::now(), HashSet::new());
        self.on_their_way
            .entry(key.to_owned())
            .or_insert_with(change);
    }

    fn held(&mut self, node: usize, key: &str, value: i64) {
        let Some((wanted, made_at, holders)) = self.on_their_way.get_mut(key) else {
            return;
        };
        if value >= *wanted && holders.insert(node) && holders.len() == NODES {
            self.arrived.push(made_at.elapsed());
            self.on_their_way.remove(key);
        }
    }
}

/// Places for members; each is up or not.
const PLACES: usize = 4;

/// What may happen to a cluster; numbers are of places and keys.
#[derive(Debug, Clone)]
enum Event {
    PutNewer(usize, usize),
    PutOlder(usize, usize),
    Delete(usize, usize),
    Crash(usize),
    Leave(usize),
    Start(usize),
    /// For each place the side that it is on.
    Partition([bool; PLACES]),
    Heal,
    Wait(Duration),
}

fn event() -> impl Strategy<Value = Event> {
    let place = || 0..PLACES;
    let key = || 0..6usize;
    prop_oneof![
        8 => (place(), key()).prop_map(|(place, key)| Event::PutNewer(place, key)),
        3 => (place(), key()).prop_map(|(place, key)| Event::PutOlder(place, key)),
        3 => (place(), 0..3usize).prop_map(|(place, key)| Event::Delete(place, key)),
        2 => place().prop_map(Event::Crash),
        2 => place().prop_map(Event::Leave),
        4 => place().prop_map(Event::Start),
        2 => any::<[bool; PLACES]>().prop_map(Event::Partition),
        2 => Just(Event::Heal),
        6 => (1..20_000u64).prop_map(|ms| Event::Wait(Duration::from_millis(ms))),
    ]
}

prop_compose! {
    fn any_faults()(
        loss in 0.0..0.3,
        duplication in 0.0..0.1,
        least in 0..20u64,
        more in 0..200u64,
    ) -> Faults {
        Faults {
            loss,
            duplication,
            delay: (Duration::from_millis(least), Duration::from_millis(least + more)),
        }
    }
}

/// A cluster to which things happen.
struct Playground {
    network: SimulatedNetwork,
    protocol: Protocol,
    places: Vec<Option<Node>>,
    written: i64,
    deleted: BTreeSet<String>,
    /// By place: keys that its member has held since it started.
    held: Vec<BTreeSet<String>>,
}

fn place_config(protocol: Protocol) -> MemberlistConfig {
    MemberlistConfig {
        protocol,
        // Members that started separately and have found another one search for further ones this
        // often.
        rejoin_interval: 10 * SECOND,
        // So that dead members are removed, with the entries that only they publish.
        left_ingesters_timeout: 10 * SECOND,
        ..config(0..PLACES)
    }
}

impl Playground {
    async fn new(seed: u64, faults: Faults, protocol: Protocol) -> Self {
        let network = SimulatedNetwork::new(seed, faults);
        let mut places = Vec::new();
        for number in 0..PLACES {
            places.push(Some(start(&network, number, place_config(protocol)).await));
        }
        Self {
            network,
            protocol,
            places,
            written: 0,
            deleted: BTreeSet::new(),
            held: vec![BTreeSet::new(); PLACES],
        }
    }

    async fn happen(&mut self, event: &Event) {
        match *event {
            Event::PutNewer(place, number) => {
                self.written += 1;
                let value = self.written;
                self.cas(place, number, |_| CasUpdate::Put(counter(value, "newer")))
                    .await;
            }
            Event::PutOlder(place, number) => {
                let older = |seen: Option<&Counter>| match seen {
                    Some(seen) => CasUpdate::Put(counter(seen.value - 5, "older")),
                    None => CasUpdate::Keep,
                };
                self.cas(place, number, older).await;
            }
            Event::Delete(place, number) => {
                if self.cas(place, number, |_| CasUpdate::Delete).await {
                    self.deleted.insert(key(number));
                }
            }
            Event::Crash(place) => {
                if self.up() > 1 {
                    self.places[place] = None;
                    self.held[place].clear();
                }
            }
            Event::Leave(place) => {
                if self.up() > 1
                    && let Some(node) = self.places[place].take()
                {
                    self.held[place].clear();
                    within(25 * SECOND, "it leaves", node.memberlist.leave()).await;
                }
            }
            Event::Start(place) => {
                if self.places[place].is_none() {
                    let node = start(&self.network, place, place_config(self.protocol)).await;
                    self.places[place] = Some(node);
                }
            }
            Event::Partition(sides) => {
                let side = |which: bool| {
                    let places = (0..PLACES).filter(|place| sides[*place] == which);
                    places.map(address).collect::<HashSet<_>>()
                };
                self.network.partition(vec![side(false), side(true)]);
            }
            Event::Heal => self.network.partition(Vec::new()),
            Event::Wait(time) => sleep(time).await,
        }
        self.check_nothing_was_forgotten().await;
    }

    fn up(&self) -> usize {
        self.places.iter().flatten().count()
    }

    /// Whether it was done: a member that has not joined refuses it.
    async fn cas(
        &self,
        place: usize,
        number: usize,
        update: impl Fn(Option<&Counter>) -> CasUpdate<Counter> + Send + Sync,
    ) -> bool {
        match &self.places[place] {
            Some(node) => node
                .store
                .cas(&key(number), &mut |seen| update(seen))
                .await
                .is_ok(),
            None => false,
        }
    }

    /// A running member still has every entry that it had and that was not deleted.
    async fn check_nothing_was_forgotten(&mut self) {
        for (place, node) in self.places.iter().enumerate() {
            let Some(picture) = picture(node.as_ref()).await else {
                continue;
            };
            let held = &mut self.held[place];
            held.retain(|key| !self.deleted.contains(key));
            for key in &*held {
                assert!(picture.contains_key(key), "member {place} has lost {key}");
            }
            held.extend(picture.into_keys());
        }
    }

    /// Waits until all agree, and checks that they still have all entries that were not deleted.
    async fn all_agree_on(&self, held: &BTreeSet<String>) {
        eventually(60 * SECOND, "all agree", async || {
            self.agreement().await.is_some()
        })
        .await;
        let all = self.agreement().await.unwrap();
        for key in held.difference(&self.deleted) {
            assert!(
                all.contains_key(key),
                "{key} was held by a living member and is lost"
            );
        }
    }

    /// Whether all that are up are ready and have the same picture; it.
    async fn agreement(&self) -> Option<BTreeMap<String, Counter>> {
        let mut agreed = None;
        for node in self.places.iter().flatten() {
            let picture = picture(Some(node)).await?;
            if *agreed.get_or_insert_with(|| picture.clone()) != picture {
                return None;
            }
        }
        agreed
    }
}

async fn picture(node: Option<&Node>) -> Option<BTreeMap<String, Counter>> {
    let node = node.filter(|node| is_ready(node))?;
    Some(node.picture().await)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        max_shrink_iters: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_all_agree_in_the_end(
        seed in any::<u64>(),
        faults in any_faults(),
        events in prop::collection::vec(event(), 5..50),
    ) {
        live_through(Protocol::Chitchat, seed, faults, &events);
    }

    #[test]
    fn whatever_happens_all_of_memberlist_agree_in_the_end(
        seed in any::<u64>(),
        faults in any_faults(),
        events in prop::collection::vec(event(), 5..50),
    ) {
        live_through(Protocol::Memberlist, seed, faults, &events);
    }
}

fn live_through(protocol: Protocol, seed: u64, faults: Faults, events: &[Event]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut playground = Playground::new(seed, faults, protocol).await;
        for event in events {
            playground.happen(event).await;
        }
        playground.network.partition(Vec::new());
        playground.network.set_faults(Faults::NONE);
        playground.check_nothing_was_forgotten().await;
        let held: BTreeSet<String> = playground.held.iter().flatten().cloned().collect();
        playground.all_agree_on(&held).await;
        // And that outlasts those who wrote it: newcomers learn it from the others.
        for place in 0..PLACES / 2 {
            playground.happen(&Event::Crash(place)).await;
        }
        sleep(40 * SECOND).await;
        for place in 0..PLACES {
            playground.happen(&Event::Start(place)).await;
        }
        playground.all_agree_on(&held).await;
    });
}
