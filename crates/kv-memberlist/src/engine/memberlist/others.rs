//! Keys of other components in the same ring: not kept, only noted, for people.

use std::collections::BTreeMap;
use std::time::Duration;

use memberlist_protocol::kv::KeyValuePair;
use tokio::time::Instant;

use crate::status::OtherKey;

/// Keys that are noted, at most.
const MAX_KEYS: usize = 1_000;

/// Longest key and longest codec's name that are noted, bytes.
const MAX_KEY: usize = 512;
const MAX_CODEC: usize = 64;

/// A key of which nothing comes for this long is forgotten. Whole states, which name all keys, are
/// exchanged more often.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What others keep in the ring.
#[derive(Default)]
pub(super) struct OtherKeys(BTreeMap<String, Noted>);

struct Noted {
    codec: String,
    size: usize,
    is_deleted: bool,
    at: Instant,
}

impl OtherKeys {
    /// Notes that something was said of a key.
    pub(super) fn note(&mut self, pair: &KeyValuePair) {
        if pair.key.is_empty() || pair.key.len() > MAX_KEY || pair.codec.len() > MAX_CODEC {
            return;
        }
        if self.0.len() >= MAX_KEYS && !self.0.contains_key(&pair.key) {
            self.0.retain(|_, noted| noted.at.elapsed() < REMEMBERED);
            if self.0.len() >= MAX_KEYS {
                return;
            }
        }
        let noted = Noted {
            codec: pair.codec.clone(),
            size: pair.value.len(),
            is_deleted: pair.deleted,
            at: Instant::now(),
        };
        self.0.insert(pair.key.clone(), noted);
    }

    /// The keys that are known, sorted.
    pub(super) fn all(&self) -> Vec<OtherKey> {
        let recent = self.0.iter();
        let recent = recent.filter(|(_, noted)| noted.at.elapsed() < REMEMBERED);
        let shown = recent.map(|(key, noted)| OtherKey {
            key: key.clone(),
            codec: noted.codec.clone(),
            size: noted.size,
            deleted: noted.is_deleted,
            age: noted.at.elapsed(),
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, size: usize) -> KeyValuePair {
        KeyValuePair {
            key: key.to_owned(),
            codec: "ringDesc".to_owned(),
            value: vec![0; size].into(),
            ..KeyValuePair::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_noted_within_bounds_and_forgotten() {
        let mut others = OtherKeys::default();
        others.note(&pair("ring", 7));
        others.note(&pair("ring", 9));
        others.note(&pair(&"long".repeat(MAX_KEY), 1));
        let all = others.all();
        assert_eq!((all.len(), all[0].size), (1, 9));
        assert_eq!((&*all[0].key, &*all[0].codec), ("ring", "ringDesc"));
        for number in 0..2 * MAX_KEYS {
            others.note(&pair(&number.to_string(), 1));
        }
        assert_eq!(others.all().len(), MAX_KEYS);
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(others.all(), []);
        others.note(&pair("new", 1));
        assert_eq!(others.all().len(), 1);
    }
}
