//! Connections on the network in memory: what is sent arrives in order and once, as TCP sees to it, so
//! a lost segment is a late one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::simulated::{Accepting, Segment, SimulatedNetwork};

/// Bytes on their way in each direction, at most.
const WINDOW: usize = 64 << 10;

/// When a lost segment is sent again, and a lost attempt to connect.
const AGAIN: Duration = Duration::from_millis(200);
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// Where connections arrive.
pub(crate) struct Listener {
    network: SimulatedNetwork,
    address: SocketAddr,
    accepting: Accepting,
    arriving: mpsc::UnboundedReceiver<(DuplexStream, SocketAddr)>,
}

impl Listener {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, and the address of its other side.
    pub(crate) async fn next(&mut self) -> (DuplexStream, SocketAddr) {
        match self.arriving.recv().await {
            Some(arrived) => arrived,
            // Another one listens here instead.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.network.close(self.address, &self.accepting);
    }
}

impl SimulatedNetwork {
    /// Accepts connections at this address.
    pub(crate) fn listen(&self, address: SocketAddr) -> Listener {
        let (accepting, arriving) = mpsc::unbounded_channel();
        self.open(address, accepting.clone());
        Listener {
            network: self.clone(),
            address,
            accepting,
            arriving,
        }
    }

    /// Connects two addresses. Without an end while they are on different sides of a partition.
    pub(crate) async fn dial(&self, from: SocketAddr, to: SocketAddr) -> io::Result<DuplexStream> {
        self.pass(from, to, 0, CONNECT_AGAIN).await;
        let Some(listener) = self.listener(to) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        self.pass(to, from, 0, CONNECT_AGAIN).await;
        let ((ours, near), (far, theirs)) = (duplex(WINDOW), duplex(WINDOW));
        let ((near_in, near_out), (far_in, far_out)) = (split(near), split(far));
        tokio::spawn(carry(self.clone(), (from, near_in), (to, far_out)));
        tokio::spawn(carry(self.clone(), (to, far_in), (from, near_out)));
        listener
            .send((theirs, from))
            .map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(ours)
    }

    /// The time that a segment of so many bytes takes, however often it is lost.
    async fn pass(&self, from: SocketAddr, to: SocketAddr, bytes: usize, again: Duration) {
        loop {
            match self.segment(from, to, bytes) {
                Segment::Arrives(delay) if delay.is_zero() => return,
                Segment::Arrives(delay) => return sleep(delay).await,
                Segment::Lost => sleep(again).await,
            }
        }
    }
}

/// Carries what one side sends to the other, until either is closed.
async fn carry(
    network: SimulatedNetwork,
    (from, mut sent): (SocketAddr, ReadHalf<DuplexStream>),
    (to, mut arriving): (SocketAddr, WriteHalf<DuplexStream>),
) {
    let mut buffer = vec![0; WINDOW];
    loop {
        let length = sent.read(&mut buffer).await.unwrap_or_default();
        network.pass(from, to, length, AGAIN).await;
        let segment = buffer.get(..length).unwrap_or_default();
        if segment.is_empty() || arriving.write_all(segment).await.is_err() {
            break;
        }
    }
    let _closed = arriving.shutdown().await;
}
