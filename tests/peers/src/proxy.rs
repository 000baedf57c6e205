//! [`Proxy`]: a network between a client and a server that can be cut, frozen and slowed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// The most bytes that are moved at once.
const CHUNK: usize = 16 * 1024;
/// Most chunks in transit in one direction; then the sender has to wait.
const UNDER_WAY: usize = 1024;

/// A TCP proxy to one server. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
    task: JoinHandle<()>,
}

/// What the test wants of the network.
#[derive(Debug, Clone, Copy, Default)]
struct Wish {
    cuts: u64,
    refuse: bool,
    frozen: bool,
    /// Connections made before that many are frozen as well.
    dead_before: u64,
    delay: Duration,
}

#[derive(Debug)]
struct Network {
    target: SocketAddr,
    wish: watch::Sender<Wish>,
    connections: AtomicU64,
    refused: AtomicU64,
    open: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

impl Proxy {
    /// Listens on a free port, and connects to `target` for every connection.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = Arc::new(Network {
            target,
            wish: watch::Sender::new(Wish::default()),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            open: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&network)));
        Self {
            address,
            network,
            task,
        }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets all present connections, on both sides; data in transit is lost.
    pub fn cut(&self) {
        self.network.wish.send_modify(|wish| wish.cuts += 1);
    }

    /// While true, new connections are reset at once. Present ones stay.
    pub fn refuse(&self, on: bool) {
        self.network.wish.send_modify(|wish| wish.refuse = on);
    }

    /// While true, connections are there, present and new ones, but no byte arrives: neither
    /// data nor the end of a connection.
    pub fn freeze(&self, on: bool) {
        self.network.wish.send_modify(|wish| wish.frozen = on);
    }

    /// From now on, no byte arrives on the present connections, which stay there; new ones work. So
    /// look connections whose way was lost, as by a firewall that has forgotten them.
    pub fn freeze_present(&self) {
        let dead_before = self.connections();
        self.network
            .wish
            .send_modify(|wish| wish.dead_before = dead_before);
    }

    /// From now on, what a client sends arrives this much later. As much can be sent as before.
    pub fn delay(&self, delay: Duration) {
        self.network.wish.send_modify(|wish| wish.delay = delay);
    }

    /// How many connections clients have made, without refused ones.
    pub fn connections(&self) -> u64 {
        self.network.connections.load(Ordering::Relaxed)
    }

    /// How many of them are open.
    pub fn open(&self) -> u64 {
        self.network.open.load(Ordering::Relaxed)
    }

    /// How many connections were refused.
    pub fn refused(&self) -> u64 {
        self.network.refused.load(Ordering::Relaxed)
    }

    /// How many bytes were passed on to the server.
    pub fn bytes_to_server(&self) -> u64 {
        self.network.to_server.load(Ordering::Relaxed)
    }

    /// How many bytes were passed on to clients.
    pub fn bytes_to_client(&self) -> u64 {
        self.network.to_client.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, network: Arc<Network>) {
    // Owned by this loop, so that connections end with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        if network.wish.borrow().refuse {
            network.refused.fetch_add(1, Ordering::Relaxed);
            client.set_zero_linger().unwrap();
            continue;
        }
        let number = network.connections.fetch_add(1, Ordering::Relaxed);
        network.open.fetch_add(1, Ordering::Relaxed);
        // Looked at here: a cut before this moment does not concern this connection.
        let cuts = network.wish.borrow().cuts;
        let network = Arc::clone(&network);
        connections.spawn(async move {
            connect(client, number, cuts, &network).await;
            network.open.fetch_sub(1, Ordering::Relaxed);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, until both sides have ended it, one fails, or it is cut.
async fn connect(mut client: TcpStream, number: u64, cuts: u64, network: &Network) {
    let mut server = None;
    let ended = {
        let mut wish = network.wish.subscribe();
        tokio::select! {
            biased;
            _ = wish.wait_for(|wish| wish.cuts != cuts) => false,
            result = join(&mut client, &mut server, number, network) => result.is_ok(),
        }
    };
    if !ended {
        // Closing them now resets them. It fails for one that is gone already.
        let _ = client.set_zero_linger();
        if let Some(server) = server {
            let _ = server.set_zero_linger();
        }
    }
}

async fn join(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    number: u64,
    network: &Network,
) -> io::Result<()> {
    let server = server.insert(TcpStream::connect(network.target).await?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let way = Way { network, number };
    let there = pass_on(from_client, to_server, way, &network.to_server, true);
    let back = pass_on(from_server, to_client, way, &network.to_client, false);
    tokio::try_join!(there, back).map(drop)
}

/// One direction, until its end has been passed on, too.
async fn pass_on(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way<'_>,
    counter: &AtomicU64,
    delayed: bool,
) -> io::Result<()> {
    let (sender, mut queue) = mpsc::channel::<(Instant, Bytes)>(UNDER_WAY);
    let reading = async move {
        loop {
            way.thawed().await;
            let mut chunk = BytesMut::with_capacity(CHUNK);
            let length = from.read_buf(&mut chunk).await?;
            let delay = if delayed {
                way.network.wish.borrow().delay
            } else {
                Duration::ZERO
            };
            // An empty one is the end. It is not taken only if writing has failed.
            let sent = sender.send((Instant::now() + delay, chunk.freeze())).await;
            if length == 0 || sent.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let writing = async {
        while let Some((due, chunk)) = queue.recv().await {
            sleep_until(due).await;
            way.thawed().await;
            if chunk.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&chunk).await?;
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(drop)
}

/// What a connection knows of the network.
#[derive(Debug, Clone, Copy)]
struct Way<'a> {
    network: &'a Network,
    /// How many connections there were before it.
    number: u64,
}

impl Way<'_> {
    async fn thawed(self) {
        let mut wish = self.network.wish.subscribe();
        // Its sender lives in `network`.
        let _ = wish
            .wait_for(|wish| !wish.frozen && self.number >= wish.dead_before)
            .await;
    }
}
