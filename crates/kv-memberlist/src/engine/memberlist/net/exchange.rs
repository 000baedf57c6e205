//! Exchanges of states, on either side.

use std::net::SocketAddr;
use std::sync::Arc;

use memberlist_protocol::codec::{self, Side, StreamMessage, StreamOptions, StreamReader};
use memberlist_protocol::kv::state::Pairs;
use memberlist_protocol::message::{Message, PushPull};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::super::pair::key_of;
use super::super::shared::Shared;
use super::connection::{Connection, connect, read_stream};
use crate::engine::history::Remembered;

/// Exchanges that this member begins which go on at the same time, at most.
const MAX_EXCHANGES: usize = 8;

/// Entries that are merged under one lock.
const MERGED_AT_ONCE: usize = 128;

/// An exchange of states with a member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) with: SocketAddr,
    pub(crate) join: bool,
}

/// Exchanges states with the members that it is told of.
pub(crate) async fn exchange_states(mut begun: mpsc::Receiver<Exchange>, shared: Arc<Shared>) {
    let mut running = JoinSet::new();
    while let Some(exchange) = begun.recv().await {
        while running.len() >= MAX_EXCHANGES {
            running.join_next().await;
        }
        while running.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        running.spawn(async move {
            let outcome = initiate(&shared, exchange).await;
            if let Err(error) = &outcome {
                tracing::debug!(with = %exchange.with, "no exchange of states: {error}");
            }
            shared.note(exchange.with, outcome);
        });
    }
}

/// Sends the own state, and merges the answer.
async fn initiate(shared: &Shared, exchange: Exchange) -> Result<(), String> {
    let deadline = Instant::now() + shared.timeouts.stream;
    shared.metrics.packets.outgoing_streams.inc();
    let connected = timeout_at(deadline, connect(shared, exchange.with)).await;
    let connected = connected
        .map_err(|_| "timed out while connecting".to_owned())
        .and_then(|connected| connected.map_err(|error| error.to_string()));
    let mut connection = connected.inspect_err(|_| {
        shared.metrics.packets.outgoing_stream_errors.inc();
    })?;
    let state = shared.ring().0.state(exchange.join);
    write_state(shared, &mut connection, Side::Initiator, &state).await?;
    let reader = StreamReader::new(Side::Responder, shared.wire.clone());
    let deadline = Instant::now() + shared.timeouts.stream;
    let answer = timeout_at(deadline, read_stream(&mut connection, reader)).await;
    let answer = answer.map_err(|_| "timed out while reading the answer".to_owned())?;
    match answer.map_err(|error| error.to_string())? {
        Some(StreamMessage::PushPull { state, rejected }) => {
            if let Some(first) = rejected.first {
                tracing::debug!(with = %exchange.with, "nodes were left out: {first}");
            }
            merge(shared, exchange.with, state).await;
            Ok(())
        }
        Some(StreamMessage::Message(Message::Error(error))) => {
            Err(format!("the member answers: {error}"))
        }
        Some(StreamMessage::Message(_)) => Err("the answer is no state".to_owned()),
        None => Err(
            "the connection was closed without an answer; is cluster_label the same there?"
                .to_owned(),
        ),
    }
}

/// Answers with the own state, and only then merges what was sent, as Go's members do.
pub(super) async fn respond(
    shared: &Shared,
    connection: &mut Connection,
    from: SocketAddr,
    theirs: PushPull,
) -> Result<(), String> {
    let state = shared.ring().0.state(theirs.join);
    let written = write_state(shared, connection, Side::Responder, &state).await;
    shared.note_heard();
    merge(shared, from, theirs).await;
    written
}

async fn write_state(
    shared: &Shared,
    connection: &mut Connection,
    side: Side,
    state: &PushPull,
) -> Result<(), String> {
    let options = StreamOptions {
        compression: shared.compression,
        ..StreamOptions::default()
    };
    let bytes = codec::push_pull(state)
        .and_then(|message| codec::stream(side, message, &shared.wire, options))
        .map_err(|error| error.to_string())?;
    let deadline = Instant::now() + shared.timeouts.stream;
    let written = timeout_at(deadline, connection.write(&bytes)).await;
    written
        .map_err(|_| "timed out while sending the own state".to_owned())?
        .map_err(|error| error.to_string())?;
    shared.metrics.stream_sent.inc();
    let pushed = state.user_state.len() as u64;
    shared.metrics.stream_bytes_sent.inc_by(pushed);
    Ok(())
}

/// Merges another member's state, in pieces, so that others have their turn.
async fn merge(shared: &Shared, from: SocketAddr, state: PushPull) {
    let size = state.user_state.len();
    shared.metrics.stream_received.inc();
    shared.metrics.stream_bytes_received.inc_by(size as u64);
    {
        let (mut ring, now) = shared.ring();
        ring.merge_nodes(now, state.nodes);
    }
    let mut pairs = Pairs::new(state.user_state)
        .map_while(Result::ok)
        .peekable();
    let mut keys = Vec::new();
    while pairs.peek().is_some() {
        {
            let (mut ring, _) = shared.ring();
            for pair in pairs.by_ref().take(MERGED_AT_ONCE) {
                if shared.history.is_some() {
                    keys.extend(key_of(&pair, shared.codec));
                }
                let _counted = ring.take(pair);
            }
        }
        tokio::task::yield_now().await;
    }
    shared.changed.notify_one();
    if let Some(history) = &shared.history {
        history.received(Remembered {
            peer: from,
            size,
            kind: "state",
            keys,
        });
    }
}
