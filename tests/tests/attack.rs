//! The short form of every attack: what a real process holds, answers and stores under it. Times are
//! judged by `cargo xtask attack` alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use e2e::attack::{Size, all, find, table};

async fn held(name: &'static str) {
    let attack = find(name).unwrap_or_else(|| panic!("no attack is called {name}"));
    let outcome = (attack.run)(Size::Short).await;
    let problems = outcome.problems(Size::Short);
    let table = table(&[(name, outcome)], Size::Short);
    assert!(problems.is_empty(), "{problems:#?}\n{table}");
}

macro_rules! attacks {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                held($name).await;
            }
        )*

        const TESTED: &[&str] = &[$($name),*];
    };
}

attacks! {
    changing_replica_names: "changing-replica-names",
    clusters_at_the_limit: "clusters-at-the-limit",
    bodyless_requests: "bodyless-requests",
    made_up_tenants: "made-up-tenants",
    join_one: "join-one",
    join_six: "join-six",
    empty_series: "empty-series",
    empty_series_gzip: "empty-series-gzip",
    unknown_groups: "unknown-groups",
    unfinished_bodies: "unfinished-bodies",
    silent_connections: "silent-connections",
    unread_log: "unread-log",
    scrapes_at_once: "scrapes-at-once",
    unread_scrapes: "unread-scrapes",
    unread_pages: "unread-pages",
    gossip_third_party: "gossip-third-party",
    gossip_questions: "gossip-questions",
    gossip_invented_members: "gossip-invented-members",
    gossip_idle_connections: "gossip-idle-connections",
}

#[test]
fn every_attack_has_its_short_form() {
    let mut tested = TESTED.to_vec();
    let mut there: Vec<_> = all().map(|attack| attack.name).collect();
    tested.sort_unstable();
    there.sort_unstable();
    assert_eq!(tested, there);
}
