//! Watching elections: many watchers, slow ones, and a distributor that dies.

use std::collections::BTreeMap;

use e2e::tracker::watch_elections_response::Event;
use e2e::tracker::{
    CheckRequest, ListElectedRequest, WatchElectionsRequest, WatchElectionsResponse,
};
use e2e::{Distributor, GossipMesh, GrpcClient, LONG, SHORT, Sink};
use futures::future::try_join_all;
use serde_json::json;
use tonic::{Code, Status, Streaming};

use crate::common::{exchange, ha_config, metrics};

/// What a watcher knows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Picture {
    elected: BTreeMap<String, String>,
    /// Of the state.
    is_complete: bool,
    states: u32,
    missed: u64,
}

impl Picture {
    fn apply(&mut self, response: WatchElectionsResponse) {
        match response.event.unwrap() {
            Event::State(state) => {
                if state.is_first {
                    self.elected.clear();
                    self.states += 1;
                }
                for election in state.elections {
                    self.elect(election);
                }
                self.is_complete = state.is_last;
            }
            Event::Elected(election) => self.elect(election),
            Event::Forgotten(forgotten) => {
                self.elected.remove(&forgotten.cluster);
            }
            Event::Lagged(lagged) => self.missed += lagged.missed,
        }
    }

    fn elect(&mut self, election: e2e::tracker::Election) {
        self.elected
            .insert(election.cluster, election.desc.unwrap().replica);
    }

    /// Applies events until it has this many clusters, all of the state told, for at most [`LONG`].
    async fn reach(&mut self, watch: &mut Streaming<WatchElectionsResponse>, clusters: usize) {
        let reached = self.reach_any_time(watch, clusters);
        if tokio::time::timeout(LONG, reached).await.is_err() {
            panic!(
                "{} of {clusters}: {} states",
                self.elected.len(),
                self.states
            );
        }
    }

    async fn reach_any_time(
        &mut self,
        watch: &mut Streaming<WatchElectionsResponse>,
        clusters: usize,
    ) {
        while !(self.is_complete && self.elected.len() == clusters) {
            let response = watch.message().await.unwrap();
            self.apply(response.expect("the stream ended"));
        }
    }
}

async fn watch(client: &GrpcClient) -> Streaming<WatchElectionsResponse> {
    let request = WatchElectionsRequest::default();
    client
        .tracker()
        .watch_elections(request)
        .await
        .unwrap()
        .into_inner()
}

async fn elect(client: &GrpcClient, clusters: impl IntoIterator<Item = usize>, replica: &str) {
    for number in clusters {
        let request = CheckRequest {
            tenant: "t".to_owned(),
            cluster: format!("c{number}"),
            replica: replica.to_owned(),
            sample_time_ms: None,
        };
        client.tracker().check(request).await.unwrap();
    }
}

