//! What fuzz targets call: each takes any bytes, and panics when a rule is broken.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::{
    Limits, MAX_PART, MAX_PARTS, Packet, Side, StreamReader, Wire, compounds, message, read_packet,
    read_packet_frame,
};
use crate::kv::{BadValue, Codec, MergedValue, Origin, Retention, Store, StoreLimits};

pub use crate::codec::fuzzing::{lzw, msgpack};

/// Small enough that a target which takes more is noticed.
const LIMITS: Limits = Limits {
    packet: 1 << 20,
    messages: 256,
    stream: 1 << 20,
    inflated: 1 << 20,
    nodes: 256,
    user_state: 1 << 20,
};

fn wire() -> Wire {
    Wire {
        any_label: true,
        limits: LIMITS,
        ..Wire::default()
    }
}

fn unpack(payload: &Bytes) -> Option<Packet> {
    let packet = read_packet(payload, &wire()).ok()?;
    assert!(packet.messages.len() <= LIMITS.messages);
    Some(packet)
}

/// A packet, with and without its frame: what is read is read again when it is written.
pub fn packet(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    if let Ok(frame) = read_packet_frame(&bytes) {
        assert!(frame.payload.len() < bytes.len());
        unpack(&frame.payload);
    }
    for read in unpack(&bytes)
        .into_iter()
        .flat_map(|packet| packet.messages)
    {
        let again = unpack(&message(&read)).unwrap_or_default();
        assert_eq!(again.messages, [read]);
        assert_eq!(again.rejected.count, 0);
    }
}

/// A stream of either side: it comes to the same in one piece and in many.
pub fn stream(bytes: &[u8]) {
    let Some((&size, rest)) = bytes.split_first() else {
        return;
    };
    for side in [Side::Initiator, Side::Responder] {
        let at_once = StreamReader::new(side, wire()).feed(rest);
        let mut reader = StreamReader::new(side, wire());
        let mut last = Ok(None);
        for piece in rest.chunks(usize::from(size).max(1)) {
            last = reader.feed(piece);
            if last != Ok(None) {
                break;
            }
        }
        assert_eq!(at_once, last);
    }
}

/// A compound's table and parts; and bytes as parts, which are in the compounds that are made.
pub fn compound(bytes: &[u8]) {
    unpack(&[b"\x07", bytes].concat().into());
    let parts: Vec<Bytes> = bytes
        .split(|byte| *byte == 0)
        .map(|part| [b"\x08", part].concat().into())
        .collect();
    let made = compounds(&parts);
    assert!(made.len() <= parts.len());
    let read: usize = made
        .iter()
        .filter_map(unpack)
        .map(|packet| {
            assert_eq!(packet.rejected.count, 0);
            assert!(packet.messages.len() <= MAX_PARTS);
            packet.messages.len()
        })
        .sum();
    if parts.iter().all(|part| part.len() <= MAX_PART) {
        assert_eq!(read, parts.len());
    }
}

/// The larger value wins.
struct Largest;

impl Codec for Largest {
    fn merge(
        &self,
        stored: &Bytes,
        incoming: &Bytes,
        _: Origin,
    ) -> Result<Option<MergedValue>, BadValue> {
        Ok((incoming > stored).then(|| MergedValue {
            value: incoming.clone(),
            change: incoming.clone(),
        }))
    }

    fn contents(&self, value: &Bytes) -> Result<Vec<String>, BadValue> {
        Ok(vec![format!("{value:?}")])
    }
}

/// A state of keys: within the bounds of the store, and the same in another store that is told it.
pub fn kv_state(bytes: &[u8]) {
    let limits = StoreLimits {
        keys: 16,
        bytes: 1 << 12,
    };
    let store = || {
        let mut store = Store::of_dskit(Retention::default(), limits);
        store.register("replicaDesc", Arc::new(Largest));
        store.register("ringDesc", Arc::new(Largest));
        store
    };
    let mut first = store();
    first.receive_state(Bytes::copy_from_slice(bytes), 1000);
    assert!(first.len() <= limits.keys && first.bytes() <= limits.bytes);
    let Ok(state) = first.local_state() else {
        return;
    };
    let mut second = store();
    let outcome = second.receive_state(state.clone(), 1000);
    assert_eq!((outcome.pairs, outcome.error), (first.len(), None));
    for (key, entry) in first.list("").filter(|(_, entry)| !entry.is_deleted()) {
        let copy = second.get(key).map(|copy| copy.pair().value);
        assert_eq!(copy, Some(entry.pair().value));
    }
    assert!(first.receive_state(state, 1000).changes.is_empty());
    first.sweep(i64::MAX);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    type Target = (&'static str, fn(&[u8]));

    /// The seeds are real bytes, each of which is also tried with single bits turned and cut off.
    #[test]
    fn seeds_and_what_is_next_to_them_break_no_rule() {
        let targets: [Target; 6] = [
            ("packet", super::packet),
            ("stream", super::stream),
            ("compound", super::compound),
            ("msgpack", super::msgpack),
            ("lzw", super::lzw),
            ("kv_state", super::kv_state),
        ];
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
        for (target, run) in targets {
            let mut count = 0;
            for seed in fs::read_dir(seeds.join(format!("memberlist_{target}"))).unwrap() {
                let mut bytes = fs::read(seed.unwrap().path()).unwrap();
                run(&bytes);
                for at in 0..bytes.len() {
                    let bit = 1 << (at % 8);
                    bytes[at] ^= bit;
                    run(&bytes);
                    bytes[at] ^= bit;
                    run(&bytes[..at]);
                }
                count += 1;
            }
            assert!(count >= 3, "{target} has {count} seeds");
        }
    }
}
