//! What is stored under a key, how two versions of it are joined, and its text on the wire.

use std::hash::{BuildHasher, Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kv_core::{Codec, CodecError, Mergeable};

/// Largest text of an entry, bytes. chitchat counts a key and its value in 16 bits.
pub(crate) const MAX_TEXT: usize = 40_000;

/// Stands for the value of a deleted key; no base64 text has it.
const DELETED: &str = "-";

/// What is stored under a key: a value, or the tombstone of one that was deleted.
///
/// Entries of a key are joined by [`Entry::merge`], a join for any value type whose own merge is
/// one. Writes that had seen the entry they replace always win over it: where the value's merge
/// alone would not say so (a deletion, a new life after it, a value that its merge holds for older),
/// they begin a later epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<V> {
    /// Compared first. Zero until a write needs a later one.
    pub(crate) epoch: u64,
    /// `None` is a tombstone, the greatest element of its epoch.
    pub(crate) value: Option<V>,
    /// When it was written, by the writer's clock, unix milliseconds. Shown to people, and no part
    /// of what is joined.
    pub(crate) updated_ms: i64,
}

/// Why a text is no entry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadEntry {
    #[error("it has not the four parts of an entry")]
    Parts,
    #[error("its codec is {found:?}, not {wanted:?}: this is another kind of store's entry")]
    Codec { found: String, wanted: &'static str },
    #[error("its value is not base64")]
    Base64,
    #[error("its value {0}")]
    Value(#[from] CodecError),
}

impl<V: Mergeable + Clone> Entry<V> {
    /// Makes `self` the join of both; true if that changed more than the time.
    pub(crate) fn merge(&mut self, other: &Self) -> bool {
        let changed = match self.epoch.cmp(&other.epoch) {
            std::cmp::Ordering::Less => {
                self.epoch = other.epoch;
                self.value.clone_from(&other.value);
                true
            }
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => match (&mut self.value, &other.value) {
                (None, _) => false,
                (Some(_), None) => {
                    self.value = None;
                    true
                }
                (Some(ours), Some(theirs)) => ours.merge(theirs),
            },
        };
        if changed {
            self.updated_ms = other.updated_ms;
        }
        changed
    }

    /// The entry that stores `value` for a writer that has seen `self`: it wins over `self`, and
    /// joins with what others write meanwhile if the values' merge agrees that it is newer.
    pub(crate) fn followed_by(&self, value: Option<V>, now_ms: i64) -> Self
    where
        V: PartialEq,
    {
        let mut next = Self {
            epoch: self.epoch,
            value,
            updated_ms: now_ms,
        };
        let mut joined = self.clone();
        joined.merge(&next);
        if joined.value != next.value {
            next.epoch = self
                .epoch
                .saturating_add(1)
                .max(u64::try_from(now_ms).unwrap_or(0));
        }
        next
    }
}

/// An entry as members send it, and what tells two of them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) text: String,
    pub(crate) fingerprint: u64,
    /// Bytes of the encoded value.
    pub(crate) size: usize,
}

impl<V: 'static> Entry<V> {
    /// The text of the entry: epoch, time, codec and value, separated by bars.
    pub(crate) fn encode(&self, codec: &dyn Codec<V>) -> Encoded {
        let bytes = self.value.as_ref().map(|value| codec.encode(value));
        let value = match &bytes {
            Some(bytes) => STANDARD_NO_PAD.encode(bytes),
            None => DELETED.to_owned(),
        };
        Encoded {
            fingerprint: hash(self.epoch, &value),
            text: format!("{}|{}|{}|{value}", self.epoch, self.updated_ms, codec.id()),
            size: bytes.map_or(0, |bytes| bytes.len()),
        }
    }

    /// The entry of a text.
    pub(crate) fn decode(text: &str, codec: &dyn Codec<V>) -> Result<Self, BadEntry> {
        let (epoch, updated_ms, id, value) = parts(text).ok_or(BadEntry::Parts)?;
        if id != codec.id() {
            return Err(BadEntry::Codec {
                found: id.chars().take(64).collect(),
                wanted: codec.id(),
            });
        }
        let value = if value == DELETED {
            None
        } else {
            let bytes = STANDARD_NO_PAD
                .decode(value)
                .map_err(|_| BadEntry::Base64)?;
            Some(codec.decode(&bytes)?)
        };
        Ok(Self {
            epoch,
            value,
            updated_ms,
        })
    }
}

