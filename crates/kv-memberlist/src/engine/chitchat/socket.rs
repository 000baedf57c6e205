//! chitchat's transport over the wire.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use chitchat::ChitchatMessage;
use chitchat::transport::{Socket, Transport};

use super::wire::Wire;

/// Opens chitchat's socket, each time on the same wire.
pub(super) struct Sockets(pub(super) Arc<Wire>);

struct WireSocket {
    wire: Arc<Wire>,
    buffer: Vec<u8>,
}

#[async_trait]
impl Transport for Sockets {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(WireSocket {
            wire: Arc::clone(&self.0),
            buffer: Vec::new(),
        }))
    }
}

#[async_trait]
impl Socket for WireSocket {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        self.wire.send(to, &message, &mut self.buffer);
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        Ok(self.wire.next().await)
    }
}
