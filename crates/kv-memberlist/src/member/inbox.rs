//! Merges entries of other members into the view.

use std::sync::Arc;

use kv_core::Value;
use tokio::sync::watch;

use crate::engine::{EntrySink, Sender};
use crate::metrics::{BAD_ENTRY, Metrics};
use crate::phase::Phase;
use crate::view::entry::EntryText;
use crate::view::{Applied, View};

/// The part of a member that an engine uses.
pub(super) struct Inbox<V> {
    pub(super) view: Arc<View<V>>,
    pub(super) metrics: Metrics,
    pub(super) phase: watch::Receiver<Phase>,
}

impl<V: Value> EntrySink for Inbox<V> {
    fn receive(&self, key: &str, text: &str, from: Sender) -> Option<EntryText> {
        match self.view.apply(key, text, from) {
            Ok(applied) => {
                let Applied { now, written_ms } = applied?;
                // Entries that a joiner receives were not written just now.
                if let Some(written_ms) = written_ms
                    && *self.phase.borrow() == Phase::Ready
                {
                    let delay = crate::clock::now_ms().saturating_sub(written_ms).max(0);
                    self.metrics.propagation.observe(delay as f64 / 1000.0);
                }
                Some(now)
            }
            Err(error) => {
                self.metrics.refuse(BAD_ENTRY);
                tracing::debug!(
                    key,
                    "a member publishes an entry that cannot be read: {error}"
                );
                None
            }
        }
    }

    fn publish_again(&self) {
        self.view.publish_all_again();
    }

    fn publish_everything(&self) {
        self.view.publish_everything();
    }
}
