//! Entries as dskit's members write them, and ours among them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use memberlist_protocol::codec::Error;
use memberlist_protocol::kv::KeyValuePair;
use memberlist_protocol::kv::state::{Pairs, append};
use memberlist_protocol::kv::value::EMPTY;
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
}

/// Stands in a text for a deleted value that is the same as the value.
const SAME: &str = "=";

impl Pair {
    /// The pair that says what an entry says; `None` for a text that is no entry.
    ///
    /// A key that was deleted is told with the value that was deleted. One that has come back since is
    /// told with the value it has: that it was deleted before, its receiver knows or need not.
    pub(super) fn of(entry: &EntryText) -> Option<Self> {
        let mut parts = entry.text.splitn(5, '|');
        let epoch = parts.next()?.parse().ok()?;
        let written_ms = parts.next()?.parse().ok()?;
        let codec = parts.next()?.to_owned();
        let (value, deleted) = (parts.next()?, parts.next()?);
        let told = match deleted {
            "" | SAME => value,
            other if !entry.is_live => other,
            _ => value,
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
        };
        Some(Self { base, own })
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
        let value = if base.value.is_empty() {
            EMPTY
        } else {
            &base.value
        };
        let value = STANDARD_NO_PAD.encode(value);
        let deleted = if base.deleted { SAME } else { "" };
        format!("{epoch}|{written_ms}|{}|{value}|{deleted}", base.codec)
    }

    /// The epoch, if one of our members has sent it.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.own.epoch
    }

    /// Reads a pair.
    ///
    /// # Errors
    /// When it is malformed or its key is empty.
    pub(super) fn read(bytes: Bytes) -> Result<Self, Error> {
        let base = KeyValuePair::read(bytes.clone())?;
        // What is a message with these fields was one without them.
        let own = Own::decode(bytes).unwrap_or_default();
        Ok(Self { base, own })
    }

    /// Its bytes: the fields of one message after those of the other are one message.
    pub(super) fn to_bytes(&self) -> Bytes {
        [self.base.to_bytes(), self.own.encode_to_vec().into()]
            .concat()
            .into()
    }

    /// Who has sent it: members in Go write no epoch, and lose it when they repeat an entry.
    pub(super) fn sender(&self) -> Sender {
        match self.own.epoch {
            Some(_) => Sender::Ours,
            None => Sender::Foreign,
        }
    }

    /// Appends the pair to a state.
    pub(super) fn append_to(&self, state: &mut Vec<u8>) {
        // An entry has a few ten thousand bytes at most: its length fits.
        let _fits = append(state, &self.to_bytes());
    }
}

/// The pairs of a state, but for those that are none. They end where the state is truncated.
pub(super) fn pairs(state: Bytes) -> impl Iterator<Item = Pair> {
    Pairs::new(state)
        .map_while(Result::ok)
        .filter_map(|pair| Pair::read(pair).ok())
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

    #[test]
    fn entries_go_there_and_back() {
        for (text, is_live) in [
            ("0|17|replicaDesc|YWJj|", true),
            ("9|17|replicaDesc|YWJj|", true),
            ("9|17|replicaDesc|YWJj|=", false),
        ] {
            let pair = pair(text, is_live);
            let received = Pair::read(pair.to_bytes()).unwrap();
            assert_eq!(received.text(5), text);
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
        let pair = Pair::read(base.to_bytes()).unwrap();
        assert_eq!(pair.text(7), "7|0|replicaDesc|YWJj|");
        assert!(matches!(pair.sender(), Sender::Foreign));
        let deleted = KeyValuePair {
            deleted: true,
            update_time_ms: 17,
            value: Bytes::new(),
            ..base
        };
        let deleted = Pair::read(deleted.to_bytes()).unwrap();
        assert_eq!(deleted.text(7), "7|17|replicaDesc|AA|=");
    }

    #[test]
    fn no_value_is_told_without_bytes() {
        assert_eq!(pair("0|1|c||", true).base.value, EMPTY);
    }

    #[test]
    fn states_end_where_they_are_truncated() {
        let mut state = Vec::new();
        let told = [pair("0|1|c|YQ|", true), pair("2|3|c|Yg|=", false)];
        for pair in &told {
            pair.append_to(&mut state);
        }
        let all: Vec<Pair> = pairs(Bytes::copy_from_slice(&state)).collect();
        assert_eq!(all, told);
        state.pop();
        assert_eq!(pairs(state.into()).collect::<Vec<_>>(), told[..1]);
        assert_eq!(pairs(Bytes::from_static(&[0xff; 9])).count(), 0);
    }
}
