//! Packets that are sealed, opened, changed, replayed and cut.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const BODY: &[u8] = b"a body";

fn keyring(keys: &[u8]) -> Keyring {
    let keys: Vec<String> = keys.iter().map(|&key| STANDARD.encode([key; 32])).collect();
    Keyring::parse(&keys).unwrap()
}

fn sealer(keys: &[u8], label: &str) -> Sealer {
    Sealer::new(keyring(keys), label.to_owned(), true, true)
}

fn here() -> SocketAddr {
    "10.0.0.1:7946".parse().unwrap()
}

/// Bytes that do not compress.
fn noise(size: usize) -> Vec<u8> {
    let mut noise = vec![0; size];
    rand::rng().fill_bytes(&mut noise);
    noise
}

/// The reason why the second does not open a packet of the first.
fn refusal(from: &Sealer, to: &Sealer) -> &'static str {
    to.open(&from.seal(here(), BODY)).unwrap_err().reason()
}

#[test]
fn what_is_sealed_opens() {
    for keys in [&[][..], &[1], &[1, 2]] {
        for reply_to in ["10.0.0.1:7946", "[fd00::1]:1", "[fd00::1]:65535"] {
            for body in [vec![], vec![7; 100_000], noise(MAX_BODY), vec![7; MAX_BODY]] {
                let sealer = sealer(keys, "label");
                let reply_to = reply_to.parse().unwrap();
                let packet = sealer.seal(reply_to, &body);
                assert!(packet.len() <= MAX_PACKET);
                assert_eq!(sealer.open(&packet), Ok(Opened { reply_to, body }));
            }
        }
    }
}

#[test]
fn cookies_travel_with_a_message_or_alone() {
    let cookies = [None, Some([7; 8])]
        .into_iter()
        .flat_map(|proof| [None, Some([9; 8])].map(|offer| Cookies { proof, offer }));
    for cookies in cookies {
        for keys in [&[][..], &[1]] {
            let sealer = sealer(keys, "label");
            for body in [BODY.to_vec(), vec![7; 1000]] {
                let packet = sealer.seal_with(here(), cookies, Content::Message(&body));
                let envelope = sealer.unseal(packet).unwrap();
                assert_eq!((envelope.reply_to, envelope.cookies), (here(), cookies));
                assert!(envelope.is_message() && envelope.quote().is_none());
                assert_eq!(sealer.unpack(&envelope), Ok(body));
            }
            for quote in [None, Some([5; 8])] {
                let packet = sealer.seal_with(here(), cookies, Content::Bare(quote));
                let envelope = sealer.unseal(packet).unwrap();
                assert_eq!((envelope.cookies, envelope.quote()), (cookies, quote));
                assert!(!envelope.is_message());
                assert_eq!(sealer.unpack(&envelope), Err(Refusal::Malformed));
            }
        }
    }
}

/// A challenge must never be larger than what it answers.
#[test]
fn a_challenge_is_no_larger_than_the_smallest_question() {
    let sealer = sealer(&[], "label");
    let cookies = Cookies {
        proof: None,
        offer: Some([7; 8]),
    };
    let challenge = sealer.seal_with(here(), cookies, Content::Bare(Some([5; 8])));
    // What asks for all: no digest, and the name of the cluster.
    let question = sealer.seal(here(), &[0; 2 + 1 + 1 + 2 + 2 + 13]);
    assert!(challenge.len() <= question.len());
}

#[test]
fn one_allocation_is_enough_for_a_packet() {
    for (body, keys) in [(noise(10_000), &[1][..]), (vec![7; 10_000], &[])] {
        let packet = sealer(keys, &"l".repeat(255)).seal("[::1]:1".parse().unwrap(), &body);
        assert_eq!(packet.capacity(), OVERHEAD + 255 + body.len());
    }
}

#[test]
fn only_what_shrinks_is_compressed() {
    let plain = |body: &[u8]| PLAIN_HEADER + 1 + 7 + 1 + body.len();
    let size = |body: &[u8]| sealer(&[], "").seal(here(), body).len();
    assert_eq!(size(&[7; 511]), plain(&[7; 511]));
    assert!(size(&[7; 512]) < 100);
    assert_eq!(size(&noise(1000)), plain(&noise(1000)));
    // Zeros and noise such that compression saves less than a tenth.
    let body = [noise(9500), vec![0; 500]].concat();
    assert_eq!(size(&body), plain(&body));
    let never = Sealer::new(Keyring::default(), String::new(), true, false);
    assert_eq!(never.seal(here(), &[7; 512]).len(), plain(&[7; 512]));
}

#[test]
fn any_key_of_the_ring_opens() {
    let packet = sealer(&[2], "").seal(here(), BODY);
    assert_eq!(sealer(&[1, 2], "").open(&packet).unwrap().body, BODY);
}

#[test]
fn what_is_encrypted_cannot_be_read_and_no_two_are_the_same() {
    let sealer = sealer(&[1], "label");
    let (first, second) = (sealer.seal(here(), BODY), sealer.seal(here(), BODY));
    assert_eq!(first.len(), second.len());
    assert_ne!(first[8..32], second[8..32]);
    for packet in [first, second] {
        assert!(!packet.windows(BODY.len()).any(|part| part == BODY));
        assert!(!packet.windows(5).any(|part| part == b"label"));
    }
}

