//! The last messages with entries, for the admin page.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;

use kv_core::lock;

use crate::status::{History, HistoryEntry};

/// Keeps messages of both directions.
pub(crate) struct MessageHistory {
    /// Bytes of each direction.
    bound: usize,
    buffers: Mutex<Buffers>,
}

/// A message to keep.
pub(crate) struct Remembered {
    pub(crate) peer: SocketAddr,
    /// Bytes.
    pub(crate) size: usize,
    pub(crate) kind: &'static str,
    pub(crate) keys: Vec<String>,
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
    pub(crate) fn of_size(bound: usize) -> Option<Self> {
        (bound > 0).then(|| Self {
            bound,
            buffers: Mutex::default(),
        })
    }

    /// A message with values of these keys is sent; one without is not kept.
    pub(crate) fn sent(&self, message: Remembered) {
        if !message.keys.is_empty() {
            self.keep_sent(message);
        }
    }

    /// A message with values of these keys has been received; one without is not kept.
    pub(crate) fn received(&self, message: Remembered) {
        if !message.keys.is_empty() {
            self.keep_received(message);
        }
    }

    /// As [`MessageHistory::sent`], for a message that is kept though it may have no entries.
    pub(crate) fn keep_sent(&self, message: Remembered) {
        self.remember(message, |buffers| &mut buffers.sent);
    }

    /// As [`MessageHistory::received`], for a message that is kept though it may have no entries.
    pub(crate) fn keep_received(&self, message: Remembered) {
        self.remember(message, |buffers| &mut buffers.received);
    }

    fn remember(&self, message: Remembered, ring: impl FnOnce(&mut Buffers) -> &mut Ring) {
        let mut buffers = lock(&self.buffers);
        let id = buffers.next_id;
        buffers.next_id += 1;
        let entry = HistoryEntry {
            id,
            at_ms: crate::clock::now_ms(),
            peer: message.peer,
            kind: message.kind,
            size: message.size,
            keys: message.keys,
        };
        ring(&mut buffers).push(entry, self.bound);
    }

    pub(crate) fn snapshot(&self) -> History {
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
