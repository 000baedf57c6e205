//! Every vector is read; what members write themselves is written to the same bytes.

use bytes::Bytes;
use ring::digest::{SHA256, digest};

use super::super::{
    Compression, Error, Kind, PacketOptions, Side, StreamMessage, StreamOptions, Wire, body,
    compounds, compression, kind, message, msgpack::Reader, packet, packet_frame, push_pull,
    read_packet_frame, seal, stream, stream_message,
};
use super::{key, labelled, read, read_stream};
use crate::message::{Accusation, Addr, Message, PushPull, State};
use crate::testing::{vector, vectors};

const NONCE: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

#[test]
fn every_vector_is_read_by_one_of_the_tests() {
    let mut read_here = 0;
    for vector in vectors() {
        let bytes = vector.bytes();
        match vector.group.as_str() {
            "message" => a_message_is_read_and_written(&vector.name, &bytes),
            "transport" => a_connection_is_read_and_written(&vector.name, &bytes),
            "live" => what_was_captured_is_read(&vector.name, &bytes),
            "compression" => what_is_compressed_is_inflated(&vector.name, &bytes),
            "wrapping" => what_is_wrapped_is_read(&vector.name, &bytes),
            "stream" => a_stream_is_read(&vector.name, &bytes),
            "decoder-behaviour" => what_go_reads_is_read(&vector.name, &bytes),
            // Read by the tests of the store.
            "kv" => continue,
            other => panic!("{}: what is {other}?", vector.name),
        }
        read_here += 1;
    }
    assert_eq!(read_here, 79);
}

/// Reads a packet of which nothing is left out.
fn all_of(bytes: &[u8], wire: &Wire) -> Vec<Message> {
    let packet = read(bytes.to_vec(), wire).unwrap();
    assert_eq!(packet.rejected.first, None);
    packet.messages
}

fn a_message_is_read_and_written(name: &str, bytes: &[u8]) {
    if name == "err" {
        let Ok(Some(StreamMessage::Message(error))) =
            read_stream(Side::Responder, bytes, &Wire::default())
        else {
            panic!("err is not read");
        };
        assert_eq!(error, Message::Error("boom".to_owned()));
        assert_eq!(stream_message(&error).unwrap(), bytes);
        return;
    }
    let messages = all_of(bytes, &Wire::default());
    let written: Vec<Bytes> = messages.iter().map(message).collect();
    assert_eq!(compounds(&written), [bytes], "{name}: {messages:?}");
}

fn a_connection_is_read_and_written(name: &str, bytes: &[u8]) {
    if name == "tcp_stream_open" {
        assert_eq!(kind(bytes[0]), Ok(Kind::Stream));
        let begin = stream(
            Side::Initiator,
            Vec::new(),
            &Wire::default(),
            StreamOptions::default(),
        );
        assert_eq!(begin.unwrap(), bytes);
        return;
    }
    let frame = read_packet_frame(&Bytes::copy_from_slice(bytes)).unwrap();
    let written = packet_frame(&frame.sender, &frame.payload).unwrap();
    assert_eq!(written, bytes, "{name}");
    let sender = match name {
        "tcp_packet_ipv6_ack" => "[fd00::1]:7946",
        _ => "10.0.0.1:7946",
    };
    assert_eq!(frame.sender, sender);
    let messages = match name {
        "tcp_packet_ping" => vector("ping_full"),
        "tcp_packet_ipv6_ack" => vector("ack_nil_payload"),
        _ => Vec::new(),
    };
    assert_eq!(frame.payload, messages);
}

fn what_was_captured_is_read(name: &str, bytes: &[u8]) {
    let wire = if name.contains("label") {
        labelled("c1")
    } else {
        Wire::default()
    };
    if bytes[0] == 1 {
        let frame = read_packet_frame(&Bytes::copy_from_slice(bytes)).unwrap();
        let messages = all_of(&frame.payload, &wire);
        if name.contains("gossip") {
            let kinds = (&messages[0], &messages[1], &messages[2]);
            let (Message::Alive(_), Message::Alive(_), Message::User(_)) = kinds else {
                panic!("{name}: {messages:?}");
            };
        }
        return;
    }
    let read = match bytes.split_first() {
        Some((2, rest)) => read_stream(Side::Initiator, rest, &wire),
        _ => read_stream(Side::Responder, bytes, &wire),
    };
    let Ok(Some(StreamMessage::PushPull { state, rejected })) = read else {
        panic!("{name}: {read:?}");
    };
    assert_eq!(rejected.count, 0);
    assert_eq!(state.join, name.contains("join"), "{name}");
    assert_eq!(state.user_state.is_empty(), name.ends_with("request"));
}

