//! An entry of the view: how two versions are joined, and its text on the wire.

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hash, Hasher};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use kv_core::{Codec, CodecError, Mergeable, Value};

/// Largest text of an entry, bytes. On the wire a key and its text are counted in 16 bits.
pub(crate) const MAX_TEXT: usize = 40_000;

/// Means that the deleted value is the same as the value; it cannot occur in base64.
const SAME: &str = "=";

/// The entry of a key: a value, and the deleted value, if any.
///
/// Entries of a key are joined part by part by [`Entry::merge`], which is a join for any value type
/// whose own merge is one. The key is absent while the value is not newer (in the values' own
/// order) than the deleted one: so a deletion wins over the value that its writer had seen, but not
/// over a newer value that another member wrote in the meantime.
///
/// A write always wins over the entry that its writer had seen: if the values' merge would consider
/// the new value older, the write begins a later epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry<V> {
    /// Compared first. Zero until a write needs a later one.
    pub(crate) epoch: u64,
    /// The join of all values of the epoch.
    value: V,
    /// The join of all deleted values of the epoch.
    deleted: Option<V>,
    /// When it was written, by the writer's clock, unix milliseconds. For display only; not joined.
    pub(crate) updated_ms: i64,
}

/// Why a text is not a valid entry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadEntry {
    #[error("it is not a valid entry: fields are missing")]
    Parts,
    #[error("its codec is {found:?}, not {wanted:?}: it is from a store of another kind")]
    Codec { found: String, wanted: &'static str },
    #[error("its value is not base64")]
    Base64,
    #[error("its value {0}")]
    Value(#[from] CodecError),
}

impl<V: Value> Entry<V> {
    /// The first entry of a key.
    pub(crate) fn new(value: V, now_ms: i64) -> Self {
        Self {
            epoch: 0,
            value,
            deleted: None,
            updated_ms: now_ms,
        }
    }

    /// The value of the key; `None` if it was deleted.
    pub(crate) fn visible(&self) -> Option<&V> {
        let is_covered = self.deleted.as_ref().is_some_and(|deleted| {
            let mut joined = deleted.clone();
            !joined.merge(&self.value)
        });
        (!is_covered).then_some(&self.value)
    }

    /// The entry that stores `value`, or deletes the key, for a writer that has seen `self`: it
    /// wins over `self`, and is joined with concurrent writes of other members if the values' merge
    /// agrees that it is newer.
    pub(crate) fn followed_by(&self, value: Option<V>, now_ms: i64) -> Self {
        let mut next = self.clone();
        next.updated_ms = now_ms;
        let Some(value) = value else {
            next.deleted = Some(self.value.clone());
            return next;
        };
        next.value.merge(&value);
        if next.visible() != Some(&value) {
            let after = self.epoch.saturating_add(1);
            next = Self {
                epoch: after.max(u64::try_from(now_ms).unwrap_or(0)),
                ..Self::new(value, now_ms)
            };
        }
        next
    }
}

impl<V: Value> Mergeable for Entry<V> {
    /// Replaces `self` by the join of both; returns whether that changed more than the time.
    fn merge(&mut self, other: &Self) -> bool {
        let changed = match self.epoch.cmp(&other.epoch) {
            Ordering::Less => {
                self.clone_from(other);
                true
            }
            Ordering::Greater => false,
            Ordering::Equal => {
                let newer = self.value.merge(&other.value);
                let deleted = match (&mut self.deleted, &other.deleted) {
                    (_, None) => false,
                    (Some(ours), Some(theirs)) => ours.merge(theirs),
                    (ours @ None, Some(_)) => {
                        ours.clone_from(&other.deleted);
                        true
                    }
                };
                newer || deleted
            }
        };
        if changed {
            self.updated_ms = other.updated_ms;
        }
        changed
    }

    /// An entry with a value that is preferred by members with another rule as well. Deletions have
    /// rules of their own, and are not outbid.
    fn outbid(&self, other: &Self) -> Option<Self> {
        let value = match (self.visible(), other.visible()) {
            (Some(ours), Some(theirs)) if self.epoch == other.epoch => ours.outbid(theirs)?,
            _ => return None,
        };
        Some(Self {
            value,
            ..self.clone()
        })
    }
}

/// An entry as an engine transports it: it may send the text unchanged, or translate it for members
/// with another format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryText {
    pub(crate) key: String,
    /// The text of [`Entry::encode`].
    pub(crate) text: String,
    /// Whether the key has a value.
    pub(crate) is_live: bool,
}

/// An encoded entry, and its fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded {
    pub(crate) text: String,
    pub(crate) fingerprint: u64,
    /// Bytes of the encoded value.
    pub(crate) size: usize,
}

