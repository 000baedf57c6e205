//! Real bytes, random messages, and what is too much.

mod bounds;
mod round_trip;
mod vectors;

use bytes::Bytes;

use super::{
    Error, Label, Packet, SecretKey, Side, StreamMessage, StreamReader, Wire, read_packet,
};

/// The ring that vectors with a label are of.
fn labelled(label: &str) -> Wire {
    Wire {
        label: Label::new(label).unwrap(),
        ..Wire::default()
    }
}

/// The key of the encrypted vectors.
fn key() -> SecretKey {
    SecretKey::new(b"0123456789abcdef").unwrap()
}

fn read(payload: impl Into<Bytes>, wire: &Wire) -> Result<Packet, Error> {
    read_packet(&payload.into(), wire)
}

/// Reads a stream in one piece, then byte by byte: both come to the same.
fn read_stream(from: Side, bytes: &[u8], wire: &Wire) -> Result<Option<StreamMessage>, Error> {
    let at_once = StreamReader::new(from, wire.clone()).feed(bytes);
    let mut reader = StreamReader::new(from, wire.clone());
    let mut last = Ok(None);
    for byte in bytes {
        last = reader.feed(std::slice::from_ref(byte));
        if !matches!(last, Ok(None)) {
            break;
        }
    }
    assert_eq!(at_once, last);
    at_once
}