async fn one(sink: &Sink) -> Distributor {
    let more = json!({"limits": {"ha_max_clusters": 0}});
    Distributor::start("d", &ha_config(sink, &more)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_watchers_slow_ones_among_them() {
    /// Their streams are not read until the end.
    const SLOW: usize = 50;
    /// From the beginning.
    const FAST: usize = 10;
    /// They come when there is a large state already, a hundred on each connection.
    const LATE: usize = 940;
    /// More than a watcher may be behind.
    const CLUSTERS: usize = 1600;
    let sink = Sink::start().await;
    let distributor = one(&sink).await;
    let client = GrpcClient::new(&distributor);
    let memory = async || {
        let metrics = metrics(&distributor).await;
        metrics.sum("process_resident_memory_bytes", &[]) / 1e6
    };
    let at_first = memory().await;

    let narrow = GrpcClient::narrow(&distributor);
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(watch(&narrow).await);
    }
    let mut followers = Vec::new();
    let mut follow = |mut watch: Streaming<WatchElectionsResponse>| {
        followers.push(tokio::spawn(async move {
            let mut picture = Picture::default();
            // What they wait for has not begun yet.
            picture.reach_any_time(&mut watch, CLUSTERS + 20).await;
            picture
        }));
    };
    for _ in 0..FAST {
        follow(watch(&client).await);
    }
    elect(&client, 0..CLUSTERS, "r0").await;
    for begin in (0..LATE).step_by(100) {
        let client = GrpcClient::new(&distributor);
        for _ in begin..LATE.min(begin + 100) {
            follow(watch(&client).await);
        }
    }
    elect(&client, CLUSTERS..CLUSTERS + 20, "r1").await;
    let pictures = tokio::time::timeout(LONG, try_join_all(followers)).await;
    let pictures = pictures.unwrap().unwrap();
    let with_all = memory().await;
    let first = &pictures[0];
    for picture in &pictures {
        assert_eq!(picture.elected, first.elected);
        // The state came once, or again for one that was told that it lagged.
        assert_eq!(picture.states > 1, picture.missed > 0, "{picture:?}");
    }
    println!("memory: {at_first:.0} MB at first, {with_all:.0} MB with 1000 watchers");
    assert!(with_all < 300.0, "{at_first} MB, then {with_all} MB");

    for watch in &mut slow {
        let mut picture = Picture::default();
        picture.reach(watch, CLUSTERS + 20).await;
        assert_eq!(picture.elected, first.elected);
        assert!(picture.missed > 0 && picture.states > 1, "{picture:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_a_killed_distributor_miss_nothing_at_another() {
    let sink = Sink::start().await;
    let config = ha_config(&sink, &json!({"limits": {"ha_max_clusters": 0}}));
    let base: serde_json::Value = serde_json::from_str(&config).unwrap();
    let mut mesh = GossipMesh::launch(2, move |_, section| {
        let mut config = base.clone();
        config["memberlist"] = section;
        config.to_string()
    });
    mesh.wait_ready().await;
    let clients: Vec<_> = mesh.distributors.iter().map(GrpcClient::new).collect();
    elect(&clients[0], 0..10, "r0").await;
    let mut picture = Picture::default();
    let mut stream = watch(&clients[0]).await;
    picture.reach(&mut stream, 10).await;
    // Entries that only the killed one had would be lost with it, and elected again.
    let mut of_other = watch(&clients[1]).await;
    Picture::default().reach(&mut of_other, 10).await;

    mesh.distributors[0].process.sigkill();
    // Meanwhile the others elect.
    elect(&clients[1], 10..20, "r1").await;
    let ended = tokio::time::timeout(SHORT, stream.message()).await.unwrap();
    assert!(ended.is_err(), "{ended:?}");
    let mut stream = watch(&clients[1]).await;
    picture.reach(&mut stream, 20).await;
    assert_eq!(picture.states, 2);
    let replica = |number: usize| picture.elected[&format!("c{number}")].clone();
    assert_eq!(
        (replica(3), replica(13)),
        ("r0".to_owned(), "r1".to_owned())
    );

    // One that stops in peace says so.
    mesh.distributors[1].process.sigterm();
    let status = loop {
        match tokio::time::timeout(SHORT, stream.message()).await.unwrap() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("watch another"), "{status:?}");
    let exit = mesh.distributors[1].process.wait_exit(LONG).await;
    assert!(exit.success(), "{exit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_whole_and_tenants_are_apart() {
    let sink = Sink::start().await;
    let distributor = one(&sink).await;
    let client = GrpcClient::new(&distributor);
    elect(&client, 0..25, "r0").await;
    let mut tracker = client.tracker();
    let other = CheckRequest {
        tenant: "u".to_owned(),
        cluster: "a/b".to_owned(),
        replica: "r".to_owned(),
        sample_time_ms: None,
    };
    tracker.check(other).await.unwrap();

    for (tenant, count) in [("", 26), ("t", 25), ("u", 1), ("v", 0)] {
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListElectedRequest {
                tenant: tenant.to_owned(),
                page_size: 10,
                page_token,
            };
            let page = tracker.list_elected(request).await.unwrap().into_inner();
            assert!(page.elections.len() <= 10);
            found.extend(page.elections.into_iter().map(|e| (e.tenant, e.cluster)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(found.len(), count, "{tenant}");
        assert!(found.is_sorted(), "{found:?}");
    }
    let mut stream = tracker
        .watch_elections(WatchElectionsRequest {
            tenant: "u".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    let mut picture = Picture::default();
    picture.reach(&mut stream, 1).await;
    assert!(picture.elected.contains_key("a/b"));

    let refused = |status: Status, text: &str| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(text), "{status:?}");
    };
    let check = |tenant: &str, cluster: &str, replica: &str| CheckRequest {
        tenant: tenant.to_owned(),
        cluster: cluster.to_owned(),
        replica: replica.to_owned(),
        sample_time_ms: None,
    };
    let long = "x".repeat(1025);
    for (request, text) in [
        (check("", "c", "r"), "tenant: it is empty"),
        (check("a/b", "c", "r"), "tenant: it contains a '/'"),
        (check("a b", "c", "r"), "tenant: the tenant ID"),
        (check("t", "", "r"), "cluster: it is empty"),
        (check("t", &long, "r"), "cluster: it has 1025 bytes"),
        (check("t", "c", ""), "replica: it is empty"),
    ] {
        refused(tracker.check(request).await.unwrap_err(), text);
    }
    let too_many = ListElectedRequest {
        page_size: 1001,
        ..Default::default()
    };
    refused(
        tracker.list_elected(too_many).await.unwrap_err(),
        "page_size",
    );
    let strange = ListElectedRequest {
        page_token: "x".to_owned(),
        ..Default::default()
    };
    refused(
        tracker.list_elected(strange).await.unwrap_err(),
        "page_token",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_does_not_read_does_not_hold_up_the_drain() {
    let sink = Sink::start().await;
    let mut distributor = one(&sink).await;
    let client = GrpcClient::new(&distributor);
    elect(&client, 0..200, "r0").await;
    // Its window is full before the state is told.
    let stuck = watch(&GrpcClient::narrow(&distributor)).await;
    distributor.process.sigterm();
    // `server.graceful_shutdown_timeout` is 30 s.
    let status = distributor.process.wait_exit(SHORT).await;
    assert!(status.success(), "{status}");
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_tenants_that_are_deduplicated_can_be_elected_for() {
    let sink = Sink::start().await;
    let more = json!({"limits": {"accept_ha_samples": false}});
    let distributor = Distributor::start("d", &ha_config(&sink, &more)).await;
    let request = CheckRequest {
        tenant: "t".to_owned(),
        cluster: "c".to_owned(),
        replica: "r".to_owned(),
        sample_time_ms: None,
    };
    let mut tracker = GrpcClient::new(&distributor).tracker();
    let status = tracker.check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("accept_ha_samples"), "{status:?}");
}

/// A web page can have a browser send it without asking, but not as HTTP/2 of gRPC's type.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_grpc_is_refused() {
    let sink = Sink::start().await;
    let distributor = one(&sink).await;
    let address = distributor.grpc_address().parse().unwrap();
    let request = "POST /ha_tracker.v1.HaTracker/Check HTTP/1.1\r\nHost: d\r\nContent-Type: text/plain\r\n\
                   Content-Length: 5\r\nConnection: close\r\n\r\n\0\0\0\0\0";
    let answer = exchange(address, request.as_bytes()).await;
    assert!(!answer.contains(" 200 "), "{answer}");
    elect(&GrpcClient::new(&distributor), 0..1, "r0").await;
}
