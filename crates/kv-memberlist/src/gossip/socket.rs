//! chitchat's transport over a sealed link.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};

use super::Wire;
use crate::message::inspect;

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
            let arrival = self.wire.arrival().await;
            let opened = match self.wire.open(&arrival) {
                Ok(opened) => opened,
                Err(refusal) => {
                    self.wire.refuse(arrival.from, refusal);
                    continue;
                }
            };
            let inspected = inspect(&opened.body, self.wire.keeps_history())
                .and_then(|summary| self.wire.admit(&summary).map(|()| summary));
            let summary = match inspected {
                Ok(summary) => summary,
                Err(refusal) => {
                    self.wire.refuse(arrival.from, refusal);
                    continue;
                }
            };
            // A name or an address of its own that this member was told to join.
            if opened.reply_to == self.wire.advertised() {
                continue;
            }
            match ChitchatMessage::deserialize(&mut opened.body.as_slice()) {
                Ok(message) => {
                    self.wire
                        .received(opened.reply_to, opened.body.len(), summary);
                    return Ok((opened.reply_to, message));
                }
                Err(error) => {
                    tracing::debug!(%error, from = %arrival.from, "chitchat cannot decode a message");
                    self.wire
                        .refuse(arrival.from, crate::packet::Refusal::Malformed);
                }
            }
        }
    }
}
