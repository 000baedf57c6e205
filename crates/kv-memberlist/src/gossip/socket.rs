//! chitchat's transport over a sealed link.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};

use super::Wire;
use crate::door::Waiting;
use crate::message::{inspect, without};
use crate::packet::{Envelope, Refusal};

/// Opens chitchat's socket, each time on the same link.
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
        self.buffer.clear();
        message.serialize(&mut self.buffer);
        self.wire.send(to, &self.buffer);
        Ok(())
    }

    /// Can be dropped while it waits without losing a message.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let Waiting { from, envelope } = self.wire.arrival().await;
            match self.read(from, &envelope) {
                Ok(message) => return Ok((envelope.reply_to, message)),
                Err(refusal) => self.wire.refuse(from, refusal),
            }
        }
    }
}

impl WireSocket {
    fn read(&self, other_end: SocketAddr, envelope: &Envelope) -> Result<ChitchatMessage, Refusal> {
        let mut body = self.wire.unpack(envelope)?;
        let summary = inspect(&body, self.wire.keeps_history())?;
        let left_out = self.wire.admit(envelope.reply_to, other_end, &summary)?;
        if !left_out.is_empty() {
            body = without(&body, &left_out).ok_or(Refusal::Malformed)?;
        }
        let message = ChitchatMessage::deserialize(&mut body.as_slice()).map_err(|error| {
            tracing::debug!(%error, from = %envelope.reply_to, "chitchat cannot decode a message");
            Refusal::Malformed
        })?;
        self.wire.received(envelope.reply_to, body.len(), summary);
        Ok(message)
    }
}
