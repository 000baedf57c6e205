//! The page for programs.

use admin_api::{Entry, Gossip, Memberlist, Message, StoredValue};
use kv_core::Codec;
use kv_memberlist::{
    EntryInfo, History, HistoryEntry, Inspector, Member, MemberState, OtherKey, RawValue,
};
use serde::Serialize;

use crate::answer::OneByOne;
use crate::pages::replica_desc::desc_json;
use crate::pages::times::rfc3339;

pub(super) fn json_page(
    gossip: &Inspector,
    members: &[Member],
    entries: &[EntryInfo],
    others: &[OtherKey],
    history: Option<&History>,
) -> Memberlist<impl Serialize> {
    let messages =
        |entries: &[HistoryEntry]| -> Vec<Message> { entries.iter().map(message_json).collect() };
    let waiting_for = gossip.waiting_for();
    let in_use = gossip.protocol();
    Memberlist {
        enabled: true,
        members: members.iter().map(member_json).collect(),
        gossip: Some(Gossip {
            disagreement: gossip.disagreement(),
            other_keys: others.iter().map(other_key_json).collect(),
            protocol: in_use.protocol.as_str().to_owned(),
            protocol_chosen: in_use.chosen.to_string(),
            ready: waiting_for.is_none(),
            received_messages: history.map(|history| messages(&history.received)),
            sent_messages: history.map(|history| messages(&history.sent)),
            waiting_for,
        }),
        store: OneByOne(move || entries.iter().map(entry_json)),
    }
}

fn member_json(member: &Member) -> admin_api::Member {
    use admin_api::MemberState as State;
    admin_api::Member {
        address: member.address.to_string(),
        entries: member.entries as u64,
        heartbeat_age_ms: u64::try_from(member.heartbeat_age.as_millis()).unwrap_or(u64::MAX),
        name: member.name.clone(),
        is_self: member.is_self,
        state: match member.state {
            MemberState::Joining => State::Joining,
            MemberState::Active => State::Active,
            MemberState::Leaving => State::Leaving,
            MemberState::Left => State::Left,
            MemberState::Dead => State::Dead,
        },
    }
}

fn other_key_json(other: &OtherKey) -> admin_api::OtherKey {
    admin_api::OtherKey {
        age_ms: u64::try_from(other.age.as_millis()).unwrap_or(u64::MAX),
        codec: other.codec.clone(),
        deleted: other.deleted,
        key: other.key.clone(),
        size: other.size as u64,
    }
}

fn entry_json(entry: &EntryInfo) -> Entry {
    Entry {
        codec: entry.codec.to_owned(),
        deleted: entry.deleted,
        key: entry.key.clone(),
        size: entry.size as u64,
        updated: rfc3339(entry.updated_ms),
        version: entry.version,
    }
}

fn message_json(message: &HistoryEntry) -> Message {
    Message {
        id: message.id,
        keys: message.keys.clone(),
        kind: message.kind.to_owned(),
        peer: message.peer.to_string(),
        size: message.size as u64,
        time: rfc3339(message.at_ms),
    }
}

/// The value of a key; `None` if it was deleted.
pub(super) fn value_json(raw: &RawValue) -> Option<StoredValue> {
    if raw.info.deleted {
        return None;
    }
    Some(match ha_tracker::CODEC.decode(&raw.bytes) {
        Ok(desc) => StoredValue::Election(desc_json(&desc)),
        Err(error) => StoredValue::Undecodable {
            error: error.to_string(),
        },
    })
}

#[cfg(test)]
mod tests {
    use ha_tracker::ReplicaDesc;
    use serde_json::{Value, to_value};

    use super::*;

    fn info(key: &str, deleted: bool) -> EntryInfo {
        EntryInfo {
            key: key.into(),
            codec: "replicaDesc",
            version: 3,
            size: 20,
            updated_ms: 1_700_000_000_000,
            deleted,
        }
    }

    #[test]
    fn a_value_is_shown_with_its_protobuf_names() {
        let desc = ReplicaDesc {
            replica: "r1".into(),
            received_at: 1_700_000_000_123,
            elected_changes: 2,
            ..Default::default()
        };
        let raw = RawValue {
            info: info("t/c", false),
            bytes: ha_tracker::CODEC.encode(&desc).unwrap(),
        };
        let shown = to_value(value_json(&raw)).unwrap();
        assert_eq!(shown["replica"], "r1");
        assert_eq!(shown["received_at_time"], "2023-11-14T22:13:20.123Z");
        assert_eq!(shown["deleted_at_time"], Value::Null);
        let deleted = RawValue {
            info: info("t/c", true),
            bytes: Vec::new(),
        };
        assert_eq!(to_value(value_json(&deleted)).unwrap(), Value::Null);
        let garbage = RawValue {
            info: info("t/c", false),
            bytes: vec![0xff; 9],
        };
        assert!(to_value(value_json(&garbage)).unwrap()["error"].is_string());
    }
}
