//! The last messages with entries, for the admin page.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use kv_core::lock;

use super::inspect::{COPY, Summary};

use crate::status::{History, HistoryEntry};

/// Keeps messages of both directions.
pub(super) struct MessageHistory {
    /// Bytes of each direction.
    bound: usize,
    buffers: Mutex<Buffers>,
}

#[derive(Default)]
struct Buffers {
    next_id: u64,
    sent: Ring,
    received: Ring,
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<HistoryEntry>,
    bytes: usize,
}

impl MessageHistory {
    /// `None` for a history of no bytes.
    pub(super) fn of_size(bound: usize) -> Option<Self> {
        (bound > 0).then(|| Self {
            bound,
            buffers: Mutex::default(),
        })
    }

    /// A message of this size is sent.
    pub(super) fn sent(&self, to: SocketAddr, size: usize, summary: Summary) {
        self.remember(to, size, summary, |buffers| &mut buffers.sent);
    }

    /// A message of this size has been received.
    pub(super) fn received(&self, from: SocketAddr, size: usize, summary: Summary) {
        self.remember(from, size, summary, |buffers| &mut buffers.received);
    }

    fn remember(
        &self,
        peer: SocketAddr,
        size: usize,
        summary: Summary,
        ring: impl FnOnce(&mut Buffers) -> &mut Ring,
    ) {
        if summary.keys.is_empty() {
            return;
        }
        let mut buffers = lock(&self.buffers);
        let id = buffers.next_id;
        buffers.next_id += 1;
        let entry = HistoryEntry {
            id,
            at_ms: crate::clock::now_ms(),
            peer,
            kind: summary.kind.as_str(),
            size,
            keys: summary
                .keys
                .into_iter()
                .filter_map(|key| key.strip_prefix(COPY).map(str::to_owned))
                .collect(),
        };
        ring(&mut buffers).push(entry, self.bound);
    }

    pub(super) fn snapshot(&self) -> History {
        let buffers = lock(&self.buffers);
        History {
            sent: buffers.sent.entries.iter().cloned().collect(),
            received: buffers.received.entries.iter().cloned().collect(),
        }
    }
}

impl Ring {
    fn push(&mut self, entry: HistoryEntry, bound: usize) {
        self.bytes += cost(&entry);
        self.entries.push_back(entry);
        while self.bytes > bound {
            match self.entries.pop_front() {
                Some(oldest) => self.bytes -= cost(&oldest),
                None => break,
            }
        }
    }
}

/// Memory of an entry, bytes.
fn cost(entry: &HistoryEntry) -> usize {
    let keys: usize = entry
        .keys
        .iter()
        .map(|key| key.len() + size_of::<String>())
        .sum();
    size_of::<HistoryEntry>() + keys
}
