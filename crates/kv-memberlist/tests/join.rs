//! Joining a large cluster: how often joiners ask, what they receive, and which failures they
//! survive. In virtual time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use kv_memberlist::simulated::{Faults, SimulatedNetwork};
use rand::distr::Alphanumeric;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use support::{
    Node, address, agreement, bad_day, cluster, config, counter, eventually, start, within,
};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);
/// Makes a snapshot of more than a dozen parts.
const KEYS: usize = 12_000;

/// Members that hold `keys` entries, one each of `members`.
async fn large(network: &SimulatedNetwork, members: usize, keys: usize) -> Vec<Node> {
    let nodes = cluster(network, members).await;
    let mut random = StdRng::seed_from_u64(7);
    for number in 0..keys {
        // Nothing that compression makes small.
        let writer: String = (0..64)
            .map(|_| random.sample(Alphanumeric) as char)
            .collect();
        let key = format!("tenant-{}/cluster-{number:06}", number % 10);
        nodes[number % members].put(&key, counter(1, &writer)).await;
        if number % 100 == 99 {
            sleep(Duration::from_millis(10)).await;
        }
    }
    eventually(60 * SECOND, "all hold all", async || {
        nodes.iter().all(|node| entries(node) == keys)
    })
    .await;
    nodes
}

fn entries(node: &Node) -> usize {
    node.memberlist.inspector().entries().len()
}

fn sum(nodes: &[Node], metric: &str) -> u64 {
    let name = format!("memberlist_client_{metric}_total");
    nodes.iter().map(|node| node.metric(&name) as u64).sum()
}

#[tokio::test(start_paused = true)]
async fn six_joiners_share_one_snapshot_and_are_sent_it_once() {
    let network = SimulatedNetwork::new(1, Faults::NONE);
    let nodes = large(&network, 1, KEYS).await;
    assert_eq!(sum(&nodes, "snapshots"), 0);
    let (_, bytes_before) = network.traffic();
    let mut joiners = Vec::new();
    for number in 1..=6 {
        joiners.push(start(&network, number, config([0])).await);
    }
    for joiner in &joiners {
        within(20 * SECOND, "ready", joiner.memberlist.ready()).await;
        assert_eq!(entries(joiner), KEYS);
    }
    let (_, bytes_after) = network.traffic();
    assert_eq!(sum(&nodes, "snapshots"), 1);
    // Some of the six may be ready before others have asked, who then choose among all that are: each of
    // those makes one as well, for all that it serves.
    for joiner in &joiners {
        assert!(sum(std::slice::from_ref(joiner), "snapshots") <= 1);
    }
    let sent = sum(&nodes, "snapshot_sent_bytes") + sum(&joiners, "snapshot_sent_bytes");
    let all = bytes_after - bytes_before;
    println!("{sent} bytes of snapshots, {all} in all");
    // The random part alone of each value has 48 bytes.
    assert!(
        sent > (6 * KEYS * 48) as u64 && sent < (6 * KEYS * 80) as u64,
        "{sent}"
    );
    // Ordinary gossip brings each of them a first message, of 64 KiB at most, and goes on.
    assert!(all - sent < 6 * 2 * 65_536, "{all}, of which {sent}");
}

#[tokio::test(start_paused = true)]
async fn a_member_is_asked_again_only_when_it_has_answered() {
    let network = SimulatedNetwork::new(1, Faults::NONE);
    let nodes = large(&network, 1, 200).await;
    let delay = Duration::from_millis(400);
    network.set_faults(Faults {
        delay: (delay, delay),
        ..Faults::NONE
    });
    let (packets_before, _) = network.traffic();
    let began = Instant::now();
    let joiner = start(&network, 1, config([0])).await;
    within(20 * SECOND, "ready", joiner.memberlist.ready()).await;
    let (packets_after, _) = network.traffic();
    let rounds = began.elapsed().as_secs_f64() / 0.2;
    let packets = packets_after - packets_before;
    println!("{packets} packets in {rounds} rounds");
    // A round of each of the two is an exchange of three packets. Before, 12 more per round were
    // sent for asking every 50 ms.
    assert!(
        (packets as f64) < 8.0 * rounds,
        "{packets} in {rounds} rounds"
    );
    drop(nodes);
}

#[tokio::test(start_paused = true)]
async fn a_joiner_goes_on_with_another_member_when_one_falls_silent() {
    let network = SimulatedNetwork::new(1, Faults::NONE);
    let mut nodes = large(&network, 3, KEYS).await;
    let joiner = start(&network, 3, config(0..3)).await;
    // One part at least has arrived, and not all.
    let serving = eventually_served(&nodes).await;
    assert!(joiner.memberlist.inspector().waiting_for().is_some());
    let others: HashSet<_> = (0..4).filter(|n| *n != serving).map(address).collect();
    network.partition(vec![others]);
    within(30 * SECOND, "ready", joiner.memberlist.ready()).await;
    network.partition(Vec::new());
    assert_eq!(entries(&joiner), KEYS);
    assert!(sum(&nodes, "snapshots") >= 2);
    nodes.push(joiner);
    eventually(30 * SECOND, "all agree", async || {
        agreement(&nodes).await.is_some()
    })
    .await;
}

/// Who has sent parts.
async fn eventually_served(nodes: &[Node]) -> usize {
    let served = |node: &Node| sum(std::slice::from_ref(node), "snapshot_parts_sent") > 0;
    for _ in 0..10_000 {
        if let Some(number) = nodes.iter().position(served) {
            return number;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("no member sends a snapshot");
}

#[tokio::test(start_paused = true)]
async fn a_joiner_gets_there_on_a_bad_day_while_others_write() {
    let network = SimulatedNetwork::new(3, Faults::NONE);
    let mut nodes = large(&network, 3, KEYS).await;
    network.set_faults(bad_day());
    let joiner = start(&network, 3, config(0..3)).await;
    let began = Instant::now();
    let mut written = 0;
    while joiner.memberlist.inspector().waiting_for().is_some() {
        assert!(began.elapsed() < 120 * SECOND, "it does not become ready");
        for _ in 0..5 {
            let number = written % KEYS;
            let key = format!("tenant-{}/cluster-{number:06}", number % 10);
            nodes[written % 3].put(&key, counter(2, "again")).await;
            written += 1;
        }
        sleep(Duration::from_millis(20)).await;
    }
    println!("ready after {:?} and {written} writes", began.elapsed());
    assert_eq!(entries(&joiner), KEYS);
    nodes.push(joiner);
    network.set_faults(Faults::NONE);
    eventually(30 * SECOND, "all agree", async || {
        agreement(&nodes).await.is_some()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_joiner_says_how_far_it_is() {
    let delay = Duration::from_millis(100);
    let network = SimulatedNetwork::new(1, Faults::NONE);
    let _nodes = large(&network, 1, KEYS).await;
    network.set_faults(Faults {
        delay: (delay, delay),
        ..Faults::NONE
    });
    let joiner = start(&network, 1, config([0])).await;
    let mut said = Vec::new();
    while let Some(text) = joiner.memberlist.inspector().waiting_for() {
        if said.last() != Some(&text) {
            said.push(text);
        }
        sleep(Duration::from_millis(20)).await;
    }
    // What the member says of itself is an entry too.
    let progress = format!(" % of {} entries received from {}", KEYS + 2, address(0));
    let shares: Vec<u32> = said
        .iter()
        .filter_map(|text| text.strip_prefix("catching up: ")?.strip_suffix(&progress))
        .map(|share| share.parse().unwrap())
        .collect();
    assert!(shares.len() >= 2 && shares.is_sorted(), "{said:#?}");
}
