//! Receiving packets, and answering streams.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kv_core::lock;
use memberlist_protocol::codec::{
    self, Kind, MAX_FRAME, Side, StreamMessage, StreamOptions, StreamReader,
};
use memberlist_protocol::message::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::super::pair::keys_of;
use super::super::shared::Shared;
use super::connection::Connection;
use super::exchange::respond;
use super::sockets::{Listen, Socket};
use crate::engine::history::Remembered;
use crate::link::foreign::ForeignProtocol;
use crate::metrics::TOO_MANY_CONNECTIONS;
use crate::seal::refusal::Refusal;

/// Connections that are open at the same time, at most; further ones are closed at once.
const MAX_CONNECTIONS: usize = 256;

/// Those of one host.
const MAX_PER_HOST: usize = 64;

/// Bytes that all connections together hold of what is arriving, in KiB.
const MAX_ARRIVING_KIB: usize = 128 << 10;

/// Pauses after connections that cannot be accepted.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Accepts connections.
pub(crate) async fn accept(mut listener: Box<dyn Listen>, shared: Arc<Shared>) {
    let places = Arc::new(Places::default());
    let memory = Arc::new(Semaphore::new(MAX_ARRIVING_KIB));
    let mut serving = JoinSet::new();
    let mut pause = BACKOFF.0;
    loop {
        while serving.try_join_next().is_some() {}
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!("a connection cannot be accepted: {error}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACKOFF.1);
                continue;
            }
        };
        pause = BACKOFF.0;
        let Some(place) = places.take(from.ip()) else {
            shared.metrics.refuse_connection(TOO_MANY_CONNECTIONS);
            continue;
        };
        let (shared, memory) = (Arc::clone(&shared), Arc::clone(&memory));
        serving.spawn(async move {
            let arriving = Arriving {
                bytes: Vec::new(),
                taken: None,
                memory,
            };
            if let Err(refused) = serve(&shared, socket, from, arriving).await {
                shared.metrics.refuse_connection(refused.reason);
                tracing::debug!(%from, "a connection was refused: {}", refused.why);
            }
            drop(place);
        });
    }
}

/// Why a connection came to nothing.
struct Refused {
    /// For the metric.
    reason: &'static str,
    why: String,
}

impl Refused {
    fn io(error: &io::Error) -> Self {
        Self {
            reason: "connection",
            why: error.to_string(),
        }
    }

    fn codec(error: &codec::Error) -> Self {
        let reason = match error {
            codec::Error::Label { .. } => "label",
            codec::Error::TooLarge { .. } => "size",
            codec::Error::Digest | codec::Error::Checksum => "digest",
            _ => "malformed",
        };
        Self {
            reason,
            why: error.to_string(),
        }
    }
}

async fn serve(
    shared: &Shared,
    socket: Box<dyn Socket>,
    from: SocketAddr,
    mut arriving: Arriving,
) -> Result<(), Refused> {
    let now = Instant::now();
    let opening = async {
        let mut connection = Connection::accepted(socket, shared).await?;
        let length = arriving.read(&mut connection).await?;
        Ok::<_, io::Error>((connection, length))
    };
    let opened = timeout_at(now + shared.timeouts.packet, opening).await;
    let (connection, length) = opened
        .map_err(|_| late("the first byte"))?
        .map_err(|error| Refused::io(&error))?;
    if length == 0 {
        // A check of health by a load balancer, say.
        return Ok(());
    }
    let first = arriving.bytes.first().copied().unwrap_or_default();
    let kind = codec::kind(first).map_err(|error| {
        let protocol = ForeignProtocol::of_stream_to_dskit(&arriving.bytes);
        shared.note_foreigner(from, protocol);
        shared.metrics.packets.unknown_connections.inc();
        Refused {
            reason: Refusal::NotOurs(protocol).reason(),
            why: error.to_string(),
        }
    });
    match kind? {
        Kind::Packet => {
            let deadline = now + shared.timeouts.packet;
            shared.metrics.packets.received.inc();
            let received = receive_packet(shared, connection, from, arriving, deadline).await;
            if received.is_err() {
                shared.metrics.packets.received_errors.inc();
            }
            received
        }
        Kind::Stream => {
            shared.metrics.packets.incoming_streams.inc();
            let deadline = now + shared.timeouts.stream;
            answer_stream(shared, connection, from, arriving, deadline).await
        }
    }
}

fn late(what: &str) -> Refused {
    Refused {
        reason: "timeout",
        why: format!("timed out while waiting for {what}"),
    }
}

