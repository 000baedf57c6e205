//! Real bytes, dskit's rules about deletions, and that members come to the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

use super::{
    BadValue, Change, Codec, Counts, Dskit, KeyValuePair, MergedValue, Origin, Rejection,
    Retention, StoreLimits, WriteError, state, value,
};
use crate::broadcast::Queue;
use crate::message::Message;
use crate::testing::{vector, vectors};

/// What the HA tracker of Mimir stores, for its vectors.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct ReplicaDesc {
    #[prost(string, tag = "1")]
    replica: String,
    #[prost(int64, tag = "2")]
    received_at: i64,
}

#[test]
fn every_vector_of_the_store_is_read_and_written() {
    let mut read = 0;
    for vector in vectors().iter().filter(|vector| vector.group == "kv") {
        let bytes = vector.bytes();
        match vector.name.as_str() {
            "replicadesc_proto" => {
                let desc = ReplicaDesc::decode(&*bytes).unwrap();
                assert_eq!(
                    (&*desc.replica, desc.received_at),
                    ("r1", 1_700_000_000_000)
                );
                assert_eq!(desc.encode_to_vec(), bytes);
            }
            "replicadesc_value" | "replicadesc_value_empty" => {
                let plain = value::read(&bytes, 100).unwrap();
                let expected = match vector.name.as_str() {
                    "replicadesc_value" => self::vector("replicadesc_proto"),
                    _ => Vec::new(),
                };
                assert_eq!(plain, expected);
                assert_eq!(value::write(&plain).unwrap(), bytes);
            }
            name => a_pair_is_read_and_written(name, &bytes),
        }
        read += 1;
    }
    assert_eq!(read, 7);
}

fn a_pair_is_read_and_written(name: &str, bytes: &[u8]) {
    let pair = KeyValuePair::read(Bytes::copy_from_slice(bytes)).unwrap();
    assert_eq!(pair.to_bytes(), bytes, "{name}");
    assert_eq!(pair.deleted, name.ends_with("deleted"));
    let (key, codec, time) = match name {
        "kvpair_ring_one_instance" => ("collectors/ring", "ringDesc", 0),
        "kvpair_replica_dskit" => ("ha-tracker/user-1/cluster-a", "replicaDesc", 0),
        _ => (
            "ha-tracker/user-1/cluster-a",
            "replicaDesc",
            1_700_000_000_123,
        ),
    };
    assert_eq!((&*pair.key, &*pair.codec), (key, codec));
    assert_eq!(pair.update_time_ms, time, "{name}");
    if codec == "replicaDesc" {
        assert_eq!(pair.value, vector("replicadesc_value"));
    }
}

#[test]
fn a_state_of_go_members_is_read_and_written() {
    let bytes = vector("local_state_one_pair");
    let pairs: Vec<Bytes> = state::Pairs::new(bytes.clone().into())
        .map(Result::unwrap)
        .collect();
    assert_eq!(pairs, [vector("kvpair_replica_dskit")]);
    let mut written = Vec::new();
    state::append(&mut written, &pairs[0]).unwrap();
    assert_eq!(written, bytes);
}

/// Parts with a time each, deleted or not: `a=5,b=!7`.
struct Parts;

type Map = BTreeMap<String, (i64, bool)>;

fn parse(value: &Bytes) -> Result<Map, BadValue> {
    let bad = || BadValue("not parts".to_owned());
    let text = value::read(value, 1000).map_err(|_| bad())?;
    let text = std::str::from_utf8(&text).map_err(|_| bad())?;
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, time) = part.split_once('=').ok_or_else(bad)?;
            let is_deleted = time.starts_with('!');
            let time = time.trim_start_matches('!').parse().map_err(|_| bad())?;
            Ok((name.to_owned(), (time, is_deleted)))
        })
        .collect()
}

fn print(map: &Map) -> Bytes {
    let parts = map.iter().map(|(name, (time, is_deleted))| {
        format!("{name}={}{time}", if *is_deleted { "!" } else { "" })
    });
    value::write(parts.collect::<Vec<_>>().join(",").as_bytes()).unwrap()
}

fn of(text: &str) -> Bytes {
    value::write(text.as_bytes()).unwrap()
}

fn text(value: &Bytes) -> String {
    String::from_utf8(value::read(value, 1000).unwrap().to_vec()).unwrap()
}

impl Codec for Parts {
    fn merge(
        &self,
        stored: &Bytes,
        incoming: &Bytes,
        origin: Origin,
    ) -> Result<Option<MergedValue>, BadValue> {
        let (mut stored, mut incoming) = (parse(stored)?, parse(incoming)?);
        if origin == Origin::Local {
            for (name, (time, _)) in &stored {
                let removed = (*time + 1, true);
                incoming.entry(name.clone()).or_insert(removed);
            }
        }
        incoming.retain(|name, part| stored.get(name).is_none_or(|stored| stored < part));
        stored.extend(incoming.clone());
        Ok((!incoming.is_empty()).then(|| MergedValue {
            value: print(&stored),
            change: print(&incoming),
        }))
    }

