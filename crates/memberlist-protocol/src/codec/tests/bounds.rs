//! What is too much, too deep, or wrong is refused, and costs nothing but itself.

use bytes::Bytes;

use super::super::{
    Compression, Error, Label, Limits, MAX_PART, MAX_PARTS, PacketOptions, Side, StreamMessage,
    StreamOptions, StreamReader, Wire, body, compounds, compression, kind, message,
    msgpack::{Fault, Reader},
    packet, packet_frame, push_pull, read_packet_frame, stream,
};
use super::{key, labelled, read, read_stream};
use crate::message::{Message, PushPull};
use crate::testing::vector;

fn user(length: usize) -> Bytes {
    message(&Message::User(Bytes::from(vec![b'x'; length])))
}

fn with(limits: Limits) -> Wire {
    Wire {
        limits,
        ..Wire::default()
    }
}

#[test]
fn a_digest_that_does_not_match_drops_the_packet() {
    let mut bytes = vector("tcp_packet_ping");
    let last = bytes.len() - 17;
    bytes[last] ^= 1;
    assert_eq!(read_packet_frame(&bytes.into()), Err(Error::Digest));
    for length in 0..31 {
        let cut = vector("tcp_packet_empty")[..length].to_vec();
        assert!(read_packet_frame(&cut.into()).is_err(), "{length}");
    }
    assert_eq!(kind(0), Err(Error::UnknownKind(0)));
    assert!(packet_frame(&"x".repeat(256), b"").is_err());
}

#[test]
fn a_checksum_that_does_not_match_drops_the_packet() {
    let mut bytes = vector("crc_suspect");
    bytes[1] ^= 1;
    assert_eq!(read(bytes, &Wire::default()), Err(Error::Checksum));
}

#[test]
fn another_label_is_refused_unless_any_is_taken() {
    let labelled_ping = vector("label_ping");
    let plain_ping = vector("ping_full");
    let mut ours = labelled("another");
    for bytes in [&labelled_ping, &plain_ping] {
        let refused = read(bytes.clone(), &ours);
        assert!(matches!(refused, Err(Error::Label { .. })), "{refused:?}");
    }
    let refused = read(labelled_ping.clone(), &Wire::default());
    assert!(matches!(refused, Err(Error::Label { .. })), "{refused:?}");
    ours.any_label = true;
    for bytes in [labelled_ping, plain_ping] {
        assert_eq!(read(bytes, &ours).unwrap().messages.len(), 1);
    }
    let empty = read(b"\xf4\x00\x00".to_vec(), &ours);
    assert!(matches!(empty, Err(Error::Malformed { .. })));
    assert!(Label::new("x".repeat(256)).is_err());
    let stream = read_stream(
        Side::Initiator,
        &vector("stream_pushpull_plain"),
        &labelled("c"),
    );
    assert!(matches!(stream, Err(Error::Label { .. })));
}

#[test]
fn with_a_key_only_what_it_has_sealed_is_read() {
    let mut wire = labelled("cluster-1");
    wire.keys = vec![key()];
    assert!(read(vector("label_ping"), &wire).is_err());
    let stream = vector("stream_pushpull_label_lzw");
    assert_eq!(
        read_stream(Side::Initiator, &stream, &wire),
        Err(Error::Unsealed)
    );
    let mut changed = vector("encrypted_packet_v1_labelled");
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(read(changed, &wire), Err(Error::Sealed));
    assert!(super::SecretKey::new(&[0; 24]).is_err());
    assert!(super::SecretKey::new(&[0; 32]).is_ok());
}

#[test]
fn one_wrong_message_leaves_the_others_of_its_compound() {
    let parts = [
        message(&Message::Nack { seq_no: 1 }),
        Bytes::from(vector("reject_port_overflow")),
        Bytes::from_static(b"\x63"),
        Bytes::new(),
        Bytes::from(vector("err")),
        message(&Message::Nack { seq_no: 2 }),
    ];
    let packet = read(compounds(&parts)[0].clone(), &Wire::default()).unwrap();
    let nacks = [1, 2].map(|seq_no| Message::Nack { seq_no });
    assert_eq!(packet.messages, nacks);
    assert_eq!(packet.rejected.count, 4);
    // A part that runs past the end takes what follows with it, not what precedes.
    let mut cut = compounds(&parts)[0].to_vec();
    cut.pop();
    let packet = read(cut, &Wire::default()).unwrap();
    assert_eq!(packet.messages, nacks[..1]);
    assert_eq!(packet.rejected.count, 5);
}

