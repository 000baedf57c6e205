//! Gossip rings of our members and of members in Go, which run the code of Mimir's: real processes,
//! real sockets, and the entries of the tracker.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed check panics")]

mod merge;
mod spread;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ha_tracker::{CODEC, ReplicaDesc};
use kv_core::{CasUpdate, Store};
use kv_memberlist::{MemberState, Memberlist, MemberlistConfig, MemberlistStore, Protocol, start};
use peers::{LONG, MemberlistGo, MemberlistGoOptions, SHORT, wait_for};
use prometheus_client::registry::Registry;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::time::Instant;

/// How long an entry may take to all members.
const SECOND: Duration = Duration::from_secs(1);

/// How long it may take if a member was not told by any other, by chance: until states are exchanged.
const EXCHANGED: Duration = Duration::from_secs(40);

/// A member of ours.
struct Ours {
    name: String,
    store: MemberlistStore<ReplicaDesc>,
    memberlist: Memberlist,
}

fn config(name: &str, join: &[SocketAddr]) -> MemberlistConfig {
    MemberlistConfig {
        protocol: Protocol::Memberlist,
        bind_addr: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        bind_port: 0,
        node_name: name.to_owned(),
        randomize_node_name: false,
        join_members: join.iter().map(SocketAddr::to_string).collect(),
        ..MemberlistConfig::default()
    }
}

async fn ours(config: MemberlistConfig) -> Ours {
    let name = config.node_name.clone();
    let started = start(config, CODEC, &mut Registry::default()).await;
    let (store, memberlist) = started.unwrap();
    tokio::time::timeout(LONG, memberlist.ready())
        .await
        .unwrap();
    Ours {
        name,
        store,
        memberlist,
    }
}

async fn go(name: &str, join: &[SocketAddr], flags: &[&str]) -> MemberlistGo {
    let options = MemberlistGoOptions {
        node: name.to_owned(),
        join: join.to_vec(),
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
    };
    MemberlistGo::start(&options).await
}

impl Ours {
    fn address(&self) -> SocketAddr {
        self.memberlist.inspector().address()
    }

    /// Those that it takes for alive, by name.
    async fn members(&self) -> Vec<String> {
        let members = self.memberlist.inspector().members().await;
        let alive = members
            .into_iter()
            .filter(|member| member.state == MemberState::Active);
        alive.map(|member| member.name).collect()
    }

    async fn put(&self, key: &str, replica: &str, now: i64) {
        let mut update = |current: Option<&ReplicaDesc>| {
            let elected = current.filter(|entry| entry.replica == replica);
            CasUpdate::Put(ReplicaDesc {
                replica: replica.to_owned(),
                received_at: now,
                elected_at: elected.map_or(now, |entry| entry.elected_at),
                ..ReplicaDesc::default()
            })
        };
        self.store.cas(key, &mut update).await.unwrap();
    }