    fn contents(&self, value: &Bytes) -> Result<Vec<String>, BadValue> {
        Ok(parse(value)?.into_keys().collect())
    }

    fn sweep(&self, value: &Bytes, before_ms: i64) -> Option<Bytes> {
        let mut map = parse(value).ok()?;
        let all = map.len();
        map.retain(|_, (time, is_deleted)| !*is_deleted || *time >= before_ms);
        (map.len() < all).then(|| print(&map))
    }
}

type Store = super::Store<Dskit>;

const RETENTION: Retention = Retention {
    keys: Duration::from_millis(1000),
    parts: Duration::from_millis(5000),
};

const LIMITS: StoreLimits = StoreLimits {
    keys: 3,
    bytes: 120,
};

fn store() -> Store {
    let mut store = Store::of_dskit(RETENTION, LIMITS);
    store.register("parts", Arc::new(Parts));
    store
}

fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair {
        key: key.to_owned(),
        value: of(value),
        codec: "parts".to_owned(),
        ..KeyValuePair::default()
    }
}

fn deleted(key: &str, value: &str, at: i64) -> KeyValuePair {
    KeyValuePair {
        deleted: true,
        update_time_ms: at,
        ..pair(key, value)
    }
}

fn told(change: &Change) -> KeyValuePair {
    KeyValuePair::read(change.told.bytes.clone()).unwrap()
}

fn stored(store: &Store, key: &str) -> Option<String> {
    store.get(key).map(|entry| text(&entry.pair().value))
}

fn receive(store: &mut Store, pair: &KeyValuePair) -> Option<Change> {
    store.receive(pair.to_bytes(), 0).unwrap()
}

#[test]
fn the_change_is_relayed_and_not_the_message() {
    let mut store = store();
    let first = receive(&mut store, &pair("k", "a=1,b=1")).unwrap();
    assert_eq!(
        (first.version, text(&told(&first).value)),
        (1, "a=1,b=1".to_owned())
    );
    let second = receive(&mut store, &pair("k", "a=1,b=2")).unwrap();
    assert_eq!(
        (second.version, text(&told(&second).value)),
        (2, "b=2".to_owned())
    );
    assert_eq!(second.told.contents, ["b"]);
    assert_eq!(stored(&store, "k").as_deref(), Some("a=1,b=2"));
    // What is known already ends here.
    assert_eq!(receive(&mut store, &pair("k", "a=1,b=2")), None);
    assert_eq!(receive(&mut store, &pair("k", "b=1")), None);
    assert_eq!(store.get("k").unwrap().version(), 2);
}

#[test]
fn a_queued_change_gives_way_to_one_with_all_of_its_parts() {
    let mut store = store();
    let mut queue = Queue::new(1 << 20);
    for value in ["a=1,b=1", "b=2", "b=3", "c=1"] {
        let change = receive(&mut store, &pair("k", value)).unwrap();
        queue.push(change.broadcast());
    }
    let (mut budget, mut messages) = (1000, Vec::new());
    queue.take(4, &mut budget, &mut messages);
    let mut queued: Vec<String> = messages
        .into_iter()
        .map(|message| {
            let Message::User(bytes) = message else {
                panic!("{message:?}");
            };
            text(&KeyValuePair::read(bytes).unwrap().value)
        })
        .collect();
    queued.sort();
    assert_eq!(queued, ["a=1,b=1", "b=3", "c=1"]);
    let change = receive(&mut store, &pair("k", "a=9,b=9,c=9")).unwrap();
    queue.push(change.broadcast());
    assert_eq!(queue.len(), 1);
}

#[test]
fn a_local_write_removes_what_it_lacks_and_sees_conflicts() {
    let mut store = store();
    let write =
        |store: &mut Store, value, version| store.write("k", "parts", of(value), version, 0);
    assert_eq!(write(&mut store, "a=1,b=1", 0).unwrap().version, 1);
    let change = write(&mut store, "a=1,c=3", 1).unwrap();
    assert_eq!(text(&told(&change).value), "b=!2,c=3");
    assert_eq!(write(&mut store, "a=5", 1), Err(WriteError::Changed));
    assert_eq!(
        write(&mut store, "a=1,b=!2,c=3", 2),
        Err(WriteError::Unchanged)
    );
    let unknown = store.write("k", "other", of("a=1"), 2, 0);
    let expected = Rejection::UnknownCodec("other".to_owned());
    assert_eq!(unknown, Err(expected.into()));
}

