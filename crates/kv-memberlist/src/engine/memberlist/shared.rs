//! What the engine and its tasks share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use kv_core::lock;
use memberlist_protocol::codec::{Compression, Wire};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::options::{Timeouts, Tls};
use super::ring::Ring;
use crate::engine::history::MessageHistory;
use crate::metrics::Metrics;

/// What the engine and its tasks share.
pub(super) struct Shared {
    /// Lock order: this one, then that of the view.
    pub(super) ring: Mutex<Ring>,
    /// Wakes the task that drives the ring.
    pub(super) changed: Notify,
    pub(super) began: Instant,
    pub(super) advertised: SocketAddr,
    pub(super) wire: Wire,
    pub(super) compression: Option<Compression>,
    pub(super) timeouts: Timeouts,
    pub(super) tls: Option<Tls>,
    pub(super) metrics: Metrics,
    pub(super) history: Option<MessageHistory>,
    pub(super) contacts: Mutex<HashMap<SocketAddr, Contact>>,
    pub(super) has_heard: AtomicBool,
}

/// What came of the last exchange with an address.
#[derive(Debug, Clone)]
pub(super) enum Contact {
    Open,
    Failed(String),
    Done,
}

impl Shared {
    /// The ring, and the time in it.
    pub(super) fn ring(&self) -> (MutexGuard<'_, Ring>, Duration) {
        let ring = lock(&self.ring);
        // Under the lock, so that its time never goes back.
        (ring, self.began.elapsed())
    }

    /// A time of the ring as one to sleep until.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    /// An exchange with an address has ended so.
    pub(super) fn note(&self, with: SocketAddr, outcome: Result<(), String>) {
        let contact = match outcome {
            Ok(()) => Contact::Done,
            Err(error) => Contact::Failed(error),
        };
        self.has_heard
            .fetch_or(matches!(contact, Contact::Done), Ordering::Relaxed);
        if let Some(known) = lock(&self.contacts).get_mut(&with) {
            *known = contact;
        }
    }

    /// A member has sent its state.
    pub(super) fn note_heard(&self) {
        self.has_heard.store(true, Ordering::Relaxed);
    }
}