    async fn replica(&self, key: &str) -> Option<String> {
        let entry = self.store.get(key).await.unwrap();
        entry.map(|entry| entry.replica)
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Members of both kinds.
struct Ring {
    ours: Vec<Ours>,
    go: Vec<MemberlistGo>,
}

impl Ring {
    /// So many members of ours, and so many in Go, each of which joins the first.
    async fn of(rust: usize, go_members: usize) -> Self {
        let mut ring = Self {
            ours: Vec::new(),
            go: vec![go("go-0", &[], &[]).await],
        };
        let first = [ring.go[0].gossip()];
        for number in 0..rust {
            let name = format!("rust-{number}");
            ring.ours.push(ours(config(&name, &first)).await);
        }
        for number in 1..go_members {
            // By a member of ours.
            let join = [ring.ours[0].address()];
            ring.go.push(go(&format!("go-{number}"), &join, &[]).await);
        }
        ring.wait_for_members().await;
        ring
    }

    fn names(&self) -> Vec<String> {
        let go = self.go.iter().map(|member| member.node().to_owned());
        let ours = self.ours.iter().map(|member| member.name.clone());
        go.chain(ours).collect()
    }

    /// Until every member takes for alive those that are in this ring, and no other.
    async fn wait_for_members(&self) {
        let names = self.names();
        wait_for("the same members everywhere", LONG, || async {
            for member in &self.go {
                let seen = member.member_names().await?;
                if seen != names {
                    return Err(format!("{} sees {seen:?}", member.node()));
                }
            }
            for member in &self.ours {
                let seen = member.members().await;
                if seen != names {
                    return Err(format!("{} sees {seen:?}", member.name));
                }
            }
            Ok(())
        })
        .await;
    }

    /// How long it takes until all have this replica under the key.
    async fn all_have(&self, key: &str, replica: &str, most: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let missing = self.missing(key, replica).await;
            let Some(missing) = missing else {
                return began.elapsed();
            };
            assert!(began.elapsed() < most, "{key}: {missing} after {most:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn missing(&self, key: &str, replica: &str) -> Option<String> {
        for member in &self.ours {
            let held = member.replica(key).await;
            if held.as_deref() != Some(replica) {
                return Some(format!("{} holds {held:?}", member.name));
            }
        }
        for member in &self.go {
            let keys = member.keys().await.unwrap();
            let held = keys.get(key).map(|entry| &entry.replica);
            if held.map(String::as_str) != Some(replica) {
                return Some(format!("{} holds {held:?}", member.node()));
            }
        }
        None
    }

    /// Complaints in the logs of Go's members, except for those about processes that end.
    fn check_logs(&self) {
        for member in &self.go {
            let complaints: Vec<String> = member
                .complaints()
                .into_iter()
                .filter(|line| {
                    ["connection refused", "i/o timeout", "Refuting", "Suspect"]
                        .iter()
                        .all(|harmless| !line.contains(harmless))
                })
                .collect();
            assert!(complaints.is_empty(), "{}: {complaints:#?}", member.node());
        }
    }
}

async fn share_keys(ring: &Ring) {
    let mut times = Vec::new();
    for round in 0..10 {
        for (number, member) in ring.ours.iter().enumerate() {
            let key = format!("ha-tracker/rust/{round}-{number}");
            member.put(&key, "r1", now_ms()).await;
            times.push(ring.all_have(&key, "r1", EXCHANGED).await);
        }
        for (number, member) in ring.go.iter().enumerate() {
            let key = format!("ha-tracker/go/{round}-{number}");
            member.cas(&key, "r1", now_ms()).await.unwrap();
            times.push(ring.all_have(&key, "r1", EXCHANGED).await);
        }
    }
    // A failover, written by the other side.
    ring.ours[0].put("ha-tracker/go/0-0", "r2", now_ms()).await;
    ring.all_have("ha-tracker/go/0-0", "r2", EXCHANGED).await;
    let go = &ring.go[0];
    go.cas("ha-tracker/rust/0-0", "r2", now_ms()).await.unwrap();
    ring.all_have("ha-tracker/rust/0-0", "r2", EXCHANGED).await;
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "{} of ours, {} in Go: {} writes on all members after {:?} (median), {:?} (99 %), {:?} (slowest)",
        ring.ours.len(),
        ring.go.len(),
        times.len(),
        at(50),
        at(99),
        at(100)
    );
    // Some of these are only a few, of which one may be late.
    assert!(at(90) < SECOND, "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_each_share_members_and_keys() {
    let ring = Ring::of(1, 1).await;
    share_keys(&ring).await;
    // Deletions, each way.
    let (ours, go) = (&ring.ours[0], &ring.go[0]);
    go.delete("ha-tracker/go/1-0").await.unwrap();
    wait_for("the deletion here", SHORT, || async {
        match ours.replica("ha-tracker/go/1-0").await {
            None => Ok(()),
            held => Err(format!("{held:?}")),
        }
    })
    .await;
    ours.store.delete("ha-tracker/rust/1-0").await.unwrap();
    wait_for("the deletion in Go", SHORT, || async {
        let keys = go.keys().await?;
        match keys.get("ha-tracker/rust/1-0") {
            None => Ok(()),
            Some(entry) if entry.deleted => Ok(()),
            held => Err(format!("{held:?}")),
        }
    })
    .await;
    ring.check_logs();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_of_each_share_members_and_keys_and_find_their_dead() {
    let mut ring = Ring::of(3, 3).await;
    share_keys(&ring).await;
    ring.check_logs();
    // One of each is killed, and found by all.
    drop(ring.ours.pop());
    ring.go.pop().unwrap().process.sigkill();
    ring.wait_for_members().await;
    // One of each leaves, which all know at once.
    let began = Instant::now();
    ring.ours.pop().unwrap().memberlist.leave().await;
    let leaver = ring.go.pop().unwrap();
    leaver.leave().await.unwrap();
    ring.wait_for_members().await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    // And both come back under their names, at other addresses.
    let join = [ring.go[0].gossip()];
    ring.ours.push(ours(config("rust-1", &join)).await);
    let join = [ring.ours[0].address()];
    ring.go.push(go("go-1", &join, &[]).await);
    ring.wait_for_members().await;
    share_keys(&ring).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_stopped_and_continued_is_back() {
    let ring = Ring::of(2, 1).await;
    ring.go[0].process.sigstop();
    wait_for("ours to take it for dead", LONG, || async {
        let seen = ring.ours[0].members().await;
        if seen == ["rust-0", "rust-1"] {
            return Ok(());
        }
        Err(format!("{seen:?}"))
    })
    .await;
    ring.go[0].process.sigcont();
    ring.wait_for_members().await;
    ring.ours[0].put("ha-tracker/u/c", "r1", now_ms()).await;
    ring.all_have("ha-tracker/u/c", "r1", EXCHANGED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn joiners_of_both_kinds_get_five_thousand_keys() {
    let first = go("go-0", &[], &[]).await;
    first.fill("ha-tracker/u/c-", 5000, "r1").await.unwrap();
    let began = Instant::now();
    let member = ours(config("rust-0", &[first.gossip()])).await;
    assert_eq!(member.memberlist.inspector().entries().len(), 5000);
    println!("5000 keys from Go after {:?}", began.elapsed());
    let second = go("go-1", &[member.address()], &[]).await;
    wait_for("all keys in Go", SHORT, || async {
        match second.keys().await?.len() {
            5000 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_must_agree() {
    const LABEL: &str = "mimir.default";
    let flag = format!("-memberlist.cluster-label={LABEL}");
    let first = go("go-0", &[], &[&flag]).await;
    let labelled = MemberlistConfig {
        cluster_label: LABEL.to_owned(),
        ..config("rust-0", &[first.gossip()])
    };
    let ring = Ring {
        ours: vec![ours(labelled).await],
        go: vec![first],
    };
    ring.wait_for_members().await;
    ring.ours[0].put("ha-tracker/u/c", "r1", now_ms()).await;
    ring.all_have("ha-tracker/u/c", "r1", SECOND).await;
    // One without a label is told what is wrong, and is no member.
    let without = config("rust-1", &[ring.go[0].gossip()]);
    let started = start(without, CODEC, &mut Registry::default()).await;
    let (_store, memberlist) = started.unwrap();
    let inspector = memberlist.inspector();
    wait_for("the reason", SHORT, || async {
        let waiting = inspector.waiting_for().unwrap_or_default();
        if waiting.contains("is cluster_label the same there?") {
            return Ok(());
        }
        Err(waiting)
    })
    .await;
    ring.wait_for_members().await;
}

/// An authority, and a certificate of its for the loopback interface: `ca.pem`, `cert.pem`, `key.pem`.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    write("ca.pem", params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    write("cert.pem", params.signed_by(&key, &issuer).unwrap().pem());
    write("key.pem", key.serialize_pem());
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_both_kinds_speak_over_tls() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name);
    let flag = |flag: &str, name: &str| format!("-memberlist.{flag}={}", file(name).display());
    let flags = [
        "-memberlist.tls-enabled=true".to_owned(),
        flag("tls-cert-path", "cert.pem"),
        flag("tls-key-path", "key.pem"),
        flag("tls-ca-path", "ca.pem"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let encrypted = |name: &str, join: &[SocketAddr]| MemberlistConfig {
        tls_enabled: true,
        tls_cert_path: Some(file("cert.pem")),
        tls_key_path: Some(file("key.pem")),
        tls_ca_path: Some(file("ca.pem")),
        ..config(name, join)
    };
    let first = go("go-0", &[], &flags).await;
    let join = [first.gossip()];
    let second = ours(encrypted("rust-0", &join)).await;
    let third = ours(encrypted("rust-1", &join)).await;
    let ring = Ring {
        ours: vec![second, third],
        go: vec![first],
    };
    ring.wait_for_members().await;
    share_keys(&ring).await;
    ring.check_logs();
    // One that does not encrypt is no member.
    let plain = config("rust-2", &[ring.ours[0].address()]);
    let started = start(plain, CODEC, &mut Registry::default()).await;
    let (_store, memberlist) = started.unwrap();
    let inspector = memberlist.inspector();
    wait_for("the failure", SHORT, || async {
        let waiting = inspector.waiting_for().unwrap_or_default();
        if waiting.contains("127.0.0.1") && !waiting.contains("no answer yet") {
            return Ok(());
        }
        Err(waiting)
    })
    .await;
    ring.wait_for_members().await;
    assert_eq!(inspector.other_members(), 0);
}
