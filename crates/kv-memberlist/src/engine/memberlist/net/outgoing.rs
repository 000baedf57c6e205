//! Sending packets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::shared::Shared;
use super::connection::connect;

/// Packets that are being sent at the same time, at most. Those to members that do not answer take a
/// place until they time out.
const MAX_SENDING: usize = 64;

/// A packet, with all that surrounds it.
pub(crate) struct Outgoing {
    pub(crate) to: SocketAddr,
    pub(crate) packet: Bytes,
    /// Bytes of the packet without what surrounds it.
    pub(crate) payload: usize,
}

/// Sends packets, each over a connection of its own. One that fails is lost: gossip repeats it.
pub(crate) async fn send_packets(mut packets: mpsc::Receiver<Outgoing>, shared: Arc<Shared>) {
    let mut sending = JoinSet::new();
    while let Some(outgoing) = packets.recv().await {
        while sending.len() >= MAX_SENDING {
            sending.join_next().await;
        }
        while sending.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        sending.spawn(async move {
            let metrics = &shared.metrics.packets;
            metrics.sent.inc();
            metrics.sent_bytes.inc_by(outgoing.payload as u64);
            let to = outgoing.to;
            if let Err(error) = send(&shared, outgoing).await {
                metrics.sent_errors.inc();
                tracing::debug!(%to, "a packet was not sent: {error}");
            }
        });
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
