//! The conformance suite: one member, several handles; and a cluster on real sockets.
#![allow(clippy::unwrap_used, reason = "a failed check panics")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kv_core::conformance::{Backend, CODEC, Counter, run, storm};
use kv_core::{CasUpdate, Store, StoreError};
use kv_memberlist::{Memberlist, MemberlistConfig, MemberlistStore, start};
use prometheus_client::registry::Registry;
use rand::distr::Alphanumeric;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use settings::Secret;

struct Gossip {
    store: MemberlistStore<Counter>,
    memberlist: Memberlist,
}

#[async_trait]
impl Backend for Gossip {
    async fn open(&self) -> Arc<dyn Store<Counter>> {
        Arc::new(self.store.clone())
    }
}

/// A member on a port of the kernel's choice; `join` are the members to find.
async fn member(join: &[&Gossip], keys: &[Secret]) -> Gossip {
    let mut join_members = Vec::new();
    for other in join {
        join_members.push(other.memberlist.inspector().address().to_string());
    }
    let config = MemberlistConfig {
        bind_addr: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        bind_port: 0,
        join_members,
        encryption_keys: keys.to_vec(),
        ..MemberlistConfig::default()
    };
    let (store, memberlist) = start(config, CODEC, &mut Registry::default())
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(30), memberlist.ready())
        .await
        .unwrap();
    Gossip { store, memberlist }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_alone() {
    run(&member(&[], &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_cluster() {
    let keys = [Secret::new("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")];
    let first = member(&[], &keys).await;
    let second = member(&[&first], &keys).await;
    let third = member(&[&second], &keys).await;
    run(&second).await;
    // What the suite left is the same on all members, byte for byte.
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let mut pictures = Vec::new();
        for member in [&first, &second, &third] {
            let inspector = member.memberlist.inspector();
            let mut entries: Vec<_> = inspector
                .entries()
                .into_iter()
                .filter(|entry| !entry.deleted)
                .map(|entry| inspector.raw(&entry.key).map(|raw| (entry.key, raw.bytes)))
                .collect();
            entries.sort();
            pictures.push(entries);
        }
        if pictures[0] == pictures[1] && pictures[1] == pictures[2] {
            assert!(!pictures[0].is_empty());
            break;
        }
        assert!(tokio::time::Instant::now() < until, "members disagree");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for member in [third, second, first] {
        member.memberlist.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_loses_no_increment() {
    let gossip = member(&[], &[]).await;
    storm(&gossip, "storm/large", 16, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gossip_cannot_carry_is_refused() {
    let gossip = member(&[], &[]).await;
    // Nothing that compresses.
    let writer: String = StdRng::seed_from_u64(1)
        .sample_iter(Alphanumeric)
        .take(60_000)
        .map(char::from)
        .collect();
    let large = Counter { value: 1, writer };
    let error = gossip
        .store
        .cas("large", &mut |_| CasUpdate::Put(large.clone()))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::InvalidValue { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("exceeds gossip's limit of 40000"),
        "{error}"
    );
    assert_eq!(gossip.store.get("large").await.unwrap(), None);
    let error = gossip
        .store
        .cas("", &mut |_| CasUpdate::Put(large.clone()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}
