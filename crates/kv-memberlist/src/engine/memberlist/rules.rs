//! What becomes of an entry that another member tells: the view decides.

use std::sync::Arc;
use std::time::Duration;

use memberlist_protocol::kv::{BadValue, Entry, Incoming, Merged, Rejection, Rules, Told};

use super::others::OtherKeys;
use super::pair::Pair;
use crate::engine::EntrySink;
use crate::status::OtherKey;
use crate::view::entry::MAX_TEXT;

/// The rules of this member's view. Where they differ from dskit's: a key that was deleted can come
/// back, and an epoch decides before the values do.
pub(super) struct OfView {
    sink: Arc<dyn EntrySink>,
    /// Of the values: entries with other codecs are others' and passed over.
    codec: &'static str,
    /// A deletion that is older is not believed where its key is not known.
    keep_tombstones: Duration,
    others: OtherKeys,
}

impl OfView {
    pub(super) fn new(
        sink: Arc<dyn EntrySink>,
        codec: &'static str,
        keep_tombstones: Duration,
    ) -> Self {
        Self {
            sink,
            codec,
            keep_tombstones,
            others: OtherKeys::default(),
        }
    }

    /// Keys of other components.
    pub(super) fn other_keys(&self) -> Vec<OtherKey> {
        self.others.all()
    }

    fn is_forgotten(&self, pair: &Pair, now_ms: i64) -> bool {
        let age = now_ms.saturating_sub(pair.base.update_time_ms);
        pair.base.deleted && i128::from(age) > self.keep_tombstones.as_millis() as i128
    }
}

impl Rules for OfView {
    fn merge(
        &mut self,
        stored: Option<&Entry>,
        incoming: Incoming,
        now_ms: i64,
    ) -> Result<Option<Merged>, Rejection> {
        if incoming.pair.codec != self.codec {
            self.others.note(&incoming.pair);
            return Err(Rejection::UnknownCodec(incoming.pair.codec));
        }
        let pair = Pair::with(incoming.pair, incoming.bytes);
        if pair.size() > MAX_TEXT {
            return Err(Rejection::BadValue {
                key: pair.base.key,
                problem: BadValue(format!("it is larger than {MAX_TEXT} bytes")),
            });
        }
        let stored = stored.map(Pair::stored);
        let is_known = match &stored {
            None => self.is_forgotten(&pair, now_ms),
            Some(stored) => stored.says_the_same(&pair),
        };
        if is_known {
            return Ok(None);
        }
        let epoch = stored.and_then(|stored| stored.epoch()).unwrap_or(0);
        let news = self
            .sink
            .receive(&pair.base.key, &pair.text(epoch), pair.sender());
        let stored = news.and_then(|now| Some(Pair::of(&now)?.to_stored()));
        Ok(stored.map(|stored| Merged {
            told: Some(Told {
                bytes: stored.bytes.clone(),
                contents: Vec::new(),
            }),
            stored,
        }))
    }
}