fn what_is_compressed_is_inflated(name: &str, bytes: &[u8]) {
    let inflate = |bytes: &[u8]| {
        let compressed = compression::read(&mut Reader::new(&bytes[1..])).unwrap();
        compressed.inflate(1 << 20)
    };
    let edge = name.strip_prefix("lzw_width_edge_");
    match name {
        "lzw_wrapped_text" => assert_eq!(inflate(bytes).unwrap(), b"abcabcabc".repeat(12)),
        "lzw_empty" => assert_eq!(inflate(bytes).unwrap(), b""),
        "lzw_large_prefix" => the_whole_of_the_prefix_is_inflated(bytes),
        "lzw_wrapped_compound" | "snappy_wrapped_compound" => {
            assert_eq!(inflate(bytes).unwrap(), vector("compound_three_alives"));
            assert_eq!(all_of(bytes, &Wire::default()).len(), 3);
        }
        _ => {
            let length = edge.and_then(|edge| edge.parse().ok()).unwrap();
            assert_eq!(inflate(bytes).unwrap(), generated(length, 0xff));
        }
    }
}

/// The bytes that the large vectors were made of.
fn generated(length: usize, mask: u32) -> Vec<u8> {
    let mut state: u32 = 12345;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24 & mask) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// The vector is the begin of what Go makes, and a sum over all of it: so what is inflated here was
/// made by Go's rule.
fn the_whole_of_the_prefix_is_inflated(prefix: &[u8]) {
    let plain = generated(20_000, 0x3f);
    let compressed = go_lzw(&plain);
    let mut whole = b"\x09\x82\xa4Algo\x00\xa3Buf\xda".to_vec();
    whole.extend_from_slice(&(compressed.len() as u16).to_be_bytes());
    whole.extend_from_slice(&compressed);
    let sum = "ecfe60128ed2b6e1af4e824f9c67dd43dfcc56c7d379ebd0e0605525b0cd1698";
    assert_eq!(hex(digest(&SHA256, &whole).as_ref()), sum);
    assert!(whole.starts_with(prefix));
    let inflated = compression::inflate_lzw(&compressed, plain.len());
    assert_eq!(inflated.unwrap(), plain);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// LZW as Go's encoder writes it, whose table is emptied at other times than weezl's.
fn go_lzw(plain: &[u8]) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    let mut table = std::collections::HashMap::new();
    let (mut width, mut counter) = (9, 257);
    let mut put = |code: u32, width: u32| bits.extend((0..width).map(|bit| code >> bit & 1 == 1));
    put(256, width);
    let mut current: Option<u32> = None;
    let mut emit = |code: u32, table: &mut std::collections::HashMap<(u32, u8), u32>| {
        put(code, width);
        counter += 1;
        if counter == 1 << width {
            width += 1;
        }
        if counter == 4095 {
            put(256, 12);
            table.clear();
            (width, counter) = (9, 257);
            return None;
        }
        Some((counter, width))
    };
    let mut end_width = 9;
    for &byte in plain {
        let Some(code) = current else {
            current = Some(byte.into());
            continue;
        };
        if let Some(&longer) = table.get(&(code, byte)) {
            current = Some(longer);
            continue;
        }
        if let Some((number, _)) = emit(code, &mut table) {
            table.insert((code, byte), number);
        }
        current = Some(byte.into());
    }
    if let Some(code) = current {
        end_width = emit(code, &mut table).map_or(9, |(_, width)| width);
    }
    put(257, end_width);
    let bytes = bits.chunks(8).map(|byte| {
        let set = byte.iter().enumerate().filter(|(_, bit)| **bit);
        set.fold(0, |byte, (at, _)| byte | 1 << at)
    });
    bytes.collect()
}

fn suspect() -> Message {
    Message::Suspect(Accusation {
        incarnation: 3,
        node: "node-b".to_owned(),
        from: "node-a".to_owned(),
    })
}

fn what_is_wrapped_is_read(name: &str, bytes: &[u8]) {
    let suspect_bytes = message(&suspect());
    // Without what precedes them on the wire, they are read in one piece only.
    match name {
        "encrypted_packet_v0" | "encrypted_packet_v1" => {
            let opened = seal::open(&[key()], b"cluster-1", bytes);
            assert_eq!(opened.unwrap(), suspect_bytes);
            return;
        }
        "encrypted_stream_v1" => {
            let aad = [&bytes[..5], b"cluster-1"].concat();
            let opened = seal::open(&[key()], &aad, &bytes[5..]);
            assert_eq!(opened.unwrap(), suspect_bytes);
            let mut wire = labelled("cluster-1");
            wire.keys = vec![key()];
            let misplaced = Err(Error::Misplaced {
                kind: 3,
                place: "stream",
            });
            assert_eq!(read_stream(Side::Responder, bytes, &wire), misplaced);
            return;
        }
        _ => {}
    }
    let mut wire = Wire::default();
    if name.contains("label") {
        wire = labelled("cluster-1");
    }
    if name.contains("enc") {
        wire.keys = vec![key()];
    }
    let messages = all_of(bytes, &wire);
    let is_compound = name.contains("lzw_crc") || name.contains("compressed");
    assert_eq!(messages.len(), if is_compound { 3 } else { 1 }, "{name}");
    let parts: Vec<Bytes> = messages.iter().map(message).collect();
    let options = PacketOptions {
        compression: Some(Compression::Lzw),
        crc: name.starts_with("crc") || name.starts_with("payload_gossip"),
        nonce: NONCE,
    };
    if name.starts_with("encrypted_packet_v0") {
        return;
    }
    let written = packet(&compounds(&parts)[0], &wire, options);
    assert_eq!(written.unwrap(), bytes, "{name}");
}

