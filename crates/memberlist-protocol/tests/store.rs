//! A hundred members that share keys, over a network that loses packets and falls apart: what they hold
//! in the end, how long that takes, and what is sent for it. `SIMULATED_KEYS=10000 cargo test --release
//! -p memberlist-protocol --test store -- --nocapture` has as many keys as a large fleet.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

mod support;

use std::cell::Cell;
use std::time::Duration;

use memberlist_protocol::membership::Priority;
use support::{Ring, SECOND, Traffic};

/// Of packets.
const LOSS: f64 = 0.05;

/// Time between two rounds of gossip.
const ROUND: Duration = Duration::from_millis(200);

fn keys() -> usize {
    let keys = std::env::var("SIMULATED_KEYS");
    keys.map_or(100, |keys| keys.parse().unwrap())
}

fn key(number: usize) -> String {
    format!("ha-tracker/tenant-{}/cluster-{number}", number % 10)
}

/// All that is told and not told often enough.
fn waiting(ring: &Ring) -> usize {
    let members = ring.members.iter();
    members
        .flat_map(|member| [Priority::Own, Priority::Relayed].map(|one| member.node.waiting(one).0))
        .sum()
}

/// Whether all members hold the same, to the byte. One that does not is looked at first the next time.
fn is_same(ring: &Ring, keys: usize, behind: &Cell<usize>) -> bool {
    let members = ring.members.len();
    let state = |number: usize| ring.members[number].store.local_state().unwrap();
    let first = state(0);
    let mut all = [behind.get()].into_iter().chain(1..members);
    let other = all.find(|number| state(*number) != first);
    other.inspect(|number| behind.set(*number)).is_none() && ring.members[0].store.len() == keys
}

/// Writes all keys, a hundred in a second, each by another member than the one before.
fn write_all(ring: &mut Ring, keys: usize, value: &str) {
    for number in 0..keys {
        let writer = number % ring.members.len();
        ring.write(writer, &key(number), value);
        ring.pass(SECOND / 100);
    }
}

struct Outcome {
    first: Duration,
    healed: Duration,
    traffic: Traffic,
    /// What each member holds in the end, bytes.
    held: Vec<usize>,
}

/// Keys are written; then the ring falls apart, and both parts write the same keys; then it heals.
fn live(members: usize, keys: usize, seed: u64) -> Outcome {
    let mut ring = Ring::of(members, seed);
    let behind = Cell::new(1);
    ring.loss = LOSS;
    write_all(&mut ring, keys, "1");
    // A member that no packet of a key has reached gets it with an exchange of states.
    let first = ring.until(200 * SECOND, "all hold all", |ring| {
        is_same(ring, keys, &behind)
    });
    for number in 0..members / 3 {
        ring.members[number].part = 1;
    }
    write_all(&mut ring, keys.min(1000), "2");
    ring.write(0, &key(0), "3");
    ring.write(members - 1, &key(0), "4");
    ring.pass(20 * SECOND);
    assert!(!is_same(&ring, keys, &behind), "the parts reach each other");
    assert!(ring.have(&key(0), "4") <= members - members / 3);
    for member in &mut ring.members {
        member.part = 0;
    }
    let healed = ring.until(200 * SECOND, "all hold the same again", |ring| {
        is_same(ring, keys, &behind) && ring.have(&key(0), "4") == members
    });
    ring.until(60 * SECOND, "all is told", |ring| waiting(ring) == 0);
    Outcome {
        first,
        healed,
        traffic: ring.traffic,
        held: ring.members.iter().map(|one| one.store.bytes()).collect(),
    }
}

#[test]
fn a_hundred_members_hold_the_same_after_loss_and_a_partition() {
    let (members, keys) = (100, keys());
    let Outcome {
        first,
        healed,
        traffic,
        held,
    } = live(members, keys, 21);
    let rounds = |time: Duration| time.as_secs_f64() / ROUND.as_secs_f64();
    println!(
        "{members} members, {keys} keys, {LOSS} of packets lost: the last key is on all after {first:?} \
         ({:.0} rounds); after a partition all hold the same after {healed:?} ({:.0} rounds)",
        rounds(first),
        rounds(healed)
    );
    println!("{traffic:?}");
    println!("{} bytes held by each", held[0]);
    assert!(held.iter().all(|bytes| *bytes == held[0]));
    // Keys, values and what surrounds them, once: nothing is kept for each member.
    assert!(held[0] < keys * 120, "{}", held[0]);
}

#[test]
fn a_simulation_can_be_repeated() {
    let live = |seed| {
        let Outcome {
            first,
            healed,
            traffic,
            ..
        } = live(20, 50, seed);
        (first, healed, traffic)
    };
    let once = live(5);
    assert_eq!(once, live(5));
    assert_ne!(once.2, live(6).2);
}

#[test]
fn a_key_reaches_a_hundred_members_in_a_second_in_spite_of_loss() {
    let mut ring = Ring::of(100, 22);
    ring.loss = LOSS;
    let mut times = Vec::new();
    for number in 0..50 {
        ring.write(number, &key(number), "1");
        let most = 100 * SECOND;
        let key = key(number);
        times.push(ring.until(most, "all have it", |ring| ring.have(&key, "1") == 100));
    }
    times.sort_unstable();
    println!("median {:?}, slowest of 50 {:?}", times[25], times[49]);
    assert!(times[25] <= SECOND);
}