#[test]
fn strangers_are_refused() {
    let (plain, first, second) = (sealer(&[], "a"), sealer(&[1], "a"), sealer(&[2], "a"));
    assert_eq!(refusal(&plain, &first), "unencrypted");
    assert_eq!(refusal(&first, &plain), "encrypted");
    assert_eq!(refusal(&first, &second), "unknown_key");
    assert_eq!(refusal(&plain, &sealer(&[], "")), "label");
    // The same key in two clusters: only the label tells them apart.
    assert_eq!(refusal(&first, &sealer(&[1], "b")), "label");
    let lenient = Sealer::new(keyring(&[1]), "b".to_owned(), false, true);
    assert!(lenient.open(&first.seal(here(), BODY)).is_ok());
}

#[test]
fn a_long_label_counts_with_its_start() {
    let (long, longer) = ("x".repeat(256), "x".repeat(300));
    let packet = sealer(&[], &long).seal(here(), BODY);
    assert!(sealer(&[], &longer).open(&packet).is_ok());
}

#[test]
fn every_change_of_an_encrypted_packet_is_noticed() {
    let sealer = sealer(&[1], "label");
    let packet = sealer.seal(here(), BODY);
    for at in 0..packet.len() {
        for bit in 0..8 {
            let mut changed = packet.clone();
            changed[at] ^= 1 << bit;
            assert!(sealer.open(&changed).is_err(), "byte {at}, bit {bit}");
        }
    }
    let last = packet.len() - 1;
    let mut changed = packet;
    changed[last] ^= 1;
    assert_eq!(sealer.open(&changed), Err(Refusal::Authentication));
}

#[test]
fn the_envelope_is_checked() {
    let open = |packet: &[u8]| sealer(&[], "").open(packet).unwrap_err().reason();
    assert_eq!(open(b""), "truncated");
    assert_eq!(open(b"GET / HTTP/1.1"), "not_ours");
    assert_eq!(open(b"kg\x02\x00"), "version");
    assert_eq!(open(b"kg\x01\x02"), "malformed");
    assert_eq!(open(b"kg\x01\x00"), "truncated");
    assert_eq!(
        open(b"kg\x01\x00\x00\x05\x7f\x00\x00\x01\x01\x00\x00"),
        "address"
    );
    assert_eq!(
        open(b"kg\x01\x00\x00\x04\x7f\x00\x00\x01\x01\x00"),
        "truncated"
    );
    for (flags, reason) in [
        (&[2][..], "truncated"),
        (&[4, 0, 0, 0, 0, 0, 0, 0], "truncated"),
        (&[8, 0], "malformed"),
        (&[8], "malformed"),
        (&[9], "malformed"),
        (&[16], "malformed"),
    ] {
        let packet = [b"kg\x01\x00\x00\x04\x7f\x00\x00\x01\x01\x00", flags].concat();
        assert_eq!(open(&packet), reason, "{flags:?}");
    }
    assert_eq!(open(&vec![0; MAX_PACKET + 1]), "too_large");
    let packet = sealer(&[], "").seal(here(), &noise(MAX_BODY + 1));
    assert_eq!(open(&packet), "too_large");
}

#[test]
fn addresses_that_nobody_can_have_are_refused() {
    let sealer = sealer(&[], "");
    for address in [
        "10.0.0.1:0",
        "0.0.0.0:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "[::]:1",
        "[ff02::1]:1",
    ] {
        let packet = sealer.seal(address.parse().unwrap(), BODY);
        assert_eq!(sealer.open(&packet), Err(Refusal::Address), "{address}");
    }
}

/// A plain packet with this compressed part.
fn compressed(length: u32, frames: &[u8]) -> Vec<u8> {
    let mut packet = b"kg\x01\x00\x00\x04\x7f\x00\x00\x01\x01\x00\x01".to_vec();
    packet.extend(length.to_le_bytes());
    packet.extend(frames);
    packet
}

#[test]
fn a_compressed_body_is_what_it_says() {
    let open = |packet: &[u8]| sealer(&[], "").open(packet);
    let frame = zstd::bulk::compress(&[7; 1000], 1).unwrap();
    assert_eq!(open(&compressed(1000, &frame)).unwrap().body, [7; 1000]);
    let bomb = zstd::bulk::compress(&vec![7; 10 << 20], 1).unwrap();
    let twice = [frame.clone(), frame.clone()].concat();
    for (length, frames) in [
        (999, &frame),
        (1001, &frame),
        (MAX_BODY as u32, &bomb),
        (2000, &twice),
        (0, &Vec::new()),
    ] {
        assert_eq!(open(&compressed(length, frames)), Err(Refusal::Compression));
    }
    assert_eq!(
        open(&compressed(MAX_BODY as u32 + 1, &bomb)),
        Err(Refusal::TooLarge)
    );
}

proptest! {
    #[test]
    fn garbage_is_refused(mut packet: Vec<u8>, keys in 0..2_usize) {
        let sealer = sealer(&[1][..keys], "label");
        prop_assert!(sealer.open(&packet).is_err());
        packet.splice(0..0, [b'k', b'g', 1, keys as u8]);
        prop_assert!(sealer.open(&packet).is_err());
    }

    #[test]
    fn no_start_of_a_packet_opens_as_the_whole(keys in 0..2_usize, size in 0..2000_usize) {
        let sealer = sealer(&[1][..keys], "label");
        let packet = sealer.seal(here(), &vec![7; size]);
        for end in 0..packet.len() {
            let opened = sealer.open(&packet[..end]);
            prop_assert!(opened.is_err() || opened.unwrap().body.len() < size);
        }
    }
}