/// Go's members crash on versions of 1 to 5 bytes, and refuse each exchange with a member that has
/// a record without any.
#[test]
fn nodes_that_would_harm_gos_members_are_left_out() {
    let alive = vector("alive_ipv4_4byte");
    let wrong = [
        // Five bytes of versions, and none.
        [&alive[..alive.len() - 7], b"\xa5\x01\x05\x02\x00\x00"].concat(),
        [&alive[..alive.len() - 7], b"\xc0"].concat(),
        // An address of five bytes.
        alive.splice_at(b"\xa4\x0a\x00\x00\x01", b"\xa5\x0a\x00\x00\x01\x01"),
        // 513 bytes of metadata.
        alive.splice_at(
            b"Meta\xc0",
            &[b"Meta\xda\x02\x01".as_slice(), &[0; 513]].concat(),
        ),
        // No name.
        alive.splice_at(b"\xa6node-a", b"\xc0"),
    ];
    for bytes in wrong {
        let packet = read(bytes, &Wire::default()).unwrap();
        assert_eq!((packet.messages.len(), packet.rejected.count), (0, 1));
    }
    let stream = vector("stream_pushpull_plain");
    let first_vsn = b"\xa3Vsn\xa6\x01\x05\x02\x00\x00\x00";
    let poisoned = stream.splice_at(first_vsn, b"\xa3Vsn\xc0");
    let Ok(Some(StreamMessage::PushPull { state, rejected })) =
        read_stream(Side::Initiator, &poisoned, &Wire::default())
    else {
        panic!("the rest is refused as well");
    };
    assert_eq!((state.nodes.len(), rejected.count), (1, 1));
    assert_eq!(state.user_state.len(), 61);
}

trait SpliceAt {
    /// With the first `from` replaced.
    fn splice_at(&self, from: &[u8], to: &[u8]) -> Vec<u8>;
}

impl SpliceAt for Vec<u8> {
    fn splice_at(&self, from: &[u8], to: &[u8]) -> Vec<u8> {
        let at = self.windows(from.len()).position(|window| window == from);
        let at = at.unwrap();
        [&self[..at], to, &self[at + from.len()..]].concat()
    }
}

#[test]
fn compounds_have_255_parts_and_large_messages_are_alone() {
    let parts: Vec<Bytes> = (0..600).map(|_| user(1)).chain([user(MAX_PART)]).collect();
    let made = compounds(&parts);
    let counts: Vec<usize> = made
        .iter()
        .map(|one| read(one.clone(), &Wire::default()).unwrap().messages.len())
        .collect();
    assert_eq!(counts, [MAX_PARTS, MAX_PARTS, 90, 1]);
    assert_eq!(made[3], user(MAX_PART));
    let largest = [user(MAX_PART - 1), user(1)];
    let [compound] = &*compounds(&largest) else {
        panic!("not one")
    };
    assert_eq!(
        read(compound.clone(), &Wire::default())
            .unwrap()
            .messages
            .len(),
        2
    );
    assert!(compounds(&[]).is_empty());
}

#[test]
fn nesting_has_a_bound() {
    let nest = |times: usize| {
        let one = message(&Message::Nack { seq_no: 1 });
        (0..times).fold(one, |inner, _| {
            let length = (inner.len() as u16).to_be_bytes();
            Bytes::from([&[7, 1], &length[..], &inner].concat())
        })
    };
    let read_nested = |times| read(nest(times), &Wire::default()).unwrap();
    assert_eq!(read_nested(7).messages.len(), 1);
    assert_eq!(read_nested(8).rejected.first, Some(Error::TooDeep));
    assert_eq!(read_nested(5000).rejected.first, Some(Error::TooDeep));
}

#[test]
fn messages_have_a_bound() {
    let wire = with(Limits {
        messages: 100,
        ..Limits::default()
    });
    let parts: Vec<Bytes> = (0..200).map(|_| user(1)).collect();
    let packet = read(compounds(&parts)[0].clone(), &wire).unwrap();
    assert_eq!((packet.messages.len(), packet.rejected.count), (100, 100));
}

#[test]
fn inflation_has_a_bound_for_the_whole_packet() {
    let bomb = |compression| {
        let zeros = user(1 << 20);
        compression::deflate(&zeros, compression).unwrap()
    };
    for compression in [Compression::Lzw, Compression::Snappy] {
        let parts = vec![Bytes::from(bomb(compression)); 3];
        let wire = with(Limits {
            inflated: (2 << 20) + 2,
            ..Limits::default()
        });
        let packet = read(compounds(&parts)[0].clone(), &wire).unwrap();
        assert_eq!((packet.messages.len(), packet.rejected.count), (2, 1));
        assert!(matches!(
            packet.rejected.first,
            Some(Error::TooLarge { .. })
        ));
    }
}

#[test]
fn a_snappy_block_cannot_declare_what_it_cannot_hold() {
    // 64 MiB, and one byte.
    let declared = [0x80, 0x80, 0x80, 0x20, 0x00, b'x'];
    let refused = compression::inflate_snappy(&declared, usize::MAX);
    assert!(matches!(refused, Err(Error::Malformed { .. })));
}

