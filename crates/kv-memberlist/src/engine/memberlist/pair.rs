//! Entries as dskit's members write them, and ours among them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use memberlist_protocol::kv::value::EMPTY;
use memberlist_protocol::kv::{Entry, KeyValuePair, Stored};
use memberlist_protocol::message;
use prost::Message;

use crate::engine::Sender;
use crate::view::entry::EntryText;

/// dskit's pair, and what our members add to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) base: KeyValuePair,
    own: Own,
}

/// Fields of our own beside those of [`KeyValuePair`], in one message with them. dskit's members pass
/// them over, and lose them when they repeat a pair.
#[derive(Clone, PartialEq, Eq, Message)]
struct Own {
    /// The epoch of [`crate::view::entry::Entry`]. Members of dskit's know none: what they say counts
    /// for the one that is current.
    #[prost(uint64, optional, tag = "1000")]
    epoch: Option<u64>,
    /// When it was written, unix milliseconds, deleted or not. dskit's members have a time only of
    /// deletions, and write none on live keys.
    #[prost(int64, tag = "1001")]
    written_ms: i64,
    /// What the value does not say: of a live key, the value that was deleted before; of a deleted
    /// one, the value that it had. Empty if that is none, or the same.
    #[prost(bytes = "bytes", tag = "1002")]
    other: Bytes,
}

/// Stands in a text for a deleted value that is the same as the value.
const SAME: &str = "=";

impl Pair {
    /// The pair that says what an entry says; `None` for a text that is no entry. A key that was
    /// deleted is told with the value that was deleted, and one that has come back with the value it
    /// has.
    pub(super) fn of(entry: &EntryText) -> Option<Self> {
        let mut parts = entry.text.splitn(5, '|');
        let epoch = parts.next()?.parse().ok()?;
        let written_ms = parts.next()?.parse().ok()?;
        let codec = parts.next()?.to_owned();
        let (value, deleted) = (parts.next()?, parts.next()?);
        let (told, other) = match deleted {
            "" | SAME => (value, ""),
            deleted if !entry.is_live => (deleted, value),
            deleted => (value, deleted),
        };
        let value = STANDARD_NO_PAD.decode(told).ok()?;
        let base = KeyValuePair {
            key: entry.key.clone(),
            value: if value.is_empty() {
                Bytes::from_static(EMPTY)
            } else {
                value.into()
            },
            codec,
            deleted: !entry.is_live,
            update_time_ms: if entry.is_live { 0 } else { written_ms },
        };
        let own = Own {
            epoch: Some(epoch),
            written_ms,
            other: STANDARD_NO_PAD.decode(other).ok()?.into(),
        };
        Some(Self { base, own })
    }

    /// A pair that was read, with our fields, from these bytes.
    pub(super) fn with(base: KeyValuePair, bytes: Bytes) -> Self {
        // What is a message with these fields was one without them.
        let own = Own::decode(bytes).unwrap_or_default();
        Self { base, own }
    }

    /// The pair of an entry.
    pub(super) fn stored(entry: &Entry) -> Self {
        Self::with(entry.pair(), entry.bytes().clone())
    }

    /// The text of the entry that this pair speaks of; `current` is the epoch that the key is in.
    pub(super) fn text(&self, current: u64) -> String {
        let Self { base, own } = self;
        let epoch = own.epoch.unwrap_or(current);
        let written_ms = if own.written_ms != 0 {
            own.written_ms
        } else {
            base.update_time_ms
        };
        let value = STANDARD_NO_PAD.encode(&base.value);
        let other = STANDARD_NO_PAD.encode(&own.other);
        let values = match (base.deleted, other.is_empty()) {
            (true, true) => format!("{value}|{SAME}"),
            (true, false) => format!("{other}|{value}"),
            (false, _) => format!("{value}|{other}"),
        };
        format!("{epoch}|{written_ms}|{}|{values}", base.codec)
    }