/// Each row of how dskit treats the deletion of a key.
#[test]
fn keys_are_deleted_as_dskit_deletes_them() {
    let mut store = store();
    // Of an unknown key: ignored.
    assert_eq!(receive(&mut store, &deleted("k", "a=1", 10)), None);
    assert!(store.is_empty());
    // On a live key, no time is kept.
    let mut live = pair("k", "a=1");
    live.update_time_ms = 99;
    assert_eq!(told(&receive(&mut store, &live).unwrap()).update_time_ms, 0);
    // Without a time: ignored.
    assert_eq!(receive(&mut store, &deleted("k", "a=1", 0)), None);
    // Newer: kept with its time, and sent with all of the value.
    let change = receive(&mut store, &deleted("k", "", 10)).unwrap();
    assert_eq!(told(&change), deleted("k", "a=1", 10));
    assert_eq!(change.told.contents, ["a"]);
    // Again, or at the same time: nothing new.
    assert_eq!(receive(&mut store, &deleted("k", "a=1", 20)), None);
    assert_eq!(receive(&mut store, &deleted("k", "a=1", 10)), None);
    // A value that is newer is merged, and stays deleted.
    let change = receive(&mut store, &pair("k", "a=2")).unwrap();
    assert_eq!(told(&change), deleted("k", "a=2", 10));
    let version = store.get("k").unwrap().version();
    let change = store.write("k", "parts", of("a=3"), version, 0).unwrap();
    assert_eq!(told(&change), deleted("k", "a=3", 10));
    // It is there until it is swept.
    assert_eq!(store.list("").count(), 1);
    assert_eq!(store.sweep(1010), [""; 0]);
    assert_eq!(store.sweep(1011), ["k"]);
    assert!(store.get("k").is_none());
    assert_eq!(store.bytes(), 0);
    // Then it can come.
    assert_eq!(receive(&mut store, &pair("k", "a=4")).unwrap().version, 1);
}

#[test]
fn deleting_is_sent_once() {
    let mut store = store();
    receive(&mut store, &pair("k", "a=1"));
    let change = store.delete("k", 10).unwrap().unwrap();
    assert_eq!(told(&change), deleted("k", "a=1", 10));
    assert_eq!(store.delete("k", 20), Ok(None));
    assert_eq!(store.delete("unknown", 20), Ok(None));
}

#[test]
fn old_deleted_parts_are_neither_kept_nor_sent() {
    let mut store = store();
    let mut receive = |value, now| {
        let change = store.receive(pair("k", value).to_bytes(), now).unwrap();
        let stored = stored(&store, "k");
        (change.map(|change| text(&told(&change).value)), stored)
    };
    assert_eq!(receive("x=!10", 6000), (None, None));
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        receive("a=1,b=!3000", 6000),
        (some("a=1,b=!3000"), some("a=1,b=!3000"))
    );
    // The part that has changed is old itself, and so is one that is stored.
    assert_eq!(receive("c=!3000", 9000), (None, some("a=1")));
    assert_eq!(receive("d=4", 9000), (some("d=4"), some("a=1,d=4")));
    assert_eq!(store.get("k").unwrap().version(), 2);
}

#[test]
fn pairs_that_cannot_be_kept_are_counted_and_the_rest_is() {
    let mut store = store();
    let mut other = pair("ring", "a=1");
    other.codec = "ringDesc".to_owned();
    let mut bad = pair("bad", "");
    bad.value = Bytes::from_static(b"\xff");
    let mut bytes = Vec::new();
    for pair in [&pair("1", "a=1"), &other, &bad, &pair("2", "a=1")] {
        state::append(&mut bytes, &pair.to_bytes()).unwrap();
    }
    let whole = Bytes::from(bytes.clone());
    let outcome = store.receive_state(whole, 0);
    assert_eq!((outcome.changes.len(), outcome.pairs), (2, 4));
    assert_eq!(outcome.error, None);
    let counts = Counts {
        unknown_codec: 1,
        invalid: 1,
        full: 0,
    };
    assert_eq!(store.counts(), counts);
    // What stands before the end of a truncated state counts.
    bytes.pop();
    let mut another = self::store();
    let outcome = another.receive_state(bytes.into(), 0);
    assert_eq!((outcome.changes.len(), outcome.error.is_some()), (1, true));
    // A key without a name, and nonsense.
    assert!(store.receive(pair("", "a=1").to_bytes(), 0).is_err());
    assert!(store.receive(Bytes::from_static(b"\xff\xff"), 0).is_err());
    assert_eq!(store.counts().invalid, 3);
}

