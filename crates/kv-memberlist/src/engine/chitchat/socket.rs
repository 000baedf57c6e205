//! chitchat's transport over a sealed link.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};

use super::wire::Wire;
use crate::admission::Waiting;
use crate::engine::chitchat::inspect::{inspect, without};
use crate::engine::chitchat::snapshot;
use crate::seal::packet::Refusal;

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
        self.wire.hide_gaps(&mut self.buffer);
        self.wire.send(to, &self.buffer);
        Ok(())
    }

    /// Can be dropped while it waits without losing a message.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let Some(letter) = self.next().await else {
                continue;
            };
            match self.check(&letter) {
                Ok(message) => return Ok((letter.reply_to, message)),
                Err(refusal) => {
                    self.wire.refuse(letter.from, refusal);
                    if refusal == Refusal::TooManyMembers {
                        self.wire.has_no_room_for(letter.reply_to);
                    }
                }
            }
        }
    }
}

/// A message that may be chitchat's.
struct Letter {
    /// The other end as the network says it.
    from: SocketAddr,
    reply_to: SocketAddr,
    body: Vec<u8>,
}

impl WireSocket {
    /// The next message; `None` if what came was none, or not for chitchat.
    async fn next(&self) -> Option<Letter> {
        let wire = &self.wire;
        if let Some((member, body)) = wire.receiving().message() {
            return Some(Letter {
                from: member,
                reply_to: member,
                body,
            });
        }
        let Waiting { from, envelope } = wire.arrival().await;
        let reply_to = envelope.reply_to;
        let refusal = match wire.unpack(&envelope) {
            Ok(body) => match snapshot::message::read(&body) {
                Some(Ok(message)) => {
                    wire.take(reply_to, message);
                    return None;
                }
                Some(Err(refusal)) => refusal,
                None => {
                    return Some(Letter {
                        from,
                        reply_to,
                        body,
                    });
                }
            },
            Err(refusal) => refusal,
        };
        wire.refuse(from, refusal);
        None
    }

    /// What chitchat may see of a message.
    fn check(&self, letter: &Letter) -> Result<ChitchatMessage, Refusal> {
        let summary = inspect(&letter.body, self.wire.keeps_history())?;
        let left_out = self.wire.admit(letter.reply_to, letter.from, &summary)?;
        let body = if left_out.is_empty() {
            Cow::Borrowed(&letter.body)
        } else {
            Cow::Owned(without(&letter.body, &left_out).ok_or(Refusal::Malformed)?)
        };
        let message = ChitchatMessage::deserialize(&mut body.as_slice()).map_err(|error| {
            tracing::debug!(%error, from = %letter.reply_to, "chitchat cannot decode a message");
            Refusal::Malformed
        })?;
        self.wire.received(letter.reply_to, body.len(), summary);
        Ok(message)
    }
}