impl<V: Value> Entry<V> {
    /// The text of the entry: epoch, time, codec, value and deleted value, separated by bars.
    pub(crate) fn encode(&self, codec: &dyn Codec<V>) -> Result<Encoded, CodecError> {
        let bytes = codec.encode(&self.value)?;
        let values = match &self.deleted {
            None => format!("{}|", STANDARD_NO_PAD.encode(&bytes)),
            Some(deleted) if *deleted == self.value => {
                format!("{}|{SAME}", STANDARD_NO_PAD.encode(&bytes))
            }
            Some(deleted) => {
                let deleted = STANDARD_NO_PAD.encode(codec.encode(deleted)?);
                format!("{}|{deleted}", STANDARD_NO_PAD.encode(&bytes))
            }
        };
        Ok(Encoded {
            fingerprint: hash(self.epoch, &values),
            text: format!("{}|{}|{}|{values}", self.epoch, self.updated_ms, codec.id()),
            size: bytes.len(),
        })
    }

    /// The entry of a text.
    pub(crate) fn decode(text: &str, codec: &dyn Codec<V>) -> Result<Self, BadEntry> {
        let (epoch, updated_ms, id, values) = parts(text).ok_or(BadEntry::Parts)?;
        if id != codec.id() {
            return Err(BadEntry::Codec {
                found: id.chars().take(64).collect(),
                wanted: codec.id(),
            });
        }
        let (value, deleted) = values.split_once('|').ok_or(BadEntry::Parts)?;
        let decode = |text: &str| -> Result<V, BadEntry> {
            let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| BadEntry::Base64)?;
            Ok(codec.decode(&bytes)?)
        };
        Ok(Self {
            epoch,
            updated_ms,
            deleted: match deleted {
                "" => None,
                SAME => Some(decode(value)?),
                other => Some(decode(other)?),
            },
            value: decode(value)?,
        })
    }
}

/// The fingerprint of a text: equal for two texts that differ only in their time. `None` if it is
/// not an entry.
pub(crate) fn fingerprint(text: &str) -> Option<u64> {
    let (epoch, _, _, values) = parts(text)?;
    Some(hash(epoch, values))
}

fn parts(text: &str) -> Option<(u64, i64, &str, &str)> {
    let mut parts = text.splitn(4, '|');
    let epoch = parts.next()?.parse().ok()?;
    let updated_ms = parts.next()?.parse().ok()?;
    Some((epoch, updated_ms, parts.next()?, parts.next()?))
}

fn hash(epoch: u64, values: &str) -> u64 {
    // Fixed seeds: it is compared within one process only, but tests like repeatable runs.
    let mut hasher = ahash::RandomState::with_seeds(1, 2, 3, 4).build_hasher();
    epoch.hash(&mut hasher);
    values.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed check panics")]

    use kv_core::conformance::{CODEC, Counter};
    use kv_core::laws::{check_join, join};
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
        let value = || (0i64..3, "[ab]").prop_map(|(value, writer)| Counter { value, writer });
        (0u64..3, value(), prop::option::of(value())).prop_map(|(epoch, value, deleted)| Entry {
            epoch,
            value,
            deleted,
            updated_ms: 0,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn merge_is_a_join(a in entry(), b in entry(), c in entry()) {
            check_join(&a, &b, &c);
        }

        #[test]
        fn a_write_wins_over_what_it_has_seen(
            seen in entry(),
            value in entry(),
            deletes in any::<bool>(),
            now in 0i64..5,
        ) {
            let value = (!deletes).then_some(value.value);
            let next = seen.followed_by(value.clone(), now);
            prop_assert_eq!(next.visible(), value.as_ref());
            let joined = join(&seen, &next);
            prop_assert_eq!(joined.visible(), value.as_ref());
        }

        #[test]
        fn texts_round_trip(mut entry in entry(), updated_ms in any::<i64>()) {
            entry.updated_ms = updated_ms;
            let encoded = entry.encode(&CODEC).unwrap();
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
        let first = Entry::new(counter(5), 1);
        assert_eq!(first.followed_by(Some(counter(6)), 9).epoch, 0);
        assert_eq!(first.followed_by(None, 9).epoch, 0);
        assert_eq!(first.followed_by(Some(counter(4)), 9).epoch, 9);
        let tombstone = first.followed_by(None, 9);
        assert_eq!(tombstone.visible(), None);
        assert_eq!(tombstone.followed_by(Some(counter(6)), 0).epoch, 0);
        assert_eq!(tombstone.followed_by(Some(counter(5)), 0).epoch, 1);
    }

    #[test]
    fn a_deletion_does_not_take_a_newer_value_with_it() {
        let seen = Entry::new(counter(5), 1);
        let deletion = seen.followed_by(None, 2);
        let revival = seen.followed_by(Some(counter(6)), 2);
        for joined in [join(&deletion, &revival), join(&revival, &deletion)] {
            assert_eq!(joined.visible(), Some(&counter(6)));
        }
        // Nor one that was created where nothing of the old one is remembered.
        let created = Entry::new(counter(7), 3);
        assert_eq!(join(&created, &deletion).visible(), Some(&counter(7)));
    }

    #[test]
    fn another_codecs_entry_is_told_apart() {
        let error = Entry::<Counter>::decode("0|1|ring|AAAA|", &CODEC).unwrap_err();
        assert!(error.to_string().contains("\"ring\""), "{error}");
    }
}