#[test]
fn a_store_has_bounds() {
    let mut store = store();
    for key in ["1", "2", "3"] {
        receive(&mut store, &pair(key, "a=1"));
    }
    let full = store.receive(pair("4", "a=1").to_bytes(), 0);
    assert_eq!(full, Err(Rejection::Full("4".to_owned())));
    let long = (0..40)
        .map(|n| format!("a{n}=1"))
        .collect::<Vec<_>>()
        .join(",");
    let full = store.receive(pair("1", &long).to_bytes(), 0);
    assert_eq!(full, Err(Rejection::Full("1".to_owned())));
    assert_eq!(store.counts().full, 2);
    let each = 1 + pair("1", "a=1").to_bytes().len();
    assert_eq!((store.len(), store.bytes()), (3, 3 * each));
    // What is known may still change.
    assert!(receive(&mut store, &pair("1", "a=2")).is_some());
}

#[test]
fn no_bytes_stand_for_the_empty_value() {
    assert_eq!(value::read(b"", 10).unwrap(), "");
    assert_eq!(value::write(b"").unwrap(), value::EMPTY);
    assert!(value::read(&of(&"x".repeat(100)), 99).is_err());
}

#[test]
fn keys_are_listed_by_prefix() {
    let mut store = store();
    for key in ["a", "b/1", "b/2"] {
        receive(&mut store, &pair(key, "a=1"));
    }
    let keys = |prefix| store.list(prefix).map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys("b/"), ["b/1", "b/2"]);
    assert_eq!(keys(""), ["a", "b/1", "b/2"]);
    assert!(keys("c").is_empty());
}

/// One thing that happens in a ring of three.
#[derive(Debug, Clone)]
enum Event {
    /// A member is told this by one outside.
    Write {
        member: usize,
        part: u8,
        time: i64,
        is_deleted: bool,
    },
    Delete {
        member: usize,
    },
    /// A member hears what was sent at some time, perhaps again.
    Hear {
        member: usize,
        message: usize,
    },
    Exchange {
        from: usize,
        to: usize,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let member = || 0_usize..3;
    let event = prop_oneof![
        4 => (member(), 0_u8..3, 1_i64..20, any::<bool>()).prop_map(
            |(member, part, time, is_deleted)| Event::Write { member, part, time, is_deleted }),
        1 => member().prop_map(|member| Event::Delete { member }),
        6 => (member(), any::<usize>()).prop_map(
            |(member, message)| Event::Hear { member, message }),
        1 => (member(), member()).prop_map(|(from, to)| Event::Exchange { from, to }),
    ];
    proptest::collection::vec(event, 1..60)
}

proptest! {
    /// In whatever order members hear of changes, and however often: once all have exchanged what
    /// they hold, they hold the same, and nothing more is sent.
    #[test]
    fn members_come_to_the_same(events in events()) {
        let mut members = [store(), store(), store()];
        let mut sent: Vec<Bytes> = Vec::new();
        for (now, event) in (1..).zip(events) {
            let changes = match event {
                Event::Write { member, part, time, is_deleted } => {
                    let mark = if is_deleted { "!" } else { "" };
                    let pair = pair("k", &format!("p{part}={mark}{time}"));
                    members[member].receive(pair.to_bytes(), now).unwrap().into_iter().collect()
                }
                Event::Delete { member } => {
                    members[member].delete("k", now).unwrap().into_iter().collect()
                }
                Event::Hear { .. } if sent.is_empty() => Vec::new(),
                Event::Hear { member, message } => {
                    let message = sent[message % sent.len()].clone();
                    members[member].receive(message, now).unwrap().into_iter().collect()
                }
                Event::Exchange { from, to } => {
                    let state = members[from].local_state().unwrap();
                    members[to].receive_state(state, now).changes
                }
            };
            sent.extend(changes.into_iter().map(|change: Change| change.told.bytes));
        }
        // The second round brings deletions of keys that the first one brought.
        let round = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
        for (from, to) in round.into_iter().chain(round) {
            let state = members[from].local_state().unwrap();
            members[to].receive_state(state, 100);
        }
        // A key that was deleted is not taken where it is not known.
        let view = |store: &Store| {
            let live = store.get("k").filter(|entry| !entry.is_deleted());
            live.map(|entry| text(&entry.pair().value))
        };
        prop_assert_eq!(view(&members[0]), view(&members[1]));
        prop_assert_eq!(view(&members[0]), view(&members[2]));
        let state = members[0].local_state().unwrap();
        prop_assert_eq!(members[1].receive_state(state, 100).changes, []);
    }

    #[test]
    fn pairs_round_trip(key in "[a-zé/]{1,20}", value: Vec<u8>, codec in "[a-z]{0,9}",
        deleted: bool, update_time_ms: i64) {
        let pair = KeyValuePair { key, value: value.into(), codec, deleted, update_time_ms };
        prop_assert_eq!(KeyValuePair::read(pair.to_bytes()), Ok(pair));
    }
}
