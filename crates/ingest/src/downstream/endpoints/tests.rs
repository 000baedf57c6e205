//! Names with several addresses, over real sockets of the loopback network.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// Answers each connection's requests with its own address.
struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(1..) = stream.read(&mut buffer).await {
                        let body = address.ip().to_string();
                        let length = body.len();
                        let answer =
                            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, task }
    }

    async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

type Addresses = Arc<Mutex<Vec<SocketAddr>>>;

/// How often the name was resolved.
type Asked = Arc<AtomicUsize>;

/// A name that has these addresses, which a test may change; none is an error.
fn endpoints(port: u16, addresses: &Addresses, asked: &Asked) -> Endpoints {
    let (addresses, asked) = (Arc::clone(addresses), Arc::clone(asked));
    let resolve: Resolve = Arc::new(move |host, _port| {
        assert_eq!(host, "mimir.example");
        let now = lock(&addresses).clone();
        asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match now.is_empty() {
                true => Err(io::Error::other("the resolver is down")),
                false => Ok(now),
            }
        })
    });
    let url = format!("http://mimir.example:{port}/push");
    Endpoints::new("far".into(), &url, settings(), resolve).unwrap()
}

fn settings() -> Settings {
    let tls = tls_files::client_config(&tls_files::ClientFiles {
        accepts_any: true,
        ..tls_files::ClientFiles::default()
    });
    Settings {
        tls: tls.unwrap(),
        max_idle: 4,
        timeout: Duration::from_secs(20),
    }
}

async fn ask(endpoints: &Endpoints, port: u16) -> Result<String, SendError> {
    let head = format!("POST /push HTTP/1.1\r\nhost: mimir.example:{port}\r\n\r\n");
    let request = Outgoing {
        head: head.into_bytes(),
        body: bytes::Bytes::new(),
    };
    let mut answer = endpoints.send(&request).await?;
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        text.extend_from_slice(chunk);
    }
    Ok(String::from_utf8(text).unwrap())
}

async fn ask_often(endpoints: &Endpoints, port: u16) -> std::collections::BTreeMap<String, usize> {
    let mut asked = std::collections::BTreeMap::new();
    for _ in 0..6 {
        *asked
            .entry(ask(endpoints, port).await.unwrap())
            .or_default() += 1;
    }
    asked
}

fn counts(expected: &[(&str, usize)]) -> std::collections::BTreeMap<String, usize> {
    expected
        .iter()
        .map(|(ip, count)| ((*ip).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn addresses_are_used_in_turn_and_dead_ones_skipped() {
    let one = Server::start("127.0.0.1:0").await;
    let port = one.address.port();
    let two = Server::start(&format!("127.0.0.2:{port}")).await;
    // Nothing listens there.
    let three: SocketAddr = format!("127.0.0.3:{port}").parse().unwrap();
    let addresses = Arc::new(Mutex::new(vec![three, two.address, one.address]));
    let endpoints = endpoints(port, &addresses, &Asked::default());
    let both = counts(&[("127.0.0.1", 3), ("127.0.0.2", 3)]);
    // The third address costs no answer: the first request that meets it goes on to another.
    ask_often(&endpoints, port).await;
    assert_eq!(ask_often(&endpoints, port).await, both);

    // Its connections are closed with it.
    two.stop().await;
    let mut last = None;
    for _ in 0..4 {
        last = ask(&endpoints, port).await.ok();
    }
    assert_eq!(last.as_deref(), Some("127.0.0.1"));
    assert_eq!(
        ask_often(&endpoints, port).await,
        counts(&[("127.0.0.1", 6)])
    );

    // One that is back is found by connecting to it, apart from requests.
    let _two = Server::start(&format!("127.0.0.2:{port}")).await;
    let current = endpoints.shared.current.load_full();
    for endpoint in current.iter() {
        *lock(&endpoint.probed) = None;
    }
    ask(&endpoints, port).await.unwrap();
    while current[1].is_skipped() {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask_often(&endpoints, port).await, both);
}

#[tokio::test]
async fn a_name_is_resolved_again_and_its_last_addresses_are_kept() {
    let one = Server::start("127.0.0.1:0").await;
    let port = one.address.port();
    let two = Server::start(&format!("127.0.0.2:{port}")).await;
    let addresses: Addresses = Arc::default();
    let asked = Asked::default();
    let endpoints = endpoints(port, &addresses, &asked);
    let error = ask(&endpoints, port).await.unwrap_err();
    assert!(matches!(error, SendError::Resolve { host, .. } if host == "mimir.example"));
    *lock(&addresses) = vec![one.address];
    assert_eq!(ask(&endpoints, port).await.unwrap(), "127.0.0.1");

    *lock(&addresses) = vec![two.address];
    assert_eq!(ask(&endpoints, port).await.unwrap(), "127.0.0.1");
    *lock(&endpoints.shared.resolved) = None;
    while ask(&endpoints, port).await.unwrap() != "127.0.0.2" {}
    let current = endpoints.shared.current.load_full();

    // A resolver that fails changes nothing.
    lock(&addresses).clear();
    let before = asked.load(Ordering::Relaxed);
    *lock(&endpoints.shared.resolved) = None;
    ask(&endpoints, port).await.unwrap();
    while asked.load(Ordering::Relaxed) == before {
        tokio::task::yield_now().await;
    }
    let _resolved = endpoints.shared.resolving.lock().await;
    assert!(Arc::ptr_eq(&current, &endpoints.shared.current.load_full()));
}

#[tokio::test]
async fn all_addresses_dead_is_the_error_of_the_last() {
    let one = Server::start("127.0.0.1:0").await;
    let port = one.address.port();
    let address = one.address;
    one.stop().await;
    let other: SocketAddr = format!("127.0.0.2:{port}").parse().unwrap();
    let addresses = Arc::new(Mutex::new(vec![address, other]));
    let endpoints = endpoints(port, &addresses, &Asked::default());
    for _ in 0..3 {
        let error = ask(&endpoints, port).await.unwrap_err();
        assert!(matches!(error, SendError::Request(Failure::Connect(..))));
    }
}

#[test]
fn only_names_are_resolved() {
    for (url, name) in [
        ("http://a.b:1/x", Some(("a.b".to_owned(), 1))),
        ("https://a/x", Some(("a".to_owned(), 443))),
        ("http://127.0.0.1:1/", None),
        ("http://[::1]:1/", None),
    ] {
        let endpoints = Endpoints::new("far".into(), url, settings(), system()).unwrap();
        assert_eq!(endpoints.shared.name, name, "{url}");
    }
}