#[test]
fn lzw_without_its_end_is_refused() {
    let whole = vector("lzw_wrapped_text");
    let cut = &whole[13..whole.len() - 2];
    let refused = compression::inflate_lzw(cut, 1000);
    assert!(
        matches!(refused, Err(Error::Truncated { .. })),
        "{refused:?}"
    );
}

#[test]
fn lengths_in_streams_are_refused_before_their_bytes_arrive() {
    let header = |nodes, user_state| {
        let mut out = Vec::new();
        let header = body::Header {
            join: false,
            nodes,
            user_state,
        };
        body::write_header(header, &mut out);
        out
    };
    let refused = |bytes: &[u8]| {
        let read = read_stream(Side::Responder, bytes, &Wire::default());
        assert!(matches!(read, Err(Error::TooLarge { .. })), "{read:?}");
    };
    refused(&header((1 << 16) + 1, 0));
    refused(&header(0, (64 << 20) + 1));
    // A compressed message of 1 GiB.
    refused(b"\x09\x82\xa4Algo\x00\xa3Buf\xdb\x40\x00\x00\x00");
    // A node's name of 1 MiB.
    let node = [
        &header(1, 0),
        b"\x81\xa4Name\xdb\x00\x10\x00\x00".as_slice(),
    ]
    .concat();
    refused(&node);
    // An encrypted message of 21 MiB.
    refused(b"\x0a\x01\x50\x00\x00");
    // Negative lengths, which Go's members may crash on.
    let negative = read_stream(
        Side::Responder,
        b"\x06\x83\xa4Join\xc2\xa5Nodes\xff\xacUserStateLen\x00",
        &Wire::default(),
    );
    assert!(matches!(negative, Err(Error::Malformed { .. })));
}

#[test]
fn a_stream_has_a_bound_in_all() {
    let wire = with(Limits {
        stream: 1000,
        ..Limits::default()
    });
    let state = PushPull {
        join: false,
        nodes: Vec::new(),
        user_state: Bytes::from(vec![0; 1000]),
    };
    let whole = stream(
        Side::Responder,
        push_pull(&state).unwrap(),
        &wire,
        StreamOptions::default(),
    );
    let mut reader = StreamReader::new(Side::Responder, wire);
    assert!(reader.is_empty());
    let refused = reader.feed(&whole.unwrap());
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
}

#[test]
fn a_compressed_stream_must_hold_a_whole_message() {
    let state = PushPull {
        join: false,
        nodes: Vec::new(),
        user_state: Bytes::from(vec![0; 1000]),
    };
    let mut cut = push_pull(&state).unwrap();
    cut.pop();
    let options = StreamOptions {
        compression: Some(Compression::Lzw),
        ..StreamOptions::default()
    };
    let whole = stream(Side::Responder, cut, &Wire::default(), options).unwrap();
    assert_eq!(whole[0], 9);
    let refused = read_stream(Side::Responder, &whole, &Wire::default());
    assert_eq!(refused, Err(Error::Truncated { what: "a stream" }));
}

#[test]
fn unknown_fields_of_any_kind_are_skipped() {
    let values: [&[u8]; 12] = [
        b"\xc0",
        b"\xca\0\0\0\0",
        b"\xcb\0\0\0\0\0\0\0\0",
        b"\x92\x01\x91\xa1x",
        b"\x81\xa1k\x90",
        b"\xdc\x00\x01\xc3",
        b"\xde\x00\x01\xa1k\xd0\x80",
        b"\xc7\x01\x05x",
        b"\xd4\x05x",
        b"\xd8\x050123456789abcdef",
        b"\xcf\0\0\0\0\0\0\0\0",
        b"\xc5\x00\x01x",
    ];
    for value in values {
        let bytes = [b"\x0b\x82\xa1?", value, b"\xa5SeqNo\x2a"].concat();
        let packet = read(bytes, &Wire::default()).unwrap();
        assert_eq!(packet.messages, [Message::Nack { seq_no: 42 }], "{value:?}");
    }
}

/// The work and the memory for an object are bounded, however it is made.
#[test]
fn an_object_of_too_many_values_is_refused() {
    let flat = [b"\xdd\xff\xff\xff\xff".as_slice(), &[0xc0; 5000]].concat();
    let deep = [0x91; 5000];
    for bytes in [flat.as_slice(), &deep] {
        let skipped = Reader::new(bytes).skip();
        assert_eq!(skipped, Err(Fault::Invalid("too many values")));
    }
    let numbers = [b"\xdd\xff\xff\xff\xff".as_slice(), &[1; 5000]].concat();
    assert!(Reader::new(&numbers).bytes().is_err());
}

#[test]
fn a_packet_over_the_limit_is_refused() {
    let wire = with(Limits {
        packet: 100,
        ..Limits::default()
    });
    let payload = packet(&user(100), &wire, PacketOptions::default()).unwrap();
    let refused = read(payload, &wire);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
}
