//! Attacks on the gossip port of members without keys, by a host that is not a member.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use futures::future::FutureExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{Attack, Outcome, Size, Victim};
use crate::{
    Distributor, LONG, MemberState, MembersPage, SHORT, Series, Version, now_ms, wait_for,
};

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "gossip-third-party",
        what: "1,000 datagrams of 34 bytes that ask for 5,000 elections in the name of a third party",
        run: |size| third_party(size).boxed(),
    },
    Attack {
        name: "gossip-questions",
        what: "1,000 datagrams a second that ask for 5,000 elections: forged ones, then honest ones",
        run: |size| questions(size).boxed(),
    },
    Attack {
        name: "gossip-invented-members",
        what: "600 invented members, announced to two members; then a real one joins",
        run: |size| invented_members(size).boxed(),
    },
    Attack {
        name: "gossip-idle-connections",
        what: "512 connections to a member that brought one small frame; then 3,000 elections",
        run: |size| idle_connections(size).boxed(),
    },
];

const TENANT: &str = "many";
/// Datagrams a second.
const RATE: u32 = 1_000;
/// An election may take so much longer than alone to the next member, at full size. Looking for it
/// takes most of the time.
const PROMPT: Duration = Duration::from_secs(2);
/// Series in one push.
const BATCH: usize = 1_000;

/// The victim, and a member that has joined it.
struct Pair {
    victim: Victim,
    member: Distributor,
}

impl Pair {
    async fn start(elections: usize) -> Self {
        let limits = json!({"limits": {"ha_max_clusters": 0}});
        let victim = Victim::start(&limits).await;
        elect(&victim.distributor, "old", elections).await;
        let member = join("member", &victim).await;
        let this = Self { victim, member };
        reach(&this.member, elections).await;
        this
    }
}

async fn join(name: &str, victim: &Victim) -> Distributor {
    let to = gossip_address(&victim.distributor).await;
    let config: Value = json!({
        "distributor": {
            "downstream": [{"url": victim.sink.url()}],
            "ha_tracker": {"enable_ha_tracker": true},
        },
        "limits": {
            "accept_ha_samples": true,
            "ha_max_clusters": 0,
            "ha_tracker_per_sample_dedupe": true,
        },
        "memberlist": {
            "bind_addr": ["127.0.0.1"],
            "bind_port": 0,
            "node_name": name,
            "join_members": [to.to_string()],
        },
    });
    Distributor::start(name, &config.to_string()).await
}

async fn gossip_address(distributor: &Distributor) -> SocketAddr {
    let page = MembersPage::of(distributor).await.unwrap();
    page.members[&page.own_name].address.parse().unwrap()
}

/// Has so many clusters elect a replica.
async fn elect(distributor: &Distributor, name: &str, count: usize) {
    let series: Vec<Series> = (0..count)
        .map(|number| {
            let cluster = format!("{name}-{number}");
            let labels = [
                ("__name__", "attacked"),
                ("__replica__", "r0"),
                ("cluster", &cluster),
            ];
            Series::floats(&labels, &[(now_ms(), 1.0)])
        })
        .collect();
    let sender = distributor.sender(TENANT);
    for batch in series.chunks(BATCH) {
        let answer = sender.send(Version::V2, batch).await;
        assert!(answer.status < 300, "{answer:?}");
    }
}

/// How many elections a distributor knows.
async fn known(distributor: &Distributor) -> Result<usize, String> {
    let metrics = distributor.metrics().await?;
    Ok(metrics.sum("memberlist_client_kv_store_count", &[]) as usize)
}

/// Waits until it knows so many.
async fn reach(distributor: &Distributor, elections: usize) {
    wait_for("elections to arrive", LONG, || async {
        match known(distributor).await? {
            enough if enough >= elections => Ok(()),
            known => Err(format!("{known} of {elections}")),
        }
    })
    .await;
}

/// The time from a new election at the victim to its arrival at the other member.
async fn spread(victim: &Victim, member: &Distributor, name: &str) -> Duration {
    let before = known(&victim.distributor).await.unwrap();
    let began = Instant::now();
    elect(&victim.distributor, name, 1).await;
    reach(member, before + 1).await;
    began.elapsed()
}

fn header(reply_to: SocketAddrV4, flags: u8) -> Vec<u8> {
    let mut packet = b"kg\x01\x00\x00\x04".to_vec();
    packet.extend(reply_to.ip().octets());
    packet.extend(reply_to.port().to_le_bytes());
    packet.push(flags);
    packet
}