fn a_stream_is_read(name: &str, bytes: &[u8]) {
    let mut reader = Reader::new(&bytes[1..]);
    match name {
        "pushpull_header_msgpack_v1" | "pushpull_header_msgpack_v2" => {
            let header = body::read_header(&mut reader).unwrap();
            let expected = body::Header {
                join: true,
                nodes: 2,
                user_state: 300,
            };
            assert_eq!(header, expected);
            let mut written = Vec::new();
            body::write_header(header, &mut written);
            assert_eq!(written == bytes, name.ends_with("v2"));
        }
        "stream_user_header_msgpack_v1" | "stream_user_header_msgpack_v2" => {
            assert_eq!(body::read_user_header(&mut reader), Ok(1000));
            let mut written = Vec::new();
            body::write_user_header(1000, &mut written);
            assert_eq!(written == bytes, name.ends_with("v2"));
        }
        "push_node_state_alive" | "push_node_state_left" => {
            let node = body::read_node(&mut Reader::new(bytes)).unwrap();
            let node = node.checked().unwrap();
            if name.ends_with("left") {
                assert_eq!(node.state, State::Left);
                assert!(matches!(node.alive.addr, Addr::V16(_)));
                return;
            }
            let mut written = Vec::new();
            body::write_node(&node, &mut written);
            assert_eq!(written, bytes);
        }
        "local_state_one_pair" => assert_eq!(bytes[..4], 57_u32.to_be_bytes()),
        _ => a_whole_stream_is_read_and_written(name, bytes),
    }
}

fn a_whole_stream_is_read_and_written(name: &str, bytes: &[u8]) {
    let mut wire = Wire::default();
    if name.contains("label") {
        wire = labelled("cluster-1");
    }
    if name.ends_with("enc") {
        wire.keys = vec![key()];
    }
    let read = read_stream(Side::Initiator, bytes, &wire);
    let Ok(Some(StreamMessage::PushPull { state, rejected })) = read else {
        panic!("{name}: {read:?}");
    };
    assert_eq!(rejected.count, 0);
    let nodes: Vec<(&str, State)> = state
        .nodes
        .iter()
        .map(|node| (&*node.alive.node, node.state))
        .collect();
    assert_eq!(nodes, [("node-a", State::Alive), ("node-b", State::Left)]);
    assert_eq!(state.user_state, vector("local_state_one_pair"));
    // The second node's metadata is empty and not nil there, which means the same.
    assert_eq!(the_same_after_writing(&state, &wire), state);
}

fn the_same_after_writing(state: &PushPull, wire: &Wire) -> PushPull {
    let options = StreamOptions {
        compression: Some(Compression::Lzw),
        nonce: NONCE,
    };
    let message = push_pull(state).unwrap();
    let written = stream(Side::Initiator, message, wire, options).unwrap();
    assert_eq!(written[0], 2);
    let Ok(Some(StreamMessage::PushPull { state, .. })) =
        read_stream(Side::Initiator, &written[1..], wire)
    else {
        panic!("it cannot be read back");
    };
    state
}

fn what_go_reads_is_read(name: &str, bytes: &[u8]) {
    let ack = |seq_no, payload: Option<&'static [u8]>| Message::Ack {
        seq_no,
        payload: payload.map(Bytes::from_static),
    };
    let packet = read(bytes.to_vec(), &Wire::default()).unwrap();
    let expected = match name {
        "reject_port_overflow" => {
            assert_eq!((packet.messages.len(), packet.rejected.count), (0, 1));
            return;
        }
        // Newer ones of Go's members read it, and so do we.
        "reject_v1_string_bin8" => {
            let [Message::Ping(ping)] = &*packet.messages else {
                panic!("{packet:?}");
            };
            assert_eq!((&*ping.node, ping.seq_no), ("abc", 42));
            return;
        }
        "accept_ack_payload_bin8" | "accept_ack_payload_str8" | "accept_ack_payload_array" => {
            ack(42, Some(b"hi"))
        }
        "accept_ack_seqno_int16" => ack(256, None),
        "ignored_ack_lowercase_key" => ack(0, None),
        "accept_ack_missing_payload" | "accept_ack_unknown_key" | "accept_ack_struct_as_array" => {
            ack(42, None)
        }
        other => panic!("what is {other}?"),
    };
    assert_eq!(packet.messages, [expected], "{name}");
}