/// The fingerprint of a text: equal for two texts that differ in their time only. `None` for what
/// is no entry.
pub(crate) fn fingerprint(text: &str) -> Option<u64> {
    let (epoch, _, _, value) = parts(text)?;
    Some(hash(epoch, value))
}

fn parts(text: &str) -> Option<(u64, i64, &str, &str)> {
    let mut parts = text.splitn(4, '|');
    let epoch = parts.next()?.parse().ok()?;
    let updated_ms = parts.next()?.parse().ok()?;
    Some((epoch, updated_ms, parts.next()?, parts.next()?))
}

fn hash(epoch: u64, value: &str) -> u64 {
    // Fixed seeds: it is compared within one process only, but tests like repeatable runs.
    let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
    epoch.hash(&mut hasher);
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed check panics")]

    use kv_core::conformance::{CODEC, Counter};
    use proptest::prelude::*;

    use super::*;

    fn counter(value: i64) -> Counter {
        Counter {
            value,
            writer: "w".into(),
        }
    }

    fn entry() -> impl Strategy<Value = Entry<Counter>> {
        // Few distinct values, so that ties are common.
        (0u64..3, prop::option::of((0i64..3, "[ab]"))).prop_map(|(epoch, value)| Entry {
            epoch,
            value: value.map(|(value, writer)| Counter { value, writer }),
            updated_ms: 0,
        })
    }

    fn join(a: &Entry<Counter>, b: &Entry<Counter>) -> Entry<Counter> {
        let mut joined = a.clone();
        joined.merge(b);
        joined
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn merge_is_a_join(a in entry(), b in entry(), c in entry()) {
            prop_assert_eq!(join(&a, &a), a.clone());
            prop_assert_eq!(join(&a, &b), join(&b, &a));
            prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
            let mut merged = a.clone();
            prop_assert_eq!(merged.merge(&b), merged != a);
        }

        #[test]
        fn a_write_wins_over_what_it_has_seen(seen in entry(), value in entry(), now in 0i64..5) {
            let next = seen.followed_by(value.value.clone(), now);
            prop_assert_eq!(&next.value, &value.value);
            prop_assert_eq!(&join(&seen, &next).value, &value.value);
        }

        #[test]
        fn texts_round_trip(mut entry in entry(), updated_ms in any::<i64>()) {
            entry.updated_ms = updated_ms;
            let encoded = entry.encode(&CODEC);
            prop_assert_eq!(fingerprint(&encoded.text), Some(encoded.fingerprint));
            prop_assert_eq!(Entry::decode(&encoded.text, &CODEC).unwrap(), entry);
        }

        #[test]
        fn any_text_is_an_entry_or_an_error(text in ".*") {
            let _ = Entry::<Counter>::decode(&text, &CODEC);
            let _ = fingerprint(&text);
        }
    }

    #[test]
    fn a_newer_value_stays_in_its_epoch_and_others_begin_a_new_one() {
        let first = Entry {
            epoch: 0,
            value: Some(counter(5)),
            updated_ms: 1,
        };
        assert_eq!(first.followed_by(Some(counter(6)), 9).epoch, 0);
        assert_eq!(first.followed_by(None, 9).epoch, 0);
        assert_eq!(first.followed_by(Some(counter(4)), 9).epoch, 9);
        let tombstone = first.followed_by(None, 9);
        assert_eq!(tombstone.followed_by(Some(counter(1)), 0).epoch, 1);
    }

    #[test]
    fn another_codecs_entry_is_told_apart() {
        let error = Entry::<Counter>::decode("0|1|ring|AAAA", &CODEC).unwrap_err();
        assert!(error.to_string().contains("\"ring\""), "{error}");
    }
}
