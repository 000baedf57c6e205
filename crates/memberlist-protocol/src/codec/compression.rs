//! Messages within a compressed one: LZW, which every member reads, and Snappy, which newer ones do.

use std::borrow::Cow;

use weezl::{BitOrder, LzwStatus};

use super::body::COMPRESS;
use super::error::Error;
use super::msgpack::{Fault, Reader, put_map, put_raw, put_unsigned};

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// LZW with 8-bit literals, least significant bit first. What members use by default.
    Lzw = 0,
    /// Snappy's block format: only members of 2026 and later read it.
    Snappy = 1,
}

const WHAT: &str = "a compressed message";
const SNAPPY: &str = "a Snappy block";

/// Bytes that three bytes of a Snappy block can stand for at most, with some to spare.
const SNAPPY_RATIO: usize = 22;

/// A compressed message as it is sent.
pub(super) struct Compressed<'a> {
    algorithm: u64,
    bytes: Cow<'a, [u8]>,
}

/// Reads the body of a compressed message.
pub(super) fn read<'a>(reader: &mut Reader<'a>) -> Result<Compressed<'a>, Fault> {
    let (mut algorithm, mut bytes) = (0, Cow::default());
    reader.structure(&["Algo", "Buf"], |name, reader| {
        match name {
            "Algo" => algorithm = reader.unsigned()?,
            _ => bytes = reader.bytes()?.unwrap_or_default(),
        }
        Ok(())
    })?;
    Ok(Compressed { algorithm, bytes })
}

impl Compressed<'_> {
    /// What is in it: at most `limit` bytes, and no more memory than that is ever taken.
    pub(super) fn inflate(&self, limit: usize) -> Result<Vec<u8>, Error> {
        match self.algorithm {
            0 => inflate_lzw(&self.bytes, limit),
            1 => inflate_snappy(&self.bytes, limit),
            other => Err(Error::UnknownCompression(other)),
        }
    }
}

/// The message compressed, if that is shorter with all that it takes.
pub(super) fn deflate(message: &[u8], compression: Compression) -> Option<Vec<u8>> {
    let compressed = match compression {
        Compression::Lzw => deflate_lzw(message)?,
        Compression::Snappy => snap::raw::Encoder::new().compress_vec(message).ok()?,
    };
    let mut out = Vec::with_capacity(compressed.len() + 16);
    out.push(COMPRESS);
    put_map(&mut out, 2);
    put_raw(&mut out, b"Algo");
    put_unsigned(&mut out, compression as u32);
    put_raw(&mut out, b"Buf");
    put_raw(&mut out, &compressed);
    (out.len() < message.len()).then_some(out)
}

/// Inflates LZW to at most `limit` bytes.
pub(crate) fn inflate_lzw(compressed: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let mut decoder = weezl::decode::Decoder::new(BitOrder::Lsb, 8);
    let mut out = Vec::new();
    let mut chunk = [0; 8192];
    let mut left = compressed;
    loop {
        let result = decoder.decode_bytes(left, &mut chunk);
        left = left.get(result.consumed_in..).unwrap_or_default();
        let produced = chunk.get(..result.consumed_out).unwrap_or_default();
        if out.len() + produced.len() > limit {
            return Err(too_large(out.len() + produced.len(), limit));
        }
        out.extend_from_slice(produced);
        match result.status {
            Ok(LzwStatus::Done) => return Ok(out),
            Ok(LzwStatus::NoProgress) => return Err(Error::Truncated { what: WHAT }),
            Ok(LzwStatus::Ok) => {}
            Err(_) => {
                return Err(Error::Malformed {
                    what: WHAT,
                    why: "a code does not exist",
                });
            }
        }
    }
}

fn deflate_lzw(message: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = weezl::encode::Encoder::new(BitOrder::Lsb, 8);
    encoder.encode(message).ok()
}

/// Inflates a Snappy block to at most `limit` bytes.
pub(crate) fn inflate_snappy(compressed: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let malformed = |why| Error::Malformed { what: SNAPPY, why };
    let declared = snap::raw::decompress_len(compressed)
        .map_err(|_| malformed("its length cannot be read"))?;
    if declared > limit {
        return Err(too_large(declared, limit));
    }
    if declared > compressed.len().saturating_mul(SNAPPY_RATIO) {
        return Err(malformed("it declares more than it can hold"));
    }
    let decompressed = snap::raw::Decoder::new().decompress_vec(compressed);
    decompressed.map_err(|_| malformed("it cannot be decompressed"))
}

fn too_large(size: usize, limit: usize) -> Error {
    Error::TooLarge {
        what: "decompressed bytes",
        size: size as u64,
        limit: limit as u64,
    }
}
