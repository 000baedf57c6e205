//! Sending packets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::super::shared::Shared;
use super::connection::connect;

/// A packet, with all that surrounds it.
pub(crate) struct Outgoing {
    pub(crate) to: SocketAddr,
    pub(crate) packet: Bytes,
    /// Bytes of the packet without what surrounds it.
    pub(crate) payload: usize,
    /// When it was queued.
    pub(crate) since: Instant,
}

/// Sends packets, each over a connection of its own, as many as there are writers at the same time.
/// One that fails is lost: gossip repeats it.
pub(crate) async fn send_packets(
    packets: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
    writers: usize,
) {
    let metrics = &shared.metrics.packets;
    let write = |outgoing: Outgoing| {
        let shared = Arc::clone(&shared);
        async move {
            let metrics = &shared.metrics.packets;
            metrics.sent.inc();
            metrics.sent_bytes.inc_by(outgoing.payload as u64);
            let to = outgoing.to;
            if let Err(error) = send(&shared, outgoing).await {
                metrics.sent_errors.inc();
                tracing::debug!(%to, "a packet was not sent: {error}");
            }
        }
    };
    let is_late = |outgoing: &Outgoing| outgoing.since.elapsed() > shared.timeouts.writer;
    let dropped = || {
        metrics.dropped.inc();
    };
    write_each(packets, writers, write, is_late, dropped).await;
}

/// Writes what arrives, with so many writers; what has become late before one is free is dropped.
async fn write_each<T, F>(
    mut arriving: mpsc::Receiver<T>,
    writers: usize,
    write: impl Fn(T) -> F,
    is_late: impl Fn(&T) -> bool,
    dropped: impl Fn(),
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut writing = JoinSet::new();
    loop {
        while writing.len() >= writers {
            writing.join_next().await;
        }
        while writing.try_join_next().is_some() {}
        let Some(next) = arriving.recv().await else {
            return;
        };
        if is_late(&next) {
            dropped();
        } else {
            writing.spawn(write(next));
        }
    }
}

async fn send(shared: &Shared, outgoing: Outgoing) -> io::Result<()> {
    let timed_out = |what| io::Error::new(io::ErrorKind::TimedOut, what);
    let connected = timeout(shared.timeouts.dial, connect(shared, outgoing.to)).await;
    let mut connection = connected.map_err(|_| timed_out("timed out while connecting"))??;
    let written = async {
        connection.write(&outgoing.packet).await?;
        connection.finish().await
    };
    let written = timeout(shared.timeouts.packet, written).await;
    written.map_err(|_| timed_out("timed out while writing"))?
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use kv_core::lock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_write_at_once_and_what_waits_for_too_long_is_dropped() {
        let (sender, packets) = mpsc::channel(16);
        let began = Instant::now();
        for number in 0..6 {
            sender.send((number, began)).await.unwrap();
        }
        drop(sender);
        let (written, dropped) = (Arc::new(Mutex::new(Vec::new())), AtomicUsize::new(0));
        let write = |(number, _)| {
            let written = Arc::clone(&written);
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                lock(&written).push((number, began.elapsed().as_millis()));
            }
        };
        let is_late = |(_, since): &(i32, Instant)| since.elapsed() > Duration::from_millis(150);
        let count = || {
            dropped.fetch_add(1, Ordering::Relaxed);
        };
        write_each(packets, 2, write, is_late, count).await;
        // Two at a time: the third pair would have waited for 200 ms.
        assert_eq!(*lock(&written), [(0, 100), (1, 100), (2, 200), (3, 200)]);
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
