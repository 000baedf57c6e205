//! The task that drives the ring: it does what is due.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use kv_core::LogThrottle;
use memberlist_protocol::codec::{self, PacketOptions};
use memberlist_protocol::membership::{Action, Event};
use memberlist_protocol::message::Message;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::net::{Exchange, Outgoing};
use super::pair::keys_of;
use super::shared::Shared;
use crate::engine::history::Remembered;

/// Does what is due in the ring.
pub(super) async fn drive(
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    exchanges: mpsc::Sender<Exchange>,
) {
    let throttles = Throttles::default();
    loop {
        let (actions, next) = {
            let (mut ring, now) = shared.ring();
            let actions = ring.poll(now);
            (actions, ring.node().next_deadline())
        };
        let mut framed = Framed::default();
        for action in actions {
            match action {
                Action::Send {
                    to,
                    messages,
                    checksum,
                } => send(&shared, &outgoing, to, &mut framed, (messages, checksum)),
                Action::PushPull { with } => {
                    // If too many wait, a later one does as well.
                    let _full = exchanges.try_send(Exchange { with, join: false });
                }
                Action::Event(event) => throttles.log(&event),
            }
        }
        tokio::select! {
            () = tokio::time::sleep_until(shared.instant(next)) => {}
            () = shared.changed.notified() => {}
        }
    }
}

/// What is sent to one member after the other in a round is mostly the same.
#[derive(Default)]
struct Framed {
    messages: Vec<Message>,
    crc: bool,
    packets: Vec<Packet>,
}

#[derive(Clone)]
struct Packet {
    bytes: Bytes,
    /// Bytes without what surrounds it.
    payload: usize,
}

impl Framed {
    /// The packets of these messages.
    fn of(&mut self, shared: &Shared, messages: Vec<Message>, crc: bool) -> &[Packet] {
        if self.messages != messages || self.crc != crc {
            self.packets = frame(shared, &messages, crc);
            (self.messages, self.crc) = (messages, crc);
        }
        &self.packets
    }
}

fn frame(shared: &Shared, messages: &[Message], crc: bool) -> Vec<Packet> {
    let encoded: Vec<Bytes> = messages.iter().map(codec::message).collect();
    let options = PacketOptions {
        compression: shared.compression,
        crc,
        ..PacketOptions::default()
    };
    let sender = shared.advertised.to_string();
    let mut packets = Vec::new();
    for message in codec::compounds(&encoded) {
        let framed = codec::packet(&message, &shared.wire, options).and_then(|payload| {
            Ok(Packet {
                bytes: codec::packet_frame(&sender, &payload)?,
                payload: payload.len(),
            })
        });
        match framed {
            Ok(packet) => packets.push(packet),
            Err(error) => {
                shared.metrics.unsendable.inc();
                tracing::debug!("a packet cannot be sent: {error}");
            }
        }
    }
    packets
}

/// Queues packets. What has no room is dropped: gossip repeats it.
fn send(
    shared: &Shared,
    outgoing: &mpsc::Sender<Outgoing>,
    to: SocketAddr,
    framed: &mut Framed,
    (messages, crc): (Vec<Message>, bool),
) {
    let metrics = &shared.metrics;
    let mut size = 0;
    for packet in framed.of(shared, messages, crc) {
        size += packet.bytes.len();
        let packet = Outgoing {
            to,
            packet: packet.bytes.clone(),
            payload: packet.payload,
            since: Instant::now(),
        };
        if outgoing.try_send(packet).is_err() {
            metrics.packets.dropped.inc();
        }
    }
    for message in &framed.messages {
        if let Message::User(bytes) = message {
            metrics.datagrams_sent.inc();
            metrics.datagram_bytes_sent.inc_by(bytes.len() as u64);
        }
    }
    if let Some(history) = &shared.history {
        history.sent(Remembered {
            peer: to,
            size,
            kind: "packet",
            keys: keys_of(&framed.messages, shared.codec),
        });
    }
}

/// What members can be made to say often is logged now and then.
#[derive(Default)]
struct Throttles {
    conflict: LogThrottle,
    refused: LogThrottle,
    refuted: LogThrottle,
}

impl Throttles {
    /// Logs what has happened in the ring, but for what is logged of every kind of gossip.
    fn log(&self, event: &Event) {
        match event {
            Event::Conflict {
                node,
                known,
                claimed,
            } => {
                if let Some(suppressed) = self.conflict.admit() {
                    tracing::warn!(
                        name = node, %known, %claimed, suppressed,
                        "two members have the same name: the one at the claimed address is not \
                         believed. Give each a name of its own, or let the old one leave first"
                    );
                }
            }
            Event::Refused { node, why } => {
                if let Some(suppressed) = self.refused.admit() {
                    let why = why.as_str();
                    tracing::warn!(name = node, suppressed, "a member is not believed: {why}");
                }
            }
            Event::Refuted { incarnation } => {
                if let Some(suppressed) = self.refuted.admit() {
                    tracing::info!(
                        incarnation,
                        suppressed,
                        "other members were wrong about this one, and are told so"
                    );
                }
            }
            Event::Suspected { node, by } => {
                tracing::info!(name = node, by, "a member does not answer: suspected");
            }
            Event::Cleared(node) => tracing::info!(name = node, "a suspected member is alive"),
            Event::Joined(_) | Event::Changed(_) | Event::Gone { .. } | Event::Forgotten(_) => {}
        }
    }
}
