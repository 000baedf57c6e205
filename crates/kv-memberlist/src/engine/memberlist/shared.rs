//! What the engine and its tasks share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kv_core::{LogThrottle, lock};
use memberlist_protocol::codec::{Compression, Wire};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::net::Dial;
use super::options::{Timeouts, Tls};
use super::ring::Ring;
use crate::engine::history::MessageHistory;
use crate::link::foreign::{ForeignProtocol, Foreigner};
use crate::metrics::Metrics;

/// What the engine and its tasks share.
pub(super) struct Shared {
    /// Lock order: this one, then that of the view.
    pub(super) ring: Mutex<Ring>,
    /// Wakes the task that drives the ring.
    pub(super) changed: Notify,
    pub(super) began: Instant,
    pub(super) advertised: SocketAddr,
    pub(super) dial: Arc<dyn Dial>,
    /// Of the values.
    pub(super) codec: &'static str,
    pub(super) wire: Wire,
    pub(super) compression: Option<Compression>,
    pub(super) timeouts: Timeouts,
    pub(super) tls: Option<Tls>,
    pub(super) metrics: Metrics,
    pub(super) history: Option<MessageHistory>,
    pub(super) contacts: Mutex<HashMap<SocketAddr, Contact>>,
    pub(super) has_heard: AtomicBool,
    pub(super) foreigners: Foreigners,
}

/// What speaks another protocol to this member.
#[derive(Default)]
pub(super) struct Foreigners {
    last: Mutex<Option<Foreigner>>,
    throttle: LogThrottle,
}

impl Foreigners {
    pub(super) fn last(&self) -> Option<Foreigner> {
        *lock(&self.last)
    }

    fn note(&self, from: SocketAddr, protocol: ForeignProtocol) {
        let at = Instant::now();
        *lock(&self.last) = Some(Foreigner { protocol, from, at });
        if let Some(suppressed) = self.throttle.admit() {
            tracing::warn!(
                %from,
                suppressed,
                "the gossip port receives {protocol}, and this member speaks dskit's memberlist: all \
                 members of a ring must speak the same (memberlist.protocol), and other programs need \
                 a port of their own"
            );
        }
    }
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

    /// Something spoke another protocol.
    pub(super) fn note_foreigner(&self, from: SocketAddr, protocol: ForeignProtocol) {
        self.metrics.foreign(protocol);
        self.foreigners.note(from, protocol);
    }

    /// A member has sent its state.
    pub(super) fn note_heard(&self) {
        self.has_heard.store(true, Ordering::Relaxed);
    }
}