/// What asks for all that is not in a digest of these members, in chitchat's words.
fn question(members: &[(String, SocketAddrV4)]) -> Vec<u8> {
    let mut body = 45_139_u16.to_le_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(u16::try_from(members.len()).unwrap().to_le_bytes());
    for (name, address) in members {
        body.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        body.extend(name.as_bytes());
        body.extend(1_u64.to_le_bytes());
        body.extend(&header(*address, 0)[5..12]);
        for number in [now_ms().unsigned_abs(), 0, 1] {
            body.extend(number.to_le_bytes());
        }
    }
    body.extend(b"\x0d\0kv-memberlist");
    body
}

/// A question that names a sender, and proves nothing.
fn forged(reply_to: SocketAddrV4) -> Vec<u8> {
    [header(reply_to, 0), question(&[])].concat()
}

/// A question from where it says, with the cookie that was given there, if one was.
fn honest(from: SocketAddrV4, cookie: &[u8], members: &[(String, SocketAddrV4)]) -> Vec<u8> {
    let flags = if cookie.is_empty() { 0 } else { 2 };
    [&header(from, flags), cookie, &question(members)].concat()
}

/// A socket on a loopback address of its own.
async fn socket(host: u8) -> (UdpSocket, SocketAddrV4) {
    let ip = Ipv4Addr::new(127, 0, 0, host);
    let socket = UdpSocket::bind((ip, 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, SocketAddrV4::new(ip, port))
}

/// The cookie that a member gives a socket; empty if it gives none, which it has to.
async fn cookie(
    socket: &UdpSocket,
    from: SocketAddrV4,
    of: SocketAddr,
    outcome: &mut Outcome,
) -> Vec<u8> {
    let mut buffer = [0; 2048];
    for _ in 0..10 {
        socket.send_to(&forged(from), of).await.unwrap();
        let received = timeout(SHORT / 10, socket.recv(&mut buffer)).await;
        // Bare, with an offer.
        if matches!(received, Ok(Ok(29))) && buffer[12] == 12 {
            return buffer[13..21].to_vec();
        }
    }
    outcome.demand(false, || format!("{of} gives no cookie"));
    Vec::new()
}

/// Sends so many packets, at `RATE`.
async fn flood(socket: &UdpSocket, to: SocketAddr, packet: &[u8], count: u32) {
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..count {
        ticks.tick().await;
        let _ = socket.send_to(packet, to).await;
    }
}

async fn third_party(size: Size) -> Outcome {
    let Pair {
        victim,
        member: _member,
    } = Pair::start(size.pick(200, 5_000)).await;
    victim
        .under(size, async |victim, outcome| {
            let to = gossip_address(&victim.distributor).await;
            let (attacker, _) = socket(3).await;
            let (third, named) = socket(2).await;
            let listener = TcpListener::bind(named).await.unwrap();
            let packet = forged(named);
            let count = 1_000;
            let sent = packet.len() * usize::try_from(count).unwrap();
            let receive = async {
                let mut received = 0;
                let mut buffer = [0; 65_536];
                while let Ok(Ok(bytes)) = timeout(SHORT / 10, third.recv(&mut buffer)).await {
                    received += bytes;
                }
                received
            };
            let ((), received) = tokio::join!(flood(&attacker, to, &packet, count), receive);
            let connected = listener.accept().now_or_never().is_some();
            outcome.fact("bytes of datagrams", format!("{sent}"));
            outcome.fact("bytes that a third party got", format!("{received}"));
            outcome.demand(received <= sent, || {
                format!("a third party got {received} bytes for {sent}")
            });
            outcome.demand(received > 0, || "no address was challenged".to_owned());
            outcome.demand(!connected, || "a third party was connected to".to_owned());
        })
        .await
}

async fn questions(size: Size) -> Outcome {
    let Pair { victim, member } = Pair::start(size.pick(200, 5_000)).await;
    victim
        .under(size, async |victim, outcome| {
            let to = gossip_address(&victim.distributor).await;
            let (attacker, from) = socket(3).await;
            let (_third, named) = socket(2).await;
            let given = cookie(&attacker, from, to, outcome).await;
            let alone = spread(victim, &member, "alone").await;
            outcome.fact(
                "an election reaches the next member, alone",
                format!("{alone:.1?}"),
            );
            let kinds = [
                ("forged", forged(named)),
                ("honest", honest(from, &given, &[])),
            ];
            for (kind, packet) in kinds {
                let seconds = size.pick(2, 20);
                let measure = async {
                    sleep(Duration::from_secs(seconds.into()) / 2).await;
                    spread(victim, &member, kind).await
                };
                let flood = flood(&attacker, to, &packet, RATE * seconds);
                let ((), took) = tokio::join!(flood, measure);
                let fact = format!("an election reaches the next member, {kind} questions");
                outcome.fact(&fact, format!("{took:.1?}"));
                let metrics = victim.distributor.metrics().await.unwrap();
                let (counter, least) = match kind {
                    "forged" => ("unproven_packets", RATE),
                    // Packets of hosts that are not members are not read that often.
                    _ => ("received_broadcasts_dropped", RATE / 2),
                };
                let count = metrics.sum(&format!("memberlist_client_{counter}_total"), &[]);
                outcome.demand(count >= f64::from(least), || {
                    format!("{counter} is {count} after {kind} questions")
                });
                outcome.demand(size == Size::Short || took <= alone + PROMPT, || {
                    format!("an election took {took:.1?} beside {kind} questions")
                });
            }
        })
        .await
}

async fn invented_members(size: Size) -> Outcome {
    let Pair { victim, member } = Pair::start(10).await;
    victim
        .under(size, async |victim, outcome| {
            let invented: Vec<_> = (0..600)
                .map(|number| {
                    let host = Ipv4Addr::new(127, 0, 7, u8::try_from(number % 250).unwrap());
                    let port = 20_000 + u16::try_from(number).unwrap();
                    (
                        format!("invented-{number:04}"),
                        SocketAddrV4::new(host, port),
                    )
                })
                .collect();
            for distributor in [&victim.distributor, &member] {
                let to = gossip_address(distributor).await;
                let (attacker, from) = socket(3).await;
                let given = cookie(&attacker, from, to, outcome).await;
                for _ in 0..10 {
                    let packet = honest(from, &given, &invented);
                    attacker.send_to(&packet, to).await.unwrap();
                    sleep(Duration::from_millis(50)).await;
                }
            }
            let began = Instant::now();
            let joined = join("joiner", victim).await;
            let took = began.elapsed();
            outcome.fact("a real one is ready after", format!("{took:.1?}"));
            for distributor in [&victim.distributor, &member, &joined] {
                wait_for("the real ones to know each other", LONG, || async {
                    let page = MembersPage::of(distributor).await?;
                    let is_real = |name: &str| !name.starts_with("invented");
                    let real = page
                        .members
                        .iter()
                        .filter(|(name, row)| is_real(name) && row.state == MemberState::Active);
                    match real.count() {
                        3 => Ok(()),
                        count => Err(format!("{count} of 3")),
                    }
                })
                .await;
            }
            let page = MembersPage::of(&victim.distributor).await.unwrap();
            let count = page.members.len() - 3;
            outcome.fact("invented members remembered", format!("{count}"));
            outcome.demand(count > 0, || "nothing invented was believed".to_owned());
        })
        .await
}

async fn idle_connections(size: Size) -> Outcome {
    let Pair { victim, member } = Pair::start(10).await;
    victim
        .under(size, async |victim, outcome| {
            let to = gossip_address(&member).await;
            let (_socket, from) = socket(1).await;
            let packet = forged(from);
            let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
            let frame = [&length[..], &packet].concat();
            let mut streams = Vec::new();
            for _ in 0..512 {
                if let Ok(mut stream) = TcpStream::connect(to).await {
                    let _ = stream.write_all(&frame).await;
                    streams.push(stream);
                }
            }
            let before = known(&victim.distributor).await.unwrap();
            let elections = size.pick(1_000, 3_000);
            let began = Instant::now();
            elect(&victim.distributor, "new", elections).await;
            reach(&member, before + elections).await;
            let took = began.elapsed();
            outcome.fact("connections", format!("{}", streams.len()));
            outcome.fact(
                "all elections are at the next member after",
                format!("{took:.1?}"),
            );
            let metrics = member.metrics().await.unwrap();
            let displaced = metrics.sum("memberlist_client_displaced_connections_total", &[]);
            outcome.demand(displaced > 0.0, || "no connection was evicted".to_owned());
        })
        .await
}
