//! Whole migrations, forwards and back.

use e2e::migration::{OldStore, Options, Protocol, Step, run};

async fn passes(options: Options) {
    let report = run(&options).await;
    println!("{}", report.summary());
    assert!(report.is_ok(), "{options:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_consul_by_restarts() {
    passes(Options::quick(OldStore::Consul)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_etcd_by_restarts() {
    passes(Options::quick(OldStore::Etcd)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_consul_by_the_runtime_configuration() {
    passes(Options {
        runtime: true,
        ..Options::quick(OldStore::Consul)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_etcd_by_the_runtime_configuration() {
    passes(Options {
        runtime: true,
        ..Options::quick(OldStore::Etcd)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_etcd_with_everything_going_wrong() {
    passes(Options {
        chaos: true,
        ..Options::quick(OldStore::Etcd)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_consul_and_back_again() {
    passes(Options {
        rollback_at: Some(Step::new(3).unwrap()),
        ..Options::quick(OldStore::Consul)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_consul_with_the_gossip_of_mimirs_rings() {
    passes(Options {
        protocol: Protocol::Memberlist,
        ..Options::quick(OldStore::Consul)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_consul_with_what_the_chart_renders_for_each_step() {
    passes(Options {
        chart: true,
        ..Options::quick(OldStore::Consul)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_etcd_beside_a_member_of_mimirs_code() {
    passes(Options {
        protocol: Protocol::Memberlist,
        beside_go: true,
        ..Options::quick(OldStore::Etcd)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_chitchat_to_memberlist_by_way_of_consul() {
    passes(Options {
        change_to: Some(Protocol::Memberlist),
        runtime: true,
        ..Options::quick(OldStore::Consul)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_memberlist_to_chitchat_by_way_of_etcd() {
    passes(Options {
        protocol: Protocol::Memberlist,
        change_to: Some(Protocol::Chitchat),
        runtime: true,
        ..Options::quick(OldStore::Etcd)
    })
    .await;
}