    /// The epoch, if one of our members has sent it.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.own.epoch
    }

    /// Whether this pair, which is stored, says what another one says, whenever that was written.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        other
            .own
            .epoch
            .is_none_or(|epoch| Some(epoch) == self.own.epoch)
            && self.base.deleted == other.base.deleted
            && self.base.value == other.base.value
            && self.own.other == other.own.other
    }

    /// Bytes of its text, about.
    pub(super) fn size(&self) -> usize {
        self.base.key.len() + (self.base.value.len() + self.own.other.len()) / 3 * 4
    }

    /// Its bytes: the fields of one message after those of the other are one message.
    fn to_bytes(&self) -> Bytes {
        let length = self.base.encoded_len() + self.own.encoded_len();
        let mut bytes = Vec::with_capacity(length);
        // A vector grows as needed: there is always room.
        let _fits = self.base.encode(&mut bytes);
        let _fits = self.own.encode(&mut bytes);
        bytes.into()
    }

    /// What is stored of it, and sent.
    pub(super) fn to_stored(&self) -> Stored {
        Stored {
            bytes: self.to_bytes(),
            deleted: self.base.deleted,
            update_time_ms: self.base.update_time_ms,
        }
    }

    /// Who has sent it: members in Go write no epoch, and lose it when they repeat an entry.
    pub(super) fn sender(&self) -> Sender {
        match self.own.epoch {
            Some(_) => Sender::Ours,
            None => Sender::Foreign,
        }
    }
}

/// The keys of the messages of this codec.
pub(super) fn keys_of(messages: &[message::Message], codec: &str) -> Vec<String> {
    let key = |sent: &_| match sent {
        message::Message::User(bytes) => key_of(bytes, codec),
        _ => None,
    };
    messages.iter().filter_map(key).collect()
}

/// The key of a message of this codec.
pub(super) fn key_of(message: &Bytes, codec: &str) -> Option<String> {
    let pair = KeyValuePair::read(message.clone()).ok()?;
    (pair.codec == codec).then_some(pair.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str, is_live: bool) -> EntryText {
        EntryText {
            key: "ha-tracker/user-1/cluster-a".to_owned(),
            text: text.to_owned(),
            is_live,
        }
    }

    fn pair(text: &str, is_live: bool) -> Pair {
        Pair::of(&entry(text, is_live)).unwrap()
    }

    fn read(bytes: Bytes) -> Pair {
        Pair::with(KeyValuePair::read(bytes.clone()).unwrap(), bytes)
    }

    #[test]
    fn entries_go_there_and_back() {
        for (text, is_live) in [
            ("0|17|replicaDesc|YWJj|", true),
            ("9|17|replicaDesc|YWJj|", true),
            ("9|17|replicaDesc|YWJj|=", false),
            // Deleted while another value was newer, and come back after a deletion.
            ("9|17|replicaDesc|YWJj|eHl6", false),
            ("9|17|replicaDesc|YWJj|eHl6", true),
        ] {
            let pair = pair(text, is_live);
            let received = read(pair.to_bytes());
            assert_eq!(received.text(5), text);
            assert!(pair.says_the_same(&received));
        }
    }

    #[test]
    fn a_deletion_has_its_time_and_the_value_that_was_deleted() {
        let deleted = pair("3|17|replicaDesc|YWJj|eHl6", false);
        let deleted = deleted.base;
        assert_eq!((deleted.deleted, deleted.update_time_ms), (true, 17));
        assert_eq!(deleted.value, "xyz");
        let back = pair("3|17|replicaDesc|YWJj|eHl6", true);
        let back = back.base;
        assert_eq!((back.deleted, back.update_time_ms), (false, 0));
        assert_eq!(back.value, "abc");
    }

    #[test]
    fn what_go_members_say_counts_for_the_current_epoch() {
        let base = KeyValuePair {
            key: "key".to_owned(),
            value: Bytes::from_static(b"abc"),
            codec: "replicaDesc".to_owned(),
            ..KeyValuePair::default()
        };
        let told = read(base.to_bytes());
        assert_eq!(told.text(7), "7|0|replicaDesc|YWJj|");
        assert!(matches!(told.sender(), Sender::Foreign));
        // It is the same as what our member has said, whatever epoch that is of.
        assert!(pair("7|3|replicaDesc|YWJj|", true).says_the_same(&told));
        let deleted = KeyValuePair {
            deleted: true,
            update_time_ms: 17,
            value: Bytes::from_static(EMPTY),
            ..base
        };
        let deleted = read(deleted.to_bytes());
        assert_eq!(deleted.text(7), "7|17|replicaDesc|AA|=");
    }

    #[test]
    fn no_value_is_told_without_bytes() {
        assert_eq!(pair("0|1|c||", true).base.value, EMPTY);
    }
}
