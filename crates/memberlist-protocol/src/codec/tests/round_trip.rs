//! What is written is read back, whatever it is.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{
    Compression, PacketOptions, Side, StreamMessage, StreamOptions, Wire, compounds, compression,
    message, packet, packet_frame, push_pull, read_packet_frame, stream, stream_message,
};
use super::{key, labelled, read, read_stream};
use crate::message::{
    Accusation, Addr, Alive, IndirectPing, Message, NodeState, Ping, PushPull, Source, State, Vsn,
};

fn bytes(longest: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=longest).prop_map(Bytes::from)
}

fn addr() -> impl Strategy<Value = Addr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(Addr::V4),
        any::<[u8; 16]>().prop_map(Addr::V16),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[a-zé0-9.-]{1,60}"
}

fn source() -> impl Strategy<Value = Option<Source>> {
    let some =
        (addr(), 1_u16.., "[a-z]{0,40}").prop_map(|(addr, port, node)| Source { addr, port, node });
    proptest::option::of(some)
}

fn accusation() -> impl Strategy<Value = Accusation> {
    (any::<u32>(), name(), name()).prop_map(|(incarnation, node, from)| Accusation {
        incarnation,
        node,
        from,
    })
}

fn alive() -> impl Strategy<Value = Alive> {
    let parts = (
        any::<u32>(),
        name(),
        addr(),
        any::<u16>(),
        bytes(512),
        any::<[u8; 6]>(),
    );
    parts.prop_map(|(incarnation, node, addr, port, meta, vsn)| Alive {
        incarnation,
        node,
        addr,
        port,
        meta,
        vsn: Vsn(vsn),
    })
}

fn ping() -> impl Strategy<Value = Message> {
    (any::<u32>(), "[a-z]{0,40}", source()).prop_map(|(seq_no, node, source)| {
        Message::Ping(Ping {
            seq_no,
            node,
            source,
        })
    })
}

fn indirect_ping() -> impl Strategy<Value = Message> {
    let parts = (
        any::<u32>(),
        addr(),
        any::<u16>(),
        name(),
        any::<bool>(),
        source(),
    );
    parts.prop_map(|(seq_no, target, port, node, nack, source)| {
        Message::IndirectPing(IndirectPing {
            seq_no,
            target,
            port,
            node,
            nack,
            source,
        })
    })
}

fn ack() -> impl Strategy<Value = Message> {
    (any::<u32>(), proptest::option::of(bytes(70)))
        .prop_map(|(seq_no, payload)| Message::Ack { seq_no, payload })
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        ping(),
        indirect_ping(),
        ack(),
        any::<u32>().prop_map(|seq_no| Message::Nack { seq_no }),
        accusation().prop_map(Message::Suspect),
        accusation().prop_map(Message::Dead),
        alive().prop_map(Message::Alive),
        bytes(300).prop_map(Message::User),
    ]
}

fn compression() -> impl Strategy<Value = Option<Compression>> {
    proptest::sample::select(vec![
        None,
        Some(Compression::Lzw),
        Some(Compression::Snappy),
    ])
}

fn wire() -> impl Strategy<Value = Wire> {
    ("[a-z]{0,9}", any::<bool>()).prop_map(|(label, sealed)| {
        let mut wire = labelled(&label);
        wire.keys.extend(sealed.then(key));
        wire
    })
}

fn state() -> impl Strategy<Value = PushPull> {
    let state =
        proptest::sample::select(vec![State::Alive, State::Suspect, State::Dead, State::Left]);
    let node = (alive(), state).prop_map(|(alive, state)| NodeState { alive, state });
    (any::<bool>(), vec(node, 0..5), bytes(10_000)).prop_map(|(join, nodes, user_state)| PushPull {
        join,
        nodes,
        user_state,
    })
}

proptest! {
    #[test]
    fn packets(
        messages in vec(any_message(), 1..20),
        wire in wire(),
        compression in compression(),
        crc: bool,
        nonce: [u8; 12],
    ) {
        let parts: Vec<Bytes> = messages.iter().map(message).collect();
        let [compound] = &*compounds(&parts) else { panic!("more than one") };
        let options = PacketOptions { compression, crc, nonce };
        let payload = packet(compound, &wire, options).unwrap();
        let frame = read_packet_frame(&packet_frame("[fd00::1]:7946", &payload).unwrap()).unwrap();
        prop_assert_eq!(frame.sender, "[fd00::1]:7946");
        let read = read(frame.payload, &wire).unwrap();
        prop_assert_eq!(read.rejected.first, None);
        prop_assert_eq!(read.messages, messages);
    }

    #[test]
    fn exchanges_of_states(
        state in state(),
        wire in wire(),
        compression in compression(),
        nonce: [u8; 12],
    ) {
        for side in [Side::Initiator, Side::Responder] {
            let options = StreamOptions { compression, nonce };
            let written = stream(side, push_pull(&state).unwrap(), &wire, options).unwrap();
            let skipped = usize::from(side == Side::Initiator);
            let Some(StreamMessage::PushPull { state: read, rejected }) =
                read_in_pieces(side, &written[skipped..], &wire)
            else {
                panic!("another message");
            };
            prop_assert_eq!(rejected.first, None);
            prop_assert_eq!(&read, &state);
        }
    }

    #[test]
    fn other_streams(
        message in prop_oneof![
            ping(), ack(), bytes(300).prop_map(Message::User),
            "[a-z]{0,99}".prop_map(Message::Error),
        ],
        wire in wire(),
    ) {
        let written = stream_message(&message).unwrap();
        let written = stream(Side::Responder, written, &wire, StreamOptions::default()).unwrap();
        let read = read_stream(Side::Responder, &written, &wire);
        prop_assert_eq!(read, Ok(Some(StreamMessage::Message(message))));
    }

    #[test]
    fn lzw_of_anything(plain in vec(0_u8..4, 0..6_000)) {
        let shorter = compression::deflate(&plain, Compression::Lzw);
        if let Some(compressed) = shorter {
            let mut reader = super::super::msgpack::Reader::new(&compressed[1..]);
            let inflated = compression::read(&mut reader).unwrap().inflate(plain.len());
            prop_assert_eq!(inflated.unwrap(), plain);
        }
    }
}

/// Reads a stream in pieces of a size that has nothing to do with what is in it.
fn read_in_pieces(from: Side, bytes: &[u8], wire: &Wire) -> Option<StreamMessage> {
    let mut reader = super::StreamReader::new(from, wire.clone());
    let mut pieces = bytes.chunks(997);
    pieces.find_map(|piece| reader.feed(piece).unwrap())
}
