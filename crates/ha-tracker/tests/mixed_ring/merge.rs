//! Mimir's merge is circular between entries of one replica from two elections, and open at exact ties:
//! members of both kinds that have been apart still agree.

use kv_core::Store;

use super::*;

const KEY: &str = "ha-tracker/u/c";

/// What a member holds of a key: replica, time of election, last sample.
type Held = (String, i64, i64);

/// A moment of the tests, Unix milliseconds.
struct Times {
    zero: i64,
}

impl Times {
    fn at(&self, later: i64) -> i64 {
        self.zero + later
    }
}

impl Ring {
    /// What each member holds.
    async fn held(&self, key: &str) -> Vec<Option<Held>> {
        let mut all = Vec::new();
        for member in &self.ours {
            let entry = member.store.get(key).await.unwrap();
            all.push(entry.map(|entry| (entry.replica, entry.elected_at, entry.received_at)));
        }
        for member in &self.go {
            let entry = member.keys().await.unwrap().remove(key);
            all.push(entry.map(|entry| (entry.replica, entry.elected_at, entry.received_at)));
        }
        all
    }

    /// Waits until all hold the same.
    async fn agreed(&self, key: &str, most: Duration) -> Held {
        let held = wait_for("the same everywhere", most, || async {
            let held = self.held(key).await;
            match held.iter().all(|one| *one == held[0]) {
                true => Ok(held[0].clone()),
                false => Err(format!("{held:?}")),
            }
        })
        .await;
        held.unwrap()
    }
}

/// Members that know of each other only now, by one more that joins all of them. Each has another
/// entry of the key: Mimir's rule prefers that of `go-1` (`r1`, elected at 10, seen at 100) to that of
/// `rust-0` (`r1`, 30, 60), that one to the one of `go-2` (`r2`, 20, 50), which there need not be, and
/// that one to the first.
async fn circle(
    times: &Times,
    with_second: bool,
    flags: &[&str],
    pull_push_interval: Duration,
) -> Ring {
    let mut members = vec![go("go-1", &[], flags).await];
    members[0].cas(KEY, "r1", times.at(10)).await.unwrap();
    members[0].cas(KEY, "r1", times.at(100)).await.unwrap();
    if with_second {
        let second = go("go-2", &[], flags).await;
        second.cas(KEY, "r2", times.at(20)).await.unwrap();
        second.cas(KEY, "r2", times.at(50)).await.unwrap();
        members.push(second);
    }
    let with = |name: &str, join: &[SocketAddr]| MemberlistConfig {
        pull_push_interval,
        ..config(name, join)
    };
    let rust = ours(with("rust-0", &[])).await;
    rust.put(KEY, "r1", times.at(30)).await;
    rust.put(KEY, "r1", times.at(60)).await;
    let join = members.iter().map(MemberlistGo::gossip);
    let join: Vec<_> = join.chain([rust.address()]).collect();
    let ring = Ring {
        ours: vec![rust, ours(with("rust-1", &join)).await],
        go: members,
    };
    ring.wait_for_members().await;
    ring
}

#[tokio::test(flavor = "multi_thread")]
async fn two_elections_of_a_replica_become_one_with_the_exchange_of_states() {
    let times = Times { zero: now_ms() };
    let flags = ["-memberlist.pullpush-interval=1s"];
    let ring = circle(&times, false, &flags, SECOND).await;
    // The latest election, and a sample later than that of the entry that Mimir's rule prefers to it.
    let agreed = ring.agreed(KEY, LONG).await;
    assert_eq!(agreed, ("r1".to_owned(), times.at(30), times.at(101)));
}

/// Without an exchange of states, which is due after half a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_circle_ends_with_the_next_refresh_at_the_latest() {
    for (with_second, refreshes) in [
        (false, "go-1"),
        (false, "rust-0"),
        (true, "go-1"),
        (true, "rust-0"),
    ] {
        let times = Times { zero: now_ms() };
        let ring = circle(&times, with_second, &[], Duration::from_secs(30)).await;
        if refreshes == "go-1" {
            // Of whichever election it has.
            ring.go[0].cas(KEY, "r1", times.at(200)).await.unwrap();
        } else {
            ring.ours[0].put(KEY, "r1", times.at(200)).await;
        }
        let agreed = ring.agreed(KEY, 2 * SECOND).await;
        // If `go-1` had the entry of `r2` at that moment, its refresh was an election.
        let elected: &[i64] = match (with_second, refreshes) {
            (true, "go-1") => &[30, 200],
            _ => &[30],
        };
        let is_expected = elected.iter().any(|at| times.at(*at) == agreed.1);
        assert!(agreed.0 == "r1" && is_expected, "{refreshes}: {agreed:?}");
        assert!([200, 201].map(|later| times.at(later)).contains(&agreed.2));
    }
}

/// Two replicas, elected in the same millisecond: Mimir's members keep what they have.
#[tokio::test(flavor = "multi_thread")]
async fn a_tie_goes_to_one_replica() {
    let time = now_ms();
    let first = go("go-1", &[], &[]).await;
    first.cas(KEY, "r1", time).await.unwrap();
    let second = ours(config("rust-0", &[])).await;
    second.put(KEY, "r2", time).await;
    let join = [first.gossip(), second.address()];
    let ring = Ring {
        ours: vec![second, ours(config("rust-1", &join)).await],
        go: vec![first],
    };
    ring.wait_for_members().await;
    let agreed = ring.agreed(KEY, EXCHANGED).await;
    assert_eq!(agreed, ("r2".to_owned(), time, time + 1));
}