async fn receive_packet(
    shared: &Shared,
    mut connection: Connection,
    from: SocketAddr,
    mut arriving: Arriving,
    deadline: Instant,
) -> Result<(), Refused> {
    let limit = shared.wire.limits.packet + MAX_FRAME;
    let whole = async {
        while arriving.read(&mut connection).await? > 0 {
            if arriving.bytes.len() > limit {
                return Err(io::Error::other(format!(
                    "a packet of more than {limit} bytes"
                )));
            }
        }
        Ok(())
    };
    let received = timeout_at(deadline, whole).await;
    received
        .map_err(|_| late("the end of a packet"))?
        .map_err(|error| Refused::io(&error))?;
    drop(connection);
    let Arriving { bytes, taken, .. } = arriving;
    let packet = Bytes::from(bytes);
    let frame = codec::read_packet_frame(&packet).map_err(|error| Refused::codec(&error))?;
    let content = codec::read_packet(&frame.payload, &shared.wire);
    let content = content.map_err(|error| Refused::codec(&error))?;
    let metrics = &shared.metrics;
    metrics
        .packets
        .received_bytes
        .inc_by(frame.payload.len() as u64);
    if let Some(first) = content.rejected.first {
        tracing::debug!(%from, "messages were left out: {first}");
    }
    let users = content.messages.iter().filter_map(|message| match message {
        Message::User(bytes) => Some(bytes.len() as u64),
        _ => None,
    });
    for size in users {
        metrics.datagrams_received.inc();
        metrics.datagram_bytes_received.inc_by(size);
    }
    let sender = frame.sender.parse().ok();
    let keys = match &shared.history {
        Some(_) => keys_of(&content.messages, shared.codec),
        None => Vec::new(),
    };
    let unreadable = {
        let (mut ring, now) = shared.ring();
        ring.take_messages(now, sender, content.messages)
    };
    metrics.invalid.inc_by(unreadable);
    shared.changed.notify_one();
    if let Some(history) = &shared.history {
        history.received(Remembered {
            // Where it listens, rather than the port that it sent this from.
            peer: sender.unwrap_or(from),
            size: packet.len(),
            kind: "packet",
            keys,
        });
    }
    drop(taken);
    Ok(())
}

async fn answer_stream(
    shared: &Shared,
    mut connection: Connection,
    from: SocketAddr,
    mut arriving: Arriving,
    deadline: Instant,
) -> Result<(), Refused> {
    let mut reader = StreamReader::new(Side::Initiator, shared.wire.clone());
    let mut fed = 1;
    let whole = async {
        loop {
            let new = arriving.bytes.get(fed..).unwrap_or_default();
            match reader.feed(new) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) => return Err((Refused::codec(&error), Some(error))),
            }
            // What the reader has, need not be kept here as well.
            arriving.bytes.clear();
            fed = 0;
            match arriving.read(&mut connection).await {
                Ok(0) => {
                    let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err((Refused::io(&error), None));
                }
                Ok(_) => {}
                Err(error) => return Err((Refused::io(&error), None)),
            }
        }
    };
    let message = timeout_at(deadline, whole).await;
    let message = match message.map_err(|_| late("the end of a stream"))? {
        Ok(message) => message,
        Err((refused, error)) => {
            // Another ring's member is not answered, as Go's members do.
            if let Some(error) = error.filter(|error| !matches!(error, codec::Error::Label { .. }))
            {
                let told = Message::Error(error.to_string());
                let _closed = answer(shared, &mut connection, &told).await;
            }
            return Err(refused);
        }
    };
    let done = match message {
        StreamMessage::PushPull { state, rejected } => {
            if let Some(first) = rejected.first {
                tracing::debug!(%from, "nodes were left out: {first}");
            }
            respond(shared, &mut connection, from, state).await
        }
        StreamMessage::Message(Message::Ping(ping)) => {
            let ack = shared.ring().0.node().answer_stream(&ping);
            match ack {
                Some(ack) => answer(shared, &mut connection, &ack).await,
                None => Ok(()),
            }
        }
        StreamMessage::Message(_) => Ok(()),
    };
    done.map_err(|why| Refused {
        reason: "connection",
        why,
    })?;
    let _closed = timeout_at(deadline + shared.timeouts.stream, connection.finish()).await;
    Ok(())
}

async fn answer(
    shared: &Shared,
    connection: &mut Connection,
    message: &Message,
) -> Result<(), String> {
    let bytes = codec::stream_message(message)
        .and_then(|message| {
            codec::stream(
                Side::Responder,
                message,
                &shared.wire,
                StreamOptions::default(),
            )
        })
        .map_err(|error| error.to_string())?;
    let deadline = Instant::now() + shared.timeouts.stream;
    let written = timeout_at(deadline, connection.write(&bytes)).await;
    written
        .map_err(|_| "timed out while answering".to_owned())?
        .map_err(|error| error.to_string())
}

/// What is arriving on a connection, and its share of the memory for all.
struct Arriving {
    bytes: Vec<u8>,
    taken: Option<OwnedSemaphorePermit>,
    memory: Arc<Semaphore>,
}

impl Arriving {
    /// Reads on; 0 at the end.
    async fn read(&mut self, connection: &mut Connection) -> io::Result<usize> {
        let length = connection.read(&mut self.bytes).await?;
        let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory);
        let more = memory
            .try_acquire_many_owned(kib)
            .map_err(|_| io::Error::other("too much is arriving on all connections together"))?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(length)
    }
}

/// Who has how many connections.
#[derive(Default)]
struct Places(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place, until it is dropped.
struct Place {
    places: Arc<Places>,
    host: IpAddr,
}

impl Places {
    fn take(self: &Arc<Self>, host: IpAddr) -> Option<Place> {
        let mut hosts = lock(&self.0);
        let all: usize = hosts.values().sum();
        let of_host = hosts.get(&host).copied().unwrap_or(0);
        if all >= MAX_CONNECTIONS || of_host >= MAX_PER_HOST {
            return None;
        }
        hosts.insert(host, of_host + 1);
        Some(Place {
            places: Arc::clone(self),
            host,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut hosts = lock(&self.places.0);
        if let Some(count) = hosts.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                hosts.remove(&self.host);
            }
        }
    }
}
