//! Members of another protocol where distributors should be: named, and not taken for solitude.

use std::net::SocketAddr;

use e2e::{Distributor, Port, SHORT, Sink, wait_for};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::common::{ha_config, wait_metric};

/// How another program frames a stream: dskit begins it with a byte of its own.
#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Dskit,
    HashiCorp,
}

/// A node that acknowledges pings, as real ones do, and closes what it does not understand.
struct Node {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Node {
    async fn start(framing: Framing) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, framing));
            }
        });
        Self { address, serving }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mut stream: TcpStream, framing: Framing) {
    let mut byte = [0];
    if framing == Framing::Dskit && (stream.read_exact(&mut byte).await.is_err() || byte != [2]) {
        return;
    }
    // A ping: its type, a map of two, and its first name.
    let mut begin = [0; 7];
    if stream.read_exact(&mut begin).await.is_ok() && begin == *b"\x00\x82\xa4Node" {
        let acknowledged = b"\x02\x82\xa7Payload\xc0\xa5SeqNo\x01";
        let _ = stream.write_all(acknowledged).await;
    }
}

fn config(sink: &Sink, port: &Port, join: &[SocketAddr]) -> String {
    let join: Vec<String> = join.iter().map(ToString::to_string).collect();
    let memberlist = json!({
        "protocol": "chitchat",
        "bind_port": port.number(),
        "join_members": join,
        "min_join_backoff": "100ms",
        "max_join_backoff": "1s",
    });
    ha_config(sink, &json!({ "memberlist": memberlist }))
}

async fn shows(distributor: &Distributor, path: &str, status: u16, texts: &[String]) {
    wait_for(&format!("{path} to show {texts:?}"), SHORT, || async {
        let answer = distributor.get(path).await?;
        match answer.status == status && texts.iter().all(|text| answer.body.contains(text)) {
            true => Ok(()),
            false => Err(format!("{} {}", answer.status, answer.body)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_another_protocol_is_named_and_makes_no_distributor_ready() {
    let (sink, port) = (Sink::start().await, Port::reserve());
    let (mimir, consul) =
        tokio::join!(Node::start(Framing::Dskit), Node::start(Framing::HashiCorp));
    let nothing = Port::reserve();
    let nothing = SocketAddr::from(([127, 0, 0, 1], nothing.number()));
    let yaml = config(&sink, &port, &[mimir.address, consul.address, nothing]);
    let mut distributor = Distributor::launch("beside-a-ring", &yaml);
    let named = [
        "name no distributor that can be reached, but members of another protocol".to_owned(),
        format!("{} (speaks dskit's memberlist, as Mimir", mimir.address),
        format!("{} (speaks HashiCorp's memberlist", consul.address),
    ];
    shows(&distributor, "/ready", 503, &named).await;
    assert!(
        distributor
            .process
            .log()
            .contains("speaks dskit's memberlist")
    );
    assert!(!distributor.process.log().contains("going on alone"));

    // A distributor that joins it is all that it waits for.
    let other_port = Port::reserve();
    let first = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let yaml = config(&sink, &other_port, &[first]);
    let mut other = Distributor::launch("the-other", &yaml);
    tokio::join!(distributor.wait_ready(), other.wait_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_another_protocol_to_the_gossip_port_is_named() {
    let (sink, port) = (Sink::start().await, Port::reserve());
    let distributor = Distributor::start("alone", &config(&sink, &port, &[])).await;
    let cases: [(&str, &[u8], &str); 4] = [
        (
            "dskit",
            b"\x02\x06\x83",
            "memberlist, as Mimir, Loki and Tempo speak it",
        ),
        (
            "hashicorp",
            b"\x06\x83",
            "memberlist, as Consul and Alertmanager speak it",
        ),
        ("tls", b"\x16\x03\x01", "TLS"),
        ("http", b"GET / HTTP/1.1\r\n\r\n", "HTTP"),
    ];
    for (protocol, bytes, name) in cases {
        let mut stream = TcpStream::connect(("127.0.0.1", port.number()))
            .await
            .unwrap();
        let from = stream.local_addr().unwrap();
        stream.write_all(bytes).await.unwrap();
        let labels = [("protocol", protocol)];
        let metric = "memberlist_client_foreign_packets_total";
        wait_metric(&distributor, metric, &labels, 1.0).await;
        let shown = format!("{name} from {from}");
        shows(&distributor, "/", 200, &[shown]).await;
    }
    let metric = "memberlist_client_refused_packets_total";
    wait_metric(&distributor, metric, &[("reason", "not_ours")], 4.0).await;
    assert!(
        distributor
            .process
            .log()
            .contains("but dskit's memberlist, as Mimir")
    );
}
