//! Keys, labels, and those that have neither.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream, UdpSocket};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::{Distributor, GossipMesh, MembersPage, SHORT, Sink, Version, wait_for};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::common::pairs::{REPLICAS, pair_series};
use crate::common::{ha_config, now_ms, wait_metric};
use crate::fleet::{Bounds, Fleet, TENANT, limits, mesh_config};

const REFUSED: &str = "memberlist_client_refused_packets_total";
const NOT_ENCRYPTED: &str = "gossip is not encrypted";

fn encryption_key(of: u8) -> String {
    STANDARD.encode([of; 32])
}

async fn refused(distributor: &Distributor, reason: &str) -> f64 {
    let metrics = distributor.metrics().await.unwrap();
    metrics.sum(REFUSED, &[("reason", reason)])
}

async fn loaded(mesh: GossipMesh, sink: Sink, clusters: &BTreeSet<String>) -> Fleet {
    let mut fleet = Fleet::new(mesh, sink);
    fleet.mesh.wait_ready().await;
    let all: Vec<usize> = (0..fleet.mesh.distributors.len()).collect();
    fleet.settled(&all).await;
    for cluster in clusters {
        for replica in 0..REPLICAS.len() {
            fleet.begin(cluster, replica, &all);
        }
    }
    fleet.agreed(SHORT, &all, clusters).await;
    let bounds = Bounds {
        agreed_at: fleet.load.now(),
        ..Bounds::default()
    };
    fleet.step("begin", bounds).await;
    fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_while_samples_flow() {
    const ALL: [usize; 3] = [0, 1, 2];
    let sink = Sink::start().await;
    let (old, new) = (encryption_key(1), encryption_key(2));
    let with = |keys: &[&String]| mesh_config(&sink, json!({ "encryption_keys": keys }));
    let rings = [with(&[&old, &new]), with(&[&new, &old]), with(&[&new])];
    let mesh = GossipMesh::launch(3, with(&[&old]));
    let clusters = BTreeSet::from(["c0".to_owned(), "c1".to_owned()]);
    let mut fleet = loaded(mesh, sink, &clusters).await;
    let elected = fleet.all_right(&ALL, &clusters).await;
    for (step, ring) in rings.into_iter().enumerate() {
        fleet.mesh.reconfigure(ring);
        for number in ALL {
            fleet.mesh.stop(number).await;
            fleet.mesh.restart(number).await;
            assert_eq!(fleet.all_right(&ALL, &clusters).await, elected);
        }
        fleet
            .step(&format!("rotation {step}"), Bounds::default())
            .await;
        for distributor in &fleet.mesh.distributors {
            let metrics = distributor.metrics().await.unwrap();
            assert_eq!(metrics.sum(REFUSED, &[]), 0.0, "{step}");
            let log = distributor.process.log();
            assert!(!log.contains(NOT_ENCRYPTED), "{log}");
            assert!(!log.contains(&old) && !log.contains(&new), "a key: {log}");
        }
    }
    fleet.check_again();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_or_another_label_stays_outside() {
    let sink = Sink::start().await;
    let own = json!({"encryption_keys": [encryption_key(1)], "cluster_label": "prod"});
    let mut mesh = GossipMesh::launch(2, mesh_config(&sink, own));
    mesh.wait_ready().await;
    let contacts: Vec<String> = mesh.addresses().iter().map(ToString::to_string).collect();
    let others = [
        (
            "unknown_key",
            json!({"encryption_keys": [encryption_key(2)], "cluster_label": "prod"}),
        ),
        ("unencrypted", json!({"cluster_label": "prod"})),
        (
            "label",
            json!({"encryption_keys": [encryption_key(1)], "cluster_label": "test"}),
        ),
    ];
    let mut intruders: Vec<(&str, Distributor)> = others
        .into_iter()
        .map(|(reason, more)| {
            let mut all = json!({"memberlist": {"join_members": contacts}, "limits": limits()});
            crate::common::merge(&mut all["memberlist"], &more);
            (reason, Distributor::launch(reason, &ha_config(&sink, &all)))
        })
        .collect();
    for (reason, intruder) in &mut intruders {
        wait_for("/ready to say whom it waits for", SHORT, || async {
            let answer = intruder.get("/ready").await?;
            let named = contacts.iter().all(|address| answer.body.contains(address));
            if answer.status == 503 && named {
                return Ok(());
            }
            Err(format!("{answer:?}"))
        })
        .await;
        for member in &mesh.distributors {
            wait_for(&format!("{reason} to be counted"), SHORT, || async {
                let metrics = member.metrics().await?;
                match metrics.sum(REFUSED, &[("reason", reason)]) {
                    0.0 => Err("none".to_owned()),
                    _ => Ok(()),
                }
            })
            .await;
            let log = member.process.log();
            assert!(log.contains(&format!("reason={reason}")), "{log}");
        }
    }
    // They go on alone, each with elections of its own.
    let series = pair_series("c", 0, now_ms());
    let answer = mesh.distributors[0]
        .sender(TENANT)
        .send(Version::V1, &[series])
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    for (reason, intruder) in &mut intruders {
        intruder.wait_ready().await;
        let series = pair_series(&format!("of-{reason}"), 1, now_ms());
        let answer = intruder.sender(TENANT).send(Version::V1, &[series]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = MembersPage::of(intruder).await.unwrap();
        assert_eq!(page.members.len(), 1, "{page:?}");
        let own = format!("ha-tracker/{TENANT}/of-{reason}");
        assert_eq!(page.keys, BTreeSet::from([own]));
    }
    let pages = wait_for("the members to be as before", SHORT, || {
        mesh.settled(&[0, 1])
    });
    for page in pages.await {
        assert_eq!(page.members.len(), 2, "{page:?}");
        assert_eq!(
            page.keys,
            BTreeSet::from([format!("ha-tracker/{TENANT}/c")])
        );
    }
    let unencrypted = &intruders[1].1;
    assert!(unencrypted.process.log().contains(NOT_ENCRYPTED));
}

/// A packet that a member sends to one whose address it was given.
async fn overheard(listener: &TcpListener) -> Vec<u8> {
    let (mut stream, _) = listener.accept().await.unwrap();
    let size = stream.read_u32().await.unwrap();
    let mut packet = vec![0; usize::try_from(size).unwrap()];
    stream.read_exact(&mut packet).await.unwrap();
    packet
}

/// Packets that are none.
fn garbage(real: &[u8], sealed: bool, random: &mut StdRng) -> Vec<Vec<u8>> {
    let mut noise = |begins: &[u8]| {
        let length = random.random_range(0..1200);
        let mut bytes = begins.to_vec();
        bytes.resize(begins.len() + length, 0);
        random.fill_bytes(&mut bytes[begins.len()..]);
        bytes
    };
    let mut all = Vec::new();
    for _ in 0..50 {
        all.push(noise(b""));
        all.push(noise(b"kg"));
        all.push(noise(&real[..4]));
        all.push(noise(&real[..real.len() / 2]));
    }
    all.extend((0..real.len()).map(|length| real[..length].to_vec()));
    if sealed {
        // It says that it is not encrypted.
        let mut plain = real.to_vec();
        plain[3] ^= 1;
        all.push(plain);
        for at in 0..real.len() {
            let mut changed = real.to_vec();
            changed[at] ^= 1 << (at % 8);
            all.push(changed);
        }
    }
    all
}

/// Whatever comes of it: the other end may close the connection at any time.
fn over_a_stream(to: SocketAddr, bytes: &[u8]) {
    let mut stream = StdStream::connect(to).unwrap();
    let _ = stream.write_all(bytes);
}

fn frame(length: u32, packet: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], packet].concat()
}

async fn garbage_is_counted_and_changes_nothing(keys: &[String]) {
    const ALL: [usize; 2] = [0, 1];
    let sealed = !keys.is_empty();
    let sink = Sink::start().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stranger = listener.local_addr().unwrap().to_string();
    let more = json!({"encryption_keys": keys, "protocol": "chitchat"});
    let config = mesh_config(&sink, more);
    let mesh = GossipMesh::launch(2, move |number, mut section: Value| {
        let members = section["join_members"].as_array_mut().unwrap();
        members.push(json!(stranger));
        config(number, section)
    });
    let real = overheard(&listener).await;
    let clusters = BTreeSet::from(["c0".to_owned(), "c1".to_owned()]);
    let mut fleet = loaded(mesh, sink, &clusters).await;
    let elected = fleet.all_right(&ALL, &clusters).await;
    for distributor in &fleet.mesh.distributors {
        assert_eq!(distributor.process.log().contains(NOT_ENCRYPTED), !sealed);
    }

    let mut random = StdRng::seed_from_u64(7);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for number in ALL {
        let to = fleet.mesh.addresses()[number];
        for packet in garbage(&real, sealed, &mut random) {
            socket.send_to(&packet, to).unwrap();
            let length = u32::try_from(packet.len()).unwrap();
            over_a_stream(to, &frame(length, &packet));
            over_a_stream(to, &packet);
        }
        over_a_stream(to, &frame(u32::MAX, &real));
        over_a_stream(to, &frame(100_000, &real));
        over_a_stream(to, &real[..2]);
    }
    let mut reasons = vec!["not_ours", "truncated"];
    if sealed {
        reasons.extend(["authentication", "unknown_key", "unencrypted"]);
    }
    for reason in reasons {
        for distributor in &fleet.mesh.distributors {
            wait_for(&format!("{reason} to be counted"), SHORT, || async {
                match refused(distributor, reason).await {
                    0.0 => Err("none".to_owned()),
                    _ => Ok(()),
                }
            })
            .await;
        }
    }
    assert_eq!(fleet.all_right(&ALL, &clusters).await, elected);
    fleet.pass(10).await;
    fleet.step("garbage", Bounds::default()).await;
    for page in fleet.settled(&ALL).await {
        assert_eq!(page.members.len(), 2, "{page:?}");
    }
    for distributor in &fleet.mesh.distributors {
        wait_metric(
            distributor,
            "memberlist_client_gossip_restarts_total",
            &[],
            0.0,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_does_not_disturb_without_keys() {
    garbage_is_counted_and_changes_nothing(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_does_not_disturb_with_keys() {
    garbage_is_counted_and_changes_nothing(&[encryption_key(1)]).await;
}
