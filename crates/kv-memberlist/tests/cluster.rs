//! Clusters of members in virtual time: joining, spreading, dying, leaving, partitions, deletions.
#![allow(clippy::unwrap_used, reason = "a failed check panics")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use kv_core::{Store, StoreError, WatchEvent};
use kv_memberlist::simulated::{Faults, SimulatedNetwork};
use kv_memberlist::{MemberState, MemberlistConfig};
use support::{
    Node, address, agreement, bad_day, cluster, cluster_with, config, counter, eventually, start,
    within,
};

const SECOND: Duration = Duration::from_secs(1);

fn key(number: usize) -> String {
    format!("tenant/cluster-{number}")
}

async fn fill(node: &Node, count: usize) {
    for number in 0..count {
        node.put(&key(number), counter(1, "filler")).await;
    }
}

async fn all_hold(nodes: &[Node], count: usize) {
    eventually(10 * SECOND, "all hold all", async || {
        for node in nodes {
            if node.store.list("").await.unwrap().len() != count {
                return false;
            }
        }
        true
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_write_reaches_all_members_and_their_watchers() {
    let network = SimulatedNetwork::new(1, bad_day());
    let nodes = cluster(&network, 5).await;
    let mut watches: Vec<_> = nodes
        .iter()
        .map(|node| node.store.watch_prefix("tenant/"))
        .collect();
    nodes[3].put("tenant/c", counter(7, "w")).await;
    let seen = async {
        for watch in &mut watches {
            loop {
                if let WatchEvent::Put(key, value) = watch.next().await.unwrap() {
                    assert_eq!((key.as_str(), value.value), ("tenant/c", 7));
                    break;
                }
            }
        }
    };
    within(3 * SECOND, "all watchers have seen the write", seen).await;
    nodes[0].store.delete("tenant/c").await.unwrap();
    eventually(3 * SECOND, "all have seen the deletion", async || {
        agreement(&nodes).await.is_some_and(|all| all.is_empty())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_joiner_is_not_ready_before_it_holds_everything() {
    let network = SimulatedNetwork::new(2, bad_day());
    let nodes = cluster(&network, 3).await;
    for (number, node) in nodes.iter().enumerate() {
        for cluster in 0..1500 {
            node.put(&key(number * 10_000 + cluster), counter(1, "w"))
                .await;
        }
    }
    all_hold(&nodes, 4500).await;
    let joiner = start(&network, 3, config(0..3)).await;
    assert!(joiner.memberlist.inspector().waiting_for().is_some());
    within(
        10 * SECOND,
        "the joiner is ready",
        joiner.memberlist.ready(),
    )
    .await;
    assert_eq!(joiner.store.list("").await.unwrap().len(), 4500);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_cannot_reach_anybody_says_so_and_goes_on_alone() {
    let network = SimulatedNetwork::new(3, Faults::NONE);
    let alone = start(&network, 0, config([0, 7, 8])).await;
    eventually(5 * SECOND, "it says whom it waits for", async || {
        alone
            .memberlist
            .inspector()
            .waiting_for()
            .is_some_and(|waiting| {
                waiting.contains("10.0.0.7:7946 (connection refused)")
                    && waiting.contains("10.0.0.8:7946")
                    && !waiting.contains("10.0.0.0:7946")
            })
    })
    .await;
    within(15 * SECOND, "it goes on alone", alone.memberlist.ready()).await;
    alone.put("tenant/c", counter(1, "alone")).await;
    // Members that join later are found, although the newcomer is not told about them.
    let late = start(&network, 7, config([])).await;
    eventually(120 * SECOND, "the two find each other", async || {
        late.get("tenant/c").await.is_some() && alone.active().await == 2
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_first_member_without_join_members_is_ready_at_once() {
    let network = SimulatedNetwork::new(4, Faults::NONE);
    let node = start(&network, 0, config([])).await;
    within(SECOND, "ready", node.memberlist.ready()).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_must_join_fails_if_it_cannot() {
    let network = SimulatedNetwork::new(5, Faults::NONE);
    let fast = MemberlistConfig {
        abort_if_cluster_fast_join_fails: true,
        ..config([9])
    };
    let slow = MemberlistConfig {
        abort_if_cluster_join_fails: true,
        max_join_retries: 3,
        ..config([9])
    };
    for (config, attempts) in [(fast, "within 1 attempts"), (slow, "within 3 attempts")] {
        let mut node = start(&network, 0, config).await;
        let why = within(60 * SECOND, "it fails", node.memberlist.failed())
            .await
            .to_string();
        assert!(why.contains(attempts), "{why}");
        assert!(why.contains("10.0.0.9:7946 (connection refused)"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_before_joining_are_refused_with_what_is_waited_for() {
    let network = SimulatedNetwork::new(
        6,
        Faults {
            loss: 1.0,
            ..Faults::NONE
        },
    );
    let _silent = start(&network, 1, config([])).await;
    let node = start(&network, 0, config([1])).await;
    let error = node.store.get("tenant/c").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }));
    assert!(
        error.to_string().contains("10.0.0.1:7946 (no answer yet)"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_member_wrote_lives_on() {
    let network = SimulatedNetwork::new(7, bad_day());
    let mut nodes = cluster_with(&network, 4, |config| MemberlistConfig {
        left_ingesters_timeout: 30 * SECOND,
        ..config
    })
    .await;
    fill(&nodes[0], 300).await;
    all_hold(&nodes, 300).await;
    drop(nodes.remove(0));
    eventually(10 * SECOND, "the others hold it for dead", async || {
        nodes[0].states().await.contains(&MemberState::Dead)
    })
    .await;
    eventually(5 * SECOND, "the others have taken over", async || {
        nodes[0].copies().await >= 300
    })
    .await;
    let adopted: f64 = nodes
        .iter()
        .map(|node| node.metric("memberlist_client_adopted_entries_total"))
        .sum();
    assert!((300.0..400.0).contains(&adopted), "{adopted} adopted");
    eventually(90 * SECOND, "the dead one is forgotten", async || {
        nodes[0].states().await.len() == 3
    })
    .await;
    // Two more die, and the last one tells a newcomer everything.
    let last = nodes.pop().unwrap();
    drop(nodes);
    let joiner = start(&network, 9, config([3])).await;
    within(
        20 * SECOND,
        "the newcomer is ready",
        joiner.memberlist.ready(),
    )
    .await;
    assert_eq!(joiner.store.list("").await.unwrap().len(), 300);
    drop(last);
}

#[tokio::test(start_paused = true)]
async fn a_leaver_hands_over_before_it_goes() {
    let network = SimulatedNetwork::new(8, bad_day());
    let mut nodes = cluster(&network, 3).await;
    fill(&nodes[0], 300).await;
    let leaver = nodes.remove(0);
    let store = leaver.store.clone();
    within(10 * SECOND, "it leaves", leaver.memberlist.leave()).await;
    // Its map no longer counts: the others publish all it held.
    assert!(nodes[0].copies().await >= 300);
    assert_eq!(nodes[1].store.list("").await.unwrap().len(), 300);
    for node in &nodes {
        eventually(SECOND, "they know that it has left", async || {
            node.states().await.contains(&MemberState::Left)
        })
        .await;
    }
    let error = store.get("tenant/c").await.unwrap_err();
    assert!(error.to_string().contains("left"), "{error}");
    assert!(store.watch_prefix("").next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_last_member_leaves_without_waiting_for_anybody() {
    let network = SimulatedNetwork::new(9, Faults::NONE);
    let node = start(&network, 0, config([])).await;
    node.put("tenant/c", counter(1, "w")).await;
    within(SECOND, "it leaves", node.memberlist.leave()).await;
}

#[tokio::test(start_paused = true)]
async fn superseded_copies_are_dropped() {
    let network = SimulatedNetwork::new(10, bad_day());
    let nodes = cluster(&network, 4).await;
    for round in 0..8 {
        for number in 0..100 {
            let writer = &nodes[(round + number) % 4];
            let seen = writer.get(&key(number)).await.map_or(0, |seen| seen.value);
            writer.put(&key(number), counter(seen + 1, "w")).await;
        }
        tokio::time::sleep(2 * SECOND).await;
    }
    eventually(60 * SECOND, "one copy of each key", async || {
        nodes[0].copies().await == 100
    })
    .await;
    assert_eq!(agreement(&nodes).await.unwrap().len(), 100);
    let dropped: f64 = nodes
        .iter()
        .map(|node| node.metric("memberlist_client_superseded_entries_dropped_total"))
        .sum();
    assert!(dropped > 0.0);
}

#[tokio::test(start_paused = true)]
async fn both_sides_of_a_partition_agree_when_it_heals() {
    let network = SimulatedNetwork::new(11, bad_day());
    let nodes = cluster(&network, 5).await;
    nodes[0].put("tenant/c", counter(1, "before")).await;
    fill(&nodes[0], 50).await;
    all_hold(&nodes, 51).await;
    let side = |numbers: [usize; 3]| numbers.map(address).into_iter().collect::<HashSet<_>>();
    network.partition(vec![side([0, 1, 1]), side([2, 3, 4])]);
    eventually(
        10 * SECOND,
        "each side holds the other for dead",
        async || nodes[0].active().await == 2 && nodes[4].active().await == 3,
    )
    .await;
    nodes[1].put("tenant/c", counter(10, "two")).await;
    nodes[4].put("tenant/c", counter(20, "three")).await;
    nodes[0].put("tenant/of-two", counter(1, "two")).await;
    nodes[2].put("tenant/of-three", counter(1, "three")).await;
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(nodes[0].get("tenant/c").await.unwrap().value, 10);
    assert_eq!(nodes[3].get("tenant/c").await.unwrap().value, 20);
    network.partition(Vec::new());
    let took = eventually(5 * SECOND, "all agree", async || {
        agreement(&nodes).await.is_some_and(|all| all.len() == 53)
    })
    .await;
    println!("healed after {took:?}");
    assert_eq!(
        nodes[0].get("tenant/c").await.unwrap(),
        counter(20, "three")
    );
    // The side of three had taken over what the side of two went on publishing.
    eventually(60 * SECOND, "one copy of each key", async || {
        nodes[0].copies().await == 53
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_longer_than_everybodys_memory_heals() {
    let network = SimulatedNetwork::new(12, Faults::NONE);
    let nodes = cluster_with(&network, 4, |config| MemberlistConfig {
        left_ingesters_timeout: 20 * SECOND,
        ..config
    })
    .await;
    let side = |numbers: [usize; 2]| numbers.map(address).into_iter().collect::<HashSet<_>>();
    network.partition(vec![side([0, 1]), side([2, 3])]);
    nodes[0].put("tenant/a", counter(1, "a")).await;
    nodes[3].put("tenant/b", counter(1, "b")).await;
    eventually(120 * SECOND, "the others are forgotten", async || {
        nodes[0].states().await.len() == 2 && nodes[3].states().await.len() == 2
    })
    .await;
    network.partition(Vec::new());
    eventually(120 * SECOND, "all agree", async || {
        agreement(&nodes).await.is_some_and(|all| all.len() == 2)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_stays_deleted() {
    let network = SimulatedNetwork::new(13, bad_day());
    let nodes = cluster(&network, 4).await;
    fill(&nodes[0], 50).await;
    all_hold(&nodes, 50).await;
    // One member does not hear of the deletions, for longer than tombstones are kept for the living.
    network.partition(vec![(0..3).map(address).collect()]);
    for number in 0..50 {
        nodes[1].store.delete(&key(number)).await.unwrap();
    }
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(nodes[3].store.list("").await.unwrap().len(), 50);
    network.partition(Vec::new());
    eventually(10 * SECOND, "it learns of them", async || {
        agreement(&nodes).await.is_some_and(|all| all.is_empty())
    })
    .await;
    // One comes back to life, and does not go with the tombstones.
    nodes[2].put(&key(0), counter(1, "again")).await;
    let forgotten = async || {
        nodes.iter().all(|node| {
            let entries = node.memberlist.inspector().entries();
            entries.len() == 1 && !entries[0].deleted
        })
    };
    eventually(400 * SECOND, "the tombstones are forgotten", forgotten).await;
    eventually(60 * SECOND, "and no longer published", async || {
        nodes[0].copies().await == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_cut_off_for_a_while_comes_back() {
    let network = SimulatedNetwork::new(14, bad_day());
    let nodes = cluster(&network, 3).await;
    fill(&nodes[2], 20).await;
    all_hold(&nodes, 20).await;
    network.partition(vec![[0, 1].map(address).into_iter().collect()]);
    eventually(10 * SECOND, "it is considered dead", async || {
        nodes[0].active().await == 2
    })
    .await;
    nodes[0].put(&key(3), counter(2, "meanwhile")).await;
    network.partition(Vec::new());
    eventually(5 * SECOND, "it is back", async || {
        nodes[0].active().await == 3 && agreement(&nodes).await.is_some()
    })
    .await;
    assert_eq!(nodes[2].get(&key(3)).await.unwrap().value, 2);
}

#[tokio::test(start_paused = true)]
async fn after_not_having_run_a_member_catches_up_before_it_answers() {
    let network = SimulatedNetwork::new(15, bad_day());
    let nodes = cluster(&network, 3).await;
    fill(&nodes[0], 5).await;
    all_hold(&nodes, 5).await;
    // As if all processes had been stopped: nothing ran, and time went by.
    tokio::time::advance(30 * SECOND).await;
    let first = key(1);
    let asked = nodes[1].store.get(&first);
    let value = within(4 * SECOND, "the answer", asked).await.unwrap();
    assert_eq!(value, Some(counter(1, "filler")));
    for node in &nodes {
        within(4 * SECOND, "ready", node.memberlist.ready()).await;
        assert!(!node.states().await.contains(&MemberState::Dead));
    }
    let alone = start(&SimulatedNetwork::new(16, Faults::NONE), 0, config([])).await;
    within(SECOND, "ready", alone.memberlist.ready()).await;
    tokio::time::advance(30 * SECOND).await;
    within(SECOND, "the answer", alone.store.get(&key(1)))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_rare_write_is_known_to_five_members_in_a_few_round_trips() {
    let network = SimulatedNetwork::new(17, Faults::NONE);
    let nodes = cluster(&network, 5).await;
    // A network of a data centre, from here on.
    network.set_faults(Faults {
        delay: (Duration::from_micros(200), Duration::from_millis(1)),
        ..Faults::NONE
    });
    let mut slowest = Duration::ZERO;
    for round in 0..50 {
        tokio::time::sleep(SECOND).await;
        nodes[round % 5]
            .put("tenant/c", counter(i64::try_from(round).unwrap(), "w"))
            .await;
        let all_know = async || {
            for node in &nodes {
                let known = node.get("tenant/c").await;
                if known.is_none_or(|known| known.value != i64::try_from(round).unwrap()) {
                    return false;
                }
            }
            true
        };
        slowest = slowest.max(eventually(SECOND, "all know", all_know).await);
    }
    println!("known to all within {slowest:?}");
    assert!(slowest <= Duration::from_millis(40), "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_joiner_waits_for_whom_it_expects_although_another_joiner_answers() {
    let network = SimulatedNetwork::new(18, Faults::NONE);
    let active = start(&network, 0, config([])).await;
    within(SECOND, "ready", active.memberlist.ready()).await;
    fill(&active, 20).await;
    // Two start at once, and do not reach the one that has everything for a while.
    network.partition(vec![[1, 2].map(address).into(), [0].map(address).into()]);
    let joiners = [
        start(&network, 1, config(0..3)).await,
        start(&network, 2, config(0..3)).await,
    ];
    tokio::time::sleep(5 * SECOND).await;
    for joiner in &joiners {
        let waiting = joiner.memberlist.inspector().waiting_for();
        assert!(waiting.is_some(), "they have only heard each other");
    }
    network.partition(Vec::new());
    for joiner in &joiners {
        within(4 * SECOND, "ready", joiner.memberlist.ready()).await;
        assert_eq!(joiner.store.list("").await.unwrap().len(), 20);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_a_member_that_refuses_connections_is_not_waited_for() {
    for count in [2, 3] {
        let network = SimulatedNetwork::new(19, Faults::NONE);
        let mut nodes = cluster(&network, count).await;
        fill(&nodes[0], 5).await;
        all_hold(&nodes, 5).await;
        // It dies while the others do not run.
        drop(nodes.pop());
        tokio::time::advance(30 * SECOND).await;
        let first = key(1);
        let asked = nodes[0].store.get(&first);
        let value = within(2 * SECOND, "the answer", asked).await.unwrap();
        assert_eq!(value, Some(counter(1, "filler")));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_a_member_that_says_nothing_is_not_waited_for_until_it_is_dead() {
    let network = SimulatedNetwork::new(20, Faults::NONE);
    let nodes = cluster(&network, 2).await;
    fill(&nodes[0], 5).await;
    all_hold(&nodes, 5).await;
    network.partition(vec![[address(0)].into(), [address(1)].into()]);
    tokio::time::advance(30 * SECOND).await;
    let first = key(1);
    let asked = nodes[0].store.get(&first);
    let value = within(4 * SECOND, "the answer", asked).await.unwrap();
    assert_eq!(value, Some(counter(1, "filler")));
}

#[tokio::test(start_paused = true)]
async fn after_a_stall_a_slow_member_is_waited_for() {
    let network = SimulatedNetwork::new(21, Faults::NONE);
    let nodes = cluster(&network, 2).await;
    fill(&nodes[0], 5).await;
    all_hold(&nodes, 5).await;
    // Written where the other member cannot hear of it before it stalls.
    network.partition(vec![[address(0)].into(), [address(1)].into()]);
    nodes[1].put(&key(1), counter(2, "meanwhile")).await;
    tokio::time::advance(30 * SECOND).await;
    let delay = Duration::from_millis(1_200);
    network.set_faults(Faults {
        delay: (delay, delay),
        ..Faults::NONE
    });
    network.partition(Vec::new());
    let value = nodes[0].get(&key(1)).await;
    assert_eq!(value, Some(counter(2, "meanwhile")));
}
